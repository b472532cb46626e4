"""The types of requests and responses.

They are :class:`msgspec.Struct` classes: typed, cheap to decode, compared by value. Fields that the API adds later
break nothing. The typed view ignores unknown fields, and :attr:`APIResponse.raw` keeps them. Roles, finish reasons and
model types are plain strings, because new values may appear. Absent fields are ``None``.

The types of v1 chat are loaded with the package. The others are loaded at first use: a class takes time to create, and
most programs only chat.
"""

# ruff: noqa: F403, F405 - each module has the list of its types

from __future__ import annotations

from typing import TYPE_CHECKING

from gigaclient._primitives.lazy import lazy_names
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

# The names of each module that is loaded at first use.
_NAMES = {
    ".assistants": "Assistant AssistantAttachment AssistantDelete AssistantFileDelete Assistants CreateAssistant",
    ".batches": "Batch BatchRequestCounts BatchResult Batches",
    ".bulk": "EmbedResult ItemResult MapResult",
    ".chat_v2": (
        "ChatCompletionRequest ChatCompletionResponse ChatCompletionResponseChunk ChatContentFile ChatContentPart "
        "ChatFilterConfig ChatFilterContentConfig ChatFilterResponseContentConfig ChatFunctionCall ChatFunctionExample "
        "ChatFunctionResult ChatFunctionSpecification ChatFunctionsTool ChatInlineData ChatLogprob ChatLogprobToken "
        "ChatMessage ChatMessageChunk ChatModelOptions ChatRankerOptions ChatReasoning ChatResponseFormat ChatSource "
        "ChatStorage ChatTool ChatToolConfig ChatToolExecution ChatUsage ChatUsageInputTokensDetails ChatUserInfo "
        "ChatWebSearchTool"
    ),
    ".embeddings": "Embedding Embeddings EmbeddingsUsage",
    ".files": "DeletedFile GeneratedFile Image UploadedFile UploadedFiles",
    ".models": "Model Models",
    ".parameters": "FunctionParameters FunctionParametersProperty",
    ".raw": "RawResponse ServerEvent",
    ".threads": (
        "Thread ThreadCompletion ThreadCompletionChunk ThreadMessage ThreadMessageAttachment ThreadMessageResponse "
        "ThreadMessages ThreadMessagesResponse ThreadRunOptions ThreadRunResponse ThreadRunResult ThreadStatus Threads"
    ),
    ".token": "AccessToken",
    ".tool_runs": "Run Step",
    ".tools": (
        "AICheckResult Balance BalanceValue FilterCheck FilterUsage FunctionIssue FunctionValidation OpenApiFunctions "
        "TokensCount"
    ),
}

__getattr__, __dir__ = lazy_names(
    globals(), {name: module for module, names in _NAMES.items() for name in names.split()}
)
