"""Group items into requests, limited by number and bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Batcher"]

T = TypeVar("T")


class Batcher(Generic[T]):
    """Collects items into groups. An item larger than the byte limit gets a group with no other item.

    Args:
        max_items: the maximum number of items in a group.
        max_bytes: the maximum number of bytes in a group.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self.max_items = max_items
        self.max_bytes = max_bytes
        self._group: list[T] = []
        self._size = 0

    def add(self, item: T, size: int) -> Iterator[list[T]]:
        """Add an item of ``size`` bytes; yield the groups that are complete now."""
        if self._size + size > self.max_bytes:
            yield from self.rest()
        self._group.append(item)
        self._size += size
        if len(self._group) >= self.max_items:
            yield from self.rest()

    def rest(self) -> Iterator[list[T]]:
        """Yield the incomplete group, if there is one."""
        group, self._group, self._size = self._group, [], 0
        if group:
            yield group
