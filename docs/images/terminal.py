"""Draws ``terminal.svg`` anew: a real session at a pseudo-terminal, against the emulator.

python docs/images/terminal.py
"""

from __future__ import annotations

import io
import itertools
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from rich.console import Console  # noqa: E402
from rich.style import Style  # noqa: E402
from rich.text import Text  # noqa: E402
from support.terminal import Terminal  # noqa: E402

from gigaclient.testing import GigaChatEmulator  # noqa: E402

COLUMNS, LINES = 76, 18

ANSWER = """\
Use a **dict**: it keeps the order in which keys were first seen.

```python
def unique(items):
    return list(dict.fromkeys(items))

print(unique([3, 1, 3, 2]))  # [3, 1, 2]
```

1. Each item becomes a key, once.
2. `list` gives them back in order.
"""

# A shell whose terminal is the one of this script.
SHELL = "import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp('bash', ['bash', '--norc'])"

# Rich's template, without the fonts that it fetches.
SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
 line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def main() -> None:
    with GigaChatEmulator(event_pause_s=0.02) as emulator, tempfile.TemporaryDirectory() as home:
        program = Path(home, "gigaclient")
        program.write_text(f"#!{sys.executable}\nfrom gigaclient.__main__ import main\nraise SystemExit(main())\n")
        program.chmod(0o755)
        environment = {**emulator.environment, "PS1": "$ ", "PATH": f"{home}:/usr/bin:/bin", "HOME": home}
        with Terminal(
            columns=COLUMNS, lines=LINES, environment=environment, command=[sys.executable, "-c", SHELL]
        ) as terminal:
            terminal.wait_for("$")
            terminal.type("echo 'Count from 1 to 5' | gigaclient chat\r")
            terminal.wait_for("1, 2, 3, 4, 5\n$")
            emulator.answer(ANSWER)
            terminal.type("gigaclient chat\r")
            terminal.wait_for("Ctrl-D leaves.\n>")
            terminal.type("How do I remove duplicates from a list and keep the order?\r")
            terminal.wait_for("in order.\n>")
            terminal.type("/usage\r")
            terminal.wait_for("since the start")
            terminal.wait_for("\n>", count=3)
            screen = terminal.screen
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for row in range(LINES):
        line = Text()
        cells = (screen.buffer[row][column] for column in range(COLUMNS))
        for (name, bold, underlined), run in itertools.groupby(
            cells, lambda cell: (cell.fg, cell.bold, cell.underscore)
        ):
            # The names that rich uses for the attributes of pyte.
            colour = None if name == "default" else name.replace("brown", "yellow").replace("bright", "bright_")
            line.append("".join(cell.data for cell in run), Style(color=colour, bold=bold, underline=underlined))
        line.rstrip()
        console.print(line, no_wrap=True)
    console.save_svg(str(HERE / "terminal.svg"), title="gigaclient", code_format=SVG, unique_id="terminal")


if __name__ == "__main__":
    main()
