"""Tests of chat of API v1: answers and chunks."""

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


def test_the_last_question_of_a_dialogue_is_answered(gigachat: GigaChatEmulator) -> None:
    dialogue = [("user", "Count to 9"), ("assistant", "1, 2, 3, 4, 5, 6, 7, 8, 9"), ("user", "Count to 2")]
    with Giga(gigachat) as giga:
        answer = giga.chat([{"role": role, "content": content} for role, content in dialogue]).json()
    assert message(answer)["content"] == "1, 2"


def test_a_thread_keeps_its_messages(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        first = giga.chat("hello", storage={"is_stateful": True}).json()
        assert first["message_id"]
        storage = {"is_stateful": True, "thread_id": first["thread_id"]}
        second = giga.chat("hello", model=None, storage=storage).json()
        assert second["usage"]["prompt_tokens"] > first["usage"]["total_tokens"]
        assert second["thread_id"] == first["thread_id"]
        unknown = giga.chat("hello", storage={"thread_id": "none"})
        assert unknown.status == 404
        assert "thread_id" not in giga.chat("hello").json()


# --- functions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "arguments"),
    [
        ("The weather in Tomsk for 3 days?", {"city": "Tomsk", "days": 3, "unit": "celsius"}),
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


def test_a_streamed_call_is_in_one_chunk(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        chunks = payloads(giga.chat("weather in Berlin", functions=[WEATHER], stream=True).body)
    (chunk,) = chunks
    (choice,) = chunk["choices"]
    assert choice["delta"]["function_call"]["arguments"]["city"] == "Berlin"
    assert choice["delta"]["functions_state_id"]
    assert (choice["delta"]["role"], choice["finish_reason"]) == ("assistant", "function_call")
    assert chunk["usage"]["total_tokens"] > 0
    gigachat.answer({"content": "A moment.", "function_call": {"name": "f", "arguments": {}}})
    with Giga(gigachat) as giga:
        choices = [chunk["choices"][0] for chunk in payloads(giga.chat("hello", stream=True).body)]
    assert [choice["delta"]["content"] for choice in choices] == ["A", " moment.", ""]
    assert [choice.get("finish_reason") for choice in choices] == [None, None, "function_call"]
    assert choices[-1]["delta"]["function_call"] == {"name": "f", "arguments": {}}


def test_the_answer_after_a_result_contains_it(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        for prompt, start in (
            ("weather in Berlin", "According to get_weather: "),
            ("погода (weather)", "По данным функции "),
        ):
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
