"""Structured output: a type becomes the JSON Schema that the model keeps to, and its text a value of that type. Pure.

A type is a dataclass, a ``TypedDict``, a ``msgspec.Struct``, an attrs class, a pydantic model or dataclass (for those
who have pydantic), or what is built of those: ``list[Person]``, ``Literal["yes", "no"]``, an ``Enum``, ``int``. A dict
is taken for a JSON Schema; then the value is the decoded JSON.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/structured-output
"""

from __future__ import annotations

import copy
import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from json import JSONDecodeError, loads
from typing import (
    Annotated,
    Any,
    Generic,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import inspect as kinds

from gigaclient._primitives.decoding import decoder, new_decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError
from gigaclient.schema.docstrings import described
from gigaclient.schema.normalize import SchemaNormalizer, _is_object, _renamed, _target
from gigaclient.types import ResponseFormat

__all__ = ["Omitted", "TypeSchema", "ValidationFailed", "note_of", "schema_of", "type_schema_of"]

T = TypeVar("T")

_ADVICE = "use a dataclass, a TypedDict, a msgspec.Struct, an attrs class, a pydantic model, or a dict with the schema"

_MOST_REASONS = 5


# -- what is offered ---------------------------------------------------------------------------------------------------


class ValidationFailed(ValueError):
    """JSON that is no value of the type; the message names the place."""


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of ``kind`` in the form that GigaChat accepts: an object at the top, no ``$ref`` but where a type
    holds itself, ``required`` and ``additionalProperties: false`` in each object, descriptions from docstrings and from
    ``Annotated``.

    A kind that is no object (a list, an enum, a number) is the property ``value`` of one; :func:`value_of` unwraps it.

    Args:
        kind: the type; or a dict, which is a JSON Schema already and is given back as it is.

    Raises:
        ConfigError: it cannot be described; the message says what to do.
    """
    return copy.deepcopy(type_schema_of(kind).schema)


class Omitted:
    """The default of a field that shows whether it was left out.

    Attributes:
        value: the default that the schema tells.
    """

    def __init__(self, value: Any) -> None:
        self.value = value


class TypeSchema(Generic[T]):
    """A type, ready for use.

    Attributes:
        schema: its JSON Schema; not to be changed.
        wrapped: whether the value is the property ``value`` of what the schema describes.
    """

    def __init__(self, schema: dict[str, Any], read: Callable[[bytes], T], *, wrapped: bool = False) -> None:
        self.schema = schema
        self._read = read
        self.wrapped = wrapped

    def read(self, data: str | bytes) -> T:
        """JSON as a value.

        Raises:
            Misfit: it is not JSON, or no such value.
        """
        encoded = data.encode("utf-8", "replace") if isinstance(data, str) else data
        reason = _not_json(encoded)
        if reason is not None:
            raise ValidationFailed(reason)
        return self._read(_unwrapped(encoded) if self.wrapped else encoded)


def type_schema_of(kind: Any, *, strict: bool = True) -> TypeSchema[Any]:
    """The shape of ``kind``; made once for each type.

    Args:
        kind: as for :func:`schema_of`.
        strict: whether the schema forbids further fields, and has at least one required field; of use in structured
            output, and not in the parameters of a function, where null also stands for what may be left out.

    Raises:
        ConfigError: it cannot be described.
    """
    if isinstance(kind, (Mapping, ResponseFormat)):
        return TypeSchema(_given_schema(kind), msgspec.json.decode)
    try:
        hash(kind)
    except TypeError:  # Annotated with something unhashable, or no type at all
        pass
    else:
        return _made_once(kind, strict)
    return _made(kind, strict)


@functools.lru_cache(maxsize=256)
def _made_once(kind: Any, strict: bool) -> TypeSchema[Any]:
    return _made(kind, strict)


def _made(kind: Any, strict: bool) -> TypeSchema[Any]:
    _check_kind(kind)
    if _is_model(kind):
        schema, read = _of_model(kind)
    elif any(_is_model(part) or _is_pydantic_dataclass(part) for part in _parts(kind)) and "pydantic" in sys.modules:
        schema, read = _of_adapter(kind)
    else:
        schema, read = _of_msgspec(kind)
    schema = SchemaNormalizer(schema, strict).root()
    if _is_object(schema):
        return TypeSchema(schema, read)
    if not schema or schema.keys() <= {"description", "title"}:
        raise ConfigError(f"{_name(kind)} says nothing about the value: {_ADVICE}")
    definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
    wrapper = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    closed = {"additionalProperties": False} if strict else {}
    return TypeSchema({**wrapper, **closed, **definitions}, read, wrapped=True)


def _given_schema(kind: Any) -> dict[str, Any]:
    schema = kind.schema if isinstance(kind, ResponseFormat) else dict(kind)
    if isinstance(kind, Mapping) and kind.get("type") == "json_schema":
        # The whole response format, in this API's form or nested as others have it.
        nested = kind.get("json_schema")
        schema = kind.get("schema") or (nested.get("schema") if isinstance(nested, Mapping) else None)
    if not schema:
        raise ConfigError("the schema is empty: give a JSON Schema such as {'type': 'object', 'properties': {…}}")
    return dict(schema)


def _check_kind(kind: Any) -> None:
    if isinstance(kind, (str, bytes)):
        raise ConfigError(f"a type is wanted, not its name or a text: {_ADVICE}")
    if isinstance(kind, type):
        if not _is_model(kind) and hasattr(kind, "parse_raw") and hasattr(kind, "__fields__"):
            raise ConfigError(f"{_name(kind)} is a model of pydantic 1: pydantic 2 is needed, or {_ADVICE}")
        return
    if get_origin(kind) is not None or kind is Any:
        return
    if hasattr(type(kind), "__annotations__") and not hasattr(kind, "__supertype__"):
        raise ConfigError(f"the class itself is wanted, not an object of it: pass {type(kind).__name__}")


class _Wrapped(msgspec.Struct):
    value: msgspec.Raw


def _unwrapped(data: bytes) -> bytes:
    try:
        return bytes(decoder(_Wrapped).decode(data).value)
    except msgspec.ValidationError:
        return data  # the bare value; whether it fits is seen next


# -- msgspec: dataclasses, TypedDicts, Structs, attrs classes, enums, builtins -----------------------------------------


def _of_msgspec(kind: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    reason = None
    schema: dict[str, Any] = {}
    try:
        tree = kinds.type_info(kind)
        schema = SchemaGenerator().whole(tree)
        strict = new_decoder(kind, dec_hook=_convert)
        lax = new_decoder(kind, strict=False, dec_hook=_convert)
    except NameError as error:
        reason = (
            f"an annotation names {error.name!r}, which its module does not have: define it at the top of the module"
        )
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())
    if reason is not None:
        raise ConfigError(f"{_name(kind)} cannot be described: {reason}; {_ADVICE}")

    def read(data: bytes) -> Any:
        try:
            return strict.decode(data)
        except Exception:
            return _tried(lambda: lax.decode(data))

    return schema, read


def _tried(read: Callable[[], Any]) -> Any:
    cause: BaseException | None = None
    try:
        return read()
    except msgspec.ValidationError as error:
        reason = str(error)
        if "`$" not in reason:
            reason += " - at `$`"
    except Exception as error:  # of the user's own class, as it was made
        if _is_pydantic_error(error):
            reason = _pydantic_reason(error)
        else:
            reason, cause = f"making it raised {type(error).__name__}: {error}", error
    raise ValidationFailed(f"the answer does not fit: {reason}") from cause


def _convert(kind: Any, value: Any) -> Any:
    """For msgspec: a pydantic model inside something else."""
    if not _is_model(kind):
        raise NotImplementedError
    try:
        return kind.model_validate(value)
    except Exception as error:
        if not _is_pydantic_error(error):
            raise
        reason = _pydantic_reason(error)
    raise ValueError(reason)


class SchemaGenerator:
    """Schemas of msgspec's descriptions of types; each class a definition of its own."""

    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}
        self._names: dict[Any, str] = {}

    def whole(self, kind: kinds.Type) -> dict[str, Any]:
        return {**self._of(kind), "$defs": self._definitions}

    def _of(self, kind: kinds.Type) -> dict[str, Any]:
        writer = _GENERATORS.get(type(kind))
        if writer is not None:
            return writer(self, kind)
        raise ConfigError(f"a schema cannot describe {type(kind).__name__.removesuffix('Type').lower()}: {_ADVICE}")

    def _metadata(self, kind: kinds.Metadata) -> dict[str, Any]:
        return {**self._of(kind.type), **(kind.extra_json_schema or {})}

    def _number(self, kind: Any) -> dict[str, Any]:
        limits = {
            "minimum": kind.ge,
            "exclusiveMinimum": kind.gt,
            "maximum": kind.le,
            "exclusiveMaximum": kind.lt,
            "multipleOf": kind.multiple_of,
        }
        name = "integer" if isinstance(kind, kinds.IntType) else "number"
        return {"type": name, **_known(limits)}

    def _text(self, kind: kinds.StrType) -> dict[str, Any]:
        return {
            "type": "string",
            **_known({"minLength": kind.min_length, "maxLength": kind.max_length, "pattern": kind.pattern}),
        }

    def _array(self, kind: Any) -> dict[str, Any]:
        unique = {"uniqueItems": True} if isinstance(kind, (kinds.SetType, kinds.FrozenSetType)) else {}
        limits = _known({"minItems": kind.min_length, "maxItems": kind.max_length})
        return {"type": "array", "items": self._of(kind.item_type), **unique, **limits}

    def _tuple(self, kind: kinds.TupleType) -> dict[str, Any]:
        return self._row([self._of(item) for item in kind.item_types])

    def _row(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        length = {"minItems": len(items), "maxItems": len(items)}
        if items and all(item == items[0] for item in items):
            return {"type": "array", "items": items[0], **length}
        return {"type": "array", "prefixItems": items, "items": False, **length}

    def _mapping(self, kind: kinds.DictType) -> dict[str, Any]:
        inner = self._of(kind.value_type)
        limits = _known({"minProperties": kind.min_length, "maxProperties": kind.max_length})
        return {"type": "object", "additionalProperties": inner or True, **limits}

    def _union(self, kind: kinds.UnionType) -> dict[str, Any]:
        return {"anyOf": [self._of(member) for member in kind.types]}

    def _literal(self, kind: kinds.LiteralType) -> dict[str, Any]:
        return {"enum": list(kind.values)}

    def _enum(self, kind: kinds.EnumType) -> dict[str, Any]:
        described_as = _doc(kind.cls).prose
        values = [msgspec.to_builtins(member) for member in kind.cls]
        return {"enum": values, **({"description": described_as} if described_as else {})}

    def _custom(self, kind: kinds.CustomType) -> dict[str, Any]:
        if not _is_model(kind.cls):
            raise ConfigError(f"{_name(kind.cls)} has no JSON Schema: {_ADVICE}")

        def schema() -> dict[str, Any]:
            whole: dict[str, Any] = _model_schema(kind.cls)
            # Its definitions stay its own: two models may each have one of the same name.
            own = self._name_of(kind.cls)
            inner = whole.pop("$defs", {})
            names = {name: f"{own}.{name}" for name in inner}
            renamed: dict[str, Any] = _renamed(whole, names)
            for name, definition in inner.items():
                self._definitions[names[name]] = _renamed(definition, names)
            if renamed.keys() == {"$ref"}:
                return dict(self._definitions[_target(renamed["$ref"])])
            return renamed

        return self._reference(kind.cls, schema)

    def _class(self, kind: Any) -> dict[str, Any]:
        if _is_pydantic_dataclass(kind.cls):
            raise ConfigError(f"{_name(kind.cls)} is a pydantic dataclass inside another class: make it a BaseModel")
        is_row = isinstance(kind, kinds.NamedTupleType) or getattr(kind, "array_like", False)
        return self._reference(kind.cls, lambda: self._rows(kind) if is_row else self._object(kind))

    def _rows(self, kind: Any) -> dict[str, Any]:
        if getattr(kind, "tag", None) is not None:
            raise ConfigError(f"{_name(kind.cls)} is written as an array with a tag: leave out array_like")
        return self._row([self._field(field, {}) for field in kind.fields])

    def _object(self, kind: Any) -> dict[str, Any]:
        notes = _notes(kind.cls)
        order = {name: place for place, name in enumerate(notes)}
        fields = sorted(kind.fields, key=lambda field: order.get(field.name, len(order)))
        properties = {field.encode_name: self._field(field, notes) for field in fields}
        required = [field.encode_name for field in fields if field.required]
        if getattr(kind, "tag", None) is not None:
            properties = {kind.tag_field: {"enum": [kind.tag]}, **properties}
            required = [kind.tag_field, *required]
        prose = _doc(kind.cls).prose
        return {
            "title": _class_name(kind.cls),
            **({"description": prose} if prose else {}),
            "type": "object",
            "properties": properties,
            "required": required,
        }

    def _field(self, field: kinds.Field, notes: Mapping[str, str]) -> dict[str, Any]:
        schema = self._of(field.type)
        if notes.get(field.name) and "description" not in schema:
            schema["description"] = notes[field.name]
        default = field.default.value if isinstance(field.default, Omitted) else field.default
        if default is not msgspec.NODEFAULT and default is not None:
            try:
                schema["default"] = msgspec.json.decode(msgspec.json.encode(default))
            except (TypeError, ValueError, msgspec.MsgspecError):
                return schema  # it is for people to know; the model does without
        return schema

    def _reference(self, cls: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        name = self._names.get(cls)
        if name is None:
            name = self._name_of(cls)
            self._definitions[name] = {}  # the name is taken, for those that hold themselves
            self._definitions[name] = make()
        return {"$ref": f"#/$defs/{name}"}

    def _name_of(self, cls: Any) -> str:
        if cls not in self._names:
            name = wanted = _class_name(cls)
            number = 2
            while name in self._names.values():
                name, number = f"{wanted}_{number}", number + 1
            self._names[cls] = name
        return self._names[cls]


_GENERATORS: dict[type[kinds.Type], Callable[[SchemaGenerator, Any], dict[str, Any]]] = {
    kinds.AnyType: lambda writer, kind: {},
    kinds.RawType: lambda writer, kind: {},
    kinds.NoneType: lambda writer, kind: {"type": "null"},
    kinds.BoolType: lambda writer, kind: {"type": "boolean"},
    kinds.IntType: SchemaGenerator._number,
    kinds.FloatType: SchemaGenerator._number,
    kinds.StrType: SchemaGenerator._text,
    kinds.BytesType: lambda writer, kind: {"type": "string", "format": "base64"},
    kinds.ByteArrayType: lambda writer, kind: {"type": "string", "format": "base64"},
    kinds.DateTimeType: lambda writer, kind: {"type": "string", "format": "date-time"},
    kinds.DateType: lambda writer, kind: {"type": "string", "format": "date"},
    kinds.TimeType: lambda writer, kind: {"type": "string", "format": "time"},
    kinds.TimeDeltaType: lambda writer, kind: {"type": "string", "format": "duration, as in ISO 8601"},
    kinds.UUIDType: lambda writer, kind: {"type": "string", "format": "uuid"},
    kinds.DecimalType: lambda writer, kind: {"type": "string", "format": "decimal number"},
    kinds.ListType: SchemaGenerator._array,
    kinds.SetType: SchemaGenerator._array,
    kinds.FrozenSetType: SchemaGenerator._array,
    kinds.VarTupleType: SchemaGenerator._array,
    kinds.CollectionType: SchemaGenerator._array,
    kinds.TupleType: SchemaGenerator._tuple,
    kinds.DictType: SchemaGenerator._mapping,
    kinds.UnionType: SchemaGenerator._union,
    kinds.LiteralType: SchemaGenerator._literal,
    kinds.EnumType: SchemaGenerator._enum,
    kinds.CustomType: SchemaGenerator._custom,
    kinds.Metadata: SchemaGenerator._metadata,
    kinds.StructType: SchemaGenerator._class,
    kinds.TypedDictType: SchemaGenerator._class,
    kinds.DataclassType: SchemaGenerator._class,
    kinds.NamedTupleType: SchemaGenerator._class,
}


def _known(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}


# -- what people wrote beside the types --------------------------------------------------------------------------------

_DEFAULT_DOCS = ("An enumeration.", None)


def _doc(cls: Any) -> Any:
    cls = get_origin(cls) or cls
    text = cls.__dict__.get("__doc__")
    # dataclasses write a signature there, where nobody wrote anything.
    if text in _DEFAULT_DOCS or (isinstance(text, str) and text.startswith(f"{cls.__name__}(")):
        text = None
    return described(text)


def _notes(cls: Any) -> dict[str, str]:
    """The fields in their order, each with what is said about it: in the docstring, the metadata, the annotation."""
    cls = get_origin(cls) or cls
    notes: dict[str, str] = {}
    documented: dict[str, str] = {}
    for base in reversed(getattr(cls, "__mro__", (cls,))):
        if base is not object:
            documented.update(_doc(base).parameters)
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        hints = {}  # msgspec tells what is wrong
    for name, hint in hints.items():
        notes[name] = note_of(hint) or documented.get(name, "")
    own = getattr(cls, "__dataclass_fields__", None)
    fields = own.values() if own else getattr(cls, "__attrs_attrs__", ())
    for field in fields:
        said = field.metadata.get("description") if field.metadata else None
        if isinstance(said, str):
            notes[field.name] = said
    return notes


def note_of(hint: Any) -> str:
    """The description in ``Annotated[…]``: a string, or an object with a ``description`` or ``documentation``."""
    while getattr(get_origin(hint), "_name", "") in ("Required", "NotRequired", "ReadOnly"):
        hint = get_args(hint)[0]
    if get_origin(hint) is not Annotated:
        return ""
    for extra in get_args(hint)[1:]:
        said = extra if isinstance(extra, str) else None
        said = said or getattr(extra, "description", None) or getattr(extra, "documentation", None)
        if isinstance(said, str):
            return " ".join(said.split())
    return ""


def _class_name(cls: Any) -> str:
    return re.sub(r"\W+", "_", getattr(cls, "__name__", "") if isinstance(cls, type) else _name(cls)).strip("_")


def _name(kind: Any) -> str:
    if isinstance(kind, type) and get_origin(kind) is None:
        return kind.__name__
    return re.sub(r"\b(?:\w+\.)+(?:<locals>\.)?(?=\w)", "", repr(kind))


# -- pydantic, without importing it ------------------------------------------------------------------------------------


def _is_model(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and not issubclass(kind, msgspec.Struct)
        and callable(getattr(kind, "model_json_schema", None))
        and callable(getattr(kind, "model_validate_json", None))
    )


def _is_pydantic_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__") and not _is_model(kind)


def _is_pydantic_error(error: BaseException) -> bool:
    return type(error).__name__ == "ValidationError" and callable(getattr(error, "errors", None))


def _parts(kind: Any) -> Iterator[Any]:
    yield kind
    for part in get_args(kind):
        yield from _parts(part)


def _of_model(kind: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    return _model_schema(kind), lambda data: _tried(lambda: kind.model_validate_json(data))


def _model_schema(kind: Any) -> dict[str, Any]:
    schema: dict[str, Any] = _described_by_pydantic(kind, kind.model_json_schema)
    return schema


def _of_adapter(kind: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    adapter = _described_by_pydantic(kind, lambda: sys.modules["pydantic"].TypeAdapter(kind))
    schema = _described_by_pydantic(kind, adapter.json_schema)
    return schema, lambda data: _tried(lambda: adapter.validate_json(data))


def _described_by_pydantic(kind: Any, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:  # of several classes, which only pydantic has
        reason = str(error).split("\n", 1)[0]
    raise ConfigError(f"{_name(kind)} cannot be described: {reason}")


def _pydantic_reason(error: Any) -> str:
    """What pydantic found, without the values, which it would quote."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    reasons = []
    for entry in found[:_MOST_REASONS]:
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in entry["loc"])
        reasons.append(f"{entry['msg']} - at `${place}`")
    more = len(found) - len(reasons)
    return "; ".join(reasons) + (f"; and {more} more" if more > 0 else "")


def _not_json(data: bytes) -> str | None:
    try:
        msgspec.json.decode(data)
    except RecursionError:
        return "the JSON is nested too deep"
    except JSON_ERRORS as error:
        reason = str(error)
    else:
        return None
    try:
        loads(data)
    except JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        pass
    return f"the answer is not JSON: {reason}"
