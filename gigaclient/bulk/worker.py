"""One unit asked, wherever: in a thread of this process, or in a process that the client travelled to."""

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

__all__ = ["asked"]

_TOO_MANY_REQUESTS = 429


def asked(client: BaseClient[Any], job: Job[Any, Any], task: Task, scope: CancelGroup) -> list[TaskResult]:
    """An outcome for each item of ``task``. Nothing is raised: what goes wrong is the items' own.

    A 429 is not repeated here where nothing has been done yet: whoever paces the run decides when.
    """
    bound = client._within(scope)
    if job.requeues_on_429:
        bound._core.retry = _but_for_429(bound._core.retry)
    failure: Exception
    try:
        outcomes = job.ask(bound, task)
    except Exception as error:
        failure = error
    except BaseException as error:  # sys.exit() in a function of the caller's: the run would wait for this thread
        failure = GigaClientError(f"a function of yours raised {type(error).__name__}")
    else:
        return _measured(outcomes, task, scope)
    if isinstance(failure, GigaClientError):
        failure.__traceback__ = None  # its frames would keep the request for as long as the result is kept
    # The items were found fit to be sent: if nothing was, for want of a key or because the client is closed, it is not
    # for any fault of theirs.
    fatal = isinstance(failure, ConfigError) and not scope.sent
    outcomes = [TaskResult(error=failure, answer=_answer(failure), fatal=fatal) for _ in task.items]
    return _measured(outcomes, task, scope)


@functools.lru_cache(16)
def _but_for_429(retry: RetryPolicy) -> RetryPolicy:
    statuses = tuple(status for status in retry.status_codes if status != _TOO_MANY_REQUESTS)
    return msgspec.structs.replace(retry, status_codes=statuses)


def _answer(failure: Exception) -> Any:
    return getattr(failure, "completion", None)


def _measured(outcomes: list[TaskResult], task: Task, scope: CancelGroup) -> list[TaskResult]:
    task.sent += scope.sent
    seconds = max(0.0, time.monotonic() - task.started_at)
    for outcome in outcomes:
        outcome.attempts = outcome.attempts or task.sent
        outcome.seconds = seconds
        if outcome.usage is None and outcome.answer is not None:
            outcome.usage = getattr(outcome.answer, "usage", None)
    return outcomes
