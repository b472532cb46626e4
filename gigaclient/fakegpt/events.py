"""Parses the events of a conversation into chunks.

The text in events is cumulative, so a broken event is harmless when another one follows: it repeats the text. Only a
broken last event leaves the answer in doubt, and then the end of the stream is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._primitives.decoding import convert, decoder
from gigaclient._primitives.serialization import JSON_ERRORS, reason_of_invalid_json
from gigaclient._primitives.surrogates import BROKEN_CHARACTERS
from gigaclient.errors import InvalidResponseError, StreamInterruptedError
from gigaclient.fakegpt.conversation import SERVER_MODEL
from gigaclient.fakegpt.error_mapping import error_in
from gigaclient.fakegpt.snapshots import Increment, Snapshots
from gigaclient.streaming.accumulator import ChatAccumulator
from gigaclient.streaming.sse import Event
from gigaclient.streaming.stream import END, End
from gigaclient.types import ChatCompletionChunk, ChunkChoice, Delta
from gigaclient.types.base import untyped

__all__ = ["SnapshotAccumulator", "SnapshotParser"]


class _FinishDetails(msgspec.Struct):
    type: str | None = None


class _Metadata(msgspec.Struct):
    message_type: str | None = None
    model_slug: str | None = None
    finish_details: _FinishDetails | None = None


class _Content(msgspec.Struct):
    content_type: str | None = None
    parts: list[Any] | None = None


class _Author(msgspec.Struct):
    role: str | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    author: _Author | None = None
    create_time: float | None = None
    content: _Content | None = None
    status: str | None = None
    end_turn: bool | None = None
    metadata: _Metadata | None = None
    recipient: str | None = None


class _Moderation(msgspec.Struct):
    flagged: bool | None = None
    blocked: bool | None = None


class _Event(msgspec.Struct):
    message: _Message | None = None
    moderation_response: _Moderation | None = None
    error: Any = None
    detail: Any = None


_decoder = decoder(_Event)

_FINISH_REASONS = {"max_tokens": "length"}
_STATUSES = {"finished_successfully": "stop", "finished_partial_completion": "length"}


class SnapshotParser:
    """Parses the events of ``/api/conversation``: each holds the answer so far, and ``[DONE]`` is the end.

    A chunk with ``additional_data`` ``{"rewritten_from": n}`` means that the server rewrote its answer: the first ``n``
    characters of the message stay, and the chunk's text follows them. A chunk with ``"moderation"`` in
    ``additional_data`` reports that the service blocked the answer.
    """

    headers: Mapping[str, str] = {}

    def __init__(self, request_id: str | None) -> None:
        self._request_id = request_id
        self._snapshots = Snapshots()
        self._role_sent = False
        self._finish_reason: str | None = None
        self._broken: str | None = None

    @property
    def text(self) -> str:
        """The latest text of the latest message, rewritten parts included."""
        return self._snapshots.text

    @property
    def repaired(self) -> tuple[str, ...]:
        """The sentences that say what was mended in the latest text."""
        return (BROKEN_CHARACTERS,) if self._snapshots.mended else ()

    def parse_event(self, event: Event) -> ChatCompletionChunk | End | None:
        """Return the chunk of an event, :data:`END` for the end marker, or None for an event without content."""
        # The event's name is not used: pings are recognised by their data, which is a timestamp and not JSON.
        data = event.data
        decoded = _decode(data)
        if decoded is None:
            return self._parse_other(data)
        if decoded.error or decoded.detail or decoded.message is None:
            self._raise_if_error(untyped(data))
        if decoded.message is not None:
            return self._chunk_of(decoded.message, data)
        moderation = decoded.moderation_response
        if moderation is not None and moderation.blocked:
            return self._chunk(Delta(), None, data, additional_data={"moderation": msgspec.to_builtins(moderation)})
        return None

    def held_back(self) -> ChatCompletionChunk | None:
        """Return a chunk with the end of the text that was held back, or None."""
        text = self._snapshots.rest().text
        fields = {"choices": [{"delta": {"content": text}}]}
        return self._chunk(Delta(content=text), None, fields, additional_data=None) if text else None

    def check_complete(self, so_far: ChatAccumulator, *, marked: bool) -> None:
        """Raise an error if the stream ended before its answer did."""
        if not so_far.text:
            because = f"; an event could not be read: {self._broken}" if self._broken else ""
            raise InvalidResponseError(f"No valid response: the stream ended without text{because}", status_code=200)
        if self._finish_reason is not None:
            return
        if not marked:
            raise StreamInterruptedError(
                "the stream ended without an end marker, and no message said that it was finished: the answer is cut"
            )
        if self._broken is not None:
            raise InvalidResponseError(
                f"the stream ended after an event that could not be read ({self._broken}): the answer may be cut",
                status_code=200,
            )

    def _parse_other(self, data: bytes) -> End | None:
        """Handle an event of another shape: the end marker, a keep-alive, an error, or a broken event."""
        text = data.strip()
        if text == b"[DONE]":
            return END
        if not text.startswith(b"{"):
            return None  # a timestamp or another keep-alive
        try:
            other = msgspec.json.decode(data)
        except JSON_ERRORS:
            self._broken = f"it is {reason_of_invalid_json(data)}"
            return None
        self._raise_if_error(other)
        if isinstance(other, dict) and isinstance(other.get("message"), dict):
            self._broken = "its message is not of the usual shape"
        return None

    def _raise_if_error(self, data: Any) -> None:
        failure = error_in(data, request_id=self._request_id)
        if failure is not None:
            raise failure

    def _chunk_of(self, message: _Message, data: bytes) -> ChatCompletionChunk | None:
        metadata = message.metadata
        if metadata is None or metadata.message_type != "next" or not _is_for_the_user(message):
            return None
        if self._snapshots.starts_message(message.id):
            self._finish_reason = None
        text = _text_of(message.content)
        increment = Increment("")
        finish_reason = _finish_reason_of(message, metadata)
        if text is not None:
            self._broken = None
            increment = self._snapshots.take(message.id, text, is_last=finish_reason is not None)
        if finish_reason == self._finish_reason:
            finish_reason = None
        elif finish_reason is not None:
            self._finish_reason = finish_reason
        if not increment.text and increment.rewritten_from is None and finish_reason is None:
            return None
        delta = Delta(content=increment.text or None)
        if not self._role_sent:
            self._role_sent = True
            delta.role = "assistant"
        additional_data = None
        if increment.rewritten_from is not None:
            additional_data = {"rewritten_from": increment.rewritten_from}
        chunk = self._chunk(delta, finish_reason, data, additional_data=additional_data)
        chunk.message_id = message.id
        chunk.model = metadata.model_slug or SERVER_MODEL
        chunk.created = int(message.create_time) if message.create_time is not None else None
        return chunk

    def _chunk(self, delta: Delta, finish_reason: str | None, raw: Any, *, additional_data: Any) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk(
            choices=[ChunkChoice(delta=delta, finish_reason=finish_reason)], additional_data=additional_data
        )
        return chunk.attach(raw=raw, request_id=self._request_id, headers=self.headers)


class SnapshotAccumulator(ChatAccumulator):
    """Accumulates chunks; its text is the latest text of the latest message, and not the sum of the chunks.

    Args:
        parser: the parser of the chunks.
    """

    def __init__(self, parser: SnapshotParser) -> None:
        super().__init__()
        self._parser = parser

    def add(self, chunk: ChatCompletionChunk, data: bytes) -> None:
        """Add the next chunk, and the data of its event."""
        super().add(chunk, data)
        self._replace_text(self._parser.text)


def _decode(data: bytes) -> _Event | None:
    """Return the event, with lone surrogates unchanged and U+FFFD for bytes that are not UTF-8; None for other data."""
    try:
        return _decoder.decode(data)
    except JSON_ERRORS:
        pass
    try:
        return convert(json.loads(data.decode("utf-8", "replace")), _Event)
    except JSON_ERRORS:
        return None


def _is_for_the_user(message: _Message) -> bool:
    author = message.author
    return (author is None or author.role in (None, "assistant")) and message.recipient in (None, "all")


def _text_of(content: _Content | None) -> str | None:
    if content is None or content.content_type not in (None, "text") or not content.parts:
        return None
    first = content.parts[0]
    return first if isinstance(first, str) else None


def _finish_reason_of(message: _Message, metadata: _Metadata) -> str | None:
    details = metadata.finish_details
    if details is not None and details.type:
        return _FINISH_REASONS.get(details.type, details.type)
    if message.status in _STATUSES:
        return _STATUSES[message.status]
    return "stop" if message.end_turn else None
