"""An answer of API v2 as it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gigaclient.gigachat.v2.accumulator import ResponseAssembler
from gigaclient.gigachat.v2.stream_events import ResponseInterpreter
from gigaclient.streaming.stream import Stream, StreamReply
from gigaclient.types.chat_v2 import ChatCompletionResponse, ChatCompletionResponseChunk

if TYPE_CHECKING:
    from gigaclient._primitives.deadline import Patience

__all__ = ["ChatResponseStream"]


class ChatResponseStream(Stream[ChatCompletionResponseChunk, ChatCompletionResponse]):
    """A chat answer of API v2 as it arrives: its chunks, :class:`~gigaclient.types.ChatCompletionResponseChunk`, add up
    to a :class:`~gigaclient.types.ChatCompletionResponse`.

    The answer is whole with the event ``response.message.done``, or with a finish reason where events have no names. An
    answer that the server ends as failed (``response.error``, or the finish reason ``error``) raises an
    :class:`~gigaclient.errors.APIStatusError` with what came before on it. What else is promised is at
    :class:`~gigaclient.streaming.stream.Stream`.
    """

    def __init__(self, reply: StreamReply, *, request_id: str | None = None) -> None:
        interpreter = ResponseInterpreter(request_id)
        super().__init__(_UntilDone(reply, interpreter), interpreter, ResponseAssembler(), request_id=request_id)


class _UntilDone:
    """A reply that ends with the event that ends the answer: nothing that happens to the connection later matters."""

    def __init__(self, reply: StreamReply, interpreter: ResponseInterpreter) -> None:
        self._reply = reply
        self._interpreter = interpreter
        self.watch = getattr(reply, "watch", None)

    @property
    def patience(self) -> Patience:
        return self._reply.patience

    def blocks(self) -> Iterator[bytes]:
        blocks = self._reply.blocks()
        for block in blocks:
            yield block
            if self._interpreter.done:
                self._reply.drain(blocks)
                return

    def drain(self, blocks: Iterator[bytes]) -> None:
        self._reply.drain(blocks)

    def close(self) -> None:
        self._reply.close()
