"""Tests of chat of API v1: validation, answers, and chunks."""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

import pytest
from testing.plain_client import Giga, payloads

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


def message(reply_body: Any) -> Any:
    return reply_body["choices"][0]["message"]


# --- validation ------------------------------------------------------------------------------------------------


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
            400,
            "invalid function result for function f json string 12:00 o'clock",
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


# --- answers ---------------------------------------------------------------------------------------------------


def test_the_model_carries_its_build(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        for requested, returned in (
            ("GigaChat", "GigaChat:2.0.28.2"),
            ("GigaChat-2-Pro", "GigaChat-2-Pro:2.0.31.04"),
            ("GigaChat:2.0.28.2", "GigaChat:2.0.28.2"),
        ):
            assert giga.chat("hello", model=requested).json()["model"] == returned


def test_usage_is_counted_by_the_documented_rule(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        usage = giga.chat("Say '1234567' and nothing else").json()["usage"]
    # 30 characters are 9 tokens; 10 for the request and 1 for the message; seven characters are two tokens
    assert usage == {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22, "precached_prompt_tokens": 2}


def test_a_session_finds_its_prefix_cached(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        giga.headers["X-Session-ID"] = "one"
        history = [{"role": "system", "content": "word " * 100}, USER]
        assert giga.chat(history).json()["usage"]["precached_prompt_tokens"] == 2
        longer = [*history, {"role": "assistant", "content": "Hello!"}, USER]
        cached = giga.chat(longer).json()["usage"]["precached_prompt_tokens"]
        assert cached == 10 + 1 + 143 + 1 + 2
        giga.headers["X-Session-ID"] = "two"
        assert giga.chat(longer).json()["usage"]["precached_prompt_tokens"] == 2


@pytest.mark.parametrize("stream", [False, True])
def test_max_tokens_truncates_the_text(gigachat: GigaChatEmulator, stream: bool) -> None:
    with Giga(gigachat) as giga:
        reply = giga.chat("Count from 1 to 100", max_tokens=4, stream=stream)
    if stream:
        chunks = payloads(reply.body)
        text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
        finish, usage = chunks[-1]["choices"][0]["finish_reason"], chunks[-1]["usage"]
    else:
        answer = reply.json()
        text, finish, usage = message(answer)["content"], answer["choices"][0]["finish_reason"], answer["usage"]
    assert (text, finish, usage["completion_tokens"]) == ("1, 2, 3, 4, 5,", "length", 4)


def test_each_of_n_choices_has_its_index(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        answer = giga.chat("Count from 1 to 2", n=2).json()
        chunks = payloads(giga.chat("Count from 1 to 2", n=2, stream=True).body)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    texts = ["", ""]
    for chunk in chunks:
        choice = chunk["choices"][0]
        texts[choice["index"]] += choice["delta"]["content"]
    assert texts == [choice["message"]["content"] for choice in answer["choices"]] == ["1, 2", "1, 2 (variant 2)"]
    assert ["usage" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert sum("role" in chunk["choices"][0]["delta"] for chunk in chunks) == 2


def test_update_interval_makes_chunks_rarer_and_longer(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        started_at = time.monotonic()
        chunks = payloads(giga.chat("Count from 1 to 30", stream=True, update_interval=0.1).body)
        took = time.monotonic() - started_at
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == ", ".join(str(number) for number in range(1, 31))
    assert len(chunks) == 7
    assert took > 0.1 * 6


def test_reasoning_is_separate_from_the_answer(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        options = {"model": "GigaChat-2-Reasoning", "reasoning_effort": "high"}
        whole = message(giga.chat("hello", **options).json())
        first, *rest = payloads(giga.chat("hello", stream=True, **options).body)
    assert whole["reasoning_content"]
    assert first["choices"][0]["delta"] == {
        "content": "",
        "reasoning_content": whole["reasoning_content"],
        "role": "assistant",
    }
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in rest) == whole["content"]


def test_a_thread_keeps_its_messages(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        first = giga.chat("My name is Anna", storage={"is_stateful": True}).json()
        assert first["message_id"]
        storage = {"is_stateful": True, "thread_id": first["thread_id"]}
        second = giga.chat("What is my name?", model=None, storage=storage).json()
        assert message(second)["content"] == "Your name is Anna."
        assert second["thread_id"] == first["thread_id"]
        unknown = giga.chat("hello", storage={"thread_id": "none"})
        assert unknown.status == 404
        assert "thread_id" not in giga.chat("hello").json()


# --- functions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "arguments"),
    [
        ("Какая погода в Москве на 3 дня?", {"city": "Москва", "days": 3, "unit": "celsius"}),
        ("What is the weather in Berlin in fahrenheit?", {"city": "Berlin", "days": 1, "unit": "fahrenheit"}),
    ],
)
def test_a_matching_function_is_called_with_arguments_of_its_schema(
    gigachat: GigaChatEmulator, prompt: str, arguments: dict[str, Any]
) -> None:
    with Giga(gigachat) as giga:
        choice = giga.chat(prompt, functions=[WEATHER]).json()["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["content"] == ""
    assert choice["message"]["function_call"] == {"name": "get_weather", "arguments": arguments}
    assert uuid.UUID(choice["message"]["functions_state_id"]).version == 4


def test_a_function_that_does_not_match_is_not_called(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        assert message(giga.chat("Count from 1 to 3", functions=[WEATHER]).json())["content"] == "1, 2, 3"
        options = {"functions": [WEATHER], "function_call": "none"}
        assert "function_call" not in message(giga.chat("weather in Berlin", **options).json())


def test_the_best_matching_function_is_called(gigachat: GigaChatEmulator) -> None:
    other = {"name": "get_currency_rate", "description": "Rate of a currency in roubles", "parameters": {}}
    with Giga(gigachat) as giga:
        for prompt, name in (("the rate of a currency", "get_currency_rate"), ("the weather", "get_weather")):
            answer = giga.chat(prompt, functions=[WEATHER, other]).json()
            assert message(answer)["function_call"]["name"] == name


def test_a_forced_function_is_called_for_every_prompt(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        forced = {"name": "get_weather", "partial_arguments": {"city": "Oslo"}}
        answer = giga.chat("hello", functions=[WEATHER], function_call=forced).json()
    assert message(answer)["function_call"]["arguments"]["city"] == "Oslo"


def test_a_few_shot_example_supplies_missing_arguments(gigachat: GigaChatEmulator) -> None:
    shots = [{"request": "umbrella today", "params": {"city": "Tomsk", "days": 9}}]
    with Giga(gigachat) as giga:
        answer = giga.chat("do i need an umbrella", functions=[{**WEATHER, "few_shot_examples": shots}]).json()
    assert message(answer)["function_call"]["arguments"] == {"city": "Tomsk", "days": 9, "unit": "celsius"}


def test_a_streamed_call_is_in_one_chunk(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        chunks = payloads(giga.chat("weather in Berlin", functions=[WEATHER], stream=True).body)
    assert len(chunks) == 2
    delta = chunks[0]["choices"][0]["delta"]
    assert delta["function_call"]["arguments"]["city"] == "Berlin"
    assert delta["functions_state_id"]
    assert chunks[1]["choices"][0] == {"delta": {"content": ""}, "index": 0, "finish_reason": "function_call"}


def test_the_answer_after_a_result_contains_it(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        for prompt, start in (("weather in Berlin", "According to get_weather: "), ("погода", "По данным функции ")):
            messages = [{"role": "user", "content": prompt}]
            call = message(giga.chat(messages, functions=[WEATHER]).json())
            result = {"role": "function", "name": "get_weather", "content": '{"degrees": 7, "sky": "ясно"}'}
            answer = giga.chat([*messages, call, result], functions=[WEATHER]).json()
            assert message(answer)["content"].startswith(start)
            assert "degrees: 7, sky: ясно" in message(answer)["content"]
            assert answer["choices"][0]["finish_reason"] == "stop"


IMAGE = re.compile(r'<img src="([0-9a-f-]{36})" fuse="true"/> \S+')


def test_a_picture_is_markup_in_the_text(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        reply = message(giga.chat("Нарисуй кота", function_call="auto").json())
        found = IMAGE.match(reply["content"])
        assert found is not None
        assert uuid.UUID(found[1]).version == 4
        assert uuid.UUID(reply["functions_state_id"]).version == 4
        listed = {"functions": [{"name": "text2image"}, WEATHER], "function_call": "auto"}
        assert IMAGE.match(message(giga.chat("Draw a cat", **listed).json())["content"])
        forced = {"function_call": {"name": "text2image"}}
        assert IMAGE.match(message(giga.chat("a cat", **forced).json())["content"])


@pytest.mark.parametrize("fields", [{}, {"function_call": "none"}, {"function_call": "auto", "functions": [WEATHER]}])
def test_nothing_is_drawn_without_the_built_in_function(gigachat: GigaChatEmulator, fields: dict[str, Any]) -> None:
    with Giga(gigachat) as giga:
        assert "<img" not in message(giga.chat("Draw a cat", **fields).json())["content"]


def test_a_streamed_picture_shows_its_progress_first(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        chunks = payloads(giga.chat("Draw a cat", function_call="auto", stream=True).body)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    progress = [delta for delta in deltas if delta.get("role") == "function_in_progress"]
    assert progress == deltas[:2]
    assert all(delta["name"] == "text2image" and delta["created"] for delta in progress)
    assert IMAGE.match("".join(delta["content"] for delta in deltas[2:]))
    assert deltas[2]["role"] == "assistant"


# --- structured output -----------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "integer"},
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1},
        "mood": {"anyOf": [{"type": "null"}, {"enum": ["good", "bad"]}]},
    },
    "required": ["answer", "steps"],
    "$defs": {"step": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}},
}


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_is_answered_with_valid_json(gigachat: GigaChatEmulator, strict: bool) -> None:
    response_format = {"type": "json_schema", "schema": SCHEMA, "strict": strict}
    with Giga(gigachat) as giga:
        whole = message(giga.chat("Is 42 bad?", response_format=response_format).json())["content"]
        chunks = payloads(giga.chat("Is 42 bad?", response_format=response_format, stream=True).body)
    value = json.loads(whole)
    assert value == {"answer": 42, "steps": [{"text": "text"}, {"text": "text"}], "mood": "bad"}
    assert ("\n" in whole) is not strict
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == whole


def test_json_truncated_by_the_token_limit_is_invalid(gigachat: GigaChatEmulator) -> None:
    response_format = {"type": "json_schema", "schema": SCHEMA, "strict": True}
    with Giga(gigachat) as giga:
        choice = giga.chat("Is 42 bad?", response_format=response_format, max_tokens=3).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    with pytest.raises(ValueError):
        json.loads(choice["message"]["content"])
