"""Run scripts that were written for the official SDK: with it, and with gigaclient after a change of their imports.

``scripts/`` has each script with its output.
"""

from __future__ import annotations

import base64
import contextvars
import gc
import warnings
from pathlib import Path

import pytest
from support.official_sdk import OFFICIAL, OURS, with_imports_of

from gigaclient.testing import GigaChatEmulator

SCRIPTS = sorted(Path(__file__).with_name("scripts").glob("*.py"))


def test_the_scripts_are_there() -> None:
    assert len(SCRIPTS) > 10
    for script in SCRIPTS:
        assert "from gigachat" in script.read_text("utf-8"), script.name
        assert script.with_suffix(".txt").is_file(), script.name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
@pytest.mark.parametrize("package", [OFFICIAL, OURS])
def test_a_script_for_the_official_sdk_prints_the_same_with_both_packages(
    package: str,
    script: Path,
    gigachat_emulator: GigaChatEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in gigachat_emulator.environment.items():
        monkeypatch.setenv(name, value)
    text = script.read_text("utf-8")
    code = compile(with_imports_of(package, text), str(script), "exec", dont_inherit=True)
    with warnings.catch_warnings():
        if package == OFFICIAL:
            warnings.simplefilter("ignore")
        # A separate context, so that context variables of one script do not affect the next test.
        contextvars.copy_context().run(exec, code, {"__name__": "__main__"})
        gc.collect()  # clients of the official SDK that were not closed warn here, and not in another test
    assert capsys.readouterr().out == script.with_suffix(".txt").read_text("utf-8")


def test_an_image_is_base64_as_it_was(gigachat_emulator: GigaChatEmulator) -> None:
    from gigaclient import GigaChat

    with GigaChat(**gigachat_emulator.client_options) as giga:
        drawn = giga.chat("Draw a picture of a lake", function_call="auto")
        image = giga.get_image(drawn.images[0].id)
    assert base64.b64decode(image.content) == image.data
