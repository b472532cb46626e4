"""Assistants: a model with instructions, functions and files, stored on the server.

Stand-dependent, not in the public OpenAPI. Source, the official SDK: https://github.com/ai-forever/gigachat
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
        name: its name, if the server sends it.
    """

    file_id: str
    name: str | None = None


# The server echoes what the user sent; an unexpected item must not invalidate the response.
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
        model: the model that it uses.
        name, description: as set at creation.
        instructions: the text of its ``system`` message.
        created_at, updated_at: Unix time in seconds.
        files: its files. Some servers send ids, some objects; both are read into this and ``file_ids``.
        file_ids: the ids of its files.
        metadata: up to 16 pairs of user data.
        threads_count: the number of threads that use it.
        functions: functions that it may call.
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
        items: Any = self.files if self.files is not None else self.file_ids
        if items is not None:
            self.files = files = _attachments(items)
            self.file_ids = [file.file_id for file in files]
        if self.functions is not None:
            try:
                self.functions = convert(self.functions, list[Function])
            except msgspec.ValidationError:
                return  # an unknown shape stays as the server sent it


def _attachments(items: Any) -> list[AssistantAttachment]:
    found = []
    for item in items if isinstance(items, list) else ():
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
        deleted: True if it was deleted.
    """

    assistant_id: str
    deleted: bool = False


class AssistantFileDelete(APIResponse):
    """A file removed from an assistant: ``POST /assistants/files/delete``.

    Attributes:
        file_id: the file's id.
        deleted: True if it was removed.
    """

    file_id: str
    deleted: bool = False
