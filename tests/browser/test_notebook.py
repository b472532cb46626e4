"""The magics and the objects that show themselves, in a JupyterLab in Chromium; and other readers of notebooks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from support.browser import EXAMPLES, NODE_MODULES, program, until

from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types.markdown import for_notebook

if TYPE_CHECKING:
    from support.browser import Browser
    from support.jupyter_lab import LabNotebook

pytestmark = pytest.mark.timeout(240)  # JupyterLab and its kernels start slowly on a busy machine

PRICES = (
    r"It costs $5 or $6, and \( x^2 \) or $y$ is it. \$7, `$8`, 9$ and $10, and \( \text{for } \$11 \)." + "\n\n"
    r"\[ E = mc^2 \]" + "\n\n"
    r"[The list](https://a.example/?$first=1&$last=2) has **$12** and *$13*." + "\n\n"
    "| one | two |\n| --- | --- |\n| $14 | $15 and $z$ |\n"
)
SHOWN = (
    "It costs $5 or $6, and ∑ or ∑ is it. $7, $8, 9$ and $10, and ∑.",
    "The list has $12 and $13.",
    "$14",
    "$15 and ∑",
)
FORMULAS = 5


@pytest.fixture(scope="module")
def emulator() -> Iterator[GigaChatEmulator]:
    with GigaChatEmulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def lab(emulator: GigaChatEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Yield the address of a JupyterLab and its folder."""
    from support.jupyter_lab import jupyter_lab

    folder = tmp_path_factory.mktemp("lab")
    with jupyter_lab(folder, emulator.environment) as url:
        yield url, folder


def notebook(browser: Browser, lab: tuple[str, Path], *cells: str) -> LabNotebook:
    from support.jupyter_lab import LabNotebook

    return LabNotebook(browser, *lab, cells)


CLIENT = "%load_ext gigaclient\nfrom gigaclient import GigaChat\ngiga = GigaChat()"


def test_prices_are_text_and_formulas_are_formulas(
    browser: Browser, lab: tuple[str, Path], emulator: GigaChatEmulator
) -> None:
    emulator.answer(PRICES, times=None)
    made = notebook(browser, lab, CLIENT, "%giga How much?", "giga.chat('How much?')", "%giga --history")
    made.run_all()
    emulator.clear()
    for cell in (1, 2, 3):
        until(lambda cell=cell: made.count(cell, "mjx-container") == FORMULAS, "the formulas are drawn")
        for part in SHOWN:
            assert part in made.text(cell)
        assert made.count(cell, "a[href='https://a.example/?%24first=1&%24last=2']") == 1
        assert made.count(cell, "mjx-merror") == 0
    made.picture(1, "jupyterlab-prices")


def test_a_key_that_is_set_in_a_later_cell_is_used(browser: Browser, lab: tuple[str, Path]) -> None:
    made = notebook(
        browser, lab, "%load_ext gigaclient\nimport os\nkey = os.environ.pop('GIGACHAT_CREDENTIALS')",
        "%giga Count from 1 to 3", "os.environ['GIGACHAT_CREDENTIALS'] = key", "%giga Count from 1 to 3",
    )  # fmt: skip
    made.run_all()
    assert made.text(1).startswith("ConfigError: there is no key yet: run %giga_login")
    assert made.text(3) == "1, 2, 3"


def test_lists_and_the_progress_of_a_run_are_shown(
    browser: Browser, lab: tuple[str, Path], emulator: GigaChatEmulator
) -> None:
    made = notebook(
        browser, lab, CLIENT,
        "results = list(giga.map([f'Count from 1 to {n}' for n in range(2, 40)]))\nresults",
        "giga.get_images(giga.chat('Draw a lighthouse', function_call='auto')) * 2",
        "giga.tokens_count(['one', 'two words'])", "giga.get_models()", "%giga Count from 1 to 3",
        "from gigaclient.contrib import jupyter\njupyter.conversation()", "%giga --history",
    )  # fmt: skip
    made.run_all()
    until(lambda: made.count(1, ".jupyter-widgets .progress-bar, .widget-hprogress") > 0, "the bar is a widget")
    assert "38/38" in made.text(1) and "38 × MapResult, of which the first 20 are shown" in made.text(1)
    assert made.count(1, "tbody tr") == 20
    loaded = "return [...document.querySelectorAll('.jp-OutputArea-output img')].map((image) => image.naturalWidth)"
    until(lambda: browser.run(loaded) == [64, 64], "the images are drawn")
    made.picture(2, "jupyterlab-lists")
    assert made.count(3, "tbody tr") == 2
    assert made.count(4, "tbody tr") > 5
    for cell in (6, 7):
        assert made.text(cell).split() == ["user", "Count", "from", "1", "to", "3", "assistant", "1,", "2,", "3"]


def test_a_failed_call_and_an_interrupted_one_show_the_users_frames(
    browser: Browser, lab: tuple[str, Path], emulator: GigaChatEmulator
) -> None:
    made = notebook(
        browser, lab, CLIENT + "\ndef ask(text, **options):\n    return giga.chat(text, **options)",
        "ask('hello', model='nothing')", "ask('Count from 1 to 3')",
    )  # fmt: skip
    made.run(0)
    made.run(1)
    assert made.text(1).splitlines()[-1].startswith("NotFoundError: 404: ")
    assert "return giga.chat" in made.text(1) and ".py" not in made.text(1)
    emulator.inject(Fault(before_s=float("inf")))
    seen = len(emulator.requests)
    made.run(2, wait=False)
    until(lambda: len(emulator.requests) > seen, "the request has arrived")
    made.interrupt()
    made.wait_for(2)
    made.picture(1, "jupyterlab-errors")
    assert made.text(2).splitlines()[-1].startswith("KeyboardInterrupt: the call was interrupted")
    assert "return giga.chat" in made.text(2) and ".py" not in made.text(2)


def test_the_example_runs_again_without_a_key(browser: Browser, lab: tuple[str, Path]) -> None:
    stored = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    cells = [cell.source for cell in stored.cells if cell.cell_type == "code"]
    # The server has the key of another emulator in its environment.
    made = notebook(browser, lab, "import os\ndel os.environ['GIGACHAT_CREDENTIALS']", *cells)
    made.run_all()
    at = {cell.split("\n")[0][:10]: number for number, cell in enumerate(cells, 1)}
    question = at["%%giga -t "]
    until(lambda: made.count(question, "mjx-container") == 3, "the formulas are drawn")
    made.picture(question, "jupyterlab-example")
    assert made.count(question, ".highlight, pre code") > 0
    assert made.text(at["from math "]) == "2.006"
    assert made.text(at['water = {"']) == "3.7 - 1.4 = 2.3"
    assert made.text(at["%giga --al"]) == "from $5 to $6, if ∑"


# -- other readers of notebooks ----------------------------------------------------------------------------------------


def test_the_renderer_of_vs_code_shows_the_same() -> None:
    """VS Code renders Markdown outputs with markdown-it and its plugin for KaTeX."""
    script = """
        const [markdownIt, katex] = ['markdown-it', '@vscode/markdown-it-katex'].map((name) => require(name));
        const reader = markdownIt({html: true, linkify: true}).use(katex.default);
        const shown = reader.render(require('fs').readFileSync(0, 'utf8'));
        process.stdout.write(JSON.stringify(shown));
    """
    ran = subprocess.run(
        [program("node"), "-e", script],
        input=for_notebook(PRICES), capture_output=True, text=True, check=True, cwd=NODE_MODULES.parent,
    )  # fmt: skip
    shown = json.loads(ran.stdout)
    assert shown.count('class="katex"') == FORMULAS and "katex-error" not in shown
    for part in ("It costs $5 or $6, and ", "$7, ", ", 9$ and $10, and ", "<strong>$12</strong>", "<td>$14</td>"):
        assert part in shown.replace("<span>$</span>", "$")


def test_nbconvert_shows_the_same() -> None:
    """MathJax looks for formulas in the text between two tags, so the tags alone decide what it finds."""
    from nbconvert import HTMLExporter

    output = nbformat.v4.new_output("display_data", {"text/markdown": for_notebook(PRICES)})
    cell = nbformat.v4.new_code_cell("%giga How much?", outputs=[output])
    html, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    shown = html[html.index("It costs") : html.index("</table>")]
    for part in (
        "It costs <span>$</span>5 or <span>$</span>6, and $x^2$ or $y$ is it. <span>$</span>7, <code>$8</code>",
        r"9<span>$</span> and <span>$</span>10, and $\text{for } \$11$.",
        "$$ E = mc^2 $$",
        'href="https://a.example/?%24first=1&amp;%24last=2"',
        "<td><span>$</span>14</td>",
        "<td><span>$</span>15 and $z$</td>",
    ):
        assert part in shown
