"""The requests of FakeGpt conversations: validation, and the dialogue in a prompt."""

from __future__ import annotations

import re
from typing import Any

from gigaclient.testing.http_messages import RecordedRequest

__all__ = ["ProxyRefusal", "last_question", "prompt_of", "read_body"]


class ProxyRefusal(Exception):
    """An error response as JSON."""

    def __init__(self, status: int, payload: Any) -> None:
        super().__init__(status, payload)
        self.status, self.payload = status, payload


def prompt_of(request: RecordedRequest) -> str:
    """Return the prompt of a conversation request, or "" for an invalid one."""
    try:
        return "".join(request.json()["messages"][0]["content"]["parts"])
    except (ValueError, LookupError, TypeError):
        return ""


def read_body(request: RecordedRequest) -> dict[str, Any]:
    """Return the body of a conversation request; raise :class:`ProxyRefusal` (422) for a wrong shape."""
    try:
        body = request.json()
    except ValueError:
        raise ProxyRefusal(400, {"detail": "There was an error parsing the body"}) from None

    def refusal(*path: str | int) -> ProxyRefusal:
        return ProxyRefusal(422, {"detail": [{"loc": ["body", *path], "msg": "field required", "type": "value_error"}]})

    if not isinstance(body, dict):
        raise refusal()
    if body.get("action") not in ("next", "variant", "continue"):
        raise refusal("action")
    if not isinstance(body.get("model"), str):
        raise refusal("model")
    if not isinstance(body.get("parent_message_id"), str):
        raise refusal("parent_message_id")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
        raise refusal("messages")
    author, content = messages[0].get("author"), messages[0].get("content")
    if not isinstance(author, dict) or author.get("role") != "user":
        raise refusal("messages", 0, "author", "role")
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise refusal("messages", 0, "content", "parts")
    return body


def last_question(prompt: str) -> str:
    """Return the last user message of a prompt of lines ``Role: content`` that ends in ``Assistant:``.

    Any other prompt is returned unchanged.
    """
    if not re.search(r"\nAssistant:\s*\Z", f"\n{prompt}"):
        return prompt
    parts = re.split(r"(?m)^(System|User|Assistant): ?", prompt)
    questions = [content for role, content in zip(parts[1::2], parts[2::2], strict=True) if role == "User"]
    return questions[-1] if questions else ""
