"""The scheduler: which task runs next, and when."""

from __future__ import annotations

import math
import queue
import threading
from typing import Any

import pytest
from support.token_tools import Clock, ThreadGroup

from gigaclient import (
    APIConnectionError,
    AuthenticationError,
    ConfigError,
    PaymentRequiredError,
    RateLimitError,
    ServerError,
    TLSError,
    Usage,
)
from gigaclient._primitives.deadline import CancelGroup
from gigaclient.bulk.budget import Budget, Limits
from gigaclient.bulk.scheduler import Scheduler
from gigaclient.bulk.tasks import Item, Task, TaskResult
from gigaclient.bulk.throttle import Throttle
from gigaclient.types import Run, Step
from gigaclient.types.chat import FunctionCall


def task(number: int = 0) -> Task:
    return Task([Item(number, f"prompt {number}", None, b"")])


def scheduler(max_running: int = 4, limit: float = math.inf, clock: Any = None, **limits: Any) -> Scheduler:
    return Scheduler(Throttle(max_running, lambda: limit), Budget(Limits(**limits)), clock or Clock())


def take(subject: Scheduler) -> Task:
    taken = ThreadGroup(1, lambda n: subject.take()).results()[0]
    assert isinstance(taken, Task)
    return taken


def nothing_is_taken(subject: Scheduler) -> bool:
    """Return True if a worker has to wait now. It is released by stopping, so call this last."""
    crowd = ThreadGroup(1, lambda n: subject.take())
    waited = crowd.is_busy_after(0.2)
    subject.stop("closed")
    crowd.results()
    return waited


def good(tokens: int | None = None) -> list[TaskResult]:
    usage = None if tokens is None else Usage(total_tokens=tokens)
    return [TaskResult(answer="yes", attempts=1, usage=usage)]


def bad(error: Exception) -> list[TaskResult]:
    return [TaskResult(error=error, attempts=1)]


def refusal(retry_after: float | None = None) -> RateLimitError:
    return RateLimitError("429: Too many requests", status_code=429, retry_after=retry_after)


# -- order -----


def test_tasks_are_taken_in_the_order_in_which_they_were_offered() -> None:
    subject = scheduler(limit=4)
    tasks = [task(n) for n in range(3)]
    for each in tasks:
        subject.offer(each)
    assert [take(subject) for _ in tasks] == tasks


def test_no_more_tasks_run_than_the_throttle_allows() -> None:
    subject = scheduler(limit=2)
    for n in range(3):
        subject.offer(task(n))
    take(subject)
    take(subject)
    assert nothing_is_taken(subject)


def test_a_finished_task_lets_the_next_one_run_and_comes_out_with_its_position() -> None:
    subject = scheduler(limit=1)
    subject.offer(task(0))
    subject.offer(task(1))
    first = take(subject)
    results = good()
    waiting = ThreadGroup(1, lambda n: subject.take())
    subject.finish(first, results, 17)
    assert waiting.results()[0].items[0].index == 1  # type: ignore[union-attr]
    assert subject.done.get_nowait() == (first, results, 17)


def test_a_worker_waits_for_a_task_and_gets_the_next_one() -> None:
    subject = scheduler()
    waiting = ThreadGroup(1, lambda n: subject.take())
    offered = task()
    subject.offer(offered)
    assert waiting.results() == [offered]


def test_each_success_lets_more_tasks_run() -> None:
    subject = scheduler(max_running=64)
    for n in range(8):
        subject.offer(task(n))
    assert subject.workers_wanted() == 1
    subject.finish(take(subject), good())
    assert subject.workers_wanted() == 2
    both = [take(subject), take(subject)]
    for each in both:
        subject.finish(each, good())
    assert subject.workers_wanted() == 4


@pytest.mark.parametrize(("sent", "wanted"), [(1, 2), (0, 1)])
def test_a_call_that_is_not_refused_for_a_second_is_accepted_if_it_was_sent_at_all(sent: int, wanted: int) -> None:
    clock = Clock()
    subject = scheduler(clock=clock)
    for n in range(5):
        subject.offer(task(n))
    cancel_group = CancelGroup()
    cancel_group.sent = sent
    first = subject.take(cancel_group)
    clock.now += 0.9
    assert subject.workers_wanted() == 1
    clock.now += 0.2
    assert subject.workers_wanted() == wanted
    assert first is not None
    subject.finish(first, bad(ServerError("500", status_code=500)))
    clock.now += 5.0
    assert subject.workers_wanted() == wanted


def test_a_call_that_was_refused_proves_nothing_however_late_one_looks() -> None:
    clock = Clock()
    subject = scheduler(clock=clock)
    subject.offer(task())
    subject.offer(task())
    cancel_group = CancelGroup()
    cancel_group.sent = 1
    refused = subject.take(cancel_group)
    assert refused is not None
    assert subject.requeue_if_refused(refused, bad(refusal()))
    clock.now += 5.0
    assert subject.workers_wanted() == 1


def test_no_more_tasks_are_wanted_than_the_workers_will_soon_need() -> None:
    subject = scheduler(limit=2)
    assert subject.wants_more()
    subject.offer(task(0))
    assert subject.wants_more()
    subject.offer(task(1))
    assert not subject.wants_more()


# -- refused ones -----


def test_a_refused_task_is_the_next_one_to_run() -> None:
    subject = scheduler(limit=2)
    for n in range(3):
        subject.offer(task(n))
    refused, other = take(subject), take(subject)
    assert subject.requeue_if_refused(refused, bad(refusal()))
    assert subject.done.empty()
    assert take(subject) is refused
    subject.finish(other, good())
    assert take(subject).items[0].index == 2


def test_no_task_runs_before_the_retry_after_of_a_429() -> None:
    clock = Clock()
    subject = scheduler(limit=4, clock=clock)
    for n in range(3):
        subject.offer(task(n))
    refused = take(subject)
    take(subject)
    assert subject.requeue_if_refused(refused, bad(refusal(30.0)))
    waiting = ThreadGroup(1, lambda n: subject.take())
    assert waiting.is_busy_after(0.2)
    clock.now += 34.0
    subject.offer(task(3))  # without this, the wait would end by itself within two seconds
    assert waiting.results() == [refused]


def test_repeated_429s_end_the_run() -> None:
    clock = Clock()
    subject = scheduler(clock=clock)
    subject.offer(task(0))
    subject.offer(task(1))
    error = refusal()
    for _ in range(10):
        assert subject.requeue_if_refused(take(subject), bad(error))
        clock.now += 100.0
    last = take(subject)
    assert not subject.requeue_if_refused(last, bad(error))
    subject.finish(last, bad(error))
    assert subject.reason is error
    dropped, finished = subject.done.get_nowait(), subject.done.get_nowait()
    assert (dropped[0].items[0].index, dropped[1]) == (1, None)
    assert finished[0] is last


def test_a_429_after_functions_have_run_does_not_run_them_again() -> None:
    subject = scheduler()
    subject.offer(task())
    error = refusal()
    error.run = Run(None, [], [Step(FunctionCall(name="pay"))])
    assert not subject.requeue_if_refused(take(subject), bad(error))


def test_other_errors_are_results() -> None:
    subject = scheduler()
    subject.offer(task())
    assert not subject.requeue_if_refused(take(subject), bad(ServerError("500", status_code=500)))


# -- the end -----


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("401", status_code=401),
        PaymentRequiredError("402", status_code=402),
        TLSError("not trusted"),
    ],
)
def test_an_error_of_every_prompt_ends_the_run_and_running_tasks_still_count(error: Exception) -> None:
    subject = scheduler(limit=2)
    for n in range(3):
        subject.offer(task(n))
    first, second = take(subject), take(subject)
    subject.finish(first, bad(error))
    assert subject.reason is error
    assert subject.take() is None
    subject.finish(second, good())
    came = [subject.done.get_nowait() for _ in range(3)]
    assert {(done[0].items[0].index, done[1] is None) for done in came} == {(0, False), (1, False), (2, True)}


def test_an_error_of_one_prompt_does_not_end_the_run() -> None:
    subject = scheduler()
    for n, error in enumerate([ConfigError("no"), APIConnectionError("reset"), ServerError("500", status_code=500)]):
        subject.offer(task(n))
        subject.finish(take(subject), bad(error))
        assert subject.reason is None


def test_the_first_reason_is_kept_and_later_tasks_do_not_run() -> None:
    subject = scheduler()
    subject.stop("closed")
    subject.stop("max_seconds")
    late = task()
    subject.offer(late)
    assert subject.reason == "closed"
    assert subject.done.get_nowait() == (late, None, 0)
    assert subject.take() is None
    assert not subject.wants_more()


def test_waiting_workers_are_released_at_the_end() -> None:
    subject = scheduler()
    crowd = ThreadGroup(5, lambda n: subject.take())
    subject.stop("closed")
    assert crowd.results() == [None] * 5


def test_errors_in_a_row_end_the_run() -> None:
    subject = scheduler(max_errors_in_row=2)
    for n in range(3):
        subject.offer(task(n))
    subject.finish(take(subject), bad(ServerError("500", status_code=500)))
    assert subject.reason is None
    subject.finish(take(subject), bad(ServerError("500", status_code=500)))
    assert subject.reason == "max_errors_in_row"


def test_tasks_wait_while_running_ones_may_use_up_the_tokens() -> None:
    subject = scheduler(limit=4, max_tokens_total=350)
    for n in range(4):
        subject.offer(task(n))
    subject.finish(take(subject), good(100))
    held = [take(subject), take(subject)]
    crowd = ThreadGroup(1, lambda n: subject.take())
    assert crowd.is_busy_after(0.2)
    subject.finish(held[0], good(10))  # cheaper than expected
    assert isinstance(crowd.results()[0], Task)


def test_the_last_one_that_fits_ends_the_run() -> None:
    subject = scheduler(max_tokens_total=250)
    for n in range(3):
        subject.offer(task(n))
    subject.finish(take(subject), good(100))
    subject.finish(take(subject), good(100))
    assert subject.reason == "max_tokens_total"


def test_a_refused_task_for_which_no_tokens_are_left_ends_the_run() -> None:
    subject = scheduler(limit=2, max_tokens_total=250)
    subject.offer(task(0))
    subject.offer(task(1))
    refused, other = take(subject), take(subject)
    subject.finish(other, good(200))
    assert subject.reason is None
    assert subject.requeue_if_refused(refused, bad(refusal()))
    assert subject.reason == "max_tokens_total"
    assert [subject.done.get_nowait()[1] is None for _ in range(2)] == [False, True]


def test_a_task_may_be_replaced_by_smaller_ones_which_run_next() -> None:
    subject = scheduler(limit=2)
    whole = Task([Item(n, n, None, b"") for n in range(2)])
    subject.offer(whole)
    subject.offer(task(2))
    assert take(subject) is whole
    assert subject.replace(whole, [task(0), task(1)])
    assert [take(subject).items[0].index for _ in range(2)] == [0, 1]
    subject.stop("closed")
    assert not subject.replace(whole, [task(0)])


# -- threads -----


def test_nothing_is_lost_and_nothing_taken_twice_by_many_workers() -> None:
    subject = Scheduler(Throttle(16, lambda: math.inf), Budget(Limits()))
    taken: queue.SimpleQueue[int] = queue.SimpleQueue()

    def work(n: int) -> None:
        while (each := subject.take()) is not None:
            taken.put(each.items[0].index)
            subject.finish(each, good())

    crowd = ThreadGroup(16, work)
    for n in range(2000):
        subject.offer(task(n))
    finished = {subject.done.get(timeout=10.0)[0].items[0].index for _ in range(2000)}
    subject.stop("closed")
    crowd.results()
    assert finished == set(range(2000))
    assert taken.qsize() == 2000
    assert threading.active_count() < 20
