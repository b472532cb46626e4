"""A run whose prompts are asked by an executor of the caller's: threads, processes, or the workers of a cluster.

One thread takes units from the dispatcher and submits them. In other processes the client travels by pickle; each
process opens it once, so there is one token and one pool of connections. The account's limit is kept here, by the
client's own queue: a unit has its place before it is submitted and gives it back when it comes home. So ten streams are
ten streams, however many workers there are, and in the workers nothing queues and no 429 is retried.
"""

from __future__ import annotations

import contextvars
import hashlib
import io
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient._core.client_cache import ClientCache
from gigaclient._core.limiter import Limiter, Permit
from gigaclient._primitives.deadline import CancelGroup, Cancelled, Deadline, Timeouts
from gigaclient.bulk.scheduler import Scheduler
from gigaclient.bulk.tasks import Item, Job, Task, TaskResult
from gigaclient.bulk.thread_pool import complete_task
from gigaclient.bulk.worker import asked
from gigaclient.errors import ConfigError, GigaClientError, RateLimitError

if TYPE_CHECKING:
    from gigaclient._core.base_client import BaseClient

__all__ = ["ExecutorPool", "Parcel", "ask_remotely", "checked", "workers_of"]

_MOST_TOLD = 300
# Longer than it takes to hand a unit over and its answer back, where workers are free.
_HANDED_OVER_SECONDS = 0.1

# What msgspec notes of a class the first time it meets it. It cannot be pickled.
_MADE_BY_MSGSPEC = "__msgspec_cache__"

_IN_OTHER_PROCESSES = "executor= asks in other processes, and "


def checked(executor: Any) -> Executor:
    """``executor``, if it is one.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(executor, Executor):
        return executor
    found = f"the class {executor.__name__}" if isinstance(executor, type) else f"a {type(executor).__name__}"
    raise ConfigError(
        f"executor= takes a concurrent.futures.Executor, such as ThreadPoolExecutor(8) or, of a Dask client, "
        f"client.get_executor(); this is {found}"
    )


def workers_of(executor: Executor) -> int | None:
    """How many calls ``executor`` runs at once; None where it does not say."""
    workers = getattr(executor, "_max_workers", None)  # that of concurrent.futures, and of whoever follows it
    return workers if isinstance(workers, int) and workers > 0 else None


class ExecutorPool:
    """Submits units to an executor, and settles what comes back. The executor stays the caller's: it is not shut down.

    Args:
        dispatcher: where units come from and go to.
        job: what is asked.
        client: who asks.
        record: writes what came of a unit to the checkpoint; its position there.
        executor: where it is asked.

    Raises:
        ConfigError: the executor is none, or the client or the job cannot travel to its processes.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        job: Job[Any, Any],
        client: BaseClient[Any],
        record: Callable[[Task, Sequence[TaskResult]], int],
        executor: Executor,
    ) -> None:
        self._scheduler = scheduler
        self._job = job
        self._record = record
        self._executor = checked(executor)
        self._road: _Here | _Elsewhere
        if isinstance(executor, ThreadPoolExecutor):
            self._road = _Here(client, job)
        else:
            self._road = _Elsewhere(client, job, begins_at_once=workers_of(executor) is not None)
        self._flights: dict[Future[Any], _SubmittedTask] = {}
        self._deadline = Deadline(Timeouts())
        self._cancelled = False
        self._pump: threading.Thread | None = None
        # What the caller set of context variables holds in threads of this process as well.
        self._context = contextvars.copy_context()

    def grow(self) -> None:
        """Begin to submit, if that has not been done.

        Raises:
            RuntimeError: the system gives no thread.
        """
        if self._pump is None:
            pump = threading.Thread(target=self._context.run, args=(self._work,), name="giga.map-submit", daemon=True)
            pump.start()
            self._pump = pump

    def cancel(self) -> None:
        """End what can be ended. Whatever still comes of what was submitted is dropped."""
        self._cancelled = True  # and then whoever begins: one of the two sees the other
        self._deadline.cancel()
        for future, flight in [*self._flights.items()]:
            future.cancel()
            flight.cancel()

    def join(self, seconds: float) -> None:
        """Wait for the threads of this process to end, ``seconds`` at the longest; other processes are left alone."""
        ends_at = time.monotonic() + seconds
        if self._pump is not None and self._pump is not threading.current_thread():
            self._pump.join(seconds)
        here = [future for future, flight in [*self._flights.items()] if flight.scope is not None]
        wait(here, timeout=max(0.0, ends_at - time.monotonic()))

    # -- how ---------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            scope = CancelGroup()
            task = self._scheduler.take(scope)
            if task is None:
                return
            try:
                flight = self._road.flight(task, scope, self._deadline)
            except Cancelled:
                self._scheduler.finish(task, None)
            except Exception as error:
                failure = ConfigError(f"{_IN_OTHER_PROCESSES}this prompt cannot be pickled ({_told(error)})")
                complete_task(
                    self._scheduler, self._job, self._record, task, [TaskResult(error=failure) for _ in task.items]
                )
            else:
                try:
                    self._submit(task, flight)
                except BaseException as error:  # whatever it is, the run must not wait for this unit
                    flight.end(())
                    self._give_up(task, _broken(error, "the executor takes no more work"))

    def _submit(self, task: Task, flight: _SubmittedTask) -> None:
        flight.submitted_at = time.monotonic()
        future = self._executor.submit(flight.function, *flight.arguments)
        self._flights[future] = flight
        if self._cancelled:
            future.cancel()
            flight.cancel()
        future.add_done_callback(partial(self._landed, task))

    def _landed(self, task: Task, future: Future[Any]) -> None:
        # In whatever thread the executor chooses. What is raised here would be lost, and the unit with it.
        try:
            flight = self._flights.pop(future)
            outcomes = self._brought(flight, task, future)
            if not outcomes:
                self._scheduler.finish(task, None)
                return
            complete_task(self._scheduler, self._job, self._record, task, outcomes)
        except BaseException as error:
            self._give_up(task, error)

    def _brought(self, flight: _SubmittedTask, task: Task, future: Future[Any]) -> Sequence[TaskResult]:
        """What came of ``task``; nothing when it was given up."""
        outcomes: Sequence[TaskResult] = ()
        try:
            if self._cancelled:
                return ()
            failure = None if future.cancelled() else future.exception()
            if isinstance(failure, (BrokenExecutor, ImportError)):  # the next unit would meet it as well
                self._scheduler.stop(_broken(failure, "the executor does not work any more"))
            elif failure is not None or future.cancelled():
                told = "it was cancelled there" if failure is None else _told(failure)
                error = GigaClientError(f"the executor brought no answer ({told})")
                outcomes = [TaskResult(error=error) for _ in task.items]
            else:
                brought = flight.brought(task, future.result())
                if isinstance(brought, GigaClientError):
                    self._scheduler.stop(brought)
                else:
                    outcomes = brought
            return outcomes
        finally:
            flight.end(outcomes)

    def _give_up(self, task: Task, error: BaseException) -> None:
        self._scheduler.stop(error)
        self._scheduler.finish(task, None)


def _broken(error: BaseException, what: str) -> GigaClientError:
    """The error that the run ends with."""
    if isinstance(error, GigaClientError):
        return error
    advice = ""
    if isinstance(error, BrokenExecutor):
        advice = (
            ". One process that is killed ends them all; and a script whose processes are spawned needs its code under "
            'if __name__ == "__main__":'
        )
    elif isinstance(error, ImportError):
        advice = ". Its workers need gigaclient of this version, and the modules of your functions and types"
    return GigaClientError(f"{what} ({_told(error)}); what had come was given{advice}")


def _told(error: BaseException) -> str:
    text = str(error)
    text = text if len(text) <= _MOST_TOLD else text[: _MOST_TOLD - 1] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# -- on the way ------------------------------------------------------------------------------------------------------


class _SubmittedTask:
    """A unit that was submitted.

    Attributes:
        function, arguments: what is submitted.
        permit: its place in the client's queue; None where the call takes its own.
        scope: what ends it; None where nothing reaches it.
        submitted_at: when it was, by the monotonic clock.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        permit: Permit | None = None,
        scope: CancelGroup | None = None,
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.permit = permit
        self.scope = scope
        self.submitted_at = 0.0

    def cancel(self) -> None:
        """End the call, where it is one of this process."""
        if self.scope is not None:
            self.scope.cancel()

    def brought(self, task: Task, result: Any) -> Sequence[TaskResult] | GigaClientError:
        """What came home: the outcomes of ``task``, or why no unit can be asked."""
        if self.permit is None:
            return list(result)
        try:
            seconds, outcomes = pickle.loads(result)
        except Exception as error:
            unreadable = GigaClientError(f"the answer came back from a worker and cannot be read here ({_told(error)})")
            return [TaskResult(error=unreadable) for _ in task.items]
        if isinstance(outcomes, GigaClientError):
            return outcomes
        now = time.monotonic()
        if now - self.submitted_at - seconds > seconds / 2 + _HANDED_OVER_SECONDS:
            # It waited for a worker: so many submitted are not as many under way, and prove nothing of the service.
            task.rank = 0
        if not task.sent:
            # The clock of another machine has another zero, and waiting for a worker does not count.
            task.started_at = now - seconds
        task.sent += outcomes[0].attempts
        for outcome in outcomes:
            outcome.attempts = task.sent
            outcome.seconds = now - task.started_at
        return list(outcomes)

    def end(self, outcomes: Sequence[TaskResult]) -> None:
        """Give the place back, and tell the queue what the service said."""
        if self.permit is None:
            return
        if outcomes and isinstance(outcomes[0].error, RateLimitError):
            self.permit.refused()
        elif any(outcome.answer is not None for outcome in outcomes):
            self.permit.succeeded()
        self.permit.release()


class _Here:
    """Threads of this process: the client itself asks."""

    def __init__(self, client: BaseClient[Any], job: Job[Any, Any]) -> None:
        self._client = client
        self._job = job

    def flight(self, task: Task, scope: CancelGroup, deadline: Deadline) -> _SubmittedTask:
        arguments = (asked, self._client, self._job, task, scope)
        return _SubmittedTask(contextvars.copy_context().run, arguments, scope=scope)


class _Elsewhere:
    """Other processes: a copy of the client asks, with a place that is held here.

    Args:
        begins_at_once: whether no more is submitted than there are workers, so that what is submitted is sent.
    """

    def __init__(self, client: BaseClient[Any], job: Job[Any, Any], *, begins_at_once: bool) -> None:
        self._begins_at_once = begins_at_once
        self._limiter = client._core.limiter
        self._client = _packed(client, "the client")
        self._job = _packed(job, "functions= or response_format=")

    def flight(self, task: Task, scope: CancelGroup, deadline: Deadline) -> _SubmittedTask:
        # The input stays: it may be anything, and is not what is asked.
        items = [Item(item.index, None, item.request, item.key) for item in task.items]
        parcel = Parcel(_pickled(Task(items, task.note)), os.urandom(16).hex())
        permit = self._limiter.acquire(deadline)
        scope.sent = int(self._begins_at_once)
        return _SubmittedTask(ask_remotely, (self._client, self._job, parcel), permit=permit)


class Parcel:
    """Something pickled, on its way to another process. It shows nothing: executors log the arguments of what fails.

    Args:
        content: the pickle.
        mark: tells it apart.
    """

    __slots__ = ("_content", "mark")

    def __init__(self, content: bytes, mark: str) -> None:
        self._content = content
        self.mark = mark

    def open(self) -> Any:
        """What is in it, made anew."""
        return pickle.loads(self._content)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._content, self.mark)

    def __repr__(self) -> str:
        return f"<Parcel of {len(self._content)} bytes>"

    def __dask_tokenize__(self) -> str:
        # Where the same arguments mean the same answer, a unit that was put off would be given its refusal again.
        return self.mark


def _packed(thing: Any, name: str) -> Parcel:
    try:
        content = _pickled(thing)
    except ConfigError as error:
        reason = error.message
    except Exception as error:
        reason = f"{name} cannot be pickled ({_told(error)}): define functions, types and hooks at the top of a module"
    else:
        return Parcel(content, hashlib.sha256(content).hexdigest())
    raise ConfigError(_IN_OTHER_PROCESSES + reason)


def _pickled(thing: Any) -> bytes:
    """``thing`` as a pickle, which other processes can read.

    What a script or a notebook defines is not to be found elsewhere. Dask and Ray bring a pickler that packs it whole.
    """
    cloudpickle = sys.modules.get("cloudpickle") or sys.modules.get("ray.cloudpickle")
    if cloudpickle is None:
        return pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
    try:
        content = pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
    except ConfigError:
        raise
    except Exception:
        return _packed_whole(thing, cloudpickle)
    return content if b"__main__" not in content else _packed_whole(thing, cloudpickle)


def _packed_whole(thing: Any, cloudpickle: Any) -> bytes:
    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        def reducer_override(self, found: Any) -> Any:
            if isinstance(found, type) and _MADE_BY_MSGSPEC in vars(found):
                delattr(found, _MADE_BY_MSGSPEC)  # it makes another when it needs it
            reduced = super().reducer_override(found)
            if reduced is not NotImplemented and isinstance(found, msgspec.StructMeta):
                raise ConfigError(  # it would come out without its fields
                    f"the msgspec.Struct {found.__qualname__} of a script or notebook cannot travel: define it in a "
                    "module that the workers have, or make it a dataclass"
                )
            return reduced

    packed = io.BytesIO()
    Pickler(packed, pickle.HIGHEST_PROTOCOL).dump(thing)
    return packed.getvalue()


# -- in the other process --------------------------------------------------------------------------------------------

_clients: ClientCache[Any] = ClientCache()
_jobs: ClientCache[Any] = ClientCache()


def ask_remotely(client: Parcel, job: Parcel, task: Parcel) -> bytes:
    """Ask a unit, in a process that the client travelled to.

    Nothing is raised: executors wrap what is in classes of their own, and log it.

    Returns:
        A pickle of how many seconds it took, and of the outcomes, or of the error that every further unit would meet.
    """
    began_at = time.monotonic()
    try:
        giga = _clients.get({"": client.mark}, client.open)
        asking = _jobs.get({"": job.mark}, job.open)
        opened: Task = task.open()
    except Exception as error:
        return _pickled((0.0, _cannot_open(error)))
    opened.started_at = began_at
    # The account's limit is kept where the results are iterated. A new limiter each time, so that none is learned.
    bound = giga._within(CancelGroup())
    bound._core.limiter = Limiter()
    outcomes = [_portable(outcome) for outcome in asked(bound, asking, opened, CancelGroup())]
    return _pickled((time.monotonic() - began_at, outcomes))


def _cannot_open(error: Exception) -> GigaClientError:
    reason = error.message if isinstance(error, GigaClientError) else _told(error)
    return GigaClientError(
        f"a worker of the executor cannot open what was sent ({reason}); it needs gigaclient of the same version, the "
        "modules of your functions and types, and the files that the client's settings name"
    )


def _portable(outcome: TaskResult) -> TaskResult:
    """``outcome`` without what cannot be read where it goes. The answer always can."""
    if not _travels(outcome.run):
        outcome.run = None
    if not _travels(outcome.value):
        outcome.value = None
        outcome.error = GigaClientError(
            "the value of the answer cannot come back from another process: define its type at the top of a module"
        )
    error = outcome.error
    if error is not None and not _travels(error):
        if isinstance(error, GigaClientError):
            error.run = None
        if not _travels(error):
            outcome.error = GigaClientError(_told(error))
    return outcome


def _travels(thing: Any) -> bool:
    if thing is None:
        return True
    try:
        pickle.loads(_pickled(thing))
    except Exception:
        return False
    return True
