"""Show a growing text as outputs of a notebook's cell, with a limited number of updates.

Complete blocks (paragraphs, closed code blocks) become separate outputs that no longer change. Only the last output is
replaced while more text arrives. So a long answer is not sent whole ten times a second, and the browser does not lay
out all of it each time.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Protocol

from gigaclient.types.markdown import cut_point, for_notebook, with_note

__all__ = ["GrowingText", "Publish"]

# Ten updates a second look like typing. A very long block without a cut point is updated less often.
_PERIOD_SECONDS = 0.1
_CHARACTERS_PER_SECOND = 80_000

# The minimal length of a finished output. Front ends collapse more than about fifty outputs, so the outputs of a very
# long text are longer: at least one eighth of the text before them.
_MIN_PART_CHARS = 4000
_MIN_PART_DIVISOR = 8


class Publish(Protocol):
    """A function that shows data, by MIME type, as the output ``name``: as a new one, or replacing its content."""

    def __call__(self, name: str, data: dict[str, str], *, update: bool) -> None:
        """Show ``data``; with ``update``, replace the content of the output."""


class GrowingText:
    """Show a text while it grows. Not thread-safe.

    Args:
        publish: see :class:`Publish`.
        clock: returns the time in seconds.
    """

    def __init__(self, publish: Publish, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._publish = publish
        self._clock = clock
        self._due_at = clock()
        self._start = 0  # index of the part that is replaced
        self._name = ""  # the name of its output; empty if there is none yet

    @property
    def wait_seconds(self) -> float:
        """The seconds until the next update is due; 0 if it is due now."""
        return max(0.0, self._due_at - self._clock())

    def show(self, text: str, note: str = "") -> None:
        """Show the current text, with a note that the next update removes. Call it when :attr:`wait_seconds` is 0."""
        cut = cut_point(text, self._start, max(_MIN_PART_CHARS, self._start // _MIN_PART_DIVISOR))
        if cut > self._start:
            self._put(text[self._start : cut], whole=True)
            self._start, self._name = cut, ""
        part = text[self._start :]
        if part.strip() or note:
            self._put(part, note)
        self._due_at = self._clock() + max(_PERIOD_SECONDS, len(part) / _CHARACTERS_PER_SECOND)

    def finish(self, text: str, note: str = "") -> None:
        """Show the final text, with a note that stays. These outputs are stored in the notebook."""
        part = text[self._start :]
        if part.strip() or note or self._name:
            self._put(part, note, whole=True)

    def _put(self, part: str, note: str = "", *, whole: bool = False) -> None:
        shown = for_notebook(part, pictures=False, unfinished=not whole)
        data = {"text/markdown": with_note(shown, f"*({note})*") if note else shown}
        if whole:
            data["text/plain"] = f"{part.rstrip()}\n\n({note})".lstrip() if note else part.rstrip()
        update, self._name = bool(self._name), self._name or uuid.uuid4().hex
        self._publish(self._name, data, update=update)
