"""The scheduler: decides which task runs next and when. The threads of a run meet only here.

The iterating thread offers tasks. Workers take them, run them and report the results. A task that met a 429 returns to
the front of the queue. Finished and dropped tasks come out of :attr:`Scheduler.done`.
"""

from __future__ import annotations

import contextlib
import math
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from gigaclient._primitives.deadline import CancelGroup, Latch
from gigaclient.bulk.budget import Budget
from gigaclient.bulk.tasks import Task, TaskResult, error_of_all, used
from gigaclient.bulk.throttle import Throttle
from gigaclient.errors import AuthenticationError, GigaClientError, PaymentRequiredError, RateLimitError, TLSError

__all__ = ["Finished", "Scheduler"]

_POLL_SECONDS = 2.0
# A 429 comes quickly. A call that has waited longer is being answered.
_ACCEPTED_AFTER_SECONDS = 1.0

# A wrong key, account or TLS setting is wrong for every prompt.
_FATAL_ERRORS = (AuthenticationError, PaymentRequiredError, TLSError)

Finished = tuple[Task, "Sequence[TaskResult] | None", int]
"""A task, a result for each of its items (None: they were not sent), and their position in the checkpoint."""


class Scheduler:
    """The queue of ready tasks and the running ones.

    Args:
        throttle: limits the number of running tasks.
        budget: limits their cost.
        clock: seconds, increasing.
        fatal_errors: errors of the job that every further task would meet; see :meth:`stop_on_fatal_error`.

    Attributes:
        done: finished tasks, and tasks that will not run any more.
        worker_takes_next: the worker that reports a task then takes the next one, so no other worker is woken for it.
    """

    worker_takes_next = False

    def __init__(
        self,
        throttle: Throttle,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
        *,
        fatal_errors: tuple[type[GigaClientError], ...] = (),
    ) -> None:
        self._throttle = throttle
        self._budget = budget
        self._clock = clock
        self._fatal_errors = fatal_errors
        # Guards the fields below; held for a few assignments. Reentrant, because a signal handler may end the run while
        # its own thread holds it. So `stop` may empty the queue between any two steps of the other methods.
        self._lock = threading.RLock()
        self._waiting: list[_WaitingWorker] = []
        self._ready: deque[Task] = deque()
        self._running = 0
        self._running_items = 0
        # Running tasks that may still get a 429: when each was taken, its rank, and its cancel group.
        self._unconfirmed: dict[int, tuple[float, int, CancelGroup]] = {}
        self._reason: str | BaseException | None = None
        self.done: queue.SimpleQueue[Finished] = queue.SimpleQueue()

    # -- for the thread that iterates the results --------------------------------------------------------------------

    def offer(self, task: Task) -> None:
        """Queue ``task``."""
        dropped: Sequence[Task] = (task,)
        with self._lock:
            if self._reason is None:
                self._ready.append(task)
                dropped = self._wake_workers() if self._waiting else ()
        self._report_dropped(dropped)

    def wants_more(self) -> bool:
        """Return True if the workers would soon run out of tasks."""
        return self._reason is None and len(self._ready) < self._throttle.allowed()

    def is_idle(self) -> bool:
        """Return True if no task is ready or running."""
        with self._lock:
            return not self._ready and self._running == 0

    def count_unsent(self, task_result: TaskResult) -> None:
        """Count the result of an item that could not be sent."""
        with self._lock:
            self._budget.spend(None, task_result.error is not None)
            limit = self._limit_reached()
            dropped = self._stop(limit) if limit is not None else ()
        self._report_dropped(dropped)

    def stop(self, reason: str | BaseException) -> None:
        """Run no further task; the first reason is kept. Running tasks are not touched."""
        with self._lock:
            dropped = self._stop(reason)
        self._report_dropped(dropped)

    @property
    def reason(self) -> str | BaseException | None:
        """The reason why no more tasks run: the name of a limit, or an error; None while they do."""
        return self._reason

    # -- for workers -------------------------------------------------------------------------------------------------

    def workers_wanted(self) -> int:
        """Return how many workers would have a task now."""
        with self._lock:
            self._confirm_accepted()
        return min(self._throttle.allowed(), self._running + len(self._ready))

    def take(self, cancel_group: CancelGroup | None = None) -> Task | None:
        """Wait for the next task that may run and return it; None when no more tasks run.

        ``cancel_group`` shows if a request was sent for the task: a sent call without a 429 for a while counts as
        accepted.
        """
        with self._lock:
            task = self._next(cancel_group)
        return task if task is not None else self._wait(_WaitingWorker(cancel_group))

    def _wait(self, worker: _WaitingWorker) -> Task | None:
        dropped: Sequence[Task] = ()
        pause = math.inf
        while True:
            with self._lock:
                task = worker.task or self._next(worker.cancel_group)
                if task is None and self._ready and (limit := self._limit_reached()) is not None:
                    dropped = self._stop(limit)  # a task with more items than the budget allows
                if task is not None or self._reason is not None:
                    if worker in self._waiting:
                        self._waiting.remove(worker)
                    if pause < math.inf and task is not None:
                        dropped = self._wake_workers()  # the pause is over for the others as well
                    break
                if worker not in self._waiting:
                    self._waiting.append(worker)
                pause = self._seconds_until_next()
            # Bounded: the limit changes without notice, and an interrupt may prevent the latch from being opened.
            worker.latch.wait(min(pause, _POLL_SECONDS))
        self._report_dropped(dropped)
        return task

    def requeue_if_refused(self, task: Task, results: Sequence[TaskResult]) -> bool:
        """Queue ``task`` again after a 429; return True if that was done. Then nothing is finished."""
        error = _rate_limit_error_in(results)
        if error is None:
            return False
        dropped: Sequence[Task] = ()
        with self._lock:
            others = self._running - 1
            may_retry = self._throttle.refused(self._clock(), error.retry_after, others, random.random())
            requeued = may_retry and self._reason is None
            if requeued:
                dropped = self._requeue(task, [task])
            elif not may_retry:
                dropped = self._stop(error)
        self._report_dropped(dropped)
        return requeued

    def replace(self, task: Task, others: Sequence[Task]) -> bool:
        """Queue ``others`` instead of ``task``; False when no more tasks run."""
        with self._lock:
            if self._reason is not None:
                return False
            dropped = self._requeue(task, others)
        self._report_dropped(dropped)
        return True

    def stop_on_fatal_error(self, results: Sequence[TaskResult]) -> bool:
        """Stop the run if the whole task failed with a fatal error of the job; return True if so.

        The run raises the error once, instead of giving it to each item.
        """
        error = error_of_all(results)
        if not isinstance(error, self._fatal_errors):
            return False
        self.stop(error)
        return True

    def finish(self, task: Task, results: Sequence[TaskResult] | None, position: int = 0) -> None:
        """Finish ``task`` with its results; None if it was abandoned."""
        dropped: Sequence[Task] = ()
        with self._lock:
            self._remove_running(task)
            if results is not None:
                if any(task_result.attempts and task_result.error is None for task_result in results):
                    self._throttle.succeeded(task.rank)
                for task_result in results:
                    self._budget.spend(used(task_result.usage), task_result.error is not None)
            reason = _fatal_error_in(results or ())
            dropped = self._wake_workers(self.worker_takes_next) if reason is None else self._stop(reason)
        self.done.put((task, results, position))
        self._report_dropped(dropped)

    # -- internals ---------------------------------------------------------------------------------------------------

    def _next(self, cancel_group: CancelGroup | None) -> Task | None:
        """Take the task that may run now; None if there is none."""
        if self._reason is not None:
            return None
        self._confirm_accepted()
        if self._seconds_until_next() > 0.0:
            return None
        try:
            task = self._ready.popleft()
        except IndexError:
            return None
        self._running += 1
        self._running_items += len(task.items)
        task.rank = self._running
        now = self._clock()
        task.started_at = task.started_at or now
        if cancel_group is not None:
            self._unconfirmed[id(task)] = (now, task.rank, cancel_group)
        return task

    def _wake_workers(self, coming: int = 0) -> Sequence[Task]:
        """Wake a worker for each task that may run now, except for ``coming`` workers that take one themselves.

        Each worker is woken with its task: one that had to look for itself would often be too late. Returns the tasks
        that will not run, because a limit is reached.
        """
        reason = self._limit_reached()
        if reason is not None:
            return self._stop(reason)
        while self._waiting and min(len(self._ready), self._throttle.allowed() - self._running) > coming:
            worker = self._waiting[-1]  # the last one to sleep has the warmest caches
            worker.task = self._next(worker.cancel_group)
            if worker.task is None:
                break
            del self._waiting[-1]
            worker.latch.open()
        return ()

    def _remove_running(self, task: Task) -> None:
        self._running -= 1
        self._running_items -= len(task.items)
        self._unconfirmed.pop(id(task), None)

    def _confirm_accepted(self) -> None:
        """Report the running calls that must have been accepted by now."""
        now = self._clock()
        while self._unconfirmed:
            key, (since, rank, cancel_group) = next(iter(self._unconfirmed.items()))
            if now - since < _ACCEPTED_AFTER_SECONDS:
                return
            del self._unconfirmed[key]
            if cancel_group.sent:
                self._throttle.accepted(rank)
            else:  # it waits for a token or a permit
                self._unconfirmed[key] = (now, rank, cancel_group)

    def _seconds_until_next(self) -> float:
        """Return the seconds until the next task may run; ``inf`` if something else must happen first."""
        first = self._first() if self._running < self._throttle.allowed() else None
        if first is None or not self._budget.allows(self._running_items, len(first.items)):
            return math.inf
        return self._throttle.resumes_at - self._clock()

    def _limit_reached(self) -> str | None:
        """Return the name of the limit that is reached, or None."""
        first = self._first()
        return self._budget.exceeded(self._running_items, 1 if first is None else len(first.items))

    def _first(self) -> Task | None:
        try:
            return self._ready[0]
        except IndexError:
            return None

    def _requeue(self, task: Task, tasks: Sequence[Task]) -> Sequence[Task]:
        """Queue ``tasks`` first, instead of ``task``; return those that will not run, because the budget is used up."""
        self._remove_running(task)
        self._ready.extendleft(reversed(tasks))
        return self._wake_workers(self.worker_takes_next)

    def _stop(self, reason: str | BaseException) -> Sequence[Task]:
        if self._reason is None:
            self._reason = reason
        dropped: list[Task] = []
        with contextlib.suppress(IndexError):
            while True:
                dropped.append(self._ready.popleft())
        for worker in [*self._waiting]:
            worker.latch.open()
        return dropped

    def _report_dropped(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.done.put((task, None, 0))


class _WaitingWorker:
    """A worker that waits for a task."""

    __slots__ = ("cancel_group", "latch", "task")

    def __init__(self, cancel_group: CancelGroup | None) -> None:
        self.latch = Latch()
        self.cancel_group = cancel_group
        self.task: Task | None = None


def _fatal_error_in(results: Sequence[TaskResult]) -> Exception | None:
    return next((each.error for each in results if each.fatal or isinstance(each.error, _FATAL_ERRORS)), None)


def _rate_limit_error_in(results: Sequence[TaskResult]) -> RateLimitError | None:
    """Return the 429 that a task ended with, if nothing had been done before it: running it again repeats nothing."""
    error = error_of_all(results)
    if not isinstance(error, RateLimitError) or (error.run is not None and error.run.steps):
        return None
    return error
