"""The worker threads: as many as the throttle allows, and no more than there are tasks."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from gigaclient._primitives.deadline import CancelGroup
from gigaclient.bulk.delivery import UNSAVED
from gigaclient.bulk.scheduler import Scheduler
from gigaclient.bulk.tasks import Job, Task, TaskResult, error_of_all

__all__ = ["WorkerPool", "complete_task"]


class WorkerPool:
    """Threads that take tasks from a scheduler.

    They are daemons: a server that hangs must not keep a program from ending.

    Args:
        scheduler: the source of tasks, and the destination of results.
        run_task: runs a task; never raises.
        complete: takes the results of a task; see :func:`complete_task`.
        max_threads: the largest number of threads.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        run_task: Callable[[Task, CancelGroup], Sequence[TaskResult]],
        complete: Callable[[Task, Sequence[TaskResult] | None], None],
        max_threads: int,
    ) -> None:
        self._scheduler = scheduler
        self._run_task = run_task
        self._complete = complete
        self._max_threads = max_threads
        self._threads: list[threading.Thread] = []
        self._cancel_groups: set[CancelGroup] = set()
        self._cancelled = False
        # Held from before a thread's start until the thread has counted itself; no thread waits for it.
        self._start_lock = threading.Lock()
        # The caller's context variables apply in its threads as well.
        self._context = contextvars.copy_context()
        scheduler.worker_takes_next = True

    def grow(self) -> None:
        """Start a thread if there are more tasks than threads. The new thread repeats the check.

        A worker never does this while it holds a task: with many threads waiting for the interpreter, a start takes
        long.

        Raises:
            RuntimeError: the system cannot start a thread, and there is none.
        """
        if not self._is_wanted() or not self._start_lock.acquire(blocking=False):
            return
        if not self._is_wanted():  # checked again under the lock
            self._start_lock.release()
            return
        number = len(self._threads) + 1
        context = self._context.copy()
        thread = threading.Thread(target=context.run, args=(self._work,), name=f"giga.map-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._max_threads = number - 1
            self._start_lock.release()
            if not self._threads:
                raise

    def _is_wanted(self) -> bool:
        started = len(self._threads)
        return started < self._max_threads and started < self._scheduler.workers_wanted()

    def cancel(self) -> None:
        """Cancel the running calls. Their results are not recorded."""
        self._cancelled = True  # set before cancelling: a task taken meanwhile sees it and is cancelled
        for cancel_group in [*self._cancel_groups]:
            cancel_group.cancel()

    def join(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the threads to end."""
        ends_at = time.monotonic() + seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, ends_at - time.monotonic()))

    def _work(self) -> None:
        self._threads.append(threading.current_thread())
        self._start_lock.release()
        task = None
        try:
            while True:
                self.grow()
                cancel_group = CancelGroup()
                task = self._scheduler.take(cancel_group)
                if task is None:
                    return
                self._cancel_groups.add(cancel_group)
                if self._cancelled:
                    cancel_group.cancel()
                results = self._run_task(task, cancel_group)
                self._cancel_groups.discard(cancel_group)
                self._complete(task, None if cancel_group.cancelled else results)
                task = None
        # not an error of a prompt: the run ends with it, and does not wait for this thread
        except BaseException as error:
            self._scheduler.stop(error)
            if task is not None:
                self._scheduler.finish(task, None)


def complete_task(
    scheduler: Scheduler,
    job: Job[Any, Any],
    record: Callable[[Task, Sequence[TaskResult]], int],
    task: Task,
    results: Sequence[TaskResult] | None,
) -> None:
    """Write the results of ``task`` (None: it was abandoned) to the checkpoint, then deliver them.

    Args:
        scheduler: the destination of results; it queues the parts of a task that is split.
        job: splits failed tasks.
        record: writes a task's results to the checkpoint and returns their position there.
        task: the task.
        results: one for each of its items.
    """
    position = 0
    if results is not None:
        if scheduler.requeue_if_refused(task, results):
            return
        error = error_of_all(results)
        parts = job.split(task, error) if error is not None and len(task.items) > 1 else ()
        if parts and scheduler.replace(task, parts):
            return
        if scheduler.stop_on_fatal_error(results):
            results = None
    if results is not None:
        try:
            position = record(task, results)
        except BaseException as error:  # a full disk, for example: run no more tasks
            scheduler.stop(error)
            position = UNSAVED
    scheduler.finish(task, results, position)
