"""Runs one task: in a thread of this process, or in a process that received the pickled client."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import msgspec.structs

from gigaclient._core.retry import RetryPolicy
from gigaclient._primitives.deadline import CancelGroup
from gigaclient.bulk.tasks import Job, Task, TaskResult
from gigaclient.errors import ConfigError, GigaClientError

if TYPE_CHECKING:
    from gigaclient._core.base_client import BaseClient

__all__ = ["run_task"]

_TOO_MANY_REQUESTS = 429


def run_task(client: BaseClient[Any], job: Job[Any, Any], task: Task, cancel_group: CancelGroup) -> list[TaskResult]:
    """Run ``task`` and return a result for each item. Nothing is raised: an error becomes the items' error.

    A 429 is not retried here if nothing has been done yet: the scheduler decides when to send the task again.
    """
    bound = client._within(cancel_group)
    if job.requeues_on_429:
        bound._executor.retry = _without_429(bound._executor.retry)
    failure: Exception
    try:
        results = job.run(bound, task)
    except Exception as error:
        failure = error
    except BaseException as error:  # sys.exit() in a function of the caller: the run would wait for this thread
        failure = GigaClientError(f"a function of yours raised {type(error).__name__}")
    else:
        return _add_measurements(results, task, cancel_group)
    if isinstance(failure, GigaClientError):
        failure.__traceback__ = None  # its frames would keep the request as long as the result
    # The items were valid. If nothing was sent, for lack of a key or because the client is closed, every item fails.
    fatal = isinstance(failure, ConfigError) and not cancel_group.sent
    results = [TaskResult(error=failure, answer=getattr(failure, "completion", None), fatal=fatal) for _ in task.items]
    return _add_measurements(results, task, cancel_group)


@functools.lru_cache(16)
def _without_429(retry: RetryPolicy) -> RetryPolicy:
    statuses = tuple(status for status in retry.status_codes if status != _TOO_MANY_REQUESTS)
    return msgspec.structs.replace(retry, status_codes=statuses)


def _add_measurements(results: list[TaskResult], task: Task, cancel_group: CancelGroup) -> list[TaskResult]:
    task.sent += cancel_group.sent
    seconds = max(0.0, time.monotonic() - task.started_at)
    for task_result in results:
        task_result.attempts = task_result.attempts or task.sent
        task_result.seconds = seconds
        if task_result.usage is None and task_result.answer is not None:
            task_result.usage = getattr(task_result.answer, "usage", None)
    return results
