"""Download the results of a batch."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec.structs

from gigaclient import types
from gigaclient._core.executor import MAX_RESPONSE_BYTES, Executor
from gigaclient._core.request_options import RequestOptions
from gigaclient._core.responses import invalid_response
from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient.errors import APIConnectionError, APITimeoutError, ConfigError, GigaClientError, StreamInterruptedError
from gigaclient.gigachat import batch_file
from gigaclient.gigachat.resource import APIResource
from gigaclient.transport.request import Request, RetrySafety, path

__all__ = ["download_results"]

_MAX_PAGE_BYTES = 64 * 1024


def download_results(
    client: APIResource, file_id: str, known: Mapping[str, Any], settings: RequestOptions
) -> list[types.BatchResult]:
    """Download the results file of a batch. Start again when it is cut, as often as ``settings`` permit.

    Raises:
        StreamInterruptedError: the last attempt was cut too; ``.completion`` is the list of its results.
        GigaClientError: as for every call, with ``.completion`` if the download had started.
    """
    executor = client._executor
    request = Request("GET", path("files", file_id, "content"), accept="application/octet-stream, */*")
    policy = executor.retry
    if settings.max_retries is not None:
        policy = msgspec.structs.replace(policy, max_retries=settings.max_retries)
    deadline = Deadline(settings.timeouts or executor.timeouts)
    executor.begin(deadline)
    attempt = 0
    while True:
        results: list[types.BatchResult] = []
        failure = _read_results(executor, request, known, _within(settings, deadline), results.append)
        if failure is None:
            return results
        delay = policy.delay(
            attempt, failure, retry_safety=RetrySafety.IDEMPOTENT, deadline=deadline.left(), jitter=random.random()
        )
        attempt += 1
        if delay is not None and not client.closed:
            try:
                with executor.transport.waiting(deadline):
                    deadline.pause(delay)
                continue
            except (DeadlineExceeded, Cancelled, ConfigError):
                delay = None
        if isinstance(failure, APIConnectionError) and not isinstance(failure, APITimeoutError):
            failure = StreamInterruptedError(f"the results broke off: {failure.message}", request_id=failure.request_id)
        failure.completion = results
        raise failure


def _read_results(
    executor: Executor,
    request: Request,
    known: Mapping[str, Any],
    settings: RequestOptions,
    take: Callable[[types.BatchResult], None],
) -> GigaClientError | None:
    """Pass each result to ``take``; return the error that cut the download short, or None."""
    response = executor.open(request, settings)
    if response.media_type == "text/html":
        response.body = response.read_some(_MAX_PAGE_BYTES)
        failure = invalid_response(response, "it is a page and not a file")
        response.observer.end(failure)
        raise failure
    try:
        with contextlib.closing(response.observer.observe_blocks(response.blocks())) as blocks:
            response.deadline.begin_event()
            for line in batch_file.lines(blocks, MAX_RESPONSE_BYTES):
                result = batch_file.read_result(line, known)
                if result is not None:
                    take(result)
                # A row restarts the event timeout, as an event of a stream does.
                response.deadline.begin_event()
    except GigaClientError as error:
        error.request_id = error.request_id or response.request_id
        return error
    return None


def _within(settings: RequestOptions, deadline: Deadline) -> RequestOptions:
    """Return ``settings`` with timeouts that fit into the rest of ``deadline``."""
    return msgspec.structs.replace(settings, timeouts=deadline.timeouts.within(max(deadline.left(), 0.001)))
