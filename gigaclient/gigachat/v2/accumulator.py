"""A whole answer of API v2 from the events of its stream: chunks in, the answer so far out. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import msgspec.structs

from gigaclient.streaming.accumulator import RawAccumulator
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

# Of these the first one counts, of all others the last.
_KEPT_FIRST = ("created_at", "model")
_KEPT_LAST = (
    *("finish_reason", "usage", "tools_state_id", "thread_id", "message_id", "tool_execution", "additional_data"),
    "error_details",
)

_PART_FIELDS = frozenset(ChatContentPart.__struct_fields__)
_MESSAGE_FIELDS = frozenset(ChatMessage.__struct_fields__)


class _Said:
    """What has arrived of one message."""

    __slots__ = ("content", "fields", "role", "state_id")

    def __init__(self, role: str) -> None:
        self.role = role
        self.content: list[list[str] | ChatContentPart] = []  # a text that grows is a list of its pieces
        self.state_id: str | None = None
        self.fields: dict[str, Any] = {}  # what comes whole: the last one counts

    def continued_by(self, more: ChatMessageChunk) -> bool:
        """Whether ``more`` belongs to this message."""
        known = self.fields.get("message_id")
        if known is not None and more.message_id is not None and known != more.message_id:
            return False
        # The last event may bring a state id alone; with content, another id is another message.
        return not (more.content and self.state_id and more.tools_state_id not in (None, self.state_id))

    def add(self, more: ChatMessageChunk, *, with_text: bool) -> None:
        self.state_id = more.tools_state_id or self.state_id
        for name in ("message_id", "finish_reason", "inline_data", "tool_execution"):
            value = getattr(more, name)
            if value is not None:
                self.fields[name] = value
        if more.logprobs:
            self.fields["logprobs"] = [*self.fields.get("logprobs", ()), *more.logprobs]
        for part in more.content or ():
            self._take(part, with_text)
        if more.function_call is not None:
            self._take(ChatContentPart(function_call=more.function_call), with_text)

    def _take(self, part: ChatContentPart, with_text: bool) -> None:
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
        if part.function_call is not None and self._knows_call(part.function_call):
            part = msgspec.structs.replace(part, function_call=None)
        if part.tool_execution is not None:
            self._drop_earlier(part.tool_execution)
        # What the last event repeats is there already.
        if part != ChatContentPart() and (part.text or part not in self.content):
            self.content.append(part)

    def _knows_call(self, call: ChatFunctionCall) -> bool:
        for place, known in enumerate(self.content):
            if isinstance(known, list) or known.function_call is None or not same_call(known.function_call, call):
                continue
            if call.id and not known.function_call.id:
                self.content[place] = msgspec.structs.replace(known, function_call=call)
            return True
        return False

    def _drop_earlier(self, run: ChatToolExecution) -> None:
        """Forget what was known of a run that is still going on: ``run`` is the news of it."""
        for place, known in enumerate(self.content):
            before = known.tool_execution if isinstance(known, ChatContentPart) else None
            if (
                before is not None
                and before.status is None
                and (before.id or "", before.name) == (run.id or "", run.name)
            ):
                del self.content[place]
                return

    @property
    def text(self) -> str:
        return "".join(["".join(part) if isinstance(part, list) else (part.text or "") for part in list(self.content)])

    def message(self) -> ChatMessage:
        parts = [ChatContentPart(text="".join(part)) if isinstance(part, list) else part for part in list(self.content)]
        return ChatMessage(role=self.role, content=parts, tools_state_id=self.state_id, **self.fields)


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
    """Adds chunk to chunk; :meth:`completion` may be asked for at any time.

    Attributes:
        finish_reason: why the answer ended; None until it has.
    """

    def __init__(self) -> None:
        super().__init__()
        self._messages: list[_Said] = []
        self._fields: dict[str, Any] = {}
        self._request_id: str | None = None
        self._raw_messages: dict[str, dict[str, Any]] = {}

    @property
    def finish_reason(self) -> str | None:
        reason: str | None = self._fields.get("finish_reason")
        return reason

    @property
    def text(self) -> str:
        """What the assistant has said so far."""
        return "".join([said.text for said in list(self._messages) if said.role == ASSISTANT])

    def add(self, chunk: ChatCompletionResponseChunk, sent: bytes) -> None:
        """Take the next chunk in, and the data of the event that it came as."""
        self._keep_raw(sent)
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
        with_text = not chunk.__dict__.get("_repeats")
        for more in chunk.messages:
            self._said(more).add(more, with_text=with_text)

    def _said(self, more: ChatMessageChunk) -> _Said:
        role = more.role or ASSISTANT
        for said in reversed(self._messages):
            if said.role == role:
                if said.continued_by(more):
                    return said
                break
        said = _Said(role)
        self._messages.append(said)
        return said

    def completion(self) -> ChatCompletionResponse:
        """The answer so far, as if it had come in one piece.

        Its ``raw`` has the fields of all chunks, those that this version does not know among them; of one that came
        more than once, the last.
        """
        messages = [said.message() for said in list(self._messages)]
        answer = ChatCompletionResponse(messages=messages, **self._fields)
        return answer.attach(raw=self._whole_raw(messages), request_id=self._request_id)

    # -- the raw form --------------------------------------------------------------------------------------------------

    def _whole_raw(self, messages: list[ChatMessage]) -> dict[str, Any]:
        self._read_raw()
        whole = []
        unknown = dict(self._raw_messages)
        for message in messages:
            known = msgspec.to_builtins(message)
            more = unknown.pop(message.role, {})
            parts = [*known.get("content", ()), *more.get("content", ())]
            whole.append({**more, **known, "content": parts})
        return {**self._raw, "messages": whole}

    def _take_raw(self, raw: Any) -> None:
        if not isinstance(raw, dict):
            return
        sent = raw.get("messages")
        for name, value in raw.items():
            if name != "messages" and (value is not None or name not in self._raw):
                self._raw[name] = value
        for message in sent if isinstance(sent, list) else ():
            if isinstance(message, dict):
                self._take_unknown(message)

    def _take_unknown(self, message: dict[str, Any]) -> None:
        role, content = message.get("role"), message.get("content")
        kept = self._raw_messages.setdefault(role if isinstance(role, str) and role else ASSISTANT, {})
        kept.update((name, value) for name, value in message.items() if name not in _MESSAGE_FIELDS)
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.keys() - _PART_FIELDS:
                kept.setdefault("content", []).append(part)
