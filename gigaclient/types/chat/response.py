"""The chat completion, and the chunks of a streamed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import msgspec.structs

from gigaclient.types.base import APIResponse, Record, SharedMetadata
from gigaclient.types.chat.messages import FunctionCall, Message
from gigaclient.types.completion import Completion

if TYPE_CHECKING:
    from gigaclient.types.files import GeneratedFile


__all__ = ["ChatCompletion", "ChatCompletionChunk", "Choice", "ChunkChoice", "Delta", "Usage"]

IN_PROGRESS = "function_in_progress"


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


class ChatCompletion(Completion):
    """The response to a chat request: ``POST /chat/completions``.

    ``str()`` returns its text, and a notebook shows it as Markdown.

    Attributes:
        choices: the alternatives, usually one.
        created: Unix time in seconds.
        model: the model's id with its build, such as ``GigaChat-2-Pro:2.0.31.04``.
        object: the server's name for this kind of response; its spelling varies.
        usage: tokens; None if the server does not report them: FakeGpt, streams of older servers, incomplete answers.
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


class ChatCompletionChunk(APIResponse, SharedMetadata):
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
            if choice.index == 0 and (delta := choice.delta).role != IN_PROGRESS:
                return delta.content or ""
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
