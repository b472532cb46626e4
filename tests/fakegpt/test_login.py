"""An account of the pool, a cookie, an access token."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses

from gigaclient import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    FakeGpt,
    ForbiddenError,
    GigaClientError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from gigaclient.testing import FakeGptEmulator, Fault

MakeClient = Callable[..., FakeGpt]

STEPS = ["/api/loads", "/auth/login", "/api/auth/session", "/api/conversation"]


def test_the_steps_come_in_order_and_carry_what_the_service_wants(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    client.chat("hi")
    loads, login, session, chat = emulator.requests
    assert [(r.method, r.path) for r in emulator.requests] == list(
        zip(["GET", "POST", "GET", "POST"], STEPS, strict=True)
    )
    assert abs(int(loads.params["t"]) - time.time()) < 60
    assert login.headers["content-type"] == "application/x-www-form-urlencoded"
    assert re.fullmatch("[0-9a-f]{32}", login.form["token_key"])
    assert re.fullmatch("[a-z0-9]{10}", login.form["session_password"])
    assert "credential=" in session.headers["cookie"]
    assert "session_password=kept" in session.headers["cookie"]
    assert chat.headers["cookie"] == session.headers["cookie"]
    assert chat.headers["x-authorization"].startswith("Bearer ")
    assert "authorization" not in chat.headers
    assert chat.headers["content-type"] == "application/json"
    assert chat.headers["accept"] == "text/event-stream"
    for request in (loads, login, session):
        assert "x-authorization" not in request.headers


def test_every_request_looks_like_a_browser(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.bot_filter = True
    client.chat("hi")
    for request in emulator.requests:
        assert "Chrome/117" in request.headers["user-agent"]
        assert request.headers["referer"] == f"{emulator.base_url}/?v=2"
        assert request.headers["accept-language"] == "en-US"
        assert request.headers["sec-ch-ua-platform"] == '"Linux"'
        assert request.headers["sec-ch-ua-mobile"] == "?0"
        assert 'v="117"' in request.headers["sec-ch-ua"]


def test_accounts_are_chosen_at_random(make: MakeClient, emulator: FakeGptEmulator) -> None:
    for _ in range(25):
        make().chat("hi")
    used = {request.form["token_key"] for request in emulator.requests if request.path == "/auth/login"}
    passwords = {request.form["session_password"] for request in emulator.requests if request.path == "/auth/login"}
    assert len(used) == 3  # the chance that one of three is not drawn in 25 draws is 1 in 8000
    assert len(passwords) == 25


def test_one_login_serves_all_calls(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    for _ in range(3):
        client.chat("hi")
    assert emulator.logins == 1
    assert client.stats().tokens_fetched == 1


def test_nothing_is_sent_before_the_first_call(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    stream = client.generate("hi")
    assert emulator.requests == []
    next(stream)
    assert len(emulator.requests) == 4


def test_a_redirect_that_sets_the_cookie_is_a_login_and_is_not_followed(
    client: FakeGpt, emulator: FakeGptEmulator
) -> None:
    emulator.login = "redirect"
    assert client.chat("hi").text
    assert [request.path for request in emulator.requests] == STEPS


def test_a_redirect_of_the_conversation_is_an_error_and_not_followed(
    client: FakeGpt, emulator: FakeGptEmulator
) -> None:
    client.chat("hi")
    emulator.inject(Fault(status=307, body=b"", headers={"Location": "https://elsewhere.invalid/api/conversation"}))
    with pytest.raises(GigaClientError, match=r"redirects to https://elsewhere\.invalid"):
        client.chat("hi")


@pytest.mark.parametrize(
    ("switch", "value", "error_class", "words"),
    [
        ("login_refused", True, AuthenticationError, "token_key is not valid"),
        ("login_without_cookie", True, AuthenticationError, "set no cookie"),
        ("empty_loads", True, InvalidResponseError, "pool is empty"),
        ("session_without_token", True, AuthenticationError, "no accessToken"),
        ("html_wall", "/api/loads", ForbiddenError, "Just a moment"),
        ("html_wall", "/auth/login", ForbiddenError, "Just a moment"),
        ("html_wall", "/api/auth/session", ForbiddenError, "Just a moment"),
    ],
)
def test_a_login_that_fails_says_why(
    client: FakeGpt,
    emulator: FakeGptEmulator,
    switch: str,
    value: Any,
    error_class: type[GigaClientError],
    words: str,
) -> None:
    setattr(emulator, switch, value)
    with pytest.raises(error_class, match=words) as caught:
        client.chat("hi")
    assert str(caught.value).find("no login") >= 0
    assert "/api/conversation" not in {request.path for request in emulator.requests}
    # A failed login is not cached.
    setattr(emulator, switch, False)
    assert client.chat("hi").text


@pytest.mark.parametrize("path", STEPS[:3])
@pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=429), Fault(reset=True), Fault(hang_up=True)])
def test_a_step_of_the_login_that_stumbled_is_repeated(
    client: FakeGpt, emulator: FakeGptEmulator, path: str, fault: Fault
) -> None:
    emulator.inject(fault, path=path)
    assert client.chat("hi").text
    index = STEPS.index(path)
    assert [request.path for request in emulator.requests] == [*STEPS[: index + 1], *STEPS[index:]]
    keys = {(r.form["token_key"], r.form["session_password"]) for r in emulator.requests if r.path == "/auth/login"}
    assert len(keys) == 1


def test_a_step_of_the_login_is_repeated_as_often_as_a_call_and_no_more(
    make: MakeClient, emulator: FakeGptEmulator
) -> None:
    emulator.inject(Fault(status=503), times=None, path="/api/loads")
    with pytest.raises(ServerError) as caught:
        make(max_retries=2).chat("hi")
    assert len(emulator.requests) == 3
    assert len(caught.value.attempts) == 3


def test_a_silent_login_is_not_tried_again(make: MakeClient, emulator: FakeGptEmulator) -> None:
    emulator.inject(Fault(before_s=float("inf")), times=None, path="/auth/login")
    with pytest.raises(APITimeoutError):
        make(timeout=0.5).chat("hi")
    assert emulator.logins == 1


def test_the_deadline_bounds_the_login_too(make: MakeClient, emulator: FakeGptEmulator) -> None:
    emulator.inject(Fault(before_s=float("inf")), path="/api/auth/session")
    began = time.monotonic()
    with pytest.raises(APITimeoutError) as caught:
        make(deadline=0.5).chat("hi")
    assert caught.value.timeout_kind == "deadline"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_is_replaced_once_and_the_call_repeated(
    client: FakeGpt, emulator: FakeGptEmulator, status: int
) -> None:
    client.chat("hi")
    emulator.inject(Fault(status=status))
    assert client.chat("hi").text
    assert emulator.logins == 2
    assert client.stats().retries == 0


def test_an_expired_token_is_replaced(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.token_life_s = 0.0
    with pytest.raises(AuthenticationError, match="expired"):
        client.chat("hi")
    assert emulator.logins == 2
    emulator.token_life_s = 3600.0
    assert client.chat("hi").text


def test_a_login_that_is_refused_twice_is_an_error(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.inject(Fault(status=401), times=None, path="/api/conversation")
    with pytest.raises(AuthenticationError) as caught:
        client.chat("hi")
    assert emulator.logins == 2
    assert len(caught.value.attempts) == 2


def test_a_bot_filter_costs_no_login(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    client.chat("hi")
    emulator.html_wall = "/api/conversation"
    with pytest.raises(ForbiddenError, match=r"bot filter.*Just a moment"):
        client.chat("hi")
    assert emulator.logins == 1


def test_a_ready_token_needs_no_login_and_is_not_replaced(make: MakeClient, emulator: FakeGptEmulator) -> None:
    client = make(access_token=f"Bearer {emulator.access_token}")
    assert client.chat("hi").text
    emulator.inject(Fault(status=401))
    with pytest.raises(AuthenticationError):
        client.chat("hi")
    assert {request.path for request in emulator.requests} == {"/api/conversation"}
    assert len(emulator.requests) == 2


def test_a_second_header_is_there_for_plain_backends(make: MakeClient, emulator: FakeGptEmulator) -> None:
    make(access_token=emulator.access_token, plain_authorization=True).chat("hi")
    headers = emulator.requests[-1].headers
    assert headers["authorization"] == headers["x-authorization"] == f"Bearer {emulator.access_token}"


def test_a_token_of_one_call_replaces_the_login_and_its_cookie(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    assert client.chat("hi", authorization=f"Bearer {emulator.access_token}").text
    (request,) = emulator.requests
    assert request.headers["x-authorization"] == f"Bearer {emulator.access_token}"
    assert "cookie" not in request.headers


# -- shapes that the emulator does not make --------------------------------------------------------

URL = "https://fakegpt.example"
STREAM = (
    b'data: {"message": {"id": "m", "content": {"parts": ["ok"]}, "end_turn": true, '
    b'"metadata": {"message_type": "next"}}}\n\ndata: [DONE]\n\n'
)


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        yield mocked


def answer(
    mocked: responses.RequestsMock,
    loads: Any = None,
    login: Any = None,
    session: Any = None,
    cookie: str | None = "credential=c00kie; Path=/",
) -> None:
    """Answer each step with a body (bytes unchanged, other types as JSON); None for a valid response."""
    loads = {"loads": [{"token_id": "a" * 32, "count": 3}]} if loads is None else loads
    session = {"accessToken": "t0ken", "expires": "2031-01-01T00:00:00.000Z"} if session is None else session
    headers = {"Set-Cookie": cookie} if cookie else {}
    for method, path, body, added in (
        ("GET", "/api/loads", loads, {}),
        ("POST", "/auth/login", {} if login is None else login, headers),
        ("GET", "/api/auth/session", session, {}),
    ):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        mocked.add(method, URL + path, body=raw, headers=added, content_type="application/json")
    mocked.add("POST", f"{URL}/api/conversation", body=STREAM, content_type="text/event-stream")


def paths(mocked: responses.RequestsMock) -> list[str]:
    return [str(call.request.url).removeprefix(URL).partition("?")[0] for call in mocked.calls]


@pytest.mark.parametrize(
    "loads",
    [
        {"loads": [{"token_id": "x", "count": 0, "new": {"field": 1}}], "more": True},
        {"loads": [None, 7, {}, {"token_id": None}, {"token_id": ""}, {"token_id": "x"}]},
    ],
)
def test_odd_accounts_and_unknown_fields_are_passed_over(mocked: responses.RequestsMock, loads: Any) -> None:
    answer(mocked, loads=loads)
    assert FakeGpt(URL).chat("hi").text == "ok"
    body = mocked.calls[1].request.body
    assert isinstance(body, bytes)
    assert body.startswith(b"token_key=x&session_password=")


@pytest.mark.parametrize(
    ("shapes", "error_class", "words"),
    [
        ({"loads": {"loads": []}}, InvalidResponseError, "pool is empty"),
        ({"loads": {"loads": [{"count": 1}]}}, InvalidResponseError, "pool is empty"),
        ({"loads": {"loads": None}}, InvalidResponseError, "no list of accounts"),
        ({"loads": {}}, InvalidResponseError, "no list of accounts"),
        ({"loads": [1]}, InvalidResponseError, "no list of accounts"),
        ({"loads": b"<html><title>Welcome</title>"}, InvalidResponseError, "HTML titled 'Welcome'"),
        ({"loads": b"\xff\xfe"}, InvalidResponseError, "no JSON"),
        ({"loads": {"code": 500, "message": "no backend"}}, ServerError, "no backend"),
        ({"login": {"code": 400, "message": "dead account"}}, AuthenticationError, "dead account"),
        ({"login": {"code": "400", "msg": "dead account"}}, AuthenticationError, "dead account"),
        ({"login": {"code": 400}}, AuthenticationError, "refused the account"),
        ({"login": {"error": "dead account"}}, AuthenticationError, "dead account"),
        ({"login": {"detail": {"message": "dead", "code": "x"}}}, AuthenticationError, "dead"),
        ({"login": {"code": 429, "message": "later"}}, RateLimitError, "later"),
        ({"login": b"", "cookie": None}, AuthenticationError, "set no cookie"),
        ({"login": b"<html><title>Sign in</title>", "cookie": None}, InvalidResponseError, "HTML titled 'Sign in'"),
        ({"cookie": "credential=; Path=/"}, AuthenticationError, "set no cookie"),
        ({"cookie": "credential=x; Domain=other.example"}, AuthenticationError, "set no cookie"),
        ({"session": {"accessToken": ""}}, AuthenticationError, "no accessToken"),
        ({"session": {"accessToken": None, "user": {}}}, AuthenticationError, "fields: accessToken, user"),
        ({"session": {"accessToken": 5}}, AuthenticationError, "no accessToken"),
        ({"session": {"accessToken": "a b"}}, InvalidResponseError, "no header can carry"),
        ({"session": {"accessToken": "строка"}}, InvalidResponseError, "no header can carry"),
        ({"session": [1]}, InvalidResponseError, "no JSON object"),
        ({"session": b"oops"}, InvalidResponseError, "no JSON"),
    ],
)
def test_a_response_that_is_no_login_is_named(
    mocked: responses.RequestsMock, shapes: dict[str, Any], error_class: type[GigaClientError], words: str
) -> None:
    answer(mocked, **shapes)
    with pytest.raises(error_class, match=words) as caught:
        FakeGpt(URL, max_retries=0).chat("hi")
    assert type(caught.value) is error_class
    assert "/api/conversation" not in paths(mocked)


@pytest.mark.parametrize(
    "login", [b"", b"<html><title>ChatGPT</title>", {"code": 0}, {"code": 200, "message": "ok"}, b"ok"]
)
def test_what_a_login_says_does_not_matter_when_it_sets_the_cookie(mocked: responses.RequestsMock, login: Any) -> None:
    answer(mocked, login=login)
    assert FakeGpt(URL).chat("hi").text == "ok"
    assert mocked.calls[2].request.headers["Cookie"] == "credential=c00kie"
    assert mocked.calls[3].request.headers["X-Authorization"] == "Bearer t0ken"


def test_cookies_are_kept_from_step_to_step_and_replaced_by_later_ones(mocked: responses.RequestsMock) -> None:
    mocked.add("GET", f"{URL}/api/loads", json={"loads": [{"token_id": "x"}]}, headers={"Set-Cookie": "a=1; Path=/"})
    mocked.add("POST", f"{URL}/auth/login", json={}, headers={"Set-Cookie": "credential=old"})
    mocked.add(
        "GET", f"{URL}/api/auth/session", json={"accessToken": "t"}, headers={"Set-Cookie": "credential=new; Path=/"}
    )
    mocked.add("POST", f"{URL}/api/conversation", body=STREAM, content_type="text/event-stream")
    client = FakeGpt(URL, headers={"Cookie": "cf_clearance=z; b=2"})
    client.chat("hi")
    assert [call.request.headers["Cookie"] for call in mocked.calls] == [
        "cf_clearance=z; b=2",
        "cf_clearance=z; b=2; a=1",
        "cf_clearance=z; b=2; a=1; credential=old",
        "cf_clearance=z; b=2; a=1; credential=new",
    ]


def test_a_session_that_seems_long_over_is_used_until_refused(mocked: responses.RequestsMock) -> None:
    answer(mocked, session={"accessToken": "secret", "expires": "1999-01-01T00:00:00.000Z"})
    client = FakeGpt(URL)
    client.chat("hi")
    client.chat("hi")
    assert paths(mocked).count("/auth/login") == 1


def test_a_server_without_a_login_is_distinguished_from_a_wrong_path(mocked: responses.RequestsMock) -> None:
    mocked.add("GET", f"{URL}/api/loads", json={"detail": "Not Found"}, status=404)
    with pytest.raises(NotFoundError, match="check base_url"):
        FakeGpt(URL).chat("hi")


def test_the_public_host_is_said_to_be_gone(mocked: responses.RequestsMock) -> None:
    with pytest.raises(APIConnectionError, match=r"public host is gone.*base_url="):
        FakeGpt(max_retries=0).chat("hi")
