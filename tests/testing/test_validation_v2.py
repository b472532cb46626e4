"""Tests of the validation of chat requests of API v2."""

from __future__ import annotations

from typing import Any

import pytest
from testing.plain_client import Giga
from testing.v2_requests import CALL, INVALID, RESULT, ask, message_of, tools

from gigaclient.testing import GigaChatEmulator


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": None}, 400, INVALID),
        ({"model": 5}, 400, INVALID),
        ({"messages": []}, 400, INVALID),
        ({"messages": "hello"}, 400, INVALID),
        ({"messages": ["hello"]}, 400, INVALID),
        ({"messages": [{"role": "user", "content": "hello"}]}, 400, INVALID),
        ({"messages": [{"role": "user", "content": []}]}, 400, INVALID),
        ({"messages": [{"role": "user"}]}, 400, INVALID),
        ({"messages": [message_of("robot", "x")]}, 400, INVALID),
        ({"messages": [message_of("reasoning", "x")]}, 400, INVALID),
        ({"messages": [message_of("user", {"type": "text"})]}, 400, INVALID),
        ({"messages": [message_of("user", {"text": 5})]}, 400, INVALID),
        ({"messages": [message_of("user", {"files": ["id"]})]}, 400, INVALID),
        ({"messages": [message_of("user", {"files": [{"id": "docs/report.pdf"}]})]}, 400, INVALID),
        ({"messages": [message_of("user", "x", tools_state_id=5)]}, 400, INVALID),
        ({"messages": [message_of("assistant", {"function_call": {"name": "f", "arguments": "{}"}})]}, 400, INVALID),
        ({"messages": [message_of("assistant", {"function_call": {"arguments": {}}})]}, 400, INVALID),
        ({"messages": [message_of("assistant", CALL), message_of("tool", "text")]}, 400, INVALID),
        ({"messages": [message_of("assistant", CALL), message_of("user", RESULT)]}, 400, INVALID),
        (
            {"messages": [message_of("assistant", CALL), message_of("tool", {"function_result": {"result": {}}})]},
            400,
            INVALID,
        ),
        (
            {
                "messages": [
                    message_of("assistant", CALL),
                    message_of("tool", {"function_result": {"name": "f", "result": "oops"}}),
                ]
            },
            422,
            "Invalid params: invalid function result for function f json string oops",
        ),
        (
            {
                "messages": [
                    message_of("assistant", CALL),
                    message_of("tool", {"function_result": {"name": "f", "result": 5}}),
                ]
            },
            400,
            INVALID,
        ),
        ({"stream": "yes"}, 400, INVALID),
        ({"storage": True}, 400, INVALID),
        ({"model_options": {"max_tokens": True}}, 400, INVALID),
        ({"model_options": {"max_tokens": 1.5}}, 400, INVALID),
        ({"model_options": []}, 400, INVALID),
        ({"tools": ["image_generate"]}, 400, INVALID),
        ({"tools": [{}]}, 400, INVALID),
        ({"tools": [{"web_search": {}, "image_generate": {}}]}, 400, INVALID),
        ({"tools": [{"web_search": True}]}, 400, INVALID),
        ({"tools": tools({})}, 400, INVALID),
        ({"tools": [{"functions": {"specifications": {}}}]}, 400, INVALID),
        ({"tools": [{"brand_new": {}}]}, 404, "Unknown tool brand_new"),
        ({"tool_config": "auto"}, 400, INVALID),
        ({"tool_config": {"mode": "tool"}}, 400, INVALID),
        ({"tool_config": {"mode": "forced"}}, 400, INVALID),
        ({"tool_config": {"mode": "forced", "tool_name": "a", "function_name": "b"}}, 400, INVALID),
        ({"tool_config": {"mode": "forced", "tool_name": "brand_new"}}, 404, "Unknown tool brand_new"),
        (
            {"tool_config": {"mode": "forced", "function_name": "f"}},
            422,
            "Invalid params: function f is not in functions",
        ),
        ({"tools": tools({"name": "1f"})}, 422, "Invalid params: Invalid function names."),
        ({"model": "GigaChat-99"}, 404, "No such model"),
        ({"model": "Embeddings"}, 404, "No such model"),
        ({"model": "GigaChat:1.0"}, 400, "Invalid model version"),
        ({"storage": {"thread_id": "nowhere"}}, 404, "No such thread"),
        (
            {"model_options": {"repetition_penalty": 0}},
            422,
            "Invalid params: repetition_penalty must be in range (0, +inf)",
        ),
        ({"model_options": {"top_logprobs": 6}}, 422, "Invalid params: top_logprobs must be in range [1, 5]"),
        (
            {"model_options": {"response_format": {"type": "json"}}},
            400,
            'Unknown type "json" in response_format',
        ),
        (
            {"model_options": {"response_format": {"type": "json_schema"}}},
            400,
            "Empty schema with json format type is not supported",
        ),
        ({"model_options": {"response_format": {"type": "regex", "regex": "("}}}, 400, INVALID),
        (
            {"messages": [message_of("user", "x"), message_of("system", "y")]},
            422,
            "Invalid params: system message must be the first message",
        ),
        (
            {"messages": [message_of("assistant", CALL)]},
            422,
            "Invalid params: every assistant function call must have a result in history",
        ),
        (
            {"messages": [message_of("assistant", CALL), message_of("user", "x")]},
            422,
            "Invalid params: every assistant function call must have a result in history",
        ),
        (
            {"messages": [message_of("user", "x"), message_of("tool", RESULT)]},
            422,
            "Invalid params: every assistant function result must have an assistant function call in history",
        ),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused(giga: Giga, fields: dict[str, Any], status: int, words: str) -> None:
    reply = ask(giga, "hello", **fields)
    assert (reply.status, reply.json()["status"]) == (status, status)
    assert reply.json()["message"].startswith(words)


def test_invalid_json_is_refused(giga: Giga) -> None:
    reply = giga.send("POST", "/v2/chat/completions", "{oops", giga.headers)
    assert (reply.status, reply.json()) == (400, {"status": 400, "message": INVALID})


def test_limits_of_models_apply(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.exhausted_models.add("GigaChat-Pro")
    gigachat.models_without_functions.add("GigaChat")
    gigachat.context_tokens = 50
    assert ask(giga, "hello", model="GigaChat-Pro").status == 402
    assert ask(giga, "a" * 500).status == 413
    reply = ask(giga, "hello", tools=tools({"name": "f"}))
    assert (reply.status, reply.json()["message"]) == (
        422,
        "Invalid params: Requested model does not support functions",
    )


def test_a_tool_may_be_unavailable(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.v2.unavailable_tools.add("code_interpreter")
    for fields in (
        {"tools": [{"code_interpreter": {}}]},
        {"tool_config": {"mode": "forced", "tool_name": "code_interpreter"}},
    ):
        reply = ask(giga, "hello", **fields)
        assert (reply.status, reply.json()["message"]) == (422, "Invalid params: Tool code_interpreter is unavailable")


def test_results_can_be_restricted_to_the_form_of_either_known_server(gigachat: GigaChatEmulator, giga: Giga) -> None:
    as_text = {"function_result": {"name": "f", "result": '{"a":1}'}}
    cases = [(role, result) for role in ("tool", "function") for result in (RESULT, as_text)]

    def statuses() -> list[int]:
        return [
            ask(giga, "x", message_of("assistant", CALL), message_of(role, result)).status for role, result in cases
        ]

    assert statuses() == [200, 200, 200, 200]
    gigachat.v2.strict_roles = "tool"
    assert statuses() == [200, 200, 400, 400]
    gigachat.v2.strict_roles, gigachat.v2.strict_results = "function", "text"
    assert statuses() == [400, 400, 400, 200]
    gigachat.v2.strict_results = "object"
    assert statuses() == [400, 400, 200, 400]
