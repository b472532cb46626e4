"""When a failed try may be repeated, and after how long: one policy, a pure function."""

from __future__ import annotations

import datetime
import email.utils
import math

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import APIConnectionError, APIStatusError, APITimeoutError, GigaClientError, TLSError
from gigaclient.transport.request import RetrySafety

__all__ = ["DEFAULT_STATUS_CODES", "RetryPolicy", "parse_retry_after"]

DEFAULT_STATUS_CODES = (429, 500, 502, 503, 504)

# The server turned the request away without acting on it: even what must not happen twice may be sent again.
_TURNED_AWAY = (429, 503)


class RetryPolicy(FrozenStruct, frozen=True):
    """How often and how fast to try again.

    Attributes:
        max_retries: further tries after the first one; 0 for none.
        backoff_factor: seconds; retry number n (from 0) waits ``backoff_factor * 2**n``, less up to half of it.
        status_codes: the statuses worth another try; an empty one retries no status at all.
        longest_wait: seconds; neither the growing backoff nor a ``Retry-After`` is followed beyond it.
    """

    max_retries: int = 2
    backoff_factor: float = 0.5
    status_codes: tuple[int, ...] = DEFAULT_STATUS_CODES
    longest_wait: float = 60.0

    def delay(
        self,
        attempt: int,
        error: GigaClientError,
        *,
        retry_safety: RetrySafety,
        deadline: float = math.inf,
        jitter: float = 0.0,
    ) -> float | None:
        """Seconds to wait before retry number ``attempt`` (from 0), or None to give the error to the caller.

        Args:
            attempt: how many retries were made already.
            error: what the last try ended with.
            repeat: what sending the call twice would mean.
            patience: seconds that the whole call has left. A wait that does not fit is not begun.
            jitter: 0 to 1, chosen at random by the caller, so that many clients do not come back together.
        """
        if attempt >= self.max_retries or not self._worth_repeating(error, retry_safety):
            return None
        # The exponent is bounded because 2.0**1024 is an OverflowError.
        wait = min(self.backoff_factor * 2.0 ** min(attempt, 64), self.longest_wait) * (1.0 - jitter / 2)
        if isinstance(error, APIStatusError) and error.retry_after is not None:
            if error.retry_after > self.longest_wait:
                return None
            # The jitter goes on top: everybody was told the same number.
            wait = error.retry_after + min(wait, error.retry_after) * jitter / 10
        return wait if wait < deadline else None

    def _worth_repeating(self, error: GigaClientError, retry_safety: RetrySafety) -> bool:
        if isinstance(error, APIStatusError):
            if error.status_code not in self.status_codes:
                return False
            return retry_safety is not RetrySafety.NON_IDEMPOTENT or error.status_code in _TURNED_AWAY
        if isinstance(error, TLSError) or not isinstance(error, APIConnectionError):
            return False  # the same certificate, or the same malformed answer, would come again
        if not error.sent:
            return True
        return retry_safety is RetrySafety.IDEMPOTENT and not isinstance(error, APITimeoutError)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header (RFC 9110, section 10.2.3), or None when it says nothing usable.

    Args:
        value: the header: a number of seconds (a fraction is understood too) or an HTTP date.
        now: Unix time in seconds, against which a date is held; a date that has passed gives 0.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(text)
            if moment.tzinfo is None:  # as after "-0000", or nothing: HTTP dates are in UTC
                moment = moment.replace(tzinfo=datetime.timezone.utc)
            seconds = max(0.0, moment.timestamp() - now)
        except (TypeError, ValueError, OverflowError, IndexError):
            return None
    return seconds if 0.0 <= seconds < math.inf else None
