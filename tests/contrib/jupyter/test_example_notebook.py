"""The example notebook runs, shows the expected outputs, and its stored outputs are up to date."""

from __future__ import annotations

import base64
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_notebook", EXAMPLES / "make_notebook.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def outputs(notebook: Any) -> dict[str, list[Any]]:
    """Return the outputs of each code cell, by the first characters of its code."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {cell.source.split("\n")[0][:24]: cell.outputs for cell in cells}


def check(maker: ModuleType, shown: dict[str, list[Any]]) -> None:
    assert shown["%load_ext gigaclient"] == shown["import os"] == []
    (answer,) = shown['%%giga -t 0.2 -s "You ar']
    assert answer.data["text/plain"] == maker.PENDULUM.rstrip()
    assert "$$ T = 2\\pi" in answer.data["text/markdown"] and "```python" in answer.data["text/markdown"]
    (period,) = shown["from math import pi, sqr"]
    assert period.data["text/plain"] == "2.006"
    (answer,) = shown["%giga --into answer А те"]
    assert re.search(r"[А-я] \$T = 2\\pi", answer.data["text/markdown"])
    (usage,) = shown["print(answer.model, answ"]
    assert "total_tokens" in usage.text
    (difference,) = shown['water = {"Murmansk": 3.7']
    assert difference.data["text/plain"] == "3.7 - 1.4 = 2.3"
    (price,) = shown["%giga --alone Repeat: fr"]
    assert price.data["text/markdown"] == r"from <span>\$</span>5 to <span>\$</span>6, if $x < 6$"
    text, picture = shown["%giga --auto --alone Dra"]
    assert text.data["text/markdown"].strip() == "Here is what came out."
    assert base64.b64decode(picture.data["image/jpeg"]).startswith(b"\xff\xd8\xff")
    (count,) = shown["from gigaclient import G"]
    assert count.data["text/markdown"].endswith("18, 19, 20")
    for code, part in (
        ("giga.get_balance()", "tokens left"),
        ('giga.embeddings(["High t', "norm"),
        ('giga.tokens_count(["High', "2 × TokensCount"),
        ('list(giga.map(["Count fr', "6 * 7 = 42</td>"),
    ):
        (result,) = shown[code]
        assert result.data["text/html"].startswith("<table>") and part in result.data["text/html"]
    (dialogue,) = shown["%giga --history"]
    assert dialogue.data["text/markdown"].count("**assistant**") == 2
    (error,) = shown["%giga -m GigaChat-2-Maxi"]
    assert error.ename == "NotFoundError" and len(error.traceback) == 1 and "did you mean" in error.traceback[0]


def test_the_notebook_runs_without_a_key_against_its_own_emulator(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    ran = maker.run(maker.new_notebook())
    check(maker, outputs(ran))


def test_the_stored_notebook_is_up_to_date(maker: ModuleType) -> None:
    stored = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbformat.validate(stored)
    assert [(cell.cell_type, cell.source) for cell in stored.cells] == list(maker.CELLS), "make the notebook again"
    check(maker, outputs(stored))


def test_the_stored_notebook_has_no_paths_addresses_and_tokens() -> None:
    text = (EXAMPLES / "notebook.ipynb").read_text("utf-8")
    assert re.search(r"127\.0\.0\.1|localhost|Bearer|\"(?:/[A-Za-z]+/|[A-Z]:\\)|timestamp|iopub", text) is None
