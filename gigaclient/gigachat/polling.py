"""Poll the server until a job is done, with growing pauses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gigaclient._core import settings
from gigaclient._core.executor import Executor
from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded, Timeouts
from gigaclient.errors import (
    APIConnectionError,
    APITimeoutError,
    GigaClientError,
    RateLimitError,
    ServerError,
    TLSError,
)

__all__ = ["poll"]

T = TypeVar("T")

_PAUSE_GROWTH = 1.5
_MAX_PAUSE_SECONDS = 60.0
_MAX_RETRY_AFTER_SECONDS = 3600.0
"""The largest ``Retry-After`` that is followed."""

# Failed polls in a row, each already retried like any call. A wait of hours outlasts a restart of the server this way,
# and a wait without a limit still ends when the service is gone.
_MAX_FAILURES = 5


def poll(
    executor: Executor,
    fetch_state: Callable[..., T],
    is_done: Callable[[T], bool],
    describe: Callable[[T | None], str],
    *,
    options: Mapping[str, Any],
    poll_interval: Any,
    timeout: Any,
) -> T:
    """Call ``fetch_state`` until ``is_done`` accepts its result, and return that result.

    Args:
        executor: the executor of the client; ``close()`` of the client and cancelling the task end the wait.
        fetch_state: returns the current state; its arguments are call options.
        is_done: returns True for a state that ends the wait.
        describe: describes the last state for the error message; its argument is None if no poll succeeded.
        options: the call options of each poll; its deadline is shortened to the rest of the wait.
        poll_interval: seconds before the second poll; each pause is 1.5 times the last, up to 60 s.
        timeout: seconds for the whole wait; None for no limit.

    Raises:
        APITimeoutError: the time is up; ``completion`` is the last state.
        ConfigError: a number cannot work, or the client is closed.
        GigaClientError: an error of ``fetch_state`` that waiting cannot fix, or too many failures in a row.
    """
    pause = settings.named("poll_interval", settings.seconds, poll_interval)
    max_pause = max(pause, _MAX_PAUSE_SECONDS)
    deadline = Deadline(
        Timeouts(deadline=math.inf if timeout is None else settings.named("timeout", settings.seconds, timeout))
    )
    executor.begin(deadline)
    last: T | None = None
    failures = 0
    while True:
        failure: GigaClientError | None = None
        wait = pause
        try:
            last = fetch_state(**_with_deadline(options, max(deadline.left(), 0.001), executor.timeouts.deadline))
        except GigaClientError as error:
            failure = error
        if failure is None:
            failures = 0
            if last is not None and is_done(last):
                return last
        elif deadline.left() > 0.0:
            failures += 1
            if failures > _MAX_FAILURES or executor.transport.closed or not _is_temporary(failure):
                raise failure
            wait = max(wait, min(getattr(failure, "retry_after", None) or 0.0, _MAX_RETRY_AFTER_SECONDS))
        pause = min(pause * _PAUSE_GROWTH, max_pause)
        try:
            with executor.transport.waiting(deadline):
                deadline.pause(wait)
            continue
        except DeadlineExceeded:
            failure = APITimeoutError(f"{describe(last)} after {timeout:g} s", timeout_kind="deadline")
            failure.completion = last
        except Cancelled:
            failure = APIConnectionError("the wait was ended by close()", sent=False)
        raise failure


def _with_deadline(options: Mapping[str, Any], left: float, usual: float) -> Mapping[str, Any]:
    """Return the call options with a deadline of at most ``left`` seconds; ``usual`` is the client's deadline."""
    requested = options.get("deadline")
    deadline = min(left, usual if requested is None else settings.named("deadline", settings.seconds, requested))
    return options if math.isinf(deadline) else {**options, "deadline": deadline}


def _is_temporary(failure: GigaClientError) -> bool:
    return isinstance(failure, (ServerError, RateLimitError, APIConnectionError)) and not isinstance(failure, TLSError)
