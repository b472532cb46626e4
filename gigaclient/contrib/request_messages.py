"""The messages in a browser's request, for all web frameworks."""

from __future__ import annotations

import json
from typing import Any

from gigaclient.types import Message

__all__ = ["messages_from_json"]

_ROLES = ("system", "user", "assistant")


def messages_from_json(body: Any) -> list[Message]:
    """Return the messages of a browser's request: ``{"messages": [{"role": "user", "content": "…"}, …]}``.

    A browser can send anything, so only roles and texts are taken. Other fields, such as files and functions, are
    ignored. The roles are ``system``, ``user`` and ``assistant``.

    Args:
        body: the body of the request, as decoded JSON, bytes or text.

    Returns:
        At least one message.

    Raises:
        ValueError: the body has another form. Its text is one sentence, for a response with the status 400.
    """
    if isinstance(body, bytes | str):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):  # the second one is for JSON that is nested too deep
            raise ValueError("the body of the request is not JSON that can be read") from None
    listed = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(listed, list) or not listed:
        raise ValueError("the body of the request has no list of messages")
    return [_message(index, fields) for index, fields in enumerate(listed)]


def _message(index: int, fields: Any) -> Message:
    role, content = (fields.get("role"), fields.get("content")) if isinstance(fields, dict) else (None, None)
    if role not in _ROLES:
        raise ValueError(f"messages[{index}] needs a role: {', '.join(_ROLES)}")
    if not isinstance(content, str):
        raise ValueError(f"messages[{index}] needs a content, which is a text")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise ValueError(f"messages[{index}] has half of a surrogate pair, which is not a character") from None
    return Message(role=role, content=content)
