"""Strict JSON, with the path of what cannot be written."""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gigaclient._primitives.struct import fields_of

__all__ = ["JSON_ERRORS", "SerializationError", "encode", "is_dataclass"]

# What msgspec raises for bytes that are not the JSON they should be: its own errors, UnicodeDecodeError for text that
# is not UTF-8, and RecursionError for JSON nested too deep.
JSON_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


class SerializationError(ValueError):
    """The value cannot be written as JSON. The message names the path of the fault and says what to do."""


_encoder = msgspec.json.Encoder()


def encode(body: Any, place: str = "") -> bytes:
    """The request as JSON; ``place`` is what a message calls ``body`` itself.

    Raises:
        SerializationError: it cannot be written as JSON; the message says what to change, and where.
    """
    try:
        return _encoder.encode(_plain(body, place))
    except SerializationError:
        raise
    except UnicodeEncodeError:
        reason = "a text holds half of a surrogate pair, which is no character: repair where it was decoded"
    except RecursionError:
        reason = "it is nested too deep, or holds itself"
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        reason = f"it cannot be written as JSON: {error}"
    raise SerializationError(f"the request cannot be sent: {reason}")


# What JSON has as it is: by far the most of what people send, and no look at abstract classes is needed to tell.
_ATOMS = frozenset({str, int, bool, type(None)})


def _plain(value: Any, place: str) -> Any:
    """``value`` as JSON has it, or a SerializationError that names the place.

    msgspec alone would write NaN as null, bytes as base64 and a set in any order, all without a word.
    """
    kind = value.__class__
    if kind in _ATOMS:
        return value
    if kind is list:
        return [
            inner if inner.__class__ in _ATOMS else _plain(inner, f"{place}[{index}]")
            for index, inner in enumerate(value)
        ]
    if kind is dict:
        return _plain_mapping(value, place)
    if isinstance(value, msgspec.Struct):
        return {name: _plain(inner, f"{place}.{name}") for name, inner in fields_of(value).items()}
    if isinstance(value, enum.Enum):
        return _plain(value.value, place)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) or _is(value, "numbers", "Integral"):
        return int(value)
    if isinstance(value, float) or _is(value, "numbers", "Real") or _is(value, "decimal", "Decimal"):
        number = float(value)
        if not math.isfinite(number):
            raise SerializationError(f"{place} must be a finite number")
        return number
    if isinstance(value, Mapping):
        return _plain_mapping(value, place)
    if is_dataclass(value):
        import dataclasses

        names = [field.name for field in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name), f"{place}.{name}") for name in names}
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise SerializationError(f"{place} is bytes: decode it to a string first")
    if isinstance(value, Sequence):
        return [_plain(inner, f"{place}[{index}]") for index, inner in enumerate(value)]
    raise SerializationError(f"{place} cannot be written as JSON: it is of type {type(value).__name__}")


def _plain_mapping(value: Mapping[Any, Any], place: str) -> dict[str, Any]:
    within = f"{place}." if place else ""
    return {
        name if name.__class__ is str else _key(name, place): (
            inner if inner.__class__ in _ATOMS else _plain(inner, f"{within}{name}")
        )
        for name, inner in value.items()
    }


def _is(value: Any, module: str, name: str) -> bool:
    # Nothing is of a class whose module nobody has imported, and importing it here would cost those who need it not.
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


def is_dataclass(value: Any) -> bool:
    return hasattr(type(value), "__dataclass_fields__")


def _key(name: Any, place: str) -> str:
    if isinstance(name, str):
        return str.__str__(name)
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    raise SerializationError(f"{place or 'the request'} has a field whose name is not a string: {type(name).__name__}")
