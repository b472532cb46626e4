"""The number of concurrent calls of a run over many prompts. Pure.

The account's limit is found without a burst. One call goes first. Each call that is accepted while ``n`` are running
allows half as many more. After the first 429 the client's own limit is known (:mod:`gigaclient._core.limiter`), and
applies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gigaclient._core.retry import RetryPolicy

__all__ = ["Throttle"]

# The pauses after 429s in a row, when no other call runs.
_PAUSES = RetryPolicy(max_retries=10, backoff_factor=0.5, max_wait=60.0)
# A run may wait longer than a single call.
_MAX_RETRY_AFTER_SECONDS = 600.0


class Throttle:
    """Decides how many calls may run now.

    Args:
        max_running: the upper bound.
        limit: the client's limit; ``inf`` while it is unknown. None if it does not apply to these calls: then
            ``max_running`` may run from the beginning.
    """

    def __init__(self, max_running: int, limit: Callable[[], float] | None) -> None:
        self._max_running = max_running
        self._limit = limit
        self._proven = 0
        self._refusals = 0
        self.resumes_at = -math.inf
        """When the next call may begin, by the clock passed to :meth:`refused`."""

    def allowed(self) -> int:
        """Return how many calls may run; 1 or more."""
        if self._limit is None:
            return self._max_running
        limit = self._limit()
        if limit == math.inf:
            limit = self._proven + self._proven // 2 + 1
        return self._max_running if limit >= self._max_running else max(1, int(limit))

    def accepted(self, rank: int) -> None:
        """Note that the service accepted a call that was one of ``rank`` running calls when it began."""
        if rank > self._proven:
            self._proven = rank

    def succeeded(self, rank: int) -> None:
        """Note that the service answered such a call."""
        self.accepted(rank)
        self._refusals = 0

    def refused(self, now: float, retry_after: float | None, running: int, jitter: float) -> bool:
        """Note a 429; return True if the call should wait and be sent again.

        Args:
            now: the clock, in seconds.
            retry_after: seconds of the response's ``Retry-After``, if there was one.
            running: the number of other running calls.
            jitter: 0 to 1, random.
        """
        self._refusals += 1
        if self._refusals > _PAUSES.max_retries or (retry_after or 0.0) > _MAX_RETRY_AFTER_SECONDS:
            return False
        if retry_after is not None:
            pause = retry_after * (1.0 + jitter / 10)
        elif running == 0 or self._limit is None:
            pause = _PAUSES.backoff(self._refusals - 1, jitter)
        else:
            return True  # the limit is lower now, and another call frees a permit
        self.resumes_at = max(self.resumes_at, now + pause)
        return True
