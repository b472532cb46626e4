"""Read responses that are not quite of the promised shape: null for a number, 17.0 or "17" for 17.

The strict and fast decoder runs first. This module reads what it rejected, because the caller paid for that response.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import msgspec.structs

from gigaclient._primitives.decoding import convert

__all__ = ["coerce", "field_types"]

T = TypeVar("T")

_ABSENT: Any = object()


def coerce(data: Any, type_: type[T]) -> T:
    """Convert ``data`` to ``type_``. A null counts as an absent field, and a number may be a string.

    Raises:
        msgspec.ValidationError, RecursionError: the data has a different shape.
    """
    return convert(_coerce_value(data, type_), type_)


def _coerce_value(value: Any, type_: Any) -> Any:
    if type_ is Any:
        return value
    origin = get_origin(type_)
    if origin is Union or origin is types.UnionType:
        members = get_args(type_)
        if value is None:
            return None if type(None) in members else _ABSENT
        known = [member for member in members if member is not type(None)]
        matching = known if len(known) == 1 else [member for member in known if _has_shape_of(member, value)]
        return _coerce_value(value, matching[0]) if matching else value
    if value is None:
        return _ABSENT
    if type_ in (int, float):
        return _number(value, type_)
    if origin is list and isinstance(value, list):
        items = [_coerce_value(item, get_args(type_)[0]) for item in value]
        if get_args(type_)[0] in (int, float):  # omitting an item would shift the other numbers
            return value if _ABSENT in items else items
        return [item for item in items if item is not _ABSENT]
    if origin is dict and isinstance(value, dict):
        inner = get_args(type_)[1]
        pairs = ((name, _coerce_value(item, inner)) for name, item in value.items())
        return {name: item for name, item in pairs if item is not _ABSENT}
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct) and isinstance(value, dict):
        return _coerce_fields(value, field_types(type_))
    return value


def _has_shape_of(type_: Any, value: Any) -> bool:
    """Return True if ``value`` has the shape of ``type_``, one of several that a field permits."""
    if isinstance(value, list):
        return get_origin(type_) is list
    if isinstance(value, dict):
        return get_origin(type_) is dict or (isinstance(type_, type) and issubclass(type_, msgspec.Struct))
    return False


def _coerce_fields(value: Mapping[str, Any], types_by_name: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(value)
    for name, type_ in types_by_name.items():
        if name in fields:
            inner = _coerce_value(fields[name], type_)
            if inner is _ABSENT:
                del fields[name]
            else:
                fields[name] = inner
    return fields


def _number(value: Any, type_: Any) -> Any:
    if isinstance(value, type_) and not isinstance(value, bool):
        return value
    try:
        return type_(value)
    except (TypeError, ValueError, OverflowError):
        return _ABSENT


@cache
def field_types(type_: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the types of the fields by their names in the API."""
    hints = get_type_hints(type_)
    names = zip(type_.__struct_encode_fields__, type_.__struct_fields__, strict=True)
    return {api_name: hints[name] for api_name, name in names}
