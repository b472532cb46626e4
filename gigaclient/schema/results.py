"""Results of functions as JSON objects. Pure."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS, SerializationError, encode
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError

__all__ = ["result_text"]


def result_text(value: Any, name: str = "the function") -> str:
    """Encode a result as the text of a JSON object, which the API requires.

    Mappings, Structs, dataclasses, attrs objects, pydantic models and strings that contain a JSON object are objects
    already. Anything else becomes ``{"result": …}``. Dates, times and UUIDs are encoded as strings, sets as lists.

    Raises:
        ConfigError: the value cannot be encoded as JSON; the message names the path.
    """
    label = f"the result of {name}"
    try:
        jsonable = _to_jsonable(value)
    except RecursionError:
        raise ConfigError(f"{label} is nested too deep, or holds itself") from None
    if isinstance(jsonable, str) and _is_json_object(jsonable):
        return jsonable
    try:
        return encode(jsonable if isinstance(jsonable, Mapping) else {"result": jsonable}, label).decode()
    except SerializationError as error:
        reason = str(error)
    raise ConfigError(reason)


def _is_json_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        msgspec.json.decode(text)
    except JSON_ERRORS:
        return False
    return True


def _to_jsonable(value: Any) -> Any:
    """Convert ``value`` to the types that :func:`~gigaclient._primitives.serialization.encode` supports."""
    if isinstance(value, msgspec.Struct):
        return {name: _to_jsonable(inner) for name, inner in fields_of(value).items()}
    if not isinstance(value, type):
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return dump(mode="json")
        if hasattr(type(value), "__dataclass_fields__"):
            return {name: _to_jsonable(getattr(value, name)) for name in type(value).__dataclass_fields__}
        if hasattr(type(value), "__attrs_attrs__"):
            return {field.name: _to_jsonable(getattr(value, field.name)) for field in type(value).__attrs_attrs__}
    if isinstance(value, Mapping):
        return {name: _to_jsonable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_jsonable(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_to_jsonable(inner) for inner in value), key=lambda inner: (str(type(inner)), str(inner)))
    if isinstance(value, _TYPES_AS_TEXT):
        return msgspec.to_builtins(value)
    return value


_TYPES_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, uuid.UUID)
