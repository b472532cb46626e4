"""Prompts and answers in the JSON of the GenAI semantic conventions, for both API versions and FakeGpt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.contrib.opentelemetry.attributes import RequestFields
from gigaclient.types.completion import BLOCKED

__all__ = ["encode", "input_messages", "output_messages", "tool_definitions"]

# The roles and finish reasons of the conventions; others are recorded unchanged.
_ROLES = {"function": "tool", "reasoning": "assistant"}
_FINISH_REASONS = {"function_call": "tool_call", **dict.fromkeys(BLOCKED, "content_filter")}


def encode(value: Any) -> str:
    """Return ``value`` as JSON."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, *JSON_ERRORS):
        return str(value)


def input_messages(fields: RequestFields) -> list[dict[str, Any]]:
    """Return the messages of a request; none if it has none."""
    return [_message(message) for message in _objects(_decode(fields.messages))]


def output_messages(response: Any) -> list[dict[str, Any]]:
    """Return the messages of a response.

    Args:
        response: JSON as bytes, a completion, or None.
    """
    answer = _decode(response) if isinstance(response, bytes) else _plain(response)
    if not isinstance(answer, dict):
        return []
    messages = []
    for choice in _objects(answer.get("choices")):
        message = _message(choice.get("message") or {})
        messages.append({**message, "finish_reason": _finish_reason(choice, answer)})
    for sent in _objects(answer.get("messages")):
        messages.append({**_message(sent), "finish_reason": _finish_reason(sent, answer)})
    return messages


def tool_definitions(fields: RequestFields) -> list[dict[str, Any]]:
    """Return the functions that the model may call, and the tools of the service."""
    found = [{"type": "function", **function} for function in _objects(_decode(fields.functions))]
    for tool in _objects(_decode(fields.tools)):
        for name, value in tool.items():
            specifications = value.get("specifications") if isinstance(value, dict) else None
            if specifications is None:
                found.append({"type": name})
            found += [{"type": "function", **function} for function in _objects(specifications)]
    return found


def _message(message: dict[str, Any]) -> dict[str, Any]:
    author = message.get("author")
    role = str(message.get("role") or (author.get("role") if isinstance(author, dict) else None) or "assistant")
    is_reasoning = role == "reasoning"
    parts = list(_parts(message, "reasoning" if is_reasoning else "text"))
    reasoning = message.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        parts.insert(0, {"type": "reasoning", "content": reasoning})
    return {"role": _ROLES.get(role, role), "parts": parts}


def _parts(message: dict[str, Any], text_type: str) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    if message.get("role") == "function" and isinstance(content, str):
        yield _result(message.get("name"), content)
    elif isinstance(content, str):
        if content:
            yield {"type": text_type, "content": content}
    elif isinstance(content, dict):  # of FakeGpt
        for text in content.get("parts") or ():
            yield {"type": text_type, "content": str(text)}
    else:
        for part in _objects(content):
            yield from _part(part, text_type)
    yield from _call(message.get("function_call"))
    for file_id in message.get("attachments") or ():
        yield {"type": "file", "modality": "document", "file_id": str(file_id)}


def _part(part: dict[str, Any], text_type: str) -> Iterator[dict[str, Any]]:
    if isinstance(part.get("text"), str):
        yield {"type": text_type, "content": part["text"]}
    for file in _objects(part.get("files")):
        yield {"type": "file", "modality": "document", "file_id": str(file.get("id"))}
    yield from _call(part.get("function_call"))
    result = part.get("function_result")
    if isinstance(result, dict):
        yield _result(result.get("name"), result.get("result"), result.get("id"))


def _call(call: Any) -> Iterator[dict[str, Any]]:
    if isinstance(call, dict):
        yield {
            "type": "tool_call",
            "id": call.get("id"),
            "name": str(call.get("name")),
            "arguments": call.get("arguments"),
        }


def _result(name: Any, response: Any, call_id: Any = None) -> dict[str, Any]:
    return {"type": "tool_call_response", "id": call_id, "name": name, "response": response}


def _finish_reason(*sources: dict[str, Any]) -> str:
    reason = next((str(source["finish_reason"]) for source in sources if source.get("finish_reason")), "error")
    return _FINISH_REASONS.get(reason, reason)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _decode(body: bytes | msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(body)
    except JSON_ERRORS:
        return None


def _plain(completion: Any) -> Any:
    return None if completion is None else msgspec.to_builtins(completion)
