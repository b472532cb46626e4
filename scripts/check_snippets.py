"""``check_snippets.py DIRECTORY``: check the types of the Python on the pages with mypy and pyright in strict mode.

The blocks of a page are one module of the package ``pages`` in DIRECTORY, with blank lines between them, so that an
error has the line of the page. setup.cfg and ``NOT_STRICT`` say which rules of strict mode do not hold there. Blocks
that are not run ("<!-- not run: … -->") are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from mypy import api

CHECKOUT = Path(__file__).resolve().parent.parent
# Their blocks are files of a test project with fixtures, or quote the code of other clients.
LEFT_OUT = ("testing", "migration")
# What a project has before it copies from the page.
BEFORE = {"django": "INSTALLED_APPS: list[str] = []"}
# As in setup.cfg: a view or a fixture has no annotations, some libraries have no types, and a later block goes on.
NOT_STRICT = (
    "reportConstantRedefinition",
    "reportMissingParameterType",
    "reportMissingTypeStubs",
    "reportUnknownArgumentType",
    "reportUnknownMemberType",
    "reportUnknownParameterType",
    "reportUnknownVariableType",
    "reportUnusedImport",
    "reportUnusedVariable",
)
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


def start_pyright(directory: Path, modules: Iterable[str]) -> subprocess.Popen[str]:
    """Start pyright in strict mode on modules of ``directory``."""
    settings = {
        "include": [f"pages/{module}" for module in modules],
        "extraPaths": [str(CHECKOUT)],
        "pythonVersion": "3.10",
        "typeCheckingMode": "strict",
        **dict.fromkeys(NOT_STRICT, False),
    }
    (directory / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main() -> int:
    """Write the modules, check them, and print the errors with the paths of the pages."""
    directory = Path(sys.argv[1]).resolve()
    folder = directory / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    pages = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs" / "en").glob("*.md"))]
    names: dict[str, Path] = {}
    for page in pages:
        if page.stem not in LEFT_OUT:
            module = folder / f"page_{page.stem.replace('-', '_')}.py"
            module.write_text(module_of(page), "utf-8")
            names[module.name] = page.relative_to(CHECKOUT)
    pyright = start_pyright(directory, names)
    # Settings in place of flags: with other flags mypy could not use its cache of the package.
    config = ("--config-file", str(CHECKOUT / "setup.cfg"), "--no-error-summary")
    report, failure, status = api.run([*config, *(str(folder / name) for name in names)])
    sys.stdout.write(re.sub(r"(?m)^\S*?(page_\w+\.py):", lambda found: f"{names[found[1]]}:", report))
    sys.stderr.write(failure)
    found = json.loads(pyright.communicate()[0])
    if found["summary"]["filesAnalyzed"] != len(names):
        sys.exit(f"pyright read {found['summary']['filesAnalyzed']} of {len(names)} pages")
    for problem in found["generalDiagnostics"]:
        page_of = names[Path(problem["file"]).name]
        line = problem["range"]["start"]["line"] + 1
        print(f"{page_of}:{line}: pyright: {problem['message']} [{problem.get('rule', problem['severity'])}]")
    status = status or bool(found["generalDiagnostics"])
    if not status:
        print(f"Snippets: the types of {len(names)} pages are right.")
    return status


if __name__ == "__main__":
    sys.exit(main())
