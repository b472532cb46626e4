"""An answer of API v2 as it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gigaclient.gigachat.v2.accumulator import ResponseAccumulator
from gigaclient.gigachat.v2.stream_events import ResponseEventParser
from gigaclient.streaming.stream import Stream, StreamResponse
from gigaclient.types.chat_v2 import ChatCompletionResponse, ChatCompletionResponseChunk

if TYPE_CHECKING:
    from gigaclient._primitives.deadline import Deadline

__all__ = ["ChatResponseStream"]


class ChatResponseStream(Stream[ChatCompletionResponseChunk, ChatCompletionResponse]):
    """A chat answer of API v2 as it arrives: its chunks, :class:`~gigaclient.types.ChatCompletionResponseChunk`, add up
    to a :class:`~gigaclient.types.ChatCompletionResponse`.

    The answer is whole with the event ``response.message.done``, or with a finish reason where events have no names. An
    answer that the server ends as failed (``response.error``, or the finish reason ``error``) raises an
    :class:`~gigaclient.errors.APIStatusError` with what came before on it. What else is promised is at
    :class:`~gigaclient.streaming.stream.Stream`.
    """

    def __init__(self, response: StreamResponse, *, request_id: str | None = None) -> None:
        parser = ResponseEventParser(request_id)
        super().__init__(_UntilDone(response, parser), parser, ResponseAccumulator(), request_id=request_id)


class _UntilDone:
    """A reply that ends with the event that ends the answer: nothing that happens to the connection later matters."""

    def __init__(self, response: StreamResponse, parser: ResponseEventParser) -> None:
        self._response = response
        self._interpreter = parser
        self.observer = getattr(response, "observer", None)

    @property
    def deadline(self) -> Deadline:
        return self._response.deadline

    def blocks(self) -> Iterator[bytes]:
        blocks = self._response.blocks()
        for block in blocks:
            yield block
            if self._interpreter.done:
                self._response.drain(blocks)
                return

    def drain(self, blocks: Iterator[bytes]) -> None:
        self._response.drain(blocks)

    def close(self) -> None:
        self._response.close()
