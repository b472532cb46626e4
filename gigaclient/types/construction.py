"""Build records from loose values: nested dicts, enums, pydantic objects, unknown fields."""

from __future__ import annotations

import types
from collections.abc import Callable, Container, Iterable, Mapping
from enum import Enum
from functools import cache, partial
from typing import Any, TypeAlias, Union, get_args, get_origin

import msgspec

from gigaclient._primitives.serialization import pydantic_fields
from gigaclient.types.coercion import field_types

__all__ = ["as_record", "converted", "field_name", "keep_nested", "keep_unknown"]

Record: TypeAlias = Any  # types.base.Record or its type; that module imports this one
_Convert: TypeAlias = Callable[[Any], Any]


# -- arguments of a constructor ----------------------------------------------------------------------------------------


def converted(
    cls: Record, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """Return the arguments of a record's constructor in the types of its fields, and the unknown ones.

    A nested dict that does not fit stays a dict, so that the call that sends it can say what is wrong.
    """
    converters = _converters(cls)
    names = cls.__struct_fields__
    positional = [_convert(value, converters.get(name)) for name, value in zip(names, args, strict=False)]
    fields, unknown = _by_name(cls, cls._prepared(dict(kwargs)))
    fields = {name: _convert(value, converters.get(name)) for name, value in fields.items()}
    return (*positional, *args[len(names) :]), fields, unknown


def _by_name(cls: type[Record], values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split values into fields, which may have the official names, and unknown ones."""
    known = cls.__struct_fields__
    fields: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in values.items():
        field = field_name(name, values, known)
        (fields if field in known else unknown)[field] = value
    return fields, unknown


def field_name(name: Any, values: Mapping[Any, Any], known: Container[str]) -> Any:
    """Return the name in ``known`` for an official name such as ``id_``; any other name unchanged.

    Args:
        name: a name in ``values``.
        values: the values by name. If they have the bare name too, the official one is returned unchanged.
        known: the names of fields.
    """
    bare = name[:-1] if isinstance(name, str) and name.endswith("_") else name
    return bare if bare in known and name not in known and bare not in values else name


def _convert(value: Any, convert: _Convert | None) -> Any:
    if isinstance(value, Enum):
        return value.value
    if type(value) is list and convert is None:
        return [_convert(item, None) for item in value]
    plain = pydantic_fields(value)
    return plain if convert is None else convert(plain)


@cache
def _converters(cls: Record) -> dict[str, _Convert]:
    """Return the conversions of the fields that hold records."""
    found = {name: _converter(type_, cls._needed.get(name)) for name, type_ in field_types(cls).items()}
    return {name: convert for name, convert in found.items() if convert is not None}


def _converter(type_: Any, needed: str | None) -> _Convert | None:
    origin = get_origin(type_)
    if origin is Union or origin is types.UnionType:
        members = [_converter(member, needed) for member in get_args(type_)]
        return next((convert for convert in members if convert is not None), None)
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return partial(as_record, type_, needed=needed)
    inner = _converter(get_args(type_)[-1], needed) if origin in (list, dict) else None
    if inner is None:
        return None
    return partial(_convert_items, inner) if origin is list else partial(_convert_values, inner)


def _convert_items(convert: _Convert, values: Any) -> Any:
    return [_convert(value, convert) for value in values] if isinstance(values, (list, tuple)) else values


def _convert_values(convert: _Convert, values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    return {name: _convert(value, convert) for name, value in values.items()}


def as_record(type_: type[Record], value: Any, needed: str | None = None) -> Any:
    """Convert a mapping to ``type_`` if it fits; return anything else unchanged."""
    if not isinstance(value, Mapping):
        return value
    fields = type_._prepared(dict(value))
    if needed is not None and fields.get(needed) is None:
        return value
    try:
        return type_(**fields)
    except TypeError:  # a required field is missing, or a name is not a string: sending raises a better error
        return value


# -- unknown fields ----------------------------------------------------------------------------------------------------


def keep_unknown(record: Record, unknown: Mapping[str, Any], kind: str = "given") -> None:
    """Keep unknown fields.

    Raises:
        TypeError: records of this type cannot keep them.
    """
    if "x_headers" in unknown and hasattr(record, "attach"):
        # The official SDK's field for these headers. It is metadata here.
        headers = {name: value for name, value in (unknown["x_headers"] or {}).items() if value is not None}
        record._store(request_id=headers.get("x-request-id"), headers=headers or None)
        unknown = {name: value for name, value in unknown.items() if name != "x_headers"}
    if not type(record).__dictoffset__:
        raise TypeError(f"{type(record).__name__} has no field {', '.join(map(repr, unknown))}")
    record._store(**{kind: dict(unknown)})


def keep_nested(record: Record, raw: Any, kind: str) -> None:
    """Keep the unknown fields of ``raw``, which ``record`` was decoded from, in it and in the records inside it.

    Args:
        record: the record.
        raw: its data before decoding.
        kind: ``"given"`` for those that requests have, ``"received"`` for those of a response.
    """
    if not isinstance(raw, Mapping):
        return
    raw = type(record)._prepared(dict(raw))
    _, unknown = _by_name(type(record), raw)
    if kind == "received" or (unknown and type(record).__dictoffset__):
        keep_unknown(record, unknown, kind)
    for api_name, name in zip(record.__struct_encode_fields__, record.__struct_fields__, strict=True):
        sent = raw.get(api_name, raw.get(f"{api_name}_"))
        for inner, data in _pairs(getattr(record, name), sent):
            if isinstance(inner, msgspec.Struct) and type(inner).__dictoffset__:
                keep_nested(inner, data, kind)


def _pairs(value: Any, raw: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, list):
        # Lists of other lengths were changed since, or null items were left out.
        return zip(value, raw, strict=True) if isinstance(raw, list) and len(raw) == len(value) else ()
    if isinstance(value, dict):
        return ((inner, raw.get(name)) for name, inner in value.items()) if isinstance(raw, dict) else ()
    return ((value, raw),)
