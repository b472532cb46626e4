"""The results of a run as rows: as dicts, and as a table in a notebook."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from gigaclient.types.bulk import ItemResult
from gigaclient.types.tables import table, vector

__all__ = ["SHOWN_ROWS", "TabularResults", "table_of"]

ResultT = TypeVar("ResultT", bound="ItemResult[Any]")

SHOWN_ROWS = 20
"""The number of rows that a notebook shows."""
_MAX_CHARACTERS = 200


class TabularResults(Iterator[ResultT]):
    """An iterator of results that remembers the last ones, to show them."""

    def __init__(self) -> None:
        self._recent: deque[ResultT] = deque(maxlen=SHOWN_ROWS)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Read the results that are left, and return each as a dict: see :meth:`ItemResult.to_dict`."""
        return [result.to_dict() for result in self]

    def _repr_html_(self) -> str:
        # Nothing is read here: showing the results must not send the prompts.
        return table_of([result.to_dict() for result in self._recent], repr(self).strip("<>"))


def table_of(rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Return the HTML table of ``rows``, without the columns that are None in all of them. Long texts are cut."""
    columns = list(dict.fromkeys(name for row in rows for name, value in row.items() if value is not None))
    headings = [name.replace("_", " ") for name in columns]  # a browser breaks lines at spaces
    return table(headings, [[_cell(row.get(name)) for name in columns] for row in rows], caption)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (int, float)):
        return value
    is_vector = isinstance(value, list) and value and all(isinstance(number, float) for number in value)
    text = vector(value) if is_vector else str(value)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
