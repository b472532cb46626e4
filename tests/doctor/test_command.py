"""``gigaclient doctor``: in this process for its output, and as a program for encodings and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.doctor_tools import decoded
from support.socket_tools import Peer, eventually, silent

from gigaclient.doctor.command import main
from gigaclient.testing import GigaChatEmulator

PROGRAM = (sys.executable, "-m", "gigaclient", "doctor")


@pytest.fixture
def environment(shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GigaChatEmulator:
    """Return the emulator, with its settings in the environment and no stored key."""
    for name, value in shared_emulator.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return shared_emulator


def test_a_healthy_report_is_0(environment: GigaChatEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert "Nothing failed" in out
    assert err == ""
    assert environment.credentials not in out
    assert not any(part in out for part in decoded(environment.credentials))


def test_a_failure_is_1_and_a_warning_is_0(
    environment: GigaChatEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--scope", "GIGACHAT_API_CORP"]) == 1
    assert "--scope" in capsys.readouterr().out
    monkeypatch.setenv("GIGACHAT_CREDENTIAL", "x")
    assert main([]) == 0
    assert re.search(r"^Nothing failed, \d warnings?\.$", capsys.readouterr().out, re.MULTILINE)


def test_json_is_one_document(environment: GigaChatEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"] is True
    assert {check["id"]: check["outcome"] for check in document["checks"]}["token"] == "ok"


def test_the_option_chat_sends_a_prompt(environment: GigaChatEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    environment.answer("Hello!")
    assert main(["--chat"]) == 0
    assert "'Hello!'" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--limit", "soon"], ["--key", "x"], ["extra"]], ids=str)
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: gigaclient doctor" in capsys.readouterr().err


def test_options_override_the_environment(
    environment: GigaChatEmulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BASE_URL", "AUTH_URL"):
        monkeypatch.setenv(f"GIGACHAT_{name}", "https://nobody.example.invalid/v1")
    monkeypatch.delenv("GIGACHAT_CA_BUNDLE_FILE")
    options = ["--base-url", environment.base_url, "--auth-url", environment.auth_url]
    assert main([*options, "--ca-bundle", environment.ca_file, "--model", "GigaChat-2-Max", "--limit", "20"]) == 0
    out = capsys.readouterr().out
    assert f"base_url = {environment.base_url} (--base-url (over GIGACHAT_BASE_URL))" in " ".join(out.split())
    assert "model = GigaChat-2-Max (--model)" in out


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "JSON"])
def test_the_next_steps_name_options_and_variables(
    as_json: tuple[str, ...], environment: GigaChatEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening: connections are refused
        assert main(["--base-url", f"https://127.0.0.1:{taken.getsockname()[1]}/v1", *as_json]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "check the port in --base-url" in out
    assert "base_url=" not in out


# -- stored keys -------------------------------------------------------------------------------------------------------


def store(folder: Path, key: str, *, scope: str = "GIGACHAT_API_PERS", mode: int = 0o600) -> None:
    """Write a key as ``gigaclient login`` does without a keyring."""
    folder.mkdir(parents=True)
    file = folder / "credentials.json"
    file.write_text(json.dumps({"place": "file", "scope": scope, "credentials": key}))
    file.chmod(mode)


def test_the_key_of_a_login_is_used_if_the_environment_has_none(
    environment: GigaChatEmulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    store(tmp_path / "config" / "gigaclient", environment.credentials)
    monkeypatch.delenv("GIGACHAT_CREDENTIALS")
    monkeypatch.delenv("GIGACHAT_SCOPE")
    assert main([]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "credentials = *** (gigaclient login, in" in out
    assert "scope = GIGACHAT_API_PERS (gigaclient login, in" in out
    assert environment.credentials not in out


def test_the_environment_overrides_a_login(
    environment: GigaChatEmulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store(tmp_path / "config" / "gigaclient", "c3RhbGU6a2V5")
    assert main([]) == 0
    assert "credentials = *** (GIGACHAT_CREDENTIALS)" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="files have no modes there")
def test_a_stored_key_that_cannot_be_read_is_a_failure_and_the_rest_is_checked(
    environment: GigaChatEmulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    store(tmp_path / "config" / "gigaclient", environment.credentials, mode=0o644)
    monkeypatch.delenv("GIGACHAT_CREDENTIALS")
    assert main(["--json"]) == 1
    checks = {check["id"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["key"]["outcome"] == "failure"
    assert "chmod 600" in checks["key"]["detail"] + checks["key"]["next_step"]
    assert checks["auth.tls"]["outcome"] == "ok"
    assert checks["token"]["detail"] == "not checked: no key"


def test_a_key_may_be_in_a_file(
    environment: GigaChatEmulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", "c3RhbGU6a2V5")
    file = tmp_path / "key"
    file.write_text(environment.credentials + "\n")
    assert main(["--credentials-file", str(file)]) == 0
    assert "--credentials-file" in capsys.readouterr().out
    assert main(["--credentials-file", str(tmp_path / "gone")]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "cannot be read: No such file" in out


# -- as a program ------------------------------------------------------------------------------------------------------


def test_output_to_a_terminal_without_unicode_is_ascii(environment: GigaChatEmulator, tmp_path: Path) -> None:
    run = subprocess.run(
        [*PROGRAM, "--model", "Модель", "--limit", "40"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        cwd=tmp_path,  # python -m would load the package of the checkout from the current folder
        capture_output=True,
        timeout=50,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.isascii()
    assert b"ok   Token" in run.stdout
    assert run.stderr == b""


_LOADED_BY_HELP = """
import sys
from gigaclient.doctor.command import main
try:
    main(["--help"])
except SystemExit:
    print("loaded:", *sorted({"requests", "urllib3", "cryptography", "click"} & set(sys.modules)))
"""


def test_help_loads_nothing_heavy() -> None:
    run = subprocess.run([sys.executable, "-c", _LOADED_BY_HELP], capture_output=True, text=True, timeout=50)
    assert run.stdout.endswith("loaded:\n"), run.stdout + run.stderr


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal there")
def test_an_interrupt_ends_it_at_once_without_a_traceback(environment: GigaChatEmulator, tmp_path: Path) -> None:
    with Peer(silent) as mute:
        command = [*PROGRAM, "--limit", "50", "--base-url", f"https://127.0.0.1:{mute.port}/v1"]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            try:
                # The second connection is the handshake, which never ends.
                assert eventually(lambda: mute.accepted >= 2, 30)
                program.send_signal(signal.SIGINT)
                _, err = program.communicate(timeout=25)
            finally:
                program.kill()
    assert program.returncode == 130
    assert err.strip() == "interrupted"
