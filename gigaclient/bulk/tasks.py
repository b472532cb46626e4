"""The data of a run over many prompts: items, tasks, their results, and the interface of jobs."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from gigaclient.bulk.checkpoint.lines import KEY_BYTES
from gigaclient.errors import APIStatusError, GigaClientError
from gigaclient.types.bulk import ItemResult

if TYPE_CHECKING:
    from gigaclient.bulk.checkpoint import Checkpoint

__all__ = ["NO_KEY", "Item", "Job", "Task", "TaskResult", "error_of_all", "key_of", "may_be_one_item", "used"]

ResultT = TypeVar("ResultT", bound="ItemResult[Any]")
ClientT = TypeVar("ClientT")

NO_KEY = bytes(KEY_BYTES)
"""The key of an item that cannot be sent, and of all items when keys are not needed."""


class Item(msgspec.Struct, eq=False):
    """One prompt of a run.

    Attributes:
        index: its position among the prompts, from 0.
        input: the caller's input.
        request: the request that the job made of it; picklable.
        key: identifies the request by content and options; see :func:`key_of`.
    """

    index: int
    input: Any
    request: Any
    key: bytes


class TaskResult(msgspec.Struct, kw_only=True):
    """The result of one item. It can be pickled: workers in other processes return it.

    Attributes:
        answer: the answer (a completion, a vector); None after an error without a partial answer.
        value: the answer parsed as a type, if one was requested.
        run: the dialogue with functions, if there was one.
        usage: tokens, if the server reported them.
        error: the error.
        attempts: requests that were sent.
        seconds: how long it took.
        fatal: every further item would meet this error.
    """

    answer: Any = None
    value: Any = None
    run: Any = None
    usage: Any = None
    error: Exception | None = None
    attempts: int = 0
    seconds: float = 0.0
    fatal: bool = False


class Task(msgspec.Struct, eq=False):
    """Items that are sent together: one, unless the service takes several in one request.

    Attributes:
        items: the items.
        note: data of the job; picklable.
        sent: requests sent for it in earlier attempts.
        started_at: when it was first taken, by the monotonic clock; 0 before.
        rank: the number of running tasks when it was last taken, itself included.
    """

    items: list[Item]
    note: Any = None
    sent: int = 0
    started_at: float = 0.0
    rank: int = 0

    def halves(self) -> list[Task]:
        """Split a task that failed because of one of its items into two."""
        middle = len(self.items) // 2
        parts = (self.items[:middle], self.items[middle:])
        return [Task(items, sent=self.sent, started_at=self.started_at) for items in parts if items]


class Job(abc.ABC, Generic[ClientT, ResultT]):
    """The work that is done for each prompt. Picklable, unless it holds unpicklable objects of the caller.

    ``prepare``, ``gather``, ``rest``, ``result`` and ``restored`` run in the thread that iterates the results. ``run``
    runs in many threads, or in other processes.

    Attributes:
        kind: the operation and the service: a part of each key.
        requeues_on_429: a task that met a 429 has done nothing yet, so it can run again from its beginning.
        max_items_per_task: the largest number of items in a task.
        max_gather_seconds: seconds that reading the prompts may take to fill a task; then the task runs partly filled.
        max_concurrent_tasks: the largest number of running tasks; None to find the account's limit.
        fatal_errors: errors of this job that every further task would meet: the first one ends the run.
        keyed: the job reads the keys of items. Without this and without a checkpoint, keys are not computed.
        item_name: the unit of the progress bar.
        sample: a prompt that :meth:`prepare` accepts if the options are valid.
    """

    kind: str
    item_name: str = "prompt"
    sample: Any = "?"
    requeues_on_429: bool = True
    max_items_per_task: int = 1
    max_gather_seconds: float = 1.0
    max_concurrent_tasks: int | None = None
    fatal_errors: tuple[type[GigaClientError], ...] = ()
    keyed: bool = False

    @abc.abstractmethod
    def prepare(self, client: ClientT, prompt: Any) -> tuple[Any, bytes]:
        """Return the request of ``prompt`` for :meth:`run`, and the content that its key is made of.

        Raises:
            ConfigError: the prompt cannot be sent.
        """

    @abc.abstractmethod
    def run(self, client: ClientT, task: Task) -> list[TaskResult]:
        """Send the items of ``task`` and return a result for each, in order. An exception is the error of each item."""

    @abc.abstractmethod
    def result(self, item: Item, task_result: TaskResult) -> ResultT:
        """Return the caller's result for an item."""

    @abc.abstractmethod
    def saved(self, task_result: TaskResult) -> dict[str, Any]:
        """Return the fields of a checkpoint line for a good result, in addition to those that every line has."""

    @abc.abstractmethod
    def restored(self, line: Mapping[str, Any]) -> TaskResult:
        """Return the result that :meth:`saved` wrote.

        Raises:
            Exception: the line cannot be used, and the item is sent again.
        """

    def gather(self, item: Item) -> Iterator[Task]:
        """Yield the tasks that are complete with ``item``."""
        yield Task([item])

    def rest(self) -> Iterator[Task]:
        """Yield the partially filled tasks: no more items come, or not soon."""
        yield from ()

    def split(self, task: Task, error: Exception) -> Sequence[Task]:
        """Return tasks that replace ``task``, which failed as a whole; empty to give each item the error."""
        return ()

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """Prepare for a run."""

    def recorded(self, task: Task) -> None:
        """Note that the checkpoint has a line for each item of ``task``."""


def key_of(kind: str, content: bytes) -> bytes:
    """Return the key of a request: the same for equal JSON, whatever the order of its fields.

    Args:
        kind: the operation and the service.
        content: JSON.
    """
    canonical = msgspec.json.encode(msgspec.json.decode(content), order="sorted")
    return hashlib.sha256(kind.encode() + b"\0" + canonical).digest()[:KEY_BYTES]


def error_of_all(results: Sequence[TaskResult]) -> Exception | None:
    """Return the error that the whole task met: the same one for each of its items; None if there is none."""
    error = results[0].error if results else None
    return error if all(task_result.error is error for task_result in results) else None


def may_be_one_item(error: Exception) -> bool:
    """Return True if one item of a request may have caused its error: it is too long, or its content is refused."""
    return isinstance(error, APIStatusError) and error.status_code in (400, 413, 422)


def used(usage: Any) -> int | None:
    """Return the tokens in total; None if the server did not report them."""
    total = getattr(usage, "total_tokens", None)
    return total if total is not None else getattr(usage, "prompt_tokens", None)
