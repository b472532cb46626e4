"""How many calls a run over many prompts keeps under way, and what it may spend. Pure.

The account's limit is found without a burst: one call goes first, and each that is accepted with so many under way
allows half as many more. Once the service has refused a call, the client's own limit is known
(:mod:`gigaclient.limit`), and holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gigaclient.value import Value

__all__ = ["Budget", "Limits", "Pace"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_LONGEST_ASKED = 600.0
_REFUSALS_IN_A_ROW = 10


class Pace:
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


class Limits(Value, frozen=True, kw_only=True):
    """What a run may spend; None for no limit.

    Attributes:
        max_tokens_total: tokens of prompts and answers together, as the server counts them.
        max_seconds: from the first prompt on.
        max_errors_in_row: failed prompts, one after the other.
    """

    max_tokens_total: int | None = None
    max_seconds: float | None = None
    max_errors_in_row: int | None = None


class Budget:
    """What a run has spent."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens = 0
        self._counted = 0
        self._errors_in_row = 0

    def spend(self, tokens: int | None, failed: bool) -> None:
        """An item is finished."""
        if tokens is not None:
            self._tokens += tokens
            self._counted += 1
        self._errors_in_row = self._errors_in_row + 1 if failed else 0

    def has_room(self, under_way: int, more: int = 1) -> bool:
        """Whether ``more`` items may be asked: they will cost as much as others did, and so will those under way."""
        most = self._limits.max_tokens_total
        if most is None:
            return True
        each = self._tokens / self._counted if self._counted else 0.0
        return self._tokens < most and self._tokens + (under_way + more) * each <= most

    def exhausted(self, under_way: int, more: int = 1) -> str | None:
        """The name of the limit that is reached, if one is, with so many items under way and ``more`` to go next."""
        most_errors = self._limits.max_errors_in_row
        if most_errors is not None and self._errors_in_row >= most_errors:
            return "max_errors_in_row"
        if under_way == 0 and not self.has_room(0, more):
            return "max_tokens_total"
        return None
