"""The keyword arguments of calls, for type checkers and editors: body fields and options.

At run time a misspelt name is a ``TypeError``; see :mod:`gigaclient._core.call_arguments`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from typing import Literal

    from gigaclient.types.chat import (
        Chat,
        Function,
        FunctionRanker,
        Message,
        NamedFunctionCall,
        ResponseFormat,
        Storage,
    )
    from gigaclient.types.chat_v2 import (
        ChatCompletionRequest,
        ChatFilterConfig,
        ChatMessage,
        ChatModelOptions,
        ChatRankerOptions,
        ChatReasoning,
        ChatResponseFormat,
        ChatStorage,
        ChatTool,
        ChatToolConfig,
        ChatUserInfo,
    )

    Payload = str | Sequence[Message | Mapping[str, Any]] | Chat | Mapping[str, Any]
    PayloadV2 = Payload | Sequence[ChatMessage | Message | Mapping[str, Any]] | ChatMessage | ChatCompletionRequest

__all__ = [
    "BatchOptions",
    "CallSettings",
    "ChatOptions",
    "ChatV2Options",
    "ConversationOptions",
    "FilterOptions",
    "ParseOptions",
    "ParseV2Options",
    "PollSettings",
    "PromptOptions",
    "RunOptions",
    "RunV2Options",
]


class PollSettings(TypedDict, total=False):
    """The options of each request of ``giga.wait_for_batch``: those of :class:`CallSettings` except ``timeout``."""

    event_timeout: float | None
    deadline: float | None
    max_retries: int | None
    headers: Mapping[str, str | None] | None
    authorization: str | None
    request_id: str | None
    session_id: str | None
    client_id: str | None
    service_id: str | None
    operation_id: str | None
    trace_id: str | None
    agent_id: str | None


class CallSettings(PollSettings, total=False):
    """The options of one call, as keyword arguments.

    Attributes:
        timeout: seconds, or a pair (connect, read).
        event_timeout: seconds that a stream may stay alive without an event.
        deadline: seconds for the whole call: token, queue, attempts, waits and body.
        max_retries: attempts after the first one, where repeating is safe.
        headers: more headers; they win over all others.
        authorization: a whole ``Authorization`` value in place of the client's token.
        request_id, session_id, client_id, service_id, operation_id, trace_id, agent_id: ``X-Request-ID`` and so on.
    """

    timeout: float | tuple[float, float] | None


class FilterOptions(CallSettings, total=False):
    """Keyword arguments of ``giga.filter_check``: further fields of its body, and the options of a call."""

    settings: Mapping[str, bool] | None
    functions: Sequence[Function | Mapping[str, Any]] | None
    additional_fields: Mapping[str, Any] | None


class _Generation(CallSettings, total=False):
    model: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    repetition_penalty: float | None
    update_interval: float | None
    profanity_check: bool | None
    reasoning_effort: str | None
    reasoning_max_tokens: int | None
    flags: Sequence[str] | None
    assistant_id: str | None
    top_logprobs: int | None
    unnormalized_history: bool | None
    stream: bool | None
    attachments: Any
    upload: bool | None
    additional_fields: Mapping[str, Any] | None


class _Fields(_Generation, total=False):
    n: int | None
    function_call: NamedFunctionCall | Mapping[str, Any] | str | None
    function_ranker: FunctionRanker | Mapping[str, Any] | None
    storage: Storage | Mapping[str, Any] | None


class RunOptions(_Fields, total=False):
    """Keyword arguments of ``giga.run`` and ``giga.conversation``: those of ``giga.chat`` except ``functions``."""

    response_format: ResponseFormat | Mapping[str, Any] | None


class BatchOptions(RunOptions, total=False):
    """Keyword arguments of ``giga.create_batch``: those of ``giga.run``, with ``functions`` among them."""

    functions: Sequence[Function | Mapping[str, Any] | Any] | None


class PromptOptions(_Fields, total=False):
    """Keyword arguments of ``giga.map``: those of ``giga.chat`` except ``functions`` and ``response_format``."""


class ConversationOptions(RunOptions, total=False):
    """Keyword arguments of ``giga.conversation``: those of ``giga.run``, with ``functions`` among them."""

    functions: Sequence[Any] | None
    max_steps: int
    on_error: Literal["tell", "raise"]
    on_step: Callable[[Any], object] | None
    on_result: Callable[[Any], Any] | None
    repair: bool


class ParseOptions(_Fields, total=False):
    """Keyword arguments of ``giga.chat_parse``: those of ``giga.chat`` except ``response_format``.

    Attributes:
        payload: the messages by the official SDK's name.
        functions: see :class:`~gigaclient.types.Chat`.
    """

    payload: Payload
    functions: Sequence[Function | Mapping[str, Any] | Any] | None


class ChatOptions(ParseOptions, total=False):
    """Keyword arguments of ``giga.chat``, ``giga.stream`` and ``giga.generate``.

    The fields of :class:`~gigaclient.types.Chat`, and the options of :class:`CallSettings`. A field of the API that
    this version does not know goes into ``additional_fields``.
    """

    response_format: ResponseFormat | Mapping[str, Any] | None


class _FieldsV2(_Generation, total=False):
    tools_state_id: str | None
    tool_state_id: str | None
    functions_state_id: str | None
    model_options: ChatModelOptions | Mapping[str, Any] | None
    filter_config: ChatFilterConfig | Mapping[str, Any] | None
    storage: ChatStorage | Storage | Mapping[str, Any] | bool | None
    ranker_options: ChatRankerOptions | Mapping[str, Any] | None
    function_ranker: FunctionRanker | Mapping[str, Any] | None
    tool_config: ChatToolConfig | Mapping[str, Any] | str | None
    function_call: NamedFunctionCall | Mapping[str, Any] | str | None
    tools: Sequence[ChatTool | Mapping[str, Any] | str | Any] | None
    user_info: ChatUserInfo | Mapping[str, Any] | None
    disable_filter: bool | None
    memory_id: str | None
    reasoning: ChatReasoning | Mapping[str, Any] | Literal["low", "medium", "high", "off"] | str | None
    parallel_tool_calls: bool | None
    preset: str | None


class RunV2Options(_FieldsV2, total=False):
    """Keyword arguments of ``giga.chat.run``: those of ``giga.chat.create`` except ``functions``."""

    response_format: ChatResponseFormat | ResponseFormat | Mapping[str, Any] | None


class ParseV2Options(_FieldsV2, total=False):
    """Keyword arguments of ``giga.chat.parse``: those of ``giga.chat.create`` except ``response_format``.

    Attributes:
        payload: the messages by the official SDK's name.
        functions: the caller's functions.
    """

    payload: PayloadV2
    functions: Sequence[Function | Mapping[str, Any] | Any] | None


class ChatV2Options(ParseV2Options, total=False):
    """Keyword arguments of ``giga.chat.create`` and ``giga.chat.stream``.

    The fields of :class:`~gigaclient.types.ChatCompletionRequest` and :class:`~gigaclient.types.ChatModelOptions`, and
    the options of :class:`CallSettings`.
    """

    response_format: ChatResponseFormat | ResponseFormat | Mapping[str, Any] | None
