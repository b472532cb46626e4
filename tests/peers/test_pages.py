"""The recipes of the pages langchain.md, llm.md and peers.md work, each page as one script or one session.

The Russian pages have the same code: see tests/test_docs.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.pages import blocks, snippets

from gigaclient.testing import GigaChatEmulator


@pytest.fixture
def output_of(emulator: GigaChatEmulator, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """A function that runs the snippets of a page in this process and returns what they print."""

    def run(page: str) -> str:
        code = "\n\n".join(snippets(page))
        exec(compile(code, page, "exec", dont_inherit=True), {"__name__": "__main__"})
        return capsys.readouterr().out

    return run


def test_langchain(output_of: Callable[[str], str], emulator: GigaChatEmulator) -> None:
    emulator.answer("The capital of Russia is Moscow.")
    printed = output_of("en/langchain")
    assert printed.startswith("The capital of Russia is Moscow.\n1, 2, 3, 4, 5")
    assert "x-request-id" in printed
    assert "According to get_tide" in printed
    assert re.search(r"^name='.*' population=\d+$", printed, re.M)
    assert re.search(r"^\['The museum is closed", printed, re.M)
    assert "The museum is closed" in emulator.prompts[-1]


def test_peers(output_of: Callable[[str], str], emulator: GigaChatEmulator) -> None:
    printed = output_of("en/peers")
    assert printed.count("1, 2, 3, 4, 5") == 2
    assert "According to get_tide: return_value: 1.8 m." in printed
    assert "1 vector" in printed
    assert "The museum is closed on Mondays." in emulator.prompts[-1]
    assert printed.splitlines()[-1] == "Forty-two."


def test_llm(run_llm: Callable[..., Any], emulator: GigaChatEmulator, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01" + bytes(7) + b"\xff\xd9")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n")
    (tmp_path / "milk.txt").write_text("Buy milk", "utf-8")
    lines = "".join(blocks("en/llm", "shell")).splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("llm ")]
    assert len(commands) > 10
    printed = ""
    for command in commands:
        done = run_llm(*command[1:], stdin="quit\n" if command[1] == "chat" else "")
        assert done.status == 0, f"{command}: {done.stderr}"
        printed += done.stdout + done.stderr
    assert printed.startswith("1, 2, 3, 4, 5\n")
    assert "llm_time" in printed
    uploads = [request for request in emulator.requests if request.path.endswith("/files")]
    assert len([request for request in uploads if request.method == "POST"]) == 2
