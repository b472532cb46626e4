"""Tests that every regular expression on a model's or a server's text takes linear time.

Such a text may be chosen by an attacker, and Python's regular expressions hold the interpreter while they backtrack: no
other thread runs, and no deadline is obeyed.
"""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "gigaclient"

# The patterns that read what a model or a server wrote.
FOREIGN = {
    "_primitives.surrogates": {"_ESCAPES"},
    "schema.tolerant": {"_ESCAPE", "_NAME", "_NUMBER", "_OPENING", "_SPACE", "_SURROGATE", "_WORD"},
    "schema.validation": {"_EXPECTED"},
    "_core.error_mapping": {"_TITLE"},
    "contrib.event_format": {"_LINE_END"},
    "cli.exit_codes": {"_ARGUMENT", "_LABEL"},
    "cli.markdown": {"_ESCAPE", "_POSSIBLE_LIST_ITEM"},
    "doctor.report": {"_THOUSANDS"},
    "doctor.redaction": {"_AFTER_SCHEME", "_ANY_HOME", "_JSON_TOKEN", "_LONG_TEXT", "_SCHEME_AND_REST"},
    "gigachat.batch_file": {"_ID"},
    "transport.connection": {"_HEAD", "_LINE_BREAK", "_PLAIN_NAMES"},
    "types.files": {"_ATTRIBUTE", "_TAG", "_UUID"},
    "types.markdown": {
        "_ACTIVE", "_ADDRESS", "_BEGINS_SOMETHING", "_BEGUN", "_HARMLESS", "_NEW_BLOCK", "_PICTURE", "_SCHEME",
        "_TOKEN", "_UNESCAPED_DOLLAR",
    },
    "types.markdown_code": {"_INDENTED", "_LINE", "_PAIRED"},
}  # fmt: skip
# Those that are tried at one place of the text only; the others search it.
ANCHORED = {
    *("_HARMLESS", "_HEAD", "_ID", "_LABEL", "_NEW_BLOCK", "_PLAIN_NAMES", "_POSSIBLE_LIST_ITEM", "_SCHEME", "_SIZE")
}

# Patterns on foreign text of a length that we bound, and the bound.
BOUNDED = {("cli.markdown", "_PADDING"): "a rendered line, as wide as the terminal"}

# Modules whose patterns read only the text of the program, of its user or of this machine, and what that is.
OWN_TEXT = {
    "_core.observer": "names of headers that the program sends",
    "_primitives.extras": "metadata of the installed package",
    "_core.request_options": "names of headers that the program sends",
    "_core.settings": "the host of a configured address",
    "bulk.templates": "the program's template",
    "cli.interactive": "typed commands",
    "contrib.client_registry": "names of settings",
    "contrib.jupyter.magics": "typed cells",
    "contrib.jupyter.options": "typed lines",
    "doctor.versions": "metadata of the installed package",
    "fakegpt.settings": "the user's token",
    "functions": "names of the program's functions",
    "gigachat.attachments": "ids and paths of the user's files",
    "gigachat.credentials": "the user's key",
    "gigachat.resources.uploads": "names of the user's files",
    "hooks": "paths of the API",
    "schema.descriptions": "names of the program's types",
    "schema.docstrings": "the program's docstrings",
    "transport.tls": "the user's certificates",
}

# Calls of `re` inside of functions that read foreign text: the module and the pattern, as it is written.
FOREIGN_CALLS = {
    ("_core.error_mapping", "(computed)"),  # literals of a table in that module
    ("doctor.redaction", "(computed)"),  # the folder of the user
    ("schema.tolerant", r'"[^"\\]*(?:\\.[^"\\]*)*"'),  # strings, matched at a quote
    ("schema.tolerant", r"'[^'\\]*(?:\\.[^'\\]*)*'"),
    ("types.markdown", "`+"),
    ("types.markdown", r"\n[ \t]*(?=\n)"),
    ("types.markdown", r"[\s\\\x00-\x1f]"),
    ("types.markdown_code", "[^ >]"),
}

# The emulators read what the tests of a program send.
ELSEWHERE = ("testing.",)

FUNCTIONS = {"compile", "findall", "finditer", "fullmatch", "match", "search", "split", "sub", "subn"}


@functools.cache
def uses() -> list[tuple[str, str, str]]:
    """Return the module, the name (empty inside of a function) and the source of each pattern."""
    found: list[tuple[str, str, str]] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text("utf-8"))
        named = {
            id(node.value): target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "re":
                pytest.fail(f"{path}: write `re.compile`, so that this test finds it")
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr in FUNCTIONS
            ):
                pattern = node.args[0]
                source = pattern.value if isinstance(pattern, ast.Constant) else "(computed)"
                found.append((module, named.get(id(node), ""), str(source)))
    return found


def test_every_pattern_is_listed_with_the_text_that_it_reads() -> None:
    unlisted = [
        f"{module}: {name or pattern}"
        for module, name, pattern in uses()
        if module not in OWN_TEXT
        and not f"{module}.".startswith(ELSEWHERE)
        and name not in FOREIGN.get(module, ())
        and (module, name) not in BOUNDED
        and (name or (module, pattern) not in FOREIGN_CALLS)
    ]
    assert unlisted == [], "list it, so that its time is measured"


def test_no_listed_pattern_is_gone() -> None:
    patterns = {(module, name) for module, name, _ in uses()}
    assert {(module, name) for module, names in FOREIGN.items() for name in names} | set(BOUNDED) <= patterns
    assert FOREIGN_CALLS - {(module, pattern) for module, _, pattern in uses()} == set()
    assert set(OWN_TEXT) - {module for module, *_ in uses()} == set()


CHARACTERS = "\n \t`<![](\\$\"'a1:/-={\x1b"
# What the patterns look for, so that each gets far before it fails.
BEGINNINGS = [
    "", "<img ", "<title", "<a ", "$$", "\\[", "\\(", "$a", "](", '{"id": "', "HTTP/1.1 200 OK\r\n", "a:", "://", "eyJ",
    "\x1b[", "Bearer ", "/Users/", "src=", "<https://", "12345678-", "\\", "```",
]  # fmt: skip
LENGTH = 20_000
LIMIT_SECONDS = 0.25  # quadratic time is seconds; linear time is a few milliseconds


def hostile_texts() -> Iterator[str]:
    """Yield texts that match for long and fail late: a beginning, once or repeated, and one or two characters."""
    for beginning, character in itertools.product(BEGINNINGS, CHARACTERS):
        yield beginning + character * LENGTH + "\0"
        if character in "a\n ":
            yield (beginning + character) * (LENGTH // (len(beginning) + 1))
    for pair in itertools.combinations(CHARACTERS, 2):
        yield "".join(pair) * (LENGTH // 2)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in FOREIGN for name in sorted(FOREIGN[module])])
def test_a_pattern_on_foreign_text_takes_linear_time(module: str, name: str) -> None:
    pattern: Any = getattr(importlib.import_module(f"gigaclient.{module}"), name)
    read = pattern.match if name in ANCHORED else pattern.findall
    for text in hostile_texts():
        subject = text.encode() if isinstance(pattern.pattern, bytes) else text
        began = time.thread_time()
        read(subject)
        took = time.thread_time() - began
        assert took < LIMIT_SECONDS, f"{text[:20]!r} … {text[-20:]!r}: {took:.1f} s for {LENGTH} characters"


def test_the_measurement_finds_nested_repetition() -> None:
    pattern = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
    began = time.thread_time()
    pattern.findall("\n" * LENGTH + "\0")
    assert time.thread_time() - began > LIMIT_SECONDS
