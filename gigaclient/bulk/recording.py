"""What came of the items, written to the checkpoint and read from it."""

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
    """Called with a unit and what came of it, writes a line for each item; from any thread.

    It knows nothing of the results' iterator, which workers must not keep alive.
    """

    def __init__(self, checkpoint: Checkpoint | None, job: Job[Any, Any]) -> None:
        self._checkpoint = checkpoint
        self._job = job

    def __call__(self, task: Task, outcomes: Sequence[TaskResult]) -> int:
        """The position of the last line, for ``sync``; 0 without a checkpoint."""
        position = 0
        if self._checkpoint is not None:
            for item, outcome in zip(task.items, outcomes, strict=True):
                position = self._checkpoint.append(self._line(item, outcome))
            self._job.recorded(task)
        return position

    def restored(self, item: Item) -> TaskResult | None:
        """What an earlier run had for ``item``, if it had."""
        if self._checkpoint is None:
            return None
        while True:
            line = self._checkpoint.claim(item.key)
            if line is None:
                return None
            try:
                outcome = self._job.restored(line)
            except Exception as error:  # another version wrote it, or a person: the item is asked again
                _log.warning("a line of the checkpoint cannot be used: %s", type(error).__name__)
                continue
            outcome.attempts, outcome.seconds = line.get("attempts") or 0, line.get("seconds") or 0.0
            return outcome

    def _line(self, item: Item, outcome: TaskResult) -> dict[str, Any]:
        line: dict[str, Any] = {"key": item.key.hex(), "index": item.index, "input": item.input}
        error = outcome.error
        if error is None:
            line.update(self._job.saved(outcome))
        else:
            told: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
            if isinstance(error, APIStatusError):
                told["status_code"] = error.status_code
            if outcome.answer is not None:  # what had come of it is kept as well
                told["partial"] = self._job.saved(outcome)
            line["error"] = told
        line["usage"] = None if outcome.usage is None else msgspec.to_builtins(outcome.usage)
        line["attempts"], line["seconds"] = outcome.attempts, round(outcome.seconds, 3)
        return line
