"""Structured output: make a JSON Schema from a type, and read values of the type from JSON. Pure.

A type is a dataclass, a ``TypedDict``, a ``msgspec.Struct``, an attrs class, a pydantic model or dataclass (if pydantic
is installed), or a type composed of those: ``list[Person]``, ``Literal["yes", "no"]``, an ``Enum``, ``int``. A dict is
used as a JSON Schema; then the value is the decoded JSON.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/structured-output
"""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, get_origin

import msgspec
from msgspec import inspect as nodes

from gigaclient._primitives.decoding import decoder, new_decoder
from gigaclient._primitives.surrogates import well_formed
from gigaclient.errors import ConfigError
from gigaclient.schema.descriptions import type_name, unresolved_name
from gigaclient.schema.generator import ADVICE, SchemaGenerator
from gigaclient.schema.normalize import SchemaNormalizer, is_object_schema
from gigaclient.schema.pydantic_models import from_adapter, from_model, is_model, is_pydantic_dataclass, nested_types
from gigaclient.schema.unions import UnionOf, read_member, with_unions
from gigaclient.schema.validation import (
    ValidationFailed,
    is_pydantic_error,
    json_error,
    pydantic_reason,
    validated,
)  # fmt: skip
from gigaclient.types import ResponseFormat

__all__ = ["TypeSchema", "schema_of", "type_schema_of"]

T = TypeVar("T")


def schema_of(type_: Any) -> dict[str, Any]:
    """Return the JSON Schema of ``type_`` in the form that GigaChat accepts.

    The schema of a pydantic model is that of its ``model_json_schema()``, unchanged. In those of other types, ``$ref``
    occurs only for recursive types, and each object has ``required`` and ``additionalProperties: false``. Descriptions
    come from docstrings and from ``Annotated``. The root is an object. A type that is not an object (a list, an enum, a
    number) becomes the property ``value`` of one; :func:`parse_completion` unwraps it.

    Args:
        type_: the type; or a dict, which is a JSON Schema already and is returned unchanged.

    Raises:
        ConfigError: the type has no JSON Schema; the message says what to do.
    """
    return copy.deepcopy(type_schema_of(type_).schema)


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
        encoded = well_formed(data).encode() if isinstance(data, str) else data
        reason = json_error(encoded)
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
    schema, read = _schema_and_reader(type_)
    if strict and is_model(type_) and is_object_schema(schema):
        return TypeSchema(schema, read)  # unchanged, as the official SDK sends it
    schema = SchemaNormalizer(schema, strict).root()
    if is_object_schema(schema):
        return TypeSchema(schema, read)
    if not schema or schema.keys() <= {"description", "title"}:
        raise ConfigError(f"{type_name(type_)} says nothing about the value: {ADVICE}")
    definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
    wrapper = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    closed = {"additionalProperties": False} if strict else {}
    return TypeSchema({**wrapper, **closed, **definitions}, read, wrapped=True)


def _schema_and_reader(type_: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    if is_model(type_):
        return from_model(type_)
    if "pydantic" in sys.modules and any(is_model(part) or is_pydantic_dataclass(part) for part in nested_types(type_)):
        # pydantic does not know Structs and attrs classes.
        with contextlib.suppress(ConfigError):
            return from_adapter(type_)
    return _from_msgspec(type_)


def _schema_from_dict(schema_or_format: Any) -> dict[str, Any]:
    is_format = isinstance(schema_or_format, ResponseFormat)
    schema = schema_or_format.schema if is_format else dict(schema_or_format)
    if isinstance(schema_or_format, Mapping) and schema_or_format.get("type") == "json_schema":
        # A complete response format: of this API, or with the schema nested as in OpenAI's.
        nested = schema_or_format.get("json_schema")
        schema = schema_or_format.get("schema") or (nested.get("schema") if isinstance(nested, Mapping) else None)
    if not schema:
        raise ConfigError("the schema is empty: pass a JSON Schema such as {'type': 'object', 'properties': {…}}")
    return dict(schema)


def _check_type(type_: Any) -> None:
    if isinstance(type_, (str, bytes)):
        raise ConfigError(f"a type is needed, not its name or a text: {ADVICE}")
    if isinstance(type_, type):
        if not is_model(type_) and hasattr(type_, "parse_raw") and hasattr(type_, "__fields__"):
            raise ConfigError(f"{type_name(type_)} is a model of pydantic 1: pydantic 2 is needed, or {ADVICE}")
        return
    if get_origin(type_) is not None or type_ is Any:
        return
    if hasattr(type(type_), "__annotations__") and not hasattr(type_, "__supertype__"):
        raise ConfigError(f"the class itself is needed, not an object of it: pass {type(type_).__name__}")


@functools.lru_cache(maxsize=256)
def _reader_of(type_: Any) -> Callable[[bytes], Any]:
    return _schema_and_reader(type_)[1]


def _fields_of(type_: Any) -> Any:
    try:
        return type_schema_of(type_, strict=False).schema.get("properties", ())
    except ConfigError:  # it has no schema of its own, like Any
        return ()


class _Wrapped(msgspec.Struct):
    value: msgspec.Raw


def _unwrapped(data: bytes) -> bytes:
    try:
        return bytes(decoder(_Wrapped).decode(data).value)
    except msgspec.ValidationError:
        return data  # the value without its wrapper; it is validated next


def _from_msgspec(type_: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    reason = None
    schema: dict[str, Any] = {}
    try:
        decodable = with_unions(type_)
        schema = SchemaGenerator().root(nodes.type_info(decodable))
        strict = new_decoder(decodable, dec_hook=_convert)
        lax = new_decoder(decodable, strict=False, dec_hook=_convert)
    except NameError as error:
        reason = unresolved_name(error)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = _in_our_words(error)
    if reason is not None:
        raise ConfigError(f"{type_name(type_)} cannot be described: {reason}; {ADVICE}")

    def read(data: bytes) -> Any:
        try:
            return strict.decode(data)
        except Exception:
            return validated(lambda: lax.decode(data))

    return schema, read


def _in_our_words(error: Exception) -> str:
    """Return the reason why msgspec cannot decode a type, without its words for types."""
    reason = " ".join(str(error).split())
    if reason.startswith("Type unions"):
        return "a field of a class in it is a union of several classes: give the field one class, or a pydantic model"
    return reason.partition(" - type ")[0]


def _convert(type_: Any, value: Any) -> Any:
    """Decode a pydantic model or a union inside another type; a ``dec_hook`` of msgspec."""
    if isinstance(type_, type) and issubclass(type_, UnionOf):
        return read_member(type_, value, _reader_of, _fields_of)
    if not is_model(type_):
        raise NotImplementedError
    try:
        return type_.model_validate(value)
    except Exception as error:
        if not is_pydantic_error(error):
            raise
        reason = pydantic_reason(error)
    raise ValueError(reason)
