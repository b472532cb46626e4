"""Our types under the names of the official SDK's ``gigachat.models``, for scripts that move over."""

from __future__ import annotations

from gigaclient.types import (
    AccessToken,
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    Function,
    FunctionCall,
    FunctionRanker,
    MessagesRole,
    ResponseFormat,
    Storage,
    Usage,
)
from gigaclient.types import Choice as Choices
from gigaclient.types import ChunkChoice as ChoicesChunk
from gigaclient.types import Delta as MessagesChunk
from gigaclient.types import FunctionFewShot as FewShotExample
from gigaclient.types import Message as Messages
from gigaclient.types import NamedFunctionCall as ChatFunctionCall

__all__ = [
    "AccessToken",
    "Chat",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatFunctionCall",
    "Choices",
    "ChoicesChunk",
    "FewShotExample",
    "Function",
    "FunctionCall",
    "FunctionRanker",
    "Messages",
    "MessagesChunk",
    "MessagesRole",
    "ResponseFormat",
    "Storage",
    "Usage",
]
