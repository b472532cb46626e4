"""Convert the loose forms that constructors accept into one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError
from gigaclient.types.base import Record

__all__ = ["decoded_object", "known_fields", "merge_state_ids", "to_record", "to_records"]


RecordT = TypeVar("RecordT", bound=Record)


def to_record(value: Any, type_: type[RecordT]) -> Any:
    """Convert a dict to ``type_`` if it knows all fields; return anything else unchanged."""
    if not isinstance(value, Mapping):
        return value
    fields = type_.__struct_fields__
    named = {name[:-1] if str(name).endswith("_") and name not in fields else name: value[name] for name in value}
    if len(named) != len(value) or not all(name in fields for name in named):
        return value
    try:
        return type_(**named)
    except TypeError as error:
        reason = str(error)
    raise ConfigError(f"{type_.__name__}: {reason}")


def to_records(values: Any, type_: type[RecordT]) -> Any:
    """Convert the items of a list to ``type_``; return anything else unchanged."""
    if not isinstance(values, (list, tuple)):
        return values
    return [to_record(value, type_) for value in values]


def known_fields(value: Any, type_: type[Record]) -> Any:
    """Return a dict with only the fields that ``type_`` has; return anything else unchanged."""
    if not isinstance(value, Mapping):
        return value
    return {name: value[name] for name in type_.__struct_fields__ if name in value}


def decoded_object(value: Any) -> Any:
    """Decode a string that holds a JSON object; return anything else unchanged."""
    if isinstance(value, str):
        try:
            decoded = msgspec.json.decode(value)
        except JSON_ERRORS:
            return value
        return decoded if isinstance(decoded, dict) else value
    return value


def merge_state_ids(record: Any) -> None:
    """Move the other spellings of ``tools_state_id`` into it."""
    record.tools_state_id = record.tools_state_id or record.tool_state_id or record.functions_state_id or None
    if record.tool_state_id is not None or record.functions_state_id is not None:
        record.tool_state_id = record.functions_state_id = None
