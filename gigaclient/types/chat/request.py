"""The chat request: functions, options and the whole body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import msgspec

from gigaclient.types.base import Record
from gigaclient.types.chat.messages import Message

__all__ = ["Chat", "Function", "FunctionFewShot", "FunctionRanker", "NamedFunctionCall", "ResponseFormat", "Storage"]

_Class: TypeAlias = type[Any]


def as_schema(value: Any) -> Any:
    """Return the JSON Schema of a pydantic model; return anything else unchanged."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    return value


class FunctionFewShot(Record):
    """An example for a function: a user's request, and the arguments for it."""

    request: str
    params: dict[str, Any]


class Function(Record):
    """A function that the model may call.

    Attributes:
        name: Latin letters, digits (not first) and underscores are safe everywhere.
        description: its purpose, for the model.
        parameters: JSON Schema of the arguments, sent unchanged: a dict, a
            :class:`~gigaclient.types.FunctionParameters`, or a pydantic model, whose schema is sent.
        few_shot_examples: examples; the API's documentation strongly recommends them.
        return_parameters: JSON Schema of the result.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    few_shot_examples: list[FunctionFewShot] | None = None
    return_parameters: dict[str, Any] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            description: str | None = None,
            parameters: dict[str, Any] | Record | _Class | None = None,
            few_shot_examples: Sequence[FunctionFewShot | Mapping[str, Any]] | None = None,
            return_parameters: dict[str, Any] | _Class | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        self.parameters = as_schema(self.parameters)
        self.return_parameters = as_schema(self.return_parameters)

    @classmethod
    def _prepared(cls, fields: dict[str, Any]) -> dict[str, Any]:
        # A bare JSON Schema of the arguments, as pydantic creates it, becomes a function that is named by its title.
        if not fields.get("name") and fields.get("title"):
            fields = {("name" if name == "title" else name): value for name, value in fields.items() if name != "name"}
        if not fields.get("parameters") and "properties" in fields:
            own = cls.__struct_fields__
            schema = {name: value for name, value in fields.items() if name not in own}
            fields = {name: fields[name] for name in own if name in fields}
            fields["parameters"] = {"type": "object", **schema}
        return fields


class NamedFunctionCall(Record):
    """Force the function ``name``, optionally with some of its arguments."""

    name: str
    partial_arguments: dict[str, Any] | None = None


class FunctionRanker(Record):
    """Let the server preselect functions for the model."""

    enabled: bool | None = None
    top_n: int | None = None


class ResponseFormat(Record):
    """The format of the response: ``json_schema`` with a schema, or ``text``.

    Attributes:
        type: ``json_schema`` or ``text``.
        schema: JSON Schema as a dict, or a pydantic model, whose schema is sent.
        strict: True forbids fields that the schema does not name.
    """

    type: str = msgspec.field(default_factory=lambda: "json_schema")
    schema: dict[str, Any] | None = None
    strict: bool | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            type: str = "json_schema",
            schema: dict[str, Any] | _Class | None = None,
            strict: bool | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        self.schema = as_schema(self.schema)


class Storage(Record):
    """Store the dialogue on the server."""

    is_stateful: bool | None = None
    limit: int | None = None
    assistant_id: str | None = None
    thread_id: str | None = None
    metadata: dict[str, Any] | None = None


class Chat(Record, kw_only=True):
    """A chat request: the body of ``POST /chat/completions``.

    Absent fields are not sent. Unknown fields go into ``additional_fields``, or are passed to the call as keyword
    arguments; they are sent unchanged.

    Attributes:
        messages: the history, with at most one ``system`` message, which is the first.
        model: the model's id; by default the client's.
        temperature: above 0.
        top_p: 0 to 1.
        max_tokens: the response is cut there, with ``finish_reason`` ``length``.
        repetition_penalty: above 0; 1.0 is neutral.
        update_interval: the minimum number of seconds between chunks of a stream.
        profanity_check: False disables the filter, if the key permits that.
        functions: functions that the model may call. If any are listed, built-in functions that are not listed are off.
        function_call: ``"auto"``, ``"none"`` or a :class:`NamedFunctionCall`.
        additional_fields: further body fields; the fields above take precedence.
    """

    _needed: ClassVar[Mapping[str, str]] = {"messages": "role"}

    messages: list[Message]
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    repetition_penalty: float | None = None
    update_interval: float | None = None
    profanity_check: bool | None = None
    functions: list[Function] | None = None
    function_call: NamedFunctionCall | str | None = None
    function_ranker: FunctionRanker | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    reasoning_max_tokens: int | None = None
    flags: list[str] | None = None
    storage: Storage | None = None
    assistant_id: str | None = None
    top_logprobs: int | None = None
    unnormalized_history: bool | None = None
    additional_fields: dict[str, Any] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            messages: Sequence[Message | Mapping[str, Any]],
            model: str | None = None,
            temperature: float | None = None,
            top_p: float | None = None,
            n: int | None = None,
            stream: bool | None = None,
            max_tokens: int | None = None,
            repetition_penalty: float | None = None,
            update_interval: float | None = None,
            profanity_check: bool | None = None,
            functions: Sequence[Function | Mapping[str, Any]] | None = None,
            function_call: NamedFunctionCall | Mapping[str, Any] | str | None = None,
            function_ranker: FunctionRanker | Mapping[str, Any] | None = None,
            response_format: ResponseFormat | Mapping[str, Any] | None = None,
            reasoning_effort: str | None = None,
            reasoning_max_tokens: int | None = None,
            flags: Sequence[str] | None = None,
            storage: Storage | Mapping[str, Any] | None = None,
            assistant_id: str | None = None,
            top_logprobs: int | None = None,
            unnormalized_history: bool | None = None,
            additional_fields: Mapping[str, Any] | None = None,
        ) -> None: ...
