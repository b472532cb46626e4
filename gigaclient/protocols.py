"""The interface that both providers implement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gigaclient.streaming.stream import ChatStream
from gigaclient.types import Chat, ChatCompletion, Message

if TYPE_CHECKING:
    from typing_extensions import Unpack  # type checkers include it; it is not needed at run time

    from gigaclient.types.options import ChatOptions

__all__ = ["ChatProvider", "Messages"]

Messages = str | Sequence[Message | Mapping[str, Any]] | Chat | Mapping[str, Any]
"""A prompt: one user message as a string, a list of messages, or a whole request."""


@runtime_checkable
class ChatProvider(Protocol):
    """The interface of a chat client: code written against it works with either provider.

    Every method blocks the calling thread and may be called from many threads at once.
    """

    def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatCompletion:
        """Return the whole answer."""

    def stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatStream:
        """Return the answer as a stream of chunks."""

    def generate(self, messages: Messages, **options: Unpack[ChatOptions]) -> Iterator[str]:
        """Yield the text of the answer as it arrives, and nothing but text."""

    def close(self) -> None:
        """Close the connections."""

    def __enter__(self) -> ChatProvider:
        """Return the provider; it is closed at the end of the ``with`` block."""

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @classmethod
    def create_generator(
        cls, model: str | None, messages: Messages, stream: bool = True, proxy: str | None = None, **kwargs: Any
    ) -> Iterator[str]:
        """Make or reuse a client and yield the answer's text: the one-call form for scripts."""
