"""Requests to chat of API v2, and parts of its responses."""

from __future__ import annotations

import json
from typing import Any

from testing.plain_client import Giga, PlainResponse

INVALID = "Your request contains invalid JSON syntax."
CALL = {"function_call": {"id": "c-1", "name": "f", "arguments": {}}}
RESULT = {"function_result": {"id": "c-1", "name": "f", "result": {"a": 1}}}
WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIDE = {
    "name": "get_tide",
    "description": "Tells the height of the tide in a port",
    "parameters": {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
}


def message_of(role: str, *parts: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"text": part} if isinstance(part, str) else part for part in parts], **fields}


def tools(*functions: Any) -> list[dict[str, Any]]:
    return [{"functions": {"specifications": list(functions)}}]


def ask(
    giga: Giga, *messages: Any, path: str = "/v2/chat/completions", session: str = "", **fields: Any
) -> PlainResponse:
    parsed = [message_of("user", message) if isinstance(message, str) else message for message in messages]
    body = {"model": "GigaChat", "messages": parsed, **fields}
    headers = {**giga.headers, **({"X-Session-ID": session} if session else {})}
    return giga.send("POST", path, json.dumps({k: v for k, v in body.items() if v is not None}), headers)


def answer(giga: Giga, *messages: Any, **fields: Any) -> Any:
    reply = ask(giga, *messages, **fields)
    assert reply.status == 200, reply.text
    return reply.json()


def parts(body: Any) -> Any:
    return body["messages"][-1]["content"]


def text(body: Any) -> str:
    return "".join([part.get("text", "") for part in parts(body)])
