"""Fail when docstrings and comments leave the rules of plain English.

Two figures are measured, and both have a limit:

- docstrings of functions that open with a question word instead of a verb: none;
- sentences of docstrings and comments that use a word of our former private vocabulary: under 1 %.

Usage: check_prose.py [--list] [PATH ...]. ``--list`` prints each sentence that counts.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ("gigaclient", "tests", "benchmarks", "docs", "examples", "fuzz", "scripts")
MOST_IDIOMS = 0.01

_QUESTION = re.compile(r"(?:What|Whether|Who|Whom|Where|How|Which|Why|When)\b")
_IDIOM = re.compile(
    r"\b(?:patience|patiently|roads?|rooms?|houses?|floors|crews?|pace|wire|doors?|desks?|told|tells|asked|asks|given"
    r"|beside|whoever|whomever|nobody|somebody|of its own|of their own|of our own|as it is|at the most|what came"
    r"|what had come|came of|makes? good|parts? with|ends all|under way|without a word|no harm|believes?"
    r"|on the line)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"``.*?``|`[^`]*`|:\w+:`[^`]*`|https?://\S+|\"[^\"]*\"|<[^>]*>", re.DOTALL)
_SECTION = re.compile(r"^\s*(?:Args|Attributes|Raises|Returns|Yields|Example|Examples|Source|Usage):\s*", re.MULTILINE)


class Sentence(NamedTuple):
    """One sentence, and where it stands."""

    path: Path
    line: int
    text: str


def sentences(path: Path, line: int, text: str) -> Iterator[Sentence]:
    """Split the prose of a docstring or a comment into sentences, without its code."""
    plain = _SECTION.sub("\n\n", _CODE.sub("CODE", text))
    for paragraph in re.split(r"\n\s*\n|\n\s*(?=[\w*]+: )|\n\s*- ", plain):
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
            if len(sentence.split()) > 2:
                yield Sentence(path, line, sentence)


def docstrings(tree: ast.Module) -> Iterator[tuple[ast.AST, int, str]]:
    """Yield each docstring with its owner and line, and each string that describes an attribute."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for child in body if isinstance(body, list) else ():
            value = child.value if isinstance(child, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield node if child is body[0] else child, child.lineno, value.value


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment with the line it begins at; comments on adjacent lines are one."""
    begun, last, parts = 0, -1, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(?:noqa|type:|fmt:|--)", token.string):
            continue
        if token.start[0] != last + 1 and parts:
            yield begun, "\n".join(parts)
            parts = []
        if not parts:
            begun = token.start[0]
        parts.append(token.string.lstrip("# "))
        last = token.start[0]
    if parts:
        yield begun, "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Print the two figures; return 1 when one of them is above its limit."""
    listed = "--list" in arguments
    paths = [Path(name) for name in arguments if name != "--list"] or [ROOT / name for name in DEFAULT]
    functions, questions, all_sentences, idioms = 0, list[Sentence](), 0, list[Sentence]()
    for path in sorted(file for place in paths for file in (place.rglob("*.py") if place.is_dir() else [place])):
        source = path.read_text("utf-8")
        found = list(comments(source))
        for owner, line, text in docstrings(ast.parse(source)):
            found.append((line, text))
            if isinstance(owner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions += 1
                if _QUESTION.match(text.lstrip()):
                    questions.append(Sentence(path, line, text.strip().splitlines()[0]))
        for line, text in found:
            for sentence in sentences(path, line, text):
                all_sentences += 1
                if _IDIOM.search(sentence.text):
                    idioms.append(sentence)
    share = len(idioms) / max(all_sentences, 1)
    for sentence in [*questions, *idioms] if listed else questions:
        print(f"{sentence.path}:{sentence.line}: {sentence.text[:140]}")
    print(
        f"Prose: {len(questions)} of {functions} docstrings of functions open with a question word (limit 0), "
        f"{len(idioms)} of {all_sentences} sentences use private vocabulary ({share:.1%}, limit {MOST_IDIOMS:.0%})."
    )
    return 1 if questions or share >= MOST_IDIOMS else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
