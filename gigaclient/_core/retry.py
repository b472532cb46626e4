"""The retry policy: whether a failed attempt is repeated, and after how long. A pure function."""

from __future__ import annotations

import datetime
import email.utils
import math

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import APIConnectionError, APIStatusError, APITimeoutError, GigaClientError, TLSError
from gigaclient.transport.request import RetrySafety

__all__ = ["DEFAULT_STATUS_CODES", "RetryPolicy", "parse_retry_after"]

DEFAULT_STATUS_CODES = (429, 500, 502, 503, 504)

# The server rejected the request without processing it, so even a non-idempotent request may be sent again.
_REJECTED = (429, 503)


class RetryPolicy(FrozenStruct, frozen=True):
    """The number of retries and the backoff between them.

    Attributes:
        max_retries: attempts after the first one; 0 for none.
        backoff_factor: seconds; retry number n (from 0) waits ``backoff_factor * 2**n``, less up to half of it.
        status_codes: the statuses that are retried; with an empty tuple, none is.
        max_wait: seconds; the backoff grows no further, and a longer ``Retry-After`` is not retried.
    """

    max_retries: int = 2
    backoff_factor: float = 0.5
    status_codes: tuple[int, ...] = DEFAULT_STATUS_CODES
    max_wait: float = 60.0

    def delay(
        self,
        attempt: int,
        error: GigaClientError,
        *,
        retry_safety: RetrySafety,
        deadline: float = math.inf,
        jitter: float = 0.0,
    ) -> float | None:
        """Return the seconds to wait before retry number ``attempt`` (from 0), or None to raise the error.

        Args:
            attempt: the number of retries already made.
            error: the error of the last attempt.
            retry_safety: what sending the request twice would do.
            deadline: seconds left for the whole call. A wait that does not fit is not begun.
            jitter: 0 to 1, random, so that many clients do not retry at the same moment.
        """
        if attempt >= self.max_retries or not self._is_retryable(error, retry_safety):
            return None
        wait = self.backoff(attempt, jitter)
        if isinstance(error, APIStatusError) and error.retry_after is not None:
            if error.retry_after > self.max_wait:
                return None
            # The jitter is added, never subtracted: all clients got the same Retry-After.
            wait = error.retry_after + min(wait, error.retry_after) * jitter / 10
        return wait if wait < deadline else None

    def backoff(self, attempt: int, jitter: float) -> float:
        """Return the seconds before retry number ``attempt`` (from 0) when there is no ``Retry-After``."""
        # The exponent is bounded because 2.0**1024 is an OverflowError.
        return min(self.backoff_factor * 2.0 ** min(attempt, 64), self.max_wait) * (1.0 - jitter / 2)

    def _is_retryable(self, error: GigaClientError, retry_safety: RetrySafety) -> bool:
        if isinstance(error, APIStatusError):
            if error.status_code not in self.status_codes:
                return False
            return retry_safety is not RetrySafety.NON_IDEMPOTENT or error.status_code in _REJECTED
        if isinstance(error, TLSError) or not isinstance(error, APIConnectionError):
            return False  # the same certificate or the same malformed response would come again
        if not error.sent:
            return error.retryable
        return retry_safety is RetrySafety.IDEMPOTENT and not isinstance(error, APITimeoutError)


# A year. More is no delay that anyone meant, and a float of 300 digits does no good in a header or in a message.
_MAX_RETRY_AFTER_SECONDS = 366 * 86_400.0


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a ``Retry-After`` header (RFC 9110, section 10.2.3), or None if it is unusable.

    Args:
        value: the header: a number of seconds (fractions are accepted) or an HTTP date.
        now: Unix time in seconds, subtracted from a date; a date in the past gives 0. More than a year is a year.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(text)
            if moment.tzinfo is None:  # the date ends in "-0000" or has no zone: HTTP dates are in UTC
                moment = moment.replace(tzinfo=datetime.timezone.utc)
            seconds = max(0.0, moment.timestamp() - now)
        except (TypeError, ValueError, OverflowError, IndexError):
            return None
    return min(seconds, _MAX_RETRY_AFTER_SECONDS) if 0.0 <= seconds < math.inf else None
