"""The results of a run over many prompts: the iterator that ``giga.map`` returns, and where its parts are put together.

Prompts are read, and results given, in the thread that iterates; so a database cursor or a queryset stays in the thread
that it belongs to. What is read ahead, and what is finished and not yet asked for, is bounded.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from gigaclient._core import settings as setting
from gigaclient.bulk.budget import Budget, Limits
from gigaclient.bulk.checkpoint import Checkpoint
from gigaclient.bulk.progress import Progress, progress_for
from gigaclient.bulk.prompts import Prompts
from gigaclient.bulk.recording import Recorder
from gigaclient.bulk.scheduler import Finished, Scheduler
from gigaclient.bulk.tasks import NO_KEY, Item, Job, Task, TaskResult, key_of, used
from gigaclient.bulk.thread_pool import WorkerPool
from gigaclient.bulk.throttle import Throttle
from gigaclient.bulk.worker import asked
from gigaclient.errors import ConfigError
from gigaclient.types.bulk import ItemResult

if TYPE_CHECKING:
    from gigaclient._core.base_client import BaseClient
    from gigaclient.bulk.executors import ExecutorPool

__all__ = ["MapOptions", "MapProgress", "MapResults"]

ResultT = TypeVar("ResultT", bound="ItemResult[Any]")

MOST_WORKERS = 64
# Items that were read and not yet given out: enough for one slow answer not to hold up the others for long.
_WINDOW = 1000
_GOODBYE_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.5
# A source of prompts that takes longer for one is waiting for something: results are given before the next is read.
_SLOW_READ_SECONDS = 0.05

_COMPLETE = "complete"

_log = logging.getLogger("gigaclient")


class MapOptions(NamedTuple):
    """How a run shall go, as the caller passed it; see ``giga.map``."""

    ordered: bool = True
    raise_errors: bool = False
    progress: bool | None = None
    checkpoint: str | os.PathLike[str] | None = None
    max_workers: int | None = None
    max_tokens_total: int | None = None
    max_seconds: float | None = None
    max_errors_in_row: int | None = None
    executor: Executor | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> MapOptions:
        """Those among the ``arguments`` of a method."""
        return cls(**{name: arguments[name] for name in cls._fields})

    def limits(self) -> Limits:
        """The budget.

        Raises:
            ConfigError: a number cannot work.
        """
        return Limits(
            max_tokens_total=setting.if_given("max_tokens_total", setting.whole(1), self.max_tokens_total),
            max_seconds=setting.if_given("max_seconds", setting.seconds, self.max_seconds),
            max_errors_in_row=setting.if_given("max_errors_in_row", setting.whole(1), self.max_errors_in_row),
        )


class MapProgress(NamedTuple):
    """How far a run has come: ``results.progress``.

    Attributes:
        read: prompts read so far.
        answered: those with an answer, restored ones included.
        failed: those with an error.
        restored: those that the checkpoint had.
        tokens: what this run spent, as the server counted; restored answers were paid for before.
        seconds: since the first prompt was read.
    """

    read: int
    answered: int
    failed: int
    restored: int
    tokens: int
    seconds: float


class MapResults(Iterator[ResultT], Generic[ResultT]):
    """The results of a run, as an iterator and a context manager.

    Nothing is read or sent before the first result is asked for. Leaving the loop early, :meth:`close`, an error and a
    Ctrl-C end what is under way; what was finished is in the checkpoint.

    Raises, while it is iterated:
        AuthenticationError, PaymentRequiredError, TLSError: every further prompt would fail in the same way. The
            results that had come are given first.
        NotFoundError: the model that all prompts go to does not exist.
        ConfigError: there is no key, or the client was closed.
        RateLimitError: the service was too busy for ten tries in a row, or asked for a longer wait than ten minutes.
        OSError: the checkpoint cannot be written.
        Exception: whatever the iterable of prompts raises, after the results of the prompts before; with
            ``raise_errors``, the error of the first result that has one.

    Where a limit of the run is reached, the iteration ends, and :attr:`stopped` names the limit.
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
        self._client = client
        self._job = job
        self._prompts = Prompts(prompts, template)
        self._ordered = bool(map_options.ordered)
        self._raise_errors = bool(map_options.raise_errors)
        self._limits = map_options.limits()
        most = _most(map_options, job)
        # What is wrong with an option is wrong with every prompt: better said now. So is a file that cannot be used.
        job.prepare(client, job.sample)
        self._checkpoint = Checkpoint(map_options.checkpoint) if map_options.checkpoint is not None else None
        limiter = client._core.limiter
        self._throttle = Throttle(most, (lambda: limiter.limit) if job.at_once is None else None)
        self._scheduler = Scheduler(self._throttle, Budget(self._limits), fatal_errors=job.fatal_errors)
        self._recorder = Recorder(self._checkpoint, job)
        try:
            self._pool = _pool(client, job, self._scheduler, self._recorder, most, map_options.executor)
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
        self._ends_at: float | None = None
        self._started_at: float | None = None
        self._seconds = 0.0
        # Counts of items: read; read and not yet finished; finished and not yet given out.
        self._read = 0
        self._open = 0
        self._answered = self._failed = self._restored = self._tokens = 0
        self._finished: deque[_Given] = deque()
        self._waiting: dict[int, _Given] = {}  # finished before an earlier one was
        self._next_index = 0
        self._seconds_read = 0.0  # for prompts, since a unit was complete

    # -- what a caller sees ------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> str | None:
        """Why the run ended before its prompts did: ``"max_tokens_total"``, ``"max_seconds"``, ``"max_errors_in_row"``,
        ``"closed"``, or the name of an error's class; None when it did not.
        """
        reason = self._scheduler.reason
        if isinstance(reason, BaseException):
            return type(reason).__name__
        return reason if reason != _COMPLETE else None

    @property
    def progress(self) -> MapProgress:
        """How far it has come."""
        seconds = self._seconds
        if self._started_at is not None and not self._closed:
            seconds = time.monotonic() - self._started_at
        return MapProgress(self._read, self._answered, self._failed, self._restored, self._tokens, seconds)

    def close(self) -> None:
        """End what is under way, and close the checkpoint. More than once is no harm."""
        if self._process != os.getpid():
            return  # a fork's child: all of it is the parent's
        self._leave("closed")
        self._pool.join(_GOODBYE_SECONDS)
        self._end()

    def __enter__(self) -> MapResults[ResultT]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_process", None) == os.getpid() and not self._closed:
            self._leave("closed")
            self._end()

    def __iter__(self) -> MapResults[ResultT]:
        return self

    def __next__(self) -> ResultT:
        if self._process != os.getpid():
            raise ConfigError("these results belong to the process that asked for them: call map() in this one")
        if self._closed:
            raise StopIteration
        try:
            given = self._next()
        except BaseException:
            self.close()
            raise
        if given is None:
            self.close()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            raise StopIteration
        result: ResultT = given.result
        if result.error is not None and self._raise_errors:
            self.close()
            raise result.error
        return result

    def __repr__(self) -> str:
        state = f"stopped by {self.stopped}" if self.stopped else "at its end" if self._closed else "under way"
        return f"<MapResults {state}: {self._answered} answered, {self._failed} failed of {self._read} read>"

    # -- how ---------------------------------------------------------------------------------------------------------

    def _next(self) -> _Given | None:
        """The next result; None when there are no more."""
        if self._inputs is None:
            self._begin()
        while True:
            self._collect()
            self._keep_to_time()
            given = self._ready() if self._source_is_slow else None
            if given is None:
                self._fill()
                given = self._ready()
            if given is not None:
                if self._checkpoint is not None:
                    self._checkpoint.sync(given.position)
                return given
            if self._open == 0 and self._exhausted:
                return None
            if self._scheduler.is_idle():
                # All that can be read is read, and nothing would come of what waits for more.
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
        """Read as many prompts as the workers can use soon, and no more."""
        try:
            self._client._check_open()
        except ConfigError as error:  # no fault of the prompts that are still to come
            self._scheduler.stop(error)
        # However fast they are: what has come in the meantime waits for the end of this.
        most = self._read + self._throttle.allowed() * self._job.max_items_per_task
        while not self._exhausted and self._read < most and self._scheduler.wants_more() and self._has_room():
            assert self._inputs is not None
            began_at = time.monotonic()
            try:
                given = next(self._inputs)
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
            index, self._read = self._read, self._read + 1
            self._open += 1
            self._take(index, given)
            if self._seconds_read > self._job.gathers_for:
                self._offer(self._job.rest())
                self._seconds_read = 0.0
            if self._source_is_slow and (self._finished or self._waiting or not self._scheduler.done.empty()):
                break  # what has come need not wait for the next prompt
        if self._scheduler.reason is not None and not self._exhausted:
            self._end_of_prompts()

    def _has_room(self) -> bool:
        held = self._open + len(self._finished) + len(self._waiting)
        return held < _WINDOW or held < 2 * self._job.max_items_per_task * self._throttle.allowed()

    def _end_of_prompts(self) -> None:
        self._exhausted = True
        self._offer(self._job.rest())

    def _offer(self, tasks: Iterator[Task]) -> None:
        for task in tasks:
            self._seconds_read = 0.0
            self._scheduler.offer(task)
            self._pool.grow()

    def _take(self, index: int, given: Any) -> None:
        try:
            request, content = self._job.prepare(self._client, self._prompts.ask(given))
            key = key_of(self._job.kind, content) if self._needs_keys else NO_KEY
            item = Item(index, given, request, key)
        except Exception as error:
            item = Item(index, given, None, NO_KEY)
            outcome = TaskResult(error=error)
            self._scheduler.count(outcome)
            self._finish(item, outcome, self._recorder(Task([item]), [outcome]))
            return
        outcome_found = self._recorder.restored(item)
        if outcome_found is not None:
            self._finish(item, outcome_found, 0, restored=True)
            return
        self._offer(self._job.gather(item))

    def _wait(self) -> None:
        seconds = _LOOK_AGAIN_SECONDS
        if self._ends_at is not None:
            seconds = max(0.0, min(seconds, self._ends_at - time.monotonic()))
        try:
            self._settle(self._scheduler.done.get(timeout=seconds))
        except queue.Empty:
            self._pool.grow()  # more may go by now

    def _keep_to_time(self) -> None:
        if self._ends_at is not None and self._ends_at <= time.monotonic():
            # What is under way is given up: it would not be in time, and asking for it again is the next run's.
            self._ends_at = None
            self._leave("max_seconds")

    def _collect(self) -> None:
        while True:
            try:
                self._settle(self._scheduler.done.get_nowait())
            except queue.Empty:
                return

    def _settle(self, finished: Finished) -> None:
        task, outcomes, position = finished
        if outcomes is None:
            for item in task.items:
                self._open -= 1
                if self._ordered:
                    self._waiting[item.index] = _Given(None, 0)
            return
        for item, outcome in zip(task.items, outcomes, strict=True):
            self._finish(item, outcome, position)

    def _finish(self, item: Item, outcome: TaskResult, position: int, *, restored: bool = False) -> None:
        self._open -= 1
        result = self._job.result(item, outcome)
        result.restored = restored
        tokens = 0 if restored else _tokens(result)
        self._tokens += tokens
        self._restored += restored
        if result.error is None:
            self._answered += 1
        else:
            self._failed += 1
        self._bar.update(tokens=tokens, failed=result.error is not None, restored=restored)
        if self._ordered:
            self._waiting[item.index] = _Given(result, position)
        else:
            self._finished.append(_Given(result, position))

    def _ready(self) -> _Given | None:
        while self._ordered and self._next_index in self._waiting:
            given = self._waiting.pop(self._next_index)
            self._next_index += 1
            if given.result is not None:
                return given
        return self._finished.popleft() if self._finished else None

    def _leave(self, reason: str) -> None:
        self._scheduler.stop(_COMPLETE if reason == "closed" and self._is_complete() else reason)
        self._pool.cancel()

    def _is_complete(self) -> bool:
        return self._exhausted and self._open == 0

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._started_at is not None:
            self._seconds = time.monotonic() - self._started_at
        self._inputs = iter(())  # a file that was opened here is closed by that
        self._bar.close(self.stopped)
        if self._checkpoint is not None:
            self._checkpoint.close()
        reason = self._scheduler.reason
        if isinstance(reason, BaseException) and self._failure is None:
            self._failure = reason
        elif self.stopped not in (None, "closed"):
            _log.warning(
                "the run over %d prompts was stopped by %s: %d answered, %d failed",
                self._read,
                self.stopped,
                self._answered,
                self._failed,
            )


class _Given(NamedTuple):
    """A result on its way out, and where the checkpoint has it; None in place of one that was not asked."""

    result: Any
    position: int


def _most(map_options: MapOptions, job: Job[Any, Any]) -> int:
    """How many units may be under way."""
    most: int | None = setting.if_given("max_workers", setting.whole(1), map_options.max_workers) or job.at_once
    if map_options.executor is None:
        return most or MOST_WORKERS
    from gigaclient.bulk.executors import checked, workers_of

    workers = workers_of(checked(map_options.executor))
    return min(most or workers, workers) if workers is not None else most or MOST_WORKERS


def _tokens(result: Any) -> int:
    return used(result.usage) or 0


def _pool(
    client: BaseClient[Any],
    job: Job[Any, Any],
    scheduler: Scheduler,
    recorder: Recorder,
    most: int,
    executor: Executor | None,
) -> WorkerPool | ExecutorPool:
    if executor is None:
        return WorkerPool(scheduler, job, partial(asked, client, job), recorder, most)
    from gigaclient.bulk.executors import ExecutorPool  # few programs have one

    return ExecutorPool(scheduler, job, client, recorder, executor)
