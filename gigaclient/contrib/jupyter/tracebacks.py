"""Show an error of a call without the frames of gigaclient: the frames of the user's code, then one sentence."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from gigaclient.errors import APIStatusError, GigaClientError

__all__ = ["ShortTracebacks", "sentence_of", "wants_all_frames"]

_PACKAGE = str(Path(__file__).resolve().parents[2]) + os.sep
_LIBRARIES = frozenset({"site-packages", "dist-packages"})
_STANDARD_LIBRARY = sysconfig.get_path("stdlib") + os.sep


class ShortTracebacks:
    """Shortens the tracebacks of a shell for ``GigaClientError``, and for a call that was interrupted.

    ``%tb`` shows all frames, and so does every error after ``%xmode Verbose``. IPython has one handler for such
    exceptions: one that was set before keeps its exceptions.

    Args:
        shell: the shell of IPython.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._before: tuple[tuple[type[BaseException], ...], Any] = ((), None)
        self._exceptions: tuple[type[BaseException], ...] = ()

    def install(self) -> None:
        """Set the handler of the shell."""
        self._before = (self._shell.custom_exceptions, self._shell.CustomTB)
        self._exceptions = (GigaClientError, KeyboardInterrupt, *self._before[0])
        self._shell.set_custom_exc(self._exceptions, self._show)

    def remove(self) -> None:
        """Restore the handler that was set before, unless the user has set another one since."""
        if self._shell.custom_exceptions is self._exceptions:
            self._shell.custom_exceptions, self._shell.CustomTB = self._before

    def _show(self, shell: Any, type_: Any, error: Any, trace: TracebackType, tb_offset: int | None = None) -> Any:
        exceptions, handler = self._before
        if isinstance(error, exceptions):
            return handler(type_, error, trace, tb_offset)
        short = None
        if not wants_all_frames(shell) and not hasattr(error, "_render_traceback_"):
            short = _without_own_frames(trace)
        if short is not None:
            lines = shell.InteractiveTB.structured_traceback(*_in_one_sentence(error), short, tb_offset=tb_offset)
            # IPython shows these lines, but remembers all frames for %tb.
            error._render_traceback_ = lambda: lines
        try:
            shell.showtraceback((type_, error, trace), tb_offset=tb_offset, running_compiled_code=True)
        finally:
            if short is not None:
                del error._render_traceback_
        return None


def wants_all_frames(shell: Any) -> bool:
    """Return True after ``%xmode Verbose``."""
    return getattr(shell.InteractiveTB, "mode", "") == "Verbose"


def sentence_of(error: GigaClientError, advice: str = "") -> str:
    """Return the message of an error without the history of attempts.

    Args:
        error: the error.
        advice: the step to take in a notebook; it follows the message.
    """
    status = f"{error.status_code}: " if isinstance(error, APIStatusError) else ""
    text = "; ".join(filter(None, [f"{status}{error.message}", advice]))
    if isinstance(error, APIStatusError) and error.retry_after:
        text += f"; the service asks to wait {error.retry_after:.0f} s"
    return f"{text} (request {error.request_id})" if error.request_id else text


def _in_one_sentence(error: BaseException) -> tuple[type[BaseException], BaseException]:
    """Return a stand-in for ``error`` that has its name, and neither a cause nor the history of attempts."""
    if isinstance(error, GigaClientError):
        text = sentence_of(error)
    else:
        text = "the call was interrupted, and its requests are cancelled"
    class_ = type(type(error).__name__, (Exception,), {"__module__": "builtins"})
    return class_, class_(text)


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _without_own_frames(trace: TracebackType) -> TracebackType | None:
    """Return the frames of the user's code; None if no frame is of this package.

    The frames before the first of this package all stay. After it, only callbacks of the user's code are kept.
    """
    frames = list(_frames(trace))
    first = next((index for index, one in enumerate(frames) if _file_of(one).startswith(_PACKAGE)), None)
    if first is None:
        return None
    kept: TracebackType | None = None
    for index, one in reversed(list(enumerate(frames))):
        if index < first or _is_users(_file_of(one)):
            kept = TracebackType(kept, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return kept


def _file_of(trace: TracebackType) -> str:
    return trace.tb_frame.f_code.co_filename


def _is_users(file: str) -> bool:
    return not (
        file.startswith((_PACKAGE, _STANDARD_LIBRARY, "<frozen")) or _LIBRARIES.intersection(file.split(os.sep))
    )
