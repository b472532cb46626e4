"""The parts of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gigaclient.types.base import Record
from gigaclient.types.chat_v2.calls import ChatFunctionCall, ChatFunctionResult, ChatToolExecution
from gigaclient.types.chat_v2.conversion import known_fields, to_record, to_records

__all__ = ["ChatContentFile", "ChatContentPart", "ChatInlineData", "ChatLogprob", "ChatLogprobToken", "ChatSource"]


# Type checkers see what the API documents; an unexpected value must not invalidate the response.
if TYPE_CHECKING:
    Sources = dict[str, "ChatSource"]
    Anything = list[Any]
else:
    Sources = Anything = Any


class ChatSource(Record):
    """A web page that a response is based on."""

    url: str | None = None
    title: str | None = None


class ChatInlineData(Record):
    """Data that belongs to a text.

    Attributes:
        sources: the web pages, by the numbers of markers such as ``[sources=[2, 5]]`` in the text.
        images, widgets: as the server sends them.
    """

    images: Anything | None = None
    sources: Sources | None = None
    widgets: Anything | None = None

    def __post_init__(self) -> None:
        sources: Any = self.sources
        if isinstance(sources, dict):
            self.sources = {
                str(number): to_record(known_fields(source, ChatSource), ChatSource)
                for number, source in sources.items()
            }


class ChatContentFile(Record):
    """A file: an uploaded one in a request, a generated one in a response.

    Attributes:
        id: the file's id.
        target: of a generated file: ``image``, ``audio``, ``cover``, ``video``, ``3dmodel``; others may come.
        mime: its MIME type.
    """

    id: str = ""
    target: str | None = None
    mime: str | None = None


class ChatLogprobToken(Record):
    """A token and its probability."""

    token: str = ""
    token_id: int | None = None
    logprob: float | None = None


class ChatLogprob(Record):
    """The chosen token at one position, and the most likely ones there."""

    chosen: ChatLogprobToken | None = None
    top: list[ChatLogprobToken] | None = None

    def __post_init__(self) -> None:
        self.chosen = to_record(self.chosen, ChatLogprobToken)
        self.top = to_records(self.top, ChatLogprobToken)


class ChatContentPart(Record):
    """A part of a message; usually one field is set.

    Attributes:
        text: a text; in a stream, the added text.
        files: uploaded files in a request, generated ones in a response.
        function_call: a function call that the model requests; send it back unchanged.
        function_result: the result of that function.
        tool_execution, inline_data, logprobs: only in responses.
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
                ChatContentFile(id=file) if isinstance(file, str) else to_record(file, ChatContentFile)
                for file in files
            ]
        self.function_call = to_record(self.function_call, ChatFunctionCall)
        self.function_result = to_record(self.function_result, ChatFunctionResult)
        self.tool_execution = to_record(self.tool_execution, ChatToolExecution)
        self.inline_data = to_record(self.inline_data, ChatInlineData)
        self.logprobs = to_records(self.logprobs, ChatLogprob)


def content_parts(content: Any) -> Any:
    """Convert message content of any form into a list of parts."""
    if isinstance(content, str):
        return [ChatContentPart(text=content)]
    if isinstance(content, ChatContentPart):
        return [content]
    if isinstance(content, Mapping):
        return [to_record(content, ChatContentPart)]
    if isinstance(content, (list, tuple)):
        return [
            ChatContentPart(text=part) if isinstance(part, str) else to_record(part, ChatContentPart)
            for part in content
        ]
    return content
