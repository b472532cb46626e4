"""The results of a run over many prompts: the iterator that ``giga.map`` returns.

The iterating thread reads prompts and delivers results, so a database cursor or a queryset stays in its own thread.
Both the prompts read ahead and the finished results not yet delivered are bounded.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from gigaclient.bulk.budget import Budget
from gigaclient.bulk.checkpoint import Checkpoint
from gigaclient.bulk.checkpoint.recorder import Recorder
from gigaclient.bulk.delivery import Delivery, DeliveryQueue
from gigaclient.bulk.options import MapOptions
from gigaclient.bulk.progress import MapProgress, Progress, progress_for
from gigaclient.bulk.prompts import Prompts
from gigaclient.bulk.scheduler import Finished, Scheduler
from gigaclient.bulk.tabular import TabularResults
from gigaclient.bulk.tasks import NO_KEY, Item, Job, Task, TaskResult, key_of, used
from gigaclient.bulk.thread_pool import WorkerPool, complete_task
from gigaclient.bulk.throttle import Throttle
from gigaclient.bulk.worker import run_task
from gigaclient.errors import ConfigError, ContentFilterError
from gigaclient.types.bulk import ItemResult

if TYPE_CHECKING:
    from gigaclient._core.base_client import BaseClient
    from gigaclient.bulk.executors import ExecutorPool

__all__ = ["MapOptions", "MapResults"]

ResultT = TypeVar("ResultT", bound="ItemResult[Any]")

# Items read and not yet delivered. One slow answer does not hold up the others for long.
_WINDOW = 1000
_JOIN_SECONDS = 5.0
_POLL_SECONDS = 0.5
# An iterable that takes longer for one prompt is waiting for something: deliver results before reading the next.
_SLOW_READ_SECONDS = 0.05

_COMPLETE = "complete"

_log = logging.getLogger("gigaclient")


class MapResults(TabularResults[ResultT]):
    """The results of a run, as an iterator and a context manager.

    Nothing is read or sent before the first result is requested. Leaving the loop early, :meth:`close`, an error and a
    Ctrl-C cancel the running calls. Finished results are in the checkpoint.

    Raises, while it is iterated:
        AuthenticationError, PaymentRequiredError, TLSError: every further prompt would fail in the same way. Earlier
            results are delivered first.
        NotFoundError: the model that all prompts go to does not exist.
        ConfigError: there is no key, or the client was closed.
        RateLimitError: the service answered 429 more than ten times in a row, or asked for a wait of more than ten
            minutes.
        OSError: the checkpoint cannot be written.
        Exception: any exception of the iterable of prompts, after the results of the prompts before it; with
            ``raise_errors``, the error of the first failed result.

    When a limit of the run is reached, the iteration ends and :attr:`stopped` names the limit.
    """

    def __init__(
        self,
        client: BaseClient[Any],
        job: Job[Any, ResultT],
        prompts: Any,
        map_options: MapOptions,
        *,
        template: str | Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self._client = client
        self._job = job
        self._prompts = Prompts(prompts, template)
        self._raise_errors = bool(map_options.raise_errors)
        self._limits = map_options.limits()
        max_running = map_options.max_running(job)
        # An invalid option fails for every prompt, and so does an unusable file: raise now.
        job.prepare(client, job.sample)
        self._checkpoint = Checkpoint(map_options.checkpoint) if map_options.checkpoint is not None else None
        limiter = client._executor.limiter
        self._throttle = Throttle(max_running, (lambda: limiter.limit) if job.max_concurrent_tasks is None else None)
        self._scheduler = Scheduler(self._throttle, Budget(self._limits), fatal_errors=job.fatal_errors)
        self._recorder = Recorder(self._checkpoint, job)
        try:
            self._pool = self._make_pool(max_running, map_options.executor)
            self._bar: Progress = progress_for(map_options.progress, total=self._prompts.total, unit=job.item_name)
        except BaseException:
            if self._checkpoint is not None:
                self._checkpoint.close()
            raise
        self._needs_keys = self._checkpoint is not None or job.keyed
        self._process = os.getpid()
        self._inputs: Iterator[Any] | None = None
        self._exhausted = False
        self._source_is_slow = False
        self._failure: BaseException | None = None
        self._closed = False
        self._reader: int | None = None  # the thread that is inside `__next__`
        self._ends_at: float | None = None
        self._started_at: float | None = None
        self._seconds = 0.0
        self._read = self._unfinished = 0
        self._answered = self._failed = self._blocked = self._restored = self._tokens = 0
        self._deliveries = DeliveryQueue(
            ordered=bool(map_options.ordered),
            sync=(lambda position: None) if self._checkpoint is None else self._checkpoint.sync,
        )
        self._seconds_read = 0.0  # spent on prompts since a task was complete

    # -- what a caller sees ------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> str | None:
        """The reason why the run ended early, or None.

        ``"max_tokens_total"``, ``"max_seconds"``, ``"max_errors_in_row"``, ``"closed"``, or the name of an error's
        class.
        """
        reason = self._scheduler.reason
        if isinstance(reason, BaseException):
            return type(reason).__name__
        return reason if reason != _COMPLETE else None

    @property
    def progress(self) -> MapProgress:
        """The progress of the run so far."""
        seconds = self._seconds
        if self._started_at is not None and not self._closed:
            seconds = time.monotonic() - self._started_at
        counts = (self._read, self._answered, self._failed, self._restored, self._tokens)
        return MapProgress(*counts, seconds, self._blocked)

    @property
    def undelivered(self) -> list[ResultT]:
        """The finished results that the iteration has not returned, among them those that the checkpoint refused."""
        return self._deliveries.rest()

    def close(self) -> None:
        """Cancel the running calls and close the checkpoint. Calling it again does nothing."""
        if self._process != os.getpid():
            return  # a forked child: everything belongs to the parent
        self._stop("closed")
        if self._reader == get_ident():
            return  # a signal handler of the thread that is inside `__next__`, which releases everything at its end
        self._pool.join(_JOIN_SECONDS)
        self._release()

    def __enter__(self) -> MapResults[ResultT]:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_process", None) == os.getpid() and not self._closed:
            self._stop("closed")
            self._release()

    def __iter__(self) -> MapResults[ResultT]:
        return self

    def __next__(self) -> ResultT:
        if self._process != os.getpid():
            raise ConfigError("these results belong to the process that made them: call map() in this one")
        if self._closed:
            raise StopIteration
        if self._reader == get_ident():
            raise ConfigError("this thread is reading these results already: do not read them in a signal handler too")
        try:
            self._reader = get_ident()
            delivery = self._next()
            self._reader = None
        except BaseException:
            self._reader = None
            self.close()
            raise
        if delivery is None:
            self.close()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            raise StopIteration
        result: ResultT = delivery.result
        if result.error is not None and self._raise_errors:
            self.close()
            raise result.error
        self._recent.append(result)
        return result

    def __repr__(self) -> str:
        state = f"stopped by {self.stopped}" if self.stopped else "at its end" if self._closed else "running"
        return f"<MapResults {state}: {self._answered} answered, {self._failed} failed of {self._read} read>"

    # -- internals ---------------------------------------------------------------------------------------------------

    def _make_pool(self, max_running: int, executor: Executor | None) -> WorkerPool | ExecutorPool:
        # The pool must not refer to this object: dropping the iterator ends the run.
        complete = partial(complete_task, self._scheduler, self._job, self._recorder)
        if executor is None:
            return WorkerPool(self._scheduler, partial(run_task, self._client, self._job), complete, max_running)
        from gigaclient.bulk.executors import ExecutorPool  # loaded only when an executor is used

        return ExecutorPool(self._scheduler, self._job, self._client, complete, executor)

    def _next(self) -> Delivery | None:
        """Return the next result; None when there are no more."""
        if self._inputs is None:
            self._begin()
        while True:
            self._process_all_finished()
            self._check_time_limit()
            delivery = self._deliveries.pop() if self._source_is_slow else None
            if delivery is None:
                self._fill()
                delivery = self._deliveries.pop()
            if delivery is not None:
                return delivery
            if self._unfinished == 0 and self._exhausted:
                return None
            if self._scheduler.is_idle():
                # All prompts are read, and nothing running could complete the gathered tasks.
                self._offer(self._job.rest())
            self._wait()

    def _begin(self) -> None:
        self._client._check_open()
        self._job.begin(self._checkpoint)
        self._bar.begin()
        self._started_at = time.monotonic()
        if self._limits.max_seconds is not None:
            self._ends_at = self._started_at + self._limits.max_seconds
        self._inputs = iter(self._prompts)

    def _fill(self) -> None:
        """Read as many prompts as the workers can use soon."""
        try:
            self._client._check_open()
        except ConfigError as error:  # not an error of the prompts still to come
            self._scheduler.stop(error)
        # Bounded, however fast the prompts come: finished results wait until this returns.
        read_until = self._read + self._throttle.allowed() * self._job.max_items_per_task
        while self._read < read_until and self._may_read_more():
            assert self._inputs is not None
            began_at = time.monotonic()
            try:
                input_ = next(self._inputs)
            except StopIteration:
                self._end_of_prompts()
                return
            except Exception as error:
                self._failure = error
                self._end_of_prompts()
                return
            seconds = time.monotonic() - began_at
            self._seconds_read += seconds
            self._source_is_slow = seconds >= _SLOW_READ_SECONDS
            self._admit(input_)
            if self._seconds_read > self._job.max_gather_seconds:
                self._offer(self._job.rest())
                self._seconds_read = 0.0
            if self._source_is_slow and (self._deliveries or not self._scheduler.done.empty()):
                break  # finished results need not wait for the next prompt
        if self._scheduler.reason is not None and not self._exhausted:
            self._end_of_prompts()

    def _may_read_more(self) -> bool:
        if self._exhausted or not self._scheduler.wants_more():
            return False
        held = self._unfinished + len(self._deliveries)
        return held < _WINDOW or held < 2 * self._job.max_items_per_task * self._throttle.allowed()

    def _end_of_prompts(self) -> None:
        self._exhausted = True
        self._offer(self._job.rest())

    def _offer(self, tasks: Iterator[Task]) -> None:
        for task in tasks:
            self._seconds_read = 0.0
            self._scheduler.offer(task)
            self._pool.grow()

    def _admit(self, input_: Any) -> None:
        index, self._read = self._read, self._read + 1
        self._unfinished += 1
        try:
            request, content = self._job.prepare(self._client, self._prompts.prompt_for(input_))
            key = key_of(self._job.kind, content) if self._needs_keys else NO_KEY
            item = Item(index, input_, request, key)
        except Exception as error:
            item = Item(index, input_, None, NO_KEY)
            task_result = TaskResult(error=error)
            self._scheduler.count_unsent(task_result)
            self._add_result(item, task_result, self._recorder(Task([item]), [task_result]))
            return
        found = self._recorder.restored(item)
        if found is not None:
            self._add_result(item, found, 0, restored=True)
            return
        self._offer(self._job.gather(item))

    def _wait(self) -> None:
        seconds = _POLL_SECONDS
        if self._ends_at is not None:
            seconds = max(0.0, min(seconds, self._ends_at - time.monotonic()))
        try:
            self._process_finished(self._scheduler.done.get(timeout=seconds))
        except queue.Empty:
            self._pool.grow()  # the throttle may allow more by now

    def _check_time_limit(self) -> None:
        if self._ends_at is not None and self._ends_at <= time.monotonic():
            # Cancel the running tasks: they would be late, and the next run sends them again.
            self._ends_at = None
            self._stop("max_seconds")

    def _process_all_finished(self) -> None:
        while True:
            try:
                self._process_finished(self._scheduler.done.get_nowait())
            except queue.Empty:
                return

    def _process_finished(self, finished: Finished) -> None:
        task, results, position = finished
        if results is None:
            for item in task.items:
                self._unfinished -= 1
                self._deliveries.skip(item.index)
            return
        for item, task_result in zip(task.items, results, strict=True):
            self._add_result(item, task_result, position)

    def _add_result(self, item: Item, task_result: TaskResult, position: int, *, restored: bool = False) -> None:
        self._unfinished -= 1
        result = self._job.result(item, task_result)
        result.restored = restored
        tokens = 0 if restored else used(result.usage) or 0
        self._tokens += tokens
        self._restored += restored
        if result.error is None:
            self._answered += 1
        else:
            self._failed += 1
            self._blocked += isinstance(result.error, ContentFilterError)
        self._bar.update(tokens=tokens, failed=result.error is not None, restored=restored)
        self._deliveries.add(item.index, result, position)

    def _stop(self, reason: str) -> None:
        self._scheduler.stop(_COMPLETE if reason == "closed" and self._exhausted and self._unfinished == 0 else reason)
        self._pool.cancel()

    def _release(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._started_at is not None:
            self._seconds = time.monotonic() - self._started_at
        self._inputs = iter(())  # releases, and so closes, a file that was opened here
        self._bar.close(self.stopped)
        if self._checkpoint is not None:
            self._checkpoint.close()
        reason = self._scheduler.reason
        if isinstance(reason, BaseException) and self._failure is None:
            self._failure = reason
        elif self.stopped not in (None, "closed"):
            counts = (self._read, self.stopped, self._answered, self._failed)
            _log.warning("the run over %d prompts was stopped by %s: %d answered, %d failed", *counts)
