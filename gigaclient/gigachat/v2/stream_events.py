"""Parse the events of v2 chat streams.

Each event has a name and one JSON object. The last one is ``response.message.done``; then the server closes. There is
no end marker, but one is accepted. Source:
https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming and recorded streams.
"""

from __future__ import annotations

from typing import Any

from gigaclient._core.error_mapping import error_in
from gigaclient._primitives.decoding import decoder
from gigaclient.errors import APIStatusError, GigaClientError
from gigaclient.gigachat.stream_events import ChunkReader, ReaderProperties, reports_error, require_end
from gigaclient.gigachat.v2.accumulator import ResponseAccumulator
from gigaclient.streaming.sse import Event
from gigaclient.streaming.stream import End
from gigaclient.types.base import untyped
from gigaclient.types.chat_v2 import (
    ASSISTANT,
    ChatCompletionResponse,
    ChatCompletionResponseChunk,
    ChatContentPart,
    ChatMessageChunk,
)
from gigaclient.types.chat_v2.messages import parts_of

__all__ = ["DONE", "ResponseEventParser", "failure_in"]

DONE = "response.message.done"
_ERRORS = frozenset({"error", "response.error"})

_decoder = decoder(ChatCompletionResponseChunk)


class ResponseEventParser(ReaderProperties):
    """Parser for the events of ``/v2/chat/completions`` with ``stream``.

    Attributes:
        done: whether the last event has been parsed; later connection errors do not affect the response.
    """

    def __init__(self, request_id: str | None) -> None:
        self._reader: ChunkReader[ChatCompletionResponseChunk] = ChunkReader(_decoder, request_id)
        self._request_id = request_id
        self._pieces: list[str] = []
        self.done = False

    def parse_event(self, event: Event) -> ChatCompletionResponseChunk | End | None:
        """Return the chunk of an event; :data:`END` after an end marker, None for an empty event."""
        if event.event in _ERRORS:
            raise self._reported_error(event.data, is_named=True)
        chunk = self._reader.read(event.data)
        if chunk is None or isinstance(chunk, End):
            return chunk
        if self._reader.repaired:
            self._join_halves(chunk)
        is_empty = not chunk.messages and chunk.finish_reason is None and event.event != DONE
        if is_empty and (chunk.error_details is not None or reports_error(chunk.raw)):
            raise self._reported_error(event.data, is_named=False)
        if chunk.event is None:
            chunk.event = event.event if event.event != "message" else None
        is_done = chunk.event == DONE
        text = chunk.text
        if text and self._repeats(text, chunk):
            chunk._store(repeats=True)
        elif text:
            self._pieces.append(text)
        if self._reader.halves and (is_done or chunk.finish_reason is not None):
            self._add_lone_halves(chunk)
        self.done = self.done or is_done
        return chunk

    def _repeats(self, text: str, chunk: ChatCompletionResponseChunk) -> bool:
        """Return whether this chunk is the last one and repeats the text of the others."""
        if not self._pieces or (chunk.event is not None and chunk.event != DONE):
            return False
        return chunk.event == DONE or (chunk.finish_reason is not None and text == "".join(self._pieces))

    def _join_halves(self, chunk: ChatCompletionResponseChunk) -> None:
        for message in chunk.messages:
            role = message.role or ASSISTANT
            for part in parts_of(message):
                if part.text is not None:
                    part.text = self._reader.halves.add(role, part.text, is_last=False)

    def _add_lone_halves(self, chunk: ChatCompletionResponseChunk) -> None:
        """Add the characters whose other half did not come; called for the last chunk."""
        for role, text in self._reader.halves.rest().items():
            chunk.messages.append(ChatMessageChunk(role=role, content=[ChatContentPart(text=text)]))

    def held_back(self) -> ChatCompletionResponseChunk | None:
        """Return a chunk with U+FFFD for each half of a character whose other half did not come, or None."""
        if not self._reader.halves:
            return None
        rest = self._reader.halves.rest()
        messages = [{"role": role, "content": [{"text": text}]} for role, text in rest.items()]
        return self._reader.chunk_of({"messages": messages})

    def check_complete(self, so_far: ResponseAccumulator, *, marked: bool) -> None:
        """Raise if the stream ended before its response was complete, or if the response failed."""
        require_end(marked=marked, finished=self.done or so_far.finish_reason is not None)
        failure = failure_in(so_far.completion()) if so_far.finish_reason == "error" else None
        if failure is not None:
            raise failure

    def _reported_error(self, data: bytes, *, is_named: bool) -> GigaClientError:
        fields = untyped(data)
        error = error_in(fields, request_id=self._request_id)
        if error is None and isinstance(fields, dict):
            # An event with an error's name is an error in any form.
            details = fields.get("error_details") or ((fields.get("error") or fields) if is_named else None)
            error = _status_error(details, fields, self._request_id)
        return error or self._reader.reported_error(data)


def failure_in(answer: ChatCompletionResponse) -> APIStatusError | None:
    """Return the error of a response that ended as failed, with the response on it; None for any other response."""
    if answer.finish_reason != "error":
        return None
    raw: dict[str, Any] = answer.raw
    failure = _status_error(answer.error_details, raw, answer.request_id)
    if failure is None:
        message = "the server ended the answer as failed and did not say why"
        failure = APIStatusError.class_for(500)(message, status_code=500, body=raw, request_id=answer.request_id)
    failure.text, failure.completion = answer.text, answer
    return failure


def _status_error(details: Any, body: Any, request_id: str | None) -> APIStatusError | None:
    if isinstance(details, str):
        details = {"message": details}
    if not isinstance(details, dict):
        return None
    texts = [details.get(name) for name in ("message", "user_message", "detail", "error")]
    message = next((text for text in texts if isinstance(text, str) and text), None)
    if message is None:
        return None
    codes = [details.get(name) for name in ("status", "status_code", "code")]
    status = next((number for number in codes if isinstance(number, int) and 400 <= number <= 599), 500)
    return APIStatusError.class_for(status)(message, status_code=status, body=body, request_id=request_id)
