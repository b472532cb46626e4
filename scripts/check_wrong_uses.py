"""Fail unless mypy and pyright find each wrong use in ``scripts/wrong_uses.py``, with its error, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).with_name("wrong_uses.py")
PYTHON = sys.executable


def expected() -> dict[str, set[tuple[int, str]]]:
    """Return the expected errors of each checker, as pairs of line and code."""
    found: dict[str, set[tuple[int, str]]] = {"mypy": set(), "pyright": set()}
    for number, line in enumerate(FILE.read_text("utf-8").splitlines(), 1):
        match = re.search(r"# wrong: (\S+), (\S+)$", line)
        if match:
            found["mypy"].add((number, match[1]))
            found["pyright"].add((number, match[2]))
    return found


def errors_of_mypy() -> set[tuple[int, str]]:
    """Run mypy and return its errors."""
    output = subprocess.run([PYTHON, "-m", "mypy", str(FILE)], capture_output=True, text=True).stdout
    return {(int(line), code) for line, code in re.findall(r":(\d+): error: .*\[([\w-]+)\]$", output, re.MULTILINE)}


def errors_of_pyright() -> set[tuple[int, str]]:
    """Run pyright and return its errors."""
    command = [PYTHON, "-m", "pyright", "--pythonpath", PYTHON, "--outputjson", str(FILE)]
    report = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    errors = [found for found in report["generalDiagnostics"] if found["severity"] == "error"]
    return {(found["range"]["start"]["line"] + 1, found.get("rule", "")) for found in errors}


def main() -> int:
    """Compare, print the differences, and return 1 if there are any."""
    wanted, status = expected(), 0
    if not wanted["mypy"]:
        sys.exit(f"{FILE} has no wrong uses")
    for name, found in (("mypy", errors_of_mypy()), ("pyright", errors_of_pyright())):
        for line, code in sorted(wanted[name] ^ found):
            status = 1
            problem = "not found" if (line, code) in wanted[name] else "not expected"
            print(f"{FILE.name}:{line}: {name} error {code} {problem}")
    return status


if __name__ == "__main__":
    sys.exit(main())
