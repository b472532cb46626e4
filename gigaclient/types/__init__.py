"""Every request and response type.

They are :class:`msgspec.Struct` classes: typed, cheap to decode, compared by value. What the API may add later never
breaks them: unknown fields are ignored in the typed view and kept in :attr:`Answer.raw`, and names that form an open
set (roles, finish reasons, model types) are plain strings. Absent fields are ``None``.

The types of v1 chat are loaded with the package. The others are loaded when they are first asked for, since a class
costs time to make and most programs only chat.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gigaclient.types.base import Answer, Record
from gigaclient.types.chat import (
    AccessToken,
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    Function,
    FunctionCall,
    FunctionFewShot,
    FunctionRanker,
    Message,
    MessagesRole,
    NamedFunctionCall,
    ResponseFormat,
    Storage,
    Usage,
)

if TYPE_CHECKING:
    from gigaclient.types.models import Model, Models

__all__ = [
    "AccessToken",
    "Answer",
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
    "Model",
    "Models",
    "NamedFunctionCall",
    "Record",
    "ResponseFormat",
    "Storage",
    "Usage",
]

# Where a name that is loaded later comes from.
_LATER = {
    "Model": "models",
    "Models": "models",
}


def __getattr__(name: str) -> Any:
    room = _LATER.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{room}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
