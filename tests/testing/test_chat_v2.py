"""Tests of chat of API v2: answers, events and scripts."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from testing.plain_client import Giga, PlainResponse, payloads
from testing.v2_requests import CALL, RESULT, TIDE, WEATHER, answer, ask, message_of, parts, text, tools

from gigaclient.testing import GigaChatEmulator


def test_only_chat_is_in_v2(giga: Giga) -> None:
    assert giga.get("/v2/models").status == 404
    assert giga.get("/v2/chat/completions").status == 405


# --- answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/chat/completions", "/api/v2/chat/completions"])
def test_an_answer_has_messages_of_parts(giga: Giga, path: str) -> None:
    body = answer(giga, "Say: yes", path=path)
    assert body["messages"] == [message_of("assistant", "yes")]
    assert (body["model"], body["finish_reason"]) == ("GigaChat:2.0.28.2", "stop")
    assert isinstance(body["created_at"], int)
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"] == {"prompt_tokens": usage["input_tokens"], "cached_tokens": 0}
    assert set(body) == {"model", "created_at", "messages", "finish_reason", "usage"}


def test_a_session_has_a_cached_prefix(giga: Giga) -> None:
    first = answer(giga, "hello", session="s")
    second = answer(giga, "hello", message_of("assistant", "hi"), "and?", session="s")
    assert first["usage"]["input_tokens_details"]["cached_tokens"] == 0
    assert second["usage"]["input_tokens_details"]["cached_tokens"] > 0


def test_a_function_is_called_with_an_id_and_answered(gigachat: GigaChatEmulator, giga: Giga) -> None:
    body = answer(giga, "How is the weather in Murmansk?", tools=tools(WEATHER, TIDE))
    (part,) = parts(body)
    call = part["function_call"]
    assert (call["name"], call["arguments"]) == ("get_weather", {"city": "Murmansk"})
    assert uuid.UUID(call["id"]) and uuid.UUID(body["messages"][0]["tool_state_id"])
    assert body["finish_reason"] == "function_call"
    result = {"function_result": {"id": call["id"], "name": "get_weather", "result": {"degrees": -7}}}
    history = ("How is the weather in Murmansk?", message_of("assistant", part), message_of("tool", result))
    answered = answer(giga, *history, tools=tools(WEATHER))
    assert text(answered) == "According to get_weather: degrees: -7."
    assert uuid.UUID(answered["messages"][0]["tool_state_id"])
    state_id = body["messages"][0]["tool_state_id"]
    history = (history[0], {**history[1], "tools_state_id": state_id}, history[2])
    assert answer(giga, *history, tools=tools(WEATHER))["messages"][0]["tool_state_id"] == state_id
    gigachat.v2.call_ids = False
    assert "id" not in parts(answer(giga, "weather in Murmansk?", tools=tools(WEATHER)))[0]["function_call"]


def test_calls_are_parallel_when_allowed(giga: Giga) -> None:
    question = "What are the weather and the tide in Murmansk?"
    alone = answer(giga, question, tools=tools(WEATHER, TIDE))
    assert len(parts(alone)) == 1
    body = answer(giga, question, tools=tools(WEATHER, TIDE), model_options={"parallel_tool_calls": True})
    assert [part["function_call"]["name"] for part in parts(body)] == ["get_weather", "get_tide"]
    result = {"function_result": {"id": parts(body)[0]["function_call"]["id"], "name": "get_weather", "result": {}}}
    reply = ask(giga, question, body["messages"][0], message_of("tool", result), tools=tools(WEATHER, TIDE))
    assert reply.json()["message"] == "Invalid params: every assistant function call must have a result in history"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"mode": "none"}, None),
        ({"mode": "auto"}, "get_weather"),
        ({"mode": "forced", "function_name": "get_tide"}, "get_tide"),
        ({"mode": "any", "functions_names_any": ["get_tide"]}, "get_tide"),
        ({"mode": "any"}, "get_weather"),
    ],
)
def test_a_tool_config_selects_the_function(giga: Giga, config: dict[str, Any], name: str | None) -> None:
    body = answer(giga, "How is the weather in Murmansk?", tools=tools(WEATHER, TIDE), tool_config=config)
    assert parts(body)[0].get("function_call", {}).get("name") == name


def test_a_forced_function_is_called_again_and_again(giga: Giga) -> None:
    history = ("x", message_of("assistant", CALL), message_of("tool", RESULT))
    config = {"mode": "forced", "function_name": "get_tide"}
    assert answer(giga, *history, tools=tools(TIDE), tool_config=config)["finish_reason"] == "function_call"
    assert answer(giga, *history, tools=tools(TIDE))["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("prompt", "tool", "target", "mime", "start"),
    [
        ("Draw a cat", "image_generate", "image", "image/jpeg", b"\xff\xd8\xff"),
        ("Нарисуй кота", "image_generate", "image", "image/jpeg", b"\xff\xd8\xff"),
        ("Make a 3d cube", "model_3d_generate", "3dmodel", "model/gltf-binary", b"glTF"),
    ],
)
def test_a_created_picture_or_model_is_a_file(
    giga: Giga, prompt: str, tool: str, target: str, mime: str, start: bytes
) -> None:
    body = answer(giga, prompt, tools=[{tool: {}}])
    files, caption = parts(body)
    assert uuid.UUID(body["messages"][0]["tool_state_id"])
    (file,) = files["files"]
    assert (file["target"], file["mime"]) == (target, mime)
    assert caption["text"]
    assert body["finish_reason"] == "stop"
    assert giga.get(f"/v1/files/{file['id']}/content").body.startswith(start)
    assert "files" not in parts(answer(giga, prompt))[0]


@pytest.mark.parametrize(
    ("prompt", "tool", "found"),
    [
        ("What is new?", "web_search", r"\[sources=\[1, 2\]\]"),
        ("Read https://example.com/a, please", "url_content_extraction", "https://example.com/a says"),
        ("Calculate 6 * 7", "code_interpreter", r"6 \* 7 = 42"),
        ("What time is it?", "get_datetime", r"It is \d{4}-\d\d-\d\d"),
    ],
)
def test_the_first_listed_or_the_forced_tool_runs(giga: Giga, prompt: str, tool: str, found: str) -> None:
    body = answer(giga, prompt, tools=[{tool: {}}, {"image_generate": {}}])
    assert "tool_execution" not in json.dumps(body), "only streams report the run of a tool"
    assert re.search(found, text(body))
    assert uuid.UUID(body["messages"][0]["tool_state_id"])
    plain = answer(giga, prompt, tools=[{tool: {}}], tool_config={"mode": "none"})
    assert "tool_state_id" not in plain["messages"][0]
    forced = streamed(giga, "hello", tool_config={"mode": "forced", "tool_name": tool})
    assert parts(forced[0][1])[0]["tool_execution"]["name"] == tool


def test_a_search_has_sources(giga: Giga) -> None:
    data = parts(answer(giga, "What is new?", tools=[{"web_search": {}}]))[0]["inline_data"]
    assert set(data["sources"]) == {"1", "2"}
    assert set(data["sources"]["1"]) == {"url", "title"}


def test_reasoning_is_a_separate_message(giga: Giga) -> None:
    body = answer(giga, "Say: yes", model_options={"reasoning": {"effort": "high"}})
    assert [message["role"] for message in body["messages"]] == ["reasoning", "assistant"]
    assert text(body) == "yes"
    off = answer(giga, "Say: yes", model_options={"reasoning": {"effort": "off"}})
    assert [message["role"] for message in off["messages"]] == ["assistant"]


def test_an_answer_matches_its_schema_or_regular_expression(giga: Giga) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    body = answer(giga, "He is 31", model_options={"response_format": {"type": "json_schema", "schema": schema}})
    assert json.loads(text(body)) == {"age": 31}
    form = {"type": "regex", "regex": r"[A-Z]{2}-\d{3}"}
    assert re.fullmatch(form["regex"], text(answer(giga, "hello", model_options={"response_format": form})))


def test_an_answer_is_truncated_at_its_limit(giga: Giga) -> None:
    body = answer(giga, "Count from 1 to 50", model_options={"max_tokens": 5})
    assert (body["finish_reason"], body["usage"]["output_tokens"]) == ("length", 5)
    assert text(body) == "1, 2, 3, 4, 5, 6,"[: len(text(body))] != ""


def test_a_dialogue_is_stored(giga: Giga) -> None:
    first = answer(giga, "hello", storage={})
    storage = {"thread_id": first["thread_id"]}
    second = answer(giga, "hello", storage=storage, model=None)
    assert second["usage"]["input_tokens"] > first["usage"]["total_tokens"]
    assert second["thread_id"] == first["thread_id"]
    limited = answer(giga, "hello", storage={**storage, "limit": 1})
    assert limited["usage"]["input_tokens"] < second["usage"]["input_tokens"]
    assert "thread_id" not in answer(giga, "hello")


def test_a_call_in_a_stored_dialogue_is_answered_there(giga: Giga) -> None:
    first = answer(giga, "weather in Murmansk?", storage={}, tools=tools(WEATHER))
    result = {"function_result": {**parts(first)[0]["function_call"], "result": {"degrees": -7}}}
    second = answer(giga, message_of("tool", result), storage={"thread_id": first["thread_id"]})
    assert text(second) == "According to get_weather: degrees: -7."


# --- streams ---------------------------------------------------------------------------------------------------


def events(reply: PlainResponse) -> list[tuple[str | None, Any]]:
    found = []
    for block in re.split(r"\n\n", reply.text.strip()):
        name = re.search(r"^event: (.*)$", block, re.MULTILINE)
        data = re.search(r"^data: (.*)$", block, re.MULTILINE)
        assert data is not None
        found.append((name[1] if name else None, data[1] if data[1] == "[DONE]" else json.loads(data[1])))
    return found


def streamed(giga: Giga, prompt: str, **fields: Any) -> list[tuple[str | None, Any]]:
    reply = ask(giga, prompt, stream=True, **fields)
    assert reply.headers["Content-Type"] == "text/event-stream"
    return events(reply)


DELTA, LAST = "response.message.delta", "response.message.done"


def test_a_stream_has_named_events_and_no_end_marker(giga: Giga) -> None:
    found = streamed(giga, "Count from 1 to 3")
    assert [name for name, _ in found] == [DELTA, DELTA, DELTA, LAST]
    assert [text(payload) for _, payload in found[:-1]] == ["1,", " 2,", " 3"]
    last = found[-1][1]
    assert set(last) == {"model", "created_at", "finish_reason", "usage"}
    assert last["usage"] == answer(giga, "Count from 1 to 3")["usage"]


def test_a_search_is_streamed_in_its_order(giga: Giga) -> None:
    found = streamed(giga, "What is new?", tools=[{"web_search": {}}])
    names = [name for name, _ in found]
    assert names[:4] == ["response.tool.in_progress", "response.tool.completed", DELTA, DELTA]
    assert set(parts(found[0][1])[0]["tool_execution"]) == {"id", "name", "seconds_left"}
    assert parts(found[1][1])[0]["tool_execution"]["status"] == "success"
    assert set(parts(found[2][1])[0]) == {"inline_data"}
    assert "content" not in found[-1][1]["messages"][0]
    assert found[-1][1]["messages"][0]["tool_state_id"]


def test_calls_are_in_the_last_event_of_a_stream(giga: Giga) -> None:
    options = {"tools": tools(WEATHER, TIDE), "model_options": {"parallel_tool_calls": True}}
    ((name, last),) = streamed(giga, "The weather and the tide in Murmansk?", **options)
    assert (name, last["finish_reason"]) == (LAST, "function_call")
    (message,) = last["messages"]
    assert [part["function_call"]["name"] for part in message["content"]] == ["get_weather", "get_tide"]
    assert message["content"][0]["function_call"]["arguments"] == {"city": "Murmansk"}
    assert message["tool_state_id"]


def test_variants_of_the_protocol_can_be_selected(gigachat: GigaChatEmulator, giga: Giga) -> None:
    v2 = gigachat.v2
    v2.unnamed_events = v2.add_done_marker = True
    assert [name for name, _ in streamed(giga, "Say: yes")] == [None, None, None]
    assert streamed(giga, "Say: yes")[-1][1] == "[DONE]"
    v2.unnamed_events = v2.add_done_marker = False
    v2.text_in_done = v2.string_content = True
    first, last = streamed(giga, "Say: yes")
    assert first[1]["messages"][0]["content"] == "yes"
    assert last[1]["messages"] == [message_of("assistant", "yes")]
    assert answer(giga, "Say: yes")["messages"][0]["content"] == "yes"
    v2.text_in_done = v2.string_content = False
    v2.function_call_only_in_done = False
    first, last = streamed(giga, "weather in Murmansk?", tools=tools(WEATHER))
    assert first[1]["messages"][0]["content"][0]["function_call"]["name"] == "get_weather"
    assert first[1]["messages"][0]["tool_state_id"]
    assert "messages" not in last[1]
    v2.state_id_only_in_done = True
    first, last = streamed(giga, "weather in Murmansk?", tools=tools(WEATHER))
    assert "tool_state_id" not in first[1]["messages"][0]
    assert set(last[1]["messages"][0]) == {"role", "tool_state_id"}


def test_an_update_interval_makes_events_longer(giga: Giga) -> None:
    found = streamed(giga, "Count from 1 to 9", model_options={"update_interval": 0.1})
    assert len(found) == 3
    assert "".join([text(payload) for _, payload in found[:-1]]) == "1, 2, 3, 4, 5, 6, 7, 8, 9"


# --- scripts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("value", "expected", "reason"),
    [
        ("Forty-two.", ["Forty-two."], "stop"),
        ({"content": "Forty-two.", "finish_reason": "blacklist"}, ["Forty-two."], "blacklist"),
        ({"content": [{"text": "a"}, {"files": [{"id": "f"}]}]}, ["a", {"files": [{"id": "f"}]}], "stop"),
        ({"messages": [message_of("assistant", "a")], "finish_reason": "length"}, ["a"], "length"),
        ({"choices": [{"message": {"content": "a"}, "finish_reason": "length"}]}, ["a"], "length"),
        ({"content": [CALL]}, [CALL], "function_call"),
        (lambda request: "Forty-two.", ["Forty-two."], "stop"),
        (lambda request: {"messages": [message_of("assistant", "a")]}, ["a"], "stop"),
    ],
)
def test_an_answer_can_be_scripted(
    gigachat: GigaChatEmulator, giga: Giga, stream: bool, value: Any, expected: list[Any], reason: str
) -> None:
    gigachat.answer(value)
    content = message_of("assistant", *expected)["content"]
    if not stream:
        body = answer(giga, "hello")
        assert (parts(body), body["finish_reason"]) == (content, reason)
        return
    found = streamed(giga, "hello")
    assert [part for _, payload in found if "messages" in payload for part in parts(payload)] == content
    assert found[-1][1]["finish_reason"] == reason


def test_a_script_applies_to_its_version_of_chat(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.answer("one", place="v2")
    gigachat.answer("two", place="v1")
    gigachat.answer("three")
    assert giga.chat("hello").json()["choices"][0]["message"]["content"] == "two"
    assert giga.chat("hello").json()["choices"][0]["message"]["content"] == "three"
    assert text(answer(giga, "hello")) == "one"


def test_a_scripted_call_of_v1_becomes_one_of_v2(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.answer({"content": "", "function_call": {"name": "f", "arguments": {"a": 1}}})
    body = answer(giga, "hello")
    call = parts(body)[0]["function_call"]
    assert (call["name"], call["arguments"], body["finish_reason"]) == ("f", {"a": 1}, "function_call")
    assert call["id"] and body["messages"][0]["tool_state_id"]


def test_bytes_are_sent_unchanged(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.answer(b"event: x\ndata: {}\n\n", place="v2")
    assert ask(giga, "hello", stream=True).body == b"event: x\ndata: {}\n\n"


def test_the_recording_is_replayed(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.replay("v2-stream.sse")
    found = payloads(ask(giga, "hello", stream=True).body)
    assert [payload.get("finish_reason") for payload in found] == [None, "stop"]


def test_streams_count_against_the_limit(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.max_streams = 1
    for _ in range(3):
        assert streamed(giga, "Say: yes")
    gigachat.max_streams = 0
    assert ask(giga, "hello").status == 429
