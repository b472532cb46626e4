"""Chat of API v1, which both providers speak.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat and recorded answers.
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

# Lists that people fill and answers only echo: whatever an answer has there must not cost the answer.
if TYPE_CHECKING:
    from gigaclient.types.files import GeneratedFile

    Strings = list[str]
    Anything = list[Any]
else:
    Strings = Anything = Any

_Class: TypeAlias = type[Any]


def as_schema(value: Any) -> Any:
    """A JSON Schema from what people pass for one: a pydantic model stands for its own; the rest is left as it is."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    return value


def as_record(kind: Any, value: Any, needs: str | None = None) -> Any:
    """A dict as ``kind``, if it has no fields that would get lost by it; the rest is left as it is."""
    if not isinstance(value, Mapping):
        return value
    fields = kind._prepared(dict(value))
    if needs is not None and fields.get(needs) is None:
        return value
    try:
        return kind(**fields) if fields.keys() <= set(kind.__struct_fields__) else value
    except TypeError:  # a required field is missing, or a name is not a string: the call will say so better
        return value


def _each(kind: Any, values: Any, needs: str | None = None) -> Any:
    """A list with dicts as ``kind``; the list itself where there is nothing to do."""
    if not isinstance(values, (list, tuple)):
        return values
    made = [as_record(kind, value, needs) for value in values]
    return values if all(new is old for new, old in zip(made, values, strict=True)) else made


class MessagesRole(str, enum.Enum):
    """The roles that the API describes. Answers may bring others, so a message's role is any string."""

    ASSISTANT = "assistant"
    SYSTEM = "system"
    USER = "user"
    FUNCTION = "function"
    SEARCH_RESULT = "search_result"
    FUNCTION_IN_PROGRESS = "function_in_progress"

    # The same on every Python: the role itself, where it is printed or put into a text.
    __str__ = str.__str__

    def __format__(self, form: str) -> str:
        return format(self.value, form)


class FunctionCall(Record):
    """The model's wish to have a function called.

    Attributes:
        name: the function's name.
        arguments: the arguments as an object, as GigaChat sends them; a string where a server sends one.
        id: identifies the call where the server gives ids.
    """

    name: str = ""
    arguments: Any = None
    id: str | None = None


class Message(Record):
    """One message of a dialogue.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``function``; ``function_in_progress`` in answers; others may come.
        content: the text. For role ``function``: the function's result, a JSON object as a string.
        name: the function's name, for role ``function``.
        function_call: set by the model when it wants a function called; send it back unchanged.
        functions_state_id: links the turns of one function call; send it back unchanged.
        attachments: ids of uploaded files.
        reasoning_content: what a reasoning model thought before it answered.
        inline_data: sources and widgets that came with the answer.
    """

    # By factory: a plain default would be left out of what is sent, and the API wants a role.
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
    """What a call cost, in tokens, as the server counted; never recomputed here.

    Attributes:
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens of the answer.
        total_tokens: what the server reports as the total.
        precached_prompt_tokens: prompt tokens served from the cache of a session.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    precached_prompt_tokens: int | None = None
    system_tokens: int | None = None


class Choice(Record):
    """One alternative of an answer.

    Attributes:
        message: the assistant's message.
        index: its place among the alternatives, from 0.
        finish_reason: ``stop``, ``length``, ``function_call``, ``blacklist``, ``error``; others may come. None in a
            stream that has not ended.
    """

    message: Message = msgspec.field(default_factory=lambda: Message(role="assistant"))
    index: int = msgspec.field(default_factory=lambda: 0)
    finish_reason: str | None = None
    logprobs: Any = None

    def __post_init__(self) -> None:
        if self.message.role == "user":
            # It came without a role, and Message's own default is for people who write one. Answers are not the user's.
            self.message = msgspec.structs.replace(self.message, role="assistant")


class ChatCompletion(APIResponse):
    """The answer to a chat request: ``POST /chat/completions``.

    ``str()`` gives its text, a notebook shows it as Markdown.

    Attributes:
        choices: the alternatives, usually one.
        created: Unix time in seconds.
        model: the model's id with its build, such as ``GigaChat-2-Pro:2.0.31.04``.
        object: what the server calls this kind of answer; its spelling varies.
        usage: tokens, where the server reports them.
        thread_id, message_id: set when the dialogue is stored on the server.
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
        """The text of the first choice; empty, never None, when there is none (a function call, say)."""
        return (self.choices[0].message.content or "") if self.choices else ""

    @property
    def message(self) -> Message:
        """The message of the first choice, to append to the history for the next turn."""
        return self.choices[0].message if self.choices else Message(role="assistant", content="")

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended."""
        return self.choices[0].finish_reason if self.choices else None

    @property
    def function_call(self) -> FunctionCall | None:
        """The function that the model wants called, if any."""
        return self.choices[0].message.function_call if self.choices else None

    @property
    def files(self) -> list[GeneratedFile]:
        """The files that the model made and its text names, in markup such as ``<img src="id" fuse="true"/>``."""
        from gigaclient.types.files import generated_files

        return generated_files(choice.message.content for choice in self.choices)

    @property
    def images(self) -> list[GeneratedFile]:
        """The pictures among :attr:`files`; ``giga.get_images(completion)`` fetches them all."""
        return [file for file in self.files if file.kind == "image"]

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import of_answer  # for notebooks

        return of_answer(self.text, [self.function_call] if self.function_call is not None else [])


# Without the garbage collector's book-keeping: each event of a stream brings one of these and of its choice, and there
# is nothing in them that it would have to find.
class Delta(Record, gc=False):
    """What one chunk adds to the message.

    Attributes:
        content: the next piece of text; absent or empty in chunks that bring something else.
        role: in the first chunk only; ``function_in_progress`` when a built-in function reports its progress, and then
            ``content`` is not part of the answer.
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
    """One alternative's part of a chunk."""

    delta: Delta = msgspec.field(default_factory=Delta)
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None


class ChatCompletionChunk(APIResponse):
    """One event of a streamed answer. ``str()`` gives the text it adds.

    Attributes:
        choices: what it adds to each alternative; may be empty.
        usage: in the last chunk, where the server reports it.
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
        """The text this chunk adds to the first choice; empty for a progress report."""
        for choice in self.choices:
            if choice.index == 0 and choice.delta.role != IN_PROGRESS:
                return choice.delta.content or ""
        return ""

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended; None until it has."""
        for choice in self.choices:
            if choice.index == 0:
                return choice.finish_reason
        return None

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import for_notebook  # for notebooks

        return for_notebook(self.text)


IN_PROGRESS = "function_in_progress"


class FunctionFewShot(Record):
    """An example for a function: what a user says, and the arguments that should come of it."""

    request: str
    params: dict[str, Any]


class Function(Record):
    """A function that the model may ask to have called.

    Attributes:
        name: Latin letters, digits (not first) and underscores are safe everywhere.
        description: what it does, for the model.
        parameters: JSON Schema of the arguments, sent as given: a dict, a
            :class:`~gigaclient.types.FunctionParameters`, or a pydantic model, which stands for its schema.
        few_shot_examples: examples, which the API's documentation strongly advises.
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
    def _prepared(cls, given: dict[str, Any]) -> dict[str, Any]:
        # A JSON Schema of the arguments, as pydantic makes it of a model, is taken for the function of its title.
        if not given.get("name") and given.get("title"):
            given = {("name" if name == "title" else name): value for name, value in given.items() if name != "name"}
        if not given.get("parameters") and "properties" in given:
            own = cls.__struct_fields__
            schema = {name: value for name, value in given.items() if name not in own}
            given = {name: given[name] for name in own if name in given}
            given["parameters"] = {"type": "object", **schema}
        return given


class NamedFunctionCall(Record):
    """Forces the function ``name``, with some of its arguments given."""

    name: str
    partial_arguments: dict[str, Any] | None = None


class FunctionRanker(Record):
    """Lets the server preselect functions before the model sees them."""

    enabled: bool | None = None
    top_n: int | None = None


class ResponseFormat(Record):
    """The form of the answer: ``json_schema`` with a schema (and ``strict`` to forbid extra fields), or ``text``.

    Attributes:
        type: ``json_schema`` or ``text``.
        schema: JSON Schema as a dict; a pydantic model stands for its schema.
        strict: whether the answer keeps to the schema strictly.
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
    """Keeps the dialogue on the server."""

    is_stateful: bool | None = None
    limit: int | None = None
    assistant_id: str | None = None
    thread_id: str | None = None
    metadata: dict[str, Any] | None = None


class Chat(Record, kw_only=True):
    """A whole chat request: the body of ``POST /chat/completions``.

    Absent fields are not sent. Fields that this version does not know go into ``additional_fields`` (or are passed to
    the call as keyword arguments) and are sent as they are.

    Attributes:
        messages: the history: at most one ``system`` message, and that first.
        model: the model's id; the client's default when absent.
        temperature: above 0.
        top_p: 0 to 1.
        max_tokens: the answer is cut there, with ``finish_reason`` ``length``.
        repetition_penalty: above 0; 1.0 is neutral.
        update_interval: seconds between chunks of a stream at the most frequent.
        profanity_check: False switches the filter off for those who are permitted to.
        functions: what the model may ask to have called. When any are listed, built-in functions that are not listed
            are off.
        function_call: ``"auto"``, ``"none"`` or a :class:`NamedFunctionCall`.
        additional_fields: further body fields; those above win.
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
        self.messages = _each(Message, self.messages, needs="role")
        self.functions = _each(Function, self.functions, needs="name")
        self.function_call = as_record(NamedFunctionCall, self.function_call)
        self.function_ranker = as_record(FunctionRanker, self.function_ranker)
        self.storage = as_record(Storage, self.storage)


class AccessToken(Record):
    """The token in use, as ``giga.get_token()`` shows it. ``repr`` hides the token itself.

    Attributes:
        access_token: the Bearer token.
        expires_at: Unix time in milliseconds, as GigaChat counts; 0 when it is not known.
    """

    access_token: str
    expires_at: int = 0

    def __repr__(self) -> str:
        return f"AccessToken(access_token='***', expires_at={self.expires_at})"
