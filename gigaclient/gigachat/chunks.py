"""What the events of a v1 stream mean.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from gigaclient.assembly import Assembler
from gigaclient.errors import GigaClientError, InvalidResponseError, StreamInterruptedError
from gigaclient.refusals import JSON_ERRORS, error_in, excerpt
from gigaclient.sse import Event
from gigaclient.stream import END, End
from gigaclient.types import ChatCompletionChunk

__all__ = ["ChunkInterpreter"]

_decoder = msgspec.json.Decoder(ChatCompletionChunk)


class ChunkInterpreter:
    """Events of ``/chat/completions`` with ``stream``: one JSON chunk each, then ``[DONE]``."""

    def __init__(self, request_id: str | None) -> None:
        self._request_id = request_id

    def interpret(self, event: Event) -> ChatCompletionChunk | End | None:
        data = event.data
        try:
            chunk = _decoder.decode(data)
        except JSON_ERRORS as error:
            if data.strip() == b"[DONE]":
                return END
            if not data.strip():
                return None
            failure = self._not_a_chunk(data, error)
        else:
            if chunk.choices or (event.event != "error" and not _is_message(_decoded(data))):
                attributes = chunk.__dict__
                attributes["_raw"] = data
                attributes["_request_id"] = self._request_id
                return chunk
            failure = self._not_a_chunk(data, None)
        raise failure

    def check_end(self, so_far: Assembler, *, marked: bool) -> None:
        # Either will do: gateways drop the marker, and old servers the reason.
        if not marked and not so_far.finished:
            raise StreamInterruptedError(
                "the stream ended without an end marker and without a finish reason: the answer is cut"
            )

    def _not_a_chunk(self, data: bytes, error: Exception | None) -> GigaClientError:
        reason = "it reports something else" if error is None else str(error)
        try:
            # Anew, without a type: a field of the wrong type is noticed before text that is no JSON at all.
            refusal = error_in(msgspec.json.decode(data), request_id=self._request_id)
        except UnicodeDecodeError:
            refusal, reason = None, "it is not UTF-8"
        except JSON_ERRORS:
            refusal, reason = None, "it is not JSON"
        if refusal is not None:
            return refusal
        return InvalidResponseError(
            f"an event of the stream is not a chunk of an answer ({reason})",
            request_id=self._request_id,
            status_code=200,
            body=excerpt(data),
        )


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except JSON_ERRORS:
        return None


def _is_message(data: Any) -> bool:
    """Whether an event without choices tells of an error, in whatever shape; chunks have neither of these fields."""
    return isinstance(data, dict) and (data.get("error") is not None or data.get("message") is not None)
