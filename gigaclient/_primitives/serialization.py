"""Strict JSON encoding, with errors that name the path of the invalid value."""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gigaclient._primitives.struct import fields_of
from gigaclient._primitives.surrogates import convert_texts, joined_pairs

__all__ = ["JSON_ERRORS", "SerializationError", "decode_or_none", "encode", "is_dataclass", "pydantic_fields"]

# What msgspec raises for invalid JSON: its own errors, in older versions UnicodeDecodeError for text that is not UTF-8,
# and RecursionError for JSON nested too deep.
JSON_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


def decode_or_none(data: bytes) -> Any:
    """Decode JSON; return None if it is invalid."""
    try:
        return msgspec.json.decode(data)
    except JSON_ERRORS:
        return None


def reason_of_invalid_json(data: bytes) -> str:
    """Return why ``data``, which msgspec refused, is no JSON: ``"not UTF-8"`` or ``"not JSON"``.

    The classes and messages of msgspec's errors differ from version to version.
    """
    try:
        data.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    return "not JSON"


class SerializationError(ValueError):
    """The value cannot be written as JSON. The message names the path of the invalid value and says what to do."""


_encoder = msgspec.json.Encoder()


def encode(body: Any, path: str = "") -> bytes:
    """Encode ``body`` as JSON. Error messages begin paths with ``path``.

    Raises:
        SerializationError: it cannot be written as JSON; the message says what to change, and where.
    """
    try:
        jsonable = _to_jsonable(body, path)
        try:
            return _encoder.encode(jsonable)
        except UnicodeEncodeError:
            return _encoder.encode(convert_texts(jsonable, joined_pairs))
    except SerializationError:
        raise
    except UnicodeError:
        reason = "a text holds half of a surrogate pair, which is not a character: fix the code that decoded it"
    except RecursionError:
        reason = "it is nested too deep, or holds itself"
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        reason = f"it cannot be written as JSON: {error}"
    raise SerializationError(f"the request cannot be sent: {reason}")


# Types that need no conversion. Most values have one of them, and this test is faster than those of abstract classes.
_ATOMS = frozenset({str, int, bool, type(None)})


def _to_jsonable(value: Any, path: str) -> Any:
    """Convert ``value`` to plain JSON types, or raise a SerializationError that names the path.

    msgspec alone would silently write NaN as null, bytes as base64 and a set in any order.
    """
    type_ = value.__class__
    if type_ in _ATOMS:
        return value
    if type_ is list:
        return [
            inner if inner.__class__ in _ATOMS else _to_jsonable(inner, f"{path}[{index}]")
            for index, inner in enumerate(value)
        ]
    if type_ is dict:
        return _mapping_to_jsonable(value, path)
    return _object_to_jsonable(value, path)


def _object_to_jsonable(value: Any, path: str) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _to_jsonable(inner, f"{path}.{name}") for name, inner in fields_of(value).items()}
    if isinstance(value, enum.Enum):
        return _to_jsonable(value.value, path)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) or _is_instance(value, "numbers", "Integral"):
        return int(value)
    if isinstance(value, float) or _is_instance(value, "numbers", "Real") or _is_instance(value, "decimal", "Decimal"):
        return _finite(float(value), path)
    if isinstance(value, Mapping):
        return _mapping_to_jsonable(value, path)
    if is_dataclass(value):
        import dataclasses

        names = [field.name for field in dataclasses.fields(value)]
        return {name: _to_jsonable(getattr(value, name), f"{path}.{name}") for name in names}
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise SerializationError(f"{path} is bytes: decode it to a string first")
    if isinstance(value, Sequence):
        return [_to_jsonable(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
    return _pydantic_to_jsonable(value, path)


def _pydantic_to_jsonable(value: Any, path: str) -> Any:
    fields = pydantic_fields(value)
    if fields is value:
        raise SerializationError(f"{path} cannot be written as JSON: it is of type {type(value).__name__}")
    return _to_jsonable(fields, path)


def _finite(number: float, path: str) -> float:
    if not math.isfinite(number):
        raise SerializationError(f"{path} must be a finite number")
    return number


def _mapping_to_jsonable(value: Mapping[Any, Any], path: str) -> dict[str, Any]:
    prefix = f"{path}." if path else ""
    return {
        name if name.__class__ is str else _key_to_str(name, path): (
            inner if inner.__class__ in _ATOMS else _to_jsonable(inner, f"{prefix}{name}")
        )
        for name, inner in value.items()
    }


def _is_instance(value: Any, module: str, name: str) -> bool:
    # If the module was never imported, no value has this class; importing it here would only slow the import down.
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


def is_dataclass(value: Any) -> bool:
    """Return True for an instance of a dataclass, without importing ``dataclasses``."""
    return hasattr(type(value), "__dataclass_fields__")


def pydantic_fields(value: Any) -> Any:
    """Return the fields of a pydantic object under their JSON names, as a dict; return anything else unchanged.

    pydantic is not imported. Fields that are None are left out, as the official SDK does when it sends its types.
    """
    type_ = type(value)
    if not hasattr(type_, "__pydantic_validator__") or not hasattr(type_, "model_dump"):
        return value
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def _key_to_str(name: Any, path: str) -> str:
    if isinstance(name, str):
        return str.__str__(name)
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    raise SerializationError(f"{path or 'the request'} has a field whose name is not a string: {type(name).__name__}")
