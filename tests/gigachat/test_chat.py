"""One chat request: its bytes, its response, and the responses that are errors."""

from __future__ import annotations

import contextvars
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support.ids import stable_id

from gigaclient import ChatCompletion, GigaChat, context
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConfigError,
    ForbiddenError,
    GigaClientError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
    UnprocessableEntityError,
)
from gigaclient.gigachat.request_body import chat_body
from gigaclient.testing import Answer, Fault, GigaChatEmulator
from gigaclient.types import Chat, Function, Message

CHAT = "/chat/completions"
PROMPT = "Count from 1 to 5"
TIDE = Function(
    name="get_tide",
    description="The tide at a port",
    parameters={"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
)


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[GigaChatEmulator]:
    with GigaChatEmulator(exhausted_models=["GigaChat-2-Max"], context_tokens=500) as emulator:
        yield emulator


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


def sent(emulator: GigaChatEmulator) -> Any:
    return emulator.requests[-1].json()


# -- responses -------------------------------------------------------------------------------------


def test_chat_gives_the_whole_answer(giga: GigaChat) -> None:
    answer = giga.chat(PROMPT)
    assert isinstance(answer, ChatCompletion)
    assert answer.text == str(answer) == answer.choices[0].message.content == "1, 2, 3, 4, 5"
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model == "GigaChat-2:2.0.31.04"
    assert answer.raw["choices"][0]["message"]["content"] == "1, 2, 3, 4, 5"


def test_the_request_is_as_the_api_wants_it(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.chat(PROMPT, temperature=0.4)
    request = emulator.requests[-1]
    assert (request.method, request.path, request.query) == ("POST", "/v1/chat/completions", "")
    assert request.headers["accept"] == "application/json"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("gigaclient/")
    assert request.headers["authorization"].startswith("Bearer ")
    assert "rquid" not in request.headers
    uuid.UUID(request.headers["x-request-id"])
    assert request.body == chat_body(PROMPT, {"temperature": 0.4}, {"model": "GigaChat-2"}, stream=False)


def test_every_call_has_a_different_request_id(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answers = [giga.chat(PROMPT), giga.chat(PROMPT)]
    ids = [answer.request_id for answer in answers]
    assert ids == [request.headers["x-request-id"] for request in emulator.requests[-2:]]
    assert ids[0] != ids[1]
    assert answers[0].headers["x-request-id"] == ids[0]
    assert "set-cookie" not in answers[0].headers


def test_the_servers_request_id_counts_where_it_has_its_own(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(headers={"X-Request-Id": "the-servers"}), path=CHAT)
    assert giga.chat(PROMPT).request_id == "the-servers"


@pytest.mark.parametrize("base", ["/v1", "/api/v1"])
def test_both_layouts_of_addresses_work(emulator: GigaChatEmulator, base: str) -> None:
    options = {**emulator.client_options, "base_url": emulator.api_server.url + base}
    with GigaChat(**options) as client:
        assert client.chat(PROMPT).text == "1, 2, 3, 4, 5"
    assert emulator.requests[-1].path == base + CHAT


def test_a_whole_request_may_be_passed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    chat = Chat(messages=[Message(role="system", content="Be brief."), Message(content=PROMPT)], temperature=0.5)
    assert giga.chat(chat, max_tokens=3).finish_reason == "length"
    assert sent(emulator) == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}],
        "model": "GigaChat-2",
        "temperature": 0.5,
        "max_tokens": 3,
    }
    assert chat == Chat(
        messages=[Message(role="system", content="Be brief."), Message(content=PROMPT)], temperature=0.5
    )  # the client's defaults are not added


def test_the_clients_defaults_are_sent(emulator: GigaChatEmulator) -> None:
    options = {**emulator.client_options, "model": "GigaChat-2-Pro", "profanity_check": False, "flags": ["a"]}
    with GigaChat(**options, session_id="my-session") as client:
        client.chat(PROMPT)
        assert {name: sent(emulator)[name] for name in ("model", "profanity_check", "flags")} == {
            "model": "GigaChat-2-Pro", "profanity_check": False, "flags": ["a"]
        }  # fmt: skip
        assert emulator.requests[-1].headers["x-session-id"] == "my-session"
        client.chat(PROMPT, model="GigaChat-2", session_id="other")
        assert sent(emulator)["model"] == "GigaChat-2"
        assert emulator.requests[-1].headers["x-session-id"] == "other"


def test_only_requested_fields_are_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.chat(PROMPT)
    assert set(sent(emulator)) == {"messages", "model"}


def test_unknown_fields_reach_the_server(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.chat(PROMPT, additional_fields={"brand_new": {"x": None}})
    assert sent(emulator)["brand_new"] == {"x": None}


def test_a_request_to_an_assistant_has_no_model(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.chat(PROMPT, assistant_id="a-1")
    assert "model" not in sent(emulator)


def test_a_dialogue_kept_by_the_server_goes_on_without_a_model(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    first = giga.chat(PROMPT, storage={"is_stateful": True})
    assert first.thread_id
    assert first.message_id
    second = giga.chat("And again?", storage={"thread_id": first.thread_id})
    assert "model" not in sent(emulator)
    assert second.thread_id == first.thread_id


def test_a_function_is_called_and_its_result_used(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    history: list[Any] = [{"role": "user", "content": "What is the tide in Murmansk?"}]
    answer = giga.chat(history, functions=[TIDE], function_call="auto")
    assert answer.finish_reason == "function_call"
    assert answer.function_call is not None
    assert answer.function_call.name == "get_tide"
    assert isinstance(answer.function_call.arguments, dict)
    assert answer.text == ""
    assert answer.message.functions_state_id

    history += [answer.message, Message(role="function", name="get_tide", content='{"height_m": 1.8}')]
    assert "1.8" in giga.chat(history, functions=[TIDE]).text
    # The response goes back unchanged, with its empty content.
    assert sent(emulator)["messages"][1] == answer.raw["choices"][0]["message"]


def test_a_function_can_be_forced(giga: GigaChat) -> None:
    forced = {"name": "get_tide", "partial_arguments": {"port": "Kola"}}
    call = giga.chat(PROMPT, functions=[TIDE], function_call=forced).function_call
    assert call is not None
    assert call.arguments["port"] == "Kola"


def test_attachments_are_sent_with_their_message(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.chat([Message(content="What is in it?", attachments=["7c2b9c1e"])])
    assert sent(emulator)["messages"] == [{"role": "user", "content": "What is in it?", "attachments": ["7c2b9c1e"]}]


def test_a_schema_in_the_nesting_of_other_apis_is_understood(giga: GigaChat) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    nested = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    assert set(json.loads(giga.chat("Invent a person", response_format=nested).text)) == {"name"}


# -- headers ---------------------------------------------------------------------------------------

HEADERS = {
    "request_id": "X-Request-ID",
    "session_id": "X-Session-ID",
    "client_id": "X-Client-ID",
    "service_id": "X-Service-ID",
    "operation_id": "X-Operation-ID",
    "trace_id": "X-Trace-ID",
    "agent_id": "X-Agent-ID",
}


@pytest.mark.parametrize(("name", "header"), HEADERS.items())
def test_a_header_can_be_set_for_a_call_or_its_context(
    emulator: GigaChatEmulator, giga: GigaChat, name: str, header: str
) -> None:
    def in_context() -> None:
        getattr(context, f"{name}_cvar").set("from-context")
        giga.chat(PROMPT)
        assert emulator.requests[-1].headers[header] == "from-context"
        giga.chat(PROMPT, **{name: "from-call"})
        assert emulator.requests[-1].headers[header] == "from-call"
        assert emulator.requests[-1].headers.get_all(header) == ["from-call"]

    contextvars.copy_context().run(in_context)
    giga.chat(PROMPT)
    assert emulator.requests[-1].headers.get(header) not in ("from-call", "from-context")
    assert name not in sent(emulator)


def test_custom_headers_are_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    def in_context() -> None:
        context.custom_headers_cvar.set({"X-Mine": "context", "X-Other": "context", "x-trace-id": "context"})
        giga.chat(PROMPT, trace_id="call", headers={"X-Mine": "call"})

    contextvars.copy_context().run(in_context)
    headers = emulator.requests[-1].headers
    assert (headers["x-mine"], headers["x-other"], headers.get_all("x-trace-id")) == ("call", "context", ["call"])


def test_a_raw_authorization_is_sent_unchanged_and_not_refreshed(emulator: GigaChatEmulator) -> None:
    with GigaChat(**emulator.client_options, max_retries=0) as client:
        before = emulator.oauth_calls
        mine = f"Bearer {emulator.issue_token()}"

        def in_context() -> str:
            context.authorization_cvar.set(mine)
            return client.chat(PROMPT).text

        assert contextvars.copy_context().run(in_context) == "1, 2, 3, 4, 5"
        assert client.chat(PROMPT, authorization=mine).text == "1, 2, 3, 4, 5"
        assert emulator.requests[-1].headers["authorization"] == mine
        with pytest.raises(AuthenticationError):
            client.chat(PROMPT, authorization="Bearer nobody")
        assert emulator.oauth_calls == before


@pytest.mark.parametrize("value", ["строка", "a\nb", "a\r\nX-Evil: 1", "a\0b", 5])
def test_a_header_that_cannot_be_sent_is_refused(emulator: GigaChatEmulator, giga: GigaChat, value: Any) -> None:
    before = len(emulator.requests)
    with pytest.raises(ConfigError, match="X-Session-ID"):
        giga.chat(PROMPT, session_id=value)
    assert len(emulator.requests) == before


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions", "/api/v1/chat/completions"])
def test_the_path_may_be_set_by_context(emulator: GigaChatEmulator, giga: GigaChat, path: str) -> None:
    def in_context() -> str:
        context.chat_url_cvar.set(path)
        return giga.chat(PROMPT).text

    assert contextvars.copy_context().run(in_context) == "1, 2, 3, 4, 5"
    assert emulator.requests[-1].path == (path if path.count("v1") else "/v1" + path)


def test_the_whole_address_may_be_set_by_context_for_our_own_hosts_alone(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    def in_context(url: str) -> str:
        context.chat_url_cvar.set(url)
        return giga.chat(PROMPT).text

    ours = f"{emulator.api_server.url}/api/v1/chat/completions"
    assert contextvars.copy_context().run(in_context, ours) == "1, 2, 3, 4, 5"
    with pytest.raises(ConfigError, match="would get the access token"):
        contextvars.copy_context().run(in_context, "https://127.0.0.1:9/v1/chat/completions")


# -- invalid requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        ([], {}),
        (PROMPT, {"temperature": float("nan")}),
        (PROMPT, {"stream": True}),
        (PROMPT, {"response_format": {"type": "json_object"}}),
        (PROMPT, {"additional_fields": {"x": object()}}),
        ("\ud800", {}),
        (b"hi", {}),
        (PROMPT, {"timeout": -1}),
        (PROMPT, {"max_retries": -1}),
        (PROMPT, {"headers": {"X": "\n"}}),
        (PROMPT, {"authorization": "no-scheme"}),
    ],
    ids=stable_id,
)
@pytest.mark.parametrize("method", ["chat", "stream", "generate"])
def test_an_invalid_request_is_refused_before_anything_is_sent(
    emulator: GigaChatEmulator, method: str, messages: Any, options: dict[str, Any]
) -> None:
    if "stream" in options:
        options = {"stream": method != "stream" and method != "generate"}
    with GigaChat(**emulator.client_options) as client:
        before = (emulator.oauth_calls, len(emulator.requests))
        with pytest.raises(ConfigError):
            getattr(client, method)(messages, **options)
        assert (emulator.oauth_calls, len(emulator.requests)) == before


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error_type", "status", "message"),
    [
        ({"temperature": "hot"}, BadRequestError, 400, "invalid JSON syntax"),
        ({"model": "GigaChat-9"}, NotFoundError, 404, "No such model"),
        ({"model": "GigaChat-2-Max"}, PaymentRequiredError, 402, "Payment Required"),
        ({"repetition_penalty": 0}, UnprocessableEntityError, 422, "repetition_penalty must be in range"),
        ({"functions": [{"name": "7"}]}, UnprocessableEntityError, 422, "Invalid function names"),
        ({"headers": {"User-Agent": " "}}, ForbiddenError, 403, "User-Agent"),
    ],
    ids=stable_id,
)
def test_a_refusal_keeps_the_message_of_the_service(
    giga: GigaChat, options: dict[str, Any], error_type: type[APIStatusError], status: int, message: str
) -> None:
    with pytest.raises(error_type) as caught:
        giga.chat(PROMPT, **options)
    assert type(caught.value) is error_type
    assert caught.value.status_code == status
    assert message in caught.value.message
    assert caught.value.request_id
    assert caught.value.headers["x-request-id"] == caught.value.request_id


def test_too_long_a_prompt_is_too_large(giga: GigaChat) -> None:
    with pytest.raises(RequestEntityTooLargeError, match="tokens_count"):
        giga.chat("word " * 2000)


@pytest.mark.parametrize(
    ("status", "error_type"),
    [(400, BadRequestError), (418, APIStatusError), (429, RateLimitError), (500, ServerError), (504, ServerError)],
)
@pytest.mark.parametrize("shape", ["json", "html", "empty", "text"])
def test_every_status_in_every_body_format_has_its_error_class(
    emulator: GigaChatEmulator, giga: GigaChat, status: int, error_type: type[APIStatusError], shape: str
) -> None:
    dresses: dict[str, Any] = {"json": {}, "html": {"html": True}, "empty": {"body": b""}, "text": {"body": "oh dear"}}
    emulator.inject(Fault(status=status, **dresses[shape]), path=CHAT)
    with pytest.raises(error_type) as caught:
        giga.chat(PROMPT)
    assert type(caught.value) is error_type
    assert caught.value.status_code == status
    if shape == "json":
        assert caught.value.body["status"] == status
    elif shape == "html":
        assert "a page of HTML titled" in str(caught.value)
        assert f"{status} " in caught.value.message
    elif shape == "text":
        assert caught.value.message.startswith("oh dear")
        assert caught.value.body == "oh dear"
    else:
        assert f"HTTP status {status}" in str(caught.value)


def test_no_cookie_is_in_an_errors_headers(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for fault in (
        Fault(status=500, headers={"Set-Cookie": "spid=1"}),
        Fault(body="x", headers={"Set-Cookie": "spid=1"}),
    ):
        emulator.inject(fault, path=CHAT)
        with pytest.raises((ServerError, InvalidResponseError)) as caught:
            giga.chat(PROMPT)
        assert isinstance(caught.value, (ServerError, InvalidResponseError))
        headers = caught.value.headers
        assert "set-cookie" not in {name.lower() for name in headers}
    giga.chat(PROMPT)
    assert "cookie" not in emulator.requests[-1].headers


def test_a_redirect_is_an_error_and_not_followed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    before = len(emulator.requests)
    emulator.inject(Fault(status=307, headers={"Location": "https://other.example/v1?x=1"}), path=CHAT)
    with pytest.raises(APIStatusError, match=r"https://other\.example/v1, and redirects are not followed"):
        giga.chat(PROMPT)
    assert len(emulator.requests) == before + 1


DEEP = b'{"choices":[{}],"x":' + b"[" * 200_000

NOT_ANSWERS: dict[str, tuple[bytes | str | dict[str, Any] | list[Any], type[GigaClientError], str]] = {
    "error object": ({"status": 500, "message": "oh"}, ServerError, "500: oh"),
    "error of its status": ({"status": 429, "message": "oh"}, RateLimitError, "429: oh"),
    "wrapped error": ({"error": {"message": "oh", "code": 404}}, NotFoundError, "404: oh"),
    "error beside empty choices": ({"choices": [], "status": 429, "message": "oh"}, RateLimitError, "429: oh"),
    "a gateway's message": ({"message": "Unauthorized"}, InvalidResponseError, "no choices"),
    "no choices": ({"created": 1}, InvalidResponseError, "no choices"),
    "empty choices": ({"choices": []}, InvalidResponseError, "no choices"),
    "null choices": ({"choices": None}, InvalidResponseError, "choices"),
    "choices of another type": ({"choices": {"0": {}}}, InvalidResponseError, "choices"),
    "content of another type": ({"choices": [{"message": {"content": 5}}]}, InvalidResponseError, "content"),
    "a list": ([1, 2], InvalidResponseError, "array"),
    "null": (b"null", InvalidResponseError, "null"),
    "a text": (b'"hello"', InvalidResponseError, "str"),
    "HTML": (b"<html><title>Log in</title></html>", InvalidResponseError, "not JSON"),
    "cut off": (b'{"choices":[{"message":{"content":"hel', InvalidResponseError, "not JSON"),
    "more than one": (b'{"choices":[{}]}{"choices":[{}]}', InvalidResponseError, "not JSON"),
    "not UTF-8": (b"\xff\xfe{", InvalidResponseError, "not JSON"),
    "nested too deep": (DEEP, InvalidResponseError, "not JSON"),
    "empty": (b"", InvalidResponseError, "not JSON"),
    "spaces": (b"  \n", InvalidResponseError, "not JSON"),
    "an event stream": (b"data: {}\n\n", InvalidResponseError, "not JSON"),
}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"High \xf0\x9f tide", "High \ufffd tide"),
        (rb"High \ud83c", "High \ufffd"),
        (rb"High \ud83c\udf0a \\ud83c", r"High 🌊 \ud83c"),
    ],
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_one_broken_character_is_replaced_and_the_answer_kept(
    emulator: GigaChatEmulator, giga: GigaChat, content: bytes, text: str, version: str
) -> None:
    broken = b'"x \xff"'
    body = {
        "v1": b'{"choices":[{"message":{"content":"%s"},"finish_reason":"stop"}],"new":%s}',
        "v2": b'{"messages":[{"role":"assistant","content":[{"text":"%s"}]}],"finish_reason":"stop","new":%s}',
    }[version]
    emulator.answer(lambda _: Answer(200, {"Content-Type": "application/json"}, body % (content, broken)))
    completion: Any = giga.chat(PROMPT) if version == "v1" else giga.chat.create(PROMPT)
    assert completion.text == text
    assert completion.raw["new"] == "x \ufffd"
    assert ("broken characters" in "".join(completion.repaired)) is ("\ufffd" in text)


@pytest.mark.parametrize(("body", "error_type", "message"), NOT_ANSWERS.values(), ids=NOT_ANSWERS)
def test_an_invalid_response_is_a_typed_error_that_keeps_the_body(
    emulator: GigaChatEmulator, giga: GigaChat, body: Any, error_type: type[GigaClientError], message: str
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    emulator.answer(lambda _: Answer(200, {"Content-Type": "application/json", "X-Request-Id": "r-9"}, data))
    before = len(emulator.requests)
    with pytest.raises(error_type) as caught:
        giga.chat(PROMPT, max_retries=2 if error_type is InvalidResponseError else 0)
    assert type(caught.value) is error_type
    assert message in str(caught.value)
    assert caught.value.request_id == "r-9"
    assert caught.value.__context__ is None
    assert len(emulator.requests) == before + 1
    assert len(str(caught.value)) < 500
    if isinstance(caught.value, InvalidResponseError):
        assert caught.value.status_code == 200
        assert caught.value.body == data.decode("utf-8", "replace")[:500]
    else:
        assert isinstance(caught.value, APIStatusError)
        assert caught.value.body == body


def test_an_answer_cut_on_the_way_is_a_connection_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(cut_after_bytes=40), path=CHAT)
    with pytest.raises(APIConnectionError) as caught:
        giga.chat(PROMPT)
    assert caught.value.sent


def test_a_silently_cut_response_is_an_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(cut_after_bytes=40, close_delimited=True), path=CHAT)
    with pytest.raises(InvalidResponseError, match="not JSON"):
        giga.chat(PROMPT)


@pytest.mark.parametrize(
    "fault", [Fault(write_size=1), Fault(gzip=True), Fault(close_delimited=True), Fault(gzip=True, write_size=1)],
    ids=["bytes", "gzip", "close-delimited", "gzip in bytes"],
)  # fmt: skip
def test_an_answer_is_read_whole_in_every_framing(emulator: GigaChatEmulator, giga: GigaChat, fault: Fault) -> None:
    emulator.inject(fault, path=CHAT)
    assert giga.chat("Скажи: привет").text == "привет"


def test_unusual_responses_are_accepted(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    odd = {
        "choices": [
            {"message": {"content": "hi", "role": None, "new": 1}, "index": None, "finish_reason": "brand_new"}
        ],
        "created": None,
        "model": None,
        "usage": {"prompt_tokens": 3.0, "completion_tokens": None, "total_tokens": "5", "new_tokens": 7},
        "future": [None],
    }
    emulator.answer(lambda _: Answer(200, {"Content-Type": "text/plain"}, json.dumps(odd)))
    answer = giga.chat(PROMPT)
    assert answer.text == "hi"
    assert answer.message.role == "assistant"
    assert answer.finish_reason == "brand_new"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 0, 5)
    assert answer.raw == odd


def test_a_closed_client_says_so(emulator: GigaChatEmulator) -> None:
    client = GigaChat(**emulator.client_options)
    client.close()
    for method in (client.chat, client.stream, client.generate):
        with pytest.raises(ConfigError, match="closed"):
            method(PROMPT)
