"""Our types under the names of the official SDK's ``gigachat.models.assistants``."""

from __future__ import annotations

from gigaclient.types import (
    Assistant,
    AssistantAttachment,
    AssistantDelete,
    AssistantFileDelete,
    Assistants,
    CreateAssistant,
)

__all__ = [
    "Assistant",
    "AssistantAttachment",
    "AssistantDelete",
    "AssistantFileDelete",
    "Assistants",
    "CreateAssistant",
]
