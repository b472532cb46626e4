"""Options of a request: generation, filters, storage, preselection of functions."""

from __future__ import annotations

from typing import Any

import msgspec

from gigaclient.types.base import Record
from gigaclient.types.chat import as_schema
from gigaclient.types.chat_v2.conversion import to_record

__all__ = [
    "ChatFilterConfig",
    "ChatFilterContentConfig",
    "ChatFilterResponseContentConfig",
    "ChatModelOptions",
    "ChatRankerOptions",
    "ChatReasoning",
    "ChatResponseFormat",
    "ChatStorage",
    "ChatUserInfo",
]


class ChatReasoning(Record):
    """The amount of reasoning: ``effort`` is ``low``, ``medium``, ``high`` or ``off``; ``max_tokens`` is a limit."""

    effort: str | None = None
    max_tokens: int | None = None


class ChatResponseFormat(Record):
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


class ChatModelOptions(Record):
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
        self.reasoning = to_record(self.reasoning, ChatReasoning)
        self.response_format = to_record(self.response_format, ChatResponseFormat)


class ChatFilterContentConfig(Record):
    """The filters that check the request."""

    neuro: bool | None = None
    blacklist: bool | None = None
    whitelist: bool | None = None


class ChatFilterResponseContentConfig(Record):
    """The filters that check the response."""

    blacklist: bool | None = None


class ChatFilterConfig(Record):
    """The filters that are on; by agreement with the service."""

    request_content: ChatFilterContentConfig | None = None
    response_content: ChatFilterResponseContentConfig | None = None

    def __post_init__(self) -> None:
        self.request_content = to_record(self.request_content, ChatFilterContentConfig)
        self.response_content = to_record(self.response_content, ChatFilterResponseContentConfig)


class ChatStorage(Record):
    """Store the dialogue on the server: an empty one starts a thread, one with ``thread_id`` continues it.

    Attributes:
        limit: the number of the thread's messages that the model sees.
        thread_id: the ``thread_id`` of the response.
        metadata: metadata of a new thread.
    """

    limit: int | None = None
    thread_id: str | None = None
    metadata: dict[str, Any] | None = None


class ChatRankerOptions(Record):
    """Let the server preselect functions for the model."""

    enabled: bool | None = None
    top_n: int | None = None
    embeddings_model: str | None = None


class ChatUserInfo(Record):
    """Information about the user: ``timezone`` is a name such as ``Europe/Moscow``."""

    timezone: str | None = None
