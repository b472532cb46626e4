"""What the events of a stream mean: v1 chat, and what all of GigaChat's streams have in common.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gigaclient._core.error_mapping import error_in, excerpt
from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import GigaClientError, InvalidResponseError, StreamInterruptedError
from gigaclient.streaming.sse import Event
from gigaclient.streaming.stream import END, End
from gigaclient.types import APIResponse, ChatCompletionChunk
from gigaclient.types.base import untyped
from gigaclient.types.coercion import coerce

__all__ = ["ChoicesParser", "ChunkParser", "ChunkReader", "check_whole", "reports_something_else"]

ChunkT = TypeVar("ChunkT", bound=APIResponse)

ChoicesT = TypeVar("ChoicesT", bound=ChatCompletionChunk)


class _Finishing(Protocol):
    @property
    def finished(self) -> bool: ...


class ChunkReader(Generic[ChunkT]):
    """Reads the data of an event as a chunk of one type.

    Args:
        decoder: the decoder of that type.
        request_id: the call's id, which each chunk and error gets.
    """

    def __init__(self, decoder: msgspec.json.Decoder[ChunkT], request_id: str | None) -> None:
        self._decoder = decoder
        self._request_id = request_id

    def read(self, data: bytes) -> ChunkT | End | None:
        """The chunk; :data:`END` for ``[DONE]``; None for empty data.

        Raises:
            APIStatusError: it is an error object.
            InvalidResponseError: it is something else.
        """
        try:
            chunk = self._decoder.decode(data)
        except JSON_ERRORS as error:
            if data.strip() == b"[DONE]":
                return END
            if not data.strip():
                return None
            reason = str(error)
        else:
            chunk.__dict__ = {"_raw": data, "_request_id": self._request_id}
            return chunk
        return self._read_again(data, reason)

    def _read_again(self, data: bytes, reason: str) -> ChunkT:
        failure: GigaClientError
        sent = None
        try:
            # Without a type: a field of the wrong type is noticed before text that is no JSON at all.
            sent = msgspec.json.decode(data)
            return coerce(sent, self._decoder.type).attach(raw=data, request_id=self._request_id)
        except msgspec.ValidationError:
            failure = error_in(sent, request_id=self._request_id) or self.not_a_chunk(data, reason)
        except UnicodeDecodeError:
            failure = self.not_a_chunk(data, "it is not UTF-8")
        except JSON_ERRORS:
            failure = self.not_a_chunk(data, "it is not JSON")
        raise failure

    def refusal(self, data: bytes) -> GigaClientError:
        """The error for an event that tells of one, in whatever shape."""
        refusal = error_in(untyped(data), request_id=self._request_id)
        return refusal or self.not_a_chunk(data, "it reports something else")

    def not_a_chunk(self, data: bytes, reason: str) -> InvalidResponseError:
        """The error for an event that is not what the API promises."""
        return InvalidResponseError(
            f"an event of the stream is not a chunk of an answer ({reason})",
            request_id=self._request_id,
            status_code=200,
            body=excerpt(data),
        )


class ChoicesParser(Generic[ChoicesT]):
    """Events of a stream whose chunks have choices: one JSON chunk each, then ``[DONE]``.

    Args:
        request_id: the call's id.
        decoder: the decoder of the chunks.
    """

    def __init__(self, request_id: str | None, decoder: msgspec.json.Decoder[ChoicesT]) -> None:
        self._reader = ChunkReader(decoder, request_id)
        self._decode = decoder.decode
        self._request_id = request_id

    def parse_event(self, event: Event) -> ChoicesT | End | None:
        data = event.data
        chunk: ChoicesT | End | None
        try:
            # What the reader does for a chunk as the API promises it, without the way there: once for each event.
            chunk = self._decode(data)
        except JSON_ERRORS:
            chunk = None
        if chunk is not None:
            chunk.__dict__ = {"_raw": data, "_request_id": self._request_id}
        else:
            # Not in the handler above: an error of ours would drag the decoder's along.
            chunk = self._reader.read(data)
            if chunk is None or chunk is END:
                return chunk
        if not chunk.choices and (event.event == "error" or reports_something_else(chunk.raw)):
            raise self._reader.refusal(data)
        return chunk

    def check_complete(self, so_far: _Finishing, *, marked: bool) -> None:
        check_whole(marked=marked, finished=so_far.finished)


class ChunkParser(ChoicesParser[ChatCompletionChunk]):
    """Events of ``/chat/completions`` with ``stream``."""

    def __init__(self, request_id: str | None) -> None:
        super().__init__(request_id, decoder(ChatCompletionChunk))


def check_whole(*, marked: bool, finished: bool) -> None:
    """Raise unless the bytes ended with an end marker or after a finish reason: gateways drop the one, and old servers
    the other.
    """
    if not marked and not finished:
        raise StreamInterruptedError(
            "the stream ended without an end marker and without a finish reason: the answer is cut"
        )


def reports_something_else(data: Any) -> bool:
    """Whether an event without choices tells of an error, in whatever shape; chunks have neither of these fields."""
    return isinstance(data, dict) and (data.get("error") is not None or data.get("message") is not None)
