"""Fit text and tables into the columns of a terminal without a break inside a word. Pure, except for its size."""

from __future__ import annotations

import os
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["column_widths", "columns_of", "text_width", "wrap"]


def columns_of(stream: Any) -> int:
    """Return the width of the terminal ``stream``: COLUMNS, its own, or 80 if neither is known."""
    try:
        return int(os.environ.get("COLUMNS", "")) or os.get_terminal_size(stream.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        return shutil.get_terminal_size().columns


def text_width(text: str) -> int:
    """Return the number of columns that a line of text takes."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def wrap(text: str, width: int, *, first: str = "", rest: str = "") -> str:
    """Break lines of ``text`` between words; a longer word stays whole, so that it can be copied.

    Args:
        text: one or more lines.
        width: the columns of a line.
        first: the beginning of the first line.
        rest: the beginning of the others.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        lines += textwrap.wrap(
            line,
            width,
            initial_indent=rest if lines else first,
            subsequent_indent=rest,
            break_on_hyphens=False,
            break_long_words=False,
        ) or [rest if lines else first]
    return "\n".join(line.rstrip() for line in lines)


def column_widths(smallest: Sequence[int], largest: Sequence[int], available: int) -> list[int] | None:
    """Distribute ``available`` columns of the screen to the columns of a table.

    Args:
        smallest: the width of the longest word of each column.
        largest: the width of the longest cell.
        available: the width of all columns together.

    Returns:
        A width for each column, between the two; None if the longest words need more than ``available``.
    """
    spare = available - sum(smallest)
    wanted = sum(largest) - sum(smallest)
    if spare < 0:
        return None
    if wanted <= spare:
        return list(largest)
    return [low + (high - low) * spare // wanted for low, high in zip(smallest, largest, strict=True)]
