"""A sleeping worker is woken for a task only if no running worker takes it anyway."""

from __future__ import annotations

import math
import time

import pytest
from support.token_tools import ThreadGroup

from gigaclient import RateLimitError
from gigaclient._primitives.deadline import CancelGroup, Latch
from gigaclient.bulk import scheduler as scheduler_module
from gigaclient.bulk.budget import Budget, Limits
from gigaclient.bulk.scheduler import Scheduler
from gigaclient.bulk.tasks import Item, Task, TaskResult
from gigaclient.bulk.throttle import Throttle


@pytest.fixture(autouse=True)
def no_periodic_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sleepers depend on being woken: their periodic check would hide a missing wake-up."""
    monkeypatch.setattr(scheduler_module, "_POLL_SECONDS", 600.0)


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


def sleeping_workers(subject: Scheduler, workers: int) -> ThreadGroup:
    """Start so many workers, and wait until they sleep."""
    crowd = ThreadGroup(workers, lambda n: subject.take(CancelGroup()))
    ends_at = time.monotonic() + 10.0
    while len(subject._waiting) < workers:
        assert time.monotonic() < ends_at
        time.sleep(0.005)
    return crowd


def test_each_of_many_sleeping_workers_gets_one_task() -> None:
    subject = scheduler(limit=8)
    waiting = sleeping_workers(subject, 8)
    for number in range(8):
        subject.offer(task(number))
    assert numbers(waiting.results()) == [*range(8)]


def test_a_finished_task_wakes_a_worker_unless_the_finishing_one_takes_the_next() -> None:
    subject = scheduler(limit=1)
    subject.worker_takes_next = True
    subject.offer(task(0))
    first = taken_now(subject)
    waiting = sleeping_workers(subject, 1)
    subject.offer(task(1))
    subject.finish(first, [TaskResult(answer="yes", attempts=1)])
    assert waiting.is_busy_after(0.2)
    second = taken_now(subject)
    assert second.items[0].index == 1
    subject.worker_takes_next = False
    subject.offer(task(2))
    subject.finish(second, [TaskResult(answer="yes", attempts=1)])
    assert numbers(waiting.results()) == [2]


def test_workers_are_woken_for_tasks_that_the_finishing_worker_does_not_take() -> None:
    limits = [1.0]
    subject = Scheduler(Throttle(64, lambda: limits[0]), Budget(Limits()))
    subject.worker_takes_next = True
    for number in range(4):
        subject.offer(task(number))
    first = taken_now(subject)
    waiting = sleeping_workers(subject, 2)
    limits[0] = 3.0
    subject.finish(first, [TaskResult(answer="yes", attempts=1)])
    assert numbers(waiting.results()) == [1, 2]
    assert taken_now(subject).items[0].index == 3


def test_after_a_pause_all_sleeping_workers_get_tasks_and_none_is_lost() -> None:
    subject = scheduler(limit=4)
    refused = task(0)
    subject.offer(refused)
    assert taken_now(subject) is refused
    waiting = sleeping_workers(subject, 3)
    error = RateLimitError("429: Too many requests", status_code=429, retry_after=0.5)
    assert subject.requeue_if_refused(refused, [TaskResult(error=error, attempts=1)])
    for number in range(1, 4):
        subject.offer(task(number))
    last = taken_now(subject)
    assert numbers([last, *waiting.results()]) == [0, 1, 2, 3]


def test_a_worker_that_an_interrupt_kept_asleep_finds_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(latch: Latch) -> None:
        raise KeyboardInterrupt

    subject = scheduler(limit=math.inf)
    monkeypatch.setattr(scheduler_module, "_POLL_SECONDS", 0.2)
    waiting = sleeping_workers(subject, 1)
    with monkeypatch.context() as patched:
        patched.setattr(Latch, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            subject.offer(task(0))
    assert numbers(waiting.results()) == [0]


def test_all_sleeping_workers_end_when_no_more_tasks_run() -> None:
    subject = scheduler(limit=8)
    waiting = sleeping_workers(subject, 8)
    subject.stop("closed")
    assert waiting.results() == [None] * 8
