"""Many prompts by way of ``POST /batches``: a batch is created, waited for, and its results joined to the prompts.

A row's id is the key of its prompt, so that results find their prompts again in another run. With a checkpoint, a batch
is noted there as soon as it exists: ``{"batch": "<id>", "rows": [ids of the rows]}``; and once its results are there as
well, ``{"batch": "<id>", "settled": true}``. A later run waits for what was not settled, whatever the order in which
its prompts come, and creates nothing twice.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient._core import settings as setting
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives.decoding import convert
from gigaclient.bulk.tasks import Item, Task, TaskResult
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    ConfigError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
)
from gigaclient.functions import as_tools, listed
from gigaclient.gigachat.batching import Parts
from gigaclient.gigachat.jobs.chat import GigaChatJob

if TYPE_CHECKING:
    from gigaclient.bulk.checkpoint import Checkpoint
    from gigaclient.gigachat.resources.batches import BatchesEndpoints
    from gigaclient.types import BatchResult

__all__ = ["BatchJob", "batch_job"]

_log = logging.getLogger("gigaclient")

# The API documents no numbers. Some name 500 rows; and 20 MB is what any request might have.
_ROWS_AT_ONCE = 500
_BYTES_AT_ONCE = 20_000_000
_ID_BYTES = 60

_BATCHES_AT_ONCE = 4
_POLL_SECONDS = 2.0

# What a single row can be to blame for, or the number of rows.
_OF_A_ROW = (400, 413, 422)


class _Note(msgspec.Struct):
    """What the checkpoint holds of a batch.

    Attributes:
        batch: its id.
        rows: the ids of its rows.
        settled: the ids of rows whose results are there; True for all of them.
    """

    batch: str
    rows: list[str] = []
    settled: list[str] | bool = False


class _Sent(msgspec.Struct):
    """The batch that a unit is in.

    Attributes:
        batch_id: its id.
        row_ids: for each item of the unit, the id of its row.
        found: it was created by an earlier run.
        came: its results are there.
    """

    batch_id: str
    row_ids: list[str]
    found: bool = False
    came: bool = False


class BatchJob(GigaChatJob):
    """``giga.chat``, or ``giga.chat_parse`` where a type is wanted, for each prompt, by way of batches.

    The keys are those of the same prompts without batches: what one run asked the one way, the next need not ask the
    other.

    Args:
        kind: as for :class:`~gigaclient.gigachat.jobs.chat.GigaChatJob`.
        options: as for ``giga.chat``.
        batch_size: prompts in a batch at the most.
        poll_interval: seconds before the second look at a batch.

    Raises:
        ConfigError: an argument cannot work.
    """

    requeues_on_429 = False
    gathers_for = math.inf
    at_once = _BATCHES_AT_ONCE
    fatal_errors = (ForbiddenError,)
    keyed = True

    def __init__(
        self,
        kind: Any,
        options: Mapping[str, Any],
        *,
        strict: bool = True,
        batch_size: int | None = None,
        poll_interval: float | None = None,
    ) -> None:
        super().__init__(kind, options, strict=strict)
        given = _ROWS_AT_ONCE if batch_size is None else batch_size
        self.max_items_per_task = setting.named("batch_size", setting.whole(1), given)
        given_seconds = _POLL_SECONDS if poll_interval is None else poll_interval
        self._poll_interval = setting.named("poll_interval", setting.seconds, given_seconds)
        self._of_calls = {name: value for name, value in self.options.items() if name in CALL_OPTIONS}
        self._parts: Parts[Item] = Parts(self.max_items_per_task, _BYTES_AT_ONCE)
        self._checkpoint: Checkpoint | None = None
        # What earlier runs left: where a key has rows, and how many rows of a batch no prompt has come for yet.
        self._places: dict[str, list[tuple[str, str]]] = {}
        self._missing: dict[str, int] = {}
        self._joined: dict[str, Task] = {}

    def begin(self, checkpoint: Checkpoint | None) -> None:
        self._checkpoint = checkpoint
        for batch_id, row_ids in _unsettled([] if checkpoint is None else checkpoint.notes()).items():
            self._missing[batch_id] = len(row_ids)
            for row_id in row_ids:
                self._places.setdefault(row_id.partition("-")[0], []).append((batch_id, row_id))
        if self._missing:
            _log.info("%d batches of an earlier run are waited for", len(self._missing))

    def prepare(self, client: Any, prompt: Any) -> tuple[Any, bytes]:
        _, content = super().prepare(client, prompt)
        return content, content

    # -- prompts into units ------------------------------------------------------------------------------------------

    def gather(self, item: Item) -> Iterator[Task]:
        place = self._place_of(item.key.hex())
        if place is None:
            for items in self._parts.add(item, len(item.request) + _ID_BYTES):
                yield Task(items)
            return
        batch_id, row_id = place
        task = self._joined.setdefault(batch_id, Task([], note=_Sent(batch_id, [], found=True)))
        task.items.append(item)
        task.note.row_ids.append(row_id)
        if not self._missing[batch_id]:
            yield self._joined.pop(batch_id)
        elif sum(len(task.items) for task in self._joined.values()) >= self.max_items_per_task:
            yield from self._rest_of_joined()

    def rest(self) -> Iterator[Task]:
        yield from self._rest_of_joined()
        for items in self._parts.rest():
            yield Task(items)

    def _rest_of_joined(self) -> Iterator[Task]:
        joined, self._joined = self._joined, {}
        yield from joined.values()

    def _place_of(self, key: str) -> tuple[str, str] | None:
        """A row of an earlier run's batch for ``key``, each only once."""
        places = self._places.get(key)
        if places is None:
            return None
        batch_id, row_id = places.pop()
        if not places:
            del self._places[key]
        self._missing[batch_id] -= 1
        return batch_id, row_id

    # -- units into batches ------------------------------------------------------------------------------------------

    def ask(self, client: Any, task: Task) -> list[TaskResult]:
        sent: _Sent = task.note or self._created(client, task)
        gone: NotFoundError
        try:
            results = self._results(client, sent)
        except NotFoundError as error:
            gone = error
        else:
            outcomes = [self._outcome(sent, results.get(row_id), row_id) for row_id in sent.row_ids]
            sent.came = True
            return outcomes
        if not sent.found:
            raise gone
        # No service keeps everything for ever.
        _log.warning("the batch %s of an earlier run is gone: its prompts go into a new one", sent.batch_id)
        self._remember(_Note(sent.batch_id, settled=sent.row_ids))
        task.note = None
        return self.ask(client, task)

    def _created(self, client: BatchesEndpoints, task: Task) -> _Sent:
        row_ids = _row_ids(task.items)
        content = b"".join(
            b'{"id":"%b","request":%b}\n' % (row_id.encode(), item.request)
            for row_id, item in zip(row_ids, task.items, strict=True)
        )
        try:
            batch = client._created_batch(content, "chat_completions", client._call_settings(self._of_calls))
        except APIConnectionError as error:
            if error.sent:
                _log.warning("a batch may have been created whose id did not come; get_batches() lists all there are")
            raise
        task.note = sent = _Sent(batch.id, row_ids)
        self._remember(_Note(batch.id, rows=row_ids))
        _log.info("the batch %s was created, with %d rows", batch.id, len(row_ids))
        for item in task.items:
            item.request = None  # a batch may take a day, and there may be many
        return sent

    def _remember(self, note: _Note) -> None:
        if self._checkpoint is None:
            return
        told = {name: value for name, value in msgspec.to_builtins(note).items() if value}
        try:
            self._checkpoint.sync(self._checkpoint.append({"note": told}))
        except OSError as error:
            # The results may still come, and go where they are wanted. If they cannot be written, the run ends.
            _log.warning("the batch %s could not be noted in the checkpoint: %s", note.batch, error)

    def _results(self, client: BatchesEndpoints, sent: _Sent) -> dict[str, BatchResult]:
        try:
            batch = client.wait_for_batch(sent.batch_id, poll_interval=self._poll_interval, **self._of_calls)
            results = client.batch_results(batch, **self._of_calls)
        except Exception as error:
            if self._checkpoint is None and not isinstance(error, (NotFoundError, RateLimitError)):
                _log.warning(
                    "the batch %s goes on without this run: wait_for_batch() and batch_results() take its id",
                    sent.batch_id,
                )
            raise
        by_id: dict[str, BatchResult] = {}
        for result in results:
            if result.id not in by_id or by_id[result.id].error is not None:
                by_id[result.id] = result
        return by_id

    def _outcome(self, sent: _Sent, result: BatchResult | None, row_id: str) -> TaskResult:
        if result is None:
            reason = f"the results of the batch {sent.batch_id} have no row {row_id}"
            return TaskResult(error=InvalidResponseError(reason, status_code=200), attempts=1)
        outcome = TaskResult(answer=result.completion, error=result.error, attempts=1)
        if outcome.error is None and outcome.answer is None:
            reason = f"the row {row_id} of the batch {sent.batch_id} holds no answer to a chat"
            outcome.error = InvalidResponseError(reason, status_code=200)
        if outcome.error is None:
            self.read(outcome)
        return outcome

    def split(self, task: Task, error: Exception) -> Sequence[Task]:
        is_of_a_row = isinstance(error, APIStatusError) and error.status_code in _OF_A_ROW
        return task.halves() if is_of_a_row and task.note is None else ()

    def recorded(self, task: Task) -> None:
        sent: _Sent | None = task.note
        if sent is not None and sent.came:
            self._remember(_Note(sent.batch_id, settled=sent.row_ids if sent.found else True))


def _row_ids(items: Sequence[Item]) -> list[str]:
    """An id for each row: its key, and a number for each further row of one key."""
    counts: dict[str, int] = {}
    row_ids = []
    for item in items:
        key = item.key.hex()
        counts[key] = count = counts.get(key, 0) + 1
        row_ids.append(key if count == 1 else f"{key}-{count}")
    return row_ids


def _unsettled(notes: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The rows that wait for their results, by the ids of their batches."""
    batches: dict[str, dict[str, None]] = {}
    for line in notes:
        try:
            note = convert(line.get("note"), _Note)
        except msgspec.ValidationError:
            continue  # another job's
        rows = batches.setdefault(note.batch, {})
        rows.update(dict.fromkeys(note.rows))
        for row_id in [*rows] if note.settled is True else note.settled or []:
            rows.pop(row_id, None)
    return {batch_id: [*rows] for batch_id, rows in batches.items() if rows}


def batch_job(
    *,
    response_format: Any,
    strict: bool,
    functions: Any,
    executor: Any,
    batch_size: int | None,
    poll_interval: float | None,
    options: Mapping[str, Any],
) -> BatchJob:
    """The job for what the caller of ``giga.map`` passed.

    Raises:
        ConfigError: it does not fit together.
    """
    if executor is not None:
        raise ConfigError('via="batches" has nothing for an executor to do: leave executor= out')
    if functions is not None:
        given = listed(functions)
        called = [name for name, tool in as_tools(given).items() if tool.call is not None]
        if called:
            raise ConfigError(
                f'via="batches" cannot call functions here while a batch is answered there ({", ".join(called)}): '
                "pass their descriptions alone, or leave via= out"
            )
        options = {**options, "functions": given}
    return BatchJob(response_format, options, strict=strict, batch_size=batch_size, poll_interval=poll_interval)
