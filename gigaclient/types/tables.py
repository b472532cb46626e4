"""Small HTML tables for notebooks, with all text escaped."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["moment", "norm", "number", "size", "table", "vector"]

_NUMBER = ' style="text-align: right"'
_TEXT = ' style="text-align: left"'


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """Return a table as HTML.

    Args:
        columns: the headings. A column that has numbers is aligned right.
        rows: the cells. None is an empty cell; numbers get spaces between thousands.
        caption: the text above the table.
    """
    cells = [list(row) for row in rows]
    styles = [
        _NUMBER if any(isinstance(row[index], (int, float)) for row in cells) else _TEXT
        for index in range(len(columns))
    ]
    head = "".join(f"<th{style}>{html.escape(name)}</th>" for name, style in zip(columns, styles, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{style}>{_cell(cell)}</td>' for cell, style in zip(row, styles, strict=True))}</tr>"
        for row in cells
    )
    above = f'<caption style="text-align: left">{html.escape(caption)}</caption>' if caption else ""
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def number(value: float | None) -> str:
    """Format a count with narrow spaces between thousands; empty for None."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    digits = f"{value:,.2f}".rstrip("0").rstrip(".") if value % 1 else f"{int(value):,}"
    return digits.replace(",", "\u202f")


def size(count: int | None) -> str:
    """Format a number of bytes in a readable unit; empty for None."""
    if count is None:
        return ""
    value, unit = float(count), "B"
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def moment(unix_time: float | None) -> str:
    """Format a Unix time in seconds as UTC, to the minute; empty for None and invalid times."""
    if unix_time is None:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_time))
    except (ValueError, OverflowError, OSError):
        return ""


def vector(numbers: Sequence[float], shown: int = 5) -> str:
    """Format the first numbers of a vector."""
    first = ", ".join(f"{value:.4f}" for value in numbers[:shown])
    return f"[{first}{', …' if len(numbers) > shown else ''}]"


def norm(numbers: Sequence[float]) -> str:
    """Format the Euclidean norm of a vector."""
    return f"{math.hypot(*numbers):.4f}"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    return "" if value is None else html.escape(str(value))
