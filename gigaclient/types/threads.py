"""Threads: dialogues that the server stores, and the runs that answer them.

Stand-dependent, not in the public OpenAPI. Source, the official SDK: https://github.com/ai-forever/gigachat
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import msgspec.structs

from gigaclient._primitives.decoding import convert
from gigaclient.types.base import APIResponse, Record
from gigaclient.types.chat import ChatCompletionChunk, Function, FunctionCall, Message, NamedFunctionCall, Usage
from gigaclient.types.completion import Completion

__all__ = [
    "Thread",
    "ThreadCompletion",
    "ThreadCompletionChunk",
    "ThreadMessage",
    "ThreadMessageAttachment",
    "ThreadMessageResponse",
    "ThreadMessages",
    "ThreadMessagesResponse",
    "ThreadRunOptions",
    "ThreadRunResponse",
    "ThreadRunResult",
    "ThreadStatus",
    "Threads",
]


class ThreadStatus(str, enum.Enum):
    """The known statuses. Responses may have others, so a status is any string, and equals one of these."""

    IN_PROGRESS = "in_progress"
    READY = "ready"
    FAILED = "failed"
    DELETED = "deleted"

    # Print and format as the bare status on every Python version.
    __str__ = str.__str__

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec)


class Thread(APIResponse):
    """A thread.

    Attributes:
        id: its id; some servers send it as ``thread_id``, and both fields are set from either.
        thread_id: the same id.
        assistant_id: the assistant that answers in it, if any.
        model: the model that answers in it.
        created_at, updated_at: Unix time in seconds.
        run_lock: True during a run, when messages cannot be added.
        status: one of :class:`ThreadStatus`; others may come.
    """

    id: str = ""
    thread_id: str = ""
    assistant_id: str | None = None
    model: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    run_lock: bool | None = None
    status: str | None = None

    def __post_init__(self) -> None:
        self.id = self.thread_id = self.id or self.thread_id
        if not self.id:
            raise ValueError("a thread has an id")


class Threads(APIResponse):
    """Threads: ``GET /threads`` and ``POST /threads/retrieve``.

    Attributes:
        threads: the threads in the server's order.
    """

    threads: list[Thread]


class ThreadMessageAttachment(Record):
    """A file attached to a message.

    Attributes:
        file_id: the file's id.
        name: its name, if the server sends it.
    """

    file_id: str
    name: str | None = None


# The server echoes what the user sent; an unexpected item must not invalidate the response.
if TYPE_CHECKING:
    Attachments = list[ThreadMessageAttachment]
else:
    Attachments = Any


class ThreadMessage(Record):
    """A message of a thread.

    Attributes:
        message_id: its id.
        role: ``user``, ``assistant``, ``system`` or ``function``; others may come.
        content: the text.
        attachments: its files.
        created_at: Unix time in seconds.
        function_call: a function call that the model requests.
        finish_reason: the finish reason of a model's message.
        model: the model that wrote the message.
    """

    message_id: str | None = None
    role: str | None = None
    content: str = ""
    attachments: Attachments | None = None
    created_at: int | None = None
    function_call: FunctionCall | None = None
    finish_reason: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.attachments, list):
            self.attachments = [_attachment(item) for item in self.attachments]


def _attachment(item: Any) -> Any:
    if isinstance(item, str):
        return ThreadMessageAttachment(item)
    try:
        return convert(item, ThreadMessageAttachment)
    except msgspec.ValidationError:
        return item  # an unknown shape stays as the server sent it


class ThreadMessages(APIResponse):
    """The messages of a thread: ``GET /threads/messages``.

    Attributes:
        thread_id: the thread's id.
        messages: its messages in the server's order.
    """

    messages: list[ThreadMessage]
    thread_id: str | None = None


class ThreadMessageResponse(Record):
    """An added message.

    Attributes:
        message_id: its id.
        created_at: Unix time in seconds.
    """

    message_id: str | None = None
    created_at: int | None = None


class ThreadMessagesResponse(APIResponse):
    """Added messages: ``POST /threads/messages``.

    Attributes:
        thread_id: their thread; a new one if the request had none.
        messages: the ids of the messages, in the same order.
    """

    thread_id: str
    messages: list[ThreadMessageResponse] = []


class ThreadRunOptions(Record, kw_only=True):
    """Options of a run. Absent fields are not sent.

    Attributes:
        temperature: above 0.
        top_p: 0 to 1.
        limit: the number of last messages that the model sees; by default all.
        max_tokens: the response is cut there.
        repetition_penalty: above 0; 1.0 is neutral.
        profanity_check: False disables the filter, if the key permits that.
        flags: server features, by agreement.
        function_call: ``"auto"``, ``"none"`` or a :class:`~gigaclient.types.NamedFunctionCall`.
        functions: functions that the model may call.
    """

    temperature: float | None = None
    top_p: float | None = None
    limit: int | None = None
    max_tokens: int | None = None
    repetition_penalty: float | None = None
    profanity_check: bool | None = None
    flags: list[str] | None = None
    function_call: NamedFunctionCall | str | None = None
    functions: list[Function] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            temperature: float | None = None,
            top_p: float | None = None,
            limit: int | None = None,
            max_tokens: int | None = None,
            repetition_penalty: float | None = None,
            profanity_check: bool | None = None,
            flags: Sequence[str] | None = None,
            function_call: NamedFunctionCall | Mapping[str, Any] | str | None = None,
            functions: Sequence[Function | Mapping[str, Any]] | None = None,
        ) -> None: ...


class ThreadRunResponse(APIResponse):
    """A started run: ``POST /threads/run``.

    Attributes:
        status: one of :class:`ThreadStatus`, at first ``in_progress``.
        thread_id: the thread's id.
        created_at: Unix time in seconds.
    """

    status: str
    thread_id: str | None = None
    created_at: int | None = None


class ThreadRunResult(APIResponse):
    """The state of a run: ``GET /threads/run``.

    Attributes:
        status: one of :class:`ThreadStatus`; others may come.
        thread_id: the thread's id.
        updated_at: Unix time in seconds.
        model: the model that answers.
        messages: messages that the run added to the thread; None before the first.
    """

    status: str
    thread_id: str | None = None
    updated_at: int | None = None
    model: str | None = None
    messages: list[ThreadMessage] | None = None

    @property
    def text(self) -> str:
        """The text of the assistant's last message; empty, never None, if there is none."""
        for message in reversed(self.messages or []):
            if message.role == "assistant":
                return message.content
        return ""

    def __str__(self) -> str:
        return self.text


class ThreadCompletion(Completion):
    """The result of a blocking run: ``POST /threads/messages/run`` and ``/threads/messages/rerun``.

    ``str()`` returns its text, and a notebook shows it as Markdown. It has no choices.

    Attributes:
        message: the assistant's message.
        object: the server's name for this kind of response.
        model: the model's id with its build.
        thread_id: the id of its thread.
        message_id: the id of the message in the thread.
        created: Unix time in seconds.
        usage: tokens, if the server reports them.
        finish_reason: ``stop``, ``length``, ``function_call``, ``blacklist``, ``error``; others may come. None in a
            stream that has not ended.
    """

    message: Message
    object: str | None = None
    model: str | None = None
    thread_id: str | None = None
    message_id: str | None = None
    created: int | None = None
    usage: Usage | None = None
    finish_reason: str | None = None

    def __post_init__(self) -> None:
        if self.message.role == "user":
            # The server sent no role. The default of Message is for requests; a response is the assistant's.
            self.message = msgspec.structs.replace(self.message, role="assistant")

    @property
    def text(self) -> str:
        """The text; empty, never None, if there is none (a function call, for example)."""
        return self.message.content or ""

    @property
    def function_call(self) -> FunctionCall | None:
        """The function call of the model, or None."""
        return self.message.function_call

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import of_answer

        return of_answer(self.text, [self.function_call] if self.function_call is not None else [])


class ThreadCompletionChunk(ChatCompletionChunk):
    """One event of a streamed run: a chat chunk with ``thread_id`` and ``message_id``.

    Its ``usage`` is the cost of this chunk only; the stream sums them.
    """
