"""Writes the results of items to the checkpoint, and reads them from it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from gigaclient.bulk.checkpoint import Checkpoint
from gigaclient.bulk.tasks import Item, Job, Task, TaskResult
from gigaclient.errors import APIStatusError

__all__ = ["Recorder"]

_log = logging.getLogger("gigaclient")


class Recorder:
    """Writes a line for each item of a finished task; callable from any thread.

    It does not refer to the results' iterator, which workers must not keep alive.
    """

    def __init__(self, checkpoint: Checkpoint | None, job: Job[Any, Any]) -> None:
        self._checkpoint = checkpoint
        self._job = job

    def __call__(self, task: Task, results: Sequence[TaskResult]) -> int:
        """Write the results, and return the end position of the last line for ``sync``; 0 without a checkpoint."""
        position = 0
        if self._checkpoint is not None:
            for item, task_result in zip(task.items, results, strict=True):
                position = self._checkpoint.append(self._line(item, task_result))
            self._job.recorded(task)
        return position

    def restored(self, item: Item) -> TaskResult | None:
        """Return the result of an earlier run for ``item``, or None."""
        if self._checkpoint is None:
            return None
        while True:
            line = self._checkpoint.claim(item.key)
            if line is None:
                return None
            try:
                task_result = self._job.restored(line)
            except Exception as error:  # written by another version, or by hand: the item is sent again
                _log.warning("a line of the checkpoint cannot be used: %s", type(error).__name__)
                continue
            task_result.attempts, task_result.seconds = line.get("attempts") or 0, line.get("seconds") or 0.0
            return task_result

    def _line(self, item: Item, task_result: TaskResult) -> dict[str, Any]:
        line: dict[str, Any] = {"key": item.key.hex(), "index": item.index, "input": item.input}
        error = task_result.error
        if error is None:
            line.update(self._job.saved(task_result))
        else:
            details: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
            if isinstance(error, APIStatusError):
                details["status_code"] = error.status_code
            if task_result.answer is not None:  # the partial answer is kept as well
                details["partial"] = self._job.saved(task_result)
            line["error"] = details
        line["usage"] = None if task_result.usage is None else msgspec.to_builtins(task_result.usage)
        line["attempts"], line["seconds"] = task_result.attempts, round(task_result.seconds, 3)
        return line
