"""Tests of the validation of chat requests of API v1."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from testing.plain_client import Giga

from gigaclient.testing import GigaChatEmulator

USER = {"role": "user", "content": "hello"}
CALL = {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": {}}}
RESULT = {"role": "function", "name": "f", "content": "{}"}
INVALID = "Your request contains invalid JSON syntax."
WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather in a city",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
}


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"model": None}, 400, INVALID),
        ({"model": 5}, 400, INVALID),
        ({"messages": []}, 400, INVALID),
        ({"messages": "hello"}, 400, INVALID),
        ({"messages": ["hello"]}, 400, INVALID),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, INVALID),
        ({"messages": [{"role": "user"}]}, 400, INVALID),
        ({"messages": [{"role": "user", "content": ["x"]}]}, 400, INVALID),
        ({"messages": [{**USER, "attachments": "id"}]}, 400, INVALID),
        ({"messages": [{**USER, "attachments": ["report.pdf"]}]}, 400, INVALID),
        ({"messages": [{**USER, "attachments": ["./docs/report"]}]}, 400, INVALID),
        ({"messages": [{**USER, "attachments": [""]}]}, 400, INVALID),
        ({"messages": [{"role": "assistant", "function_call": "f"}]}, 400, INVALID),
        ({"stream": "yes"}, 400, INVALID),
        ({"max_tokens": True}, 400, INVALID),
        ({"max_tokens": 1.5}, 400, INVALID),
        ({"functions": [{}]}, 400, INVALID),
        ({"function_call": "always"}, 400, INVALID),
        ({"function_call": {}}, 400, INVALID),
        ({"reasoning_effort": 3}, 400, INVALID),
        ({"model": "NonExistentModel"}, 404, "No such model"),
        ({"model": "Embeddings"}, 404, "No such model"),
        ({"model": "GigaChat:latest"}, 400, "Invalid model version"),
        ({"repetition_penalty": 0}, 422, "Invalid params: repetition_penalty must be in range (0, +inf)"),
        ({"temperature": 0}, 422, "Invalid params: temperature must be in range (0, +inf)"),
        ({"top_p": 1.1}, 422, "Invalid params: top_p must be in range [0, 1]"),
        ({"max_tokens": 0}, 422, "Invalid params: max_tokens must be in range (0, +inf)"),
        ({"n": 0}, 422, "Invalid params: n must be in range (0, +inf)"),
        ({"update_interval": -1}, 422, "Invalid params: update_interval must be in range [0, +inf)"),
        (
            {"messages": [USER, {"role": "system", "content": "x"}]},
            422,
            "Invalid params: system message must be the first message",
        ),
        (
            {"messages": [USER, CALL]},
            422,
            "Invalid params: every assistant function call must have a result in history",
        ),
        (
            {"messages": [USER, CALL, USER]},
            422,
            "Invalid params: every assistant function call must have a result in history",
        ),
        (
            {"messages": [USER, RESULT]},
            422,
            "Invalid params: every assistant function result must have an assistant function call in history",
        ),
        (
            {"messages": [USER, CALL, {**RESULT, "content": "12:00 o'clock"}]},
            422,
            "Invalid params: invalid function result for function f json string 12:00 o'clock",
        ),
        (
            {"functions": [{"name": "1st"}, {"name": "ok"}, {"name": "погода"}]},
            422,
            "Invalid params: Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), "
            "dot (.) and digits (not leading) are allowed.: [1st, погода]",
        ),
        (
            {"functions": [WEATHER], "function_call": {"name": "unknown"}},
            422,
            "Invalid params: function unknown is not in functions",
        ),
        ({"response_format": {"type": "json_object"}}, 400, 'Unknown type "json_object" in response_format'),
        (
            {"response_format": {"type": "json_schema"}},
            400,
            "Empty schema with json format type is not supported",
        ),
    ],
)
def test_an_invalid_request_is_refused(
    gigachat: GigaChatEmulator, fields: dict[str, Any], status: int, text: str
) -> None:
    with Giga(gigachat) as giga:
        reply = giga.chat("hello", **fields)
        assert (reply.status, reply.json()) == (status, {"status": status, "message": text})
        streamed = giga.chat("hello", **{"stream": True, **fields})
        assert (streamed.status, streamed.json()) == (status, {"status": status, "message": text})


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"x"', b"\xff\xfe"])
def test_an_invalid_body_is_refused(gigachat: GigaChatEmulator, body: str | bytes) -> None:
    with Giga(gigachat) as giga:
        reply = giga.send("POST", "/v1/chat/completions", body, giga.headers)
    assert (reply.status, reply.json()) == (400, {"status": 400, "message": INVALID})


def test_limits_of_models_apply(gigachat: GigaChatEmulator) -> None:
    gigachat.exhausted_models.add("GigaChat-Max")
    gigachat.models_without_functions.add("GigaChat-Plus")
    gigachat.context_tokens = 100
    with Giga(gigachat) as giga:
        spent = giga.chat("hello", model="GigaChat-Max")
        assert (spent.status, spent.json()["message"]) == (402, "Payment Required")
        unable = giga.chat("hello", model="GigaChat-Plus", functions=[WEATHER])
        assert unable.json() == {"status": 422, "message": "Invalid params: Requested model does not support functions"}
        too_long = giga.chat("word " * 200)
        assert (too_long.status, too_long.json()) == (413, {"status": 413, "message": "Payload too large"})
        assert giga.chat("word").status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_effort": "tremendous"},
        {"flags": ["x"], "profanity_check": False, "additional_data": {}, "unknown_field": {"a": 1}},
        {"temperature": 0.01, "top_p": 0, "repetition_penalty": 0.5, "max_tokens": 5000, "n": 1},
        {"response_format": {"type": "text"}},
        {"messages": [{"role": "system", "content": "x"}, USER, CALL, RESULT, USER]},
        {"messages": [USER, USER, {"role": "assistant", "content": "a", "functions_state_id": "x"}, USER]},
        {"messages": [{**USER, "attachments": [str(uuid.uuid4())]}]},
        {"functions": [{"name": "a.b-c_1"}], "function_call": "none"},
        {"function_ranker": {"enabled": True, "top_n": 3}},
        {"model": "GigaChat:2.0.28.2"},
        {"model": None, "assistant_id": "a-1"},
    ],
)
def test_a_valid_request_is_accepted(gigachat: GigaChatEmulator, fields: dict[str, Any]) -> None:
    with Giga(gigachat) as giga:
        reply = giga.chat("hello", **fields)
        assert reply.status == 200, reply.text
        assert reply.json()["choices"]
