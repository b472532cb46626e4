"""All checks against the emulator: each success is reported, and each failure has its next step."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.doctor_tools import ALL_WELL, answering, assert_no_secrets, decoded, failed, outcomes, report_on
from support.socket_tools import ConnectProxy, at_localhost, with_login

from gigaclient import ConfigError
from gigaclient.doctor import Check, Report, examine, runner
from gigaclient.testing import Answer, Authority, Fault, GigaChatEmulator
from gigaclient.version import __version__

# -- all well --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def healthy(authority: Authority) -> Iterator[tuple[Report, GigaChatEmulator]]:
    with GigaChatEmulator(authority=authority) as emulator:
        yield report_on(emulator, chat=True), emulator


def test_a_working_setup_is_healthy(healthy: tuple[Report, GigaChatEmulator]) -> None:
    report, _ = healthy
    assert report.healthy
    # An old library in the environment of the tests may cause a warning; nothing else may.
    assert [check.id for check in report.checks if check.outcome not in ALL_WELL and check.id != "versions"] == []
    assert "Nothing failed" in str(report)


def test_each_check_comes_after_those_that_it_needs(
    healthy: tuple[Report, GigaChatEmulator],
) -> None:
    report, _ = healthy
    assert [check.id for check in report.checks] == [
        "versions", "settings", "environment", "key", "trust", "proxy",
        "api.address", "api.connection", "api.tls", "auth.address", "auth.connection", "auth.tls",
        "token", "models", "balance", "clock", "chat",
    ]  # fmt: skip


def test_the_details_have_the_findings(healthy: tuple[Report, GigaChatEmulator]) -> None:
    report, emulator = healthy
    assert f"base_url = {emulator.base_url} (argument)" in report["settings"].detail
    assert "credentials = *** (argument)" in report["settings"].detail
    assert "model = GigaChat-2 (default)" in report["settings"].detail
    assert "100 characters" in report["key"].detail
    assert "gigaclient emulator" in report["trust"].detail
    assert f"port {emulator.api_server.port} of 127.0.0.1" in report["api.connection"].detail
    assert re.search(r"verified, TLSv1\.\d", report["api.tls"].detail)
    assert "issuer: " in report["auth.tls"].detail
    assert "gigaclient emulator" in report["auth.tls"].detail
    assert "valid until" in report["token"].detail
    assert "GigaChat-2" in report["models"].detail
    assert "agree" in report["clock"].detail
    assert "tokens" in report["chat"].detail


def test_the_report_is_one_screen_of_eighty_columns(healthy: tuple[Report, GigaChatEmulator]) -> None:
    lines = str(healthy[0]).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 48


def test_the_report_is_also_an_object_for_programs(healthy: tuple[Report, GigaChatEmulator]) -> None:
    report, _ = healthy
    document = json.loads(json.dumps(report.as_dict()))
    assert document["healthy"] is True
    assert set(document["checks"][0]) == {"id", "title", "outcome", "detail", "next_step", "seconds"}
    assert [check["id"] for check in document["checks"]] == [check.id for check in report.checks]
    assert any(check["seconds"] > 0 for check in document["checks"])


def test_without_chat_it_sends_no_prompt(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator)
    with pytest.raises(KeyError):
        report["chat"]
    assert [request for request in emulator.requests if "chat" in request.path] == []


def test_a_setting_may_come_from_the_environment(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    report = examine()
    assert report.healthy
    assert "credentials = *** (GIGACHAT_CREDENTIALS)" in report["settings"].detail
    assert f"ca_bundle_file = {emulator.ca_file} (GIGACHAT_CA_BUNDLE_FILE)" in report["settings"].detail
    assert_no_secrets(report, emulator.credentials)


def test_an_argument_that_the_client_does_not_have_raises() -> None:
    with pytest.raises(TypeError, match="GigaChat has no such argument: verfy"):
        examine(verfy=False)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_an_invalid_limit_raises(seconds: float) -> None:
    with pytest.raises(ConfigError, match="check_seconds"):
        examine(check_seconds=seconds)


# -- the key and the token -------------------------------------------------------------------------------------------


def test_an_unknown_key_is_reported_with_the_code_of_the_service(emulator: GigaChatEmulator) -> None:
    with GigaChatEmulator(authority=emulator.authority) as other:
        report = report_on(emulator, credentials=other.credentials)
        assert_no_secrets(report, other.credentials, *decoded(other.credentials))
    assert failed(report) == ["token"]
    assert "401, code 6" in report["token"].detail
    assert "make a new one on the project's page in Studio" in report["token"].next_step
    assert "no token" in report["models"].detail
    assert "the API responds, and requires a token (401)" in report["models"].detail
    assert report["balance"].detail == "not checked: no token"
    assert report["clock"].outcome == "ok"  # refusals have a date, too


def test_for_a_wrong_scope_the_right_one_is_found(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, scope="GIGACHAT_API_CORP")
    assert failed(report) == ["token"]
    assert "code 7" in report["token"].detail
    assert 'pass scope="GIGACHAT_API_PERS" (GIGACHAT_SCOPE=GIGACHAT_API_PERS)' in report["token"].next_step


def test_an_unknown_scope_is_reported_before_it_is_sent(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, scope="GIGACHAT_API_HOME")
    assert report["key"].outcome == "warning"
    assert "GIGACHAT_API_PERS, GIGACHAT_API_B2B, GIGACHAT_API_CORP" in report["key"].next_step
    assert "code 1" in report["token"].detail


def test_a_client_id_in_the_place_of_the_key_is_not_sent(emulator: GigaChatEmulator) -> None:
    client_id = decoded(emulator.credentials)[0]
    report = report_on(emulator, credentials=client_id)
    assert report["key"].outcome == "failure"
    assert "client id" in report["key"].detail
    assert "Authorization Key" in report["key"].next_step
    assert report["token"].detail == "not checked: no key"
    assert emulator.oauth_requests == []
    assert report["auth.tls"].outcome == "ok"  # checks without a key still run


def test_without_a_key_the_rest_is_checked(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, credentials=None)
    assert failed(report) == ["key"]
    assert "GIGACHAT_CREDENTIALS" in report["key"].next_step
    assert "gigaclient login" in report["key"].next_step
    assert report["auth.tls"].outcome == "ok"
    assert "requires a token (401)" in report["models"].detail
    assert report["clock"].outcome == "ok"


def test_quotes_around_the_key_are_removed_and_reported(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, credentials=f'"Basic {emulator.credentials}"\n')
    assert report.healthy
    assert "corrected" in report["key"].detail


def test_a_key_with_odd_parts_is_a_warning(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, credentials="bXktaWQ6bXktc2VjcmV0")
    assert report["key"].outcome == "warning"
    assert "UUID" in report["key"].detail
    assert_no_secrets(report, "bXktaWQ6bXktc2VjcmV0", "my-secret", "my-id")


def test_the_words_of_a_placeholder_key_are_not_masked(emulator: GigaChatEmulator) -> None:
    key = base64.b64encode(b"client:secret").decode()
    report = report_on(emulator, credentials=key)
    assert f"gigaclient {__version__}" in report["versions"].detail
    assert "the id and the secret in it are not UUIDs" in report["key"].detail
    assert_no_secrets(report, key, "client:secret")


def test_an_access_token_is_used_and_its_expiry_explained(emulator: GigaChatEmulator) -> None:
    token = emulator.issue_token()
    report = report_on(emulator, credentials=None, access_token=token)
    assert report["key"].outcome == "warning"
    assert "half an hour" in report["key"].next_step
    assert report["token"].outcome == "not_checked"
    assert report["models"].outcome == "ok"
    assert "auth.tls" not in outcomes(report)  # the client would not use that host
    assert_no_secrets(report, token)


def test_with_a_key_and_an_access_token_the_key_is_checked(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, access_token="a-stale-token")
    assert report.healthy
    assert "first" in report["key"].detail
    assert "valid until" in report["token"].detail  # the expiry time is known only for a fetched token
    assert emulator.oauth_calls == 1
    assert_no_secrets(report, "a-stale-token")


def test_user_and_password_get_their_token_from_the_api(authority: Authority) -> None:
    with GigaChatEmulator(authority=authority, users={"someone": "a-password"}) as emulator:
        report = report_on(emulator, credentials=None, user="someone", password="a-password")
        assert report.healthy
        assert report["token"].outcome == "ok"
        assert emulator.password_calls == 1
    assert_no_secrets(report, "a-password", "someone")


def test_an_oauth_host_that_responds_with_html_is_reported(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(html=True), path="/oauth", times=None)
    report = report_on(emulator)
    assert failed(report) == ["token"]
    assert "did not answer with a JSON object" in report["token"].detail
    assert "check base_url, auth_url and the proxy" in report["token"].next_step


def test_a_token_that_is_cached_does_not_hide_a_key_that_is_refused(authority: Authority) -> None:
    class Cache:
        def __init__(self) -> None:
            self.kept: dict[str, object] = {}

        def get(self, key: str, default: object = None) -> object:
            return self.kept.get(key, default)

        def set(self, key: str, value: object, timeout: float | None = None) -> None:
            self.kept[key] = value

    cache = Cache()
    with GigaChatEmulator(authority=authority) as emulator:
        from gigaclient import GigaChat

        with GigaChat(**emulator.client_options, token_cache=cache) as giga:
            giga.get_models()
        emulator.inject(Fault(status=401, body={"code": 6, "message": "unknown"}), path="/oauth", times=None)
        assert failed(report_on(emulator, token_cache=cache)) == ["token"]


def test_secrets_in_a_server_message_are_not_shown(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    client_id, secret = decoded(emulator.credentials)
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", with_login(proxy.url, "alice:p%40ss-w0rd"))
        text = f"no {client_id} with {secret} by alice, p%40ss-w0rd or p@ss-w0rd"
        emulator.inject(Fault(status=401, body={"code": 99, "message": text}), path="/oauth", times=None)
        report = report_on(emulator)
    assert "no *** with *** by" in report["token"].detail
    assert_no_secrets(report, "p%40ss-w0rd", "p@ss-w0rd")


def test_each_request_is_sent_once(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=503), path="/models", times=None)
    assert "models" in failed(report_on(emulator))
    assert len([request for request in emulator.requests if request.path.endswith("/models")]) == 1


# -- the plan --------------------------------------------------------------------------------------------------------


def test_a_plan_without_models_fails(authority: Authority) -> None:
    with GigaChatEmulator(authority=authority, models={}) as emulator:
        report = report_on(emulator)
    assert failed(report) == ["models"]
    assert "Studio" in report["models"].next_step


def test_a_model_that_the_key_does_not_have_is_a_warning(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, model="GigaChat-99")
    assert report.healthy
    assert report["models"].outcome == "warning"
    assert "GigaChat-99" in report["models"].next_step
    assert "GIGACHAT_MODEL" in report["models"].next_step


def test_an_empty_package_is_reported_by_the_chat(authority: Authority) -> None:
    with GigaChatEmulator(authority=authority, exhausted_models=["GigaChat-2"]) as emulator:
        report = report_on(emulator, chat=True)
    assert failed(report) == ["chat"]
    assert report["chat"].detail.startswith("402")
    assert "package" in report["chat"].next_step


def test_a_plan_that_pays_as_it_goes_has_no_balance_and_is_healthy(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=403), path="/balance")
    report = report_on(emulator)
    assert report.healthy
    assert report["balance"].outcome == "not_checked"


def test_an_empty_package_is_a_warning(emulator: GigaChatEmulator) -> None:
    body = {"balance": [{"usage": "GigaChat-2", "value": 0}, {"usage": "embeddings", "value": 5}]}
    emulator.inject(Fault(body=body, content_type="application/json"), path="/balance")
    report = report_on(emulator)
    assert report["balance"].outcome == "warning"
    assert "402" in report["balance"].next_step
    assert "embeddings" not in report["balance"].next_step


@pytest.mark.parametrize(
    ("status", "step"), [(429, "max_connections"), (500, "try again later"), (404, "base_url")], ids=str
)
def test_an_error_of_the_api_has_its_next_step_and_the_request_id(
    status: int, step: str, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(status=status), path="/models", times=None)
    report = report_on(emulator)
    assert "models" in failed(report)
    assert report["models"].detail.startswith(str(status))
    assert "request " in report["models"].detail
    assert step in report["models"].next_step


def test_a_wrong_path_in_base_url_is_found_without_a_key(emulator: GigaChatEmulator) -> None:
    report = report_on(emulator, credentials=None, base_url=emulator.base_url.replace("/v1", "/nowhere"))
    assert "models" in failed(report)
    assert "base_url" in report["models"].next_step


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "expected"), [(7200.0, "2 hours behind"), (-600.0, "10 minutes ahead of")])
def test_a_clock_that_is_wrong_is_a_warning(offset: float, expected: str, authority: Authority) -> None:
    with GigaChatEmulator(authority=authority, clock_offset_s=offset) as emulator:
        report = report_on(emulator)
    assert report.healthy
    assert report["clock"].outcome == "warning"
    assert expected in report["clock"].detail
    assert "NTP" in report["clock"].next_step


def test_without_a_date_the_clock_is_not_checked(authority: Authority) -> None:
    listing = Answer(headers={"Content-Type": "application/json", "Date": "yesterday"}, body='{"data": []}')
    with answering(listing, authority) as server:
        report = examine(access_token="a-token", base_url=server.url + "/v1", ca_bundle_file=authority.ca_file)
    assert report["clock"].outcome == "not_checked"


# -- the doctor itself -----------------------------------------------------------------------------------------------


def test_a_bug_in_a_check_loses_only_that_check_and_shows_no_secret(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError(emulator.credentials)

    monkeypatch.setattr(runner, "examine_versions", broken)
    report = report_on(emulator)
    assert failed(report) == ["versions"]
    assert "RuntimeError" in report["versions"].detail
    assert report["models"].outcome == "ok"


def test_a_path_in_a_home_folder_is_shortened(
    emulator: GigaChatEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "somebody"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    bundle = home / "ca.pem"
    bundle.write_bytes(emulator.authority.ca_pem)
    report = report_on(emulator, ca_bundle_file=str(bundle), base_url=at_localhost(emulator.base_url))
    assert report.healthy
    assert "~/ca.pem" in report["trust"].detail
    assert_no_secrets(report, "somebody")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    advised = report_on(emulator, ca_bundle_file=None)
    assert 'pass ca_bundle_file="~/ca.pem"' in advised["api.tls"].next_step
    assert_no_secrets(advised, "somebody")


def test_a_check_is_a_value() -> None:
    check = Check(id="x", title="X", outcome="ok")
    assert check == Check(id="x", title="X", outcome="ok")
    with pytest.raises(AttributeError):
        check.outcome = "failure"  # type: ignore[misc]
