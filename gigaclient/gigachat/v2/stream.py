"""The stream of a response of API v2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gigaclient.gigachat.v2.accumulator import ResponseAccumulator
from gigaclient.gigachat.v2.stream_events import ResponseEventParser
from gigaclient.streaming.stream import NULL_OBSERVER, Stream, StreamResponse
from gigaclient.types.chat_v2 import ChatCompletionResponse, ChatCompletionResponseChunk

if TYPE_CHECKING:
    from gigaclient._primitives.deadline import Deadline

__all__ = ["ChatResponseStream"]


class ChatResponseStream(Stream[ChatCompletionResponseChunk, ChatCompletionResponse]):
    """The stream of a chat response of API v2.

    Its chunks, :class:`~gigaclient.types.ChatCompletionResponseChunk`, add up to a
    :class:`~gigaclient.types.ChatCompletionResponse`.

    The response is complete with the event ``response.message.done``, or with a finish reason if the events have no
    names. A response that the server ends as failed (``response.error``, or the finish reason ``error``) raises an
    :class:`~gigaclient.errors.APIStatusError`, which holds what arrived before. See
    :class:`~gigaclient.streaming.stream.Stream` for other errors and limits.
    """

    def __init__(self, response: StreamResponse, *, request_id: str | None = None) -> None:
        parser = ResponseEventParser(request_id)
        super().__init__(_UntilDone(response, parser), parser, ResponseAccumulator(), request_id=request_id)


class _UntilDone:
    """A response whose bytes end after the last event, so that later connection errors do not matter."""

    def __init__(self, response: StreamResponse, parser: ResponseEventParser) -> None:
        self._response = response
        self._parser = parser
        self.headers: Mapping[str, str] = getattr(response, "headers", {})
        self.observer = getattr(response, "observer", NULL_OBSERVER)

    @property
    def deadline(self) -> Deadline:
        """The deadline of the call."""
        return self._response.deadline

    def blocks(self) -> Iterator[bytes]:
        """Yield the blocks of the body up to the last event, then drain the rest for the connection pool."""
        blocks = self._response.blocks()
        for block in blocks:
            yield block
            if self._parser.done:
                self._response.drain(blocks)
                return

    def drain(self, blocks: Iterator[bytes]) -> None:
        """Read the rest of the body if it is short, so that the connection can be reused."""
        self._response.drain(blocks)

    def close(self) -> None:
        """Close the response."""
        self._response.close()
