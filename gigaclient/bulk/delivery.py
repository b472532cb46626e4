"""Finished results on their way to the caller, in the order of the prompts or as they finish."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

__all__ = ["Delivery", "DeliveryQueue"]


class Delivery(NamedTuple):
    """A result to deliver, with its position in the checkpoint; None for an item that was not sent."""

    result: Any
    position: int


class DeliveryQueue:
    """Results that are finished and not delivered. For one thread.

    Args:
        ordered: deliver in the order of the prompts.
    """

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self._finished: deque[Delivery] = deque()
        self._waiting: dict[int, Delivery] = {}  # finished before an earlier item
        self._next_index = 0

    def __len__(self) -> int:
        return len(self._finished) + len(self._waiting)

    def add(self, index: int, result: Any, position: int) -> None:
        """Add the result of item ``index``."""
        if self._ordered:
            self._waiting[index] = Delivery(result, position)
        else:
            self._finished.append(Delivery(result, position))

    def skip(self, index: int) -> None:
        """Note that item ``index`` has no result."""
        if self._ordered:
            self._waiting[index] = Delivery(None, 0)

    def pop(self) -> Delivery | None:
        """Return the next result; None if none can be delivered yet."""
        while self._ordered and self._next_index in self._waiting:
            delivery = self._waiting.pop(self._next_index)
            self._next_index += 1
            if delivery.result is not None:
                return delivery
        return self._finished.popleft() if self._finished else None
