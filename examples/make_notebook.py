"""Make ``notebook.ipynb``: run its cells in a kernel, and store their output.

    python examples/make_notebook.py

Needs ``pip install ".[jupyter,testing]" nbclient nbformat ipykernel``. The notebook starts the emulator, so no key is
needed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

__all__ = ["main", "new_notebook", "run"]

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")

PENDULUM = r"""The period of a pendulum that swings little:

\[ T = 2\pi \sqrt{\frac{l}{g}} \]

where \( l \) is its length and \( g \approx 9.81 \) m/s² is the acceleration of free fall. In Python:

```python
from math import pi, sqrt


def period(length: float, gravity: float = 9.81) -> float:
    return 2 * pi * sqrt(length / gravity)
```
"""
IN_RUSSIAN = r"Период малых колебаний \( T = 2\pi\sqrt{l/g} \) не зависит от массы."

EMULATOR = f'''import os

if "GIGACHAT_CREDENTIALS" not in os.environ:  # without a key the emulator answers; it repeats, counts and calculates
    from gigaclient.testing import GigaChatEmulator

    texts = {{
        "pendulum": r"""{PENDULUM}""",
        "по-русски": r"{IN_RUSSIAN}",
    }}

    def known_text(request):
        question = request.json()["messages"][-1]["content"]
        return next((text for word, text in texts.items() if word in question), None)

    emulator = GigaChatEmulator(event_pause_s=0.02).start()
    emulator.answer(known_text, times=None)
    os.environ.update(emulator.environment)'''

CELLS: tuple[tuple[str, str], ...] = (
    (
        "markdown",
        "# GigaChat in a notebook\n\n"
        "Stored as it ran against the emulator that comes with gigaclient; `make_notebook.py` in the same folder made "
        "it. To ask GigaChat instead, leave out the next but one cell and run `%giga_login`, which asks for your key. "
        "The key never becomes part of the notebook.",
    ),
    ("code", "%load_ext gigaclient"),
    ("code", EMULATOR),
    (
        "markdown",
        "## Ask\n\nThe answer is shown while it arrives, with its formulas and its code. *Interrupt* keeps the text "
        "received so far.",
    ),
    (
        "code",
        '%%giga -t 0.2 -s "You are a patient teacher."\n'
        "What is the period of a pendulum? The formula, and Python code for it.",
    ),
    ("markdown", "The formula of the answer gives the period of a pendulum of one metre, in seconds."),
    ("code", "from math import pi, sqrt\n\nround(2 * pi * sqrt(1 / 9.81), 3)"),
    (
        "markdown",
        "The notebook has one dialogue, so a question may refer to the one before. `--into` stores the answer in a "
        "variable.",
    ),
    ("code", "%giga --into answer А теперь по-русски, одной фразой"),
    ("code", "print(answer.model, answer.usage)"),
    ("markdown", "With `-f`, and only then, variables in braces are replaced by their values."),
    (
        "code",
        'water = {"Murmansk": 3.7, "Kem": 1.4}\n\n'
        "%giga -f --alone How much is {water['Murmansk']} - {water['Kem']}?",
    ),
    ("markdown", "A price in dollars is no formula."),
    ("code", r"%giga --alone Repeat: from $5 to $6, if \( x < 6 \)"),
    ("markdown", "## Pictures\n\n`--auto` lets the model use the service's own functions, such as image generation."),
    ("code", "%giga --auto --alone Draw a lighthouse"),
    ("markdown", "## In code\n\n`show` shows a stream as `%giga` does."),
    (
        "code",
        "from gigaclient import GigaChat\n"
        "from gigaclient.contrib.jupyter import show\n\n"
        "giga = GigaChat()\n"
        'count = show(giga.stream("Count from 1 to 20"))',
    ),
    ("markdown", "Results and lists of them are shown as tables."),
    ("code", 'list(giga.map(["Count from 1 to 3", "How much is 6 * 7?"], progress=False))'),
    ("code", "giga.get_balance()"),
    ("code", 'giga.embeddings(["High tide at noon", "Low tide at six"])'),
    ("code", 'giga.tokens_count(["High tide at noon", "Low tide at six"])'),
    ("markdown", "`%giga --history` shows the dialogue."),
    ("code", "%giga --history"),
    ("markdown", "An error is one sentence that says what to do."),
    ("code", "%giga -m GigaChat-2-Maxi hello"),
)


def new_notebook() -> Any:
    """Return the notebook, before it has run."""
    cells = []
    for number, (cell_type, source) in enumerate(CELLS):
        make = nbformat.v4.new_markdown_cell if cell_type == "markdown" else nbformat.v4.new_code_cell
        cells.append(make(source, id=f"cell-{number}"))
    cells[-1].metadata["tags"] = ["raises-exception"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def run(notebook: Any) -> Any:
    """Run the cells in a kernel of this Python, and store their output, without any data of this machine."""
    NotebookClient(notebook, timeout=60, kernel_name="python3", record_timing=False).execute()
    notebook.metadata.pop("language_info", None)
    return notebook


def main() -> None:
    """Write the notebook."""
    os.environ.pop("GIGACHAT_CREDENTIALS", None)
    made = run(new_notebook())
    nbformat.validate(made)
    NOTEBOOK.write_text(nbformat.writes(made).rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main()
