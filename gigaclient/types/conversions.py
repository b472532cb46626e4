"""Convert records to plain data and back: the pydantic methods of :class:`~gigaclient.types.Record`."""

from __future__ import annotations

import copy
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec
import msgspec.structs

from gigaclient._primitives.decoding import convert
from gigaclient._primitives.serialization import JSON_ERRORS, pydantic_fields
from gigaclient.errors import ConfigError
from gigaclient.types.coercion import coerce, field_types
from gigaclient.types.construction import field_name, keep_nested

__all__ = ["DumpOptions", "as_json", "copied", "dataclass_of", "dumped", "from_json", "json_schema", "validated"]

RecordT = TypeVar("RecordT", bound=msgspec.Struct)

# Not types.base.Record, which imports this module.
Record = msgspec.Struct


_EVERY_ITEM = "__all__"


@dataclass(frozen=True)
class DumpOptions:
    """Options of a dump; see :meth:`~gigaclient.types.Record.model_dump`."""

    json: bool = False
    by_alias: bool = False
    exclude_none: bool = False
    exclude_defaults: bool = False


# -- records to data ---------------------------------------------------------------------------------------------------


def dumped(record: Record, options: DumpOptions, include: Any = None, exclude: Any = None) -> dict[str, Any]:
    """Return the fields of ``record``; ``include`` and ``exclude`` are names, or a mapping of names to selections."""
    fields: dict[str, Any] = {}
    aliased = getattr(record, "_aliased", ())
    unknown = getattr(record, "_unknown", {})  # read first: this finds those of nested records
    for info in _fields(type(record)):
        value = getattr(record, info.name)
        if (options.exclude_none and value is None) or (options.exclude_defaults and _is_default(info, value)):
            continue
        official = f"{info.name}_" if info.name in aliased else info.name
        selections = _narrowed(include, exclude, info.name, official)
        if selections is None:
            continue
        fields[info.encode_name if options.by_alias else official] = _to_plain_data(value, options, *selections)
    for name, value in unknown.items():
        selections = _narrowed(include, exclude, name)
        if selections is not None and not (options.exclude_none and value is None):
            fields.setdefault(name, _to_plain_data(value, options, *selections))
    return fields


@cache
def _fields(cls: type[Record]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(cls)


def _is_default(info: msgspec.structs.FieldInfo, value: Any) -> bool:
    if info.name == "role":  # no default in the official SDK, and a message cannot be sent without it
        return value is None
    if info.default is not msgspec.NODEFAULT:
        return bool(value == info.default)
    return info.default_factory is not msgspec.NODEFAULT and bool(value == info.default_factory())


def _narrowed(include: Any, exclude: Any, *names: Any) -> tuple[Any, Any] | None:
    """Return the selections within a field or an item that has one of ``names``; None if it is excluded."""
    within_include = within_exclude = None
    if include is not None:
        within_include = _selection_within(include, names)
        if within_include is None:
            return None
    if exclude is not None:
        within_exclude = _selection_within(exclude, names)
        if within_exclude is True:
            return None
    return (None if within_include is True else within_include), within_exclude


def _selection_within(selection: Any, names: tuple[Any, ...]) -> Any:
    # True selects everything, a further selection a part, None nothing.
    if isinstance(selection, Mapping):
        found = [selection[name] for name in names if name in selection]
        value = found[0] if found else None
        return True if value is ... else value if value is not False else None
    return True if any(name in selection for name in names) else None


def _to_plain_data(value: Any, options: DumpOptions, include: Any, exclude: Any) -> Any:
    if isinstance(value, Record):
        return dumped(value, options, include, exclude)
    if isinstance(value, Mapping):
        items = ((name, inner, _narrowed(include, exclude, name)) for name, inner in value.items())
        return {
            _key(name, options): _to_plain_data(inner, options, *selections)
            for name, inner, selections in items
            if selections is not None
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        sequence = list(value)
        selected = (
            (inner, _narrowed(include, exclude, index, index - len(sequence), _EVERY_ITEM))
            for index, inner in enumerate(sequence)
        )
        return [_to_plain_data(inner, options, *selections) for inner, selections in selected if selections is not None]
    if isinstance(value, Enum):
        return value.value
    if not options.json or value is None or isinstance(value, (str, int, float)):
        return value
    return msgspec.to_builtins(value, enc_hook=str)


def _key(name: Any, options: DumpOptions) -> Any:
    return str(name.value if isinstance(name, Enum) else name) if options.json else name


def as_json(data: Any, indent: int | None) -> str:
    """Encode ``data`` as JSON without escaping Cyrillic letters."""
    separators = (",", ":") if indent is None else None
    return json.dumps(data, ensure_ascii=False, indent=indent, separators=separators)


# -- data to records ---------------------------------------------------------------------------------------------------


def from_json(text: str | bytes) -> Any:
    """Decode JSON text.

    Raises:
        ConfigError: it is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except JSON_ERRORS as error:
        reason = str(error)
    raise ConfigError(f"not JSON: {reason}")


def validated(cls: type[RecordT], data: Any) -> RecordT:
    """Create a record of type ``cls`` from ``data``; see :meth:`~gigaclient.types.Record.model_validate`."""
    if isinstance(data, Record):
        data = dumped(data, DumpOptions(by_alias=True, exclude_none=True))
    data = pydantic_fields(data)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{cls.__name__} is made of a dict, not of {type(data).__name__}")
    is_response = hasattr(cls, "attach")
    record: Any = _converted(cls, _named(data, cls), lenient=is_response)
    if is_response:
        record.attach(raw=dict(data))
    keep_nested(record, data, "received" if is_response else "given")
    return cast(RecordT, record)


def _converted(cls: type[RecordT], named: Mapping[str, Any], *, lenient: bool) -> RecordT:
    """Convert data with the API's names; ``lenient`` reads a stored response by the same rules as a received one."""
    try:
        return convert(named, cls, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        reason = str(error)
    try:
        if lenient:
            return coerce(named, cls)
        # The constructor accepts more forms than the decoder: a string for a list of parts, for example.
        record = cls(**{name: value for name, value in named.items() if name in cls.__struct_fields__})
        return convert(dumped(record, DumpOptions(by_alias=True, exclude_none=True)), cls, strict=False)
    except (msgspec.ValidationError, RecursionError, TypeError) as error:
        if lenient:
            reason = str(error)
    raise ConfigError(f"not a {cls.__name__}: {reason}")


def _named(value: Any, type_: Any) -> Any:
    """Replace records in ``value``, which has the type ``type_``, by plain data, and official names by the API's."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Record):
        return dumped(value, DumpOptions(by_alias=True, exclude_none=True))
    origin = get_origin(type_)
    if origin is Union or origin is types.UnionType:
        known = [member for member in get_args(type_) if member is not type(None)]
        type_ = next((member for member in known if _fits(value, member)), Any)
        origin = get_origin(type_)
    if isinstance(value, Mapping):
        if isinstance(type_, type) and issubclass(type_, Record):
            hints = field_types(type_)
            prepared = getattr(type_, "_prepared", dict)
            renamed = {field_name(name, value, hints): inner for name, inner in value.items()}
            return {name: _named(inner, hints.get(name, Any)) for name, inner in prepared(renamed).items()}
        within = get_args(type_)[1] if origin is dict else Any
        return {name: _named(inner, within) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        within = get_args(type_)[0] if origin is list else Any
        return [_named(inner, within) for inner in value]
    return value


def _fits(value: Any, type_: Any) -> bool:
    type_ = get_origin(type_) or type_
    if isinstance(value, Mapping):
        return isinstance(type_, type) and (issubclass(type_, Record) or type_ is dict)
    return isinstance(value, (list, tuple)) and type_ is list


def json_schema(cls: type[Record]) -> dict[str, Any]:
    """Return the JSON Schema of a record's type; its definitions are under ``$defs``."""
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


@cache
def dataclass_of(cls: type[Record]) -> type[Any]:
    """Return a dataclass with the fields of a record's type, for tools that know dataclasses."""
    import dataclasses

    def default_of(info: msgspec.structs.FieldInfo) -> Any:
        if info.required:
            return dataclasses.field()
        if info.default_factory is not msgspec.NODEFAULT:
            return dataclasses.field(default_factory=info.default_factory)
        return dataclasses.field(default=info.default)

    fields = [(info.name, info.type, default_of(info)) for info in _fields(cls)]
    return dataclasses.make_dataclass(cls.__name__, fields, kw_only=True, repr=False, eq=False)


def copied(record: RecordT, update: Mapping[str, Any] | None, deep: bool) -> RecordT:
    """Copy a record; see :meth:`~gigaclient.types.Record.model_copy`."""
    result = copy.deepcopy(record) if deep else copy.copy(record)
    for name, value in (update or {}).items():
        bare = name.removesuffix("_")
        field = name if name in record.__struct_fields__ else bare
        if field not in record.__struct_fields__:
            raise ConfigError(f"{type(record).__name__} has no field {name!r}")
        setattr(result, field, value)
    return result
