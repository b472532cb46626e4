"""What goes into one request where many things are asked for: so many, and so many bytes, at the most. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Parts"]

T = TypeVar("T")


class Parts(Generic[T]):
    """Gathers things into parts. A single one that is too large for a part has one of its own.

    Args:
        most: things in a part at the most.
        most_bytes: bytes in a part at the most.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self._part: list[T] = []
        self._bytes = 0

    def add(self, thing: T, size: int) -> Iterator[list[T]]:
        """Put in ``thing``, of ``size`` bytes; the parts that are complete now."""
        if self._bytes + size > self.most_bytes:
            yield from self.rest()
        self._part.append(thing)
        self._bytes += size
        if len(self._part) >= self.most:
            yield from self.rest()

    def rest(self) -> Iterator[list[T]]:
        """The part that is not complete, if there is one."""
        part, self._part, self._bytes = self._part, [], 0
        if part:
            yield part
