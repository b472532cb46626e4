"""Schemas and decoders of pydantic models. pydantic itself is never imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgspec

from gigaclient.errors import ConfigError
from gigaclient.schema.descriptions import type_name
from gigaclient.schema.validation import validated

__all__ = ["from_adapter", "from_model", "is_model", "is_pydantic_dataclass", "model_schema", "nested_types"]


def is_model(type_: Any) -> bool:
    """Return True for a class with the methods of a pydantic model."""
    return (
        isinstance(type_, type)
        and not issubclass(type_, msgspec.Struct)
        and callable(getattr(type_, "model_json_schema", None))
        and callable(getattr(type_, "model_validate_json", None))
    )


def is_pydantic_dataclass(type_: Any) -> bool:
    """Return True for a pydantic dataclass."""
    return isinstance(type_, type) and hasattr(type_, "__pydantic_validator__") and not is_model(type_)


def nested_types(type_: Any) -> Iterator[Any]:
    """Yield a type and all types inside it."""
    yield type_
    for part in get_args(type_):
        yield from nested_types(part)


def from_model(type_: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    """Return the schema and the decoder of a pydantic model."""
    return model_schema(type_), lambda data: validated(lambda: type_.model_validate_json(data))


def model_schema(type_: Any) -> dict[str, Any]:
    """Return the schema of a pydantic model."""
    schema: dict[str, Any] = _call_pydantic(type_, type_.model_json_schema)
    return schema


def from_adapter(type_: Any) -> tuple[dict[str, Any], Callable[[bytes], Any]]:
    """Return the schema and the decoder of a type that holds pydantic models or dataclasses."""
    adapter = _call_pydantic(type_, lambda: sys.modules["pydantic"].TypeAdapter(type_))
    schema = _call_pydantic(type_, adapter.json_schema)
    return schema, lambda data: validated(lambda: adapter.validate_json(data))


def _call_pydantic(type_: Any, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:  # classes of pydantic, which is not imported here
        reason = str(error).split("\n", 1)[0]
    raise ConfigError(f"{type_name(type_)} cannot be described: {reason}")
