"""An answer on its way to wherever it goes: drawn for a person, as plain text for a pipe, as JSON for a program."""

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

__all__ = ["Answering", "as_document", "notes", "renders", "show", "undisturbed"]


class Answering(Protocol):
    """A stream of chunks that knows its text so far."""

    @property
    def text(self) -> str: ...

    @property
    def completion(self) -> ChatCompletion: ...

    def __iter__(self) -> Iterator[ChatCompletionChunk]: ...


def renders(screen: Screen, plain: bool) -> bool:
    """Whether answers are drawn as Markdown: on a terminal that can move its cursor, unless plain text is wanted."""
    if plain or not screen.on_terminal or os.environ.get("TERM") == "dumb":
        return False
    if sys.platform == "win32":
        from rich.console import detect_legacy_windows

        return not detect_legacy_windows()
    return True


def show(screen: Screen, stream: Answering, *, plain: bool) -> None:
    """Write the text of ``stream`` as it comes, and end on a line of its own whatever ends it.

    Raises:
        GigaClientError, KeyboardInterrupt: what ended the stream; its text so far is on the screen.
    """
    if renders(screen, plain):
        from gigaclient.cli.live_markdown import LiveMarkdown

        with undisturbed(), LiveMarkdown(sys.stdout, colour=wants_colour(sys.stdout, screen.no_color)) as painter:
            for chunk in stream:
                painter.feed(chunk.text)
        return
    ended_line = True
    with undisturbed() if screen.on_terminal else contextlib.nullcontext():
        try:
            for chunk in stream:
                text = chunk.text
                if text:
                    screen.text(text)
                    ended_line = text.endswith("\n")
        finally:
            failure = sys.exc_info()[1]
            output_is_gone = isinstance(failure, OSError) and not isinstance(failure, GigaClientError)
            if not ended_line and not output_is_gone:
                screen.text("\n")


def notes(screen: Screen, completion: ChatCompletion) -> None:
    """What there is to know of an answer beside its text."""
    for file in completion.files:
        screen.note(f"{file.kind}: gigaclient files download {file.id}")
    if completion.finish_reason == "length":
        screen.note("the answer was cut by the limit of tokens")
    elif completion.finish_reason == "blacklist":
        screen.note("the filter held the answer back")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What is typed meanwhile is not echoed into the answer; it is there for the next prompt. Ctrl-C works."""
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
    silent = [*before]
    silent[3] &= ~termios.ECHO
    with _ending_in_order():
        termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    # Killed outright, it would leave a terminal that echoes nothing.
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
    """An answer as ``--json`` shows it."""
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
