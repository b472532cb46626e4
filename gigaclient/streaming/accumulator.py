"""Accumulate the chunks of a stream into a completion, without I/O."""

from __future__ import annotations

import abc
from collections import deque
from typing import Any

import msgspec
import msgspec.structs

from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, Delta, FunctionCall, Message
from gigaclient.types.base import untyped
from gigaclient.types.chat import IN_PROGRESS

__all__ = ["CallPieces", "ChatAccumulator", "RawAccumulator", "add_usage"]

# The first value of these fields is kept, and the last one of all others.
_FIRST_VALUE_FIELDS = ("created", "model", "object")
_values_of = msgspec.structs.astuple

# Above this size, the raw chunks are decoded and merged at once, to limit memory.
_MAX_UNDECODED_BYTES = 4 * 1024 * 1024


class CallPieces:
    """A function call that a server may send whole, or in pieces: its name first, then the text of its arguments.

    Args:
        call: the first piece, if it has come.
    """

    __slots__ = ("_call", "_pieces")

    def __init__(self, call: FunctionCall | None = None) -> None:
        self._call = call
        self._pieces: list[str] = []

    def continues(self, call: FunctionCall) -> bool:
        """Return True if ``call`` is a piece of this call, and not another call."""
        if self._call is None or (call.id and self._call.id and call.id != self._call.id):
            return False
        if not call.name:
            return True
        # Some servers repeat the name in each piece, others the whole call.
        is_repeated = not self._pieces and call.arguments == self._call.arguments
        return call.name == self._call.name and not is_repeated and _is_piece(call.arguments)

    def add(self, call: FunctionCall | None) -> None:
        """Add the next piece, or replace the call by a whole one; None is no piece."""
        if call is None:
            return
        if self._call is None or not self.continues(call):
            self._call, self._pieces = call, []
            return
        if isinstance(self._call.arguments, str) and not self._pieces:
            self._pieces.append(self._call.arguments)
        if isinstance(call.arguments, str):
            self._pieces.append(call.arguments)
        elif call.arguments:
            self._pieces = []
            self._call = msgspec.structs.replace(self._call, arguments=call.arguments)
        if call.id and not self._call.id:
            self._call = msgspec.structs.replace(self._call, id=call.id)

    def whole(self) -> Any:
        """Return the call so far; arguments that came in pieces are decoded when they are complete."""
        if self._call is None or not self._pieces:
            return self._call
        text = "".join(self._pieces)
        decoded = _decode_object(text)
        return msgspec.structs.replace(self._call, arguments=text if decoded is None else decoded)


def _is_piece(arguments: Any) -> bool:
    """Return True for the text of a part of an object."""
    return isinstance(arguments, str) and _decode_object(arguments) is None


def _decode_object(text: str) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(text)
    except JSON_ERRORS:
        return None
    return decoded if isinstance(decoded, dict) else None


class _ChoiceAccumulator:
    """The deltas of one choice so far."""

    __slots__ = ("call", "content", "fields", "finish_reason", "logprobs", "reasoning", "role")

    def __init__(self) -> None:
        self.call = CallPieces()
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.fields: dict[str, Any] = {}  # fields that are sent whole: the last value is kept
        self.finish_reason: str | None = None
        self.logprobs: Any = None
        self.role: str | None = None

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        if (
            (delta.role is None or delta.role == self.role)
            and choice.finish_reason is None
            and delta.functions_state_id is None
            and delta.reasoning_content is None
            and delta.function_call is None
            and delta.inline_data is None
            and delta.logprobs is None
            and choice.logprobs is None
        ):
            # Fast path for nearly every event of a stream.
            if delta.content:
                self.content.append(delta.content)
        else:
            self._add_all(choice, delta)

    def _add_all(self, choice: ChunkChoice, delta: Delta) -> None:
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        if choice.logprobs is not None:
            self.logprobs = _concatenate(self.logprobs, choice.logprobs)
        if delta.functions_state_id is not None:
            self.fields["functions_state_id"] = delta.functions_state_id
        if delta.role == IN_PROGRESS:
            return  # the text of a progress report is not part of the message
        if delta.content:
            self.content.append(delta.content)
        if delta.reasoning_content:
            self.reasoning.append(delta.reasoning_content)
        if delta.logprobs is not None:
            self.fields["logprobs"] = _concatenate(self.fields.get("logprobs"), delta.logprobs)
        self.call.add(delta.function_call)
        if delta.role is not None:
            self.fields["role"] = self.role = delta.role
        if delta.inline_data is not None:
            self.fields["inline_data"] = delta.inline_data

    def choice(self, index: int) -> Choice:
        return Choice(
            message=Message(
                **{"role": "assistant", **self.fields},
                function_call=self.call.whole(),
                content="".join(self.content),
                reasoning_content="".join(self.reasoning) or None,
            ),
            index=index,
            finish_reason=self.finish_reason,
            logprobs=self.logprobs,
        )


class RawAccumulator(abc.ABC):
    """Keeps the raw data of chunks, which is decoded only when ``raw`` is needed.

    It keeps bytes, not chunks, because the garbage collector would traverse the chunks again and again.
    """

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._raw: dict[str, Any] = {}

    def _keep_raw(self, data: bytes) -> None:
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > _MAX_UNDECODED_BYTES:
            self._decode_raw()

    def _decode_raw(self) -> None:
        self._unread_bytes = 0
        while True:
            try:
                data = self._unread.popleft()
            except IndexError:  # not "while self._unread": another thread may empty it at the same time
                return
            self._merge_raw(untyped(data))

    @abc.abstractmethod
    def _merge_raw(self, raw: Any) -> None:
        """Merge the decoded data of a chunk into the raw completion."""


class ChatAccumulator(RawAccumulator):
    """Accumulates chat chunks; :meth:`completion` may be called at any time.

    Attributes:
        finish_reason: the finish reason of the first choice; None until it has ended.
        finished: True when every choice that began has ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, _ChoiceAccumulator] = {}
        self._fields: dict[str, Any] = {}
        self._request_id: str | None = None
        self._has_first_values = False
        self._raw_choices: dict[int, dict[str, Any]] = {}

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the first choice; None until it has ended."""
        choice = self._choices.get(0)
        return choice.finish_reason if choice is not None else None

    @property
    def finished(self) -> bool:
        """True when every choice that began has ended."""
        choices = list(self._choices.values())
        return bool(choices) and all(choice.finish_reason is not None for choice in choices)

    @property
    def text(self) -> str:
        """The text of the first choice so far."""
        choice = self._choices.get(0)
        return "".join(choice.content) if choice is not None else ""

    def add(self, chunk: ChatCompletionChunk, data: bytes) -> None:
        """Add the next chunk, and the data of its event."""
        # As _keep_raw() does, without its call: this runs for each event of a stream.
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > _MAX_UNDECODED_BYTES:
            self._decode_raw()
        if not self._has_first_values:
            self._keep_first_values(chunk)
        # All fields in one step, without the hook for unknown fields.
        choices, _, _, _, usage, thread_id, message_id, additional_data, error_details = _values_of(chunk)
        fields = self._fields
        if usage is not None:
            fields["usage"] = usage
        if thread_id is not None:
            fields["thread_id"] = thread_id
        if message_id is not None:
            fields["message_id"] = message_id
        if additional_data is not None:
            fields["additional_data"] = additional_data
        if error_details is not None:
            fields["error_details"] = error_details
        kept = self._choices
        for choice in choices:
            index = choice.index
            if index not in kept:
                kept[index] = _ChoiceAccumulator()
            kept[index].add(choice)

    def _replace_text(self, text: str) -> None:
        """Replace the text of the first choice so far, if it has begun."""
        if 0 in self._choices:
            self._choices[0].content[:] = [text]

    def _keep_first_values(self, chunk: ChatCompletionChunk) -> None:
        if self._request_id is None:
            # As chunk.request_id does, without its calls.
            hidden = getattr(chunk, "_hidden", None) or {}
            shared = hidden[1] if isinstance(hidden, tuple) else hidden
            self._request_id = shared.get("request_id")
        for name in _FIRST_VALUE_FIELDS:
            value = getattr(chunk, name)
            if value is not None and name not in self._fields:
                self._fields[name] = value
        self._has_first_values = self._request_id is not None and all(
            name in self._fields for name in _FIRST_VALUE_FIELDS
        )

    def completion(self) -> ChatCompletion:
        """Return the completion so far, in the form of a response that is not streamed.

        Its ``raw`` has the fields of all chunks, also those that this version does not know. Of repeated fields it has
        the last value.
        """
        choices = [choice.choice(index) for index, choice in sorted(self._choices.items())]
        completion = ChatCompletion(choices=choices, **self._fields)
        return completion.attach(raw=self._merged_raw(choices), request_id=self._request_id)

    def _merged_raw(self, choices: list[Choice]) -> dict[str, Any]:
        self._decode_raw()
        whole = []
        for choice in choices:
            known = msgspec.to_builtins(choice)
            unknown = self._raw_choices.get(choice.index, {})
            whole.append({**unknown, **known, "message": {**unknown.get("message", {}), **known["message"]}})
        return {**self._raw, "choices": whole}

    def _merge_raw(self, raw: Any) -> None:
        if not isinstance(raw, dict):
            return
        self._raw.update((name, value) for name, value in raw.items() if value is not None or name not in self._raw)
        choices = raw.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            kept = self._raw_choices.setdefault(index if isinstance(index, int) else 0, {"message": {}})
            kept.update((name, value) for name, value in choice.items() if name not in ("delta", "message"))
            delta = choice.get("delta")
            if isinstance(delta, dict) and delta.get("role") != IN_PROGRESS:
                kept["message"].update(delta)


def _concatenate(before: Any, more: Any) -> Any:
    return [*before, *more] if isinstance(before, list) and isinstance(more, list) else more


def add_usage(before: Any, more: Any) -> Any:
    """Add two usages of any type, field by field; a missing one counts as zero."""
    if before is None or more is None:
        return before if more is None else more
    if isinstance(more, msgspec.Struct) and isinstance(before, msgspec.Struct):
        fields = {name: add_usage(getattr(before, name), getattr(more, name)) for name in more.__struct_fields__}
        return type(more)(**fields)
    return before + more if isinstance(more, (int, float)) else more
