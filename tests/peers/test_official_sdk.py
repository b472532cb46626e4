"""Scripts for the official SDK print the same with it and, after nothing but a changed import, with ours.

tests/migration/test_scripts.py compares the newest official SDK with recorded outputs. Here the oldest one runs too.
"""

from __future__ import annotations

import contextvars
from importlib.metadata import version
from pathlib import Path

import pytest
from support.official_sdk import OFFICIAL, OURS, with_imports_of

from gigaclient.testing import GigaChatEmulator

FOLDER = Path(__file__).parent.parent / "migration" / "scripts"
SCRIPTS = sorted(FOLDER.glob("*.py"))
RECORDED_WITH = "0.2.3"
# They use what 0.2.1 does not have yet.
NEWER = {"functions", "primary"}


def run(script: Path, module: str) -> None:
    code = compile(with_imports_of(module, script.read_text("utf-8")), str(script), "exec", dont_inherit=True)
    # A separate context, so that context variables of one script do not affect the next one.
    contextvars.copy_context().run(exec, code, {"__name__": "__main__"})


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_prints_the_same_with_both(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = []
    for module in (OFFICIAL, OURS):
        # Each starts with a new emulator, because some scripts create files and threads there.
        with GigaChatEmulator() as emulator:
            for name, value in emulator.environment.items():
                monkeypatch.setenv(name, value)
            if module == OFFICIAL and script.stem in NEWER and version("gigachat") != RECORDED_WITH:
                with pytest.raises(ImportError):
                    run(script, module)
                printed.append(script.with_suffix(".txt").read_text("utf-8"))
                continue
            run(script, module)
        printed.append(capsys.readouterr().out)
    assert printed[0]
    assert printed[1] == printed[0]
