"""Chat of API v2 against the emulator: addresses, requests, responses and errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import responses
from support.stream_tools import WAIT_SECONDS
from testing.v2_requests import TIDE, WEATHER

from gigaclient import GigaChat
from gigaclient.context import chat_completions_url_cvar, chat_url_cvar
from gigaclient.errors import (
    BadRequestError,
    ConfigError,
    InvalidResponseError,
    LengthFinishReasonError,
    NotFoundError,
    PaymentRequiredError,
    RequestEntityTooLargeError,
    ServerError,
    UnprocessableEntityError,
)
from gigaclient.gigachat.settings import read_settings
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import ChatCompletionRequest, ChatMessage


@pytest.fixture
def emulator(shared_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    shared_emulator.clear()
    before = dict(vars(shared_emulator.v2))
    yield shared_emulator
    for name, value in before.items():
        if not name.startswith("_"):
            setattr(shared_emulator.v2, name, value)
    shared_emulator.v2.unavailable_tools.clear()
    shared_emulator.clear()
    assert shared_emulator.api_server.handler_errors == []


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with GigaChat(**emulator.client_options, timeout=WAIT_SECONDS) as client:
        yield client


# -- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ({}, "https://api.giga.chat/v2/chat/completions"),
        ({"base_url": "https://api.giga.chat/v1/"}, "https://api.giga.chat/v2/chat/completions"),
        (
            {"base_url": "https://gigachat.devices.sberbank.ru/api/v1"},
            "https://gigachat.devices.sberbank.ru/api/v2/chat/completions",
        ),
        ({"base_url": "https://stand.example.org/gw/v12"}, "https://stand.example.org/gw/v2/chat/completions"),
        ({"base_url": "https://stand.example.org/gw"}, "https://stand.example.org/gw/chat/completions"),
        ({"base_url": "https://stand.example.org"}, "https://stand.example.org/chat/completions"),
        ({"base_url": "https://v1"}, "https://v1/chat/completions"),
        ({"base_url": "https://stand.example.org/v1beta"}, "https://stand.example.org/v1beta/chat/completions"),
        ({"v2_url": "https://other.example.org/v2"}, "https://other.example.org/v2/chat/completions"),
        ({"v2_url": "https://other.example.org/v1/"}, "https://other.example.org/v1/chat/completions"),
        ({"v2_url": "https://other.example.org/x/chat/completions"}, "https://other.example.org/x/chat/completions"),
    ],
)
def test_the_address_follows_from_the_settings(arguments: dict[str, Any], address: str) -> None:
    assert read_settings(arguments).chat_v2_url == address


def test_the_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_V2_URL", "https://other.example.org/v2/chat/completions")
    assert read_settings({}).chat_v2_url == "https://other.example.org/v2/chat/completions"


@pytest.mark.parametrize("value", ["other.example.org", "http://other.example.org/v2", "https://h/api/v2/oauth"])
def test_an_address_that_cannot_be_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="v2_url"):
        read_settings({"v2_url": value})


@pytest.mark.parametrize(
    ("base", "v2_url", "path"),
    [
        ("/v1", None, "/v2/chat/completions"),
        ("/api/v1", None, "/api/v2/chat/completions"),
        ("/elsewhere", "/api/v2", "/api/v2/chat/completions"),
    ],
)
def test_requests_go_to_the_right_address_in_both_layouts(
    emulator: GigaChatEmulator, base: str, v2_url: str | None, path: str
) -> None:
    origin = emulator.api_server.url
    options = {**emulator.client_options, "base_url": origin + base}
    with GigaChat(**options, v2_url=None if v2_url is None else origin + v2_url) as giga:
        assert giga.chat.create("Say: yes").text == "yes"
    assert (emulator.requests[-1].method, emulator.requests[-1].path) == ("POST", path)


def test_a_separate_address_gets_the_token(emulator: GigaChatEmulator) -> None:
    with (
        GigaChatEmulator(authority=emulator.authority) as other,
        GigaChat(**{**emulator.client_options, "v2_url": f"{other.api_server.url}/v2"}, max_retries=0) as giga,
        pytest.raises(Exception, match="Unauthorized"),
    ):
        giga.chat.create("hello")
    assert other.requests[-1].headers["authorization"].startswith("Bearer ")


def test_a_context_variable_changes_the_address(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for value in ("/api/v2/chat/completions", f"{emulator.api_server.url}/api/v2/chat/completions"):
        token = chat_completions_url_cvar.set(value)
        try:
            giga.chat.create("hello")
        finally:
            chat_completions_url_cvar.reset(token)
        assert emulator.requests[-1].path == "/api/v2/chat/completions"
    other = chat_url_cvar.set("/v1/nowhere")  # has no effect on API v2
    try:
        assert giga.chat.create("Say: yes").text == "yes"
    finally:
        chat_url_cvar.reset(other)
    token = chat_completions_url_cvar.set("nowhere")
    try:
        with pytest.raises(ConfigError, match="chat_completions_url_cvar"):
            giga.chat.create("hello")
    finally:
        chat_completions_url_cvar.reset(token)


def test_the_modules_of_v2_are_loaded_when_they_are_needed() -> None:
    code = (
        "import sys, gigaclient; c = gigaclient.GigaChat(credentials='aWQ6c2VjcmV0'); c.chat; "
        "print([m for m in sys.modules if 'v2' in m and 'gigaclient' in m])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


# -- responses -------------------------------------------------------------------------------------


def test_a_response_is_typed_and_has_its_headers_and_ids(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer = giga.chat.create("What is 12 times 12?", temperature=0.3, request_id="my-request")
    assert answer.text == str(answer) == "12 * 12 = 144"
    assert (answer.finish_reason, answer.model) == ("stop", "GigaChat-2:2.0.31.04")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert answer.request_id == "my-request"
    assert "x-session-id" in answer.headers
    assert answer.raw["messages"][0]["content"] == [{"text": answer.text}]
    sent = emulator.requests[-1]
    assert sent.json() == {
        "messages": [{"role": "user", "content": [{"text": "What is 12 times 12?"}]}],
        "model": "GigaChat-2",
        "model_options": {"temperature": 0.3},
    }
    assert sent.headers["accept"] == "application/json"


def test_settings_of_the_client_hold_for_v2(emulator: GigaChatEmulator) -> None:
    with GigaChat(**emulator.client_options, model="GigaChat-3-Pro", profanity_check=False, flags=["a"]) as giga:
        giga.chat.create("hello", session_id="s")
    sent = emulator.requests[-1]
    assert sent.json()["model"] == "GigaChat-3-Pro"
    assert (sent.json()["disable_filter"], sent.json()["flags"]) == (True, ["a"])
    assert sent.headers["x-session-id"] == "s"


def test_a_dialogue_goes_on_with_the_answers_message(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    history: list[Any] = [{"role": "user", "content": "Count to 2"}]
    history.append(giga.chat.create(history).message)
    history.append(ChatMessage(role="user", content="Count to 3"))
    assert giga.chat.create(ChatCompletionRequest(messages=history)).text == "1, 2, 3"
    sent = [(message["role"], message["content"][0]["text"]) for message in emulator.chats[-1]["messages"]]
    assert sent == [("user", "Count to 2"), ("assistant", "1, 2"), ("user", "Count to 3")]


@pytest.mark.parametrize(
    ("role", "encoding", "options"),
    [
        ("tool", "object", {}),
        ("function", "text", {"role": "function", "as_text": True}),
        ("tool", "text", {"as_text": True}),
    ],
)
def test_a_function_is_called_and_its_result_understood(
    emulator: GigaChatEmulator, giga: GigaChat, role: Any, encoding: Any, options: dict[str, Any]
) -> None:
    emulator.v2.strict_roles, emulator.v2.strict_results = role, encoding
    history: list[Any] = [{"role": "user", "content": "How high is the tide in Murmansk?"}]
    answer = giga.chat.create(history, functions=[TIDE])
    call = answer.function_call
    assert call is not None
    assert (call.name, call.arguments) == ("get_tide", {"port": "Murmansk"})
    assert (answer.finish_reason, answer.text) == ("function_call", "")
    history += [answer.message, ChatMessage.function_result(call, {"height_m": 1.8}, **options)]
    assert giga.chat.create(history, functions=[TIDE]).text == "According to get_tide: height_m: 1.8."
    assistant, result = emulator.requests[-1].json()["messages"][1:]
    assert assistant["tools_state_id"] == result["tools_state_id"] == answer.tools_state_id
    assert result["content"][0]["function_result"]["id"] == call.id


def test_the_other_role_is_refused_where_a_server_is_strict(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.v2.strict_roles = "function"
    call: dict[str, Any] = {"name": "get_tide", "arguments": {}}
    history: list[Any] = [
        {"role": "assistant", "content": [{"function_call": call}]},
        ChatMessage.function_result(call, {}),
    ]
    with pytest.raises(BadRequestError, match="check names, types and roles"):
        giga.chat.create(history)


@pytest.mark.parametrize("call_ids", [True, False])
def test_calls_in_parallel_are_answered_in_one_message(
    emulator: GigaChatEmulator, giga: GigaChat, call_ids: bool
) -> None:
    emulator.v2.call_ids = call_ids
    history: list[Any] = [{"role": "user", "content": "What are the weather and the tide in Murmansk?"}]
    answer = giga.chat.create(history, functions=[WEATHER, TIDE], parallel_tool_calls=True)
    assert [call.name for call in answer.function_calls] == ["get_weather", "get_tide"]
    assert all(bool(call.id) is call_ids for call in answer.function_calls)
    results = [(call, {"number": number}) for number, call in enumerate(answer.function_calls)]
    history += [answer.message, ChatMessage.function_results(results)]
    text = giga.chat.create(history, functions=[WEATHER, TIDE]).text
    assert text == "According to get_weather: number: 0. According to get_tide: number: 1."


def test_a_message_of_v1_is_understood(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    history: list[Any] = [{"role": "user", "content": "How high is the tide in Murmansk?"}]
    answer = giga.chat(history, functions=[TIDE])
    history += [answer.message, {"role": "function", "name": "get_tide", "content": '{"height_m": 1.8}'}]
    assert giga.chat.create(history, functions=[TIDE]).text == "According to get_tide: height_m: 1.8."


def test_a_picture_is_found_and_fetched(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer = giga.chat.create("Draw a cat", tools=["image_generate"])
    (image,) = answer.images
    assert (image.kind, image.mime) == ("image", "image/jpeg")
    assert answer.text == "Here is what came out."
    assert giga.get_file_content(image.id)


def test_a_search_gives_its_sources(giga: GigaChat) -> None:
    answer = giga.chat.create("Who is the president?", tools=["web_search"])
    assert "[sources=[1, 2]]" in answer.text
    assert [answer.sources[number].title for number in ("1", "2")] == ["The first page", "The second page"]
    assert answer.tool_executions == [], "only streams report the run of a tool"
    assert answer.tools_state_id


def test_reasoning_is_separate_from_the_text(giga: GigaChat) -> None:
    answer = giga.chat.create("Say: yes", reasoning="high")
    assert (answer.text, bool(answer.reasoning_text)) == ("yes", True)
    assert answer.message.text == "yes"


def test_a_dialogue_may_be_kept_on_the_server(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer = giga.chat.create("hello", storage=True)
    assert answer.thread_id is not None
    second = giga.chat.create("hello", storage={"thread_id": answer.thread_id})
    assert answer.usage is not None and second.usage is not None
    assert second.usage.input_tokens > answer.usage.total_tokens, "the server answers with the whole dialogue"
    assert "model" not in emulator.requests[-1].json()


@dataclass
class Tide:
    """The tide at a port."""

    port: str
    height_m: float


def test_a_value_of_a_type_is_parsed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer, tide = giga.chat.parse("In Murmansk it is 1.8 high", response_format=Tide)
    assert tide == Tide(port="Murmansk", height_m=1.8)
    assert json.loads(answer.text) == {"port": "Murmansk", "height_m": 1.8}
    form = emulator.requests[-1].json()["model_options"]["response_format"]
    assert (form["type"], form["strict"], form["schema"]["required"]) == ("json_schema", True, ["port", "height_m"])


def test_a_value_that_is_cut_or_does_not_fit_keeps_the_answer(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(LengthFinishReasonError) as cut:
        giga.chat.parse("In Murmansk it is 1.8 high", response_format=Tide, max_tokens=3)
    assert cut.value.completion.finish_reason == "length"
    emulator.answer('{"port": 5}')
    with pytest.raises(InvalidResponseError) as caught:
        giga.chat.parse("hello", response_format=Tide)
    assert caught.value.text == '{"port": 5}'


def test_a_regular_expression_is_kept_to(giga: GigaChat) -> None:
    form = {"type": "regex", "regex": r"[A-Z]{2}-\d{3}"}
    assert giga.chat.create("The number is QX-417.", response_format=form).text == "QX-417"


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"model": "GigaChat-99"}, NotFoundError, "No such model"),
        ({"tools": [{"brand_new": {}}]}, NotFoundError, "Unknown tool brand_new"),
        ({"top_p": 2}, UnprocessableEntityError, "top_p must be in range"),
        ({"flags": "a"}, BadRequestError, "invalid JSON syntax"),
        ({"tools": ["code_interpreter"]}, UnprocessableEntityError, "Tool code_interpreter is unavailable"),
    ],
)
def test_refusals_have_their_class(
    emulator: GigaChatEmulator, giga: GigaChat, options: dict[str, Any], error_type: type[Exception], message: str
) -> None:
    emulator.v2.unavailable_tools.add("code_interpreter")
    with pytest.raises(error_type, match=message):
        giga.chat.create("hello", **options)
    with pytest.raises(error_type, match=message):
        giga.chat.stream("hello", **options)


def test_limits_have_their_class(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.exhausted_models.add("GigaChat-2-Pro")
    try:
        with pytest.raises(PaymentRequiredError):
            giga.chat.create("hello", model="GigaChat-2-Pro")
    finally:
        emulator.exhausted_models.clear()
    with pytest.raises(RequestEntityTooLargeError):
        giga.chat.create("a" * 500_000)


def test_errors_of_the_server_are_retried(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=503), times=2, path="/v2/chat/completions")
    with GigaChat(**emulator.client_options, retry_backoff_factor=0.0) as giga:
        assert giga.chat.create("Say: yes").text == "yes"


@pytest.mark.parametrize(
    ("value", "error_type", "message"),
    [
        (b'{"messages": []}', InvalidResponseError, "no messages"),
        (b"{}", InvalidResponseError, "messages"),
        (b"[]", InvalidResponseError, "Expected"),
        (b"<html>", InvalidResponseError, "JSON"),
        (b'{"status": 500, "message": "Internal Server Error"}', ServerError, "Internal Server Error"),
        (
            {"messages": [], "finish_reason": "error", "error_details": {"user_message": "Overloaded"}},
            ServerError,
            "Overloaded",
        ),
    ],
)
def test_an_invalid_response_is_an_error(
    emulator: GigaChatEmulator, giga: GigaChat, value: Any, error_type: type[Exception], message: str
) -> None:
    emulator.answer(value, place="v2")
    with pytest.raises(error_type, match=message):
        giga.chat.create("hello")


def test_an_answer_that_failed_is_on_the_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    part = {"role": "assistant", "content": [{"text": "High "}]}
    emulator.answer({"messages": [part], "finish_reason": "error", "error_details": {"user_message": "Overloaded"}})
    with pytest.raises(ServerError) as caught:
        giga.chat.create("hello")
    assert caught.value.text == "High "
    assert caught.value.completion.error_details == {"user_message": "Overloaded"}
    assert caught.value.request_id is not None


def test_an_invalid_call_is_not_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    before = len(emulator.requests)
    wrongs: list[dict[str, Any]] = [{"response_format": {"type": "json_object"}}, {"messages": 5}]
    for wrong in wrongs:
        with pytest.raises(ConfigError):
            giga.chat.create(wrong.pop("messages", "hello"), **wrong)
    assert len(emulator.requests) == before


def test_answers_of_other_shapes_are_read() -> None:
    body = {
        "model": "M",
        "created": "17",
        "messages": [{"role": "assistant", "content": "High tide.", "functions_state_id": "s"}],
        "usage": {"input_tokens": 3.0, "output_tokens": None},
    }
    with responses.RequestsMock() as mock, GigaChat(access_token="token", trust="system") as giga:
        mock.post("https://api.giga.chat/v2/chat/completions", json=body)
        answer = giga.chat.create("hello")
    assert (answer.text, answer.created_at, answer.tools_state_id) == ("High tide.", 17, "s")
    assert answer.usage is not None
    assert answer.usage.input_tokens == 3
    assert answer.raw == body
