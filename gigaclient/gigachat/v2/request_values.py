"""Small conversions of request values, shared by the modules that build a v2 request. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gigaclient._primitives.serialization import pydantic_fields
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError

__all__ = ["as_dict", "as_fields", "as_list", "move_state_id"]

_STATE_IDS = ("tools_state_id", "tool_state_id", "functions_state_id")


def as_fields(value: Any) -> Any:
    """Return the fields of a struct, a copy of a mapping without None values, or any other value unchanged."""
    value = pydantic_fields(value)
    if isinstance(value, msgspec.Struct):
        return fields_of(value)
    if isinstance(value, Mapping):
        return {name: inner for name, inner in value.items() if inner is not None}
    return value


def as_dict(value: Any, name: str) -> dict[str, Any]:
    """Return the fields of a struct or a mapping.

    Raises:
        ConfigError: the value is neither.
    """
    fields = as_fields(value)
    if not isinstance(fields, dict):
        raise ConfigError(f"{name} must be a dict or its type, not {type(value).__name__}")
    return fields


def as_list(values: Any) -> list[Any]:
    """Return the values as a list; a single value becomes a list of one, None an empty list."""
    if values is None:
        return []
    if isinstance(values, (str, Mapping, msgspec.Struct)) or not isinstance(values, Iterable):
        return [values]
    return list(values)


def move_state_id(fields: dict[str, Any]) -> None:
    """Rename the state id from any of its names to ``tools_state_id``."""
    found = [value for value in (fields.pop(name, None) for name in _STATE_IDS) if value]
    if found:
        fields["tools_state_id"] = found[0]
