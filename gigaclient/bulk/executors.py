"""Runs whose tasks are executed by the caller's executor: threads, processes, or the workers of a cluster.

One thread takes tasks from the scheduler and submits them. The client is pickled for other processes. Each process
unpickles it once, so each has one token and one connection pool. The account's limit is kept here, by the client's own
limiter: a task takes a permit before it is submitted and releases it when its results arrive. So ten concurrent
requests stay ten, however many workers there are. In the workers nothing waits for a permit, and no 429 is retried.
"""

from __future__ import annotations

import contextvars
import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient._core.limiter import Permit
from gigaclient._primitives.deadline import CancelGroup, Cancelled, Deadline, Timeouts
from gigaclient.bulk.pickling import PROCESSES_PREFIX, Pickled, describe_error, pickle_once, pickle_value
from gigaclient.bulk.remote_worker import run_task_remotely
from gigaclient.bulk.scheduler import Scheduler
from gigaclient.bulk.tasks import Item, Job, Task, TaskResult
from gigaclient.bulk.worker import run_task
from gigaclient.errors import ConfigError, GigaClientError, RateLimitError

if TYPE_CHECKING:
    from gigaclient._core.base_client import BaseClient

__all__ = ["ExecutorPool", "check_executor", "worker_count"]

# Longer than it takes to hand over a task and its results when workers are free.
_HANDOVER_SECONDS = 0.1


def check_executor(executor: Any) -> Executor:
    """Return ``executor`` if it is an executor.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(executor, Executor):
        return executor
    description = f"the class {executor.__name__}" if isinstance(executor, type) else f"a {type(executor).__name__}"
    raise ConfigError(
        f"executor= takes a concurrent.futures.Executor, such as ThreadPoolExecutor(8) or, of a Dask client, "
        f"client.get_executor(); this is {description}"
    )


def worker_count(executor: Executor) -> int | None:
    """Return the number of calls that ``executor`` runs at once; None if it is unknown."""
    workers = getattr(executor, "_max_workers", None)  # of concurrent.futures, and of executors modelled on it
    return workers if isinstance(workers, int) and workers > 0 else None


class ExecutorPool:
    """Submits tasks to an executor and completes them. The executor stays the caller's: it is not shut down.

    Args:
        scheduler: the source of tasks, and the destination of results.
        job: runs a task.
        client: the client to run with.
        complete: takes the results of a task; see :func:`gigaclient.bulk.thread_pool.complete_task`.
        executor: runs the tasks.

    Raises:
        ConfigError: the executor is not one, or the client or the job cannot be pickled for its processes.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        job: Job[Any, Any],
        client: BaseClient[Any],
        complete: Callable[[Task, Sequence[TaskResult] | None], None],
        executor: Executor,
    ) -> None:
        self._scheduler = scheduler
        self._complete = complete
        self._executor = check_executor(executor)
        self._submitter: _LocalSubmitter | _ProcessSubmitter
        if isinstance(executor, ThreadPoolExecutor):
            self._submitter = _LocalSubmitter(client, job)
        else:
            self._submitter = _ProcessSubmitter(client, job, begins_at_once=worker_count(executor) is not None)
        self._submitted: dict[Future[Any], _SubmittedTask] = {}
        self._deadline = Deadline(Timeouts())
        self._cancelled = False
        self._thread: threading.Thread | None = None
        # The caller's context variables apply in threads of this process as well.
        self._context = contextvars.copy_context()

    def grow(self) -> None:
        """Start the submitting thread, if it is not running.

        Raises:
            RuntimeError: the system cannot start a thread.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._context.run, args=(self._work,), name="giga.map-submit", daemon=True)
            thread.start()
            self._thread = thread

    def cancel(self) -> None:
        """Cancel what can be cancelled. Later results of submitted tasks are dropped."""
        self._cancelled = True  # set before cancelling: a task submitted meanwhile sees it and cancels itself
        self._deadline.cancel()
        for future, submitted in [*self._submitted.items()]:
            future.cancel()
            submitted.cancel()

    def join(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the threads of this process to end. Other processes are not waited for."""
        ends_at = time.monotonic() + seconds
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)
        running = [future for future, call in [*self._submitted.items()] if call.cancel_group is not None]
        wait(running, timeout=max(0.0, ends_at - time.monotonic()))

    # -- internals ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            cancel_group = CancelGroup()
            task = self._scheduler.take(cancel_group)
            if task is None:
                return
            try:
                submitted = self._submitter.prepare(task, cancel_group, self._deadline)
            except Cancelled:
                self._scheduler.finish(task, None)
            except Exception as error:
                failure = ConfigError(f"{PROCESSES_PREFIX}this prompt cannot be pickled ({describe_error(error)})")
                self._complete(task, [TaskResult(error=failure) for _ in task.items])
            else:
                try:
                    self._submit(task, submitted)
                except BaseException as error:  # whatever it is, the run must not wait for this task
                    submitted.end(())
                    self._abandon(task, _run_error(error, "the executor takes no more work"))

    def _submit(self, task: Task, submitted: _SubmittedTask) -> None:
        submitted.submitted_at = time.monotonic()
        future = self._executor.submit(submitted.function, *submitted.arguments)
        self._submitted[future] = submitted
        if self._cancelled:
            future.cancel()
            submitted.cancel()
        future.add_done_callback(partial(self._on_done, task))

    def _on_done(self, task: Task, future: Future[Any]) -> None:
        # Runs in any thread the executor chooses. An exception here would be lost, and the task with it.
        try:
            submitted = self._submitted.pop(future)
            results = self._collect_results(submitted, task, future)
            if not results:
                self._scheduler.finish(task, None)
                return
            self._complete(task, results)
        except BaseException as error:
            self._abandon(task, error)

    def _collect_results(self, submitted: _SubmittedTask, task: Task, future: Future[Any]) -> Sequence[TaskResult]:
        """Return the results of ``task``; empty if it was abandoned."""
        results: Sequence[TaskResult] = ()
        try:
            if self._cancelled:
                return ()
            failure = None if future.cancelled() else future.exception()
            if isinstance(failure, (BrokenExecutor, ImportError)):  # the next task would fail in the same way
                self._scheduler.stop(_run_error(failure, "the executor does not work any more"))
            elif failure is not None or future.cancelled():
                reason = "it was cancelled there" if failure is None else describe_error(failure)
                error = GigaClientError(f"the executor returned no answer ({reason})")
                results = [TaskResult(error=error) for _ in task.items]
            else:
                received = submitted.read_results(task, future.result())
                if isinstance(received, GigaClientError):
                    self._scheduler.stop(received)
                else:
                    results = received
            return results
        finally:
            submitted.end(results)

    def _abandon(self, task: Task, error: BaseException) -> None:
        self._scheduler.stop(error)
        self._scheduler.finish(task, None)


def _run_error(error: BaseException, prefix: str) -> GigaClientError:
    """Return the error that ends the run."""
    if isinstance(error, GigaClientError):
        return error
    advice = ""
    if isinstance(error, BrokenExecutor):
        advice = (
            ". If one worker process is killed, the whole pool stops. A script that spawns processes needs its code "
            'under if __name__ == "__main__":'
        )
    elif isinstance(error, ImportError):
        advice = ". Its workers need gigaclient of this version, and the modules of your functions and types"
    return GigaClientError(f"{prefix} ({describe_error(error)}); the results so far were delivered{advice}")


class _SubmittedTask(msgspec.Struct, eq=False):
    """A submitted task.

    Attributes:
        function, arguments: the submitted call.
        permit: its permit of the client's limiter; None if the call takes its own.
        cancel_group: cancels it; None if it cannot be cancelled.
        submitted_at: the time of submission, by the monotonic clock.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    permit: Permit | None = None
    cancel_group: CancelGroup | None = None
    submitted_at: float = 0.0

    def cancel(self) -> None:
        """Cancel the call, if it runs in this process."""
        if self.cancel_group is not None:
            self.cancel_group.cancel()

    def read_results(self, task: Task, result: Any) -> Sequence[TaskResult] | GigaClientError:
        """Return the results of ``task``, or the error that every further task would meet."""
        if self.permit is None:
            return list(result)
        try:
            seconds, results = pickle.loads(result)
        except Exception as error:
            unreadable = GigaClientError(
                f"the answer came back from a worker and cannot be read here ({describe_error(error)})"
            )
            return [TaskResult(error=unreadable) for _ in task.items]
        if isinstance(results, GigaClientError):
            return results
        now = time.monotonic()
        if now - self.submitted_at - seconds > seconds / 2 + _HANDOVER_SECONDS:
            # It waited for a worker, so its rank counts tasks that were submitted, not running: it proves nothing.
            task.rank = 0
        if not task.sent:
            # Another machine's clock has another zero, and waiting for a worker does not count.
            task.started_at = now - seconds
        task.sent += results[0].attempts
        for task_result in results:
            task_result.attempts = task.sent
            task_result.seconds = now - task.started_at
        return list(results)

    def end(self, results: Sequence[TaskResult]) -> None:
        """Report the service's response to the limiter, and release the permit."""
        if self.permit is None:
            return
        if results and isinstance(results[0].error, RateLimitError):
            self.permit.refused()
        elif any(task_result.answer is not None for task_result in results):
            self.permit.succeeded()
        self.permit.release()


class _LocalSubmitter:
    """Threads of this process: the client itself runs the tasks."""

    def __init__(self, client: BaseClient[Any], job: Job[Any, Any]) -> None:
        self._client = client
        self._job = job

    def prepare(self, task: Task, cancel_group: CancelGroup, deadline: Deadline) -> _SubmittedTask:
        arguments = (run_task, self._client, self._job, task, cancel_group)
        return _SubmittedTask(contextvars.copy_context().run, arguments, cancel_group=cancel_group)


class _ProcessSubmitter:
    """Other processes: a pickled copy of the client runs the tasks, with a permit held here.

    Args:
        begins_at_once: no more tasks are submitted than there are workers, so a submitted task is sent at once.
    """

    def __init__(self, client: BaseClient[Any], job: Job[Any, Any], *, begins_at_once: bool) -> None:
        self._begins_at_once = begins_at_once
        self._limiter = client._executor.limiter
        self._client = pickle_once(client, "the client")
        self._job = pickle_once(job, "functions= or response_format=")

    def prepare(self, task: Task, cancel_group: CancelGroup, deadline: Deadline) -> _SubmittedTask:
        # The input is left out: it may be of any type, and is not part of the request.
        items = [Item(item.index, None, item.request, item.key) for item in task.items]
        pickled_task = Pickled(pickle_value(Task(items, task.note)), os.urandom(16).hex())
        permit = self._limiter.acquire(deadline)
        cancel_group.sent = int(self._begins_at_once)
        return _SubmittedTask(run_task_remotely, (self._client, self._job, pickled_task), permit=permit)
