"""Reading an answer that is not quite of the promised shape: null for a number, 17.0 or "17" for 17.

An answer that somebody waited and paid for is not refused for that. The strict decoder comes first and is the fast one;
this is for what it refused.
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


def coerce(data: Any, kind: type[T]) -> T:
    """``data`` as ``kind``: a null where something is promised counts as absent, a number in another dress as itself.

    Raises:
        msgspec.ValidationError, RecursionError: it is another thing altogether.
    """
    return convert(_coerce_value(data, kind), kind)


def _coerce_value(value: Any, kind: Any) -> Any:
    if kind is Any:
        return value
    origin = get_origin(kind)
    if origin is Union or origin is types.UnionType:
        members = get_args(kind)
        if value is None:
            return None if type(None) in members else _ABSENT
        known = [member for member in members if member is not type(None)]
        meant = known if len(known) == 1 else [member for member in known if _is_meant(value, member)]
        return _coerce_value(value, meant[0]) if meant else value
    if value is None:
        return _ABSENT
    if kind in (int, float):
        return _number(value, kind)
    if origin is list and isinstance(value, list):
        items = [_coerce_value(item, get_args(kind)[0]) for item in value]
        if get_args(kind)[0] in (int, float):  # a number's place counts: what is none there, is one too few
            return value if _ABSENT in items else items
        return [item for item in items if item is not _ABSENT]
    if origin is dict and isinstance(value, dict):
        inner = get_args(kind)[1]
        pairs = ((name, _coerce_value(item, inner)) for name, item in value.items())
        return {name: item for name, item in pairs if item is not _ABSENT}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        return _fields(value, field_types(kind))
    return value


def _is_meant(value: Any, kind: Any) -> bool:
    """Whether ``value`` is of the shape of ``kind``, one of several that a field may have."""
    if isinstance(value, list):
        return get_origin(kind) is list
    if isinstance(value, dict):
        return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))
    return False


def _fields(value: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    mended = dict(value)
    for name, kind in kinds.items():
        if name in mended:
            inner = _coerce_value(mended[name], kind)
            if inner is _ABSENT:
                del mended[name]
            else:
                mended[name] = inner
    return mended


def _number(value: Any, kind: Any) -> Any:
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        return _ABSENT


@cache
def field_types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The types of the fields, by the names that the API has for them."""
    hints = get_type_hints(kind)
    named = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    return {sent_as: hints[name] for sent_as, name in named}
