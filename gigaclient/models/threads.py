"""Our types under the names of the official SDK's ``gigachat.models.threads``."""

from __future__ import annotations

from gigaclient.types import (
    Thread,
    ThreadCompletion,
    ThreadCompletionChunk,
    ThreadMessage,
    ThreadMessageAttachment,
    ThreadMessageResponse,
    ThreadMessages,
    ThreadMessagesResponse,
    ThreadRunOptions,
    ThreadRunResponse,
    ThreadRunResult,
    Threads,
    ThreadStatus,
)

__all__ = [
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
]
