"""Waiting for what the server does in its own time: look, wait a little longer, look again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from gigaclient._core import settings as setting
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

__all__ = ["poll", "shortened"]

T = TypeVar("T")

_GROWTH = 1.5
_LONGEST_PAUSE = 60.0
_LONGEST_ASKED = 3600.0
"""No ``Retry-After`` is followed beyond it."""

# In a row, and each has been tried as often as a call is: whoever waits for hours wants to outlast a restart, and
# whoever waits without a limit wants to hear of it when the service is gone.
_FAILED_LOOKS = 5


def poll(
    core: Executor,
    look: Callable[[float], T],
    over: Callable[[T], bool],
    describe: Callable[[T | None], str],
    *,
    poll_interval: Any,
    timeout: Any,
) -> T:
    """Look until it is over.

    Args:
        core: of the client, whose ``close()`` ends the wait; and so does whoever gives the work up that it is part of.
        look: how things stand; it gets the seconds that it may take, ``inf`` for any number.
        over: whether the wait is over.
        describe: how things stood last, for the message; given None when no look succeeded.
        poll_interval: seconds before the second look; each pause is half as long again as the one before, up to 60 s.
        timeout: seconds for the whole wait; None for no limit.

    Raises:
        APITimeoutError: it was not over in time; ``completion`` is how things stood last.
        ConfigError: a number cannot work, or the client is closed.
        GigaClientError: what ``look`` raised, if waiting does not help, or it failed too often in a row.
    """
    pause = setting.named("poll_interval", setting.seconds, poll_interval)
    longest = max(pause, _LONGEST_PAUSE)
    deadline = Deadline(
        Timeouts(deadline=math.inf if timeout is None else setting.named("timeout", setting.seconds, timeout))
    )
    core.begin(deadline)
    seen: T | None = None
    failures = 0
    while True:
        failure: GigaClientError | None = None
        wait = pause
        try:
            seen = look(max(deadline.left(), 0.001))
        except GigaClientError as error:
            failure = error
        if failure is None:
            failures = 0
            if seen is not None and over(seen):
                return seen
        elif deadline.left() > 0.0:
            failures += 1
            if failures > _FAILED_LOOKS or core.transport.closed or not _passes(failure):
                raise failure
            wait = max(wait, min(getattr(failure, "retry_after", None) or 0.0, _LONGEST_ASKED))
        pause = min(pause * _GROWTH, longest)
        try:
            with core.transport.waiting(deadline):
                deadline.pause(wait)
            continue
        except DeadlineExceeded:
            failure = APITimeoutError(f"{describe(seen)} after {timeout:g} s", timeout_kind="deadline")
            failure.completion = seen
        except Cancelled:
            failure = APIConnectionError("the wait was ended by close()", sent=False)
        raise failure


def shortened(given: dict[str, Any], left: float, usual: float) -> dict[str, Any]:
    """The call options ``given`` with a deadline that fits into the ``left`` seconds; ``usual`` is the client's."""
    chosen = given.get("deadline")
    bound = min(left, usual if chosen is None else setting.named("deadline", setting.seconds, chosen))
    return given if math.isinf(bound) else {**given, "deadline": bound}


def _passes(failure: GigaClientError) -> bool:
    return isinstance(failure, (ServerError, RateLimitError, APIConnectionError)) and not isinstance(failure, TLSError)
