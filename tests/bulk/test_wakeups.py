"""Who is woken for a unit: a worker that sleeps, and only if nobody comes for it anyway."""

from __future__ import annotations

import math
import time

import pytest
from support.token_tools import Crowd

from gigaclient import RateLimitError
from gigaclient._primitives.deadline import CancelGroup, Latch
from gigaclient.bulk import scheduler as dispatch
from gigaclient.bulk.budget import Budget, Limits
from gigaclient.bulk.scheduler import Scheduler
from gigaclient.bulk.tasks import Item, Task, TaskResult
from gigaclient.bulk.throttle import Throttle


@pytest.fixture(autouse=True)
def nobody_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sleeps has to be woken: looking for itself now and then would hide that nobody did it."""
    monkeypatch.setattr(dispatch, "_LOOK_AGAIN_SECONDS", 600.0)


def task(number: int) -> Task:
    return Task([Item(number, f"prompt {number}", None, b"")])


def scheduler(limit: float) -> Scheduler:
    return Scheduler(Throttle(64, lambda: limit), Budget(Limits()))


def taken_now(subject: Scheduler) -> Task:
    taken = subject.take()
    assert taken is not None
    return taken


def numbers(tasks: list[Task | None]) -> list[int]:
    return sorted(each.items[0].index for each in tasks if each is not None)


def asleep(subject: Scheduler, workers: int) -> Crowd:
    """So many workers, once they wait."""
    crowd = Crowd(workers, lambda n: subject.take(CancelGroup()))
    ends_at = time.monotonic() + 10.0
    while len(subject._sleepers) < workers:
        assert time.monotonic() < ends_at
        time.sleep(0.005)
    return crowd


def test_each_of_many_sleepers_gets_a_unit_of_its_own() -> None:
    subject = scheduler(limit=8)
    waiting = asleep(subject, 8)
    for number in range(8):
        subject.offer(task(number))
    assert numbers(waiting.results()) == [*range(8)]


def test_a_sleeper_is_woken_for_what_is_finished_unless_that_worker_comes_back() -> None:
    subject = scheduler(limit=1)
    subject.comes_back = True
    subject.offer(task(0))
    first = taken_now(subject)
    waiting = asleep(subject, 1)
    subject.offer(task(1))
    subject.finish(first, [TaskResult(answer="yes", attempts=1)])
    assert waiting.is_busy_after(0.2)
    second = taken_now(subject)
    assert second.items[0].index == 1
    subject.comes_back = False
    subject.offer(task(2))
    subject.finish(second, [TaskResult(answer="yes", attempts=1)])
    assert numbers(waiting.results()) == [2]


def test_beside_the_worker_that_comes_back_sleepers_are_woken_for_what_else_may_go() -> None:
    limits = [1.0]
    subject = Scheduler(Throttle(64, lambda: limits[0]), Budget(Limits()))
    subject.comes_back = True
    for number in range(4):
        subject.offer(task(number))
    first = taken_now(subject)
    waiting = asleep(subject, 2)
    limits[0] = 3.0
    subject.finish(first, [TaskResult(answer="yes", attempts=1)])
    assert numbers(waiting.results()) == [1, 2]
    assert taken_now(subject).items[0].index == 3


def test_when_a_pause_is_over_those_who_slept_before_it_get_their_units_too_and_none_is_lost() -> None:
    subject = scheduler(limit=4)
    refused = task(0)
    subject.offer(refused)
    assert taken_now(subject) is refused
    waiting = asleep(subject, 3)
    error = RateLimitError("429: Too many requests", status_code=429, retry_after=0.5)
    assert subject.is_put_off(refused, [TaskResult(error=error, attempts=1)])
    for number in range(1, 4):
        subject.offer(task(number))
    last = taken_now(subject)
    assert numbers([last, *waiting.results()]) == [0, 1, 2, 3]


def test_a_sleeper_that_an_interrupt_kept_from_being_woken_looks_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(latch: Latch) -> None:
        raise KeyboardInterrupt

    subject = scheduler(limit=math.inf)
    monkeypatch.setattr(dispatch, "_LOOK_AGAIN_SECONDS", 0.2)
    waiting = asleep(subject, 1)
    with monkeypatch.context() as patched:
        patched.setattr(Latch, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            subject.offer(task(0))
    assert numbers(waiting.results()) == [0]


def test_all_sleepers_end_when_nothing_is_asked_any_more() -> None:
    subject = scheduler(limit=8)
    waiting = asleep(subject, 8)
    subject.stop("closed")
    assert waiting.results() == [None] * 8
