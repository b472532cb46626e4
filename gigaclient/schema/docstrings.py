"""Parse docstrings in the Google, NumPy or reST style with ``docstring-parser``. Pure."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from inspect import cleandoc
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from docstring_parser import Docstring as ParsedDocstring

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


_PARAMETERS = (
    "Args", "Arguments", "Parameters", "Params", "Keyword Args", "Keyword Arguments", "Other Parameters", "Attributes",
)  # fmt: skip
_RETURNS = ("Returns", "Return", "Yields")
_OTHERS = (
    "Raises", "Examples", "Example", "Note", "Notes", "Warning", "Warnings", "See Also", "References", "Todo",
)  # fmt: skip
_ONLY_SECTION = re.compile(rf"(?:{'|'.join((*_PARAMETERS, *_RETURNS, *_OTHERS))}):\n(?=\S)")
_TYPE = re.compile(r"^(\s+\*{0,2}\w+(?:, *\*{0,2}\w+)*)\s*\([^)]*\)(?=\s*:)", re.MULTILINE)
_ROLE = re.compile(r"^:(?=[\w:]+:`)", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^:(?:ivar|cvar|var|attr)(?= )", re.MULTILINE)
_ESCAPED_COLON = "\N{MODIFIER LETTER COLON}"


def parse_docstring(docstring: str | None) -> Docstring:
    """Parse ``docstring``; parts that it does not have are empty."""
    text = cleandoc(docstring) if docstring else ""
    if _ONLY_SECTION.match(text):
        # The docstring consists of one section, and cleandoc removed the indentation of its entries. The library calls
        # cleandoc too: the last line keeps it from removing the indentation again.
        text = text.replace("\n", "\n    ") + "\n."
    parsed = _parse(text)
    gap = "\n\n" if parsed.blank_after_short_description else "\n"
    description = gap.join(part for part in (parsed.short_description, parsed.long_description) if part)
    paragraphs = [_joined(paragraph) for paragraph in re.split(r"\n\s*\n", description)]
    # In NumPy style the parser takes a description without a type for the type.
    is_numpy = parsed.style is not None and parsed.style.name == "NUMPYDOC"
    returns = [
        _joined(returned.description or (returned.type_name if is_numpy else None)) for returned in parsed.many_returns
    ]
    return Docstring(paragraphs[0], "\n".join(paragraphs), dict(_parameters(parsed)), " ".join(filter(None, returns)))


def _parse(text: str) -> ParsedDocstring:
    results = []
    for parse in _parsers():
        # A parser of another style may fail, not only with the ParseError of the library.
        with contextlib.suppress(Exception):
            results.append(parse(text))
    return max(results, key=lambda parsed: len(parsed.params) + len(parsed.many_returns))


@functools.cache
def _parsers() -> tuple[Callable[[str], ParsedDocstring], ...]:
    """Load the library at the first use, and return the parsers of the styles; the first wins a tie."""
    from docstring_parser import numpydoc, rest
    from docstring_parser.google import GoogleParser, Section, SectionType

    google = GoogleParser(
        [
            *(Section(title, "param", SectionType.MULTIPLE) for title in _PARAMETERS),
            *(Section(title, "returns", SectionType.SINGULAR) for title in _RETURNS),
            *(Section(title, "other", SectionType.SINGULAR) for title in _OTHERS),
        ]
    )
    return (
        # The library takes a colon in a type, "name (:class:`Type`): text", for the end of the name.
        lambda text: google.parse(_TYPE.sub(r"\1", text)),
        numpydoc.parse,
        # It takes a role at the start of a line, ":class:`Type`", for a field, and knows one name for attributes.
        lambda text: rest.parse(_ATTRIBUTE.sub(":attribute", _ROLE.sub(_ESCAPED_COLON, text))),
    )


def _parameters(parsed: ParsedDocstring) -> Iterator[tuple[str, str]]:
    for parameter in parsed.params:
        text = _joined(parameter.description)
        if text:
            for name in parameter.arg_name.split(","):
                yield name.strip().lstrip("*"), text


def _joined(text: str | None) -> str:
    return " ".join((text or "").replace(_ESCAPED_COLON, ":").split())
