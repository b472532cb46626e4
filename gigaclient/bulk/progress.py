"""The progress bar of a run: tqdm on a terminal, its widget in a notebook, or nothing.

Needs the extra ``gigaclient[progress]``. An error of the bar never ends a run.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from importlib import import_module
from typing import Any

from gigaclient.errors import ConfigError

__all__ = ["Progress", "progress_for"]

_MIN_SECONDS_BETWEEN_DRAWS = 0.1
# The weight of the last update in the rate and the remaining time. tqdm's default of 0.3 jumps with every slow answer.
_SMOOTHING = 0.05


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
    raise ConfigError('a progress bar needs tqdm: pip install "gigaclient[progress]"')


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
        self._options = {"total": total, "unit": unit, "smoothing": _SMOOTHING, "mininterval": 0, "miniters": 0}
        self._bar: Any = None
        self._closed = False
        self._drawn_at = 0.0
        self._finished = self._tokens = self._failed = self._restored = 0

    def begin(self) -> None:
        if self._bar is not None or self._closed:
            return
        self._drawn_at = time.monotonic()
        try:
            self._bar = self._bar_class(**self._options, dynamic_ncols=True)
        except Exception:
            self._abandon()
        else:
            if self._bar.disable:  # by the variable TQDM_DISABLE
                self._abandon()

    def update(self, *, tokens: int, failed: bool, restored: bool) -> None:
        if self._closed:
            return
        self._finished += 1
        self._tokens += tokens
        self._failed += failed
        self._restored += restored
        now = time.monotonic()
        if now - self._drawn_at >= _MIN_SECONDS_BETWEEN_DRAWS:
            self.begin()
            self._drawn_at = now
            self._draw()

    def close(self, stopped: str | None = None) -> None:
        if self._bar is not None and not self._closed:
            try:
                self._update_counts(stopped)
                self._bar.n = self._finished
                self._bar.close()
            except Exception:
                self._abandon()
        self._closed = True

    def _draw(self) -> None:
        if self._closed:
            return
        try:
            self._update_counts(None)
            advance = self._finished - self._bar.n
            if advance:
                self._bar.update(advance)
            else:
                self._bar.refresh()
        except Exception:
            self._abandon()

    def _update_counts(self, stopped: str | None) -> None:
        """Update the counts in the bar. Restored items took no time, so they do not count towards the rate."""
        restored = self._restored - self._bar.initial
        self._bar.initial += restored
        self._bar.n += restored
        self._bar.last_print_n += restored
        notes = []
        if self._tokens:
            count = self._bar_class.format_sizeof(self._tokens) if self._tokens > 999 else str(self._tokens)
            notes.append("1 token" if count == "1" else f"{count} tokens")
        if self._failed:
            notes.append("1 error" if self._failed == 1 else f"{self._failed} errors")
        if self._restored:
            notes.append(f"{self._restored} restored")
        if stopped is not None:
            notes.append("stopped" if stopped == "closed" else f"stopped by {stopped}")
        self._bar.set_postfix_str(", ".join(notes), refresh=False)

    def _abandon(self) -> None:
        # Standard error is closed, or its reader is gone.
        self._closed = True
        self._bar = None


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
def _safe_class(bar_class: Any) -> Any:
    """Return a bar class without tqdm's side effects on the whole program.

    It starts no monitor thread, is closed explicitly and never by the garbage collector, and releases the lock that all
    bars share even if drawing fails.
    """
    overrides = {"monitor_interval": 0, "refresh": _refresh, "__del__": _do_nothing}
    return type(
        bar_class.__name__,
        (bar_class,),
        {**overrides, "format_dict": property(functools.partial(_narrower_format_dict, bar_class))},
    )


def _refresh(bar: Any, nolock: bool = False, lock_args: Any = None) -> bool | None:
    if bar.disable:
        return None
    with contextlib.nullcontext() if nolock else bar.get_lock():
        bar.display()
    return True


def _narrower_format_dict(bar_class: Any, bar: Any) -> dict[str, Any]:
    # Leave space for the ^C that a terminal prints: a full line would wrap and leave half a bar.
    options: dict[str, Any] = bar_class.format_dict.fget(bar)
    if isinstance(options["ncols"], int):
        options["ncols"] -= 2
    return options


def _do_nothing(bar: Any) -> None:
    """Do not draw an abandoned bar again."""
