"""Which unit goes next, and when: the one place where the threads of a run meet.

The thread that iterates the results offers units; workers take them, ask, and say what came of it. A unit that the
service was too busy for goes back to the front. What is finished, and what will not be asked any more, comes out of
:attr:`Scheduler.done`.
"""

from __future__ import annotations

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

_LOOK_AGAIN_SECONDS = 2.0
# A refusal comes at once. Whoever waits for longer is waiting for an answer.
_ACCEPTED_AFTER_SECONDS = 1.0

# What is wrong with the key, the account or the line is wrong with every prompt.
_HOPELESS = (AuthenticationError, PaymentRequiredError, TLSError)

Finished = tuple[Task, "Sequence[TaskResult] | None", int]
"""A unit, an outcome for each of its items (None: they were not asked), and where the checkpoint has them."""


class Scheduler:
    """The units that are ready and under way.

    Args:
        pace: how many may be under way.
        budget: what they may cost.
        clock: seconds, going up.
        hopeless: errors of the job's own that every further unit would meet; see :meth:`ends_all`.

    Attributes:
        done: what is finished, and what will not be asked any more.
        comes_back: whether the worker that says what came of a unit takes the next one: then no other is woken for it.
    """

    comes_back = False

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
        self._lock = threading.Lock()  # guards what follows; held for a few assignments
        self._sleepers: list[_Sleeper] = []
        self._ready: deque[Task] = deque()
        self._under_way = 0
        self._items_under_way = 0
        # Of those under way that may still be refused: when each was taken, with how many, and its scope.
        self._fresh: dict[int, tuple[float, int, CancelGroup]] = {}
        self._reason: str | BaseException | None = None
        self.done: queue.SimpleQueue[Finished] = queue.SimpleQueue()

    # -- for the thread that iterates the results --------------------------------------------------------------------

    def offer(self, task: Task) -> None:
        """``task`` is to be asked."""
        dropped: Sequence[Task] = (task,)
        with self._lock:
            if self._reason is None:
                self._ready.append(task)
                dropped = self._hand_out() if self._sleepers else ()
        self._drop(dropped)

    def wants_more(self) -> bool:
        """Whether the workers would soon be out of units."""
        return self._reason is None and len(self._ready) < self._throttle.allowed()

    def is_idle(self) -> bool:
        """Whether nothing is ready, and nothing under way."""
        with self._lock:
            return not self._ready and self._under_way == 0

    def count(self, outcome: TaskResult) -> None:
        """What came of an item that could not be asked."""
        with self._lock:
            self._budget.spend(None, outcome.error is not None)
            limit = self._reached()
            dropped = self._stop(limit) if limit is not None else ()
        self._drop(dropped)

    def stop(self, reason: str | BaseException) -> None:
        """Nothing is asked from now on; the first reason is kept. What is under way is not touched."""
        with self._lock:
            dropped = self._stop(reason)
        self._drop(dropped)

    @property
    def reason(self) -> str | BaseException | None:
        """Why nothing is asked any more: the name of a limit, or an error; None while something is."""
        return self._reason

    # -- for workers -------------------------------------------------------------------------------------------------

    def workers_wanted(self) -> int:
        """How many workers would have something to do now."""
        with self._lock:
            self._look()
        return min(self._throttle.allowed(), self._under_way + len(self._ready))

    def take(self, scope: CancelGroup | None = None) -> Task | None:
        """The next unit, once it may be asked; None when nothing is asked any more.

        ``scope`` will tell whether a request was sent for it, so that a call that is not refused for a while counts as
        accepted.
        """
        with self._lock:
            task = self._next(scope)
        return task if task is not None else self._sleep(_Sleeper(scope))

    def _sleep(self, sleeper: _Sleeper) -> Task | None:
        dropped: Sequence[Task] = ()
        pause = math.inf
        while True:
            with self._lock:
                task = sleeper.task or self._next(sleeper.scope)
                if task is None and self._ready and (limit := self._reached()) is not None:
                    dropped = self._stop(limit)  # a unit of more items than the budget has room for
                if task is not None or self._reason is not None:
                    if sleeper in self._sleepers:
                        self._sleepers.remove(sleeper)
                    if pause < math.inf and task is not None:
                        dropped = self._hand_out()  # a pause is over for the others as well
                    break
                if sleeper not in self._sleepers:
                    self._sleepers.append(sleeper)
                pause = self._pause()
            # Not for ever: the limit changes without telling, and an interrupt may keep the latch from being opened.
            sleeper.latch.wait(min(pause, _LOOK_AGAIN_SECONDS))
        self._drop(dropped)
        return task

    def is_put_off(self, task: Task, outcomes: Sequence[TaskResult]) -> bool:
        """Whether the service was too busy for ``task``: then it goes again later, and nothing is finished."""
        refusal = _refusal_in(outcomes)
        if refusal is None:
            return False
        dropped: Sequence[Task] = ()
        with self._lock:
            others = self._under_way - 1
            again = self._throttle.refused(self._clock(), refusal.retry_after, others, random.random())
            put_off = again and self._reason is None
            if put_off:
                dropped = self._put_back(task, [task])
            elif not again:
                dropped = self._stop(refusal)
        self._drop(dropped)
        return put_off

    def replace(self, task: Task, others: Sequence[Task]) -> bool:
        """``others`` are to be asked in its place; False when nothing is asked any more."""
        with self._lock:
            if self._reason is not None:
                return False
            dropped = self._put_back(task, others)
        self._drop(dropped)
        return True

    def ends_all(self, outcomes: Sequence[TaskResult]) -> bool:
        """Whether they are an error of the job's own that every further unit would meet. The run ends with it then, and
        it is told once, and not as the error of each item.
        """
        error = error_of_all(outcomes)
        if not isinstance(error, self._fatal_errors):
            return False
        self.stop(error)
        return True

    def finish(self, task: Task, outcomes: Sequence[TaskResult] | None, position: int = 0) -> None:
        """``task`` has come to something; None when it was given up."""
        dropped: Sequence[Task] = ()
        with self._lock:
            self._leave(task)
            if outcomes is not None:
                if any(outcome.attempts and outcome.error is None for outcome in outcomes):
                    self._throttle.succeeded(task.rank)
                for outcome in outcomes:
                    self._budget.spend(used(outcome.usage), outcome.error is not None)
            reason = _fatal_errors(outcomes or ())
            dropped = self._hand_out(self.comes_back) if reason is None else self._stop(reason)
        self.done.put((task, outcomes, position))
        self._drop(dropped)

    # -- how ---------------------------------------------------------------------------------------------------------

    def _next(self, scope: CancelGroup | None) -> Task | None:
        """The unit that may be asked now, which is under way from now on; None when there is none."""
        if self._reason is not None:
            return None
        self._look()
        if self._pause() > 0.0:
            return None
        task = self._ready.popleft()
        self._under_way += 1
        self._items_under_way += len(task.items)
        task.rank = self._under_way
        now = self._clock()
        task.started_at = task.started_at or now
        if scope is not None:
            self._fresh[id(task)] = (now, task.rank, scope)
        return task

    def _hand_out(self, coming: int = 0) -> Sequence[Task]:
        """Wake as many workers as there are units that may be asked now, each with its unit; but for as many as
        ``coming`` workers will take themselves. The units that will not be asked, because a limit is reached.

        A worker that was woken to look for itself would often find that another one was quicker.
        """
        reason = self._reached()
        if reason is not None:
            return self._stop(reason)
        while self._sleepers and min(len(self._ready), self._throttle.allowed() - self._under_way) > coming:
            sleeper = self._sleepers[-1]  # whoever slept least has most of what it needs in the caches
            sleeper.task = self._next(sleeper.scope)
            if sleeper.task is None:
                break
            del self._sleepers[-1]
            sleeper.latch.open()
        return ()

    def _leave(self, task: Task) -> None:
        self._under_way -= 1
        self._items_under_way -= len(task.items)
        self._fresh.pop(id(task), None)

    def _look(self) -> None:
        """Note which of the calls under way must have been accepted by now."""
        now = self._clock()
        while self._fresh:
            key, (since, rank, scope) = next(iter(self._fresh.items()))
            if now - since < _ACCEPTED_AFTER_SECONDS:
                return
            del self._fresh[key]
            if scope.sent:
                self._throttle.accepted(rank)
            else:  # it waits for a token, or for its place
                self._fresh[key] = (now, rank, scope)

    def _pause(self) -> float:
        """Seconds until the next unit may be asked; ``inf`` when something else must happen first."""
        if not self._ready or self._under_way >= self._throttle.allowed():
            return math.inf
        if not self._budget.has_room(self._items_under_way, len(self._ready[0].items)):
            return math.inf
        return self._throttle.resumes_at - self._clock()

    def _reached(self) -> str | None:
        """The name of the limit that is reached, if one is."""
        return self._budget.exceeded(self._items_under_way, len(self._ready[0].items) if self._ready else 1)

    def _put_back(self, task: Task, tasks: Sequence[Task]) -> Sequence[Task]:
        """In place of ``task``, ``tasks`` go next; those that will not, because the budget is used up."""
        self._leave(task)
        self._ready.extendleft(reversed(tasks))
        return self._hand_out(self.comes_back)

    def _stop(self, reason: str | BaseException) -> Sequence[Task]:
        if self._reason is None:
            self._reason = reason
        dropped = [*self._ready]
        self._ready.clear()
        for sleeper in self._sleepers:
            sleeper.latch.open()
        return dropped

    def _drop(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.done.put((task, None, 0))


class _Sleeper:
    """A worker that waits for a unit."""

    __slots__ = ("latch", "scope", "task")

    def __init__(self, scope: CancelGroup | None) -> None:
        self.latch = Latch()
        self.scope = scope
        self.task: Task | None = None


def _fatal_errors(outcomes: Sequence[TaskResult]) -> Exception | None:
    return next((outcome.error for outcome in outcomes if outcome.fatal or isinstance(outcome.error, _HOPELESS)), None)


def _refusal_in(outcomes: Sequence[TaskResult]) -> RateLimitError | None:
    """The refusal that a unit ended with, if nothing had been done for it before: asking again repeats nothing."""
    error = error_of_all(outcomes)
    if not isinstance(error, RateLimitError) or (error.run is not None and error.run.steps):
        return None
    return error
