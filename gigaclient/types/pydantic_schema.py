"""Describe records to pydantic, so that its models, adapters and FastAPI accept them as types.

pydantic calls this. It is not imported here, so that a program without it does not need it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

import msgspec.structs

from gigaclient.errors import ConfigError
from gigaclient.types.coercion import field_types

__all__ = ["record_schema"]

Record: TypeAlias = Any  # types.base.Record or its type; that module imports this one
CoreSchema: TypeAlias = Any

_in_progress: ContextVar[frozenset[str]] = ContextVar("_in_progress", default=frozenset())
"""The types whose fields are being described."""


def record_schema(type_: Record, generate: Callable[[Any], CoreSchema]) -> CoreSchema:
    """Return the core schema of a record type.

    Values are validated and dumped by the record's own methods; the fields serve the JSON Schema.

    Args:
        type_: the record type.
        generate: ``handler.generate_schema`` of pydantic, for the types of the fields.
    """
    core = sys.modules["pydantic_core"]

    def validate(value: Any, _: Any) -> Record:
        try:
            return type_.model_validate(value)
        except ConfigError as error:
            reason = error.message
        raise core.PydanticCustomError("record", "{reason}", {"reason": reason})

    def dump(record: Record, info: Any) -> Any:
        if not isinstance(record, type_):
            return record
        return record.model_dump(
            mode=info.mode,
            include=info.include,
            exclude=info.exclude,
            by_alias=bool(info.by_alias),
            exclude_none=info.exclude_none,
            exclude_defaults=info.exclude_defaults or info.exclude_unset,
        )

    ref = f"{type_.__module__}.{type_.__qualname__}:{id(type_)}"
    outer = _in_progress.get()
    if ref in outer:  # a type that contains itself
        return core.core_schema.definition_reference_schema(ref)
    token = _in_progress.set(outer | {ref})
    try:
        fields = _typed_dict(type_, generate)
    finally:
        _in_progress.reset(token)
    return core.core_schema.no_info_wrap_validator_function(
        validate,
        fields,
        ref=ref,
        serialization=core.core_schema.plain_serializer_function_ser_schema(dump, info_arg=True, return_schema=fields),
    )


def _typed_dict(type_: Record, generate: Callable[[Any], CoreSchema]) -> CoreSchema:
    core_schema, types = sys.modules["pydantic_core"].core_schema, field_types(type_)
    fields = {
        field.encode_name: core_schema.typed_dict_field(generate(types[field.encode_name]), required=field.required)
        for field in msgspec.structs.fields(type_)
    }
    return core_schema.typed_dict_schema(fields, cls=type_, extra_behavior="allow")
