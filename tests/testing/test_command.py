"""The command ``python -m gigaclient emulator`` prints its settings, serves, and ends on a signal."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from testing.plain_client import Http, PlainResponse, trusting

import gigaclient.testing
from gigaclient.testing import command

RUN = "import sys; from gigaclient.testing.command import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Start the command; yield its process and the variables that it printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(gigaclient.testing.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        printed: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                (printed[name],) = shlex.split(value)
            if len(printed) == 7:
                break
        yield process, printed
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate(timeout=10)


def post(url: str, ca_file: str, body: str, headers: dict[str, str]) -> PlainResponse:
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1"
    assert parts.port is not None
    with Http(parts.port, trusting(ca_file)) as http_:
        return http_.send("POST", parts.path, body, headers)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_settings_and_ends_with_0_on_a_signal(signal_number: signal.Signals, tmp_path: Path) -> None:
    ca_file = tmp_path / "my ca.pem"
    with running("--ca-file", str(ca_file), "--token-life", "60") as (process, printed):
        assert sorted(printed) == [
            "FAKEGPT_BASE_URL",
            "FAKEGPT_CA_BUNDLE_FILE",
            "GIGACHAT_AUTH_URL",
            "GIGACHAT_BASE_URL",
            "GIGACHAT_CA_BUNDLE_FILE",
            "GIGACHAT_CREDENTIALS",
            "GIGACHAT_SCOPE",
        ]
        assert printed["GIGACHAT_CA_BUNDLE_FILE"] == printed["FAKEGPT_CA_BUNDLE_FILE"] == str(ca_file)
        reply = post(
            printed["GIGACHAT_AUTH_URL"],
            str(ca_file),
            f"scope={printed['GIGACHAT_SCOPE']}",
            {
                "Authorization": f"Basic {printed['GIGACHAT_CREDENTIALS']}",
                "RqUID": "00000000-0000-4000-8000-000000000001",
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        assert abs(reply.json()["expires_at"] / 1000 - time.time() - 60) < 10
        headers = {"Authorization": f"Bearer {reply.json()['access_token']}", "User-Agent": "x"}
        body = '{"model":"GigaChat","messages":[{"role":"user","content":"Count from 1 to 3"}]}'
        answer = post(printed["GIGACHAT_BASE_URL"] + "/chat/completions", str(ca_file), body, headers)
        assert answer.json()["choices"][0]["message"]["content"] == "1, 2, 3"
        assert post(printed["FAKEGPT_BASE_URL"] + "/auth/login", str(ca_file), "", {}).json()["code"] == 400
        process.send_signal(signal_number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_ports_can_be_fixed_and_the_certificate_is_a_file() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with running("--port", str(port)) as (_, printed):
        assert printed["GIGACHAT_BASE_URL"] == f"https://127.0.0.1:{port}/v1"
        assert Path(printed["GIGACHAT_CA_BUNDLE_FILE"]).read_text("ascii").startswith("-----BEGIN CERTIFICATE-----")


def test_a_port_in_use_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert command.main(["--fakegpt-port", str(taken.getsockname()[1])]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"the emulator could not start: .*\n", captured.err)


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in ("port", "auth-port", "fakegpt-port", "ca-file", "token-life", "event-pause", "max-streams"):
        assert f"--{name}" in shown
