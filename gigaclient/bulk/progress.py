"""The progress of a run, and its bar: tqdm on a terminal, its widget in a notebook, or nothing.

The bar needs the extra ``gigaclient[progress]``. An error of the bar never ends a run.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from gigaclient._primitives.extras import extra_is_missing
from gigaclient.errors import ConfigError

__all__ = ["MapProgress", "Progress", "progress_for"]

_MIN_SECONDS_BETWEEN_DRAWS = 0.1


class MapProgress(NamedTuple):
    """The progress of a run: ``results.progress``.

    Attributes:
        read: prompts read so far.
        answered: prompts with an answer, restored ones included.
        failed: prompts with an error.
        restored: prompts whose result was in the checkpoint.
        tokens: tokens that this run used, as the server counted. Restored answers are not included.
        seconds: seconds since the first prompt was read.
        blocked: the failed ones whose answer the service's filter blocked.
    """

    read: int
    answered: int
    failed: int
    restored: int
    tokens: int
    seconds: float
    blocked: int = 0


def progress_for(wanted: bool | None, *, total: int | None, unit: str = "prompt") -> Progress:
    """Return the progress display of a run. It shows nothing before :meth:`Progress.begin`.

    Args:
        wanted: True for a bar, False for none. None shows one on a terminal and in a notebook, if tqdm is installed.
        total: the number of items, if it is known.
        unit: the name of an item.

    Raises:
        ConfigError: a bar is wanted and tqdm is not installed; or ``wanted`` has another type.
    """
    if wanted not in (True, False, None):
        raise ConfigError(f"progress must be True, False or None, not {type(wanted).__name__}")
    in_notebook = _in_notebook()
    if wanted is False or (wanted is None and not in_notebook and not _on_terminal()):
        return Progress()
    bar_class = _find_bar_class(in_notebook)
    if bar_class is not None:
        return _Bar(bar_class, total, unit)
    if wanted is None:
        return Progress()
    raise ConfigError(extra_is_missing("a progress bar", "tqdm", "progress"))


class Progress:
    """A display that shows nothing. One thread calls all methods, and none of them raises."""

    def begin(self) -> None:
        """Show the start of the run."""

    def update(self, *, tokens: int, failed: bool, restored: bool) -> None:
        """Count one more finished item.

        Args:
            tokens: the tokens that it cost now.
            failed: it has no answer.
            restored: it was answered in an earlier run.
        """

    def close(self, stopped: str | None = None) -> None:
        """End the display, and leave the last state visible. Calling it again does nothing.

        Args:
            stopped: the reason why the run ended early; ``"closed"`` if the caller closed it.
        """


class _Bar(Progress):
    def __init__(self, bar_class: Any, total: int | None, unit: str) -> None:
        self._bar_class = bar_class
        self._options = {"total": total, "unit": unit, "dynamic_ncols": True}
        self._bar: Any = None
        self._closed = False
        self._drawn_at = 0.0
        self._finished = self._tokens = self._failed = self._restored = 0

    def begin(self) -> None:
        if self._bar is None and not self._closed:
            self._drawn_at = time.monotonic()
            with self._abandon_on_error():
                self._bar = self._bar_class(**self._options)
                self._closed = self._bar.disable  # by the variable TQDM_DISABLE

    def update(self, *, tokens: int, failed: bool, restored: bool) -> None:
        self._finished += 1
        self._tokens += tokens
        self._failed += failed
        self._restored += restored
        now = time.monotonic()
        if self._bar is not None and not self._closed and now - self._drawn_at >= _MIN_SECONDS_BETWEEN_DRAWS:
            self._drawn_at = now
            with self._abandon_on_error():
                self._set_counts()
                self._bar.refresh()

    def close(self, stopped: str | None = None) -> None:
        if self._bar is not None and not self._closed:
            with self._abandon_on_error():
                self._set_counts(stopped)
                self._bar.close()
        self._closed = True

    def _set_counts(self, stopped: str | None = None) -> None:
        """Update the counts in the bar. Restored items took no time, so they do not count towards the rate."""
        self._bar.n, self._bar.initial = self._finished, self._restored
        notes = []
        if self._tokens:
            count = self._bar.format_sizeof(self._tokens) if self._tokens > 999 else str(self._tokens)
            notes.append("1 token" if count == "1" else f"{count} tokens")
        if self._failed:
            notes.append("1 error" if self._failed == 1 else f"{self._failed} errors")
        if self._restored:
            notes.append(f"{self._restored} restored")
        if stopped is not None:
            notes.append("stopped" if stopped == "closed" else f"stopped by {stopped}")
        self._bar.set_postfix_str(", ".join(notes), refresh=False)

    @contextlib.contextmanager
    def _abandon_on_error(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # standard error is closed, or its reader is gone
            self._closed = True


def _in_notebook() -> bool:
    """Return True in a kernel of Jupyter, Colab or an editor. Nothing is imported for that."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def _on_terminal() -> bool:
    try:
        return bool(sys.stderr.isatty()) and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # standard error is missing or closed
        return False


def _find_bar_class(in_notebook: bool) -> Any:
    """Return the class of the bar; None if tqdm is not installed."""
    try:
        if in_notebook:
            module = import_module("tqdm.notebook")
            if module.IProgress is not None:  # without ipywidgets, text works as well
                return _safe_class(module.tqdm)
        return _safe_class(import_module("tqdm.std").tqdm)
    except ImportError:
        return None


@functools.cache
def _safe_class(base: Any) -> Any:
    """Return a bar class without tqdm's side effects on the whole program."""

    class SafeBar(base):  # type: ignore[misc]
        monitor_interval = 0  # no monitor thread

        def refresh(self, nolock: bool = False, lock_args: Any = None) -> Any:
            # tqdm would keep the lock that all bars of the program share if drawing fails.
            with contextlib.nullcontext() if nolock else self.get_lock():
                return super().refresh(nolock=True)

        @property
        def format_dict(self) -> dict[str, Any]:
            # Leave space for the ^C that a terminal prints: a full line would wrap and leave half a bar.
            options: dict[str, Any] = super().format_dict
            if isinstance(options["ncols"], int):
                options["ncols"] -= 2
            return options

        def __del__(self) -> None:
            """Do not draw an abandoned bar again."""

    return SafeBar
