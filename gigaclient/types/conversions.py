"""Records to plain data and back: what people used of pydantic, for whom :class:`~gigaclient.types.Record` calls it."""

from __future__ import annotations

import copy
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
import msgspec.structs

from gigaclient._primitives.decoding import convert
from gigaclient.errors import ConfigError
from gigaclient.types.coercion import coerce, field_types

__all__ = ["Wanted", "as_json", "copied", "dumped", "from_json", "json_schema", "validated"]

RecordT = TypeVar("RecordT", bound=msgspec.Struct)

# Not Record: that calls what is here, and imports go one way.
Record = msgspec.Struct


_EVERY_ITEM = "__all__"


@dataclass(frozen=True)
class Wanted:
    """What a dump shall look like; see :meth:`~gigaclient.types.Record.model_dump`."""

    json: bool = False
    by_alias: bool = False
    exclude_none: bool = False
    exclude_defaults: bool = False


# -- out ---------------------------------------------------------------------------------------------------------------


def dumped(record: Record, wanted: Wanted, include: Any = None, exclude: Any = None) -> dict[str, Any]:
    """The fields of ``record``; what to include and exclude is given as names, or as a mapping of names to more."""
    fields: dict[str, Any] = {}
    aliased = getattr(record, "_aliased", ())
    for info in _fields(type(record)):
        value = getattr(record, info.name)
        if (wanted.exclude_none and value is None) or (wanted.exclude_defaults and _is_default(info, value)):
            continue
        official = f"{info.name}_" if info.name in aliased else info.name
        more = _narrowed(include, exclude, info.name, official)
        if more is None:
            continue
        fields[info.encode_name if wanted.by_alias else official] = _plain(value, wanted, *more)
    return fields


@cache
def _fields(cls: type[Record]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(cls)


def _is_default(info: msgspec.structs.FieldInfo, value: Any) -> bool:
    if info.default is not msgspec.NODEFAULT:
        return bool(value == info.default)
    return info.default_factory is not msgspec.NODEFAULT and bool(value == info.default_factory())


def _narrowed(include: Any, exclude: Any, *names: Any) -> tuple[Any, Any] | None:
    """What holds within a field or an item that goes by any of ``names``; None when it is left out itself."""
    within_include = within_exclude = None
    if include is not None:
        within_include = _said_of(include, names)
        if within_include is None:
            return None
    if exclude is not None:
        within_exclude = _said_of(exclude, names)
        if within_exclude is True:
            return None
    return (None if within_include is True else within_include), within_exclude


def _said_of(selection: Any, names: tuple[Any, ...]) -> Any:
    # True for the whole of it, a further selection for a part of it, None for nothing.
    if isinstance(selection, Mapping):
        found = [selection[name] for name in names if name in selection]
        value = found[0] if found else None
        return True if value is ... else value if value is not False else None
    return True if any(name in selection for name in names) else None


def _plain(value: Any, wanted: Wanted, include: Any, exclude: Any) -> Any:
    if isinstance(value, Record):
        return dumped(value, wanted, include, exclude)
    if isinstance(value, Mapping):
        items = ((name, inner, _narrowed(include, exclude, name)) for name, inner in value.items())
        return {_key(name, wanted): _plain(inner, wanted, *more) for name, inner, more in items if more is not None}
    if isinstance(value, (list, tuple, set, frozenset)):
        listed = list(value)
        places = (
            (inner, _narrowed(include, exclude, place, place - len(listed), _EVERY_ITEM))
            for place, inner in enumerate(listed)
        )
        return [_plain(inner, wanted, *more) for inner, more in places if more is not None]
    if isinstance(value, Enum):
        return value.value
    if not wanted.json or value is None or isinstance(value, (str, int, float)):
        return value
    return msgspec.to_builtins(value, enc_hook=str)


def _key(name: Any, wanted: Wanted) -> Any:
    return str(name.value if isinstance(name, Enum) else name) if wanted.json else name


def as_json(data: Any, indent: int | None) -> str:
    """``data`` as JSON; Cyrillic stays as it is."""
    separators = (",", ":") if indent is None else None
    return json.dumps(data, ensure_ascii=False, indent=indent, separators=separators)


# -- in ----------------------------------------------------------------------------------------------------------------


def from_json(text: str | bytes) -> Any:
    """JSON text as data.

    Raises:
        ConfigError: it is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = str(error)
    raise ConfigError(f"not JSON: {reason}")


def validated(cls: type[RecordT], data: Any, *, lenient: bool) -> RecordT:
    """``data`` as a record of type ``cls``; see :meth:`~gigaclient.types.Record.model_validate`.

    ``lenient`` is for answers, which somebody kept: they are read as they would have been when they came.
    """
    if not isinstance(data, (Mapping, Record)):
        raise ConfigError(f"{cls.__name__} is made of a dict, not of {type(data).__name__}")
    named = _named(data, cls)
    try:
        return convert(named, cls, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        reason = str(error)
    try:
        if lenient:
            return coerce(named, cls)
        # A request may be filled loosely, as its constructor takes it: a string for a list of parts, say.
        made = cls(**{name: value for name, value in named.items() if name in cls.__struct_fields__})
        return convert(dumped(made, Wanted(by_alias=True, exclude_none=True)), cls, strict=False)
    except (msgspec.ValidationError, RecursionError, TypeError) as error:
        if lenient:
            reason = str(error)
    raise ConfigError(f"not a {cls.__name__}: {reason}")


def _named(value: Any, kind: Any) -> Any:
    """``value``, meant as ``kind``, with plain data in place of records and the API's names in place of others."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Record):
        return dumped(value, Wanted(by_alias=True, exclude_none=True))
    origin = get_origin(kind)
    if origin is Union or origin is types.UnionType:
        known = [member for member in get_args(kind) if member is not type(None)]
        kind = next((member for member in known if _fits(value, member)), Any)
        origin = get_origin(kind)
    if isinstance(value, Mapping):
        if isinstance(kind, type) and issubclass(kind, Record):
            hints = field_types(kind)
            prepared = getattr(kind, "_prepared", dict)
            renamed = {_api_name(name, value, hints): inner for name, inner in value.items()}
            return {name: _named(inner, hints.get(name, Any)) for name, inner in prepared(renamed).items()}
        within = get_args(kind)[1] if origin is dict else Any
        return {name: _named(inner, within) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        within = get_args(kind)[0] if origin is list else Any
        return [_named(inner, within) for inner in value]
    return value


def _fits(value: Any, kind: Any) -> bool:
    kind = get_origin(kind) or kind
    if isinstance(value, Mapping):
        return isinstance(kind, type) and (issubclass(kind, Record) or kind is dict)
    return isinstance(value, (list, tuple)) and kind is list


def _api_name(name: Any, given: Mapping[Any, Any], fields: Mapping[str, Any]) -> Any:
    bare = name[:-1] if isinstance(name, str) and name.endswith("_") else name
    return bare if bare in fields and name not in fields and bare not in given else name


def json_schema(cls: type[Record]) -> dict[str, Any]:
    """JSON Schema of a record's type; the definitions that it refers to are under ``$defs``."""
    schema = msgspec.json.schema(cls)
    definitions = schema.get("$defs", {})
    own = schema.pop("$ref", "").removeprefix("#/$defs/")
    if own in definitions and json.dumps(definitions).count(f'"#/$defs/{own}"') == 0:
        schema.update(definitions.pop(own))
    elif own:
        schema["$ref"] = f"#/$defs/{own}"
    if not definitions:
        schema.pop("$defs", None)
    return schema


def copied(record: RecordT, update: Mapping[str, Any] | None, deep: bool) -> RecordT:
    """A copy; see :meth:`~gigaclient.types.Record.model_copy`."""
    made = copy.deepcopy(record) if deep else copy.copy(record)
    for name, value in (update or {}).items():
        bare = name.removesuffix("_")
        field = name if name in record.__struct_fields__ else bare
        if field not in record.__struct_fields__:
            raise ConfigError(f"{type(record).__name__} has no field {name!r}")
        setattr(made, field, value)
    return made
