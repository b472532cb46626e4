"""The real program: pipes, encodings, signals, imported modules, and completion in a real shell."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.reliability_tools import wait_until
from support.terminal import LIMIT, child, run_child

from gigaclient._primitives.extras import install_command
from gigaclient.testing import Fault, GigaChatEmulator

BROKEN_PIPE = 141


@pytest.fixture(autouse=True)
def _interrupts_are_not_ignored() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Wait for the process; return its exit code and its standard error."""
    try:
        code = process.wait(LIMIT)
        assert process.stderr is not None
        return code, process.stderr.read()
    finally:
        process.kill()
        process.wait(LIMIT)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


# -- imported modules --------------------------------------------------------------------------------------------------

HEAVY = ("requests", "urllib3", "rich", "keyring", "prompt_toolkit", "markdown_it", "http.client")

LOADED = """
import json, sys
from gigaclient.__main__ import main
try:
    code = main()
except SystemExit as ended:
    code = ended.code
sys.stderr.write(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


def modules(*arguments: str, **environment: str) -> set[str]:
    process = child(*arguments, start=LOADED, environment=environment, stdin=subprocess.DEVNULL)
    _, err = process.communicate(timeout=LIMIT)
    result = json.loads(err)
    assert result["code"] in (0, None)
    return set(result["modules"])


def test_help_loads_no_network_no_rendering_and_no_click() -> None:
    loaded = modules("--help")
    assert "gigaclient.cli.registry" in loaded
    assert loaded.isdisjoint([*HEAVY, "click"])


def test_the_help_of_a_command_loads_nothing_but_click() -> None:
    loaded = modules("chat", "--help")
    assert "click" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_an_answer_in_a_pipe_does_not_load_the_rendering(emulator: GigaChatEmulator) -> None:
    loaded = modules("chat", "Hello")
    assert "requests" in loaded
    assert loaded.isdisjoint({"rich", "keyring", "prompt_toolkit", "markdown_it"})


# -- without the extra -------------------------------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules["click"] = sys.modules["rich"] = sys.modules["prompt_toolkit"] = sys.modules["keyring"] = None
from gigaclient.__main__ import main
sys.exit(main())
"""


def without_the_extra(*arguments: str) -> tuple[int, str, str]:
    process = child(*arguments, start=WITHOUT, stdin=subprocess.DEVNULL)
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out.decode(), err.decode()


def test_without_click_one_sentence_says_what_to_install() -> None:
    code, out, err = without_the_extra("chat", "Hello")
    assert (code, out) == (3, "")
    assert err == f"gigaclient: this command needs click, which is not installed: {install_command('cli')}\n"


def test_without_click_standalone_commands_run() -> None:
    code, out, _ = without_the_extra("emulator", "--help")
    assert code == 0
    assert "--port" in out


# -- pipes -------------------------------------------------------------------------------------------------------------


def test_the_module_runs_as_well_and_reads_a_pipe(emulator: GigaChatEmulator) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "gigaclient", "chat", "-"],
        input="Посчитай от 1 до 3".encode(), capture_output=True, timeout=LIMIT,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, b"1, 2, 3\n", b"")


def test_dev_null_is_not_read(emulator: GigaChatEmulator) -> None:
    process = child("chat", "Count from 1 to 3", stdin=subprocess.DEVNULL)
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, err) == (0, b"1, 2, 3\n", b"")


def test_chunks_are_written_to_the_pipe_immediately(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=2, stall_s=None), path="/chat/completions")
    process = child("chat", "Count from 1 to 9", stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    # The rest never arrives, so this chunk was not buffered until the end.
    assert process.stdout.read(2) == b"1,"
    process.send_signal(signal.SIGINT)
    code, err = ended(process)
    assert (code, err) == (130, b"")


def test_a_closed_pipe_ends_it_quietly_and_stops_the_answer(emulator: GigaChatEmulator) -> None:
    aborted = emulator.api_aborted
    emulator.event_pause_s = 0.02
    try:
        process = child("chat", "Count from 1 to 5000", stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"1"
        process.stdout.close()
        code, err = ended(process)
    finally:
        emulator.event_pause_s = 0.0
    assert (code, err) == (BROKEN_PIPE, b"")
    wait_until(lambda: emulator.api_aborted == aborted + 1, what="the end of the answer upstream")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_reported_once(emulator: GigaChatEmulator) -> None:
    with open("/dev/full", "wb") as full:
        process = child("models", stdin=subprocess.DEVNULL, stdout=full)
        code, err = ended(process)
    assert code == 1
    assert err.decode().startswith("error: ")
    assert err.count(b"\n") == 1


def test_an_interrupt_before_the_first_chunk_is_code_130(emulator: GigaChatEmulator) -> None:
    before = len(emulator.requests)
    emulator.inject(Fault(before_s=float("inf")), path="/chat/completions")
    process = child("chat", "Hello", stdin=subprocess.DEVNULL)
    wait_until(lambda: len(emulator.requests) > before, what="the question's arrival")
    process.send_signal(signal.SIGINT)
    code, err = ended(process)
    assert (code, err) == (130, b"")


def test_certificates_that_are_not_checked_are_one_line_of_warning(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIGACHAT_CA_BUNDLE_FILE")
    result = run_child("tokens", "Hello", environment={"GIGACHAT_VERIFY_SSL_CERTS": "false"})
    assert (result.code, result.out) == (0, "2\n")
    assert result.err.startswith("warning: GIGACHAT_VERIFY_SSL_CERTS=false")
    assert result.err.count("\n") == 1


# -- encodings ---------------------------------------------------------------------------------------------------------

RUSSIAN = "Привет, «мир» — ёж, 你好"


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "cp1251:strict"},
    ],
    ids=["the C locale", "a code page"],
)
def test_output_and_input_are_utf8_whatever_the_locale(environment: dict[str, str], emulator: GigaChatEmulator) -> None:
    emulator.answer(RUSSIAN)
    result = run_child("chat", "Скажи:", stdin=RUSSIAN.encode(), environment=environment)
    assert (result.code, result.out, result.err) == (0, RUSSIAN + "\n", "")
    body = json.loads([r for r in emulator.requests if r.path.endswith("/chat/completions")][-1].body)
    assert body["messages"][-1]["content"] == f"Скажи:\n\n{RUSSIAN}"


# -- completion --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for PATH with the installed program."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "gigaclient"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom gigaclient.__main__ import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return folder


# Command lines with an unfinished last word, and the expected completions.
COMPLETED = {
    "gigaclient mo": ["models"],
    "gigaclient files down": ["download"],
    "gigaclient chat --provider f": ["fakegpt"],
}


def test_bash_completes_commands_options_and_values(program: Path) -> None:
    bash = shutil.which("bash")
    assert bash, "this test needs bash"
    script = ['eval "$(gigaclient completion bash)"', "complete -p gigaclient > /dev/null || exit 9"]
    for line in COMPLETED:
        script.append(
            f"COMP_WORDS=({line}); COMP_CWORD={line.count(' ')}; COMPREPLY=(); _gigaclient_completion gigaclient; "
            "printf '%s ' \"${COMPREPLY[@]}\"; echo"
        )
    run = subprocess.run(
        [bash, "--norc", "-c", "\n".join(script)],
        capture_output=True, text=True, timeout=LIMIT,
        env={**os.environ, "PATH": f"{program}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    assert [line.split() for line in run.stdout.splitlines()] == list(COMPLETED.values())
