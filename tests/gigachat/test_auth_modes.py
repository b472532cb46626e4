"""The authentication methods against a real server: which requests are sent, and with which credentials."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.token_tools import shown_by, together

from gigaclient import AuthenticationError, ConfigError, GigaChat, context
from gigaclient.testing import Authority, Fault, GigaChatEmulator

USER, PASSWORD = "мария", "пароль: 123"


@pytest.fixture
def emulator(emulator: GigaChatEmulator) -> GigaChatEmulator:
    emulator.users = {USER: PASSWORD}
    return emulator


def client(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    known = {name: value for name, value in emulator.client_options.items() if name != "credentials"}
    return GigaChat(**{**known, "deadline": 20, **options})


def authorizations(emulator: GigaChatEmulator) -> list[str | None]:
    return [request.headers.get("authorization") for request in emulator.requests]


# -- authorization key -----


@pytest.mark.parametrize(
    "paste", ["{}", "Basic {}", "Bearer {}", "  {}\r\n", '"{}"', "Basic\t{}\n", "Authorization: Basic {}"]
)
def test_a_key_works_however_it_was_pasted(emulator: GigaChatEmulator, paste: str) -> None:
    with client(emulator, credentials=paste.format(emulator.credentials)) as giga:
        assert giga.chat("hi").text
    assert emulator.oauth_requests[0].headers["authorization"] == f"Basic {emulator.credentials}"


def test_a_key_wrapped_over_lines_or_without_its_padding_works(emulator: GigaChatEmulator) -> None:
    key = emulator.credentials
    for paste in (f"{key[:50]}\n{key[50:]}\n", key.rstrip("=")):
        with client(emulator, credentials=paste) as giga:
            assert giga.chat("hi").text


def test_an_unusual_key_is_sent_and_the_service_decides(emulator: GigaChatEmulator) -> None:
    with client(emulator, credentials=base64.b64encode(b"not:uuids").decode()) as giga:
        with pytest.raises(AuthenticationError) as caught:
            giga.chat("hi")
        assert caught.value.code == 6


# -- user and password -----


@pytest.mark.parametrize("shape", ["tok", "access_token"])
def test_user_and_password_get_a_token_from_the_api_itself(emulator: GigaChatEmulator, shape: Any) -> None:
    emulator.password_token_shape = shape
    with client(emulator, user=USER, password=PASSWORD) as giga:
        texts = together(16, lambda n: giga.chat(f"Repeat: word{n}").text)
        assert all(f"word{n}" in text for n, text in enumerate(texts)), texts
        assert (emulator.password_calls, emulator.oauth_calls) == (1, 0)
        emulator.revoke_tokens()
        assert giga.chat("hi").text
    assert (emulator.password_calls, emulator.oauth_calls) == (2, 0)
    login = emulator.requests[0]
    assert (login.method, login.path, login.body) == ("POST", "/v1/token", b"")
    assert login.headers["content-length"] == "0"
    assert login.headers["authorization"] == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert "rquid" not in login.headers
    assert "content-type" not in login.headers


def test_a_wrong_password_is_reported_once_and_never_shown(emulator: GigaChatEmulator) -> None:
    with client(emulator, user=USER, password="wrong-password") as giga, pytest.raises(AuthenticationError) as caught:
        giga.chat("hi")
    assert "user and password" in str(caught.value)
    shown = shown_by(caught.value)
    assert "wrong-password" not in shown
    assert base64.b64encode(f"{USER}:wrong-password".encode()).decode() not in shown
    assert emulator.password_calls == 1


def test_a_host_without_that_route_is_explained(emulator: GigaChatEmulator) -> None:
    emulator.users = {}
    with client(emulator, user=USER, password=PASSWORD) as giga, pytest.raises(AuthenticationError, match="/token"):
        giga.chat("hi")


@pytest.mark.parametrize("arguments", [{"user": USER}, {"password": PASSWORD}])
def test_user_and_password_come_together(emulator: GigaChatEmulator, arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="come together"):
        client(emulator, **arguments)


# -- a ready token -----


@pytest.mark.parametrize("paste", ["{}", "Bearer {}", "bearer {}\n", "'{}'"])
def test_a_ready_token_is_sent_without_a_token_request(emulator: GigaChatEmulator, paste: str) -> None:
    token = emulator.issue_token()
    with client(emulator, access_token=paste.format(token)) as giga:
        assert giga.chat("hi").text
        assert giga.get_token().access_token == token
        assert giga.get_token().expires_at == 0
        assert giga.stats().tokens_fetched == 0
    assert authorizations(emulator) == [f"Bearer {token}"]
    assert emulator.oauth_calls == 0


def test_a_ready_token_alone_that_is_refused_is_final_and_explained(emulator: GigaChatEmulator) -> None:
    token = emulator.issue_token()
    emulator.revoke_tokens()
    with client(emulator, access_token=token) as giga:
        for sent in (1, 2):
            with pytest.raises(AuthenticationError, match="was not accepted: check credentials") as caught:
                giga.chat("hi")
            assert len(emulator.requests) == sent, "not repeated"
            assert token not in shown_by(caught.value)
    assert emulator.oauth_calls == 0


def test_a_ready_token_with_a_key_is_used_until_it_is_refused_and_then_replaced(emulator: GigaChatEmulator) -> None:
    token = emulator.issue_token()
    with client(emulator, access_token=token, credentials=emulator.credentials) as giga:
        assert giga.chat("hi").text
        assert emulator.oauth_calls == 0
        emulator.revoke_tokens()
        texts = together(16, lambda n: giga.chat(f"Repeat: word{n}").text)
        assert all(f"word{n}" in text for n, text in enumerate(texts)), texts
        assert emulator.oauth_calls == 1
        emulator.revoke_tokens()
        assert giga.chat("hi").text
    assert emulator.oauth_calls == 2


def test_a_ready_token_with_user_and_password_falls_back_to_those(emulator: GigaChatEmulator) -> None:
    with client(emulator, access_token="stale", user=USER, password=PASSWORD) as giga:
        assert giga.chat("hi").text
    assert (emulator.password_calls, emulator.oauth_calls) == (1, 0)


def test_a_key_goes_before_user_and_password(emulator: GigaChatEmulator) -> None:
    with client(emulator, credentials=emulator.credentials, user=USER, password=PASSWORD) as giga:
        assert giga.chat("hi").text
    assert (emulator.password_calls, emulator.oauth_calls) == (0, 1)


# -- a certificate -----


def test_a_client_certificate_is_enough_by_itself() -> None:
    with Authority() as authority, GigaChatEmulator(client_ca=authority) as emulator:
        ours = authority.issue_client("client.example")
        with client(emulator, cert_file=ours.cert_file, key_file=ours.key_file) as giga:
            assert "certificate" in repr(giga)
            assert giga.chat("hi").text
            assert giga.stream("hi").result().text
            with pytest.raises(ConfigError, match="no token"):
                giga.get_token()
        assert authorizations(emulator) == [None, None]
        assert emulator.oauth_connections == 0


def test_a_client_certificate_and_a_key_go_together() -> None:
    with Authority() as authority, GigaChatEmulator(client_ca=authority) as emulator:
        ours = authority.issue_client("client.example")
        with client(
            emulator, cert_file=ours.cert_file, key_file=ours.key_file, credentials=emulator.credentials
        ) as giga:
            assert giga.chat("hi").text
        assert emulator.oauth_calls == 1
        assert authorizations(emulator)[0] is not None


# -- no credentials, and the caller's authorization -----


@pytest.mark.parametrize("how", ["chat", "stream", "generate", "get_token"])
def test_without_anything_the_error_says_what_to_pass_and_nothing_is_sent(emulator: GigaChatEmulator, how: str) -> None:
    with client(emulator) as giga:
        ask: Any = {
            "chat": lambda: giga.chat("hi"),
            "stream": lambda: giga.stream("hi"),
            "generate": lambda: list(giga.generate("hi")),
            "get_token": giga.get_token,
        }[how]
        with pytest.raises(ConfigError, match="no credentials"):
            ask()
        assert "auth=none" in repr(giga)
    assert emulator.connections == emulator.oauth_connections == 0


def test_a_callers_authorization_is_sent_unchanged_and_disables_token_refresh(emulator: GigaChatEmulator) -> None:
    token = emulator.issue_token()
    with client(emulator, credentials=emulator.credentials) as giga:
        assert giga.chat("hi", authorization=f"Bearer {token}").text
        assert giga.chat("hi", headers={"authorization": f"Bearer {token}"}).text
        reset = context.authorization_cvar.set(f"Bearer {token}")
        try:
            assert giga.chat("hi").text
            emulator.revoke_tokens()
            with pytest.raises(AuthenticationError):
                giga.chat("hi")
        finally:
            context.authorization_cvar.reset(reset)
        assert authorizations(emulator) == [f"Bearer {token}"] * 4
        assert emulator.oauth_calls == 0
        with pytest.raises(AuthenticationError):
            giga.stream("hi", authorization="Bearer somebody-else")
        assert emulator.oauth_calls == 0
        assert giga.chat("hi").text, "and the client's own is untouched"
    assert emulator.oauth_calls == 1


def test_a_callers_authorization_works_without_any_credentials(emulator: GigaChatEmulator) -> None:
    with client(emulator) as giga:
        assert giga.chat("hi", authorization=f"Bearer {emulator.issue_token()}").text


def test_the_token_goes_to_the_api_and_the_key_to_the_oauth_host_alone(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=503))
    with client(emulator, credentials=emulator.credentials, retry_backoff_factor=0.01) as giga:
        giga.chat("hi")
        token = giga.get_token().access_token
    assert [request.headers["authorization"] for request in emulator.oauth_requests] == [
        f"Basic {emulator.credentials}"
    ]
    assert authorizations(emulator) == [f"Bearer {token}"] * 2
    for request in emulator.requests:
        assert emulator.credentials not in repr(dict(request.headers)) + repr(request.body)
