"""The threads that ask: as many as the pace allows, and no more than there is work for."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from gigaclient._primitives.deadline import CancelGroup
from gigaclient.bulk.scheduler import Scheduler
from gigaclient.bulk.tasks import Job, Task, TaskResult, error_of_all

__all__ = ["WorkerPool", "complete_task"]


class WorkerPool:
    """Threads that take units from a dispatcher.

    They are daemons: a peer that hangs must not keep a program from ending.

    Args:
        dispatcher: where units come from and go to.
        job: what is asked.
        ask: asks a unit; never raises.
        record: writes what came of a unit to the checkpoint; its position there.
        most: threads at the most.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        job: Job[Any, Any],
        ask: Callable[[Task, CancelGroup], Sequence[TaskResult]],
        record: Callable[[Task, Sequence[TaskResult]], int],
        most: int,
    ) -> None:
        self._scheduler = scheduler
        self._job = job
        self._ask = ask
        self._record = record
        self._most = most
        self._threads: list[threading.Thread] = []
        self._scopes: set[CancelGroup] = set()
        self._cancelled = False
        # Held from before a thread's start until it is counted, by itself; nobody waits for it.
        self._growing = threading.Lock()
        # What the caller set of context variables holds in its threads as well.
        self._context = contextvars.copy_context()
        scheduler.comes_back = True

    def grow(self) -> None:
        """Start a thread, if there is more to do than there are. It looks in its turn whether one more is wanted.

        Nobody does that with a unit in hand: where many threads want the interpreter, a start takes long.

        Raises:
            RuntimeError: the system gives no thread, and there is none.
        """
        if not self._is_wanted() or not self._growing.acquire(blocking=False):
            return
        if not self._is_wanted():  # by now
            self._growing.release()
            return
        number = len(self._threads) + 1
        context = self._context.copy()
        thread = threading.Thread(target=context.run, args=(self._work,), name=f"giga.map-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._most = number - 1
            self._growing.release()
            if not self._threads:
                raise

    def _is_wanted(self) -> bool:
        there_are = len(self._threads)
        return there_are < self._most and there_are < self._scheduler.workers_wanted()

    def cancel(self) -> None:
        """End the calls under way. Whatever comes of them is not recorded."""
        self._cancelled = True  # and then whoever begins: one of the two sees the other
        for scope in [*self._scopes]:
            scope.cancel()

    def join(self, seconds: float) -> None:
        """Wait for the threads to end, ``seconds`` at the longest."""
        ends_at = time.monotonic() + seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, ends_at - time.monotonic()))

    def _work(self) -> None:
        self._threads.append(threading.current_thread())
        self._growing.release()
        task = None
        try:
            while True:
                self.grow()
                scope = CancelGroup()
                task = self._scheduler.take(scope)
                if task is None:
                    return
                self._scopes.add(scope)
                if self._cancelled:
                    scope.cancel()
                outcomes = self._ask(task, scope)
                self._scopes.discard(scope)
                complete_task(self._scheduler, self._job, self._record, task, None if scope.cancelled else outcomes)
                task = None
        except BaseException as error:  # no fault of a prompt's: the caller is told, and does not wait for this thread
            self._scheduler.stop(error)
            if task is not None:
                self._scheduler.finish(task, None)


def complete_task(
    scheduler: Scheduler,
    job: Job[Any, Any],
    record: Callable[[Task, Sequence[TaskResult]], int],
    task: Task,
    outcomes: Sequence[TaskResult] | None,
) -> None:
    """What came of ``task`` (None: it was given up) goes to the checkpoint first, and to the caller then."""
    position = 0
    if outcomes is not None:
        if scheduler.is_put_off(task, outcomes):
            return
        smaller = _smaller(job, task, outcomes)
        if smaller and scheduler.replace(task, smaller):
            return
        if scheduler.ends_all(outcomes):
            outcomes = None
    if outcomes is not None:
        try:
            position = record(task, outcomes)
        except BaseException as error:  # a disk that is full: what has come is given out, and nothing more is asked
            scheduler.stop(error)
    scheduler.finish(task, outcomes, position)


def _smaller(job: Job[Any, Any], task: Task, outcomes: Sequence[TaskResult]) -> Sequence[Task]:
    error = error_of_all(outcomes)
    return job.split(task, error) if error is not None and len(task.items) > 1 else ()
