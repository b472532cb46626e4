"""Make ``notebook.ipynb``: run its cells in a kernel, and store their output.

    python examples/make_notebook.py

Needs ``pip install ".[jupyter,testing]" nbclient nbformat ipykernel``. The emulator answers, with the texts
below, so no key is needed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from gigaclient.testing import GigaChatEmulator

__all__ = ["main", "new_notebook", "run"]

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")

PENDULUM = r"""The period of a pendulum that swings little:

\[ T = 2\pi \sqrt{\frac{l}{g}} \]

where \( l \) is its length and \( g \approx 9.81 \) m/s² what makes it fall. In Python:

```python
from math import pi, sqrt


def period(length: float, gravity: float = 9.81) -> float:
    return 2 * pi * sqrt(length / gravity)
```
"""
IN_RUSSIAN = r"Период малых колебаний \( T = 2\pi\sqrt{l/g} \) зависит лишь от длины и от силы тяжести, но не от массы."
TIDES = """| port | water | when |
| --- | ---: | --- |
| Murmansk | 3.7 m | 14:20 |
| Kem | 1.4 m | 16:05 |

The water stands **2.3 m** higher at Murmansk, and an hour and three quarters earlier."""

# Scripted answers to the first questions of the notebook, in order.
ANSWERS = (PENDULUM, IN_RUSSIAN, TIDES)

CELLS: tuple[tuple[str, str], ...] = (
    (
        "markdown",
        "# GigaChat in a notebook\n\n"
        "Stored as it ran against the emulator that ships with gigaclient (`make_notebook.py` beside this file made "
        "it). With a key of your own GigaChat answers instead: run `%giga_login`, which asks for it. The key never "
        "becomes part of the notebook.",
    ),
    ("code", "%load_ext gigaclient"),
    (
        "code",
        "import os\n\n"
        'if "GIGACHAT_CREDENTIALS" not in os.environ:  # leave this cell out when you have a key\n'
        "    from gigaclient.testing import GigaChatEmulator\n\n"
        "    emulator = GigaChatEmulator(event_pause_s=0.02).start()\n"
        "    os.environ.update(emulator.environment)",
    ),
    (
        "markdown",
        "## Ask\n\nThe answer grows while it comes, with its formulas and its code. *Interrupt* keeps what is there.",
    ),
    (
        "code",
        '%%giga -t 0.2 -s "You are a patient teacher."\n'
        "What is the period of a pendulum? The formula, and Python code for it.",
    ),
    (
        "markdown",
        "The notebook has one dialogue, so that a question may lean on the one before. `--into` puts the answer into a "
        "variable.",
    ),
    ("code", "%giga --into answer А теперь по-русски, одной фразой"),
    ("code", "print(answer.model, answer.usage)"),
    ("markdown", "Variables come in with `-f`, and only then: braces in a question are just braces."),
    (
        "code",
        'water = {"Murmansk": (3.7, "14:20"), "Kem": (1.4, "16:05")}\n\n%giga -f --alone Compare high water: {water}',
    ),
    ("markdown", "## Pictures\n\n`--auto` lets the model use the service's own functions, such as drawing."),
    ("code", "%giga --auto --alone Draw a lighthouse"),
    ("markdown", "## In code\n\n`show` does for a stream what `%giga` does for a question."),
    (
        "code",
        "from gigaclient import GigaChat\n"
        "from gigaclient.contrib.jupyter import show\n\n"
        "giga = GigaChat()\n"
        'count = show(giga.stream("Count from 1 to 20"))',
    ),
    ("markdown", "What the API gives back shows itself."),
    ("code", "giga.get_balance()"),
    ("code", 'giga.embeddings(["High tide at noon", "Low tide at six"])'),
    ("code", 'giga.tokens_count("High tide at noon")[0]'),
    ("markdown", "An error is one sentence, with the step to take."),
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
    with GigaChatEmulator(event_pause_s=0.01) as emulator:
        for answer in ANSWERS:
            emulator.answer(answer)
        os.environ.update(emulator.environment)
        made = run(new_notebook())
    nbformat.validate(made)
    NOTEBOOK.write_text(nbformat.writes(made).rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main()
