"""Threads: dialogues that the server keeps, and the runs that answer them.

Stand-dependent, and not in the public OpenAPI: what is here is known from the official SDK.
Source: https://github.com/ai-forever/gigachat
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
    """The statuses that are known. Answers may bring others, so a status is any string, and equals one of these."""

    IN_PROGRESS = "in_progress"
    READY = "ready"
    FAILED = "failed"
    DELETED = "deleted"

    # The same on every Python: the status itself, where it is printed or put into a text.
    __str__ = str.__str__

    def __format__(self, form: str) -> str:
        return format(self.value, form)


class Thread(APIResponse):
    """A thread.

    Attributes:
        id: its id; some servers send it as ``thread_id``, and either is read into both.
        thread_id: the same.
        assistant_id: the assistant that answers in it, if any.
        model: the model that answers in it.
        created_at, updated_at: Unix time in seconds.
        run_lock: whether a run is under way, which takes no further message.
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
    """A file that goes with a message.

    Attributes:
        file_id: the file's id.
        name: its name, where the server tells it.
    """

    file_id: str
    name: str | None = None


# What people filled in and the server only echoes: an odd item must not cost the answer.
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
        attachments: the files that go with it.
        created_at: Unix time in seconds.
        function_call: set by the model when it wants a function called.
        finish_reason: why the model stopped, of one that it wrote.
        model: the model that wrote it.
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
        return item  # not of a shape we know: as the server sent it


class ThreadMessages(APIResponse):
    """The messages of a thread: ``GET /threads/messages``.

    Attributes:
        thread_id: the thread's id.
        messages: its messages in the server's order.
    """

    messages: list[ThreadMessage]
    thread_id: str | None = None


class ThreadMessageResponse(Record):
    """A message that was added.

    Attributes:
        message_id: its id.
        created_at: Unix time in seconds.
    """

    message_id: str | None = None
    created_at: int | None = None


class ThreadMessagesResponse(APIResponse):
    """Messages that were added: ``POST /threads/messages``.

    Attributes:
        thread_id: the thread that they are in; a new one where none was given.
        messages: the messages' ids, in their order.
    """

    thread_id: str
    messages: list[ThreadMessageResponse] = []


class ThreadRunOptions(Record, kw_only=True):
    """How a run is to answer. Absent fields are not sent.

    Attributes:
        temperature: above 0.
        top_p: 0 to 1.
        limit: how many of the thread's last messages the model is shown; all of them when absent.
        max_tokens: the answer is cut there.
        repetition_penalty: above 0; 1.0 is neutral.
        profanity_check: False switches the filter off for those who are permitted to.
        flags: server features, by agreement.
        function_call: ``"auto"``, ``"none"`` or a :class:`~gigaclient.types.NamedFunctionCall`.
        functions: what the model may ask to have called.
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
    """A run that began: ``POST /threads/run``.

    Attributes:
        status: one of :class:`ThreadStatus`, at first ``in_progress``.
        thread_id: the thread's id.
        created_at: Unix time in seconds.
    """

    status: str
    thread_id: str | None = None
    created_at: int | None = None


class ThreadRunResult(APIResponse):
    """How a run stands: ``GET /threads/run``.

    Attributes:
        status: one of :class:`ThreadStatus`; others may come.
        thread_id: the thread's id.
        updated_at: Unix time in seconds.
        model: the model that answers.
        messages: what the run added to the thread, once there is something.
    """

    status: str
    thread_id: str | None = None
    updated_at: int | None = None
    model: str | None = None
    messages: list[ThreadMessage] | None = None

    @property
    def text(self) -> str:
        """The text of the last message of the assistant; empty, never None, while there is none."""
        for message in reversed(self.messages or []):
            if message.role == "assistant":
                return message.content
        return ""

    def __str__(self) -> str:
        return self.text


class ThreadCompletion(APIResponse):
    """The answer of a run that was waited for: ``POST /threads/messages/run`` and ``/threads/messages/rerun``.

    ``str()`` gives its text, a notebook shows it as Markdown. There are no choices: a run answers once.

    Attributes:
        message: the assistant's message.
        object: what the server calls this kind of answer.
        model: the model's id with its build.
        thread_id: the thread that it is in.
        message_id: the id of the message there.
        created: Unix time in seconds.
        usage: tokens, where the server reports them.
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
            # It came without a role, and Message's own default is for people who write one. Answers are not the user's.
            self.message = msgspec.structs.replace(self.message, role="assistant")

    @property
    def text(self) -> str:
        """The text; empty, never None, when there is none (a function call, say)."""
        return self.message.content or ""

    @property
    def function_call(self) -> FunctionCall | None:
        """The function that the model wants called, if any."""
        return self.message.function_call

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import of_answer  # for notebooks

        return of_answer(self.text, [self.function_call] if self.function_call is not None else [])


class ThreadCompletionChunk(ChatCompletionChunk):
    """One event of a streamed run: a chunk as a chat has it, with ``thread_id`` and ``message_id``.

    Its ``usage`` is what this chunk adds to the account, not the sum: the stream sums it.
    """
