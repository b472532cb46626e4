"""Runs tasks in a process that received the pickled client and job."""

from __future__ import annotations

import time
from typing import Any

from gigaclient._core.client_cache import ClientCache
from gigaclient._core.limiter import Limiter
from gigaclient._primitives.deadline import CancelGroup
from gigaclient.bulk.pickling import Pickled, describe_error, make_picklable, pickle_value
from gigaclient.bulk.tasks import Task
from gigaclient.bulk.worker import run_task
from gigaclient.errors import GigaClientError

__all__ = ["run_task_remotely"]

_clients: ClientCache[Any] = ClientCache()
_jobs: ClientCache[Any] = ClientCache()


def run_task_remotely(client: Pickled, job: Pickled, task: Pickled) -> bytes:
    """Run a task in a process that received the pickled client.

    Nothing is raised: executors wrap exceptions in their own classes, and log them.

    Returns:
        A pickle of the seconds it took, and of the results, or of the error that every further task would meet.
    """
    began_at = time.monotonic()
    try:
        giga = _clients.get({"": client.content_id}, client.open)
        opened_job = _jobs.get({"": job.content_id}, job.open)
        opened_task: Task = task.open()
    except Exception as error:
        return pickle_value((0.0, _unpickle_error(error)))
    opened_task.started_at = began_at
    # The account's limit is kept in the process that iterates. A new limiter for each task learns no limit here.
    bound = giga._within(CancelGroup())
    bound._executor.limiter = Limiter()
    results = [make_picklable(task_result) for task_result in run_task(bound, opened_job, opened_task, CancelGroup())]
    return pickle_value((time.monotonic() - began_at, results))


def _unpickle_error(error: Exception) -> GigaClientError:
    reason = error.message if isinstance(error, GigaClientError) else describe_error(error)
    return GigaClientError(
        f"a worker of the executor cannot open what was sent ({reason}); it needs gigaclient of the same version, the "
        "modules of your functions and types, and the files that the client's settings name"
    )
