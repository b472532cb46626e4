"""Our types under the names of the official SDK's ``gigachat.models.chat``."""

from __future__ import annotations

from gigaclient.types import (
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    Function,
    FunctionCall,
    FunctionParameters,
    FunctionParametersProperty,
    FunctionRanker,
    MessagesRole,
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
    "Chat",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatFunctionCall",
    "Choices",
    "ChoicesChunk",
    "FewShotExample",
    "Function",
    "FunctionCall",
    "FunctionParameters",
    "FunctionParametersProperty",
    "FunctionRanker",
    "Messages",
    "MessagesChunk",
    "MessagesRole",
    "Storage",
    "Usage",
]
