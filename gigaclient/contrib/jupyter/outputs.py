"""A text that grows, as outputs of a notebook's cell: as often as an eye needs, and no part of it again and again.

What is whole already (paragraphs, code that is closed) is left as it is in an output of its own; the last output is
what is replaced while more comes. So a long answer is not sent as a whole ten times a second, and the browser does not
have to lay out all of it as often.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Protocol

from gigaclient.types.markdown import cut_point, for_notebook, with_note

__all__ = ["GrowingText", "Publish"]

# Ten times a second looks like a hand that writes; a very long part, which no cut point parts, comes less often.
_PERIOD_SECONDS = 0.1
_CHARACTERS_PER_SECOND = 80_000

# A part that is left behind has so many characters at the least. Front ends fold more than about fifty outputs away, so
# those of a very long text are longer.
_LEAST_PART = 4000
_PART_OF_WHOLE = 8


class Publish(Protocol):
    """Shows data, by MIME type, as the output ``name``: a new one, or in the place of what it showed before."""

    def __call__(self, name: str, data: dict[str, str], *, update: bool) -> None: ...


class GrowingText:
    """Shows a text while it grows. For one thread.

    Args:
        publish: see :class:`Publish`.
        clock: gives seconds.
    """

    def __init__(self, publish: Publish, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._publish = publish
        self._clock = clock
        self._due_at = clock()
        self._start = 0  # where the part begins that is replaced
        self._name = ""  # of the output that shows it; empty while there is none

    @property
    def wait_seconds(self) -> float:
        """How long until the next look at the text is due; 0 when it is."""
        return max(0.0, self._due_at - self._clock())

    def show(self, text: str, note: str = "") -> None:
        """Show ``text`` as it is now, with a note at its end that is gone with the next; call it when it is due."""
        cut = cut_point(text, self._start, max(_LEAST_PART, self._start // _PART_OF_WHOLE))
        if cut > self._start:
            self._put(text[self._start : cut], whole=True)
            self._start, self._name = cut, ""
        part = text[self._start :]
        if part.strip() or note:
            self._put(part, note)
        self._due_at = self._clock() + max(_PERIOD_SECONDS, len(part) / _CHARACTERS_PER_SECOND)

    def finish(self, text: str, note: str = "") -> None:
        """Show the last of it, with a note that stays; the outputs are what the notebook will be stored with."""
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
