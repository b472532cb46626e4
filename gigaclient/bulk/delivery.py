"""Finished results on their way to the caller, in the order of the prompts or as they finish."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["UNSAVED", "Delivery", "DeliveryQueue"]

UNSAVED = -1
"""The position of a result that could not be written to the checkpoint."""


class Delivery(NamedTuple):
    """A result to deliver, with its position in the checkpoint; None for an item that was not sent."""

    result: Any
    position: int


class DeliveryQueue:
    """Results that are finished and not delivered. For one thread.

    Args:
        ordered: deliver in the order of the prompts.
        sync: called with the position of a result before it is delivered.
    """

    def __init__(self, *, ordered: bool, sync: Callable[[int], None]) -> None:
        self._ordered = ordered
        self._sync = sync
        self._unsaved: list[Any] = []
        self._finished: deque[Delivery] = deque()
        self._waiting: dict[int, Delivery] = {}  # finished before an earlier item
        self._next_index = 0

    def __len__(self) -> int:
        return len(self._finished) + len(self._waiting)

    def add(self, index: int, result: Any, position: int) -> None:
        """Add the result of item ``index``. One that is not in the checkpoint is not delivered."""
        if position == UNSAVED:
            self._unsaved.append(result)
            self.skip(index)
        elif self._ordered:
            self._waiting[index] = Delivery(result, position)
        else:
            self._finished.append(Delivery(result, position))

    def skip(self, index: int) -> None:
        """Note that item ``index`` has no result."""
        if self._ordered:
            self._waiting[index] = Delivery(None, 0)

    def pop(self) -> Delivery | None:
        """Return the next result; None if none can be delivered yet.

        Raises:
            OSError: it could not be synced. It stays in the queue.
        """
        while self._ordered and self._next_index in self._waiting:
            delivery = self._waiting[self._next_index]
            self._sync(delivery.position)
            del self._waiting[self._next_index]
            self._next_index += 1
            if delivery.result is not None:
                return delivery
        if not self._finished:
            return None
        self._sync(self._finished[0].position)
        return self._finished.popleft()

    def rest(self) -> list[Any]:
        """Return the results that were not delivered."""
        waiting = (self._waiting[index] for index in sorted(self._waiting))
        deliveries = (*waiting, *self._finished)
        return [*self._unsaved, *(delivery.result for delivery in deliveries if delivery.result is not None)]
