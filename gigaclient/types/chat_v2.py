"""Chat of API v2: messages with content parts, tools, and responses with several messages.

The constructors of request types accept several forms and convert them into one: a string for a message's content,
dicts for the types here, ``"image_generate"`` for a tool, ``True`` for a storage. A dict with unknown fields stays a
dict, and is sent unchanged.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api and recorded responses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gigaclient.errors import ConfigError
from gigaclient.types.base import APIResponse, Record
from gigaclient.types.chat import Function, FunctionCall, as_schema

if TYPE_CHECKING:
    from gigaclient.types.files import GeneratedFile

__all__ = [
    "ChatCompletionRequest",
    "ChatCompletionResponse",
    "ChatCompletionResponseChunk",
    "ChatContentFile",
    "ChatContentPart",
    "ChatFilterConfig",
    "ChatFilterContentConfig",
    "ChatFilterResponseContentConfig",
    "ChatFunctionCall",
    "ChatFunctionExample",
    "ChatFunctionResult",
    "ChatFunctionSpecification",
    "ChatFunctionsTool",
    "ChatInlineData",
    "ChatLogprob",
    "ChatLogprobToken",
    "ChatMessage",
    "ChatMessageChunk",
    "ChatModelOptions",
    "ChatRankerOptions",
    "ChatReasoning",
    "ChatResponseFormat",
    "ChatSource",
    "ChatStorage",
    "ChatTool",
    "ChatToolConfig",
    "ChatToolExecution",
    "ChatUsage",
    "ChatUsageInputTokensDetails",
    "ChatUserInfo",
    "ChatWebSearchTool",
]

RecordT = TypeVar("RecordT", bound=Record)

ASSISTANT = "assistant"
REASONING = "reasoning"

TOOLS = (
    "code_interpreter",
    "get_datetime",
    "image_generate",
    "memory",
    "model_3d_generate",
    "url_content_extraction",
    "web_search",
)
"""The names of the service's tools in ``tools``."""


# -- conversion ----------------------------------------------------------------------------------------------------


def _typed(value: Any, type_: type[RecordT]) -> Any:
    """Convert a dict to ``type_`` if it knows all fields; return anything else unchanged."""
    if not isinstance(value, Mapping):
        return value
    fields = type_.__struct_fields__
    named = {name[:-1] if str(name).endswith("_") and name not in fields else name: value[name] for name in value}
    if len(named) != len(value) or not all(name in fields for name in named):
        return value
    try:
        return type_(**named)
    except TypeError as error:
        reason = str(error)
    raise ConfigError(f"{type_.__name__}: {reason}")


def _all_typed(values: Any, type_: type[RecordT]) -> Any:
    """Convert the items of a list to ``type_``; return anything else unchanged."""
    if not isinstance(values, (list, tuple)):
        return values
    return [_typed(value, type_) for value in values]


def _content_parts(content: Any) -> Any:
    """Convert message content of any form into a list of parts."""
    if isinstance(content, str):
        return [ChatContentPart(text=content)]
    if isinstance(content, ChatContentPart):
        return [content]
    if isinstance(content, Mapping):
        return [_typed(content, ChatContentPart)]
    if isinstance(content, (list, tuple)):
        return [
            ChatContentPart(text=part) if isinstance(part, str) else _typed(part, ChatContentPart) for part in content
        ]
    return content


def _decoded_object(value: Any) -> Any:
    """Decode a string that holds a JSON object; return anything else unchanged."""
    if isinstance(value, str):
        try:
            decoded = msgspec.json.decode(value)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return value
        return decoded if isinstance(decoded, dict) else value
    return value


# Type checkers see what the API documents; an unexpected value must not invalidate the response.
if TYPE_CHECKING:
    Sources = dict[str, "ChatSource"]
    Anything = list[Any]
else:
    Sources = Anything = Any


class _Fields(Record):
    """The base of the types of API v2."""


# -- parts of a message --------------------------------------------------------------------------------------------


class ChatSource(_Fields):
    """A web page that a response is based on."""

    url: str | None = None
    title: str | None = None


class ChatInlineData(_Fields):
    """Data that belongs to a text.

    Attributes:
        sources: the web pages, by the numbers of markers such as ``[sources=[2, 5]]`` in the text.
        images, widgets: as the server sends them.
    """

    images: Anything | None = None
    sources: Sources | None = None
    widgets: Anything | None = None

    def __post_init__(self) -> None:
        sources: Any = self.sources
        if isinstance(sources, dict):
            self.sources = {
                str(number): _typed(_known_fields(source, ChatSource), ChatSource) for number, source in sources.items()
            }


def _known_fields(value: Any, type_: type[Record]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: value[name] for name in type_.__struct_fields__ if name in value}


class ChatContentFile(_Fields):
    """A file: an uploaded one in a request, a generated one in a response.

    Attributes:
        id: the file's id.
        target: of a generated file: ``image``, ``audio``, ``cover``, ``video``, ``3dmodel``; others may come.
        mime: its MIME type.
    """

    id: str = ""
    target: str | None = None
    mime: str | None = None


class ChatFunctionCall(FunctionCall):
    """A function call that the model requests.

    Attributes:
        name: the function's name.
        arguments: the arguments as an object; a JSON string is decoded.
        id: the id of the call, if the server sends one; send it back with the result.
    """

    def __post_init__(self) -> None:
        self.arguments = _decoded_object(self.arguments)


class ChatFunctionResult(_Fields):
    """The result of a function.

    Attributes:
        name: the function's name, by default that of the call.
        result: a JSON object, as a value or a string. Anything else is sent as ``{"result": …}``.
        id: the call's id, if it has one.
    """

    name: str = ""
    result: Any = None
    id: str | None = None


class ChatToolExecution(_Fields):
    """The state of a run of one of the service's tools.

    Attributes:
        name: the tool.
        status: ``success`` or ``fail``; None while it runs.
        seconds_left: the server's estimate.
        censored: True if the filter removed something.
        id: the id of the run; may be empty.
    """

    name: str | None = None
    status: str | None = None
    seconds_left: int | None = None
    censored: bool | None = None
    id: str | None = None


class ChatLogprobToken(_Fields):
    """A token and its probability."""

    token: str = ""
    token_id: int | None = None
    logprob: float | None = None


class ChatLogprob(_Fields):
    """The chosen token at one position, and the most likely ones there."""

    chosen: ChatLogprobToken | None = None
    top: list[ChatLogprobToken] | None = None

    def __post_init__(self) -> None:
        self.chosen = _typed(self.chosen, ChatLogprobToken)
        self.top = _all_typed(self.top, ChatLogprobToken)


class ChatContentPart(_Fields):
    """A part of a message; usually one field is set.

    Attributes:
        text: a text; in a stream, the added text.
        files: uploaded files in a request, generated ones in a response.
        function_call: a function call that the model requests; send it back unchanged.
        function_result: the result of that function.
        tool_execution, inline_data, logprobs: only in responses.
    """

    text: str | None = None
    files: list[ChatContentFile] | None = None
    function_call: ChatFunctionCall | None = None
    function_result: ChatFunctionResult | None = None
    tool_execution: ChatToolExecution | None = None
    inline_data: ChatInlineData | None = None
    logprobs: list[ChatLogprob] | None = None

    def __post_init__(self) -> None:
        files: Any = self.files
        if files is not None:
            if not isinstance(files, (list, tuple)):
                files = [files]
            self.files = [
                ChatContentFile(id=file) if isinstance(file, str) else _typed(file, ChatContentFile) for file in files
            ]
        self.function_call = _typed(self.function_call, ChatFunctionCall)
        self.function_result = _typed(self.function_result, ChatFunctionResult)
        self.tool_execution = _typed(self.tool_execution, ChatToolExecution)
        self.inline_data = _typed(self.inline_data, ChatInlineData)
        self.logprobs = _all_typed(self.logprobs, ChatLogprob)


# -- messages ------------------------------------------------------------------------------------------------------

# Type checkers see the converted form; the decoder accepts the others too.
if TYPE_CHECKING:
    Parts = list[ChatContentPart]
else:
    Parts = list[ChatContentPart | str] | ChatContentPart | str


class ChatMessageChunk(_Fields, kw_only=True):
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
        self.content = _content_parts(self.content)
        self.inline_data = _typed(self.inline_data, ChatInlineData)
        self.function_call = _typed(self.function_call, ChatFunctionCall)
        self.tool_execution = _typed(self.tool_execution, ChatToolExecution)
        self.logprobs = _all_typed(self.logprobs, ChatLogprob)
        _merge_state_ids(self)

    @property
    def text(self) -> str:
        """The joined text of its parts."""
        return "".join([part.text for part in _parts_of(self) if part.text])

    @property
    def function_calls(self) -> list[ChatFunctionCall]:
        """The function calls of the model."""
        return distinct_calls(_calls_of(self))


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


def result_object(result: Any) -> Any:
    """Convert the result of a function into the JSON object that the API requires."""
    result = _decoded_object(result)
    if isinstance(result, (Mapping, msgspec.Struct)) or hasattr(type(result), "__dataclass_fields__"):
        return result
    return {"result": result}


def _json_text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        reason = str(error)
    raise ConfigError(f"the function's result cannot be written as JSON: {reason}")


def _merge_state_ids(record: Any) -> None:
    record.tools_state_id = record.tools_state_id or record.tool_state_id or record.functions_state_id or None
    record.tool_state_id = record.functions_state_id = None


def _parts_of(message: ChatMessageChunk) -> Iterator[ChatContentPart]:
    # Other items are dicts with unknown fields, which are sent unchanged.
    for part in message.content or ():
        if isinstance(part, ChatContentPart):
            yield part


def _calls_of(message: ChatMessageChunk) -> Iterator[ChatFunctionCall]:
    for part in _parts_of(message):
        if part.function_call is not None:
            yield part.function_call
    if message.function_call is not None:
        yield message.function_call


def same_call(one: ChatFunctionCall, other: ChatFunctionCall) -> bool:
    """Return True for two copies of one call: with equal ids, or without ids with equal names and arguments."""
    if one.id and other.id:
        return one.id == other.id
    return one.name == other.name and bool(one.arguments == other.arguments)


def distinct_calls(calls: Iterable[ChatFunctionCall]) -> list[ChatFunctionCall]:
    """Return the calls without duplicates."""
    found: list[ChatFunctionCall] = []
    for call in calls:
        if not any(same_call(call, known) for known in found):
            found.append(call)
    return found


# -- options of a request ------------------------------------------------------------------------------------------


class ChatReasoning(_Fields):
    """The amount of reasoning: ``effort`` is ``low``, ``medium``, ``high`` or ``off``; ``max_tokens`` is a limit."""

    effort: str | None = None
    max_tokens: int | None = None


class ChatResponseFormat(_Fields):
    """The format of the response.

    Attributes:
        type: ``text``, ``json_schema`` (with ``schema``) or ``regex`` (with ``regex``).
        schema: JSON Schema as an object, or a pydantic model, whose schema is sent.
        strict: True forbids fields that the schema does not name.
        regex: a regular expression that matches the whole text.
    """

    # A factory, because plain defaults are not sent.
    type: str = msgspec.field(default_factory=lambda: "text")
    schema: Any = None
    strict: bool | None = None
    regex: str | None = None

    def __post_init__(self) -> None:
        self.schema = as_schema(self.schema)


class ChatModelOptions(_Fields):
    """Options of the generation.

    Attributes:
        temperature: above 0.
        top_p: 0 to 1.
        max_tokens: the response is cut there, with ``finish_reason`` ``length``.
        repetition_penalty: above 0; 1.0 is neutral.
        update_interval: the minimum number of seconds between events of a stream.
        response_format, reasoning: the format of the response, and the amount of reasoning.
        parallel_tool_calls: True permits several calls in one response.
        unnormalized_history: True makes the server use the messages unchanged.
        top_logprobs: 1 to 5 likely tokens for each position, if the key permits that.
        preset: for older servers.
    """

    preset: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    repetition_penalty: float | None = None
    update_interval: float | None = None
    unnormalized_history: bool | None = None
    top_logprobs: int | None = None
    reasoning: ChatReasoning | None = None
    response_format: ChatResponseFormat | None = None
    parallel_tool_calls: bool | None = None

    def __post_init__(self) -> None:
        self.reasoning = _typed(self.reasoning, ChatReasoning)
        self.response_format = _typed(self.response_format, ChatResponseFormat)


class ChatFilterContentConfig(_Fields):
    """The filters that check the request."""

    neuro: bool | None = None
    blacklist: bool | None = None
    whitelist: bool | None = None


class ChatFilterResponseContentConfig(_Fields):
    """The filters that check the response."""

    blacklist: bool | None = None


class ChatFilterConfig(_Fields):
    """The filters that are on; by agreement with the service."""

    request_content: ChatFilterContentConfig | None = None
    response_content: ChatFilterResponseContentConfig | None = None

    def __post_init__(self) -> None:
        self.request_content = _typed(self.request_content, ChatFilterContentConfig)
        self.response_content = _typed(self.response_content, ChatFilterResponseContentConfig)


class ChatStorage(_Fields):
    """Store the dialogue on the server: an empty one starts a thread, one with ``thread_id`` continues it.

    Attributes:
        limit: the number of the thread's messages that the model sees.
        thread_id: the ``thread_id`` of the response.
        metadata: metadata of a new thread.
    """

    limit: int | None = None
    thread_id: str | None = None
    metadata: dict[str, Any] | None = None


class ChatRankerOptions(_Fields):
    """Let the server preselect functions for the model."""

    enabled: bool | None = None
    top_n: int | None = None
    embeddings_model: str | None = None


class ChatUserInfo(_Fields):
    """Information about the user: ``timezone`` is a name such as ``Europe/Moscow``."""

    timezone: str | None = None


class ChatToolConfig(_Fields):
    """The rule that the model must, may or must not use tools.

    Attributes:
        mode: ``auto``, ``none``, ``forced`` (with one of the names) or ``any`` (of the caller's functions).
        tool_name: the forced tool of the service.
        function_name: the forced function of the caller.
        functions_names_any: functions of the caller, at least one of which must be called, for ``any``.
    """

    mode: str | None = None
    tool_name: str | None = None
    function_name: str | None = None
    functions_names_any: list[str] | None = None


class ChatFunctionExample(_Fields):
    """An example for a function: a user's request, and the arguments for it."""

    request: str
    params: dict[str, Any]


class ChatFunctionSpecification(_Fields):
    """A function that the model may call.

    Attributes:
        name: Latin letters, digits (not first) and underscores are safe everywhere.
        parameters: JSON Schema of the arguments, sent unchanged.
        description: its purpose, for the model.
        few_shot_examples: examples; the API's documentation strongly recommends them.
        return_parameters: JSON Schema of the result.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    few_shot_examples: list[ChatFunctionExample] | None = None
    return_parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.few_shot_examples = _all_typed(self.few_shot_examples, ChatFunctionExample)

    @classmethod
    def _prepared(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return Function._prepared(fields)


def specification(value: Any) -> Any:
    """Convert a JSON Schema with a title into a function's fields; return anything else unchanged."""
    return Function._prepared(dict(value)) if isinstance(value, Mapping) else value


class ChatFunctionsTool(_Fields):
    """The caller's functions, all in one tool."""

    specifications: list[ChatFunctionSpecification] | None = None

    def __post_init__(self) -> None:
        functions: Any = self.specifications
        if isinstance(functions, (list, tuple)):
            self.specifications = [_typed(specification(item), ChatFunctionSpecification) for item in functions]


class ChatWebSearchTool(_Fields):
    """The service's web search.

    Attributes:
        type: ``web_search``, ``actual_info_web_search`` or ``safe_search``.
        indexes, flags: by agreement with the service.
    """

    type: str | None = None
    indexes: list[str] | None = None
    flags: list[str] | None = None


class ChatTool(_Fields):
    """A tool; exactly one field is set. ``{}`` enables a tool without settings."""

    code_interpreter: dict[str, Any] | None = None
    image_generate: dict[str, Any] | None = None
    web_search: ChatWebSearchTool | None = None
    url_content_extraction: dict[str, Any] | None = None
    model_3d_generate: dict[str, Any] | None = None
    functions: ChatFunctionsTool | None = None
    get_datetime: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.web_search = _typed(self.web_search, ChatWebSearchTool)
        self.functions = _typed(self.functions, ChatFunctionsTool)

    @classmethod
    def model_validate(cls, obj: Any) -> ChatTool:
        """Create a tool from a dict or its name."""
        return super().model_validate(named_tool(obj))


def named_tool(value: Any) -> Any:
    """Convert a tool name such as ``"image_generate"`` to ``{"image_generate": {}}``; return others unchanged."""
    if not isinstance(value, str):
        return value
    if value not in TOOLS:
        raise ConfigError(
            f"there is no tool {value!r} that a name is enough for: {', '.join(TOOLS)}; one's own functions go into "
            'functions=[…], and a tool that is not known here is given as {"name": {…}}'
        )
    return {value: {}}


if TYPE_CHECKING:
    Storage = ChatStorage
    Tools = list[ChatTool]
else:
    Storage = ChatStorage | bool
    Tools = list[ChatTool | str]


class ChatCompletionRequest(_Fields, kw_only=True):
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
        self.messages = _all_typed([messages] if isinstance(messages, ChatMessage) else messages, ChatMessage)
        _merge_state_ids(self)
        self.model_options = _typed(self.model_options, ChatModelOptions)
        self.filter_config = _typed(self.filter_config, ChatFilterConfig)
        storage: Any = self.storage
        if isinstance(storage, bool):
            storage = ChatStorage() if storage else None
        self.storage = _typed(storage, ChatStorage)
        self.ranker_options = _typed(self.ranker_options, ChatRankerOptions)
        self.tool_config = _typed(self.tool_config, ChatToolConfig)
        tools: Any = self.tools
        if isinstance(tools, (list, tuple)):
            self.tools = [_typed(named_tool(tool), ChatTool) for tool in tools]
        self.user_info = _typed(self.user_info, ChatUserInfo)
        if self.disable_filter is None and self.profanity_check is not None:
            self.disable_filter = not self.profanity_check
        for name, slot, type_ in _MOVED:
            value = slot.__get__(self)
            if value is not None:
                slot.__set__(self, None)
                if getattr(self, name) is None:
                    _set_option(self, name, _typed(value, type_))

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
        _set_option(request, name, _typed(value, type_))

    return property(get, assign, doc=f"``model_options.{name}``.")


for _name, _slot, _type in _MOVED:
    setattr(ChatCompletionRequest, _name, _option_property(_name, _type))


# -- responses -----------------------------------------------------------------------------------------------------


class ChatUsageInputTokensDetails(_Fields):
    """Details of the input: tokens of the prompt, and tokens from the cache of a session.

    ``cached_tokens`` may be more than ``input_tokens``: it is not a part of them.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None


class ChatUsage(_Fields):
    """The cost of a call in tokens, as counted by the server.

    Attributes:
        input_tokens: tokens of the request.
        output_tokens: tokens of the response.
        total_tokens: the total that the server reports.
        input_tokens_details: details of the input.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: ChatUsageInputTokensDetails | None = None
    system_tokens: int | None = None
    function_suggester_tokens: int | None = None


_REQUEST_FIELDS = ("text", "files", "function_call", "function_result")


class ChatCompletionResponse(APIResponse):
    """The response to a chat request: ``POST /v2/chat/completions``.

    ``str()`` returns its text, and a notebook shows it as Markdown.

    Attributes:
        messages: usually one message of the assistant; messages of the role ``reasoning`` may precede it.
        model: the model's id with its build, such as ``GigaChat-3-Pro:33.1.2.7``.
        created_at: Unix time in seconds.
        finish_reason: ``stop``, ``length``, ``function_call``, ``function_call_error``, ``blacklist`` and other values
            of the filter; others may come. None in a stream that has not ended.
        usage: tokens, if the server reports them.
        tools_state_id: links the turns of a function call; the last of the messages'.
        thread_id, message_id: set if the dialogue is stored on the server.
        additional_data: as the server sends it, intermediate steps for example.
        error_details: an error that the server reports inside a response.
    """

    messages: list[ChatMessage]
    model: str | None = None
    created_at: int | None = None
    finish_reason: str | None = None
    usage: ChatUsage | None = None
    tools_state_id: str | None = None
    thread_id: str | None = None
    message_id: str | None = None
    tool_execution: ChatToolExecution | None = None
    logprobs: list[ChatLogprob] | None = None
    additional_data: Any = None
    error_details: Any = None
    created: int | None = None
    tool_state_id: str | None = None
    functions_state_id: str | None = None

    def __post_init__(self) -> None:
        if self.created_at is None:
            self.created_at = self.created
        self.created = None
        _merge_state_ids(self)
        for message in self.messages:
            if not message.role:
                message.role = ASSISTANT
            self.tools_state_id = message.tools_state_id or self.tools_state_id
        if self.finish_reason is None:
            reasons = [message.finish_reason for message in self.messages if message.finish_reason is not None]
            self.finish_reason = reasons[-1] if reasons else None

    def _assistant_messages(self) -> list[ChatMessage]:
        return [message for message in self.messages if message.role == ASSISTANT]

    @property
    def text(self) -> str:
        """The text of the assistant; empty, never None, if there is none (a function call, for example)."""
        return "".join([message.text for message in self._assistant_messages()])

    @property
    def reasoning_text(self) -> str:
        """The reasoning of the model, if the server sends it; otherwise empty."""
        return "".join([message.text for message in self.messages if message.role == REASONING])

    @property
    def message(self) -> ChatMessage:
        """The assistant's message, to append to the history for the next turn: see :attr:`turn`."""
        turn = self.turn
        if len(turn) == 1:
            return turn[0]
        parts = [part for message in turn for part in message.content or ()]
        return ChatMessage(role=ASSISTANT, content=parts, tools_state_id=self.tools_state_id)

    @property
    def turn(self) -> list[ChatMessage]:
        """The assistant's messages as the next request needs them: texts, files and calls, with their state ids.

        Usually one message, the same as :attr:`message`; several if the server gave them different state ids.
        """
        messages: list[ChatMessage] = []
        for message in self._assistant_messages():
            parts = []
            for part in message.content or ():
                kept = {name: getattr(part, name) for name in _REQUEST_FIELDS}
                if part.text is not None or any(value is not None for value in kept.values()):
                    parts.append(ChatContentPart(**kept))
            if message.function_call is not None and not any(part.function_call for part in parts):
                parts.append(ChatContentPart(function_call=message.function_call))
            last = messages[-1] if messages else None
            state_id = message.tools_state_id
            if last is not None and (state_id is None or last.tools_state_id in (None, state_id)):
                last.content = [*(last.content or ()), *parts]
                last.tools_state_id = state_id or last.tools_state_id
            else:
                messages.append(ChatMessage(role=ASSISTANT, content=parts, tools_state_id=state_id))
        if len(messages) == 1 and messages[0].tools_state_id is None:
            messages[0].tools_state_id = self.tools_state_id
        return messages

    @property
    def function_calls(self) -> list[ChatFunctionCall]:
        """The function calls of the model, each once; empty if there are none."""
        return distinct_calls(call for message in self._assistant_messages() for call in _calls_of(message))

    @property
    def function_call(self) -> ChatFunctionCall | None:
        """The first function call of the model, or None."""
        calls = self.function_calls
        return calls[0] if calls else None

    @property
    def tool_executions(self) -> list[ChatToolExecution]:
        """The runs of the service's tools that the response reports."""
        found = [part.tool_execution for message in self.messages for part in _parts_of(message)]
        found += [message.tool_execution for message in self.messages]
        return [run for run in [*found, self.tool_execution] if run is not None]

    @property
    def sources(self) -> dict[str, ChatSource]:
        """The web pages that the text refers to: ``[sources=[2, 5]]`` in it means ``"2"`` and ``"5"``."""
        sources: dict[str, ChatSource] = {}
        for message in self._assistant_messages():
            for data in [*(part.inline_data for part in _parts_of(message)), message.inline_data]:
                if data is not None and isinstance(data.sources, dict):
                    sources.update(data.sources)
        return sources

    @property
    def files(self) -> list[GeneratedFile]:
        """The generated files, each once; ``get_file_content`` downloads them."""
        from gigaclient.types.files import GeneratedFile

        found: dict[str, GeneratedFile] = {}
        for message in self._assistant_messages():
            for part in _parts_of(message):
                for file in part.files or ():
                    if file.id and file.id not in found:
                        target = file.target or (file.mime or "file").partition("/")[0]
                        found[file.id] = GeneratedFile(id=file.id, kind=target, mime=file.mime)
        return list(found.values())

    @property
    def images(self) -> list[GeneratedFile]:
        """The images among :attr:`files`; ``get_image`` downloads them."""
        return [file for file in self.files if file.kind == "image"]

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import of_answer

        return of_answer(self.text, self.function_calls)


class ChatCompletionResponseChunk(APIResponse):
    """One event of a streamed response. ``str()`` returns the text that it adds.

    Attributes:
        event: the event's name, such as ``response.message.delta``; None if the server sends none.
        messages: the parts that it adds to messages; may be empty.
        finish_reason, usage: in the last chunk.
    """

    event: str | None = None
    messages: list[ChatMessageChunk] = []
    model: str | None = None
    created_at: int | None = None
    finish_reason: str | None = None
    usage: ChatUsage | None = None
    tools_state_id: str | None = None
    thread_id: str | None = None
    message_id: str | None = None
    tool_execution: ChatToolExecution | None = None
    logprobs: list[ChatLogprob] | None = None
    additional_data: Any = None
    error_details: Any = None
    created: int | None = None
    tool_state_id: str | None = None
    functions_state_id: str | None = None

    def __post_init__(self) -> None:
        if self.created_at is None:
            self.created_at = self.created
        self.created = None
        _merge_state_ids(self)
        for message in self.messages:
            self.tools_state_id = message.tools_state_id or self.tools_state_id
            if self.finish_reason is None:
                self.finish_reason = message.finish_reason

    def _text_of(self, *roles: str) -> str:
        # Some servers repeat the whole text in the last event, which then adds nothing.
        if self.__dict__.get("_repeats"):
            return ""
        return "".join([message.text for message in self.messages if message.role in roles])

    @property
    def text(self) -> str:
        """The text that this event adds to the assistant's message."""
        return self._text_of(ASSISTANT, "")

    @property
    def reasoning_text(self) -> str:
        """The text that this event adds to the reasoning."""
        return self._text_of(REASONING)

    @property
    def function_calls(self) -> list[ChatFunctionCall]:
        """The function calls of this event."""
        return distinct_calls(call for message in self.messages for call in _calls_of(message))

    @property
    def tool_executions(self) -> list[ChatToolExecution]:
        """The runs of the service's tools that this event reports."""
        found = [part.tool_execution for message in self.messages for part in _parts_of(message)]
        found += [message.tool_execution for message in self.messages]
        return [run for run in [*found, self.tool_execution] if run is not None]

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import for_notebook

        return for_notebook(self.text)
