"""Build the response of API v2 from the chunks of its stream. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import msgspec.structs

from gigaclient.streaming.accumulator import CallPieces, RawAccumulator
from gigaclient.types.chat_v2 import (
    ASSISTANT,
    ChatCompletionResponse,
    ChatCompletionResponseChunk,
    ChatContentPart,
    ChatFunctionCall,
    ChatMessage,
    ChatMessageChunk,
    ChatToolExecution,
    same_call,
)

__all__ = ["ResponseAccumulator"]

# For these fields the first value counts, for all others the last.
_KEPT_FIRST = ("created_at", "model")
_KEPT_LAST = (
    *("finish_reason", "usage", "tools_state_id", "thread_id", "message_id", "tool_execution", "additional_data"),
    "error_details",
)

_PART_FIELDS = frozenset(ChatContentPart.__struct_fields__)
_MESSAGE_FIELDS = frozenset(ChatMessage.__struct_fields__)


class _MessageState:
    """The accumulated state of one message."""

    __slots__ = ("calls", "content", "fields", "role", "state_id")

    def __init__(self, role: str) -> None:
        self.role = role
        self.content: list[list[str] | ChatContentPart] = []  # a growing text is a list of its pieces
        self.calls: dict[int, CallPieces] = {}  # by the id() of their parts in the content
        self.state_id: str | None = None
        self.fields: dict[str, Any] = {}  # fields that arrive complete: the last value counts

    def accepts(self, delta: ChatMessageChunk) -> bool:
        """Return whether ``delta`` belongs to this message."""
        known = self.fields.get("message_id")
        if known is not None and delta.message_id is not None and known != delta.message_id:
            return False
        # The last event may hold only a state id; with content, a different id means another message.
        return not (delta.content and self.state_id and delta.tools_state_id not in (None, self.state_id))

    def add(self, delta: ChatMessageChunk, *, with_text: bool) -> None:
        self.state_id = delta.tools_state_id or self.state_id
        for name in ("message_id", "finish_reason", "inline_data", "tool_execution"):
            value = getattr(delta, name)
            if value is not None:
                self.fields[name] = value
        if delta.logprobs:
            self.fields["logprobs"] = [*self.fields.get("logprobs", ()), *delta.logprobs]
        for part in delta.content or ():
            self._add_part(part, with_text)
        if delta.function_call is not None:
            self._add_part(ChatContentPart(function_call=delta.function_call), with_text)

    def _add_part(self, part: ChatContentPart, with_text: bool) -> None:
        text = part.text
        if text is not None and _has_text_alone(part):
            if text and with_text:
                last = self.content[-1] if self.content else None
                if isinstance(last, list):
                    last.append(text)
                else:
                    self.content.append([text])
            return
        if text is not None and not with_text:
            part = msgspec.structs.replace(part, text=None)
        call = part.function_call
        if call is not None and (self._continues_call(call) or self._knows_call(call)):
            part = msgspec.structs.replace(part, function_call=None)
        if part.tool_execution is not None:
            self._drop_previous_state(part.tool_execution)
        # The last event may repeat parts.
        if part != ChatContentPart() and (part.text or part not in self.content):
            self.content.append(part)
            if part.function_call is not None:
                self.calls[id(part)] = CallPieces(part.function_call)

    def _continues_call(self, call: ChatFunctionCall) -> bool:
        """Add ``call`` to the earlier call that it is a piece of: by its id, or else to the last one."""
        for known in reversed(self.content):
            pieces = self.calls.get(id(known))
            if pieces is None:
                continue
            if pieces.continues(call):
                pieces.add(call)
                return True
            if not call.id:
                break
        return False

    def _knows_call(self, call: ChatFunctionCall) -> bool:
        for index, known in enumerate(self.content):
            if isinstance(known, list) or known.function_call is None or not same_call(known.function_call, call):
                continue
            if call.id and not known.function_call.id:
                self.content[index] = replaced = msgspec.structs.replace(known, function_call=call)
                del self.calls[id(known)]
                self.calls[id(replaced)] = CallPieces(call)
            return True
        return False

    def _drop_previous_state(self, run: ChatToolExecution) -> None:
        """Drop the earlier state of a tool that is still running; ``run`` replaces it."""
        for index, known in enumerate(self.content):
            previous = known.tool_execution if isinstance(known, ChatContentPart) else None
            if (
                previous is not None
                and previous.status is None
                and (previous.id or "", previous.name) == (run.id or "", run.name)
            ):
                del self.content[index]
                return

    @property
    def text(self) -> str:
        return "".join(["".join(part) if isinstance(part, list) else (part.text or "") for part in list(self.content)])

    def message(self) -> ChatMessage:
        parts = [self._whole(part) for part in list(self.content)]
        return ChatMessage(role=self.role, content=parts, tools_state_id=self.state_id, **self.fields)

    def _whole(self, part: list[str] | ChatContentPart) -> ChatContentPart:
        if isinstance(part, list):
            return ChatContentPart(text="".join(part))
        pieces = self.calls.get(id(part))
        return part if pieces is None else msgspec.structs.replace(part, function_call=pieces.whole())


def _has_text_alone(part: ChatContentPart) -> bool:
    return (
        part.inline_data is None
        and part.files is None
        and part.function_call is None
        and part.tool_execution is None
        and part.logprobs is None
        and part.function_result is None
    )


class ResponseAccumulator(RawAccumulator):
    """Accumulates chunks; :meth:`completion` may be called at any time."""

    def __init__(self) -> None:
        super().__init__()
        self._messages: list[_MessageState] = []
        self._fields: dict[str, Any] = {}
        self._request_id: str | None = None
        self._raw_messages: dict[str, dict[str, Any]] = {}

    @property
    def finish_reason(self) -> str | None:
        """The reason why the response ended; None until it has."""
        reason: str | None = self._fields.get("finish_reason")
        return reason

    @property
    def text(self) -> str:
        """The assistant's text so far."""
        return "".join([state.text for state in list(self._messages) if state.role == ASSISTANT])

    def add(self, chunk: ChatCompletionResponseChunk, data: bytes) -> None:
        """Add the next chunk, and the data of its event."""
        self._keep_raw(data)
        if self._request_id is None:
            self._request_id = chunk.request_id
        fields = self._fields
        for name in _KEPT_FIRST:
            if name not in fields:
                value = getattr(chunk, name)
                if value is not None:
                    fields[name] = value
        for name in _KEPT_LAST:
            value = getattr(chunk, name)
            if value is not None:
                fields[name] = value
        if chunk.logprobs:
            fields["logprobs"] = [*fields.get("logprobs", ()), *chunk.logprobs]
        with_text = not chunk._metadata.get("repeats")
        for delta in chunk.messages:
            self._state_for(delta).add(delta, with_text=with_text)

    def _state_for(self, delta: ChatMessageChunk) -> _MessageState:
        role = delta.role or ASSISTANT
        for state in reversed(self._messages):
            if state.role == role:
                if state.accepts(delta):
                    return state
                break
        state = _MessageState(role)
        self._messages.append(state)
        return state

    def completion(self) -> ChatCompletionResponse:
        """Return the response so far in its complete form.

        Its ``raw`` has the fields of all chunks, also unknown ones; of a repeated field, the last value.
        """
        messages = [state.message() for state in list(self._messages)]
        answer = ChatCompletionResponse(messages=messages, **self._fields)
        return answer.attach(raw=self._merged_raw(messages), request_id=self._request_id)

    # -- the raw form --------------------------------------------------------------------------------------------------

    def _merged_raw(self, messages: list[ChatMessage]) -> dict[str, Any]:
        self._decode_raw()
        merged = []
        unknown = dict(self._raw_messages)
        for message in messages:
            known = msgspec.to_builtins(message)
            delta = unknown.pop(message.role, {})
            parts = [*known.get("content", ()), *delta.get("content", ())]
            merged.append({**delta, **known, "content": parts})
        return {**self._raw, "messages": merged}

    def _merge_raw(self, raw: Any) -> None:
        if not isinstance(raw, dict):
            return
        data = raw.get("messages")
        for name, value in raw.items():
            if name != "messages" and (value is not None or name not in self._raw):
                self._raw[name] = value
        for message in data if isinstance(data, list) else ():
            if isinstance(message, dict):
                self._keep_unknown_fields(message)

    def _keep_unknown_fields(self, message: dict[str, Any]) -> None:
        role, content = message.get("role"), message.get("content")
        kept = self._raw_messages.setdefault(role if isinstance(role, str) and role else ASSISTANT, {})
        kept.update((name, value) for name, value in message.items() if name not in _MESSAGE_FIELDS)
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.keys() - _PART_FIELDS:
                kept.setdefault("content", []).append(part)
