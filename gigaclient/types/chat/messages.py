"""The messages of a dialogue."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient.types.base import Record

__all__ = ["FunctionCall", "Message", "MessagesRole"]

# The server echoes lists that the user sent; an unexpected item must not invalidate the response.
if TYPE_CHECKING:
    Anything = list[Any]
else:
    Anything = Any


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
        attachments: ids of uploaded files. In a request also what ``upload_file`` returned, or a list of either.
        reasoning_content: the reasoning of a reasoning model.
        inline_data: sources and widgets of the response.
    """

    # Factories, because plain defaults are not sent. The API requires a role, and the official SDK sends empty texts.
    role: str = msgspec.field(default_factory=lambda: "user")
    content: str | None = msgspec.field(default_factory=str)
    name: str | None = None
    function_call: FunctionCall | None = None
    functions_state_id: str | None = None
    attachments: Any = None
    reasoning_content: str | None = None
    inline_data: Any = None
    data_for_context: Anything | None = None
    logprobs: Any = None
    created: int | None = None
    id: Any = None
