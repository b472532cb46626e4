"""The settings of a client: each also from the environment, the argument wins, invalid values raise at once."""

from __future__ import annotations

import base64
import inspect
import math
import ssl
from pathlib import Path
from typing import Any

import msgspec
import msgspec.structs
import pytest
import requests
from support.token_tools import shown_by

from gigaclient import ConfigError, GigaChat
from gigaclient.gigachat.settings import GigaChatSettings, read_settings
from gigaclient.testing import GigaChatEmulator
from gigaclient.transport.tls import shipped_root

KEY = base64.b64encode(b"the-client-id:the-client-secret").decode()
OTHER_KEY = base64.b64encode(b"another-id:another-secret").decode()
SECRETS = ("the-client", KEY, "the-token", "the-password", "the-proxy-password", "the-key-password")

# argument: (its value, the text of the variable, the value in the settings)
SETTINGS: dict[str, tuple[Any, str, Any]] = {
    "credentials": (KEY, KEY, KEY),
    "scope": ("GIGACHAT_API_CORP", "GIGACHAT_API_CORP", "GIGACHAT_API_CORP"),
    "access_token": ("the-token", "the-token", "the-token"),
    "model": ("GigaChat-2-Max", "GigaChat-2-Max", "GigaChat-2-Max"),
    "base_url": ("https://stand.example/v1/", "https://stand.example/v1/", "https://stand.example/v1"),
    "auth_url": ("https://auth.example:9/oauth", "https://auth.example:9/oauth", "https://auth.example:9/oauth"),
    "v2_url": ("https://chat.example/v2/", "https://chat.example/v2/chat/completions", "https://chat.example/v2"),
    "proxy": ("http://me:the-proxy-password@proxy.example:3128", "http://me:the-proxy-password@proxy.example:3128",
              "http://me:the-proxy-password@proxy.example:3128"),
    "event_timeout": (7, "7", 7.0),
    "deadline": (30.5, "30.5", 30.5),
    "max_retries": (5, "5", 5),
    "retry_backoff_factor": (0.25, "0.25", 0.25),
    "retry_on_status_codes": ([429, 503], "429, 503", (429, 503)),
    "max_connections": (1, "1", 1),
    "profanity_check": (False, "false", False),
    "flags": (["a", "b"], "a,b", ("a", "b")),
    "session_id": ("a-session", "a-session", "a-session"),
}  # fmt: skip
# Settings that come in pairs, or are stored elsewhere, have separate tests.
APART = {
    "auth", "allow_http", "user", "password",
    "timeout", "trust", "ca_bundle_file", "verify_ssl_certs", "ssl_context", "cert_file",
    "key_file", "key_file_password", "session", "token_cache", "on_request", "on_response", "on_end",
}  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    path = tmp_path / "root.pem"
    path.write_text(shipped_root())
    return str(path)


def settings(**arguments: Any) -> GigaChatSettings:
    return GigaChat(**arguments)._settings


def refusal(**arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        GigaChat(**arguments)
    shown = "\n".join(line for line in shown_by(caught.value).splitlines() if not line.startswith("refusal:"))
    assert not [secret for secret in SECRETS if secret in shown]
    return str(caught.value)


def test_every_argument_of_the_constructor_is_tested_here() -> None:
    assert {*SETTINGS, *APART} == set(inspect.signature(GigaChat).parameters)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_setting_comes_from_its_argument_or_its_variable_and_the_argument_wins(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    argument, variable, kept = SETTINGS[name]
    default = getattr(settings(), name)
    assert getattr(settings(**{name: argument}), name) == kept != default
    monkeypatch.setenv(f"GIGACHAT_{name.upper()}", variable)
    assert getattr(settings(), name) == kept
    others: dict[str, Any] = {
        "credentials": OTHER_KEY, "scope": "GIGACHAT_API_B2B", "access_token": "another", "model": "other",
        "base_url": "https://other.example", "auth_url": "https://other.example/a", "proxy": "http://other.example:1",
        "v2_url": "https://other.example/v2",
        "event_timeout": 1, "deadline": 1, "max_retries": 0, "retry_backoff_factor": 0, "retry_on_status_codes": [500],
        "max_connections": 9, "profanity_check": True, "flags": ["c"], "session_id": "other",
    }  # fmt: skip
    assert getattr(settings(**{name: others[name]}), name) not in (kept, default)


def test_the_defaults_are_those_of_the_service() -> None:
    found = settings()
    assert (found.base_url, found.scope, found.model) == ("https://api.giga.chat/v1", "GIGACHAT_API_PERS", "GigaChat-2")
    assert found.auth_url == "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"
    assert (found.connect_timeout, found.read_timeout, found.timeouts.event) == (10.0, 120.0, 480.0)
    assert (found.timeouts.deadline, found.max_retries) == (math.inf, 2)
    assert (found.trust.mode, found.trust.authorities) == ("pinned", None)


def test_the_environment_is_read_when_the_client_is_made_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_MODEL", "first")
    giga = GigaChat()
    monkeypatch.setenv("GIGACHAT_MODEL", "second")
    assert giga._settings.model == "first"
    assert GigaChat()._settings.model == "second"


def test_the_variables_that_the_emulator_prints_are_enough(
    gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in gigachat_emulator.environment.items():
        monkeypatch.setenv(name, value)
    with GigaChat() as giga:
        assert giga.chat("hi").text


def test_timeouts_come_as_a_number_or_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(timeout=5).timeouts.connect == settings(timeout=5).timeouts.read == 5
    monkeypatch.setenv("GIGACHAT_TIMEOUT", "3, 60")
    found = settings().timeouts
    assert (found.connect, found.read, found.event) == (3, 60, 240)
    found = settings(timeout=(1, 2), event_timeout=50).timeouts
    assert (found.connect, found.read, found.event) == (1, 2, 50)


@pytest.mark.parametrize("name", ["user", "password"])
def test_user_and_password_come_from_arguments_or_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_USER", "me")
    monkeypatch.setenv("GIGACHAT_PASSWORD", "the-password")
    found = settings()
    assert (found.user, found.password) == ("me", "the-password")
    # One argument of the pair overrides both variables, so that two accounts are never mixed.
    assert "come together" in refusal(**{name: "me" if name == "user" else "the-password"})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ("credentials", "access_token", "user")),
        ({"credentials": OTHER_KEY}, ("credentials",)),
        # Refused or stale, it is replaced by means of the key in the environment.
        ({"access_token": "another"}, ("credentials", "access_token", "user")),
        ({"user": "me", "password": "the-password"}, ("user",)),
        ({"access_token": "another", "credentials": OTHER_KEY}, ("credentials", "access_token")),
    ],
)
def test_a_credential_argument_overrides_all_credential_variables(
    arguments: dict[str, Any], expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "CREDENTIALS": KEY,
        "ACCESS_TOKEN": "the-token",
        "USER": "u",
        "PASSWORD": "the-password",
    }.items():
        monkeypatch.setenv(f"GIGACHAT_{name}", value)
    monkeypatch.setenv("GIGACHAT_SCOPE", "GIGACHAT_API_CORP")
    found = settings(**arguments)
    assert (
        tuple(name for name in ("credentials", "access_token", "user") if getattr(found, name) is not None) == expected
    )
    assert found.scope == "GIGACHAT_API_CORP", "another question"


def test_a_trust_argument_overrides_all_trust_variables(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_VERIFY_SSL_CERTS", "false")
    with pytest.warns(UserWarning, match="verify_ssl_certs=False"):
        assert settings().trust.mode == "insecure"
    assert settings(ca_bundle_file=bundle).trust.source == bundle
    assert settings(trust="system").trust.mode == "system"
    assert settings(ssl_context=ssl.create_default_context()).trust.mode == "context"
    assert settings(verify_ssl_certs=True).trust.mode == "pinned"
    monkeypatch.setenv("GIGACHAT_VERIFY_SSL_CERTS", "true")
    monkeypatch.setenv("GIGACHAT_CA_BUNDLE_FILE", bundle)
    assert settings().trust.source == bundle
    assert settings(trust="pinned").trust.source is None


@pytest.mark.parametrize("trust", ["argument", "variable"])
def test_a_bundle_is_read_at_once_and_kept(bundle: str, trust: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if trust == "variable":
        monkeypatch.setenv("GIGACHAT_TRUST", bundle)
    giga = GigaChat(**({"trust": bundle} if trust == "argument" else {}))
    Path(bundle).unlink()
    assert "BEGIN CERTIFICATE" in (giga._settings.trust.authorities or "")
    assert giga.with_options(model="x")._settings.trust == giga._settings.trust


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"verify_ssl_certs": False, "ca_bundle_file": "BUNDLE"}, "verify_ssl_certs=False accepts any certificate"),
        ({"verify_ssl_certs": False, "trust": "system"}, "verify_ssl_certs=False accepts any certificate"),
        ({"trust": "system", "ca_bundle_file": "BUNDLE"}, "pass one of them"),
        ({"ssl_context": ssl.create_default_context(), "trust": "system"}, "replaces all other trust settings"),
        (
            {"ssl_context": ssl.create_default_context(), "ca_bundle_file": "BUNDLE"},
            "replaces all other trust settings",
        ),
        ({"ssl_context": ssl.create_default_context(), "verify_ssl_certs": False}, "replaces all other trust settings"),
        ({"ssl_context": ssl.create_default_context(), "cert_file": "BUNDLE"}, "replaces all other trust settings"),
        ({"ssl_context": True}, "ssl_context must be an ssl.SSLContext, not bool"),
        ({"key_file": "BUNDLE"}, "key_file needs cert_file"),
        ({"user": "me"}, "come together"),
        ({"password": "the-password"}, "come together"),
        ({"base_url": "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"}, "the address that gives tokens"),
        ({"base_url": "https://api.giga.chat/v1/chat/completions"}, "leave /chat/completions out"),
        ({"base_url": "https://me:pass@api.giga.chat/v1"}, "user= and password="),
        ({"session": "a session"}, "session: must be a requests.Session, not str"),
        ({"proxy": "ftp://me:the-proxy-password@proxy:1080"}, "not supported"),
        ({"proxy": "http://me:the-proxy-password@:3128"}, "not an address"),
    ],
)
def test_contradictions_and_what_cannot_work_are_config_errors(
    arguments: dict[str, Any], reason: str, bundle: str
) -> None:
    assert reason in refusal(**{name: bundle if value == "BUNDLE" else value for name, value in arguments.items()})


BAD: dict[str, list[Any]] = {
    "credentials": ["", "the-client-secret токен", 5],
    "access_token": ["", "the-token токен", 5],
    "scope": ["", 5],
    "user": ["", 5],
    "password": ["", 5],
    "model": ["", " ", 5],
    "base_url": ["", "api.giga.chat", "http://api.giga.chat/v1", 5, "https://[::1", "https://api.giga.chat/v1?x=1"],
    "auth_url": ["", "ngw", "http://ngw.example/oauth", 5],
    "trust": ["no/such/file", 5],
    "ca_bundle_file": ["no/such/file", 5],
    "verify_ssl_certs": ["maybe", 2, []],
    "cert_file": ["no/such/file", 5],
    "proxy": ["", 5, True],
    "timeout": [0, -1, "soon", (1, 2, 3), math.nan, [], True],
    "event_timeout": [0, -1, "soon", math.nan],
    "deadline": [0, -1, "soon", math.nan],
    "max_retries": [-1, 1.5, "many", True],
    "retry_backoff_factor": [-1, "fast", math.nan],
    "retry_on_status_codes": [[200], 429, "all", [99]],
    "max_connections": [0, -1, 1.5, "one"],
    "profanity_check": ["maybe", 2],
    "flags": [5, [5], {"a": 1}],
    "session_id": ["", 5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_a_config_error_that_names_the_argument_or_the_variable(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # If the value is the path of a missing file, the message names the path.
    words = "CA bundle" if value == "no/such/file" and name != "cert_file" else name
    assert words in refusal(**{name: value})
    if isinstance(value, str) and value.strip():
        monkeypatch.setenv(f"GIGACHAT_{name.upper()}", value)
        assert (words if words != name else f"GIGACHAT_{name.upper()}") in refusal() or name == "cert_file"


def test_an_unknown_argument_is_a_type_error() -> None:
    for unknown in ("credential", "verify", "api_key", "temperature"):
        with pytest.raises(TypeError, match=unknown):
            GigaChat(**{unknown: "x"})
    with pytest.raises(TypeError):
        GigaChat("the-client-secret")  # type: ignore[misc]


def test_a_config_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="timeout"):
        GigaChat(timeout=0)


def test_verification_switched_off_warns_once_and_at_the_callers_line() -> None:
    with pytest.warns(UserWarning, match="anybody on the network path can read the key") as caught:
        giga = GigaChat(credentials=KEY, verify_ssl_certs=False)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    giga.close()


def test_with_options_checks_as_the_constructor_does_and_refuses_what_needs_a_new_client() -> None:
    with GigaChat(credentials=KEY) as giga:
        for name in ("timeout", "deadline", "event_timeout", "max_retries", "retry_backoff_factor", "model", "flags"):
            with pytest.raises(ConfigError, match=name):
                giga.with_options(**{name: BAD[name][1]})
        for name in ("credentials", "base_url", "trust", "proxy", "scope"):
            with pytest.raises(TypeError, match=name):
                giga.with_options(**{name: "x"})


def test_settings_show_no_secret() -> None:
    found = settings(
        credentials=KEY, access_token="the-token", user="me", password="the-password",
        proxy="http://me:the-proxy-password@proxy.example:1",
    )  # fmt: skip
    shown = (
        repr(found)
        + str(found)
        + repr(msgspec.structs.asdict(found))
        + repr(found.__rich_repr__())
        + repr(found.trust)
        + repr(found.body_defaults)
    )
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_custom_session_is_accepted_only_as_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_SESSION", "something else")
    assert settings().session is None
    with requests.Session() as session:
        assert settings(session=session).session is session


def test_reading_settings_touches_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"credentials": KEY, "flags": ["a"]}
    read_settings(arguments)
    assert arguments == {"credentials": KEY, "flags": ["a"]}
