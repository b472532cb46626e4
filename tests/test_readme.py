"""Run the snippets of the READMEs and the pages, in order, against the emulators.

The snippets are as a user would write them. ``GigaChat()`` reads its key and addresses from the environment. The
address in ``FakeGpt(base_url="https://chat.example.org")`` is replaced by that of an emulator, whose authority counts
as "system" here. A block is left out only if ``<!-- not run: reason -->`` stands right before it.
"""

from __future__ import annotations

import contextlib
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gigaclient.testing import Authority, FakeGptEmulator, GigaChatEmulator

CHECKOUT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.ru.md")
PAGES = (*READMES, *sorted(f"docs/{page.parent.name}/{page.name}" for page in CHECKOUT.glob("docs/[er][nu]/*.md")))
FAKEGPT_IN_THE_README = "https://chat.example.org"
MAX_LEFT_OUT = 2
# Install, a first answer, a stream, FakeGpt, errors, configuration, the emulator; the first is a shell block.
MIN_RUN = 6
# The files that the recipes read.
FILES = {
    "reviews.csv": b"text\nA great phone.\nThe screen broke.\n",
    "report.pdf": b"%PDF-1.4\n%%EOF\n",
    "photo.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\xff\xd9",
    ".env": b"A_VARIABLE_OF_THE_FILE=1\n",
}


@dataclass(frozen=True)
class Block:
    """One ``python`` block: the line of its first code, the code, and the reason why it is not run, or None."""

    line: int
    code: str
    left_out: str | None


def blocks(name: str) -> list[Block]:
    """Return every ``python`` block of a README, in order."""
    page = CHECKOUT / name
    assert page.is_file(), f"{name} is missing"
    found: list[Block] = []
    lines = page.read_text("utf-8").splitlines()
    start: int | None = None
    fence = ""
    language = ""
    for number, line in enumerate(lines, 1):
        opening = re.match(r"^\s*(`{3,}|~{3,})\s*(\S*)", line)
        if start is None and opening:
            start, fence, language = number, opening.group(1), opening.group(2)
        elif start is not None and line.strip() == fence:
            if language in ("python", "py", "pycon", "python3"):
                assert language == "python", f"{name}:{start}: call it python, so that it is run"
                found.append(Block(start + 1, "\n".join(lines[start : number - 1]), _reason(lines[: start - 1])))
            start = None
    assert start is None, f"{name}:{start}: the block that begins here does not end"
    return found


def _reason(before: list[str]) -> str | None:
    nearest = next((line for line in reversed(before) if line.strip()), "")
    comment = re.fullmatch(r"<!-- not run: (.+?) -->", nearest.strip())
    return comment.group(1) if comment else None


@pytest.fixture
def fakegpt_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both emulators under one authority, with their addresses in the environment."""
    with (
        Authority() as authority,
        GigaChatEmulator(authority=authority) as giga,
        FakeGptEmulator(authority=authority) as fake,
    ):
        for name, value in giga.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.ca_file)
        yield fake.base_url


@pytest.mark.parametrize("name", PAGES)
def test_every_snippet_runs(
    name: str, fakegpt_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # for snippets that write a file
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)
    monkeypatch.setenv("A_VARIABLE_OF_THE_FILE", "0")  # so that it is removed again
    for file, content in FILES.items():
        (tmp_path / file).write_bytes(content)
    # A Django project has its list of applications before it reads the page.
    namespace: dict[str, Any] = {"__name__": "__main__", "INSTALLED_APPS": []}
    with contextlib.ExitStack() as left_open:
        for block in blocks(name):
            if block.left_out is not None:
                continue
            # Blank lines in front, so that a traceback has the line number of the README.
            code = "\n" * (block.line - 1) + block.code.replace(FAKEGPT_IN_THE_README, fakegpt_address)
            exec(compile(code, str(CHECKOUT / name), "exec", dont_inherit=True), namespace)
            for thing in namespace.values():
                if type(thing).__module__.startswith("gigaclient") and hasattr(thing, "close"):
                    left_open.callback(thing.close)  # a script closes its client only at its end
    if any(block.left_out is None for block in blocks(name)):
        assert capsys.readouterr().out.strip(), f"the snippets of {name} print nothing"


def test_at_most_two_snippets_of_a_page_are_left_out() -> None:
    left_out = {name: [block for block in blocks(name) if block.left_out] for name in PAGES}
    unrun = {name: [block for block in found if not _run_elsewhere(name, block)] for name, found in left_out.items()}
    assert {name: found for name, found in unrun.items() if len(found) > MAX_LEFT_OUT} == {}


def _run_elsewhere(name: str, block: Block) -> bool:
    """Return True if the reason names a test that runs the text of the page."""
    tests = [CHECKOUT / found for found in re.findall(r"tests/[\w/]+\.py", block.left_out or "")]
    assert [test for test in tests if not test.is_file()] == [], f"{name}:{block.line} names a test that is not there"
    return any(Path(name).stem in test.read_text("utf-8") for test in tests)


@pytest.mark.parametrize("name", READMES)
def test_each_part_of_the_readme_shows_a_snippet_that_runs(name: str) -> None:
    run = [block for block in blocks(name) if block.left_out is None]
    assert len(run) >= MIN_RUN, f"{name} has only {len(run)} snippets that run"


def test_both_languages_show_the_same_snippets_in_the_same_order() -> None:
    english, russian = ([_without_words(block.code) for block in blocks(name)] for name in READMES)
    assert english == russian


def _without_words(code: str) -> list[str]:
    """Return the names, operators and numbers; strings and comments are translated."""
    kept = (tokenize.NAME, tokenize.OP, tokenize.NUMBER)
    return [token.string for token in tokenize.generate_tokens(io.StringIO(code).readline) if token.type in kept]


def test_the_readme_shows_its_parts_in_order() -> None:
    assert blocks("README.md")
    page = (CHECKOUT / "README.md").read_text("utf-8")
    headings = [heading.lower() for heading in re.findall(r"^##+ (.+)$", page, re.MULTILINE)]
    parts = ("install", "answer", "stream", "fakegpt", "error", "configur", "emulator")
    indices = [next((at for at, heading in enumerate(headings) if part in heading), None) for part in parts]
    assert None not in indices, f"a part is missing among {headings}: {dict(zip(parts, indices, strict=True))}"
    assert indices == sorted(indices, key=lambda index: index or 0), headings
