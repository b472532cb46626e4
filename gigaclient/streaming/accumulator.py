"""A whole answer from the chunks of a stream: chunks in, the answer so far out. Pure."""

from __future__ import annotations

import abc
from collections import deque
from typing import Any

import msgspec

from gigaclient.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, Message
from gigaclient.types.base import untyped
from gigaclient.types.chat import IN_PROGRESS

__all__ = ["ChatAccumulator", "RawAccumulator", "summed"]

# Of these the first one counts, of all others the last.
_KEPT_FIRST = ("created", "model", "object")

# Beyond so many bytes, the raw form of the chunks is folded together as they come, so that memory stays small.
_MOST_UNREAD_BYTES = 4 * 1024 * 1024


class _Part:
    """What has arrived of one alternative."""

    __slots__ = ("content", "fields", "finish_reason", "logprobs", "reasoning")

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.fields: dict[str, Any] = {}  # what comes whole: the last one counts
        self.finish_reason: str | None = None
        self.logprobs: Any = None

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        if (
            delta.role is None
            and choice.finish_reason is None
            and delta.functions_state_id is None
            and delta.reasoning_content is None
            and delta.function_call is None
            and delta.inline_data is None
            and delta.logprobs is None
            and choice.logprobs is None
        ):
            # Nearly every event of a stream.
            if delta.content:
                self.content.append(delta.content)
            return
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        if choice.logprobs is not None:
            self.logprobs = _appended(self.logprobs, choice.logprobs)
        if delta.functions_state_id is not None:
            self.fields["functions_state_id"] = delta.functions_state_id
        if delta.role == IN_PROGRESS:
            return  # the text of a progress report is not part of the answer
        if delta.content:
            self.content.append(delta.content)
        if delta.reasoning_content:
            self.reasoning.append(delta.reasoning_content)
        if delta.logprobs is not None:
            self.fields["logprobs"] = _appended(self.fields.get("logprobs"), delta.logprobs)
        if delta.role is not None:
            self.fields["role"] = delta.role
        if delta.function_call is not None:
            self.fields["function_call"] = delta.function_call
        if delta.inline_data is not None:
            self.fields["inline_data"] = delta.inline_data

    def choice(self, index: int) -> Choice:
        return Choice(
            message=Message(
                **{"role": "assistant", **self.fields},
                content="".join(self.content),
                reasoning_content="".join(self.reasoning) or None,
            ),
            index=index,
            finish_reason=self.finish_reason,
            logprobs=self.logprobs,
        )


class RawAccumulator(abc.ABC):
    """The raw form of chunks, not looked at yet: decoding it twice is for those who ask.

    Their bytes are kept and not the chunks, which the garbage collector would walk through again and again.
    """

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._raw: dict[str, Any] = {}

    def _keep_raw(self, sent: bytes) -> None:
        self._unread.append(sent)
        self._unread_bytes += len(sent)
        if self._unread_bytes > _MOST_UNREAD_BYTES:
            self._unread_bytes = 0
            self._read_raw()

    def _read_raw(self) -> None:
        while True:
            try:
                sent = self._unread.popleft()
            except IndexError:  # not "while self._unread": another thread may be asking as well
                return
            self._take_raw(untyped(sent))

    @abc.abstractmethod
    def _take_raw(self, raw: Any) -> None:
        """Fold the decoded form of a chunk into what is kept."""


class ChatAccumulator(RawAccumulator):
    """Adds chunk to chunk; :meth:`completion` may be asked for at any time.

    Attributes:
        finish_reason: why the first alternative ended; None until it has.
        finished: every alternative that began has ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[int, _Part] = {}
        self._fields: dict[str, Any] = {}
        self._request_id: str | None = None
        self._has_first = False  # all that the first chunks bring
        self._raw_choices: dict[int, dict[str, Any]] = {}

    @property
    def finish_reason(self) -> str | None:
        part = self._parts.get(0)
        return part.finish_reason if part is not None else None

    @property
    def finished(self) -> bool:
        parts = list(self._parts.values())
        return bool(parts) and all(part.finish_reason is not None for part in parts)

    @property
    def text(self) -> str:
        """The text of the first alternative so far."""
        part = self._parts.get(0)
        return "".join(part.content) if part is not None else ""

    def add(self, chunk: ChatCompletionChunk, sent: bytes) -> None:
        """Take the next chunk in, and the data of the event that it came as."""
        self._keep_raw(sent)
        fields = self._fields
        # Spelled out, not in a loop over names: this runs for each event of a stream.
        if not self._has_first:
            self._take_first(chunk)
        if chunk.usage is not None:
            fields["usage"] = chunk.usage
        if chunk.thread_id is not None:
            fields["thread_id"] = chunk.thread_id
        if chunk.message_id is not None:
            fields["message_id"] = chunk.message_id
        if chunk.additional_data is not None:
            fields["additional_data"] = chunk.additional_data
        if chunk.error_details is not None:
            fields["error_details"] = chunk.error_details
        parts = self._parts
        for choice in chunk.choices:
            index = choice.index
            if index not in parts:
                parts[index] = _Part()
            parts[index].add(choice)

    def _take_first(self, chunk: ChatCompletionChunk) -> None:
        if self._request_id is None:
            self._request_id = chunk.request_id
        for name in _KEPT_FIRST:
            value = getattr(chunk, name)
            if value is not None and name not in self._fields:
                self._fields[name] = value
        self._has_first = self._request_id is not None and all(name in self._fields for name in _KEPT_FIRST)

    def completion(self) -> ChatCompletion:
        """The answer so far, as if it had come in one piece.

        Its ``raw`` has the fields of all chunks, those that this version does not know among them; of one that came
        more than once, the last.
        """
        choices = [part.choice(index) for index, part in sorted(self._parts.items())]
        completion = ChatCompletion(choices=choices, **self._fields)
        return completion.attach(raw=self._whole_raw(choices), request_id=self._request_id)

    def _whole_raw(self, choices: list[Choice]) -> dict[str, Any]:
        self._read_raw()
        whole = []
        for choice in choices:
            known = msgspec.to_builtins(choice)
            unknown = self._raw_choices.get(choice.index, {})
            whole.append({**unknown, **known, "message": {**unknown.get("message", {}), **known["message"]}})
        return {**self._raw, "choices": whole}

    def _take_raw(self, raw: Any) -> None:
        if not isinstance(raw, dict):
            return
        self._raw.update((name, value) for name, value in raw.items() if value is not None or name not in self._raw)
        sent = raw.get("choices")
        for choice in sent if isinstance(sent, list) else ():
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            kept = self._raw_choices.setdefault(index if isinstance(index, int) else 0, {"message": {}})
            kept.update((name, value) for name, value in choice.items() if name not in ("delta", "message"))
            delta = choice.get("delta")
            if isinstance(delta, dict) and delta.get("role") != IN_PROGRESS:
                kept["message"].update(delta)


def _appended(before: Any, more: Any) -> Any:
    return [*before, *more] if isinstance(before, list) and isinstance(more, list) else more


def summed(before: Any, more: Any) -> Any:
    """Two counts of tokens together, whatever they count."""
    if before is None or more is None:
        return before if more is None else more
    if isinstance(more, msgspec.Struct) and isinstance(before, msgspec.Struct):
        fields = {name: summed(getattr(before, name), getattr(more, name)) for name in more.__struct_fields__}
        return type(more)(**fields)
    return before + more if isinstance(more, (int, float)) else more
