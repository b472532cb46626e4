"""Our types under the names of the official SDK's ``gigachat.models``, for scripts that migrate.

The module of a name is loaded when the name is first used.
"""

# ruff: noqa: F403 - the modules have the lists

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigaclient.models import assistants as assistants
    from gigaclient.models import chat_completions
    from gigaclient.models import threads as threads
    from gigaclient.models.assistants import *
    from gigaclient.models.auth import *
    from gigaclient.models.base import *
    from gigaclient.models.chat import *
    from gigaclient.models.embeddings import *
    from gigaclient.models.files import *
    from gigaclient.models.models import *
    from gigaclient.models.response_format import *
    from gigaclient.models.threads import *
    from gigaclient.models.tools import *
    from gigaclient.types.chat_v2.calls import ChatFunctionResult as ChatFunctionResult
    from gigaclient.types.chat_v2.calls import ChatToolExecution as ChatToolExecution
    from gigaclient.types.chat_v2.content import *
    from gigaclient.types.chat_v2.messages import *
    from gigaclient.types.chat_v2.options import *
    from gigaclient.types.chat_v2.request import *
    from gigaclient.types.chat_v2.response import *
    from gigaclient.types.chat_v2.tools import *

    PrimaryChatCompletionChunk = chat_completions.ChatCompletionChunk
    PrimaryChatFunctionCall = chat_completions.ChatFunctionCall

# The order in which a name is searched: first the modules whose types are loaded anyway. A name that both versions of
# chat have is the name of API v1.
_MODULES = (
    *("chat", "auth", "base", "response_format"),
    *("files", "models", "embeddings", "tools", "assistants", "threads", "chat_completions"),
)
# Names of API v2 that API v1 has too.
_PRIMARY = {"PrimaryChatCompletionChunk": "ChatCompletionChunk", "PrimaryChatFunctionCall": "ChatFunctionCall"}


def __getattr__(name: str) -> Any:
    value = _find(name)
    if value is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _find(name: str) -> Any:
    if name == "__all__":
        return sorted({"assistants", "threads", *_PRIMARY}.union(*map(_types_of, _MODULES)))
    if name in ("assistants", "threads"):
        return import_module(f"{__name__}.{name}")
    if name in _PRIMARY:
        return _types_of("chat_completions")[_PRIMARY[name]]
    if name.startswith("_"):
        return None
    return next((types[name] for types in map(_types_of, _MODULES) if name in types), None)


def _types_of(module: str) -> dict[str, type[Any]]:
    names = vars(import_module(f"{__name__}.{module}"))
    return {name: value for name, value in names.items() if isinstance(value, type)}


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
