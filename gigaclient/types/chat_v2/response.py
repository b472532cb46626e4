"""The chat response, and the chunks of a streamed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigaclient.types.base import APIResponse, Record
from gigaclient.types.chat_v2.calls import ChatFunctionCall, ChatToolExecution, distinct_calls
from gigaclient.types.chat_v2.content import ChatContentPart, ChatLogprob, ChatSource
from gigaclient.types.chat_v2.conversion import merge_state_ids
from gigaclient.types.chat_v2.messages import ASSISTANT, REASONING, ChatMessage, ChatMessageChunk, calls_of, parts_of
from gigaclient.types.completion import Completion

if TYPE_CHECKING:
    from gigaclient.types.files import GeneratedFile


__all__ = ["ChatCompletionResponse", "ChatCompletionResponseChunk", "ChatUsage", "ChatUsageInputTokensDetails"]


_REQUEST_FIELDS = ("text", "files", "function_call", "function_result")


class ChatUsageInputTokensDetails(Record):
    """Details of the input: tokens of the prompt, and tokens from the cache of a session.

    ``cached_tokens`` may be more than ``input_tokens``: it is not a part of them.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None


class ChatUsage(Record):
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


class ChatCompletionResponse(Completion):
    """The response to a chat request: ``POST /v2/chat/completions``.

    ``str()`` returns its text, and a notebook shows it as Markdown.

    Attributes:
        messages: usually one message of the assistant; messages of the role ``reasoning`` may precede it.
        model: the model's id with its build, such as ``GigaChat-3-Pro:33.1.2.7``.
        created_at: Unix time in seconds.
        finish_reason: ``stop``, ``length``, ``function_call``, ``function_call_error``, ``blacklist`` and other values
            of the filter; others may come. None in a stream that has not ended.
        usage: tokens; None if the server does not report them, as for an incomplete answer.
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
        _merge_spellings(self)
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
        return distinct_calls(call for message in self._assistant_messages() for call in calls_of(message))

    @property
    def function_call(self) -> ChatFunctionCall | None:
        """The first function call of the model, or None."""
        calls = self.function_calls
        return calls[0] if calls else None

    @property
    def tool_executions(self) -> list[ChatToolExecution]:
        """The runs of the service's tools that the response reports."""
        return _tool_executions(self)

    @property
    def sources(self) -> dict[str, ChatSource]:
        """The web pages that the text refers to: ``[sources=[2, 5]]`` in it means ``"2"`` and ``"5"``."""
        sources: dict[str, ChatSource] = {}
        for message in self._assistant_messages():
            for data in [*(part.inline_data for part in parts_of(message)), message.inline_data]:
                if data is not None and isinstance(data.sources, dict):
                    sources.update(data.sources)
        return sources

    @property
    def files(self) -> list[GeneratedFile]:
        """The generated files, each once; ``get_file_content`` downloads them."""
        from gigaclient.types.files import GeneratedFile

        found: dict[str, GeneratedFile] = {}
        for message in self._assistant_messages():
            for part in parts_of(message):
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
        _merge_spellings(self)
        for message in self.messages:
            self.tools_state_id = message.tools_state_id or self.tools_state_id
            if self.finish_reason is None:
                self.finish_reason = message.finish_reason

    def _text_of(self, *roles: str) -> str:
        # Some servers repeat the whole text in the last event, which then adds nothing.
        if self._metadata.get("repeats"):
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
        return distinct_calls(call for message in self.messages for call in calls_of(message))

    @property
    def tool_executions(self) -> list[ChatToolExecution]:
        """The runs of the service's tools that this event reports."""
        return _tool_executions(self)

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import for_notebook

        return for_notebook(self.text)


def _merge_spellings(response: ChatCompletionResponse | ChatCompletionResponseChunk) -> None:
    """Move fields that servers spell in several ways into the documented ones."""
    if response.created_at is None:
        response.created_at = response.created
    response.created = None
    merge_state_ids(response)


def _tool_executions(response: ChatCompletionResponse | ChatCompletionResponseChunk) -> list[ChatToolExecution]:
    runs = [part.tool_execution for message in response.messages for part in parts_of(message)]
    runs += [message.tool_execution for message in response.messages]
    return [run for run in [*runs, response.tool_execution] if run is not None]
