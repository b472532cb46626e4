"""The settings of a client, its copies, and its end."""

from __future__ import annotations

import copy
import pickle
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import requests

from gigaclient import (
    ConfigError,
    FakeGpt,
    TLSError,
)
from gigaclient.context import authorization_cvar, custom_headers_cvar
from gigaclient.testing import Authority, FakeGptEmulator

MakeClient = Callable[..., FakeGpt]


# -- settings --------------------------------------------------------------------------------------


def test_settings_come_from_the_environment(emulator: FakeGptEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKEGPT_BASE_URL", emulator.base_url + "/")
    monkeypatch.setenv("FAKEGPT_CA_BUNDLE_FILE", emulator.ca_file)
    monkeypatch.setenv("FAKEGPT_ACCESS_TOKEN", emulator.access_token)
    monkeypatch.setenv("FAKEGPT_PLAIN_AUTHORIZATION", "true")
    monkeypatch.setenv("FAKEGPT_TIMEOUT", "3, 7")
    monkeypatch.setenv("FAKEGPT_MAX_RETRIES", "5")
    with FakeGpt() as client:
        assert client.chat("hi").text
        settings = client._settings
    assert (settings.base_url, settings.connect_timeout, settings.read_timeout) == (emulator.base_url, 3.0, 7.0)
    assert settings.max_retries == 5
    assert emulator.requests[-1].headers["authorization"] == f"Bearer {emulator.access_token}"
    assert emulator.logins == 0


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKEGPT_BASE_URL", "https://one.example")
    monkeypatch.setenv("FAKEGPT_CA_BUNDLE_FILE", "/nowhere.pem")
    assert FakeGpt("https://two.example", trust="system")._settings.base_url == "https://two.example"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"base_url": "fakegpt.example"}, "base_url: must be an address"),
        ({"base_url": "https://fakegpt.example/?v=2"}, "query"),
        ({"base_url": "https://fakegpt.example/api/conversation"}, "leave /api/conversation out"),
        ({"base_url": "http://fakegpt.example"}, "in the clear"),
        ({"base_url": "https://user:secretword@fakegpt.example"}, "password"),
        ({"access_token": " "}, "empty"),
        ({"access_token": "Bearer  "}, "empty"),
        ({"access_token": "secretword secretword"}, "characters"),
        ({"access_token": 5}, "string"),
        ({"trust": "pinned"}, "no server of this service has a certificate of it"),
        ({"trust": "system", "ca_bundle_file": "x"}, "both name"),
        ({"verify_ssl_certs": False, "trust": "system"}, "verify_ssl_certs=False accepts any certificate"),
        ({"ssl_context": "tls"}, "SSLContext"),
        ({"session": "session"}, "session: must be a requests.Session"),
        ({"timeout": 0}, "timeout"),
        ({"max_connections": 0}, "max_connections"),
        ({"headers": ["a"]}, "mapping"),
        ({"headers": {"X-A": "а"}}, "ASCII"),
        ({"headers": {"X-A": "a\nb"}}, "ASCII"),
        ({"headers": {"X A": "b"}}, "header name"),
        ({"proxy": "ftp://localhost:1"}, "not supported"),
    ],
)
def test_what_cannot_work_is_said_at_once(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        FakeGpt(**options)
    assert "secretword" not in str(caught.value)


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="credentials"):
        FakeGpt(credentials="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8018", "http://192.168.1.7:8018/base", "http://localhost"])
def test_plain_http_is_for_this_machine_and_private_networks(url: str) -> None:
    assert FakeGpt(url)._settings.base_url == url


def test_headers_can_be_replaced_added_and_left_out(make: MakeClient, emulator: FakeGptEmulator) -> None:
    make(headers={"user-agent": "Mozilla/5.0 mine", "Referer": None, "X-Extra": "1"}).chat("hi")
    for request in emulator.requests:
        assert request.headers.get_all("user-agent") == ["Mozilla/5.0 mine"]
        assert "referer" not in request.headers
        assert request.headers["x-extra"] == "1"


def test_headers_of_one_call_are_sent_with_that_call(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    client.chat("hi", headers={"X-Use-Token": "mine"}, request_id="r-77")
    client.chat("hi")
    first, second = [request for request in emulator.requests if request.path == "/api/conversation"]
    assert (first.headers["x-use-token"], first.headers["x-request-id"]) == ("mine", "r-77")
    assert "x-use-token" not in second.headers


def test_the_context_variables_of_another_service_are_not_sent(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    token = authorization_cvar.set("Bearer of-another-service")
    headers = custom_headers_cvar.set({"X-Other": "1"})
    try:
        client.chat("hi")
    finally:
        authorization_cvar.reset(token)
        custom_headers_cvar.reset(headers)
    for request in emulator.requests:
        assert "x-other" not in request.headers
        assert "of-another-service" not in str(request.headers.get_all("authorization"))
    assert emulator.logins == 1


def test_the_public_authorities_are_trusted_by_default(emulator: FakeGptEmulator) -> None:
    with pytest.raises(TLSError, match="public authorities"):
        FakeGpt(emulator.base_url, max_retries=0).chat("hi")
    assert emulator.requests == []


def test_only_the_certificates_of_a_bundle_are_trusted(emulator: FakeGptEmulator) -> None:
    with Authority() as another, pytest.raises(TLSError):
        FakeGpt(emulator.base_url, trust=another.ca_file, max_retries=0).chat("hi")
    assert FakeGpt(emulator.base_url, trust=emulator.ca_file).chat("hi").text


def test_a_context_of_ones_own_says_it_all(emulator: FakeGptEmulator) -> None:
    context = ssl.create_default_context(cafile=emulator.ca_file)
    assert FakeGpt(emulator.base_url, ssl_context=context).chat("hi").text


def test_disabled_certificate_checks_warn(emulator: FakeGptEmulator) -> None:
    with pytest.warns(UserWarning, match="verify_ssl_certs=False") as caught:
        client = FakeGpt(emulator.base_url, verify_ssl_certs=False)
    assert client.chat("hi").text
    assert caught[0].filename == __file__


def test_a_session_of_ones_own_is_used_and_learns_no_secret_of_ours(emulator: FakeGptEmulator) -> None:
    with requests.Session() as session:
        session.headers["X-Session"] = "1"
        client = FakeGpt(session=session, **emulator.client_options)
        assert client.chat("hi").text
        assert "Authorization" not in session.headers


# -- the client itself -----------------------------------------------------------------------------


def test_a_copy_with_other_options_shares_login_and_connections(make: MakeClient, emulator: FakeGptEmulator) -> None:
    client = make()
    client.chat("hi")
    other = client.with_options(timeout=(1, 2), max_retries=0, deadline=5, event_timeout=3, model="x")
    other.chat("hi")
    assert emulator.logins == 1
    assert emulator.connections == 1
    assert (other._settings.connect_timeout, other._settings.read_timeout) == (1.0, 2.0)
    assert client._settings.read_timeout == 20.0
    other.close()
    assert other.closed
    with pytest.raises(ConfigError, match="closed"):
        other.chat("hi")
    assert client.chat("hi").text


def test_a_copy_checks_its_options(client: FakeGpt) -> None:
    with pytest.raises(ConfigError, match="max_retries"):
        client.with_options(max_retries=-1)


@pytest.mark.parametrize(
    "copied", [lambda c: pickle.loads(pickle.dumps(c)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
def test_settings_travel_and_logins_stay(make: MakeClient, emulator: FakeGptEmulator, copied: Any) -> None:
    client = make(headers={"X-Extra": "1", "Cookie": "a=1"}, max_retries=0)
    client.chat("hi")
    with copied(client) as twin:
        assert twin._settings == client._settings
        assert twin.chat("hi").text
    assert emulator.logins == 2
    assert "a=1" in emulator.requests[-1].headers["cookie"]
    assert client.chat("hi").text


def test_what_cannot_travel_says_so() -> None:
    with requests.Session() as session:
        client = FakeGpt("https://fakegpt.example", session=session)
        with pytest.raises(ConfigError, match="session"):
            pickle.dumps(client)
        with pytest.raises(ConfigError, match="session"):
            copy.copy(client)


def test_closing_ends_it_more_than_once(emulator: FakeGptEmulator) -> None:
    with FakeGpt(**emulator.client_options) as client:
        client.chat("hi")
        stream = client.stream("Count from 1 to 9")
        next(stream)
    client.close()
    assert client.closed
    with pytest.raises(ConfigError, match="closed"):
        client.stream("hi")


def test_repr_says_where_and_how(make: MakeClient, emulator: FakeGptEmulator) -> None:
    assert repr(make()) == f"<FakeGpt base_url='{emulator.base_url}' auth=login>"
    assert repr(make(access_token="t")) == f"<FakeGpt base_url='{emulator.base_url}' auth=access_token>"
