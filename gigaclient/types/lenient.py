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

__all__ = ["as_promised"]

T = TypeVar("T")

_ABSENT: Any = object()


def as_promised(data: Any, kind: type[T]) -> T:
    """``data`` as ``kind``: a null where something is promised counts as absent, a number in another dress as itself.

    Raises:
        msgspec.ValidationError, RecursionError: it is another thing altogether.
    """
    return msgspec.convert(_mended(data, kind), kind)


def _mended(value: Any, kind: Any) -> Any:
    if kind is Any:
        return value
    origin = get_origin(kind)
    if origin is Union or origin is types.UnionType:
        members = get_args(kind)
        if value is None and type(None) in members:
            return None
        known = [member for member in members if member is not type(None)]
        return _mended(value, known[0]) if len(known) == 1 else value
    if value is None:
        return _ABSENT
    if kind in (int, float):
        return _number(value, kind)
    if origin is list and isinstance(value, list):
        items = (_mended(item, get_args(kind)[0]) for item in value)
        return [item for item in items if item is not _ABSENT]
    if origin is dict and isinstance(value, dict):
        inner = get_args(kind)[1]
        pairs = ((name, _mended(item, inner)) for name, item in value.items())
        return {name: item for name, item in pairs if item is not _ABSENT}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        return _fields(value, _hints(kind))
    return value


def _fields(value: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    mended = dict(value)
    for name, kind in kinds.items():
        if name in mended:
            inner = _mended(mended[name], kind)
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
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    named = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    return {sent_as: hints[name] for sent_as, name in named}
