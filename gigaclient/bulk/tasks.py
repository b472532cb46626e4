"""What travels through a run over many prompts: items, the units that they are asked in, and what comes of them."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from gigaclient.errors import GigaClientError
from gigaclient.types.bulk import ItemResult

if TYPE_CHECKING:
    from gigaclient.bulk.checkpoint import Checkpoint

__all__ = ["NO_KEY", "Item", "Job", "Task", "TaskResult", "error_of_all", "key_of", "used"]

ResultT = TypeVar("ResultT", bound="ItemResult[Any]")
ClientT = TypeVar("ClientT")

_KEY_BYTES = 16

NO_KEY = bytes(_KEY_BYTES)
"""The key of what cannot be asked, and of everything where nobody looks at keys."""


class Item(msgspec.Struct, eq=False):
    """One prompt on its way.

    Attributes:
        index: its place among the prompts, from 0.
        input: what the caller passed.
        request: what the job made of it; picklable.
        key: tells apart what is asked, by content and options; see :func:`key_of`.
    """

    index: int
    input: Any
    request: Any
    key: bytes


class TaskResult(msgspec.Struct, kw_only=True):
    """What came of one item. It can be pickled: workers in other processes send it back.

    Attributes:
        answer: what the job asks for (a completion, a vector); None after an error that came without one.
        value: the answer as a value of a type, where one was asked for.
        run: the dialogue with functions, where there was one.
        usage: tokens, where the server said so.
        error: what went wrong.
        attempts: requests that were sent.
        seconds: how long it took.
        fatal: whether every further item would meet this error.
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
    """Items that are asked together: one, unless the service takes several in one request.

    Attributes:
        items: the items.
        note: what the job wants to find again with them; picklable.
        sent: requests that were sent for it before.
        started_at: when it was first taken, by the monotonic clock; 0 before.
        rank: how many units were under way when it was taken last, itself included.
    """

    items: list[Item]
    note: Any = None
    sent: int = 0
    started_at: float = 0.0
    rank: int = 0

    def halves(self) -> list[Task]:
        """Two units in place of one that failed because of one of its items."""
        middle = len(self.items) // 2
        parts = (self.items[:middle], self.items[middle:])
        return [Task(items, sent=self.sent, started_at=self.started_at) for items in parts if items]


class Job(abc.ABC, Generic[ClientT, ResultT]):
    """What is asked for each prompt. Picklable, unless it holds something of the caller's that is not.

    ``prepare``, ``gather``, ``rest``, ``result`` and ``restored`` run in the thread that iterates the results; ``ask``
    runs in many threads, or in other processes.

    Attributes:
        kind: what is done, and by which service: a part of each key.
        puts_off: whether a unit that met a 429 has done nothing yet, so that it can be asked again from its beginning.
        max_items_per_task: items in a unit at the most.
        gathers_for: seconds that the iterable of prompts may take to fill a unit; then the unit goes as it is.
        at_once: units under way at the most, where the account's limit says nothing of them; None to find it out.
        hopeless: errors of this job's own that every further unit would meet: the first ends the run.
        keyed: whether it looks at the keys of items. The checkpoint does; without one they are not made for it alone.
        item_name: what the progress bar counts.
        sample: a prompt that :meth:`prepare` takes if the options are right.
    """

    kind: str
    item_name: str = "prompt"
    sample: Any = "?"
    requeues_on_429: bool = True
    max_items_per_task: int = 1
    gathers_for: float = 1.0
    at_once: int | None = None
    fatal_errors: tuple[type[GigaClientError], ...] = ()
    keyed: bool = False

    @abc.abstractmethod
    def prepare(self, client: ClientT, prompt: Any) -> tuple[Any, bytes]:
        """What :meth:`ask` needs of ``prompt``, and the content that its key is made of.

        Raises:
            ConfigError: it cannot be asked.
        """

    @abc.abstractmethod
    def ask(self, client: ClientT, task: Task) -> list[TaskResult]:
        """Ask the items of ``task``: an outcome for each, in their order. What it raises is the error of each."""

    @abc.abstractmethod
    def result(self, item: Item, outcome: TaskResult) -> ResultT:
        """What the caller gets."""

    @abc.abstractmethod
    def saved(self, outcome: TaskResult) -> dict[str, Any]:
        """What a line of the checkpoint holds of a good outcome, beside what every line does."""

    @abc.abstractmethod
    def restored(self, line: Mapping[str, Any]) -> TaskResult:
        """The outcome that :meth:`saved` wrote.

        Raises:
            Exception: the line cannot be used, and the item is asked again.
        """

    def gather(self, item: Item) -> Iterator[Task]:
        """The units that are complete now that ``item`` has come."""
        yield Task([item])

    def rest(self) -> Iterator[Task]:
        """The units of what was gathered and is not complete: no more items come, or not soon."""
        yield from ()

    def split(self, task: Task, error: Exception) -> Sequence[Task]:
        """What to ask in place of ``task``, which failed as a whole; nothing, to give each of its items the error."""
        return ()

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """The run begins."""

    def recorded(self, task: Task) -> None:
        """The checkpoint has a line for each item of ``task``."""


def key_of(kind: str, content: bytes) -> bytes:
    """The key of what is asked: the same for the same content, whatever the order of the fields of its JSON.

    Args:
        kind: what is done with it, and by which service.
        content: JSON.
    """
    canonical = msgspec.json.encode(msgspec.json.decode(content), order="sorted")
    return hashlib.sha256(kind.encode() + b"\0" + canonical).digest()[:_KEY_BYTES]


def error_of_all(outcomes: Sequence[TaskResult]) -> Exception | None:
    """The error that a unit met as a whole, if it met one: the same for each of its items."""
    error = outcomes[0].error if outcomes else None
    return error if all(outcome.error is error for outcome in outcomes) else None


def used(usage: Any) -> int | None:
    """Tokens in all; None where the server did not say."""
    total = getattr(usage, "total_tokens", None)
    return total if total is not None else getattr(usage, "prompt_tokens", None)
