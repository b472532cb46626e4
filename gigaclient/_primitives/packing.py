"""Deeply nested JSON in pickles: a JSON body may have more levels than the stack of ``pickle`` permits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["packed", "unpacked"]

_MAX_LEVELS = 100


class _PackedJSON(bytes):
    """A value as JSON text."""


def packed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with JSON that is nested deep as its text, for a pickle or a copy."""
    return {name: _pack(value) if _is_deep(value) else value for name, value in values.items()}


def unpacked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that :func:`packed` was called with."""
    return {
        name: msgspec.json.decode(value) if isinstance(value, _PackedJSON) else value for name, value in values.items()
    }


def _pack(value: Any) -> Any:
    try:
        return _PackedJSON(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError):  # it is no JSON, and pickle may be able to handle it
        return value


def _is_deep(value: Any) -> bool:
    # By identity, because a value of the user may hold another one many times.
    level = {id(value): value} if isinstance(value, (dict, list)) else {}
    for _ in range(_MAX_LEVELS):
        level = {
            id(inner): inner
            for outer in level.values()
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        }
        if not level:
            return False
    return True
