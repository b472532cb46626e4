"""Chat of API v2: messages made of parts, tools, and answers with several messages.

Request types may be filled loosely and hold one shape afterwards: a bare string for a message's content, dicts for the
types here, ``"image_generate"`` for a tool, ``True`` for a storage. A dict with fields that are not known here stays a
dict, and is sent as it is.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api and recorded answers.
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
"""The service's own tools, as ``tools`` names them."""


# -- normalising ---------------------------------------------------------------------------------------------------


def _typed(value: Any, kind: type[RecordT]) -> Any:
    """``value`` as ``kind`` if it is a dict whose fields ``kind`` knows; otherwise as it is."""
    if not isinstance(value, Mapping):
        return value
    fields = kind.__struct_fields__
    named = {name[:-1] if str(name).endswith("_") and name not in fields else name: value[name] for name in value}
    if len(named) != len(value) or not all(name in fields for name in named):
        return value
    try:
        return kind(**named)
    except TypeError as error:
        reason = str(error)
    raise ConfigError(f"{kind.__name__}: {reason}")


def _all_typed(values: Any, kind: type[RecordT]) -> Any:
    """The items of a list as ``kind``; anything but a list as it is."""
    if not isinstance(values, (list, tuple)):
        return values
    return [_typed(value, kind) for value in values]


def _parts(content: Any) -> Any:
    """Content of any form as a list of parts."""
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


def _arguments(value: Any) -> Any:
    """The object that a text holds; anything else as it is."""
    if isinstance(value, str):
        try:
            decoded = msgspec.json.decode(value)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return value
        return decoded if isinstance(decoded, dict) else value
    return value


# What the documentation promises; of what an answer has there, nothing shall cost the answer.
if TYPE_CHECKING:
    Sources = dict[str, "ChatSource"]
    Anything = list[Any]
else:
    Sources = Anything = Any


class _Fields(Record):
    """Most fields are seldom set: only those that are, are shown."""


# -- parts of a message --------------------------------------------------------------------------------------------


class ChatSource(_Fields):
    """A page that an answer is based on."""

    url: str | None = None
    title: str | None = None


class ChatInlineData(_Fields):
    """What came with a text.

    Attributes:
        sources: the pages, by the number that markers such as ``[sources=[2, 5]]`` in the text refer to.
        images, widgets: as the server sends them.
    """

    images: Anything | None = None
    sources: Sources | None = None
    widgets: Anything | None = None

    def __post_init__(self) -> None:
        sources: Any = self.sources
        if isinstance(sources, dict):
            self.sources = {
                str(number): _typed(_known_of(one, ChatSource), ChatSource) for number, one in sources.items()
            }


def _known_of(value: Any, kind: type[Record]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: value[name] for name in kind.__struct_fields__ if name in value}


class ChatContentFile(_Fields):
    """A file: one that was uploaded, in a request; one that the model made, in an answer.

    Attributes:
        id: the file's id.
        target: of a file that the model made: ``image``, ``audio``, ``cover``, ``video``, ``3dmodel``; others may come.
        mime: its MIME type.
    """

    id: str = ""
    target: str | None = None
    mime: str | None = None


class ChatFunctionCall(FunctionCall):
    """The model's wish to have a function called.

    Attributes:
        name: the function's name.
        arguments: the arguments, as an object; a text that holds one is read.
        id: tells calls of one answer apart, where the server gives ids; the result is sent back with it.
    """

    def __post_init__(self) -> None:
        self.arguments = _arguments(self.arguments)


class ChatFunctionResult(_Fields):
    """What a function returned.

    Attributes:
        name: the function's name, as in the call; taken from there when it is left out.
        result: a JSON object, or a text that holds one. Anything else is sent as ``{"result": …}``.
        id: the call's id, where it has one.
    """

    name: str = ""
    result: Any = None
    id: str | None = None


class ChatToolExecution(_Fields):
    """How the run of one of the service's own tools goes.

    Attributes:
        name: the tool.
        status: ``success`` or ``fail``; None while it runs.
        seconds_left: the server's guess.
        censored: whether the filter took something away.
        id: of the run; may be empty.
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
    """The token that was chosen at one place, and those that were likely there."""

    chosen: ChatLogprobToken | None = None
    top: list[ChatLogprobToken] | None = None

    def __post_init__(self) -> None:
        self.chosen = _typed(self.chosen, ChatLogprobToken)
        self.top = _all_typed(self.top, ChatLogprobToken)


class ChatContentPart(_Fields):
    """A part of a message: usually one of these fields is set.

    Attributes:
        text: a text; in a stream, what it adds.
        files: uploaded files in a request, made ones in an answer.
        function_call: a function that the model wants called; send it back unchanged.
        function_result: what that function returned.
        tool_execution, inline_data, logprobs: in answers only.
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

# What is read, of people and servers, and what is there afterwards.
if TYPE_CHECKING:
    Parts = list[ChatContentPart]
else:
    Parts = list[ChatContentPart | str] | ChatContentPart | str


class ChatMessageChunk(_Fields, kw_only=True):
    """What an event of a stream adds to a message; all of its fields may be absent.

    Attributes:
        role: as in :class:`ChatMessage`.
        content: the parts it adds.
        tools_state_id: links the turns of a function call. The server spells it in three ways, all of them read.
    """

    # First, so that it may be given by place.
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
        self.content = _parts(self.content)
        self.inline_data = _typed(self.inline_data, ChatInlineData)
        self.function_call = _typed(self.function_call, ChatFunctionCall)
        self.tool_execution = _typed(self.tool_execution, ChatToolExecution)
        self.logprobs = _all_typed(self.logprobs, ChatLogprob)
        _gather_state_id(self)

    @property
    def text(self) -> str:
        """The text of its parts."""
        return "".join([part.text for part in _of(self) if part.text])

    @property
    def function_calls(self) -> list[ChatFunctionCall]:
        """The functions that the model wants called."""
        return distinct_calls(_calls_of(self))


class ChatMessage(ChatMessageChunk, kw_only=True):
    """One message of a dialogue.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``; answers may have ``reasoning``; others may come.
        content: its parts. A string, a dict or a list of either is made into parts.
        tools_state_id: links the turns of a function call; send it back unchanged. Also known as ``tool_state_id`` and
            ``functions_state_id``, which are read as well.
        message_id: of a message that the server keeps.
        inline_data, function_call, tool_execution, logprobs, finish_reason: where a server puts them beside the parts.
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
        """The message that brings the result of ``call`` back to the model.

        Args:
            call: the call, as the answer has it.
            result: what the function returned. A JSON object is sent as it is, and so is a text that holds one;
                anything else as ``{"result": …}``, since the API takes objects alone.
            role: ``"tool"``, or ``"function"`` for a server that wants it so.
            as_text: send the object as a string of JSON, for a server that wants it so.
            tools_state_id: the id of the answer's message. When absent, it is taken from there as the request is made.

        Raises:
            ConfigError: the result cannot be written as JSON, or the call has no name.

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
        """One message with the results of several calls of one answer: pairs of a call and what it returned.

        Raises:
            ConfigError: a result cannot be written as JSON, a call has no name, or there are no results.
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
    """What a function returned, as the object that the API wants."""
    result = _arguments(result)
    if isinstance(result, (Mapping, msgspec.Struct)) or hasattr(type(result), "__dataclass_fields__"):
        return result
    return {"result": result}


def _json_text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        reason = str(error)
    raise ConfigError(f"the function's result cannot be written as JSON: {reason}")


def _gather_state_id(of: Any) -> None:
    of.tools_state_id = of.tools_state_id or of.tool_state_id or of.functions_state_id or None
    of.tool_state_id = of.functions_state_id = None


def _of(message: ChatMessageChunk) -> Iterator[ChatContentPart]:
    # A list of anything else is the user's own, on its way to the server.
    for part in message.content or ():
        if isinstance(part, ChatContentPart):
            yield part


def _calls_of(message: ChatMessageChunk) -> Iterator[ChatFunctionCall]:
    for part in _of(message):
        if part.function_call is not None:
            yield part.function_call
    if message.function_call is not None:
        yield message.function_call


def same_call(one: ChatFunctionCall, other: ChatFunctionCall) -> bool:
    """Whether two are the same call: told apart by their ids, without ids by name and arguments."""
    if one.id and other.id:
        return one.id == other.id
    return one.name == other.name and bool(one.arguments == other.arguments)


def distinct_calls(calls: Iterable[ChatFunctionCall]) -> list[ChatFunctionCall]:
    """Each call once."""
    found: list[ChatFunctionCall] = []
    for call in calls:
        if not any(same_call(call, known) for known in found):
            found.append(call)
    return found


# -- what a request has besides ------------------------------------------------------------------------------------


class ChatReasoning(_Fields):
    """How much to think: ``effort`` is ``low``, ``medium``, ``high`` or ``off``; ``max_tokens`` is a limit."""

    effort: str | None = None
    max_tokens: int | None = None


class ChatResponseFormat(_Fields):
    """The form of the answer.

    Attributes:
        type: ``text``, ``json_schema`` (with ``schema``) or ``regex`` (with ``regex``).
        schema: JSON Schema, as an object; a pydantic model stands for its own.
        strict: forbid what the schema does not name.
        regex: a regular expression that the whole text fits.
    """

    # By factory: a plain default would be left out of what is sent.
    type: str = msgspec.field(default_factory=lambda: "text")
    schema: Any = None
    strict: bool | None = None
    regex: str | None = None

    def __post_init__(self) -> None:
        self.schema = as_schema(self.schema)


class ChatModelOptions(_Fields):
    """How the answer is generated.

    Attributes:
        temperature: above 0.
        top_p: 0 to 1.
        max_tokens: the answer is cut there, with ``finish_reason`` ``length``.
        repetition_penalty: above 0; 1.0 is neutral.
        update_interval: seconds between events of a stream at the most frequent.
        response_format, reasoning: the form of the answer, and how much to think.
        parallel_tool_calls: whether one answer may ask for several calls.
        unnormalized_history: True has the server take the messages exactly as they are.
        top_logprobs: 1 to 5 likely tokens for each place, for those who are permitted to.
        preset: of older servers.
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
    """Which filters look at the request."""

    neuro: bool | None = None
    blacklist: bool | None = None
    whitelist: bool | None = None


class ChatFilterResponseContentConfig(_Fields):
    """Which filters look at the answer."""

    blacklist: bool | None = None


class ChatFilterConfig(_Fields):
    """Which filters are on; by agreement with the service."""

    request_content: ChatFilterContentConfig | None = None
    response_content: ChatFilterResponseContentConfig | None = None

    def __post_init__(self) -> None:
        self.request_content = _typed(self.request_content, ChatFilterContentConfig)
        self.response_content = _typed(self.response_content, ChatFilterResponseContentConfig)


class ChatStorage(_Fields):
    """Keeps the dialogue on the server: an empty one begins a thread, one with ``thread_id`` continues it.

    Attributes:
        limit: how many of the thread's messages count.
        thread_id: as the answer has it.
        metadata: of a new thread.
    """

    limit: int | None = None
    thread_id: str | None = None
    metadata: dict[str, Any] | None = None


class ChatRankerOptions(_Fields):
    """Has the server preselect functions before the model sees them."""

    enabled: bool | None = None
    top_n: int | None = None
    embeddings_model: str | None = None


class ChatUserInfo(_Fields):
    """About the person who asks: ``timezone`` is a name such as ``Europe/Moscow``."""

    timezone: str | None = None


class ChatToolConfig(_Fields):
    """Whether the model must, may or must not use tools.

    Attributes:
        mode: ``auto``, ``none``, ``forced`` (with one of the names) or ``any`` (of one's own functions).
        tool_name: the service's tool that is forced.
        function_name: one's own function that is forced.
        functions_names_any: one's own functions of which at least one must be called, for ``any``.
    """

    mode: str | None = None
    tool_name: str | None = None
    function_name: str | None = None
    functions_names_any: list[str] | None = None


class ChatFunctionExample(_Fields):
    """An example for a function: what a user says, and the arguments that should come of it."""

    request: str
    params: dict[str, Any]


class ChatFunctionSpecification(_Fields):
    """A function that the model may ask to have called.

    Attributes:
        name: Latin letters, digits (not first) and underscores are safe everywhere.
        parameters: JSON Schema of the arguments, sent as given.
        description: what it does, for the model.
        few_shot_examples: examples, which the API's documentation strongly advises.
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
    def _prepared(cls, given: dict[str, Any]) -> dict[str, Any]:
        return Function._prepared(given)


def specification(value: Any) -> Any:
    """A function's description as the API has it; a JSON Schema with a title is taken for one as well."""
    return Function._prepared(dict(value)) if isinstance(value, Mapping) else value


class ChatFunctionsTool(_Fields):
    """One's own functions, all in one tool."""

    specifications: list[ChatFunctionSpecification] | None = None

    def __post_init__(self) -> None:
        given: Any = self.specifications
        if isinstance(given, (list, tuple)):
            self.specifications = [_typed(specification(one), ChatFunctionSpecification) for one in given]


class ChatWebSearchTool(_Fields):
    """The service's search.

    Attributes:
        type: ``web_search``, ``actual_info_web_search`` or ``safe_search``.
        indexes, flags: as agreed with the service.
    """

    type: str | None = None
    indexes: list[str] | None = None
    flags: list[str] | None = None


class ChatTool(_Fields):
    """A tool: exactly one of these is set. ``{}`` switches one on that has nothing to set."""

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
        """As for every record; a tool may also be given by its name."""
        return super().model_validate(named_tool(obj))


def named_tool(value: Any) -> Any:
    """``"image_generate"`` as ``{"image_generate": {}}``; anything but a string as it is."""
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
    """A whole chat request: the body of ``POST /v2/chat/completions``.

    Absent fields are not sent. Fields that this version does not know go into ``additional_fields`` (or are passed to
    the call as keyword arguments) and are sent as they are.

    Attributes:
        messages: the history: at most one ``system`` message, and that first.
        model: the model's id; the client's default when absent.
        assistant_id: a saved assistant, in place of a model.
        model_options: how the answer is generated.
        reasoning, response_format: those of ``model_options``, here for convenience.
        tools: what the model may use; a string names one of the service's.
        tool_config: whether it must, may or must not use them.
        storage: keeps the dialogue on the server; ``True`` begins a thread.
        user_info: about the person who asks.
        ranker_options: preselection of functions.
        disable_filter: True switches the filter off for those who are permitted to.
        profanity_check: the opposite of ``disable_filter``, as API v1 has it.
        filter_config: which filters are on, by agreement.
        flags: such as ``preprocess``.
        tools_state_id: of the request as a whole; usually it stands on messages.
        memory_id: for the tool ``memory``.
        additional_fields: further body fields; those above win.
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
        _gather_state_id(self)
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
        for name, slot, kind in _MOVED:
            value = slot.__get__(self)
            if value is not None:
                slot.__set__(self, None)
                if getattr(self, name) is None:
                    _set_option(self, name, _typed(value, kind))

    @classmethod
    def model_validate(cls, obj: Any) -> ChatCompletionRequest:
        """A request of a dict; as the constructor, but fields that are not known go into ``additional_fields``.

        Raises:
            ConfigError: there are no messages, or it is no dict.
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


# Given to the request, kept in its model_options: arguments of the constructor that turn into properties. The slots are
# kept for the arguments on their way there; nothing stays in them.
_MOVED: tuple[tuple[str, Any, Any], ...] = (
    ("reasoning", ChatCompletionRequest.__dict__["reasoning"], ChatReasoning),
    ("response_format", ChatCompletionRequest.__dict__["response_format"], ChatResponseFormat),
)


def _set_option(request: ChatCompletionRequest, name: str, value: Any) -> None:
    options: Any = request.model_options
    if isinstance(options, Mapping):
        request.model_options = {**options, name: value}  # type: ignore[assignment]  # it has fields not known here
    elif options is None:
        request.model_options = ChatModelOptions(**{name: value})
    else:
        request.model_options = msgspec.structs.replace(options, **{name: value})


def _moved(name: str, kind: type[Record]) -> property:
    def get(request: ChatCompletionRequest) -> Any:
        options: Any = request.model_options
        return options.get(name) if isinstance(options, Mapping) else getattr(options, name, None)

    def assign(request: ChatCompletionRequest, value: Any) -> None:
        _set_option(request, name, _typed(value, kind))

    return property(get, assign, doc=f"``model_options.{name}``.")


for _name, _slot, _kind in _MOVED:
    setattr(ChatCompletionRequest, _name, _moved(_name, _kind))


# -- answers -------------------------------------------------------------------------------------------------------


class ChatUsageInputTokensDetails(_Fields):
    """Of the input: what the prompt took, and what came from the cache of a session.

    ``cached_tokens`` may be more than ``input_tokens``: it is not a part of them.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None


class ChatUsage(_Fields):
    """What a call cost, in tokens, as the server counted; never recomputed here.

    Attributes:
        input_tokens: tokens of the request.
        output_tokens: tokens of the answer.
        total_tokens: what the server reports as the total.
        input_tokens_details: more about the input.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: ChatUsageInputTokensDetails | None = None
    system_tokens: int | None = None
    function_suggester_tokens: int | None = None


_SENT_BACK = ("text", "files", "function_call", "function_result")


class ChatCompletionResponse(APIResponse):
    """The answer to a chat request: ``POST /v2/chat/completions``.

    ``str()`` gives its text, a notebook shows it as Markdown.

    Attributes:
        messages: what was said, usually one message of the assistant; messages of the role ``reasoning`` may be before
            it.
        model: the model's id with its build, such as ``GigaChat-3-Pro:33.1.2.7``.
        created_at: Unix time in seconds.
        finish_reason: ``stop``, ``length``, ``function_call``, ``function_call_error``, ``blacklist`` and other words
            for the filter; others may come. None in a stream that has not ended.
        usage: tokens, where the server reports them.
        tools_state_id: links the turns of a function call: the last one of the messages.
        thread_id, message_id: set when the dialogue is stored on the server.
        additional_data: such as the steps that were gone on the way, as the server sends them.
        error_details: what went wrong, where the server tells of it in an answer.
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
        _gather_state_id(self)
        for message in self.messages:
            if not message.role:
                message.role = ASSISTANT
            self.tools_state_id = message.tools_state_id or self.tools_state_id
        if self.finish_reason is None:
            reasons = [message.finish_reason for message in self.messages if message.finish_reason is not None]
            self.finish_reason = reasons[-1] if reasons else None

    def _said(self) -> list[ChatMessage]:
        return [message for message in self.messages if message.role == ASSISTANT]

    @property
    def text(self) -> str:
        """What the assistant said; empty, never None, when it said nothing (a function call, say)."""
        return "".join([message.text for message in self._said()])

    @property
    def reasoning_text(self) -> str:
        """What the model thought before it answered, where the server tells; otherwise empty."""
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
        """What the assistant said, as the next request wants it: texts, files and calls, with their state ids.

        Usually one message, which :attr:`message` is; several where the server gave them different state ids.
        """
        messages: list[ChatMessage] = []
        for said in self._said():
            parts = []
            for part in said.content or ():
                kept = {name: getattr(part, name) for name in _SENT_BACK}
                if part.text is not None or any(value is not None for value in kept.values()):
                    parts.append(ChatContentPart(**kept))
            if said.function_call is not None and not any(part.function_call for part in parts):
                parts.append(ChatContentPart(function_call=said.function_call))
            last = messages[-1] if messages else None
            state_id = said.tools_state_id
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
        """The functions that the model wants called, each once; empty when it wants none."""
        return distinct_calls(call for message in self._said() for call in _calls_of(message))

    @property
    def function_call(self) -> ChatFunctionCall | None:
        """The first function that the model wants called, if any."""
        calls = self.function_calls
        return calls[0] if calls else None

    @property
    def tool_executions(self) -> list[ChatToolExecution]:
        """Runs of the service's own tools that the answer tells of."""
        found = [part.tool_execution for message in self.messages for part in _of(message)]
        found += [message.tool_execution for message in self.messages]
        return [run for run in [*found, self.tool_execution] if run is not None]

    @property
    def sources(self) -> dict[str, ChatSource]:
        """The pages that the text refers to: ``[sources=[2, 5]]`` in it means those of ``"2"`` and ``"5"``."""
        sources: dict[str, ChatSource] = {}
        for message in self._said():
            for data in [*(part.inline_data for part in _of(message)), message.inline_data]:
                if data is not None and isinstance(data.sources, dict):
                    sources.update(data.sources)
        return sources

    @property
    def files(self) -> list[GeneratedFile]:
        """The files that the model made, each once; ``get_file_content`` fetches them."""
        from gigaclient.types.files import GeneratedFile  # few answers have files

        found: dict[str, GeneratedFile] = {}
        for message in self._said():
            for part in _of(message):
                for file in part.files or ():
                    if file.id and file.id not in found:
                        kind = file.target or (file.mime or "file").partition("/")[0]
                        found[file.id] = GeneratedFile(id=file.id, kind=kind, mime=file.mime)
        return list(found.values())

    @property
    def images(self) -> list[GeneratedFile]:
        """The pictures among :attr:`files`; ``get_image`` fetches them."""
        return [file for file in self.files if file.kind == "image"]

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import of_answer  # for notebooks

        return of_answer(self.text, self.function_calls)


class ChatCompletionResponseChunk(APIResponse):
    """One event of a streamed answer. ``str()`` gives the text it adds.

    Attributes:
        event: the event's name, such as ``response.message.delta``; None where the server gives none.
        messages: what it adds to the messages; may be empty.
        finish_reason, usage: in the last one.
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
        _gather_state_id(self)
        for message in self.messages:
            self.tools_state_id = message.tools_state_id or self.tools_state_id
            if self.finish_reason is None:
                self.finish_reason = message.finish_reason

    def _text_of(self, *roles: str) -> str:
        # Some servers repeat the whole text in the last event; it adds nothing then.
        if self.__dict__.get("_repeats"):
            return ""
        return "".join([message.text for message in self.messages if message.role in roles])

    @property
    def text(self) -> str:
        """The text that this event adds to what the assistant says."""
        return self._text_of(ASSISTANT, "")

    @property
    def reasoning_text(self) -> str:
        """The text that this event adds to what the model thinks."""
        return self._text_of(REASONING)

    @property
    def function_calls(self) -> list[ChatFunctionCall]:
        """The functions that this event wants called."""
        return distinct_calls(call for message in self.messages for call in _calls_of(message))

    @property
    def tool_executions(self) -> list[ChatToolExecution]:
        """Runs of the service's own tools that this event tells of."""
        found = [part.tool_execution for message in self.messages for part in _of(message)]
        found += [message.tool_execution for message in self.messages]
        return [run for run in [*found, self.tool_execution] if run is not None]

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import for_notebook  # for notebooks

        return for_notebook(self.text)
