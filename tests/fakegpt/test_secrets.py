"""No secret in a repr, a message, a log or a traceback with local variables."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from gigaclient import ConfigError, FakeGpt, GigaClientError
from gigaclient.testing import FakeGptEmulator, Fault
from gigaclient.testing.fault_server import Answer

MakeClient = Callable[..., FakeGpt]


def secrets_of(emulator: FakeGptEmulator) -> set[str]:
    """Return the secrets that the emulator has received or issued so far."""
    found = {emulator.access_token, *emulator._loads}
    for session in emulator._sessions.values():
        found |= {session.credential, session.access_token}
    for request in emulator.requests:
        if request.path == "/auth/login" and "session_password" in request.form:
            found.add(request.form["session_password"])
    return found


def shown_by(error: BaseException) -> str:
    """Return everything that a program may print of an error, including local variables of all frames."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    lines, part = [], []
    for frame in whole.stack:
        if "/tests/" not in frame.filename:
            part.append(f"{frame.filename}:{frame.lineno} {frame.name} {frame.locals}")
    lines += part
    state = {name: value for name, value in error.__dict__.items() if name != "completion"}
    return "\n".join([*lines, str(error), repr(error), repr(state), repr(error.__cause__), repr(error.__context__)])


def check(error: BaseException, secrets: set[str]) -> None:
    shown = shown_by(error)
    assert "fakegpt/client.py" in shown, "no frame of ours was looked at"
    for secret in secrets:
        assert secret not in shown


FAILURES: dict[str, Callable[[FakeGptEmulator], Any]] = {
    "loads: empty": lambda emulator: setattr(emulator, "empty_loads", True),
    "loads: 503": lambda emulator: emulator.inject(Fault(status=503), path="/api/loads"),
    "loads: reset": lambda emulator: emulator.inject(Fault(reset=True), times=None, path="/api/loads"),
    "loads: tokens elsewhere": lambda emulator: emulator.inject(
        Fault(body={"pool": list(emulator._loads)}), path="/api/loads"
    ),
    "login: refused": lambda emulator: setattr(emulator, "login_refused", True),
    "login: no cookie": lambda emulator: setattr(emulator, "login_without_cookie", True),
    "login: 500": lambda emulator: emulator.inject(Fault(status=500), path="/auth/login"),
    "login: reset": lambda emulator: emulator.inject(Fault(reset=True), times=None, path="/auth/login"),
    "login: silent": lambda emulator: emulator.inject(Fault(before_s=float("inf")), path="/auth/login"),
    "session: no token": lambda emulator: setattr(emulator, "session_without_token", True),
    "session: 401": lambda emulator: emulator.inject(Fault(status=401), path="/api/auth/session"),
    "session: cut": lambda emulator: emulator.inject(Fault(cut_after_bytes=20), path="/api/auth/session"),
    "conversation: 401 for good": lambda emulator: emulator.inject(
        Fault(status=401), times=None, path="/api/conversation"
    ),
    "conversation: 500": lambda emulator: emulator.inject(Fault(status=500), path="/api/conversation"),
    "conversation: reset": lambda emulator: emulator.inject(Fault(reset=True), times=None, path="/api/conversation"),
    "conversation: silent": lambda emulator: emulator.inject(Fault(before_s=float("inf")), path="/api/conversation"),
    "conversation: cut": lambda emulator: emulator.inject(Fault(cut_after_events=3), path="/api/conversation"),
    "conversation: error": lambda emulator: setattr(emulator, "error_event", "boom"),
    "conversation: wall": lambda emulator: setattr(emulator, "html_wall", "/api/conversation"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_no_secret_shows_when_something_fails(
    make: MakeClient, emulator: FakeGptEmulator, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    client = make(max_retries=0, timeout=(5, 0.7))
    FAILURES[case](emulator)
    with caplog.at_level(logging.DEBUG), pytest.raises(GigaClientError) as caught:
        client.chat("hi")
    secrets = secrets_of(emulator)
    assert len(secrets) > 3
    check(caught.value, secrets)
    assert not [secret for secret in secrets if secret in caplog.text]
    assert not [secret for secret in secrets if secret in repr(client) + repr(vars(client))]


@pytest.mark.parametrize("path", ["/auth/login", "/api/auth/session"])
@pytest.mark.parametrize("status", [200, 400])
def test_what_a_server_repeats_of_the_login_does_not_show(
    make: MakeClient, emulator: FakeGptEmulator, monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    real = emulator.server.handler

    def repeats(request: Any) -> Any:
        if request.path != path:
            return real(request)
        repeated = request.body.decode() + " " + str(request.headers.get_all("cookie"))
        return Answer(
            status, {"Content-Type": "application/json"}, json.dumps({"code": 400, "message": f"bad: {repeated}"})
        )

    monkeypatch.setattr(emulator.server, "handler", repeats)
    with pytest.raises(GigaClientError) as caught:
        make(max_retries=0).chat("hi")
    check(caught.value, secrets_of(emulator))


def test_no_secret_shows_in_the_log_of_a_call_that_went_well(
    client: FakeGpt, emulator: FakeGptEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.chat("hi")
    assert "/auth/login" in caplog.text
    assert not [secret for secret in secrets_of(emulator) if secret in caplog.text]


def test_no_secret_shows_when_settings_cannot_work() -> None:
    word = "qwertyuiop-secret"
    calls: list[Callable[[], Any]] = [
        lambda: FakeGpt(access_token=word, timeout=-1),
        lambda: FakeGpt(access_token=f"{word} {word}"),
        lambda: FakeGpt(headers={"Cookie": f"a={word}", "X-Bad": "\n"}),
        lambda: FakeGpt(proxy=f"ftp://user:{word}@127.0.0.1:1"),
        lambda: FakeGpt.create_generator("m", "hi", access_token=word, timeout=-1),
        lambda: FakeGpt.create_generator("m", "hi", proxy=f"ftp://user:{word}@127.0.0.1:1"),
        lambda: FakeGpt.create_generator("m", "hi", headers={"Cookie": f"a={word}"}, timeout=-1),
        lambda: FakeGpt.create_generator("m", "hi", api_key=word),
        lambda: FakeGpt("https://fakegpt.example").chat("hi", api_key=word),
        lambda: FakeGpt("https://fakegpt.example").chat("hi", authorization=word),
        lambda: FakeGpt("https://fakegpt.example").chat("hi", headers={"X-Authorization": word, "X-Bad": "\n"}),
    ]
    for call in calls:
        with pytest.raises(ConfigError) as caught:
            call()
        check(caught.value, {word})


def test_no_secret_of_the_environment_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    word = "qwertyuiop-secret"
    monkeypatch.setenv("FAKEGPT_ACCESS_TOKEN", word)
    for call in (lambda: FakeGpt(timeout=-1), lambda: FakeGpt.create_generator("m", "hi", timeout=-1)):
        with pytest.raises(ConfigError) as caught:
            call()
        check(caught.value, {word})
