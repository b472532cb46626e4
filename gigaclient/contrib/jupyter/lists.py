"""Show lists of images, results and other records in a notebook, where IPython would print their representations."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from gigaclient.bulk.tabular import SHOWN_ROWS, table_of
from gigaclient.types import Image, Message
from gigaclient.types.base import Record
from gigaclient.types.bulk import ItemResult
from gigaclient.types.markdown import of_dialogue, with_note

__all__ = ["ListFormatters", "html_of", "markdown_of"]


class ListFormatters:
    """Shows plain lists of a shell as HTML or Markdown, if all their items are records of gigaclient.

    Args:
        shell: the shell of IPython.
    """

    def __init__(self, shell: Any) -> None:
        formatters = shell.display_formatter.formatters
        self._shown = [(formatters["text/html"], html_of), (formatters["text/markdown"], markdown_of)]
        self._before: list[Callable[[Any], Any] | None] = []

    def install(self) -> None:
        """Register the formatters. A formatter of lists that was registered before shows all other lists."""
        self._before = []
        for formatter, shown in self._shown:
            before = formatter.pop(list, None)
            formatter.for_type(list, _either(shown, before))
            self._before.append(before)

    def remove(self) -> None:
        """Restore the formatters that were registered before."""
        for (formatter, _), before in zip(self._shown, self._before, strict=False):
            formatter.pop(list, None)
            if before is not None:
                formatter.for_type(list, before)
        self._before = []


def _either(shown: Callable[[list[Any]], str | None], before: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    def show(items: list[Any]) -> Any:
        found = shown(items)
        return before(items) if found is None and before is not None else found

    return show


def html_of(items: list[Any]) -> str | None:
    """Return images side by side, and other records as the rows of a table; None for any other list."""
    if not _all(items, (Record, ItemResult)) or _has_markdown(items):
        return None
    if _all(items, Image):
        return f'<div style="display: flex; flex-wrap: wrap; gap: 4px">{"".join(map(_image, items))}</div>'
    rows = [item.to_dict() if isinstance(item, ItemResult) else _row(item) for item in items[:SHOWN_ROWS]]
    more = f", of which the first {SHOWN_ROWS} are shown" if len(items) > SHOWN_ROWS else ""
    return table_of(rows, f"{len(items)} × {type(items[0]).__name__}{more}")


def markdown_of(items: list[Any]) -> str | None:
    """Return messages as a dialogue, and responses with a rule between them; None for any other list."""
    if not _has_markdown(items):
        return None
    if _all(items, Message):
        return of_dialogue(items)
    return "\n\n---\n\n".join(with_note(item._repr_markdown_(), "").rstrip() for item in items)


def _has_markdown(items: list[Any]) -> bool:
    return _all(items, Record) and (_all(items, Message) or all(hasattr(item, "_repr_markdown_") for item in items))


def _all(items: list[Any], classes: type | tuple[type, ...]) -> bool:
    return bool(items) and all(isinstance(item, classes) for item in items)


def _image(image: Image) -> str:
    if image.mime is None:
        return f"<p>{html.escape(repr(image))}</p>"
    return f'<img src="data:{image.mime};base64,{image.content}" style="max-width: 100%">'


def _row(record: Record) -> dict[str, Any]:
    # The server's name for the kind of the record says no more than the caption.
    return {name.removesuffix("_"): value for name, value in record if name != "object_"}
