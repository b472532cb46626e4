"""The base of settings and other values that never change.

Not a frozen dataclass: each of those takes a millisecond of the import to make, and the module that makes them five
more, with what it imports.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import msgspec

__all__ = ["FrozenStruct", "fields_of"]


class FrozenStruct(msgspec.Struct, frozen=True):
    """Fields that are set once. Compared by value, pickled with all of them."""

    _hidden: ClassVar[frozenset[str]] = frozenset()
    """Fields that are not shown: what is secret, long or nobody's business in a log."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self._hidden]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__qualname__}({fields})"


def fields_of(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields of ``struct`` that are not None, under the names they are sent as."""
    values = [(sent_as, getattr(struct, name)) for sent_as, name in _names_of(type(struct))]
    return {name: value for name, value in values if value is not None}


@functools.cache
def _names_of(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
