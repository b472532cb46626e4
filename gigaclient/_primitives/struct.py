"""The base class of settings and other immutable values.

Frozen dataclasses would slow the import down: each class takes a millisecond, and importing ``dataclasses`` five more.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import msgspec

__all__ = ["FrozenStruct", "fields_of"]


class FrozenStruct(msgspec.Struct, frozen=True):
    """An immutable struct, compared by value and pickled with all fields."""

    _hidden: ClassVar[frozenset[str]] = frozenset()
    """Fields left out of ``repr`` because they are secret or long."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self._hidden]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__qualname__}({fields})"


def fields_of(struct: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of ``struct`` that are not None, under their JSON names. A record's unknown fields too."""
    values = [(json_name, getattr(struct, name)) for json_name, name in _field_names(type(struct))]
    fields = {name: value for name, value in values if value is not None}
    unknown = getattr(struct, "_given", None)
    return {**unknown, **fields} if unknown else fields


@functools.cache
def _field_names(type_: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(type_.__struct_encode_fields__, type_.__struct_fields__, strict=True))
