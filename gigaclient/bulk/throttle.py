"""How many calls a run over many prompts keeps under way, and what it may spend. Pure.

The account's limit is found without a burst: one call goes first, and each that is accepted with so many under way
allows half as many more. Once the service has refused a call, the client's own limit is known
(:mod:`gigaclient._core.limiter`), and holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["Throttle"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_LONGEST_ASKED = 600.0
_REFUSALS_IN_A_ROW = 10


class Throttle:
    """How many calls may be under way now.

    Args:
        most: never more than this many.
        limit: the client's limit; ``inf`` while none is known. None where it says nothing of these calls: then so many
            as ``most`` go from the beginning.
    """

    def __init__(self, most: int, limit: Callable[[], float] | None) -> None:
        self._most = most
        self._limit = limit
        self._proven = 0
        self._refusals = 0
        self.resumes_at = -math.inf
        """When the next call may begin, by the clock that :meth:`refused` was told."""

    def allowed(self) -> int:
        """How many calls may be under way; 1 or more."""
        if self._limit is None:
            return self._most
        limit = self._limit()
        if limit == math.inf:
            limit = self._proven + self._proven // 2 + 1
        return self._most if limit >= self._most else max(1, int(limit))

    def accepted(self, rank: int) -> None:
        """The service did not refuse a call that was one of ``rank`` under way when it began."""
        if rank > self._proven:
            self._proven = rank

    def succeeded(self, rank: int) -> None:
        """The service answered such a call."""
        self.accepted(rank)
        self._refusals = 0

    def refused(self, now: float, retry_after: float | None, under_way: int, jitter: float) -> bool:
        """The service said 429 to a call; whether it makes sense to wait and ask again.

        Args:
            now: the clock, in seconds.
            retry_after: seconds that the service asked for, if it did.
            under_way: how many other calls are.
            jitter: 0 to 1, chosen at random.
        """
        self._refusals += 1
        if self._refusals > _REFUSALS_IN_A_ROW or (retry_after or 0.0) > _LONGEST_ASKED:
            return False
        if retry_after is not None:
            pause = retry_after * (1.0 + jitter / 10)
        elif under_way == 0 or self._limit is None:
            pause = min(_FIRST_PAUSE * 2.0 ** (self._refusals - 1), _LONGEST_PAUSE) * (1.0 - jitter / 2)
        else:
            return True  # the limit is lower now, and one of the others makes room
        self.resumes_at = max(self.resumes_at, now + pause)
        return True
