"""Settings and the environment: sources, invalid values, variables that are not read. No network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.doctor_tools import assert_no_secrets, failed, report_on

from gigaclient import GigaChat
from gigaclient.doctor import Report, examine
from gigaclient.doctor.settings_report import (
    _VALID_VALUES,
    ENVIRONMENT_SETTINGS,
    InspectedSettings,
    _valid_arguments,
    inspect_settings,
    misspelt_variables,
)
from gigaclient.gigachat.settings import read_settings
from gigaclient.testing import GigaChatEmulator

# An invalid value for each setting that can be wrong in the environment.
WRONG = {
    "allow_http": "maybe",
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


def inspected(**arguments: Any) -> InspectedSettings:
    return inspect_settings(arguments, {}, {})


# -- invalid settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_setting_of_the_environment_that_is_not_valid_is_replaced_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_SCOPE", "GIGACHAT_API_CORP")
    monkeypatch.setenv(f"GIGACHAT_{name.upper()}", WRONG[name])
    found = inspected()
    assert list(found.problems) == [name]
    assert found.settings.scope == "GIGACHAT_API_CORP"
    GigaChat(**found.arguments).close()  # the valid arguments make a client


@pytest.mark.parametrize("name", sorted(WRONG))
def test_an_argument_that_is_not_valid_is_replaced_alone(name: str) -> None:
    found = inspected(scope="GIGACHAT_API_CORP", **{name: WRONG[name]})
    assert list(found.problems) == [name]
    assert found.settings.scope == "GIGACHAT_API_CORP"
    GigaChat(**found.arguments).close()


def test_every_setting_that_can_be_wrong_is_tested() -> None:
    never_wrong = {"access_token", "flags", "key_file", "key_file_password", "model", "password", "proxy", "scope"}
    never_wrong |= {"session_id", "token_cache", "user"}
    assert set(WRONG) | never_wrong == set(ENVIRONMENT_SETTINGS)


@pytest.mark.parametrize("name", [name for name in ENVIRONMENT_SETTINGS if name != "proxy"])
def test_the_replacement_of_each_setting_is_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GIGACHAT_{name.upper()}", WRONG.get(name, "x"))
    settings = read_settings(_valid_arguments(name))
    settings.trust.make_context()
    assert set(_VALID_VALUES) <= set(ENVIRONMENT_SETTINGS)


def test_all_invalid_settings_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {name: value for name, value in WRONG.items() if name not in ("ca_bundle_file", "verify_ssl_certs")}
    for name, value in alone.items():
        monkeypatch.setenv(f"GIGACHAT_{name.upper()}", value)
    assert set(inspected().problems) == set(alone)


def test_two_settings_that_contradict_each_other_are_reported(shared_emulator: GigaChatEmulator) -> None:
    report = report_on(shared_emulator, trust="system")
    assert failed(report)[0] == "settings"
    assert re.search(r"not valid: .*\bca_bundle_file\b", report["settings"].detail)


def test_a_missing_bundle_is_the_first_failure_and_the_rest_is_checked(
    shared_emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    report = report_on(shared_emulator, ca_bundle_file=str(tmp_path / "gone.pem"))
    assert failed(report)[0] == "settings"
    assert "gone.pem" in report["settings"].detail
    assert "fix or remove ca_bundle_file= (argument)" in report["settings"].next_step
    assert report["api.connection"].outcome == "ok"
    assert "Russian Trusted Root CA" in report["api.tls"].detail  # the default is used instead


def test_the_host_of_an_invalid_address_is_not_checked(shared_emulator: GigaChatEmulator) -> None:
    report = report_on(shared_emulator, base_url="api.giga.chat")
    assert failed(report) == ["settings"]
    for id in ("api.address", "api.connection", "api.tls", "models"):
        assert report[id].detail == "not checked: base_url is not valid"
    assert report["token"].outcome == "ok"


def test_a_key_in_the_wrong_variable_is_not_shown(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_BASE_URL", shared_emulator.credentials)
    monkeypatch.setenv("GIGACHAT_MODEL", f"Bearer {shared_emulator.credentials}")
    report = report_on(shared_emulator, base_url=None)
    assert "settings" in failed(report)


def test_a_password_in_an_address_is_not_shown(shared_emulator: GigaChatEmulator) -> None:
    report = report_on(shared_emulator, base_url="https://alice:a-passw0rd@api.example.invalid/v1")
    assert "must not hold a user and a password" in report["settings"].detail
    assert_no_secrets(report, "a-passw0rd", "alice")


def test_a_missing_bundle_of_the_environment_is_a_failure_with_system_trust(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    report = report_on(shared_emulator, ca_bundle_file=None, trust="system")
    assert failed(report)[0] == "settings"
    assert "REQUESTS_CA_BUNDLE" in report["settings"].detail


# -- sources ---------------------------------------------------------------------------------------------------------


def test_an_argument_overrides_a_variable_and_the_report_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_MODEL", "GigaChat-2-Max")
    (setting,) = inspected(model="GigaChat-2-Pro").explicit_settings
    assert (setting.display, setting.source) == ("GigaChat-2-Pro", "argument (over GIGACHAT_MODEL)")


def test_a_variable_that_an_argument_replaces_is_reported(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_TRUST", "system")
    report = report_on(shared_emulator)
    assert "trust = system (GIGACHAT_TRUST): not used" in report["settings"].detail
    assert report.healthy


def test_an_invalid_variable_that_is_not_used_is_not_a_failure(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_ACCESS_TOKEN", "not a token\n at all")
    assert report_on(shared_emulator).healthy


def test_objects_are_shown_by_their_type(shared_emulator: GigaChatEmulator) -> None:
    import requests

    with requests.Session() as session:
        report = report_on(shared_emulator, session=session, timeout=(3, 4))
    assert report.healthy
    assert "session = <Session> (argument)" in report["settings"].detail
    assert "timeout = (3, 4) (argument)" in report["settings"].detail


# -- variables that are not read -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "expected"),
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
def test_a_misspelt_variable_is_reported_with_the_correct_name(
    variable: str, expected: str, shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "a-value-that-may-be-secret")
    assert misspelt_variables() == [(variable, expected)]
    report = report_on(shared_emulator)
    assert report.healthy
    assert report["environment"].outcome == "warning"
    assert variable in report["environment"].detail
    assert expected in report["environment"].next_step
    assert_no_secrets(report, "a-value-that-may-be-secret")


def test_a_variable_unlike_any_setting_is_not_a_warning(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_FAVOURITE_COLOUR", "blue")
    report = report_on(shared_emulator)
    assert report["environment"].outcome == "ok"
    assert "not settings of gigaclient: GIGACHAT_FAVOURITE_COLOUR" in report["environment"].detail


@pytest.mark.skipif(os.name == "nt", reason="names of variables have no case there")
def test_a_name_in_small_letters_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("gigachat_scope", '"GIGACHAT_API_B2B"')
    monkeypatch.setenv("GigaChat_Credentials", "x")
    assert misspelt_variables() == [("GigaChat_Credentials", "GIGACHAT_CREDENTIALS")]
    assert inspected().settings.scope == "GIGACHAT_API_B2B"


@pytest.mark.parametrize("name", ENVIRONMENT_SETTINGS)
def test_a_setting_is_not_called_misspelt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GIGACHAT_{name.upper()}", "x")
    assert misspelt_variables() == []


def test_an_empty_variable_is_reported(shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_SCOPE", " ")
    report = report_on(shared_emulator, scope=None)
    assert report["environment"].outcome == "warning"
    assert "GIGACHAT_SCOPE is empty" in report["environment"].detail


def test_ignored_variables_of_other_programs_are_reported(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NETRC", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "/no/such/place")
    report = report_on(shared_emulator)
    assert report["environment"].outcome == "ok"
    assert "ignored: SSL_CERT_DIR, NETRC" in report["environment"].detail


def test_a_file_for_the_keys_of_connections_is_reported(
    shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert "SSLKEYLOGFILE is set" in report_on(shared_emulator)["environment"].detail


def test_the_settings_known_here_are_those_that_the_client_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(dict[str, Any]):
        def __init__(self) -> None:
            self.names: set[str] = set()

        def get(self, name: str, default: Any = None) -> Any:
            self.names.add(name)
            return default

    watched = Watched()
    read_settings(watched)
    objects = {"auth", "session", "ssl_context", "on_request", "on_response", "on_end"}
    assert watched.names - objects == set(ENVIRONMENT_SETTINGS)


def offline_report(**arguments: Any) -> Report:
    return examine(base_url="https://api.example.invalid/v1", auth_url="https://oauth.example.invalid/x", **arguments)


def test_secrets_are_not_shown_in_any_form() -> None:
    arguments = {"credentials": '"a-broken-key"', "proxy": "http://alice:the-passw0rd@proxy.invalid:1"}
    report = offline_report(**arguments)
    assert_no_secrets(report, "a-broken-key", "the-passw0rd")
    shown = repr(inspected(**arguments)) + repr(inspected(**arguments).explicit_settings)
    assert "a-broken-key" not in shown
    assert "the-passw0rd" not in shown
