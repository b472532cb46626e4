"""The options of a run over many prompts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, NamedTuple

from gigaclient._core import settings
from gigaclient.bulk.budget import Limits
from gigaclient.bulk.tasks import Job

__all__ = ["MapOptions"]

_MAX_WORKERS = 64


class MapOptions(NamedTuple):
    """The options of a run, as the caller passed them; see ``giga.map``."""

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
        """Pick the options from the ``arguments`` of a method."""
        return cls(**{name: arguments[name] for name in cls._fields})

    def limits(self) -> Limits:
        """Return the limits of the run, checked.

        Raises:
            ConfigError: a number is invalid.
        """
        return Limits(
            max_tokens_total=settings.named_or_none("max_tokens_total", settings.whole(1), self.max_tokens_total),
            max_seconds=settings.named_or_none("max_seconds", settings.seconds, self.max_seconds),
            max_errors_in_row=settings.named_or_none("max_errors_in_row", settings.whole(1), self.max_errors_in_row),
        )

    def max_running(self, job: Job[Any, Any]) -> int:
        """Return the largest number of tasks that may run at once.

        Raises:
            ConfigError: ``max_workers`` or ``executor`` is invalid.
        """
        wanted: int | None = settings.named_or_none("max_workers", settings.whole(1), self.max_workers)
        wanted = wanted or job.max_concurrent_tasks
        if self.executor is None:
            return wanted or _MAX_WORKERS
        from gigaclient.bulk.executors import check_executor, worker_count

        workers = worker_count(check_executor(self.executor))
        return min(wanted or workers, workers) if workers is not None else wanted or _MAX_WORKERS
