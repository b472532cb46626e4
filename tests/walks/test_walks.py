"""Five people reach their aim by the documentation alone: README.md in this folder explains the scripts."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.kernel import Kernel, kernel
from support.pages import CHECKOUT, LANGUAGES

from gigaclient.testing import Fault, GigaChatEmulator

WALKS = sorted(Path(__file__).parent.glob("*.yaml"))
FILES = {
    "error.log": b"ValueError: no such port\n",
    "questions.txt": b"Count from 1 to 3\nCount from 4 to 6\n",
    "reviews.csv": b"text\nA great phone.\nThe screen broke.\n",
    "report.pdf": b"%PDF-1.4\n%%EOF\n",
}
"""What the people have in their folder."""


@dataclass
class Walker:
    """A person with an empty folder, a shell, and perhaps a notebook."""

    language: str
    folder: Path
    variables: dict[str, str]
    notebook: Kernel | None = None

    def block(self, page: str, text: str) -> str:
        """Return the first block of code on the page that has ``text``."""
        index = (CHECKOUT / "docs" / self.language / "index.md").read_text("utf-8")
        assert f"]({page})" in index, f"nobody finds {page} from the index"
        content = (CHECKOUT / "docs" / self.language / page).read_text("utf-8")
        for block in re.findall(r"^```\w+\n(.*?)^```$", content, re.M | re.S):
            if text in block:
                return str(block)
        raise AssertionError(f"docs/{self.language}/{page} has no block with {text!r}")

    def shell(self, command: str, *, fails: bool = False) -> str:
        """Run a command, and return what it printed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=50,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"{command}\n{done.stdout}"
        return done.stdout

    def cell(self, code: str) -> str:
        """Run a cell, and return what it showed."""
        assert self.notebook is not None
        ran = self.notebook.run(code)
        assert ran.status == "ok", ran.traceback()
        return ran.printed() + ran.plain() + ran.markdown()

    def take(self, step: dict[str, Any]) -> str:
        """Do one step, and return what the person sees."""
        names = step.get("blocks") or [step.get(f"{self.language}_block", step.get("block"))]
        code = "\n".join(self.block(step["page"], name) for name in names)
        if "line" in step:
            start = step.get(f"{self.language}_line", step["line"])
            code = next(line for line in code.splitlines() if line.startswith(start))
        way, _, name = step["as"].partition(" ")
        fails = step.get("fails", False)
        if way == "read":
            seen = code
        elif way == "shell":
            seen = self.shell(code, fails=fails)
        elif way == "script":
            (self.folder / "script.py").write_text(code, "utf-8")
            seen = self.shell("python script.py", fails=fails)
        elif way == "cell":
            seen = self.cell(code)
        else:
            with (self.folder / name).open({"file": "w", "add": "a"}[way], encoding="utf-8") as file:
                file.write(code)
            seen = ""
        return seen + (self.shell(step["then"]) if "then" in step else "")


@pytest.fixture
def walker(request: pytest.FixtureRequest, gigachat_emulator: GigaChatEmulator, tmp_path: Path) -> Iterator[Walker]:
    """A walker who reads the pages in a language, with the key of the emulator in the environment."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    variables = {
        **os.environ,
        **gigachat_emulator.environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }
    language, needs_notebook = request.param
    with contextlib.ExitStack() as stack:
        notebook = stack.enter_context(kernel(variables, str(tmp_path))) if needs_notebook else None
        yield Walker(language, tmp_path, variables, notebook)


def _walks() -> list[Any]:
    found = []
    for path in WALKS:
        steps = yaml.safe_load(path.read_text("utf-8"))["steps"]
        needs_notebook = any(step["as"] == "cell" for step in steps)
        found += [
            pytest.param((language, needs_notebook), steps, id=f"{path.stem}-{language}") for language in LANGUAGES
        ]
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("walker", "steps"), _walks(), indirect=["walker"])
def test_the_walk_reaches_its_end(
    walker: Walker, steps: list[dict[str, Any]], gigachat_emulator: GigaChatEmulator
) -> None:
    for step in steps:
        if "fault" in step:
            status, times = step["fault"]
            gigachat_emulator.inject(Fault(status=status), times=times)
        seen = walker.take(step)
        assert re.search(step["shows"], seen, re.S), f"{step['task']}: the page leads to {seen[-2000:]!r}"


def test_all_five_walk() -> None:
    assert len(WALKS) == 5
