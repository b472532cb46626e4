"""The stream of a thread's run: its chunks are those of a chat, and each may hold a part of the usage.

Stand-dependent, not in the public OpenAPI. Source: https://github.com/ai-forever/gigachat
"""

from __future__ import annotations

import msgspec

from gigaclient._primitives.decoding import decoder
from gigaclient.gigachat.stream_events import ChoicesParser
from gigaclient.streaming.accumulator import ChatAccumulator, add_usage
from gigaclient.streaming.stream import Stream, StreamResponse
from gigaclient.types import Usage
from gigaclient.types.threads import ThreadCompletion, ThreadCompletionChunk

__all__ = ["ThreadAccumulator", "ThreadEventParser", "ThreadStream"]

_decoder = decoder(ThreadCompletionChunk)


class ThreadEventParser(ChoicesParser[ThreadCompletionChunk]):
    """Parser for the events of a run with ``stream``: one JSON chunk per event, then ``[DONE]``."""

    def __init__(self, request_id: str | None) -> None:
        super().__init__(request_id, _decoder)


class ThreadAccumulator:
    """Accumulates chunks; :meth:`completion` may be called at any time."""

    def __init__(self) -> None:
        self._chat = ChatAccumulator()
        self._usage: Usage | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return self._chat.text

    @property
    def finished(self) -> bool:
        """True once a chunk had a finish reason."""
        return self._chat.finished

    def add(self, chunk: ThreadCompletionChunk, sent: bytes) -> None:
        """Add the next chunk, and the data of its event."""
        self._chat.add(chunk, sent)
        if chunk.usage is not None:
            self._usage = add_usage(self._usage, chunk.usage)

    def completion(self) -> ThreadCompletion:
        """Return the response so far as one completion; its ``usage`` is the sum of the chunks' usage."""
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
    """The stream of a run's response.

    Its chunks, :class:`~gigaclient.types.ThreadCompletionChunk`, add up to a
    :class:`~gigaclient.types.ThreadCompletion`, and so does their ``usage``. See
    :class:`~gigaclient.streaming.stream.Stream` for errors and limits.
    """

    def __init__(self, response: StreamResponse, parser: ThreadEventParser, *, request_id: str | None = None) -> None:
        super().__init__(response, parser, ThreadAccumulator(), request_id=request_id)
