"""Messages and their chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient.errors import ConfigError
from gigaclient.types.base import Record
from gigaclient.types.chat import FunctionCall
from gigaclient.types.chat_v2.calls import (
    ChatFunctionCall,
    ChatFunctionResult,
    ChatToolExecution,
    distinct_calls,
    result_object,
)
from gigaclient.types.chat_v2.content import ChatContentPart, ChatInlineData, ChatLogprob, content_parts
from gigaclient.types.chat_v2.conversion import merge_state_ids, to_record, to_records

__all__ = ["ChatMessage", "ChatMessageChunk"]

ASSISTANT = "assistant"
REASONING = "reasoning"


# Type checkers see the converted form; the decoder accepts the others too.
if TYPE_CHECKING:
    Parts = list[ChatContentPart]
else:
    Parts = list[ChatContentPart | str] | ChatContentPart | str


class ChatMessageChunk(Record, kw_only=True):
    """The part of a message that a stream event adds; all fields may be absent.

    Attributes:
        role: as in :class:`ChatMessage`.
        content: the parts it adds.
        tools_state_id: links the turns of a function call. The server has three names for it; all are read.
    """

    # The first field, so that it may be a positional argument.
    role: str = msgspec.field(default="")
    content: Parts | None = None
    tools_state_id: str | None = None
    message_id: str | None = None
    inline_data: ChatInlineData | None = None
    function_call: ChatFunctionCall | None = None
    tool_execution: ChatToolExecution | None = None
    logprobs: list[ChatLogprob] | None = None
    finish_reason: str | None = None
    tool_state_id: str | None = None
    functions_state_id: str | None = None

    def __post_init__(self) -> None:
        self.content = content_parts(self.content)
        self.inline_data = to_record(self.inline_data, ChatInlineData)
        self.function_call = to_record(self.function_call, ChatFunctionCall)
        self.tool_execution = to_record(self.tool_execution, ChatToolExecution)
        self.logprobs = to_records(self.logprobs, ChatLogprob)
        merge_state_ids(self)

    @property
    def text(self) -> str:
        """The joined text of its parts."""
        return "".join([part.text for part in parts_of(self) if part.text])

    @property
    def function_calls(self) -> list[ChatFunctionCall]:
        """The function calls of the model."""
        return distinct_calls(calls_of(self))


class ChatMessage(ChatMessageChunk, kw_only=True):
    """One message of a dialogue.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``; responses may have ``reasoning``; others may come.
        content: its parts. A string, a dict or a list of them is converted.
        tools_state_id: links the turns of a function call; send it back unchanged. The names ``tool_state_id`` and
            ``functions_state_id`` are read too.
        message_id: the id of a message that the server stores.
        inline_data, function_call, tool_execution, logprobs, finish_reason: set by servers that do not put them into
            parts.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            role: str,
            content: str | ChatContentPart | Mapping[str, Any] | Sequence[Any] | None = ...,
            tools_state_id: str | None = ...,
            message_id: str | None = ...,
            inline_data: ChatInlineData | Mapping[str, Any] | None = ...,
            function_call: ChatFunctionCall | Mapping[str, Any] | None = ...,
            tool_execution: ChatToolExecution | Mapping[str, Any] | None = ...,
            logprobs: list[ChatLogprob] | None = ...,
            finish_reason: str | None = ...,
            tool_state_id: str | None = ...,
            functions_state_id: str | None = ...,
        ) -> None: ...

    @classmethod
    def function_result(
        cls,
        call: ChatFunctionCall | FunctionCall | Mapping[str, Any],
        result: Any,
        *,
        role: str = "tool",
        as_text: bool = False,
        tools_state_id: str | None = None,
    ) -> ChatMessage:
        """Return the message that sends the result of ``call`` to the model.

        Args:
            call: the call from the response.
            result: the result of the function. A JSON object, as a value or a string, is sent unchanged; anything else
                as ``{"result": …}``, because the API accepts only objects.
            role: ``"tool"``, or ``"function"`` for servers that require it.
            as_text: send the object as a JSON string, for servers that require it.
            tools_state_id: the id of the response's message; by default it is taken from the history when the request
                is built.

        Raises:
            ConfigError: the result cannot be encoded as JSON, or the call has no name.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
        """
        return cls.function_results([(call, result)], role=role, as_text=as_text, tools_state_id=tools_state_id)

    @classmethod
    def function_results(
        cls,
        results: Iterable[tuple[ChatFunctionCall | FunctionCall | Mapping[str, Any], Any]],
        *,
        role: str = "tool",
        as_text: bool = False,
        tools_state_id: str | None = None,
    ) -> ChatMessage:
        """Return one message with the results of several calls: pairs of a call and its result.

        Raises:
            ConfigError: a result cannot be encoded as JSON, a call has no name, or there are no results.
        """
        if role not in ("tool", "function"):
            raise ConfigError(f'the role of a result is "tool" or "function", not {role!r}')
        parts = []
        for call, result in results:
            name, call_id = (call.get("name"), call.get("id")) if isinstance(call, Mapping) else (call.name, call.id)
            if not isinstance(name, str) or not name:
                raise ConfigError("a function's result needs the call that it belongs to, with the function's name")
            value: Any = result_object(result)
            if as_text:
                value = _json_text(value)
            parts.append(ChatContentPart(function_result=ChatFunctionResult(name, value, call_id or None)))
        if not parts:
            raise ConfigError("there are no results to send")
        return cls(role=role, content=parts, tools_state_id=tools_state_id)


def _json_text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        reason = str(error)
    raise ConfigError(f"the function's result cannot be written as JSON: {reason}")


def parts_of(message: ChatMessageChunk) -> Iterator[ChatContentPart]:
    # Other items are dicts with unknown fields, which are sent unchanged.
    for part in message.content or ():
        if isinstance(part, ChatContentPart):
            yield part


def calls_of(message: ChatMessageChunk) -> Iterator[ChatFunctionCall]:
    for part in parts_of(message):
        if part.function_call is not None:
            yield part.function_call
    if message.function_call is not None:
        yield message.function_call
