"""The chat request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient.errors import ConfigError
from gigaclient.types.base import Record
from gigaclient.types.chat_v2.conversion import merge_state_ids, to_record, to_records
from gigaclient.types.chat_v2.messages import ChatMessage
from gigaclient.types.chat_v2.options import (
    ChatFilterConfig,
    ChatModelOptions,
    ChatRankerOptions,
    ChatReasoning,
    ChatResponseFormat,
    ChatStorage,
    ChatUserInfo,
)
from gigaclient.types.chat_v2.tools import ChatTool, ChatToolConfig, named_tool

__all__ = ["ChatCompletionRequest"]


if TYPE_CHECKING:
    Storage = ChatStorage
    Tools = list[ChatTool]
else:
    Storage = ChatStorage | bool
    Tools = list[ChatTool | str]


class ChatCompletionRequest(Record, kw_only=True):
    """A chat request: the body of ``POST /v2/chat/completions``.

    Absent fields are not sent. Unknown fields go into ``additional_fields``, or are passed to the call as keyword
    arguments; they are sent unchanged.

    Attributes:
        messages: the history, with at most one ``system`` message, which is the first.
        model: the model's id; by default the client's.
        assistant_id: a stored assistant, instead of a model.
        model_options: options of the generation.
        reasoning, response_format: fields of ``model_options``, accepted here too.
        tools: tools that the model may use; a string names one of the service's.
        tool_config: the rule that it must, may or must not use them.
        storage: stores the dialogue on the server; ``True`` starts a thread.
        user_info: information about the user.
        ranker_options: preselection of functions.
        disable_filter: True disables the filter, if the key permits that.
        profanity_check: the opposite of ``disable_filter``, the name in API v1.
        filter_config: the filters that are on, by agreement.
        flags: such as ``preprocess``.
        tools_state_id: the id for the whole request; usually messages have it.
        memory_id: for the tool ``memory``.
        additional_fields: further body fields; the fields above take precedence.
    """

    messages: list[ChatMessage]
    model: str | None = None
    assistant_id: str | None = None
    tools_state_id: str | None = None
    model_options: ChatModelOptions | None = None
    filter_config: ChatFilterConfig | None = None
    storage: Storage | None = None
    ranker_options: ChatRankerOptions | None = None
    tool_config: ChatToolConfig | None = None
    tools: Tools | None = None
    user_info: ChatUserInfo | None = None
    stream: bool | None = None
    disable_filter: bool | None = None
    profanity_check: bool | None = None
    flags: list[str] | None = None
    memory_id: str | None = None
    reasoning: ChatReasoning | None = None
    response_format: ChatResponseFormat | None = None
    additional_fields: dict[str, Any] | None = None
    tool_state_id: str | None = None
    functions_state_id: str | None = None

    def __post_init__(self) -> None:
        messages: Any = self.messages
        if isinstance(messages, str):
            messages = [ChatMessage(role="user", content=messages)]
        self.messages = to_records([messages] if isinstance(messages, ChatMessage) else messages, ChatMessage)
        merge_state_ids(self)
        self.model_options = to_record(self.model_options, ChatModelOptions)
        self.filter_config = to_record(self.filter_config, ChatFilterConfig)
        storage: Any = self.storage
        if isinstance(storage, bool):
            storage = ChatStorage() if storage else None
        self.storage = to_record(storage, ChatStorage)
        self.ranker_options = to_record(self.ranker_options, ChatRankerOptions)
        self.tool_config = to_record(self.tool_config, ChatToolConfig)
        tools: Any = self.tools
        if isinstance(tools, (list, tuple)):
            self.tools = [to_record(named_tool(tool), ChatTool) for tool in tools]
        self.user_info = to_record(self.user_info, ChatUserInfo)
        if self.disable_filter is None and self.profanity_check is not None:
            self.disable_filter = not self.profanity_check
        for name, slot, type_ in _MOVED:
            value = slot.__get__(self)
            if value is not None:
                slot.__set__(self, None)
                if getattr(self, name) is None:
                    _set_option(self, name, to_record(value, type_))

    @classmethod
    def model_validate(cls, obj: Any) -> ChatCompletionRequest:
        """Create a request from a dict, as the constructor does; unknown fields go into ``additional_fields``.

        Raises:
            ConfigError: there are no messages, or ``obj`` is not a dict.
        """
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping):
            raise ConfigError(f"{cls.__name__} is made of a dict, not of {type(obj).__name__}")
        if obj.get("messages") is None:
            raise ConfigError('a request needs "messages"')
        known = {name: value for name, value in obj.items() if name in cls.__struct_fields__}
        unknown = {name: value for name, value in obj.items() if name not in cls.__struct_fields__}
        if unknown:
            known["additional_fields"] = {**unknown, **(known.get("additional_fields") or {})}
        return cls(**known)

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            messages: str | Sequence[ChatMessage | Mapping[str, Any]],
            model: str | None = ...,
            assistant_id: str | None = ...,
            tools_state_id: str | None = ...,
            model_options: ChatModelOptions | Mapping[str, Any] | None = ...,
            filter_config: ChatFilterConfig | Mapping[str, Any] | None = ...,
            storage: ChatStorage | Mapping[str, Any] | bool | None = ...,
            ranker_options: ChatRankerOptions | Mapping[str, Any] | None = ...,
            tool_config: ChatToolConfig | Mapping[str, Any] | None = ...,
            tools: Sequence[ChatTool | Mapping[str, Any] | str] | None = ...,
            user_info: ChatUserInfo | Mapping[str, Any] | None = ...,
            stream: bool | None = ...,
            disable_filter: bool | None = ...,
            profanity_check: bool | None = ...,
            flags: Sequence[str] | None = ...,
            memory_id: str | None = ...,
            reasoning: ChatReasoning | Mapping[str, Any] | None = ...,
            response_format: ChatResponseFormat | Mapping[str, Any] | None = ...,
            additional_fields: Mapping[str, Any] | None = ...,
            tool_state_id: str | None = ...,
            functions_state_id: str | None = ...,
        ) -> None: ...


# Arguments of the constructor that are stored in model_options and read through properties. Their slots hold the
# arguments only until __post_init__ moves them.
_MOVED: tuple[tuple[str, Any, Any], ...] = (
    ("reasoning", ChatCompletionRequest.__dict__["reasoning"], ChatReasoning),
    ("response_format", ChatCompletionRequest.__dict__["response_format"], ChatResponseFormat),
)


def _set_option(request: ChatCompletionRequest, name: str, value: Any) -> None:
    options: Any = request.model_options
    if isinstance(options, Mapping):
        request.model_options = {**options, name: value}  # type: ignore[assignment]  # a dict with unknown fields
    elif options is None:
        request.model_options = ChatModelOptions(**{name: value})
    else:
        request.model_options = msgspec.structs.replace(options, **{name: value})


def _option_property(name: str, type_: type[Record]) -> property:
    def get(request: ChatCompletionRequest) -> Any:
        options: Any = request.model_options
        return options.get(name) if isinstance(options, Mapping) else getattr(options, name, None)

    def assign(request: ChatCompletionRequest, value: Any) -> None:
        _set_option(request, name, to_record(value, type_))

    return property(get, assign, doc=f"``model_options.{name}``.")


for _name, _slot, _type in _MOVED:
    setattr(ChatCompletionRequest, _name, _option_property(_name, _type))
