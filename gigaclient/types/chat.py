"""Chat of API v1, which both providers use.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat and recorded responses.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import msgspec.structs

from gigaclient.types.base import APIResponse, Record

__all__ = [
    "AccessToken",
    "Chat",
    "ChatCompletion",
    "ChatCompletionChunk",
    "Choice",
    "ChunkChoice",
    "Delta",
    "Function",
    "FunctionCall",
    "FunctionFewShot",
    "FunctionRanker",
    "Message",
    "MessagesRole",
    "NamedFunctionCall",
    "ResponseFormat",
    "Storage",
    "Usage",
]

# The server echoes lists that the user sent; an unexpected item must not invalidate the response.
if TYPE_CHECKING:
    from gigaclient.types.files import GeneratedFile

    Strings = list[str]
    Anything = list[Any]
else:
    Strings = Anything = Any

_Class: TypeAlias = type[Any]


def as_schema(value: Any) -> Any:
    """Return the JSON Schema of a pydantic model; return anything else unchanged."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    return value


def as_record(type_: Any, value: Any, required: str | None = None) -> Any:
    """Convert a dict to ``type_`` if no field would be lost; return anything else unchanged."""
    if not isinstance(value, Mapping):
        return value
    fields = type_._prepared(dict(value))
    if required is not None and fields.get(required) is None:
        return value
    try:
        return type_(**fields) if fields.keys() <= set(type_.__struct_fields__) else value
    except TypeError:  # a required field is missing, or a name is not a string: sending raises a better error
        return value


def _each(type_: Any, values: Any, required: str | None = None) -> Any:
    """Convert the dicts of a list to ``type_``; return the same list if there are none."""
    if not isinstance(values, (list, tuple)):
        return values
    records = [as_record(type_, value, required) for value in values]
    return values if all(new is old for new, old in zip(records, values, strict=True)) else records


class MessagesRole(str, enum.Enum):
    """The roles that the API documents. Responses may have others, so a message's role is any string."""

    ASSISTANT = "assistant"
    SYSTEM = "system"
    USER = "user"
    FUNCTION = "function"
    SEARCH_RESULT = "search_result"
    FUNCTION_IN_PROGRESS = "function_in_progress"

    # Print and format as the bare role on every Python version.
    __str__ = str.__str__

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec)


class FunctionCall(Record):
    """A function call that the model requests.

    Attributes:
        name: the function's name.
        arguments: the arguments as an object, as GigaChat sends them; a string if the server sends one.
        id: the id of the call, if the server sends one.
    """

    name: str = ""
    arguments: Any = None
    id: str | None = None


class Message(Record):
    """One message of a dialogue.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``function``; ``function_in_progress`` in responses; others may
            come.
        content: the text. For role ``function``: the function's result, a JSON object as a string.
        name: the function's name, for role ``function``.
        function_call: a function call that the model requests; send it back unchanged.
        functions_state_id: links the turns of one function call; send it back unchanged.
        attachments: ids of uploaded files.
        reasoning_content: the reasoning of a reasoning model.
        inline_data: sources and widgets of the response.
    """

    # A factory, because plain defaults are not sent, and the API requires a role.
    role: str = msgspec.field(default_factory=lambda: "user")
    content: str | None = None
    name: str | None = None
    function_call: FunctionCall | None = None
    functions_state_id: str | None = None
    attachments: Strings | None = None
    reasoning_content: str | None = None
    inline_data: Any = None
    data_for_context: Anything | None = None
    logprobs: Any = None
    created: int | None = None
    id: Any = None


class Usage(Record):
    """The cost of a call in tokens, as counted by the server.

    Attributes:
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens of the completion.
        total_tokens: the total that the server reports.
        precached_prompt_tokens: prompt tokens served from the cache of a session.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    precached_prompt_tokens: int | None = None
    system_tokens: int | None = None


class Choice(Record):
    """One alternative of a completion.

    Attributes:
        message: the assistant's message.
        index: its position among the alternatives, from 0.
        finish_reason: ``stop``, ``length``, ``function_call``, ``blacklist``, ``error``; others may come. None in a
            stream that has not ended.
    """

    message: Message = msgspec.field(default_factory=lambda: Message(role="assistant"))
    index: int = msgspec.field(default_factory=lambda: 0)
    finish_reason: str | None = None
    logprobs: Any = None

    def __post_init__(self) -> None:
        if self.message.role == "user":
            # The server sent no role. The default of Message is for requests; a response is the assistant's.
            self.message = msgspec.structs.replace(self.message, role="assistant")


class ChatCompletion(APIResponse):
    """The response to a chat request: ``POST /chat/completions``.

    ``str()`` returns its text, and a notebook shows it as Markdown.

    Attributes:
        choices: the alternatives, usually one.
        created: Unix time in seconds.
        model: the model's id with its build, such as ``GigaChat-2-Pro:2.0.31.04``.
        object: the server's name for this kind of response; its spelling varies.
        usage: tokens, if the server reports them.
        thread_id, message_id: set if the dialogue is stored on the server.
    """

    choices: list[Choice] = []
    created: int | None = None
    model: str | None = None
    object: str | None = None
    usage: Usage | None = None
    thread_id: str | None = None
    message_id: str | None = None
    additional_data: Any = None
    error_details: Any = None

    @property
    def text(self) -> str:
        """The text of the first choice; empty, never None, if there is none (a function call, for example)."""
        return (self.choices[0].message.content or "") if self.choices else ""

    @property
    def message(self) -> Message:
        """The message of the first choice, to append to the history for the next turn."""
        return self.choices[0].message if self.choices else Message(role="assistant", content="")

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the first choice."""
        return self.choices[0].finish_reason if self.choices else None

    @property
    def function_call(self) -> FunctionCall | None:
        """The function call of the model, or None."""
        return self.choices[0].message.function_call if self.choices else None

    @property
    def files(self) -> list[GeneratedFile]:
        """The generated files that the text names in markup such as ``<img src="id" fuse="true"/>``."""
        from gigaclient.types.files import generated_files

        return generated_files(choice.message.content for choice in self.choices)

    @property
    def images(self) -> list[GeneratedFile]:
        """The images among :attr:`files`; ``giga.get_images(completion)`` downloads them."""
        return [file for file in self.files if file.kind == "image"]

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import of_answer

        return of_answer(self.text, [self.function_call] if self.function_call is not None else [])


# gc=False saves the garbage collector's work for each event of a stream; the fields cannot form cycles.
class Delta(Record, gc=False):
    """The part of a message that one chunk adds.

    Attributes:
        content: the next piece of text; absent or empty in chunks without text.
        role: in the first chunk only; ``function_in_progress`` when a built-in function reports its progress, and then
            ``content`` is not part of the message.
        function_call: the complete call, in one piece.
    """

    content: str | None = None
    role: str | None = None
    function_call: FunctionCall | None = None
    functions_state_id: str | None = None
    reasoning_content: str | None = None
    name: str | None = None
    created: int | None = None
    inline_data: Any = None
    logprobs: Any = None


class ChunkChoice(Record, gc=False):
    """The part of one alternative that a chunk adds."""

    delta: Delta = msgspec.field(default_factory=Delta)
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None


class ChatCompletionChunk(APIResponse):
    """One event of a streamed response. ``str()`` returns the text that it adds.

    Attributes:
        choices: the parts that it adds to the alternatives; may be empty.
        usage: in the last chunk, if the server reports it.
    """

    choices: list[ChunkChoice] = []
    created: int | None = None
    model: str | None = None
    object: str | None = None
    usage: Usage | None = None
    thread_id: str | None = None
    message_id: str | None = None
    additional_data: Any = None
    error_details: Any = None

    @property
    def text(self) -> str:
        """The text that this chunk adds to the first choice; empty for a progress report."""
        for choice in self.choices:
            if choice.index == 0 and choice.delta.role != IN_PROGRESS:
                return choice.delta.content or ""
        return ""

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the first choice; None until it has one."""
        for choice in self.choices:
            if choice.index == 0:
                return choice.finish_reason
        return None

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import for_notebook

        return for_notebook(self.text)


IN_PROGRESS = "function_in_progress"


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
        self.few_shot_examples = _each(FunctionFewShot, self.few_shot_examples)

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

    def __post_init__(self) -> None:
        self.messages = _each(Message, self.messages, required="role")
        self.functions = _each(Function, self.functions, required="name")
        self.function_call = as_record(NamedFunctionCall, self.function_call)
        self.function_ranker = as_record(FunctionRanker, self.function_ranker)
        self.storage = as_record(Storage, self.storage)


class AccessToken(Record):
    """The current token, as ``giga.get_token()`` returns it. ``repr`` hides the token.

    Attributes:
        access_token: the Bearer token.
        expires_at: Unix time in milliseconds, GigaChat's unit; 0 if unknown.
    """

    access_token: str
    expires_at: int = 0

    def __repr__(self) -> str:
        return f"AccessToken(access_token='***', expires_at={self.expires_at})"
