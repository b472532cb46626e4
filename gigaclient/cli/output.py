"""Write answers: as Markdown on a terminal, as plain text in a pipe, as JSON for programs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Protocol

import msgspec

from gigaclient.cli.console import Screen, is_terminal, wants_colour
from gigaclient.errors import GigaClientError
from gigaclient.types import ChatCompletion, ChatCompletionChunk

__all__ = ["TextStream", "as_document", "echo_off", "renders_markdown", "show", "show_notes"]


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


def show(screen: Screen, stream: TextStream, *, plain: bool) -> None:
    """Write the text of ``stream`` as it arrives. The output ends with a line break, also after an error.

    Call it within :func:`echo_off`.

    Raises:
        GigaClientError, KeyboardInterrupt: the stream ended with it; the received text is on the screen.
    """
    if renders_markdown(screen, plain):
        from gigaclient.cli.live_markdown import LiveMarkdown

        with LiveMarkdown(sys.stdout, colour=wants_colour(sys.stdout, screen.no_color)) as live:
            for chunk in stream:
                live.feed(chunk.text)
        return
    line_ended = True
    try:
        for chunk in stream:
            text = chunk.text
            if text:
                screen.text(text)
                line_ended = text.endswith("\n")
    finally:
        failure = sys.exc_info()[1]
        output_is_gone = isinstance(failure, OSError) and not isinstance(failure, GigaClientError)
        if not line_ended and not output_is_gone:
            screen.text("\n")


def show_notes(screen: Screen, completion: ChatCompletion) -> None:
    """Print the files and the finish reason of an answer, if they matter."""
    for file in completion.files:
        screen.note(f"{file.kind}: gigaclient files download {file.id}")
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
    with _exit_on_signals():
        termios.tcsetattr(descriptor, termios.TCSADRAIN, without_echo)
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    # Without this, a kill would leave the terminal without echo.
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


def as_document(completion: ChatCompletion) -> dict[str, Any]:
    """Return an answer as ``--json`` shows it."""
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
        document["files"] = [msgspec.to_builtins(file) for file in files]
    return document
