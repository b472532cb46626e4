"""Results of functions as JSON objects. Pure."""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import math
import numbers
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, MappingView, Sequence, Set
from typing import Any

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS, SerializationError, encode
from gigaclient._primitives.struct import fields_of
from gigaclient._primitives.surrogates import well_formed
from gigaclient.errors import ConfigError

__all__ = ["result_text", "to_jsonable"]


def result_text(value: Any, name: str = "the function") -> str:
    """Encode a result as the text of a JSON object, which the API requires.

    Mappings, Structs, dataclasses, attrs objects, pydantic models, objects with ``to_dict`` (pandas), and strings that
    contain a JSON object are objects already. Anything else becomes ``{"result": …}``. Arrays of numpy are lists, bytes
    are base64, NaN is null, and a type without a form in JSON is its ``str()``.

    Raises:
        ConfigError: the value holds itself, is nested too deep, or its ``str()`` fails.
    """
    label = f"the result of {name}"
    encoder = _ResultEncoder()
    text = _encode(encoder, value, label)
    if encoder.not_finite:
        warnings.warn(f"{label} has NaN or an infinite number: the model gets null", UserWarning, stacklevel=2)
    return text


def to_jsonable(value: Any) -> Any:
    """Convert a value of any type to the plain types of JSON, as :func:`result_text` does."""
    return _ResultEncoder().convert(value)


def _encode(encoder: _ResultEncoder, value: Any, label: str) -> str:
    try:
        jsonable = encoder.convert(value)
        if isinstance(jsonable, str) and _is_json_object(jsonable):
            return jsonable
        return encode(jsonable if isinstance(jsonable, dict) else {"result": jsonable}, label).decode()
    except RecursionError:
        reason = f"{label} is nested too deep, or holds itself"
    except SerializationError as error:
        reason = str(error)
    except Exception as error:  # of the caller's own classes
        reason = f"{label} cannot be written as JSON ({type(error).__name__}: {error})"
    raise ConfigError(f"{reason}; return another value, or convert it with on_result=")


def _is_json_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        msgspec.json.decode(text)
    except JSON_ERRORS:
        return False
    return True


class _ResultEncoder:
    """Convert a value to the plain types of JSON.

    Attributes:
        not_finite: True once a number without a form in JSON became null.
    """

    def __init__(self) -> None:
        self.not_finite = False

    def convert(self, value: Any) -> Any:
        """Return ``value`` as dicts, lists, strings, numbers, booleans and None."""
        if value is None or isinstance(value, bool):
            return value
        for types, convert in _CONVERSIONS:
            if isinstance(value, types):
                return convert(self, value)
        if type(value).__name__ == "NAType":  # pandas.NA
            return self._number(math.nan)
        if not isinstance(value, type):
            fields = _fields(value)
            if fields is not None:
                return self._mapping(fields)
            for name, options in _METHODS:
                # Looked up on the class, because mocks and proxies have every attribute.
                method = getattr(type(value), name, None)
                if callable(method):
                    try:
                        converted = method(value, **options)
                    except (TypeError, ValueError):  # it needs arguments, or cannot do it for this value
                        continue
                    return self.convert(converted)
        return well_formed(str(value))

    def _number(self, value: float) -> float | None:
        if math.isfinite(value):
            return float(value)
        self.not_finite = True
        return None

    def _decimal(self, value: decimal.Decimal) -> Any:
        if not value.is_finite():
            return self._number(math.nan)
        # A number if it stays exact, and its text otherwise.
        return float(value) if decimal.Decimal(repr(float(value))) == value else str(value)

    def _date(self, value: Any) -> Any:
        if type(value) in (datetime.date, datetime.datetime):
            return msgspec.to_builtins(value)
        # Timestamp of pandas; its NaT is not equal to itself.
        return value.isoformat() if value == value else self._number(math.nan)

    def _mapping(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        return {self._key(name): self.convert(inner) for name, inner in value.items()}

    def _key(self, name: Any) -> str:
        converted = self.convert(name)
        if isinstance(converted, str):
            return converted
        if converted is None or isinstance(converted, (bool, int, float)):
            return msgspec.json.encode(converted).decode()
        return well_formed(str(name))

    def _items(self, value: Any) -> list[Any]:
        return [self.convert(inner) for inner in value]

    def _set(self, value: Set[Any]) -> list[Any]:
        comparable = (int, float, str)
        return sorted(
            self._items(value),
            key=lambda inner: (str(type(inner)), inner if isinstance(inner, comparable) else str(inner)),
        )


_Convert = Callable[[_ResultEncoder, Any], Any]

# In this order: an enum may also be a string or a number, and a string is a sequence.
_CONVERSIONS: tuple[tuple[Any, _Convert], ...] = (
    (enum.Enum, lambda encoder, value: encoder.convert(value.value)),
    (str, lambda encoder, value: well_formed(str.__str__(value))),
    (numbers.Integral, lambda encoder, value: int(value)),
    (numbers.Real, _ResultEncoder._number),
    (decimal.Decimal, _ResultEncoder._decimal),
    (datetime.date, _ResultEncoder._date),
    ((datetime.time, datetime.timedelta, uuid.UUID), lambda encoder, value: msgspec.to_builtins(value)),
    (os.PathLike, lambda encoder, value: well_formed(os.fsdecode(value))),
    ((bytes, bytearray, memoryview), lambda encoder, value: base64.b64encode(value).decode()),
    (Mapping, _ResultEncoder._mapping),
    ((Sequence, MappingView, Iterator), _ResultEncoder._items),
    (Set, _ResultEncoder._set),
)

# pydantic, whose mode="json" applies the serializers for JSON and refuses values that JSON cannot hold; pandas; numpy,
# also its scalars; polars and others.
_METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model_dump", {"mode": "json"}),
    ("model_dump", {}),
    ("to_dict", {}),
    ("tolist", {}),
    ("to_list", {}),
)


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a Struct, a dataclass or an attrs object; None for anything else."""
    if isinstance(value, msgspec.Struct):
        return fields_of(value)
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: getattr(value, name) for name in type(value).__dataclass_fields__}
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}
    return None
