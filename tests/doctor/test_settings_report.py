"""Settings and the environment: where each came from, what cannot be used, what nobody reads. No network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.doctor_tools import examined, failed, shows_no

from gigaclient import GigaChat
from gigaclient.doctor import Report, examine
from gigaclient.doctor.settings_report import _HARMLESS, ENVIRONMENT_SETTINGS, Plan, _aside, misspelt, read_plan
from gigaclient.gigachat.settings import read_settings
from gigaclient.testing import GigaChatEmulator

# What cannot work, for each setting that can be wrong in the environment.
WRONG = {
    "auth_url": "ftp://somewhere",
    "base_url": "not an address",
    "ca_bundle_file": "/no/such/bundle.pem",
    "cert_file": "/no/such/certificate.pem",
    "credentials": "not base64!",
    "deadline": "soon",
    "event_timeout": "0",
    "max_connections": "0",
    "max_retries": "-1",
    "profanity_check": "perhaps",
    "retry_backoff_factor": "-1",
    "retry_on_status_codes": "200",
    "timeout": "never",
    "trust": "/no/such/bundle.pem",
    "v2_url": "nowhere",
    "verify_ssl_certs": "maybe",
}


def plan(**arguments: Any) -> Plan:
    return read_plan(arguments, {}, {})


# -- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_setting_of_the_environment_that_cannot_be_used_is_put_aside_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_SCOPE", "GIGACHAT_API_CORP")
    monkeypatch.setenv(f"GIGACHAT_{name.upper()}", WRONG[name])
    found = plan()
    assert list(found.problems) == [name]
    assert found.settings.scope == "GIGACHAT_API_CORP"
    GigaChat(**found.arguments).close()  # what is left makes a client


@pytest.mark.parametrize("name", sorted(WRONG))
def test_an_argument_that_cannot_be_used_is_put_aside_alone(name: str) -> None:
    found = plan(scope="GIGACHAT_API_CORP", **{name: WRONG[name]})
    assert list(found.problems) == [name]
    assert found.settings.scope == "GIGACHAT_API_CORP"
    GigaChat(**found.arguments).close()


def test_every_setting_that_can_be_wrong_is_among_those_tried() -> None:
    never_wrong = {"access_token", "flags", "key_file", "key_file_password", "model", "password", "proxy", "scope"}
    never_wrong |= {"session_id", "token_cache", "user"}
    assert set(WRONG) | never_wrong == set(ENVIRONMENT_SETTINGS)


@pytest.mark.parametrize("name", [name for name in ENVIRONMENT_SETTINGS if name != "proxy"])
def test_whatever_is_put_aside_leaves_settings_that_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GIGACHAT_{name.upper()}", WRONG.get(name, "x"))
    settings = read_settings(_aside(name))
    settings.trust.make_context()
    assert set(_HARMLESS) <= set(ENVIRONMENT_SETTINGS)


def test_all_of_them_at_once_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {name: value for name, value in WRONG.items() if name not in ("ca_bundle_file", "verify_ssl_certs")}
    for name, value in alone.items():
        monkeypatch.setenv(f"GIGACHAT_{name.upper()}", value)
    assert set(plan().problems) == set(alone)


def test_two_settings_that_contradict_each_other_are_told(shared_emulator: GigaChatEmulator) -> None:
    report = examined(shared_emulator, trust="system")
    assert failed(report)[0] == "settings"
    assert "both name the trusted authorities" in report["settings"].detail


def test_a_bundle_that_is_not_there_is_the_first_finding_and_the_rest_is_looked_at(
    shared_emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    report = examined(shared_emulator, ca_bundle_file=str(tmp_path / "gone.pem"))
    assert failed(report)[0] == "settings"
    assert "gone.pem" in report["settings"].detail
    assert "mend or remove ca_bundle_file= (argument)" in report["settings"].next_step
    assert report["api.connection"].outcome == "ok"
    assert "Russian Trusted Root CA" in report["api.tls"].detail  # the default took its place


def test_an_address_that_is_none_leaves_its_host_out(shared_emulator: GigaChatEmulator) -> None:
    report = examined(shared_emulator, base_url="api.giga.chat")
    assert failed(report) == ["settings"]
    for id in ("api.address", "api.connection", "api.tls", "models"):
        assert report[id].detail == "not checked: base_url cannot be used"
    assert report["token"].outcome == "ok"


def test_a_key_in_the_wrong_variable_is_not_shown(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_BASE_URL", shared_emulator.credentials)
    monkeypatch.setenv("GIGACHAT_MODEL", f"Bearer {shared_emulator.credentials}")
    report = examined(shared_emulator, base_url=None)
    assert "settings" in failed(report)


def test_a_password_in_an_address_is_not_shown(shared_emulator: GigaChatEmulator) -> None:
    report = examined(shared_emulator, base_url="https://alice:a-passw0rd@api.example.invalid/v1")
    assert "must not hold a user and a password" in report["settings"].detail
    shows_no(report, "a-passw0rd", "alice")


def test_a_bundle_of_the_environment_that_the_system_is_told_to_believe_and_is_not_there(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    report = examined(shared_emulator, ca_bundle_file=None, trust="system")
    assert failed(report)[0] == "settings"
    assert "REQUESTS_CA_BUNDLE" in report["settings"].detail


# -- where each came from --------------------------------------------------------------------------------------------


def test_an_argument_wins_and_the_report_says_over_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_MODEL", "GigaChat-2-Max")
    (given,) = plan(model="GigaChat-2-Pro").given
    assert (given.shown, given.source) == ("GigaChat-2-Pro", "argument (over GIGACHAT_MODEL)")


def test_a_variable_that_an_argument_keeps_from_being_asked_is_told(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_TRUST", "system")
    report = examined(shared_emulator)
    assert "trust = system (GIGACHAT_TRUST): not asked" in report["settings"].detail
    assert report.healthy


def test_a_variable_that_cannot_be_used_and_is_not_asked_is_no_failure(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_ACCESS_TOKEN", "not a token\n at all")
    assert examined(shared_emulator).healthy


def test_objects_are_named_by_their_kind(shared_emulator: GigaChatEmulator) -> None:
    import requests

    with requests.Session() as session:
        report = examined(shared_emulator, session=session, timeout=(3, 4))
    assert report.healthy
    assert "session = <Session> (argument)" in report["settings"].detail
    assert "timeout = (3, 4) (argument)" in report["settings"].detail


# -- what nobody reads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("GIGACHAT_CREDENTIAL", "GIGACHAT_CREDENTIALS"),
        ("GIGACHAT_CREDENTAILS", "GIGACHAT_CREDENTIALS"),
        ("GIGACHAT_API_KEY", "GIGACHAT_CREDENTIALS"),
        ("GIGACHAT_TOKEN", "GIGACHAT_ACCESS_TOKEN"),
        ("GIGACHAT_CA_BUNDLE", "GIGACHAT_CA_BUNDLE_FILE"),
        ("GIGACHAT_CA_BUNDEL", "GIGACHAT_CA_BUNDLE_FILE"),
        ("GIGACHAT_VERIFY_SSL", "GIGACHAT_VERIFY_SSL_CERTS"),
        ("GIGA_CHAT_SCOPE", "GIGACHAT_SCOPE"),
    ],
)
def test_a_variable_that_nobody_reads_is_told_with_the_one_that_was_meant(
    variable: str, meant: str, shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "a-value-that-may-be-secret")
    assert misspelt() == [(variable, meant)]
    report = examined(shared_emulator)
    assert report.healthy
    assert report["environment"].outcome == "warning"
    assert variable in report["environment"].detail
    assert meant in report["environment"].next_step
    shows_no(report, "a-value-that-may-be-secret")


def test_a_variable_that_is_like_none_of_ours_may_be_the_programs_own(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_FAVOURITE_COLOUR", "blue")
    report = examined(shared_emulator)
    assert report["environment"].outcome == "ok"
    assert "no settings of gigaclient: GIGACHAT_FAVOURITE_COLOUR" in report["environment"].detail


@pytest.mark.skipif(os.name == "nt", reason="names of variables have no case there")
def test_a_name_in_small_letters_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("gigachat_credentials", "x")
    assert misspelt() == [("gigachat_credentials", "GIGACHAT_CREDENTIALS")]


@pytest.mark.parametrize("name", ENVIRONMENT_SETTINGS)
def test_what_is_read_is_not_called_misspelt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GIGACHAT_{name.upper()}", "x")
    assert misspelt() == []


def test_a_variable_without_a_value_is_told(shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_SCOPE", " ")
    report = examined(shared_emulator, scope=None)
    assert report["environment"].outcome == "warning"
    assert "GIGACHAT_SCOPE is empty" in report["environment"].detail


def test_what_other_programs_obey_is_said_to_be_ignored(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NETRC", "SSLKEYLOGFILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "/no/such/place")
    report = examined(shared_emulator)
    assert report["environment"].outcome == "ok"
    assert "ignored: SSL_CERT_DIR, NETRC, SSLKEYLOGFILE" in report["environment"].detail


def test_the_settings_known_here_are_those_that_the_client_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(dict[str, Any]):
        def __init__(self) -> None:
            self.asked: set[str] = set()

        def get(self, name: str, default: Any = None) -> Any:
            self.asked.add(name)
            return default

    watched = Watched()
    read_settings(watched)
    objects = {"session", "ssl_context", "on_request", "on_response", "on_end"}
    assert watched.asked - objects == set(ENVIRONMENT_SETTINGS)


def a_report(**arguments: Any) -> Report:
    return examine(base_url="https://api.example.invalid/v1", auth_url="https://oauth.example.invalid/x", **arguments)


def test_secrets_that_were_given_in_any_form_are_not_in_the_plan() -> None:
    arguments = {"credentials": '"a-broken-key"', "proxy": "http://alice:the-passw0rd@proxy.invalid:1"}
    report = a_report(**arguments)
    shows_no(report, "a-broken-key", "the-passw0rd")
    shown = repr(plan(**arguments)) + repr(plan(**arguments).given)
    assert "a-broken-key" not in shown
    assert "the-passw0rd" not in shown
