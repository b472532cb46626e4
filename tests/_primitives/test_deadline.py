"""Tests that every wait has a limit and can be cancelled from another thread."""

from __future__ import annotations

import gc
import math
import threading
import time

import pytest
from support.token_tools import LONG, Clock, ThreadGroup

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded, Latch, Timeouts


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_deadline(clock: Clock, **timeouts: float) -> Deadline:
    return Deadline(Timeouts(**timeouts), clock)


# -- limits, with a fake clock ----------------------


@pytest.mark.parametrize(
    ("timeouts", "phase", "passed", "left"),
    [
        ({"read": 5.0}, math.inf, 0.0, 5.0),
        ({"read": 5.0}, 3.0, 0.0, 3.0),
        ({"read": 5.0}, 8.0, 4.0, 4.0),
        ({"read": 5.0, "deadline": 2.0}, 3.0, 0.0, 2.0),
        ({"read": 5.0, "deadline": 20.0}, math.inf, 16.0, 4.0),
        ({"read": math.inf}, math.inf, 10.0**6, math.inf),
    ],
)
def test_a_read_may_last_until_the_nearest_limit(
    clock: Clock, timeouts: dict[str, float], phase: float, passed: float, left: float
) -> None:
    deadline = make_deadline(clock, **timeouts)
    deadline.begin("read", phase)
    clock.now += passed
    assert deadline.remaining() == pytest.approx(left)
    assert deadline.expired is None


@pytest.mark.parametrize(
    ("timeouts", "timeout_kind", "passed", "expected"),
    [
        ({"read": 5.0}, "read", 5.0, "read"),
        ({"read": 5.0, "event": 7.0}, "event", 7.0, "event"),
        ({"read": 5.0, "deadline": 4.0}, "read", 4.0, "deadline"),
        ({"read": 5.0, "deadline": 5.0}, "read", 5.0, "deadline"),
        ({"read": 5.0, "deadline": 5.004}, "read", 5.0, "read"),
        ({"read": 5.0, "deadline": 5.1}, "read", 5.0, "read"),
    ],
)
def test_the_expired_timeout_is_reported_and_recorded(
    clock: Clock, timeouts: dict[str, float], timeout_kind: str, passed: float, expected: str
) -> None:
    deadline = make_deadline(clock, **timeouts)
    deadline.begin(timeout_kind, getattr(deadline.timeouts, timeout_kind))
    clock.now += passed
    with pytest.raises(DeadlineExceeded) as caught:
        deadline.remaining()
    assert caught.value.timeout_kind == deadline.expired == expected
    assert isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize(
    ("timeouts", "timeout_kind", "expected"),
    [
        ({"read": 120.0, "deadline": 4.0}, "read", "deadline"),
        ({"read": 120.0, "event": 4.0}, "event", "event"),
        ({"read": 4.0, "event": 16.0, "deadline": 30.0}, "event", "read"),
        ({"read": 4.0, "deadline": 4.01}, "read", "read"),
    ],
)
def test_the_named_timeout_is_right_when_the_clock_lags_by_16_ms(
    clock: Clock, timeouts: dict[str, float], timeout_kind: str, expected: str
) -> None:
    deadline = make_deadline(clock, **timeouts)
    deadline.begin(timeout_kind, getattr(deadline.timeouts, timeout_kind))
    assert deadline.remaining() == 4.0
    clock.now += 4.0 - 0.0156  # the system has waited for 4 s
    assert deadline.exceeded().timeout_kind == deadline.expired == expected


def test_the_first_expired_timeout_is_recorded(clock: Clock) -> None:
    deadline = make_deadline(clock, read=5.0, deadline=8.0)
    deadline.exceeded("connect")
    clock.now += 8.0
    assert deadline.exceeded().timeout_kind == "deadline"
    assert deadline.expired == "connect"


def test_connecting_is_bounded_by_its_own_timeout_and_the_deadline(clock: Clock) -> None:
    deadline = make_deadline(clock, connect=3.0, deadline=10.0)
    began = clock.now
    clock.now += 1.0
    assert deadline.connect_remaining(began) == pytest.approx(2.0)
    clock.now += 2.0
    with pytest.raises(DeadlineExceeded, match="connect"):
        deadline.connect_remaining(began)
    clock.now += 6.5
    assert deadline.connect_remaining(clock.now) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("read", "event", "expected"), [(5.0, None, 20.0), (5.0, 7.0, 7.0), (math.inf, None, math.inf)]
)
def test_an_event_may_take_four_read_timeouts_unless_said_otherwise(
    read: float, event: float | None, expected: float
) -> None:
    assert Timeouts(read=read, event=event).event == expected


def test_a_cancelled_call_waits_for_nothing_any_more(clock: Clock) -> None:
    deadline = make_deadline(clock)
    deadline.cancel()
    deadline.cancel()
    for wait in (
        deadline.remaining,
        lambda: deadline.connect_remaining(clock.now),
        lambda: deadline.wait(Latch()),
        lambda: deadline.pause(5.0),
    ):
        with pytest.raises(Cancelled):
            wait()


def test_a_wait_that_begins_after_the_cancel_ends_at_once(clock: Clock) -> None:
    woken = []
    deadline = make_deadline(clock)
    deadline.cancel()
    deadline.on_cancel(lambda: woken.append(True))
    assert woken == [True]


# -- waiting, in real time -----


def test_a_wait_ends_when_the_latch_is_opened_by_another_thread() -> None:
    latch, deadline = Latch(), Deadline(Timeouts())
    crowd = ThreadGroup(1, lambda n: deadline.wait(latch, LONG))
    latch.open()
    latch.open()
    assert crowd.results(5.0) == [True]
    assert deadline.wait(latch, LONG) is True, "once open, always open"


def test_a_wait_ends_after_its_time_or_at_the_deadline_whichever_is_first() -> None:
    began = time.monotonic()
    assert Deadline(Timeouts(deadline=LONG)).wait(Latch(), 0.1) is False
    assert 0.1 <= time.monotonic() - began < 10.0
    deadline = Deadline(Timeouts(deadline=0.1))
    with pytest.raises(DeadlineExceeded, match="deadline"):
        deadline.wait(Latch(), LONG)
    assert deadline.expired == "deadline"
    assert 0.2 <= time.monotonic() - began < 15.0


def test_a_passed_deadline_raises_without_waiting(clock: Clock) -> None:
    deadline = make_deadline(clock, deadline=1.0)
    clock.now += 2.0
    with pytest.raises(DeadlineExceeded, match="deadline"):
        deadline.pause(5.0)


@pytest.mark.parametrize("early", [0.001, 0.3])
def test_a_wait_that_the_system_ends_too_early_goes_on(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, early: float
) -> None:
    waits: list[float] = []

    def hasty(latch: Latch, seconds: float = math.inf) -> bool:
        waits.append(seconds)
        clock.now += seconds - early if len(waits) == 1 else seconds
        return False

    monkeypatch.setattr(Latch, "wait", hasty)
    with pytest.raises(DeadlineExceeded, match="deadline"):
        make_deadline(clock, deadline=4.0).wait(Latch())
    assert waits == pytest.approx([4.0, early])


def test_cancel_ends_a_pause_in_another_thread_at_once() -> None:
    deadline = Deadline(Timeouts())
    crowd = ThreadGroup(1, lambda n: deadline.pause(LONG))
    time.sleep(0.05)
    deadline.cancel()
    assert isinstance(crowd.results(5.0)[0], Cancelled)


def test_a_latch_is_opened_without_a_lock_that_the_waiting_thread_could_be_holding() -> None:
    # A finaliser may open the latch in the very thread that waits, between two steps of the wait. So opening must need
    # no lock that this thread may hold. A latch is one lock, held while it is closed; opening releases it.
    latch = Latch()
    assert [type(getattr(latch, name)) for name in Latch.__slots__] == [type(threading.Lock())]
    interrupted: list[bool] = []

    class Dropped:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            latch.open()
            interrupted.append(True)

    Dropped()
    gc.collect()
    assert interrupted == [True]
    assert latch.wait(0.0) is True


def test_a_latch_waits_without_a_bound_when_it_has_none_that_the_system_could_keep() -> None:
    latch = Latch()
    for seconds in (math.inf, threading.TIMEOUT_MAX * 2, 10.0**300):
        crowd = ThreadGroup(1, lambda n, seconds=seconds: latch.wait(seconds))
        latch.open()
        assert crowd.results(5.0) == [True]
