"""Parse docstrings in the Google, NumPy or reST style. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import NamedTuple

__all__ = ["Docstring", "parse_docstring"]


class Docstring(NamedTuple):
    """The parts of a docstring.

    Attributes:
        summary: the first paragraph, on one line.
        prose: the paragraphs before the first section, each on one line.
        parameters: the description of each parameter or attribute.
        returns: the description of the result; empty if there is none.
    """

    summary: str
    prose: str
    parameters: dict[str, str]
    returns: str


_PARAMETERS = frozenset(
    {"args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters", "attributes"}
)
_RETURNS = frozenset({"returns", "return", "yields"})
_OTHERS = frozenset(
    {"raises", "examples", "example", "note", "notes", "warning", "warnings", "see also", "references", "todo"}
)
_SECTIONS = _PARAMETERS | _RETURNS | _OTHERS

_GOOGLE_HEADING = re.compile(r"([A-Za-z ]+):\s*$")
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(?P<names>\w+(?:, *\*{0,2}\w+)*)\s*(?:\([^)]*\))?\s*:(?!:)\s*(?P<text>.*)$")
_NUMPY_ENTRY = re.compile(r"\*{0,2}(?P<names>\w+(?:, *\*{0,2}\w+)*)\s*(?::.*)?$")
_FIELD = re.compile(r":(?P<kind>\w+)(?:\s+(?P<argument>[^:]*?))?\s*:(?:\s+(?P<text>.*)|\s*)$")


def parse_docstring(docstring: str | None) -> Docstring:
    """Parse ``docstring``; parts that it does not have are empty."""
    lines = cleandoc(docstring).split("\n") if docstring else []
    if len(lines) > 1 and _heading(lines, 0) == (lines[0].strip().rstrip(":").lower(), False) and lines[1][:1].strip():
        # The docstring consists of one section, and cleandoc removed the indentation of its entries.
        lines[1:] = [f"    {line}" for line in lines[1:]]
    parameters: dict[str, str] = {}
    returns: list[str] = []
    for heading, body in _sections(lines):
        if heading in _PARAMETERS:
            parameters.update(_entries(body))
        elif heading in _RETURNS:
            returns.append(_result(body))
    for kind, argument, text in _fields(lines):
        if kind in ("param", "parameter", "arg", "argument", "key", "keyword", "ivar", "var", "attr") and argument:
            parameters[argument.split()[-1].lstrip("*")] = text
        elif kind in ("return", "returns"):
            returns.append(text)
    paragraphs = list(_paragraphs(lines))
    summary = paragraphs[0] if paragraphs else ""
    named = {name: text for name, text in parameters.items() if text}
    return Docstring(summary, "\n".join(paragraphs), named, _joined(returns))


def _paragraphs(lines: list[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for number, line in enumerate(lines):
        if _FIELD.match(line) or _heading(lines, number) is not None:
            break
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield _joined(paragraph)
            paragraph = []
    if paragraph:
        yield _joined(paragraph)


def _heading(lines: list[str], number: int) -> tuple[str, bool] | None:
    """Return the name of the section that begins on this line, and True if it is underlined (NumPy style)."""
    line = lines[number]
    if line[:1].isspace():
        return None
    below = lines[number + 1].strip() if number + 1 < len(lines) else ""
    if len(below) >= 3 and set(below) <= {"-", "="}:
        name, underlined = line.strip().rstrip(":").lower(), True
    else:
        found = _GOOGLE_HEADING.match(line)
        name, underlined = found[1].strip().lower() if found else "", False
    return (name, underlined) if name in _SECTIONS else None


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    name, underlined, skip = "", False, False
    body: list[str] = []
    for number, line in enumerate(lines):
        if skip:
            skip = False
            continue
        heading = _heading(lines, number)
        if heading is not None:
            yield name, body
            (name, underlined), body = heading, []
            skip = underlined
        elif name and not underlined and line.strip() and not line[:1].isspace():
            # A Google section ends where its indentation ends.
            yield name, body
            name, body = "", []
        elif name:
            body.append(line)
    yield name, body


def _entries(body: list[str]) -> Iterator[tuple[str, str]]:
    indent = min((_indent(line) for line in body if line.strip()), default=0)
    names: list[str] = []
    text: list[str] = []
    for line in body:
        if not line.strip():
            continue
        if _indent(line) == indent:
            yield from _descriptions(names, text)
            # In NumPy style entries are not indented: the type follows the colon, the description is below.
            found = (_GOOGLE_ENTRY if indent else _NUMPY_ENTRY).match(line.strip())
            names = [name.strip().lstrip("*") for name in found["names"].split(",")] if found else []
            text = [found["text"]] if found and indent else []
        else:
            text.append(line)
    yield from _descriptions(names, text)


def _descriptions(names: list[str], text: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        yield name, _joined(text)


def _result(body: list[str]) -> str:
    written = [line for line in body if line.strip()]
    if written and not _indent(written[0]) and any(_indent(line) for line in written):
        written = [line for line in written if _indent(line)]  # NumPy style: the type, the description below it
    return _joined(written)


def _fields(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    kind, argument, text = "", "", [""]
    for line in [*lines, ":end:"]:
        found = _FIELD.match(line)
        if found:
            if kind:
                yield kind, argument, _joined(text)
            kind, argument, text = found["kind"].lower(), found["argument"] or "", [found["text"] or ""]
        elif kind and (not line.strip() or not line[:1].isspace()):
            yield kind, argument, _joined(text)
            kind = ""
        else:
            text.append(line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
