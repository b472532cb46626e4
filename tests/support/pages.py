"""Helpers of the tests of documentation pages: the code of a page, as a user would copy it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "ru")
SECONDS = 50


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of ``docs/<page>.md`` in a language, such as ``shell``."""
    text = (CHECKOUT / "docs" / f"{page}.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def snippets(page: str) -> list[str]:
    """Return every ``python`` block of ``docs/<page>.md``, also those that do not run in the test process."""
    found = blocks(page, "python")
    assert found, f"docs/{page}.md shows no Python"
    return found


def files(page: str) -> dict[str, str]:
    """Return the blocks of a page that are complete files: their first line is a comment with the name."""
    named = ((re.match(r"# (\S+\.py)\n", snippet), snippet) for snippet in snippets(page))
    return {name[1]: snippet for name, snippet in named if name is not None}


def run(folder: Path, *command: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with ``command`` as its arguments, in ``folder``, with ``variables`` added to the environment."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", **(variables or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
