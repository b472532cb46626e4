"""Flattens a dialogue into one prompt: the service takes a single message, so the history is part of it. Pure."""

from __future__ import annotations

from typing import Any

from gigaclient._core.messages import as_messages
from gigaclient.types import Message

__all__ = ["format_prompt"]


def format_prompt(messages: Any, *, tags: bool = False) -> str:
    """Return the text that is sent for ``messages``.

    A single message becomes its content, unchanged. Several become lines ``Role: content`` and a last line
    ``Assistant:`` for the model to continue. Nothing is trimmed or escaped, so a content may look like another turn.

    Args:
        messages: a string, or a list of dicts or :class:`~gigaclient.types.Message`.
        tags: write the roles for a single message, too.

    Raises:
        ConfigError: these are not messages.
    """
    turns = [_turn(message) for message in as_messages(messages)]
    if len(turns) == 1 and not tags:
        return turns[0][1]
    lines = [f"{role[:1].upper()}{role[1:]}: {content}" for role, content in turns]
    return "\n".join([*lines, "Assistant:"])


def _turn(message: Any) -> tuple[str, str]:
    if isinstance(message, Message):
        return message.role, message.content or ""
    return message["role"], message.get("content") or ""
