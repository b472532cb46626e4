"""Exit codes: each failure has its code, and the documentation lists all codes."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from support.terminal import Ended, run

from gigaclient import errors
from gigaclient.cli import exit_codes
from gigaclient.testing import Authority, Fault, GigaChatEmulator

PAGES = Path(__file__).resolve().parents[2] / "docs"

STATUSES = {400: 4, 401: 3, 402: 4, 403: 4, 404: 4, 413: 4, 422: 4, 429: 7, 500: 8, 503: 8}


def both(*arguments: str) -> tuple[Ended, Ended]:
    """Run the command with text output, and with JSON output."""
    return run(*arguments), run(*arguments, "--json")


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_MAX_RETRIES", "0")


@pytest.mark.parametrize("status", STATUSES)
def test_a_refusal_of_the_api(status: int, emulator: GigaChatEmulator) -> None:
    # After a 401 the client fetches a new token and tries once more.
    emulator.inject(Fault(status=status), path="/chat/completions", times=4 if status == 401 else 2)
    for_people, for_programs = both("chat", "Hello")
    assert (for_people.code, for_people.out) == (STATUSES[status], "")
    assert for_people.err.startswith(f"error: {status}: ")
    error = for_programs.error
    assert (error["status_code"], error["exit_code"], for_programs.code) == (status, STATUSES[status], STATUSES[status])
    assert error["type"] == errors.APIStatusError.class_for(status).__name__
    assert error["request_id"]


def test_a_rate_limit_has_the_time_to_wait(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=429, retry_after=7), path="/chat/completions")
    assert run("chat", "Hello", "--json").error["retry_after"] == 7.0


def test_a_key_that_is_not_known(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with GigaChatEmulator() as other:
        unknown = other.credentials
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", unknown)
    for_people, for_programs = both("chat", "Hello")
    assert for_people.code == for_programs.code == 3
    assert "gigaclient login --status" in for_people.err
    assert (for_programs.error["type"], for_programs.error["code"]) == ("AuthenticationError", 6)


@pytest.mark.filterwarnings("default:credentials is")
def test_an_invalid_key_is_explained_without_being_shown(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", "4f8c0a52-6a6e-4c93-9d0c-0d1b7a1f2e3d")
    for_people, for_programs = both("models")
    assert for_people.code == for_programs.code == 3
    assert for_people.err.startswith("warning: credentials is a client id or a client secret")
    assert "4f8c0a52" not in for_people.err + for_programs.err
    assert for_programs.error["type"] == "AuthenticationError"


def test_a_port_without_a_listener(emulator: GigaChatEmulator) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused, and the port stays reserved
        ended = run("chat", "Hello", "--base-url", f"https://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert ended.code == 5
    assert "gigaclient doctor" in ended.err


def test_a_certificate_that_is_not_trusted(emulator: GigaChatEmulator) -> None:
    with Authority() as foreign:
        for_people, for_programs = both("chat", "Hello", "--ca-bundle", foreign.ca_file)
    assert for_people.code == for_programs.code == 5
    assert for_programs.error["type"] == "TLSError"
    assert "gigaclient doctor shows which certificate" in for_people.err


def test_silence(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(before_s=float("inf")), path="/chat/completions")
    ended = run("chat", "Hello", "--timeout", "0.5")
    assert ended.code == 6


def test_a_deadline(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=2), path="/chat/completions")
    ended = run("chat", "Count from 1 to 9", "--deadline", "4")
    assert (ended.code, ended.out) == (6, "1, 2,\n")


def test_an_invalid_response(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(html=True), path="/chat/completions")
    ended = run("chat", "Hello", "--json")
    assert (ended.code, ended.error["type"]) == (8, "InvalidResponseError")


def test_a_bundle_that_is_not_there(emulator: GigaChatEmulator) -> None:
    ended = run("chat", "Hello", "--ca-bundle", "missing.pem")
    assert ended.code == 3
    assert "missing.pem" in ended.err


def test_a_wrong_command_line_is_json_too() -> None:
    ended = run("chat", "Hello", "--json", "--temprature", "1")
    assert (ended.code, ended.out) == (2, "")
    assert ended.error["exit_code"] == 2
    assert "--temprature" in ended.error["message"]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_table_of_the_documentation_has_each_code(language: str) -> None:
    page = (PAGES / language / "cli.md").read_text("utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert documented == {
        value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)
    }


def test_every_error_has_its_code() -> None:
    codes = {
        name: exit_codes.code_of(getattr(errors, name)("message")) for name in errors.__all__ if name.endswith("Error")
    }
    assert codes == {
        **dict.fromkeys(("ConfigError", "ModelNotSpecifiedError", "AuthenticationError"), exit_codes.SETTINGS),
        **dict.fromkeys(
            (
                *("APIStatusError", "BadRequestError", "PaymentRequiredError", "ForbiddenError", "NotFoundError"),
                *("RequestEntityTooLargeError", "UnprocessableEntityError"),
            ),
            exit_codes.REFUSED,
        ),
        **dict.fromkeys(("APIConnectionError", "TLSError", "StreamInterruptedError"), exit_codes.NO_CONNECTION),
        **dict.fromkeys(("ServerError", "InvalidResponseError"), exit_codes.SERVER),
        "APITimeoutError": exit_codes.TIMEOUT,
        "RateLimitError": exit_codes.RATE_LIMIT,
        **dict.fromkeys(("GigaClientError", "LengthFinishReasonError", "TooManyStepsError"), exit_codes.FAILED),
        "ContentFilterError": exit_codes.FAILED,
    }


def test_advice_names_commands_and_not_the_calls_of_the_library(emulator: GigaChatEmulator) -> None:
    for_people, for_programs = both("chat", "-m", "none", "Hello")
    assert "gigaclient models lists what this key may use" in for_people.err
    assert "gigaclient models lists what this key may use" in for_programs.error["message"]
    calls = {"batch_results() lists": "batch_results() lists", "get_files() lists": "gigaclient files list lists"}
    assert {call: exit_codes.with_commands(call) for call in calls} == calls


@pytest.mark.parametrize(
    ("advice", "shown"),
    [
        ("pass its address as base_url=", "pass its address as --base-url"),
        ("pass a longer timeout=, or stream", "pass a longer --timeout, or stream"),
        ('ca_bundle_file="…" (trust="…") helps', '--ca-bundle "…" (GIGACHAT_TRUST=…) helps'),
        ("as ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE), or", "as --ca-bundle (GIGACHAT_CA_BUNDLE_FILE), or"),
        ("delete verify_ssl_certs=False (GIGACHAT_VERIFY_SSL_CERTS)", "delete GIGACHAT_VERIFY_SSL_CERTS=false"),
        ("set max_connections=1 for it", "set GIGACHAT_MAX_CONNECTIONS=1 for it"),
        ("base_url= (--base-url)", "--base-url"),
        ("base_url= (--base-url (over GIGACHAT_BASE_URL)) is wrong", "--base-url is wrong"),
        ('template="… {} …" makes text of it', '--template "… {} …" makes text of it'),
        ("template names no field", "--template names no field"),
        ("the fields id: pass template=", "the fields id: pass --template"),
        ("base_url: must have a host", "--base-url: must have a host"),
        ("GIGACHAT_TIMEOUT: must be a number", "GIGACHAT_TIMEOUT: must be a number"),
        ("base_url = https://a.example (GIGACHAT_BASE_URL)", "base_url = https://a.example (GIGACHAT_BASE_URL)"),
        ("the model names no file; a timeout is set", "the model names no file; a timeout is set"),
    ],
)
def test_advice_names_options_and_variables_and_not_arguments(advice: str, shown: str) -> None:
    assert exit_codes.with_commands(advice) == shown


def test_a_setting_that_is_not_valid_is_named_as_the_option_that_set_it(emulator: GigaChatEmulator) -> None:
    for_people, for_programs = both("chat", "Hello", "--base-url", "http://api.example.org/v1")
    assert for_people.err.startswith("error: --base-url: http:// would send secrets in the clear")
    assert "GIGACHAT_ALLOW_HTTP=true" in for_people.err
    assert for_programs.error["message"].startswith("--base-url: ")
