"""The answer of a thread's run as it arrives: chunks as a chat has them, but for the usage, which comes in parts.

Stand-dependent, not in the public OpenAPI. Source: https://github.com/ai-forever/gigachat
"""

from __future__ import annotations

import msgspec

from gigaclient._primitives.decoding import decoder
from gigaclient.gigachat.stream_events import ChoicesParser
from gigaclient.streaming.accumulator import ChatAccumulator, summed
from gigaclient.streaming.stream import Stream, StreamResponse
from gigaclient.types import Usage
from gigaclient.types.threads import ThreadCompletion, ThreadCompletionChunk

__all__ = ["ThreadAccumulator", "ThreadEventParser", "ThreadStream"]

_decoder = decoder(ThreadCompletionChunk)


class ThreadEventParser(ChoicesParser[ThreadCompletionChunk]):
    """Events of a run with ``stream``: one JSON chunk each, then ``[DONE]``."""

    def __init__(self, request_id: str | None) -> None:
        super().__init__(request_id, _decoder)


class ThreadAccumulator:
    """Adds chunk to chunk; :meth:`completion` may be asked for at any time."""

    def __init__(self) -> None:
        self._chat = ChatAccumulator()
        self._usage: Usage | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return self._chat.text

    @property
    def finished(self) -> bool:
        """Whether a chunk said why the answer ended."""
        return self._chat.finished

    def add(self, chunk: ThreadCompletionChunk, sent: bytes) -> None:
        """Take the next chunk in, and the data of the event that it came as."""
        self._chat.add(chunk, sent)
        if chunk.usage is not None:
            self._usage = summed(self._usage, chunk.usage)

    def completion(self) -> ThreadCompletion:
        """The answer so far, as if it had come in one piece; its ``usage`` is the sum of the chunks'."""
        chat, usage = self._chat.completion(), self._usage
        completion = ThreadCompletion(
            message=chat.message,
            object=chat.object,
            model=chat.model,
            thread_id=chat.thread_id,
            message_id=chat.message_id,
            created=chat.created,
            usage=usage,
            finish_reason=chat.finish_reason,
        )
        raw = {name: value for name, value in chat.raw.items() if name != "choices"}
        for choice in chat.raw["choices"][:1]:
            raw.update({name: value for name, value in choice.items() if name not in ("index", "delta")})
        if usage is not None:
            raw["usage"] = {**(raw.get("usage") or {}), **msgspec.to_builtins(usage)}
        return completion.attach(raw=raw, request_id=chat.request_id)


class ThreadStream(Stream[ThreadCompletionChunk, ThreadCompletion]):
    """The answer of a run as it arrives: its chunks, :class:`~gigaclient.types.ThreadCompletionChunk`, add up to a
    :class:`~gigaclient.types.ThreadCompletion`, and their ``usage`` to its. What it promises is at
    :class:`~gigaclient.streaming.stream.Stream`.
    """

    def __init__(self, response: StreamResponse, parser: ThreadEventParser, *, request_id: str | None = None) -> None:
        super().__init__(response, parser, ThreadAccumulator(), request_id=request_id)
