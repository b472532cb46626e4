"""The job of ``giga.map(…, via="batches")``: create batches, wait for them, and match their rows to the prompts.

The id of a row is the key of its prompt, so that a later run can match the results too. A checkpoint notes a batch as
soon as it exists: ``{"batch": "<id>", "rows": [ids of the rows]}``. Once its results are stored, it notes
``{"batch": "<id>", "settled": true}``. A later run waits for batches that are not settled, in any order of prompts, and
creates no batch twice.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient._core import settings
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives.decoding import convert
from gigaclient.bulk.tasks import Item, Task, TaskResult, may_be_one_item
from gigaclient.errors import (
    APIConnectionError,
    ConfigError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
)
from gigaclient.functions import as_function_list, as_tools
from gigaclient.gigachat.batching import Batcher
from gigaclient.gigachat.jobs.chat import GigaChatJob

if TYPE_CHECKING:
    from gigaclient.bulk.checkpoint import Checkpoint
    from gigaclient.gigachat.resources.batches import BatchesEndpoints
    from gigaclient.types import BatchResult

__all__ = ["BatchJob", "batch_job"]

_log = logging.getLogger("gigaclient")

# The API documents no limits. Some sources name 500 rows; 20 MB is a usual limit for a request.
_MAX_ROWS = 500
_MAX_BYTES = 20_000_000
_ROW_OVERHEAD_BYTES = 60

_MAX_CONCURRENT_BATCHES = 4
_POLL_SECONDS = 2.0


class _Note(msgspec.Struct):
    """A checkpoint's note of a batch.

    Attributes:
        batch: the id of the batch.
        rows: the ids of its rows.
        settled: the ids of the rows with stored results; True for all of them.
    """

    batch: str
    rows: list[str] = []
    settled: list[str] | bool = False


class _TaskBatch(msgspec.Struct):
    """The batch of a task.

    Attributes:
        batch_id: the id of the batch.
        row_ids: for each item of the task, the id of its row.
        is_resumed: whether an earlier run created it.
        is_complete: whether its results have arrived.
    """

    batch_id: str
    row_ids: list[str]
    is_resumed: bool = False
    is_complete: bool = False


class BatchJob(GigaChatJob):
    """``giga.chat`` for each prompt, or ``giga.chat_parse`` if a type is set, through batches.

    The keys are those of the same prompts without batches, so that one checkpoint serves both.

    Args:
        type_: as for :class:`~gigaclient.gigachat.jobs.chat.GigaChatJob`.
        options: as for ``giga.chat``.
        batch_size: the maximum number of prompts in a batch.
        poll_interval: seconds before the second poll of a batch.
        job_options: ``strict``, ``repair`` and ``keep_blocked``, as for ``GigaChatJob``.

    Raises:
        ConfigError: an argument cannot work.
    """

    requeues_on_429 = False
    max_gather_seconds = math.inf
    max_concurrent_tasks = _MAX_CONCURRENT_BATCHES
    fatal_errors = (ForbiddenError,)
    keyed = True

    def __init__(
        self,
        type_: Any,
        options: Mapping[str, Any],
        *,
        batch_size: int | None = None,
        poll_interval: float | None = None,
        **job_options: bool,
    ) -> None:
        super().__init__(type_, options, **job_options)
        size = _MAX_ROWS if batch_size is None else batch_size
        self.max_items_per_task = settings.named("batch_size", settings.whole(1), size)
        seconds = _POLL_SECONDS if poll_interval is None else poll_interval
        self._poll_interval = settings.named("poll_interval", settings.seconds, seconds)
        self._call_options = {name: value for name, value in self.options.items() if name in CALL_OPTIONS}
        self._batcher: Batcher[Item] = Batcher(self.max_items_per_task, _MAX_BYTES)
        self._checkpoint: Checkpoint | None = None
        # Left by earlier runs: the rows of each key, and the number of rows in a batch that no prompt has claimed yet.
        self._rows_by_key: dict[str, list[tuple[str, str]]] = {}
        self._unclaimed: dict[str, int] = {}
        self._resumed_tasks: dict[str, Task] = {}

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """Read the checkpoint's notes of batches that are not settled."""
        self._checkpoint = checkpoint
        for batch_id, row_ids in _unsettled([] if checkpoint is None else checkpoint.notes()).items():
            self._unclaimed[batch_id] = len(row_ids)
            for row_id in row_ids:
                self._rows_by_key.setdefault(row_id.partition("-")[0], []).append((batch_id, row_id))
        if self._unclaimed:
            _log.info("%d batches of an earlier run are waited for", len(self._unclaimed))

    def prepare(self, client: Any, prompt: Any) -> tuple[Any, bytes]:
        """Return the request body as the row's content and as the item's identity."""
        _, content = super().prepare(client, prompt)
        return content, content

    # -- prompts into tasks ------------------------------------------------------------------------------------------

    def gather(self, item: Item) -> Iterator[Task]:
        """Collect an item into a new batch or an earlier run's batch; yield the tasks that are complete now."""
        row = self._claim_row(item.key.hex())
        if row is None:
            for items in self._batcher.add(item, len(item.request) + _ROW_OVERHEAD_BYTES):
                yield Task(items)
            return
        batch_id, row_id = row
        task = self._resumed_tasks.setdefault(batch_id, Task([], note=_TaskBatch(batch_id, [], is_resumed=True)))
        task.items.append(item)
        task.note.row_ids.append(row_id)
        if not self._unclaimed[batch_id]:
            yield self._resumed_tasks.pop(batch_id)
        elif sum(len(task.items) for task in self._resumed_tasks.values()) >= self.max_items_per_task:
            yield from self._flush_resumed()

    def rest(self) -> Iterator[Task]:
        """Yield the incomplete tasks."""
        yield from self._flush_resumed()
        for items in self._batcher.rest():
            yield Task(items)

    def _flush_resumed(self) -> Iterator[Task]:
        joined, self._resumed_tasks = self._resumed_tasks, {}
        yield from joined.values()

    def _claim_row(self, key: str) -> tuple[str, str] | None:
        """Return a row of an earlier run's batch for ``key``, each row once."""
        rows = self._rows_by_key.get(key)
        if rows is None:
            return None
        batch_id, row_id = rows.pop()
        if not rows:
            del self._rows_by_key[key]
        self._unclaimed[batch_id] -= 1
        return batch_id, row_id

    # -- tasks into batches ------------------------------------------------------------------------------------------

    def run(self, client: Any, task: Task) -> list[TaskResult]:
        """Create the batch of a task unless it exists, wait for it, and return its results."""
        task_batch: _TaskBatch = task.note or self._create_batch(client, task)
        failure: NotFoundError
        try:
            rows = self._results(client, task_batch)
        except NotFoundError as error:
            failure = error
        else:
            results = [self._task_result(task_batch, rows.get(row_id), row_id) for row_id in task_batch.row_ids]
            task_batch.is_complete = True
            return results
        if not task_batch.is_resumed:
            raise failure
        # A service deletes batches after some time.
        _log.warning("the batch %s of an earlier run is gone: its prompts go into a new one", task_batch.batch_id)
        self._add_note(_Note(task_batch.batch_id, settled=task_batch.row_ids))
        task.note = None
        return self.run(client, task)

    def _create_batch(self, client: BatchesEndpoints, task: Task) -> _TaskBatch:
        row_ids = _row_ids(task.items)
        content = b"".join(
            b'{"id":"%b","request":%b}\n' % (row_id.encode(), item.request)
            for row_id, item in zip(row_ids, task.items, strict=True)
        )
        try:
            batch = client._create_batch(content, "chat_completions", client._call_settings(self._call_options))
        except APIConnectionError as error:
            if error.sent:
                _log.warning("a batch may have been created, but its id was not received; see get_batches()")
            raise
        task.note = task_batch = _TaskBatch(batch.id, row_ids)
        self._add_note(_Note(batch.id, rows=row_ids))
        _log.info("the batch %s was created, with %d rows", batch.id, len(row_ids))
        for item in task.items:
            item.request = None  # frees the memory: a batch may take a day, and there may be many
        return task_batch

    def _add_note(self, note: _Note) -> None:
        if self._checkpoint is None:
            return
        fields = {name: value for name, value in msgspec.to_builtins(note).items() if value}
        try:
            self._checkpoint.sync(self._checkpoint.append({"note": fields}))
        except OSError as error:
            # The run goes on, since the results may still arrive. If they cannot be stored either, the run ends.
            _log.warning("the batch %s could not be noted in the checkpoint: %s", note.batch, error)

    def _results(self, client: BatchesEndpoints, task_batch: _TaskBatch) -> dict[str, BatchResult]:
        try:
            batch = client.wait_for_batch(task_batch.batch_id, poll_interval=self._poll_interval, **self._call_options)
            results = client.batch_results(batch, **self._call_options)
        except Exception as error:
            if self._checkpoint is None and not isinstance(error, (NotFoundError, RateLimitError)):
                _log.warning(
                    "the batch %s goes on without this run: wait_for_batch() and batch_results() take its id",
                    task_batch.batch_id,
                )
            raise
        by_id: dict[str, BatchResult] = {}
        for result in results:
            if result.id not in by_id or by_id[result.id].error is not None:
                by_id[result.id] = result
        return by_id

    def _task_result(self, task_batch: _TaskBatch, row: BatchResult | None, row_id: str) -> TaskResult:
        if row is None:
            reason = f"the results of the batch {task_batch.batch_id} have no row {row_id}"
            return TaskResult(error=InvalidResponseError(reason, status_code=200), attempts=1)
        result = TaskResult(answer=row.completion, error=row.error, attempts=1)
        if result.error is None and result.answer is None:
            reason = f"the row {row_id} of the batch {task_batch.batch_id} holds no answer to a chat"
            result.error = InvalidResponseError(reason, status_code=200)
        if result.error is None:
            self.read(result)
        return result

    def split(self, task: Task, error: Exception) -> Sequence[Task]:
        """Return halves of a task whose batch was refused, maybe because of one row; else nothing."""
        return task.halves() if may_be_one_item(error) and task.note is None else ()

    def recorded(self, task: Task) -> None:
        """Note that the results of a batch are stored."""
        task_batch: _TaskBatch | None = task.note
        if task_batch is not None and task_batch.is_complete:
            self._add_note(_Note(task_batch.batch_id, settled=task_batch.row_ids if task_batch.is_resumed else True))


def _row_ids(items: Sequence[Item]) -> list[str]:
    """Return an id for each row: its key, with a number after it for repeated keys."""
    counts: dict[str, int] = {}
    row_ids = []
    for item in items:
        key = item.key.hex()
        counts[key] = count = counts.get(key, 0) + 1
        row_ids.append(key if count == 1 else f"{key}-{count}")
    return row_ids


def _unsettled(notes: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the rows without stored results, by the ids of their batches."""
    batches: dict[str, dict[str, None]] = {}
    for line in notes:
        try:
            note = convert(line.get("note"), _Note)
        except msgspec.ValidationError:
            continue  # the note of another job
        rows = batches.setdefault(note.batch, {})
        rows.update(dict.fromkeys(note.rows))
        for row_id in [*rows] if note.settled is True else note.settled or []:
            rows.pop(row_id, None)
    return {batch_id: [*rows] for batch_id, rows in batches.items() if rows}


def batch_job(type_: Any, functions: Any, options: Mapping[str, Any], **batch_options: Any) -> BatchJob:
    """Return the job for the arguments of ``giga.map(…, via="batches")``.

    Args:
        type_: as for :class:`BatchJob`.
        functions: descriptions of functions; batches cannot call any.
        options: as for ``giga.chat``.
        batch_options: the other arguments of :class:`BatchJob`.

    Raises:
        ConfigError: a function can be called, or another argument cannot work.
    """
    if functions is not None:
        descriptions = as_function_list(functions)
        callables = [name for name, tool in as_tools(descriptions).items() if tool.call is not None]
        if callables:
            raise ConfigError(
                f'via="batches" cannot call Python functions ({", ".join(callables)}): '
                "pass only their descriptions, or leave via= out"
            )
        options = {**options, "functions": descriptions}
    return BatchJob(type_, options, **batch_options)
