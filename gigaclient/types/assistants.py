"""Assistants: a model with instructions, functions and files, kept on the server.

Stand-dependent, and not in the public OpenAPI: what is here is known from the official SDK.
Source: https://github.com/ai-forever/gigachat
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient._primitives.decoding import convert
from gigaclient.types.base import APIResponse, Record
from gigaclient.types.chat import Function

__all__ = [
    "Assistant",
    "AssistantAttachment",
    "AssistantDelete",
    "AssistantFileDelete",
    "Assistants",
    "CreateAssistant",
]


class AssistantAttachment(Record):
    """A file of an assistant.

    Attributes:
        file_id: the file's id.
        name: its name, where the server tells it.
    """

    file_id: str
    name: str | None = None


# What people filled in and the server only echoes: an odd item must not cost the answer.
if TYPE_CHECKING:
    Files = list[AssistantAttachment]
    FileIds = list[str]
    Functions = list[Function]
else:
    Files = FileIds = Functions = Any


class Assistant(APIResponse):
    """An assistant.

    Attributes:
        assistant_id: its id.
        model: the model that it speaks with.
        name, description, instructions: as they were given; the instructions are what a ``system`` message would say.
        created_at, updated_at: Unix time in seconds.
        files: its files. Some servers send ids alone, some objects; both are read, into this and ``file_ids``.
        file_ids: the ids of its files.
        metadata: up to 16 pairs of the user's own.
        threads_count: how many threads use it.
        functions: what it may ask to have called.
    """

    assistant_id: str
    model: str | None = None
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    files: Files | None = None
    file_ids: FileIds | None = None
    metadata: dict[str, Any] | None = None
    threads_count: int | None = None
    functions: Functions | None = None

    def __post_init__(self) -> None:
        sent: Any = self.files if self.files is not None else self.file_ids
        if sent is not None:
            self.files = files = _attachments(sent)
            self.file_ids = [file.file_id for file in files]
        if self.functions is not None:
            try:
                self.functions = convert(self.functions, list[Function])
            except msgspec.ValidationError:
                return  # not of a shape we know: as the server sent them


def _attachments(sent: Any) -> list[AssistantAttachment]:
    found = []
    for item in sent if isinstance(sent, list) else ():
        if isinstance(item, AssistantAttachment):
            found.append(item)
            continue
        name = item.get("name") if isinstance(item, dict) else None
        file_id = item.get("file_id") or item.get("id") if isinstance(item, dict) else item
        if isinstance(file_id, str):
            found.append(AssistantAttachment(file_id, name if isinstance(name, str) else None))
    return found


class Assistants(APIResponse):
    """The assistants: ``GET /assistants``.

    Attributes:
        data: the assistants in the server's order.
    """

    data: list[Assistant]


class CreateAssistant(APIResponse):
    """A new assistant: ``POST /assistants``.

    Attributes:
        assistant_id: its id.
        created_at: Unix time in seconds.
    """

    assistant_id: str
    created_at: int | None = None


class AssistantDelete(APIResponse):
    """A deleted assistant: ``POST /assistants/delete``.

    Attributes:
        assistant_id: its id.
        deleted: whether it is gone.
    """

    assistant_id: str
    deleted: bool = False


class AssistantFileDelete(APIResponse):
    """A file taken from an assistant: ``POST /assistants/files/delete``.

    Attributes:
        file_id: the file's id.
        deleted: whether it is gone.
    """

    file_id: str
    deleted: bool = False
