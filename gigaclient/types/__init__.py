"""The types of requests and responses.

They are :class:`msgspec.Struct` classes: typed, cheap to decode, compared by value. Fields that the API adds later
break nothing. The typed view ignores unknown fields, and :attr:`APIResponse.raw` keeps them. Roles, finish reasons and
model types are plain strings, because new values may appear. Absent fields are ``None``.

The types of v1 chat are loaded with the package. The others are loaded at first use: a class takes time to create, and
most programs only chat.
"""

# ruff: noqa: F403, F405 - each module has the list of its types

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gigaclient.types.base import APIResponse, Record
from gigaclient.types.chat import (
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
    from gigaclient.types.assistants import *
    from gigaclient.types.batches import *
    from gigaclient.types.bulk import *
    from gigaclient.types.chat_v2 import *
    from gigaclient.types.embeddings import *
    from gigaclient.types.files import *
    from gigaclient.types.models import *
    from gigaclient.types.parameters import *
    from gigaclient.types.raw import *
    from gigaclient.types.threads import *
    from gigaclient.types.token import *
    from gigaclient.types.tool_runs import *
    from gigaclient.types.tools import *

__all__ = [
    "AICheckResult",
    "APIResponse",
    "AccessToken",
    "Assistant",
    "AssistantAttachment",
    "AssistantDelete",
    "AssistantFileDelete",
    "Assistants",
    "Balance",
    "BalanceValue",
    "Batch",
    "BatchRequestCounts",
    "BatchResult",
    "Batches",
    "Chat",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatCompletionRequest",
    "ChatCompletionResponse",
    "ChatCompletionResponseChunk",
    "ChatContentFile",
    "ChatContentPart",
    "ChatFilterConfig",
    "ChatFilterContentConfig",
    "ChatFilterResponseContentConfig",
    "ChatFunctionCall",
    "ChatFunctionExample",
    "ChatFunctionResult",
    "ChatFunctionSpecification",
    "ChatFunctionsTool",
    "ChatInlineData",
    "ChatLogprob",
    "ChatLogprobToken",
    "ChatMessage",
    "ChatMessageChunk",
    "ChatModelOptions",
    "ChatRankerOptions",
    "ChatReasoning",
    "ChatResponseFormat",
    "ChatSource",
    "ChatStorage",
    "ChatTool",
    "ChatToolConfig",
    "ChatToolExecution",
    "ChatUsage",
    "ChatUsageInputTokensDetails",
    "ChatUserInfo",
    "ChatWebSearchTool",
    "Choice",
    "ChunkChoice",
    "CreateAssistant",
    "DeletedFile",
    "Delta",
    "EmbedResult",
    "Embedding",
    "Embeddings",
    "EmbeddingsUsage",
    "FilterCheck",
    "FilterUsage",
    "Function",
    "FunctionCall",
    "FunctionFewShot",
    "FunctionIssue",
    "FunctionParameters",
    "FunctionParametersProperty",
    "FunctionRanker",
    "FunctionValidation",
    "GeneratedFile",
    "Image",
    "ItemResult",
    "MapResult",
    "Message",
    "MessagesRole",
    "Model",
    "Models",
    "NamedFunctionCall",
    "OpenApiFunctions",
    "RawResponse",
    "Record",
    "ResponseFormat",
    "Run",
    "ServerEvent",
    "Step",
    "Storage",
    "Thread",
    "ThreadCompletion",
    "ThreadCompletionChunk",
    "ThreadMessage",
    "ThreadMessageAttachment",
    "ThreadMessageResponse",
    "ThreadMessages",
    "ThreadMessagesResponse",
    "ThreadRunOptions",
    "ThreadRunResponse",
    "ThreadRunResult",
    "ThreadStatus",
    "Threads",
    "TokensCount",
    "UploadedFile",
    "UploadedFiles",
    "Usage",
]

# The module of each name that is loaded at first use.
_LAZY = {
    "AccessToken": "token",
    "ChatCompletionRequest": "chat_v2",
    "ChatCompletionResponse": "chat_v2",
    "ChatCompletionResponseChunk": "chat_v2",
    "ChatContentFile": "chat_v2",
    "ChatContentPart": "chat_v2",
    "ChatFilterConfig": "chat_v2",
    "ChatFilterContentConfig": "chat_v2",
    "ChatFilterResponseContentConfig": "chat_v2",
    "ChatFunctionCall": "chat_v2",
    "ChatFunctionExample": "chat_v2",
    "ChatFunctionResult": "chat_v2",
    "ChatFunctionSpecification": "chat_v2",
    "ChatFunctionsTool": "chat_v2",
    "ChatInlineData": "chat_v2",
    "ChatLogprob": "chat_v2",
    "ChatLogprobToken": "chat_v2",
    "ChatMessage": "chat_v2",
    "ChatMessageChunk": "chat_v2",
    "ChatModelOptions": "chat_v2",
    "ChatRankerOptions": "chat_v2",
    "ChatReasoning": "chat_v2",
    "ChatResponseFormat": "chat_v2",
    "ChatSource": "chat_v2",
    "ChatStorage": "chat_v2",
    "ChatTool": "chat_v2",
    "ChatToolConfig": "chat_v2",
    "ChatToolExecution": "chat_v2",
    "ChatUsage": "chat_v2",
    "ChatUsageInputTokensDetails": "chat_v2",
    "ChatUserInfo": "chat_v2",
    "ChatWebSearchTool": "chat_v2",
    "AICheckResult": "tools",
    "Assistant": "assistants",
    "AssistantAttachment": "assistants",
    "AssistantDelete": "assistants",
    "AssistantFileDelete": "assistants",
    "Assistants": "assistants",
    "Balance": "tools",
    "BalanceValue": "tools",
    "Batch": "batches",
    "BatchRequestCounts": "batches",
    "BatchResult": "batches",
    "Batches": "batches",
    "CreateAssistant": "assistants",
    "DeletedFile": "files",
    "Embedding": "embeddings",
    "EmbedResult": "bulk",
    "Embeddings": "embeddings",
    "EmbeddingsUsage": "embeddings",
    "FilterCheck": "tools",
    "FilterUsage": "tools",
    "FunctionIssue": "tools",
    "FunctionParameters": "parameters",
    "FunctionParametersProperty": "parameters",
    "FunctionValidation": "tools",
    "GeneratedFile": "files",
    "Image": "files",
    "ItemResult": "bulk",
    "MapResult": "bulk",
    "Model": "models",
    "Models": "models",
    "RawResponse": "raw",
    "ServerEvent": "raw",
    "Run": "tool_runs",
    "Step": "tool_runs",
    "OpenApiFunctions": "tools",
    "Thread": "threads",
    "ThreadCompletion": "threads",
    "ThreadCompletionChunk": "threads",
    "ThreadMessage": "threads",
    "ThreadMessageAttachment": "threads",
    "ThreadMessageResponse": "threads",
    "ThreadMessages": "threads",
    "ThreadMessagesResponse": "threads",
    "ThreadRunOptions": "threads",
    "ThreadRunResponse": "threads",
    "ThreadRunResult": "threads",
    "ThreadStatus": "threads",
    "Threads": "threads",
    "TokensCount": "tools",
    "UploadedFile": "files",
    "UploadedFiles": "files",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
