"""Run scripts that were written for the official SDK, with only their imports changed.

``scripts/`` has each script with the output of the official SDK 0.2.3 against the same emulator.
"""

from __future__ import annotations

import base64
import contextvars
import re
from pathlib import Path

import pytest

from gigaclient.testing import GigaChatEmulator

SCRIPTS = sorted(Path(__file__).with_name("scripts").glob("*.py"))


def with_our_imports(code: str) -> str:
    """Replace the module name of the official SDK by ours."""
    return re.sub(r"\bgigachat\b", "gigaclient", code)


def test_the_scripts_are_there() -> None:
    assert len(SCRIPTS) > 10
    for script in SCRIPTS:
        assert "from gigachat" in script.read_text("utf-8"), script.name
        assert script.with_suffix(".txt").is_file(), script.name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_for_the_official_sdk_prints_what_it_printed_there(
    script: Path,
    gigachat_emulator: GigaChatEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in gigachat_emulator.environment.items():
        monkeypatch.setenv(name, value)
    code = compile(with_our_imports(script.read_text("utf-8")), str(script), "exec", dont_inherit=True)
    # A separate context, so that context variables of one script do not affect the next test.
    contextvars.copy_context().run(exec, code, {"__name__": "__main__"})
    assert capsys.readouterr().out == script.with_suffix(".txt").read_text("utf-8")


def test_an_image_is_base64_as_it_was(gigachat_emulator: GigaChatEmulator) -> None:
    from gigaclient import GigaChat

    with GigaChat(**gigachat_emulator.client_options) as giga:
        drawn = giga.chat("Draw a picture of a lake", function_call="auto")
        image = giga.get_image(drawn.images[0].id)
    assert base64.b64decode(image.content) == image.data
