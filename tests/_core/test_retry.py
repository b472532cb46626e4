"""The retry policy: whether and when an attempt is repeated, on both sides of every boundary."""

from __future__ import annotations

import email.utils
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient._core.retry import DEFAULT_STATUS_CODES, RetryPolicy, parse_retry_after
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    GigaClientError,
    InvalidResponseError,
    StreamInterruptedError,
    TLSError,
)
from gigaclient.transport.request import RetrySafety

POLICY = RetryPolicy(max_retries=3, backoff_factor=0.5, max_wait=60.0)
EVERY = tuple(RetrySafety)
NOW = 1_790_000_000.0


def status(code: int, retry_after: float | None = None) -> APIStatusError:
    return APIStatusError.class_for(code)("no", status_code=code, retry_after=retry_after)


def test_by_default_two_retries_for_what_may_pass() -> None:
    assert RetryPolicy().max_retries == 2
    assert RetryPolicy().status_codes == DEFAULT_STATUS_CODES == (429, 500, 502, 503, 504)
    assert RetryPolicy().max_wait == 60.0


@pytest.mark.parametrize(
    ("max_retries", "attempt", "repeated"), [(0, 0, False), (1, 0, True), (1, 1, False), (3, 2, True), (3, 3, False)]
)
def test_there_are_as_many_retries_as_allowed(max_retries: int, attempt: int, repeated: bool) -> None:
    policy = RetryPolicy(max_retries=max_retries)
    assert (policy.delay(attempt, status(503), retry_safety=RetrySafety.IDEMPOTENT) is not None) is repeated


@pytest.mark.parametrize(
    ("attempt", "jitter", "seconds"),
    [(0, 0.0, 0.5), (1, 0.0, 1.0), (2, 0.0, 2.0), (0, 1.0, 0.25), (1, 1.0, 0.5), (2, 0.5, 1.5)],
)
def test_the_wait_doubles_less_up_to_half_of_it(attempt: int, jitter: float, seconds: float) -> None:
    assert POLICY.delay(attempt, status(503), retry_safety=RetrySafety.BILLABLE, jitter=jitter) == seconds


@pytest.mark.parametrize("attempt", [7, 100, 1023, 1024, 10**6])
def test_the_wait_grows_no_further_than_the_longest(attempt: int) -> None:
    policy = RetryPolicy(max_retries=10**7)
    assert policy.delay(attempt, status(503), retry_safety=RetrySafety.BILLABLE) == 60.0


def test_without_a_backoff_there_is_no_wait() -> None:
    assert RetryPolicy(backoff_factor=0.0).delay(0, status(503), retry_safety=RetrySafety.BILLABLE, jitter=0.7) == 0.0


@pytest.mark.parametrize(
    ("code", "repeated"),
    [
        (400, False),
        (401, False),
        (402, False),
        (403, False),
        (404, False),
        (408, False),
        (413, False),
        (422, False),
        (429, True),
        (500, True),
        (501, False),
        (502, True),
        (503, True),
        (504, True),
        (505, False),
        (599, False),
        (302, False),
    ],
)
def test_the_default_statuses_are_repeated_and_no_others(code: int, repeated: bool) -> None:
    for retry_safety in (RetrySafety.IDEMPOTENT, RetrySafety.BILLABLE):
        assert (POLICY.delay(0, status(code), retry_safety=retry_safety) is not None) is repeated


@pytest.mark.parametrize(
    ("codes", "code", "repeated"),
    [
        ((), 429, False),
        ((), 503, False),
        ((418,), 418, True),
        ((418,), 503, False),
        ((408, 429), 429, True),
    ],
)
def test_the_users_list_of_statuses_is_the_whole_list(codes: tuple[int, ...], code: int, repeated: bool) -> None:
    policy = RetryPolicy(status_codes=codes)
    assert (policy.delay(0, status(code), retry_safety=RetrySafety.IDEMPOTENT) is not None) is repeated


def test_an_empty_list_still_retries_requests_that_were_not_sent() -> None:
    policy = RetryPolicy(status_codes=())
    assert policy.delay(0, APIConnectionError("refused", sent=False), retry_safety=RetrySafety.BILLABLE) is not None


REFUSED = APIConnectionError("refused", sent=False)
BROKEN = APIConnectionError("reset", sent=True)

KINDS: list[tuple[GigaClientError, dict[RetrySafety, bool]]] = [
    (status(429), dict.fromkeys(EVERY, True)),
    (status(503), dict.fromkeys(EVERY, True)),
    (status(500), {RetrySafety.IDEMPOTENT: True, RetrySafety.BILLABLE: True, RetrySafety.NON_IDEMPOTENT: False}),
    (status(502), {RetrySafety.IDEMPOTENT: True, RetrySafety.BILLABLE: True, RetrySafety.NON_IDEMPOTENT: False}),
    (status(504), {RetrySafety.IDEMPOTENT: True, RetrySafety.BILLABLE: True, RetrySafety.NON_IDEMPOTENT: False}),
    (REFUSED, dict.fromkeys(EVERY, True)),
    (BROKEN, {RetrySafety.IDEMPOTENT: True, RetrySafety.BILLABLE: False, RetrySafety.NON_IDEMPOTENT: False}),
    (APITimeoutError("no connection", timeout_kind="connect", sent=False), dict.fromkeys(EVERY, True)),
    (APITimeoutError("no answer", timeout_kind="read", sent=True), dict.fromkeys(EVERY, False)),
    (TLSError("not trusted"), dict.fromkeys(EVERY, False)),
    (InvalidResponseError("a page"), dict.fromkeys(EVERY, False)),
    (ConfigError("wrong"), dict.fromkeys(EVERY, False)),
    (StreamInterruptedError("cut"), dict.fromkeys(EVERY, False)),
    (GigaClientError("?"), dict.fromkeys(EVERY, False)),
]


@pytest.mark.parametrize(
    ("error", "expected"), KINDS, ids=lambda value: repr(value) if isinstance(value, Exception) else ""
)
def test_which_errors_are_retried_depends_on_retry_safety(
    error: GigaClientError, expected: dict[RetrySafety, bool]
) -> None:
    assert {
        retry_safety: POLICY.delay(0, error, retry_safety=retry_safety) is not None for retry_safety in EVERY
    } == expected


@pytest.mark.parametrize(
    ("retry_after", "jitter", "seconds"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (3.0, 0.0, 3.0),
        (3.0, 1.0, 3.025),
        (60.0, 0.0, 60.0),
        (60.1, 0.0, None),
        (1e9, 0.0, None),
    ],
)
def test_retry_after_is_used_up_to_the_maximum_wait(retry_after: float, jitter: float, seconds: float | None) -> None:
    assert POLICY.delay(0, status(429, retry_after), retry_safety=RetrySafety.BILLABLE, jitter=jitter) == seconds


@given(retry_after=st.floats(0, 60), jitter=st.floats(0, 1), attempt=st.integers(0, 2))
def test_no_retry_comes_before_retry_after(retry_after: float, jitter: float, attempt: int) -> None:
    delay = POLICY.delay(attempt, status(429, retry_after), retry_safety=RetrySafety.BILLABLE, jitter=jitter)
    assert delay is not None
    assert retry_after <= delay <= retry_after * 1.1


@pytest.mark.parametrize(
    ("error", "deadline", "repeated"),
    [
        (status(503), math.inf, True),
        (status(503), 0.51, True),
        (status(503), 0.5, False),
        (status(503), 0.0, False),
        (status(503), -1.0, False),
        (status(429, 10.0), 10.1, True),
        (status(429, 10.0), 10.0, False),
        (REFUSED, 0.4, False),
    ],
)
def test_a_wait_that_does_not_fit_the_deadline_is_not_begun(
    error: GigaClientError, deadline: float, repeated: bool
) -> None:
    assert (POLICY.delay(0, error, retry_safety=RetrySafety.IDEMPOTENT, deadline=deadline) is not None) is repeated


@given(
    attempt=st.integers(0, 10**6),
    jitter=st.floats(0, 1),
    backoff=st.floats(0, 1e6),
    retry_after=st.none() | st.floats(0, 1e12),
    deadline=st.floats(0, 1e6) | st.just(math.inf),
)
def test_a_delay_is_never_negative_nor_longer_than_allowed(
    attempt: int, jitter: float, backoff: float, retry_after: float | None, deadline: float
) -> None:
    policy = RetryPolicy(max_retries=10**7, backoff_factor=backoff)
    delay = policy.delay(
        attempt, status(503, retry_after), retry_safety=RetrySafety.BILLABLE, jitter=jitter, deadline=deadline
    )
    assert delay is None or (0 <= delay <= 66 and delay < deadline)


# -- Retry-After -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0.5", 0.5),
        ("-1", None),
        ("-0.001", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e400", None),
        ("1e308", 366 * 86_400.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 366 * 86_400.0),
        ("soon", None),
        ("7 seconds", None),
        ("7, 8", None),
        (email.utils.formatdate(NOW + 90, usegmt=True), 90.0),
        (email.utils.formatdate(NOW - 90, usegmt=True), 0.0),
        (email.utils.formatdate(NOW, usegmt=True), 0.0),
        (email.utils.formatdate(NOW + 90).replace("-0000", "+0000"), 90.0),
        (email.utils.formatdate(NOW + 90), 90.0),  # "-0000" means an unknown zone; HTTP dates are in UTC
        ("Mon, 21 Sep 2026 14:54:50", 1_790_002_490.0 - NOW),
        ("Thu, 32 Foo 2026 99:99:99 GMT", None),
        ("Mon, 21 Sep 99999 14:54:50 GMT", None),
        ("2026-09-21T14:54:50Z", None),
    ],
)
def test_retry_after_is_a_number_a_date_or_nothing(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process can be set on POSIX alone")
def test_a_date_without_a_zone_is_in_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert parse_retry_after(email.utils.formatdate(NOW + 90), NOW) == 90.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text())
def test_no_retry_after_raises(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds < math.inf
