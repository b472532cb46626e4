"""Write answers: as Markdown on a terminal, as plain text in a pipe, as JSON for programs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import msgspec

from gigaclient.cli.console import Screen, is_terminal, wants_colour
from gigaclient.cli.spinner import spinning
from gigaclient.errors import GigaClientError
from gigaclient.types import ChatCompletion, ChatCompletionChunk

__all__ = [
    "TextStream",
    "as_document",
    "echo_off",
    "exit_on_signals",
    "renders_markdown",
    "show",
    "show_notes",
    "waiting",
]


class TextStream(Protocol):
    """A stream of chunks with the text received so far."""

    @property
    def text(self) -> str:
        """The text received so far."""

    @property
    def completion(self) -> ChatCompletion:
        """The complete answer."""

    def __iter__(self) -> Iterator[ChatCompletionChunk]: ...


def renders_markdown(screen: Screen, plain: bool) -> bool:
    """Decide whether to render Markdown: on a terminal that can move its cursor, unless ``plain`` is set."""
    if plain or not screen.on_terminal or os.environ.get("TERM") == "dumb":
        return False
    if sys.platform == "win32":
        from rich.console import detect_legacy_windows

        return not detect_legacy_windows()
    return True


@contextlib.contextmanager
def waiting(screen: Screen) -> Iterator[Callable[[], None]]:
    """Show a spinner on a terminal until the end, or until the yielded function is called; it leaves no trace.

    With ``--debug`` there is none, because the log goes to the same terminal.
    """
    logs_requests = logging.getLogger("gigaclient").isEnabledFor(logging.DEBUG)
    if screen.json or logs_requests or not renders_markdown(screen, plain=False):
        yield lambda: None
        return
    with spinning(sys.stdout) as stop:
        yield stop


def show(screen: Screen, stream: TextStream, *, plain: bool, before_text: Callable[[], None]) -> None:
    """Write the text of ``stream`` as it arrives. The output ends with a line break, also after an error.

    Call it within :func:`echo_off`, with the function of :func:`waiting` as ``before_text``.

    Raises:
        GigaClientError, KeyboardInterrupt: the stream ended with it; the received text is on the screen.
    """
    if renders_markdown(screen, plain):
        from gigaclient.cli.live_markdown import LiveMarkdown

        with LiveMarkdown(sys.stdout, colour=wants_colour(sys.stdout, screen.no_color)) as live:
            for chunk in stream:
                if chunk.text:
                    before_text()
                    live.feed(chunk.text)
        return
    line_ended = True
    try:
        for chunk in stream:
            text = chunk.text
            if text:
                before_text()
                screen.text(text)
                line_ended = text.endswith("\n")
    finally:
        failure = sys.exc_info()[1]
        output_is_gone = isinstance(failure, OSError) and not isinstance(failure, GigaClientError)
        if not line_ended and not output_is_gone:
            screen.text("\n")


def show_notes(screen: Screen, completion: ChatCompletion, saved: Mapping[str, Path] | None = None) -> None:
    """Print the files and the finish reason of an answer, if they matter; ``saved`` has paths of files by their ids."""
    for file in completion.files:
        path = (saved or {}).get(file.id)
        screen.note(f"saved: {path}" if path is not None else f"{file.kind}: gigaclient files download {file.id}")
    if completion.truncated:
        screen.note("the answer was cut at the token limit")
    elif completion.blocked:
        screen.note("the filter blocked the answer")


@contextlib.contextmanager
def echo_off() -> Iterator[None]:
    """Switch the echo of the terminal off, so that typed keys do not mix with the answer.

    The keys stay in the input for the next prompt. Ctrl-C still works.
    """
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    if not is_terminal(sys.stdin):
        yield
        return
    descriptor = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(descriptor)
    except termios.error:
        yield
        return
    without_echo = [*before]
    without_echo[3] &= ~termios.ECHO
    with exit_on_signals():
        termios.tcsetattr(descriptor, termios.TCSADRAIN, without_echo)
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that a kill leaves neither a terminal without echo nor files."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread
        before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def as_document(completion: ChatCompletion, saved: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """Return an answer as ``--json`` shows it; ``saved`` as for :func:`show_notes`."""
    document: dict[str, Any] = {
        "text": completion.text,
        "model": completion.model,
        "finish_reason": completion.finish_reason,
        "usage": msgspec.to_builtins(completion.usage),
        "request_id": completion.request_id,
    }
    if completion.function_call is not None:
        document["function_call"] = msgspec.to_builtins(completion.function_call)
    files = completion.files
    if files:
        paths = saved or {}
        document["files"] = [
            {**msgspec.to_builtins(file), **({"path": str(paths[file.id])} if file.id in paths else {})}
            for file in files
        ]
    return document
