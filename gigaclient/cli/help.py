"""The layout of ``--help``: no break inside a word at any width, and examples that can be copied."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from gigaclient.cli.layout import columns_of, wrap

__all__ = ["HelpContext"]

# Definitions narrower than this stand below their terms.
_MIN_DEFINITION_COLUMNS = 30
_UNWRAPPED = "\b"


class _Formatter(click.HelpFormatter):
    """click's formatter writes at least 50 columns, and breaks words at hyphens."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        super().__init__(indent_increment, width or min(columns_of(sys.stdout), max_width or 80) - 2, max_width)

    def write_text(self, text: str) -> None:
        r"""Write paragraphs; one that begins with ``\b`` has command lines, which a backslash continues."""
        indent = " " * self.current_indent
        paragraphs = []
        for paragraph in text.split("\n\n"):
            first, _, commands = paragraph.strip("\n").partition("\n")
            if first == _UNWRAPPED:
                lines = [wrap(line, self.width - 2, first=indent, rest=f"{indent}  ") for line in commands.split("\n")]
                paragraphs.append("\n".join(line.replace("\n", " \\\n") for line in lines))
            else:
                paragraphs.append(wrap(" ".join(paragraph.split()), self.width, first=indent, rest=indent))
        self.write("\n\n".join(paragraphs) + "\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms with their definitions, side by side or, on a narrow terminal, one below the other."""
        rows = list(rows)
        indent = " " * self.current_indent
        column = len(indent) + min(max((len(term) for term, _ in rows), default=0), col_max) + col_spacing
        if self.width - column < _MIN_DEFINITION_COLUMNS:
            column = len(indent) + 4
        margin = " " * column
        for term, definition in rows:
            beginning = indent + term
            if len(beginning) + col_spacing > column:
                self.write(wrap(term, self.width, first=indent, rest=f"{indent}  ") + "\n")
                beginning = ""
            self.write(wrap(definition, self.width, first=beginning.ljust(column), rest=margin) + "\n")


class HelpContext(click.Context):
    """The context of all commands."""

    formatter_class = _Formatter
