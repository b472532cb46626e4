"""The results of a run as rows: as dicts, and as a table in a notebook."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

from gigaclient.types.bulk import ItemResult
from gigaclient.types.tables import table

__all__ = ["TabularResults"]

ResultT = TypeVar("ResultT", bound="ItemResult[Any]")

_SHOWN = 20
_MAX_CHARACTERS = 200


class TabularResults(Iterator[ResultT]):
    """An iterator of results that remembers the last ones, to show them."""

    def __init__(self) -> None:
        self._recent: deque[ResultT] = deque(maxlen=_SHOWN)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Read the results that are left, and return each as a dict: see :meth:`ItemResult.to_dict`."""
        return [result.to_dict() for result in self]

    def _repr_html_(self) -> str:
        # Nothing is read here: showing the results must not send the prompts.
        rows = [result.to_dict() for result in self._recent]
        columns = [name for name in rows[0] if any(row[name] is not None for row in rows)] if rows else []
        cells = [[_cell(row[name]) for name in columns] for row in rows]
        return table(columns, cells, repr(self).strip("<>"))


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    text = str(value)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
