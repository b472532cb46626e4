"""``%giga`` in IPython in a real terminal: plain text as it comes, and Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from gigaclient.testing import Fault, GigaChatEmulator

TIMEOUT_S = 40


@pytest.fixture(scope="module")
def terminal(emulator: GigaChatEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = str(tmp_path_factory.mktemp("terminal"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIGA")}
    environment |= {**emulator.environment, "HOME": folder, "IPYTHONDIR": folder, "TERM": "dumb", "LANG": "C.UTF-8"}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=NoColor"],
        env=environment,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        dimensions=(40, 200),
    )
    child.setecho(False)
    try:
        child.expect(r"In \[1\]: ")
        child.sendline("%load_ext gigaclient")
        child.expect(r"In \[2\]: ")
        yield child
    finally:
        child.close(force=True)


def test_the_text_is_printed_as_it_comes(terminal: Any, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=5))
    terminal.sendline("%giga --into half Count from 1 to 600")
    # The service is silent after the fifth piece, so this text was printed before the end of the answer.
    terminal.expect_exact("1, 2, 3, 4, 5,")
    terminal.sendintr()
    terminal.expect_exact("(interrupted)")
    terminal.expect(r"In \[\d+\]: ")
    assert "Traceback" not in terminal.before
    terminal.sendline("print('kept', half.text)")
    terminal.expect_exact("kept 1, 2, 3, 4, 5,")
    terminal.expect(r"In \[\d+\]: ")


def test_markdown_stays_as_the_model_wrote_it(terminal: Any, emulator: GigaChatEmulator) -> None:
    emulator.answer("**bold** \\(x\\) <b>\n\n- $5")
    terminal.sendline("%giga hello")
    terminal.expect_exact("**bold** \\(x\\) <b>\r\n\r\n- $5\r\n")
    terminal.expect(r"In \[\d+\]: ")


def test_the_dialogue_is_printed_and_an_error_in_code_shows_no_frame_of_ours(
    terminal: Any, emulator: GigaChatEmulator
) -> None:
    terminal.sendline("%giga --reset Count from 1 to 2")
    terminal.expect_exact("1, 2\r\n")
    terminal.expect(r"In \[\d+\]: ")
    terminal.sendline("%giga --history")
    terminal.expect_exact("user: Count from 1 to 2\r\nassistant: 1, 2\r\n")
    terminal.expect(r"In \[\d+\]: ")
    terminal.sendline("import gigaclient; gigaclient.GigaChat().chat('hello', model='nothing')")
    terminal.expect(r"In \[\d+\]: ")
    assert "NotFoundError: 404: " in terminal.before and "chat.py" not in terminal.before


def test_an_error_is_one_sentence(terminal: Any, emulator: GigaChatEmulator) -> None:
    terminal.sendline("%giga -m nothing hello")
    terminal.expect(r"In \[\d+\]: ")
    lines = terminal.before.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("NotFoundError: 404: ")


def test_a_login_does_not_echo_the_key(terminal: Any, emulator: GigaChatEmulator) -> None:
    terminal.sendline("%giga_login --again")
    terminal.expect_exact("(it is not shown): ")
    terminal.setecho(False)
    terminal.sendline(emulator.credentials)
    terminal.expect(r"In \[\d+\]: ")
    assert "The key was accepted" in terminal.before and "GigaChat-2-Max" in terminal.before
    assert emulator.credentials not in terminal.before
