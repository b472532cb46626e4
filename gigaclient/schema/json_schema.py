"""Structured output: make a JSON Schema from a type, and read values of the type from JSON. Pure.

A type is a dataclass, a ``TypedDict``, a ``msgspec.Struct``, an attrs class, a pydantic model or dataclass (if pydantic
is installed), or a type composed of those: ``list[Person]``, ``Literal["yes", "no"]``, an ``Enum``, ``int``. A dict is
used as a JSON Schema; then the value is the decoded JSON.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/structured-output
"""

from __future__ import annotations

import copy
import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from json import JSONDecodeError, loads
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as nodes

from gigaclient._primitives.decoding import decoder, new_decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError
from gigaclient.schema.docstrings import Docstring, parse_docstring
from gigaclient.schema.normalize import SchemaNormalizer, is_object_schema, referenced_name, rename_references
from gigaclient.types import ResponseFormat

__all__ = ["Omitted", "TypeSchema", "ValidationFailed", "description_of", "schema_of", "type_schema_of"]

T = TypeVar("T")

_ADVICE = "use a dataclass, a TypedDict, a msgspec.Struct, an attrs class, a pydantic model, or a dict with the schema"

_MAX_REASONS = 5


class ValidationFailed(ValueError):
    """JSON that is not a value of the type; the message names the path."""


def schema_of(type_: Any) -> dict[str, Any]:
    """Return the JSON Schema of ``type_`` in the form that GigaChat accepts.

    The root is an object. ``$ref`` occurs only for recursive types. Each object has ``required`` and
    ``additionalProperties: false``. Descriptions come from docstrings and from ``Annotated``. A type that is not an
    object (a list, an enum, a number) becomes the property ``value`` of one; :func:`value_of` unwraps it.

    Args:
        type_: the type; or a dict, which is a JSON Schema already and is returned unchanged.

    Raises:
        ConfigError: the type has no JSON Schema; the message says what to do.
    """
    return copy.deepcopy(type_schema_of(type_).schema)


class Omitted:
    """The default of a field, wrapped to detect that the field was omitted.

    Attributes:
        value: the default for the schema.
    """

    def __init__(self, value: Any) -> None:
        self.value = value


class TypeSchema(Generic[T]):
    """The JSON Schema of a type, and the decoder of its values.

    Attributes:
        schema: the JSON Schema; do not modify it.
        wrapped: True if the schema is an object whose property ``value`` is the value.
    """

    def __init__(self, schema: dict[str, Any], read: Callable[[bytes], T], *, wrapped: bool = False) -> None:
        self.schema = schema
        self._read = read
        self.wrapped = wrapped

    def read(self, data: str | bytes) -> T:
        """Decode a value of the type from JSON.

        Raises:
            ValidationFailed: the data is not JSON, or not a value of the type.
        """
        encoded = data.encode("utf-8", "replace") if isinstance(data, str) else data
        reason = _json_error(encoded)
        if reason is not None:
            raise ValidationFailed(reason)
        return self._read(_unwrapped(encoded) if self.wrapped else encoded)


def type_schema_of(type_: Any, *, strict: bool = True) -> TypeSchema[Any]:
    """Return the schema and the decoder of ``type_``; they are cached.

    Args:
        type_: as for :func:`schema_of`.
        strict: forbid unknown fields, and require at least one field, for structured output. False is for parameters of
            functions, whose optional fields do not accept null in the schema.

    Raises:
        ConfigError: the type has no JSON Schema.
    """
    if isinstance(type_, (Mapping, ResponseFormat)):
        return TypeSchema(_schema_from_dict(type_), msgspec.json.decode)
    try:
        hash(type_)
    except TypeError:  # Annotated with something unhashable, or not a type
        pass
    else:
        return _build_cached(type_, strict)
    return _build(type_, strict)


@functools.lru_cache(maxsize=256)
def _build_cached(type_: Any, strict: bool) -> TypeSchema[Any]:
    return _build(type_, strict)


def _build(type_: Any, strict: bool) -> TypeSchema[Any]:
    _check_type(type_)
    if is_model(type_):
        schema, read = from_model(type_)
    elif (
        any(is_model(part) or is_pydantic_dataclass(part) for part in nested_types(type_)) and "pydantic" in sys.modules
    ):
        schema, read = from_adapter(type_)
    else:
        schema, read = _from_msgspec(type_)
    schema = SchemaNormalizer(schema, strict).root()
    if is_object_schema(schema):
        return TypeSchema(schema, read)
    if not schema or schema.keys() <= {"description", "title"}:
        raise ConfigError(f"{type_name(type_)} says nothing about the value: {_ADVICE}")
    definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
    wrapper = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    closed = {"additionalProperties": False} if strict else {}
    return TypeSchema({**wrapper, **closed, **definitions}, read, wrapped=True)


def _schema_from_dict(given: Any) -> dict[str, Any]:
    schema = given.schema if isinstance(given, ResponseFormat) else dict(given)
    if isinstance(given, Mapping) and given.get("type") == "json_schema":
        # A complete response format: of this API, or with the schema nested as in OpenAI's.
        nested = given.get("json_schema")
        schema = given.get("schema") or (nested.get("schema") if isinstance(nested, Mapping) else None)
    if not schema:
        raise ConfigError("the schema is empty: pass a JSON Schema such as {'type': 'object', 'properties': {…}}")
    return dict(schema)


def _check_type(type_: Any) -> None:
    if isinstance(type_, (str, bytes)):
        raise ConfigError(f"a type is needed, not its name or a text: {_ADVICE}")
    if isinstance(type_, type):
        if not is_model(type_) and hasattr(type_, "parse_raw") and hasattr(type_, "__fields__"):
            raise ConfigError(f"{type_name(type_)} is a model of pydantic 1: pydantic 2 is needed, or {_ADVICE}")
        return
    if get_origin(type_) is not None or type_ is Any:
        return
    if hasattr(type(type_), "__annotations__") and not hasattr(type_, "__supertype__"):
        raise ConfigError(f"the class itself is needed, not an object of it: pass {type(type_).__name__}")


class _Wrapped(msgspec.Struct):
    value: msgspec.Raw


def _unwrapped(data: bytes) -> bytes:
    try:
        return bytes(decoder(_Wrapped).decode(data).value)
    except msgspec.ValidationError:
        return data  # the value without its wrapper; it is validated next


# -- msgspec: dataclasses, TypedDicts, Structs, attrs classes, enums, builtins -----------------------------------------


def _from_msgspec(type_: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    reason = None
    schema: dict[str, Any] = {}
    try:
        schema = SchemaGenerator().root(nodes.type_info(type_))
        strict = new_decoder(type_, dec_hook=_convert)
        lax = new_decoder(type_, strict=False, dec_hook=_convert)
    except NameError as error:
        reason = (
            f"an annotation names {error.name!r}, which its module does not have: define it at the top of the module"
        )
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())
    if reason is not None:
        raise ConfigError(f"{type_name(type_)} cannot be described: {reason}; {_ADVICE}")

    def read(data: bytes) -> Any:
        try:
            return strict.decode(data)
        except Exception:
            return validated(lambda: lax.decode(data))

    return schema, read


def validated(read: Callable[[], Any]) -> Any:
    cause: BaseException | None = None
    try:
        return read()
    except msgspec.ValidationError as error:
        reason = str(error)
        if "`$" not in reason:
            reason += " - at `$`"
    except Exception as error:  # from the constructor of the user's class
        if is_pydantic_error(error):
            reason = pydantic_reason(error)
        else:
            reason, cause = f"making it raised {type(error).__name__}: {error}", error
    raise ValidationFailed(f"the answer does not fit: {reason}") from cause


def _convert(type_: Any, value: Any) -> Any:
    """Decode a pydantic model inside another type; a ``dec_hook`` of msgspec."""
    if not is_model(type_):
        raise NotImplementedError
    try:
        return type_.model_validate(value)
    except Exception as error:
        if not is_pydantic_error(error):
            raise
        reason = pydantic_reason(error)
    raise ValueError(reason)


class SchemaGenerator:
    """Make a JSON Schema from a type that ``msgspec.inspect`` has described; each class becomes a definition."""

    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}
        self._names: dict[Any, str] = {}

    def root(self, node: nodes.Type) -> dict[str, Any]:
        """Return the schema of ``node`` with all definitions."""
        return {**self._schema(node), "$defs": self._definitions}

    def _schema(self, node: nodes.Type) -> dict[str, Any]:
        generate = _GENERATORS.get(type(node))
        if generate is not None:
            return generate(self, node)
        raise ConfigError(f"a schema cannot describe {type(node).__name__.removesuffix('Type').lower()}: {_ADVICE}")

    def _metadata(self, node: nodes.Metadata) -> dict[str, Any]:
        return {**self._schema(node.type), **(node.extra_json_schema or {})}

    def _number(self, node: Any) -> dict[str, Any]:
        limits = {
            "minimum": node.ge,
            "exclusiveMinimum": node.gt,
            "maximum": node.le,
            "exclusiveMaximum": node.lt,
            "multipleOf": node.multiple_of,
        }
        name = "integer" if isinstance(node, nodes.IntType) else "number"
        return {"type": name, **_without_none(limits)}

    def _text(self, node: nodes.StrType) -> dict[str, Any]:
        return {
            "type": "string",
            **_without_none({"minLength": node.min_length, "maxLength": node.max_length, "pattern": node.pattern}),
        }

    def _array(self, node: Any) -> dict[str, Any]:
        unique = {"uniqueItems": True} if isinstance(node, (nodes.SetType, nodes.FrozenSetType)) else {}
        limits = _without_none({"minItems": node.min_length, "maxItems": node.max_length})
        return {"type": "array", "items": self._schema(node.item_type), **unique, **limits}

    def _tuple(self, node: nodes.TupleType) -> dict[str, Any]:
        return self._fixed_array([self._schema(item) for item in node.item_types])

    def _fixed_array(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        length = {"minItems": len(items), "maxItems": len(items)}
        if items and all(item == items[0] for item in items):
            return {"type": "array", "items": items[0], **length}
        return {"type": "array", "prefixItems": items, "items": False, **length}

    def _mapping(self, node: nodes.DictType) -> dict[str, Any]:
        inner = self._schema(node.value_type)
        limits = _without_none({"minProperties": node.min_length, "maxProperties": node.max_length})
        return {"type": "object", "additionalProperties": inner or True, **limits}

    def _union(self, node: nodes.UnionType) -> dict[str, Any]:
        return {"anyOf": [self._schema(member) for member in node.types]}

    def _literal(self, node: nodes.LiteralType) -> dict[str, Any]:
        return {"enum": list(node.values)}

    def _enum(self, node: nodes.EnumType) -> dict[str, Any]:
        prose = _docstring_of(node.cls).prose
        values = [msgspec.to_builtins(member) for member in node.cls]
        return {"enum": values, **({"description": prose} if prose else {})}

    def _custom(self, node: nodes.CustomType) -> dict[str, Any]:
        if not is_model(node.cls):
            raise ConfigError(f"{type_name(node.cls)} has no JSON Schema: {_ADVICE}")

        def schema() -> dict[str, Any]:
            model: dict[str, Any] = model_schema(node.cls)
            # Its definitions get a prefix, because two models may each have one of the same name.
            prefix = self._name_of(node.cls)
            inner = model.pop("$defs", {})
            names = {name: f"{prefix}.{name}" for name in inner}
            renamed: dict[str, Any] = rename_references(model, names)
            for name, definition in inner.items():
                self._definitions[names[name]] = rename_references(definition, names)
            if renamed.keys() == {"$ref"}:
                return dict(self._definitions[referenced_name(renamed["$ref"])])
            return renamed

        return self._reference(node.cls, schema)

    def _class(self, node: Any) -> dict[str, Any]:
        if is_pydantic_dataclass(node.cls):
            raise ConfigError(
                f"{type_name(node.cls)} is a pydantic dataclass inside another class: make it a BaseModel"
            )
        is_array = isinstance(node, nodes.NamedTupleType) or getattr(node, "array_like", False)
        return self._reference(node.cls, lambda: self._array_like(node) if is_array else self._object(node))

    def _array_like(self, node: Any) -> dict[str, Any]:
        if getattr(node, "tag", None) is not None:
            raise ConfigError(f"{type_name(node.cls)} is encoded as an array with a tag: leave out array_like")
        return self._fixed_array([self._field(field, {}) for field in node.fields])

    def _object(self, node: Any) -> dict[str, Any]:
        descriptions = _field_descriptions(node.cls)
        order = {name: index for index, name in enumerate(descriptions)}
        fields = sorted(node.fields, key=lambda field: order.get(field.name, len(order)))
        properties = {field.encode_name: self._field(field, descriptions) for field in fields}
        required = [field.encode_name for field in fields if field.required]
        if getattr(node, "tag", None) is not None:
            properties = {node.tag_field: {"enum": [node.tag]}, **properties}
            required = [node.tag_field, *required]
        prose = _docstring_of(node.cls).prose
        return {
            "title": _class_name(node.cls),
            **({"description": prose} if prose else {}),
            "type": "object",
            "properties": properties,
            "required": required,
        }

    def _field(self, field: nodes.Field, descriptions: Mapping[str, str]) -> dict[str, Any]:
        schema = self._schema(field.type)
        if descriptions.get(field.name) and "description" not in schema:
            schema["description"] = descriptions[field.name]
        default = field.default.value if isinstance(field.default, Omitted) else field.default
        if default is not msgspec.NODEFAULT and default is not None:
            try:
                schema["default"] = msgspec.json.decode(msgspec.json.encode(default))
            except (TypeError, ValueError, msgspec.MsgspecError):
                return schema  # a default that is not JSON is left out of the schema
        return schema

    def _reference(self, cls: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        name = self._names.get(cls)
        if name is None:
            name = self._name_of(cls)
            self._definitions[name] = {}  # reserves the name, for recursive types
            self._definitions[name] = make()
        return {"$ref": f"#/$defs/{name}"}

    def _name_of(self, cls: Any) -> str:
        if cls not in self._names:
            name = base = _class_name(cls)
            number = 2
            while name in self._names.values():
                name, number = f"{base}_{number}", number + 1
            self._names[cls] = name
        return self._names[cls]


_GENERATORS: dict[type[nodes.Type], Callable[[SchemaGenerator, Any], dict[str, Any]]] = {
    nodes.AnyType: lambda generator, node: {},
    nodes.RawType: lambda generator, node: {},
    nodes.NoneType: lambda generator, node: {"type": "null"},
    nodes.BoolType: lambda generator, node: {"type": "boolean"},
    nodes.IntType: SchemaGenerator._number,
    nodes.FloatType: SchemaGenerator._number,
    nodes.StrType: SchemaGenerator._text,
    nodes.BytesType: lambda generator, node: {"type": "string", "format": "base64"},
    nodes.ByteArrayType: lambda generator, node: {"type": "string", "format": "base64"},
    nodes.DateTimeType: lambda generator, node: {"type": "string", "format": "date-time"},
    nodes.DateType: lambda generator, node: {"type": "string", "format": "date"},
    nodes.TimeType: lambda generator, node: {"type": "string", "format": "time"},
    nodes.TimeDeltaType: lambda generator, node: {"type": "string", "format": "duration, as in ISO 8601"},
    nodes.UUIDType: lambda generator, node: {"type": "string", "format": "uuid"},
    nodes.DecimalType: lambda generator, node: {"type": "string", "format": "decimal number"},
    nodes.ListType: SchemaGenerator._array,
    nodes.SetType: SchemaGenerator._array,
    nodes.FrozenSetType: SchemaGenerator._array,
    nodes.VarTupleType: SchemaGenerator._array,
    nodes.CollectionType: SchemaGenerator._array,
    nodes.TupleType: SchemaGenerator._tuple,
    nodes.DictType: SchemaGenerator._mapping,
    nodes.UnionType: SchemaGenerator._union,
    nodes.LiteralType: SchemaGenerator._literal,
    nodes.EnumType: SchemaGenerator._enum,
    nodes.CustomType: SchemaGenerator._custom,
    nodes.Metadata: SchemaGenerator._metadata,
    nodes.StructType: SchemaGenerator._class,
    nodes.TypedDictType: SchemaGenerator._class,
    nodes.DataclassType: SchemaGenerator._class,
    nodes.NamedTupleType: SchemaGenerator._class,
}


def _without_none(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}


# -- descriptions ------------------------------------------------------------------------------------------------------

_DEFAULT_DOCS = ("An enumeration.", None)


def _docstring_of(cls: Any) -> Docstring:
    cls = get_origin(cls) or cls
    text = cls.__dict__.get("__doc__")
    # The docstring that a dataclass generates is its signature.
    if text in _DEFAULT_DOCS or (isinstance(text, str) and text.startswith(f"{cls.__name__}(")):
        text = None
    return parse_docstring(text)


def _field_descriptions(cls: Any) -> dict[str, str]:
    """Return the fields in their order with their descriptions, from metadata, annotations or docstrings."""
    cls = get_origin(cls) or cls
    descriptions: dict[str, str] = {}
    documented: dict[str, str] = {}
    for base in reversed(getattr(cls, "__mro__", (cls,))):
        if base is not object:
            documented.update(_docstring_of(base).parameters)
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        hints = {}  # msgspec reports the error
    for name, hint in hints.items():
        descriptions[name] = description_of(hint) or documented.get(name, "")
    dataclass_fields = getattr(cls, "__dataclass_fields__", None)
    fields = dataclass_fields.values() if dataclass_fields else getattr(cls, "__attrs_attrs__", ())
    for field in fields:
        description = field.metadata.get("description") if field.metadata else None
        if isinstance(description, str):
            descriptions[field.name] = description
    return descriptions


def description_of(hint: Any) -> str:
    """Return the description in ``Annotated``: a string, or an object's ``description`` or ``documentation``."""
    while getattr(get_origin(hint), "_name", "") in ("Required", "NotRequired", "ReadOnly"):
        hint = get_args(hint)[0]
    if get_origin(hint) is not Annotated:
        return ""
    for extra in get_args(hint)[1:]:
        text = extra if isinstance(extra, str) else None
        text = text or getattr(extra, "description", None) or getattr(extra, "documentation", None)
        if isinstance(text, str):
            return " ".join(text.split())
    return ""


def _class_name(cls: Any) -> str:
    return re.sub(r"\W+", "_", getattr(cls, "__name__", "") if isinstance(cls, type) else type_name(cls)).strip("_")


def type_name(type_: Any) -> str:
    if isinstance(type_, type) and get_origin(type_) is None:
        return type_.__name__
    return re.sub(r"\b(?:\w+\.)+(?:<locals>\.)?(?=\w)", "", repr(type_))


# -- pydantic, which is never imported here ----------------------------------------------------------------------------


def is_model(type_: Any) -> bool:
    return (
        isinstance(type_, type)
        and not issubclass(type_, msgspec.Struct)
        and callable(getattr(type_, "model_json_schema", None))
        and callable(getattr(type_, "model_validate_json", None))
    )


def is_pydantic_dataclass(type_: Any) -> bool:
    return isinstance(type_, type) and hasattr(type_, "__pydantic_validator__") and not is_model(type_)


def is_pydantic_error(error: BaseException) -> bool:
    return type(error).__name__ == "ValidationError" and callable(getattr(error, "errors", None))


def nested_types(type_: Any) -> Iterator[Any]:
    yield type_
    for part in get_args(type_):
        yield from nested_types(part)


def from_model(type_: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    return model_schema(type_), lambda data: validated(lambda: type_.model_validate_json(data))


def model_schema(type_: Any) -> dict[str, Any]:
    schema: dict[str, Any] = _call_pydantic(type_, type_.model_json_schema)
    return schema


def from_adapter(type_: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    adapter = _call_pydantic(type_, lambda: sys.modules["pydantic"].TypeAdapter(type_))
    schema = _call_pydantic(type_, adapter.json_schema)
    return schema, lambda data: validated(lambda: adapter.validate_json(data))


def _call_pydantic(type_: Any, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:  # classes of pydantic, which is not imported here
        reason = str(error).split("\n", 1)[0]
    raise ConfigError(f"{type_name(type_)} cannot be described: {reason}")


def pydantic_reason(error: Any) -> str:
    """Return the errors that pydantic found, without the values that its own message quotes."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    reasons = []
    for entry in found[:_MAX_REASONS]:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in entry["loc"])
        reasons.append(f"{entry['msg']} - at `${path}`")
    more = len(found) - len(reasons)
    return "; ".join(reasons) + (f"; and {more} more" if more > 0 else "")


def _json_error(data: bytes) -> str | None:
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
