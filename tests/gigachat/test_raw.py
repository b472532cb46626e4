"""``giga.request``: any endpoint, with the same retries, limits and errors as the others."""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.stream_tools import WAIT_SECONDS, Background, until

from gigaclient import ConfigError, GigaChat, types
from gigaclient.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ForbiddenError,
    GigaClientError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient.testing import Answer, Fault, GigaChatEmulator, Pause
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, json_answer


def echo(call: RoutedRequest) -> Answer:
    request = call.request
    received = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "type": request.headers.get("content-type"),
        "accept": request.headers.get("accept"),
        "body": request.body.decode("utf-8"),
    }
    return json_answer(200, received, call.headers)


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[GigaChatEmulator]:
    with GigaChatEmulator() as emulator:
        rare = tuple(
            Route(method, version, path, echo)
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
            for version, path in (("v1", "/rare"), ("v1", "/rare/{id}"), ("v2", "/rare"), ("v3", "/rare"))
        )
        emulator.routes = (*emulator.routes, *rare)
        yield emulator


@pytest.fixture
def emulator(shared_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    shared_emulator.clear()
    before = shared_emulator.routes
    yield shared_emulator
    shared_emulator.routes = before
    shared_emulator.clear()


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    options = {**emulator.client_options, "credentials": emulator.add_credentials()}
    with GigaChat(**options, timeout=WAIT_SECONDS, retry_backoff_factor=0.0) as client:
        yield client


def answering(emulator: GigaChatEmulator, answer: AnyAnswer) -> None:
    """Return ``answer`` for ``GET /odd``."""
    emulator.routes = (*emulator.routes, Route("GET", "v1", "/odd", lambda call: answer))


# -- requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"])
def test_any_method_is_sent(giga: GigaChat, method: str) -> None:
    assert giga.request(method, "/rare").json()["method"] == method.upper()


@pytest.mark.parametrize(
    ("arguments", "body", "content_type"),
    [
        ({}, "", None),
        ({"json": {"a": [1, "я"]}}, '{"a":[1,"я"]}', "application/json"),
        ({"json": types.Message(content="hi")}, '{"role":"user","content":"hi"}', "application/json"),
        ({"json": []}, "[]", "application/json"),
        ({"data": "id: я"}, "id: я", "text/plain; charset=utf-8"),
        ({"data": b"\x01"}, "\x01", "application/octet-stream"),
        ({"data": b""}, "", "application/octet-stream"),
        ({"data": bytearray(b"x"), "content_type": "text/yaml"}, "x", "text/yaml"),
        ({"json": {}, "content_type": "application/merge-patch+json"}, "{}", "application/merge-patch+json"),
    ],
    ids=repr,
)
def test_the_body_is_json_or_data(
    giga: GigaChat, arguments: dict[str, Any], body: str, content_type: str | None
) -> None:
    received = giga.request("POST", "/rare", **arguments).json()
    assert (received["body"], received["type"]) == (body, content_type)
    assert received["accept"] == "*/*"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/rare", "/v1/rare"),
        ("rare", "/v1/rare"),
        ("/rare/a b", "/v1/rare/a%20b"),
        ("/rare/%2F", "/v1/rare/%2F"),
        ("/rare/я", "/v1/rare/%D1%8F"),
        ("/v2/rare", "/v2/rare"),
        ("/api/v3/rare", "/api/v3/rare"),
    ],
)
def test_a_path_is_below_base_url_or_below_the_host_when_it_names_a_version(
    giga: GigaChat, path: str, expected: str
) -> None:
    assert giga.request("GET", path).json()["path"] == expected


def test_an_absolute_address_of_this_client_is_taken(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    assert giga.request("GET", f"{emulator.api_server.url}/v2/rare").json()["path"] == "/v2/rare"


def test_the_query_is_quoted(giga: GigaChat) -> None:
    query = {"a": "я &", "b": [1, 2.5], "c": True, "d": None, "e": []}
    assert giga.request("GET", "/rare", query=query).json()["query"] == "a=%D1%8F+%26&b=1&b=2.5&c=true"
    assert giga.request("GET", "/rare", query={"d": None}).json()["query"] == ""


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("", "/rare"), {}, "HTTP method"),
        (("GET /", "/rare"), {}, "HTTP method"),
        (("CONNECT", "/rare"), {}, "HTTP method"),
        ((None, "/rare"), {}, "HTTP method"),
        (("GET", ""), {}, "below base_url"),
        (("GET", " /rare"), {}, "below base_url"),
        (("GET", None), {}, "below base_url"),
        (("GET", "/rare?a=1"), {}, "pass query="),
        (("GET", "/rare#a"), {}, "pass query="),
        (("GET", "https://elsewhere.example/v1/rare"), {}, "would get the access token"),
        (("POST", "/rare"), {"json": {}, "data": b""}, "pass one of them"),
        (("POST", "/rare"), {"data": {"a": 1}}, "pass a dict as json="),
        (("POST", "/rare"), {"json": {"a": float("nan")}}, "a must be a finite number"),
        (("GET", "/rare"), {"query": "a=1"}, "must be a mapping"),
        (("GET", "/rare"), {"query": {"a": {"b": 1}}}, "text or a number"),
        (("GET", "/rare"), {"headers": {"Content-Length": "5"}}, "written by the transport"),
    ],
    ids=repr,
)
def test_invalid_requests_are_not_sent(
    emulator: GigaChatEmulator, giga: GigaChat, arguments: Any, options: dict[str, Any], message: str
) -> None:
    before = len(emulator.requests)
    with pytest.raises(ConfigError, match="(?s)" + message.replace("(", r"\(")):
        giga.request(*arguments, **options)
    assert len(emulator.requests) == before


def test_an_unknown_option_is_a_type_error(giga: GigaChat) -> None:
    with pytest.raises(TypeError, match="no such argument: params"):
        giga.request("GET", "/rare", params={})  # type: ignore[call-overload]


# -- responses -------------------------------------------------------------------------------


def test_the_response_is_not_decoded(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answering(
        emulator,
        Answer(203, {"Content-Type": "text/plain; charset=windows-1251", "X-Odd": "1"}, "мир".encode("cp1251")),
    )
    answer = giga.request("GET", "/odd", request_id="my-id")
    assert isinstance(answer, types.RawResponse)
    assert (answer.status_code, answer.text, answer.content) == (203, "мир", "мир".encode("cp1251"))
    assert answer.headers["x-odd"] == answer.headers["X-ODD"] == "1"
    assert answer.request_id == "my-id"
    assert "203" in repr(answer)
    assert pickle.loads(pickle.dumps(answer)).text == "мир"


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=nonsense", "application/json"])
def test_text_without_a_known_charset_is_utf_8(emulator: GigaChatEmulator, giga: GigaChat, content_type: str) -> None:
    answering(emulator, Answer(200, {"Content-Type": content_type}, "мир".encode() + b"\xff"))
    assert giga.request("GET", "/odd").text == "мир\ufffd"


def test_json_raises_if_the_response_is_not_json(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answering(emulator, Answer(200, {}, b"<html>"))
    with pytest.raises(InvalidResponseError, match="not JSON") as caught:
        giga.request("GET", "/odd").json()
    assert caught.value.body == "<html>"
    assert caught.value.status_code == 200


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault(unauthorized=True), AuthenticationError),
        (Fault(status=403), ForbiddenError),
        (Fault(status=404), NotFoundError),
        (Fault(status=429), RateLimitError),
        (Fault(status=500), ServerError),
        (Fault(reset=True), APIConnectionError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_usual_ones(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, error_type: type[GigaClientError], stream: bool
) -> None:
    emulator.inject(fault, times=None, path="/rare")
    with pytest.raises(error_type):
        giga.request("POST", "/rare", json={}, max_retries=0, stream=stream)


@pytest.mark.parametrize(
    ("method", "repeat", "fault", "tries"),
    [
        ("GET", False, Fault(status=500), 2),
        ("GET", False, Fault(reset=True), 2),
        ("POST", False, Fault(status=500), 1),
        ("POST", False, Fault(reset=True), 1),
        ("POST", False, Fault(status=503), 2),
        ("POST", True, Fault(status=500), 2),
        ("POST", True, Fault(reset=True), 2),
        ("DELETE", False, Fault(status=500), 1),
    ],
)
def test_only_safe_requests_are_retried(
    emulator: GigaChatEmulator, giga: GigaChat, method: str, repeat: bool, fault: Fault, tries: int
) -> None:
    emulator.inject(fault, path="/rare")
    before = len(emulator.requests)
    try:
        giga.request(method, "/rare", repeat=repeat, max_retries=1)
    except GigaClientError:
        assert tries == 1
    assert len(emulator.requests) - before == tries


def test_the_token_is_renewed_as_for_every_call(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.request("GET", "/rare")
    emulator.revoke_tokens()
    assert giga.request("POST", "/rare").status_code == 200


# -- event streams ---------------------------------------------------------------------------------


def stream_of(*steps: Any, **fields: Any) -> Answer:
    return Answer(200, {"Content-Type": "text/event-stream", "X-Odd": "1"}, list(steps), **fields)


def test_a_stream_yields_undecoded_events(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answering(
        emulator,
        stream_of(b': hi\n\nid: 7\nevent: a.b\ndata: {"x":\ndata: 1}\n\n', "data: мир\n\ndata: [DONE]\n\n".encode()),
    )
    with giga.request("GET", "/odd", stream=True, request_id="my-id") as events:
        assert events.status_code == 200
        assert events.headers["X-Odd"] == "1"
        assert events.request_id == "my-id"
        first, second, done = events
    assert (first.event, first.id, first.json(), first.data) == ("a.b", "7", {"x": 1}, b'{"x":\n1}')
    assert (second.event, second.text, second.id) == ("message", "мир", "7")
    assert done.data == b"[DONE]"
    with pytest.raises(InvalidResponseError):
        done.json()
    assert emulator.requests[-1].headers["accept"] == "text/event-stream"


def test_a_chat_stream_can_be_requested_by_hand(giga: GigaChat) -> None:
    body = {"model": "GigaChat-2", "stream": True, "messages": [{"role": "user", "content": "Count from 1 to 3"}]}
    with giga.request("POST", "/chat/completions", json=body, stream=True) as events:
        chunks = [event.json() for event in events if event.data != b"[DONE]"]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "1, 2, 3"


def test_the_connection_of_a_finished_stream_is_used_again(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answering(emulator, stream_of(b"data: 1\n\n"))
    before = emulator.connections
    for _ in range(3):
        assert [event.data for event in giga.request("GET", "/odd", stream=True)] == [b"1"]
    assert emulator.connections == before + 1


def test_events_come_as_soon_as_they_are_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    release = threading.Event()

    def steps() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        assert release.wait(WAIT_SECONDS)
        yield b"data: 2\n\n"

    answering(emulator, Answer(200, {"Content-Type": "text/event-stream"}, steps()))
    events = giga.request("GET", "/odd", stream=True)
    assert next(events).data == b"1"
    release.set()
    assert next(events).data == b"2"
    assert list(events) == []
    assert events.closed


@pytest.mark.parametrize("action", ["close", "with", "drop"])
def test_leaving_a_stream_early_closes_the_connection(emulator: GigaChatEmulator, giga: GigaChat, action: str) -> None:
    answering(emulator, stream_of(b"data: 1\n\n", Pause(None), b"data: 2\n\n"))
    aborted = emulator.api_aborted
    events = giga.request("GET", "/odd", stream=True)
    assert next(events).data == b"1"
    if action == "close":
        events.close()
        assert list(events) == []
    elif action == "with":
        with events:
            assert not events.closed
        assert events.closed
    else:
        del events
        gc.collect()
    until(lambda: emulator.api_aborted == aborted + 1, "the end of the connection")
    assert giga.stats().in_flight == 0


def test_another_thread_may_end_a_blocked_stream(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answering(emulator, stream_of(b"data: 1\n\n", Pause(None)))
    events = giga.request("GET", "/odd", stream=True)
    next(events)
    reader = Background(lambda: list(events))
    events.close()
    assert reader.join().result == []


def test_a_broken_stream_is_an_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(cut_after_bytes=12), path="/odd")
    answering(emulator, stream_of(b"data: 1\n\n", b"data: 2\n\n"))
    events = giga.request("GET", "/odd", stream=True, request_id="my-id")
    assert next(events).data == b"1"
    with pytest.raises(StreamInterruptedError) as caught:
        next(events)
    assert caught.value.completion is None
    assert caught.value.request_id == "my-id"
    assert list(events) == []


def test_a_silent_stream_runs_into_its_timeout(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answering(emulator, stream_of(b"data: 1\n\n", Pause(None)))
    events = giga.request("GET", "/odd", stream=True, timeout=(WAIT_SECONDS, 0.3))
    assert next(events).data == b"1"
    with pytest.raises(APITimeoutError):
        next(events)


def test_a_response_that_is_no_event_stream_is_refused(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answering(emulator, Answer(200, {"Content-Type": "text/html"}, b"<html>"))
    with pytest.raises(InvalidResponseError, match="not an event stream"):
        giga.request("GET", "/odd", stream=True)
