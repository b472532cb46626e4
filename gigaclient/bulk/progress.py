"""The progress of a run, as a bar of tqdm on a terminal or as its widget in a notebook; or nothing at all.

Needs the extra ``gigaclient[progress]``. A bar is there to be looked at: nothing that goes wrong with it ends a run.
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

_SECONDS_BETWEEN = 0.1
# Of the rate, and so of the time left: how much the last drawing weighs. tqdm's own 0.3 jumps with every slow answer.
_SMOOTHING = 0.05


def progress_for(wanted: bool | None, *, total: int | None, unit: str = "prompt") -> Progress:
    """What shows the progress of a run. Nothing is shown before :meth:`Progress.begin`.

    Args:
        wanted: True for a bar, False for none; None for one where somebody can see it, which is on a terminal and in a
            notebook, and where tqdm is installed.
        total: how many items there are, if that is known.
        unit: what an item is called.

    Raises:
        ConfigError: a bar is wanted, and tqdm is not installed; or ``wanted`` is none of these.
    """
    if wanted not in (True, False, None):
        raise ConfigError(f"progress must be True, False or None, not {type(wanted).__name__}")
    in_notebook = _in_notebook()
    if wanted is False or (wanted is None and not in_notebook and not _on_terminal()):
        return Progress()
    kind = _kind_of_bar(in_notebook)
    if kind is not None:
        return _Bar(kind, total, unit)
    if wanted is None:
        return Progress()
    raise ConfigError('a progress bar needs tqdm: pip install "gigaclient[progress]"')


class Progress:
    """Shows nothing. All methods are called by one thread, and none of them raises."""

    def begin(self) -> None:
        """The run begins."""

    def update(self, *, tokens: int, failed: bool, restored: bool) -> None:
        """One more item is finished.

        Args:
            tokens: what it cost now.
            failed: it has no answer.
            restored: it was answered in an earlier run.
        """

    def close(self, stopped: str | None = None) -> None:
        """The run is over; what was reached stays to be seen. More than once is no harm.

        Args:
            stopped: why it ended before all items were finished; ``"closed"`` when the caller wanted that.
        """


class _Bar(Progress):
    def __init__(self, kind: Any, total: int | None, unit: str) -> None:
        self._kind = kind
        self._options = {"total": total, "unit": unit, "smoothing": _SMOOTHING, "mininterval": 0, "miniters": 0}
        self._bar: Any = None
        self._over = False
        self._drawn_at = 0.0
        self._finished = self._tokens = self._failed = self._restored = 0

    def begin(self) -> None:
        if self._bar is not None or self._over:
            return
        self._drawn_at = time.monotonic()
        try:
            self._bar = self._kind(**self._options, dynamic_ncols=True)
        except Exception:
            self._give_up()
        else:
            if self._bar.disable:  # by the variable TQDM_DISABLE
                self._give_up()

    def update(self, *, tokens: int, failed: bool, restored: bool) -> None:
        if self._over:
            return
        self._finished += 1
        self._tokens += tokens
        self._failed += failed
        self._restored += restored
        now = time.monotonic()
        if now - self._drawn_at >= _SECONDS_BETWEEN:
            self.begin()
            self._drawn_at = now
            self._draw()

    def close(self, stopped: str | None = None) -> None:
        if self._bar is not None and not self._over:
            try:
                self._tell(stopped)
                self._bar.n = self._finished
                self._bar.close()
            except Exception:
                self._give_up()
        self._over = True

    def _draw(self) -> None:
        if self._over:
            return
        try:
            self._tell(None)
            asked = self._finished - self._bar.n
            if asked:
                self._bar.update(asked)
            else:
                self._bar.refresh()
        except Exception:
            self._give_up()

    def _tell(self, stopped: str | None) -> None:
        """Tell the bar what has no part in its rate: the counts, and what was restored, which took no time."""
        restored = self._restored - self._bar.initial
        self._bar.initial += restored
        self._bar.n += restored
        self._bar.last_print_n += restored
        notes = []
        if self._tokens:
            count = self._kind.format_sizeof(self._tokens) if self._tokens > 999 else str(self._tokens)
            notes.append("1 token" if count == "1" else f"{count} tokens")
        if self._failed:
            notes.append("1 error" if self._failed == 1 else f"{self._failed} errors")
        if self._restored:
            notes.append(f"{self._restored} restored")
        if stopped is not None:
            notes.append("stopped" if stopped == "closed" else f"stopped by {stopped}")
        self._bar.set_postfix_str(", ".join(notes), refresh=False)

    def _give_up(self) -> None:
        # Standard error is closed, or its reader has left.
        self._over = True
        self._bar = None


def _in_notebook() -> bool:
    """Whether this code runs in a kernel: of Jupyter, Colab, an editor. Nothing is imported to find out."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def _on_terminal() -> bool:
    try:
        return bool(sys.stderr.isatty()) and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def _kind_of_bar(in_notebook: bool) -> Any:
    """The class of the bar; None where tqdm is not installed."""
    try:
        if in_notebook:
            module = import_module("tqdm.notebook")
            if module.IProgress is not None:  # without ipywidgets, text does as well
                return _well_behaved(module.tqdm)
        return _well_behaved(import_module("tqdm.std").tqdm)
    except ImportError:
        return None


@functools.cache
def _well_behaved(kind: Any) -> Any:
    """A bar that starts no thread to watch it, that is over when it is closed and not when it is collected, and that
    opens its lock, which all bars of the process share, whatever happens while it is drawn.
    """
    own = {"monitor_interval": 0, "refresh": _refresh, "__del__": _nothing}
    return type(kind.__name__, (kind,), {**own, "format_dict": property(functools.partial(_narrower, kind))})


def _refresh(bar: Any, nolock: bool = False, lock_args: Any = None) -> bool | None:
    if bar.disable:
        return None
    with contextlib.nullcontext() if nolock else bar.get_lock():
        bar.display()
    return True


def _narrower(kind: Any, bar: Any) -> dict[str, Any]:
    # Room for the ^C that a terminal shows: at the end of a full line it would begin another, and leave half a bar.
    options: dict[str, Any] = kind.format_dict.fget(bar)
    if isinstance(options["ncols"], int):
        options["ncols"] -= 2
    return options


def _nothing(bar: Any) -> None:
    """An open bar that nobody holds any more is not drawn again."""
