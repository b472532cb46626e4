"""``check_snippets.py DIRECTORY``: check the types of the Python on the pages with mypy, as users of strict mode do.

The blocks of a page are one module of the package ``pages`` in DIRECTORY, with blank lines between them, so that an
error has the line of the page. setup.cfg says which rules of strict mode do not hold there. Blocks that are not run
("<!-- not run: … -->") are left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mypy import api

CHECKOUT = Path(__file__).resolve().parent.parent
# Their blocks are files of a test project with fixtures, or quote the code of other clients.
LEFT_OUT = ("testing", "migration")
# What a project has before it copies from the page.
BEFORE = {"django": "INSTALLED_APPS: list[str] = []"}
NOT_RUN = re.compile(r"<!-- not run: .+ -->")


def module_of(page: Path) -> str:
    """Return the Python of a page, with a blank line in place of each other line."""
    lines: list[str] = []
    is_code = is_left_out = False
    for line in page.read_text("utf-8").splitlines():
        if is_code and line.strip() == "```":
            is_code = False
        elif is_code:
            lines.append("" if is_left_out else line)
            continue
        elif line.startswith("```python"):
            is_code = True
        elif line.strip():
            is_left_out = NOT_RUN.fullmatch(line.strip()) is not None
        lines.append("")
    lines[0] = BEFORE.get(page.stem, "")  # the line of the title
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the modules, check them, and print the errors with the paths of the pages."""
    folder = Path(sys.argv[1]) / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    pages = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs" / "en").glob("*.md"))]
    names: dict[str, Path] = {}
    for page in pages:
        if page.stem not in LEFT_OUT:
            module = folder / f"page_{page.stem.replace('-', '_')}.py"
            module.write_text(module_of(page), "utf-8")
            names[module.name] = page.relative_to(CHECKOUT)
    # Settings in place of flags: with other flags mypy could not use its cache of the package, and checks it again.
    config = ("--config-file", str(CHECKOUT / "setup.cfg"), "--no-error-summary")
    report, failure, status = api.run([*config, *(str(folder / name) for name in names)])
    shown = re.sub(r"(?m)^\S*?(page_\w+\.py):", lambda found: f"{names[found[1]]}:", report)
    sys.stdout.write(shown)
    sys.stderr.write(failure)
    if not status:
        print(f"Snippets: the types of {len(names)} pages are right.")
    return status


if __name__ == "__main__":
    sys.exit(main())
