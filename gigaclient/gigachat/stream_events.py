"""Parse the events of v1 chat streams, and what all of GigaChat's streams have in common.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from gigaclient._core.error_mapping import error_in, excerpt
from gigaclient._primitives.decoding import convert, decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient._primitives.surrogates import BROKEN_CHARACTERS, HalfJoiner
from gigaclient.errors import GigaClientError, InvalidResponseError, StreamInterruptedError
from gigaclient.streaming.sse import Event
from gigaclient.streaming.stream import END, End
from gigaclient.types import APIResponse, ChatCompletionChunk
from gigaclient.types.base import set_metadata, untyped
from gigaclient.types.coercion import coerce

__all__ = ["ChoicesParser", "ChunkParser", "ChunkReader", "ReaderProperties", "reports_error", "require_end"]

ChunkT = TypeVar("ChunkT", bound=APIResponse)

ChoicesT = TypeVar("ChoicesT", bound=ChatCompletionChunk)


class _HasFinished(Protocol):
    @property
    def finished(self) -> bool: ...


class ChunkReader(Generic[ChunkT]):
    """Decode the data of an event as a chunk of one type.

    Args:
        decoder: the decoder of that type.
        request_id: the request id that each chunk and error gets.

    Attributes:
        shared: the metadata that each chunk gets: the request id, and the response headers.
        repaired: what was mended in the events so far, in short sentences.
        halves: joins characters whose halves are in two chunks.
    """

    def __init__(self, decoder: msgspec.json.Decoder[ChunkT], request_id: str | None) -> None:
        self._decoder = decoder
        self.shared: dict[str, Any] = {"request_id": request_id, "headers": {}}
        self._request_id = request_id
        self.repaired: tuple[str, ...] = ()
        self.halves = HalfJoiner()

    def read(self, data: bytes) -> ChunkT | End | None:
        """Return the chunk; :data:`END` for ``[DONE]``; None for empty data.

        Raises:
            APIStatusError: the data is an error object.
            InvalidResponseError: the data is anything else.
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
            return chunk.attach(raw=data, **self.shared)
        return self._read_untyped(data, reason)

    def _read_untyped(self, data: bytes, reason: str) -> ChunkT:
        failure: GigaClientError
        sent = None
        try:
            # Decoded without a type first: msgspec reports a wrong field type before invalid JSON further on.
            sent = self._decode_untyped(data)
            chunk = coerce(sent, cast(type[ChunkT], self._decoder.type))
            return chunk.attach(raw=data, **self.shared)
        except msgspec.ValidationError:
            failure = error_in(sent, request_id=self._request_id) or self.invalid_chunk(data, reason)
        except JSON_ERRORS:
            failure = self.invalid_chunk(data, "it is not JSON")
        raise failure

    def chunk_of(self, fields: dict[str, Any]) -> ChunkT:
        """Return a chunk that no event has."""
        chunk: ChunkT = convert(fields, cast(type[ChunkT], self._decoder.type))
        return chunk.attach(raw=fields, **self.shared)

    def _decode_untyped(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data)
        except JSON_ERRORS:
            # This decoder accepts lone surrogates, so that `halves` can join them. Bytes are replaced as the WHATWG
            # standard decodes event streams.
            sent = json.loads(data.decode("utf-8", "replace"))
        self.repaired = (BROKEN_CHARACTERS,)
        return sent

    def reported_error(self, data: bytes) -> GigaClientError:
        """Return the error that an event reports, in any form."""
        reported_error = error_in(untyped(data), request_id=self._request_id)
        return reported_error or self.invalid_chunk(data, "it reports something else")

    def invalid_chunk(self, data: bytes, reason: str) -> InvalidResponseError:
        """Return the error for an event that is not a chunk."""
        return InvalidResponseError(
            f"an event of the stream is not a chunk of an answer ({reason})",
            request_id=self._request_id,
            status_code=200,
            body=excerpt(data),
        )


class ReaderProperties:
    """The base of parsers with a :class:`ChunkReader`: its headers, and what was mended."""

    _reader: ChunkReader[Any]

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers, which each chunk gets."""
        headers: Mapping[str, str] = self._reader.shared["headers"]
        return headers

    @headers.setter
    def headers(self, headers: Mapping[str, str]) -> None:
        self._reader.shared["headers"] = headers

    @property
    def repaired(self) -> tuple[str, ...]:
        """The sentences that say what was mended in the events so far."""
        return self._reader.repaired


class ChoicesParser(ReaderProperties, Generic[ChoicesT]):
    """Parser for streams whose chunks have choices: one JSON chunk per event, then ``[DONE]``.

    Args:
        request_id: the request id.
        decoder: the decoder of the chunks.
    """

    def __init__(self, request_id: str | None, decoder: msgspec.json.Decoder[ChoicesT]) -> None:
        self._reader = ChunkReader(decoder, request_id)
        self._decode = decoder.decode
        self._shared = self._reader.shared
        self._halves = self._reader.halves

    def parse_event(self, event: Event) -> ChoicesT | End | None:
        """Return the chunk of an event; :data:`END` after the last one, None for an empty event."""
        data = event.data
        chunk: ChoicesT | End | None
        try:
            # A short path past the reader for valid chunks: this code runs once for each event.
            chunk = self._decode(data)
        except JSON_ERRORS:
            chunk = None
        if chunk is not None:
            # As attach() does, without its call.
            set_metadata(chunk, (data, self._shared))
            if self._halves:
                self._join_halves(chunk)
        else:
            # Outside the handler, so that our error does not keep the decoder's error as its context.
            chunk = self._reader.read(data)
            if chunk is None or chunk is END:
                return chunk
            if self._reader.repaired:
                self._join_halves(chunk)
        if not chunk.choices and (event.event == "error" or reports_error(chunk.raw)):
            raise self._reader.reported_error(data)
        return chunk

    def _join_halves(self, chunk: ChoicesT) -> None:
        join = self._halves.add
        for choice in chunk.choices:
            delta, is_last = choice.delta, choice.finish_reason is not None
            for name in ("content", "reasoning_content"):
                text = getattr(delta, name)
                if text is not None or is_last:
                    joined = join((choice.index, name), text or "", is_last=is_last)
                    setattr(delta, name, joined if text is not None else joined or None)

    def held_back(self) -> ChoicesT | None:
        """Return a chunk with U+FFFD for each half of a character whose other half did not come, or None."""
        if not self._halves:
            return None
        rest = self._halves.rest()
        choices = [{"index": index, "delta": {name: text}} for (index, name), text in rest.items()]
        chunk: ChoicesT = self._reader.chunk_of({"choices": choices})
        return chunk

    def check_complete(self, so_far: _HasFinished, *, marked: bool) -> None:
        """Raise if the stream ended before its answer was complete."""
        require_end(marked=marked, finished=so_far.finished)


class ChunkParser(ChoicesParser[ChatCompletionChunk]):
    """Parser for the events of ``/chat/completions`` with ``stream``."""

    def __init__(self, request_id: str | None) -> None:
        super().__init__(request_id, decoder(ChatCompletionChunk))


def require_end(*, marked: bool, finished: bool) -> None:
    """Raise unless the stream had an end marker or a finish reason.

    Gateways drop the marker, and old servers send no finish reason.
    """
    if not marked and not finished:
        raise StreamInterruptedError(
            "the stream ended without an end marker and without a finish reason: the answer is cut"
        )


def reports_error(data: Any) -> bool:
    """Return whether an event without choices reports an error; chunks have neither of these fields."""
    return isinstance(data, dict) and (data.get("error") is not None or data.get("message") is not None)
