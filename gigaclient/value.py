"""The base of settings and other values that never change.

Not a frozen dataclass: each of those takes a millisecond of the import to make, and the module that makes them five
more, with what it imports.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

__all__ = ["Value"]


class Value(msgspec.Struct, frozen=True):
    """Fields that are set once. Compared by value, pickled with all of them."""

    _hidden: ClassVar[frozenset[str]] = frozenset()
    """Fields that are not shown: what is secret, long or nobody's business in a log."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self._hidden]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__qualname__}({fields})"
