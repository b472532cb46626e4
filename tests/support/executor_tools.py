"""Helpers of the executor tests: types and functions that other processes can import, and test executors."""

from __future__ import annotations

import functools
import os
import pickle
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import clients

from gigaclient.testing import GigaChatEmulator

LONG_S = 40.0
"""The limit of every wait in seconds."""

WORKERS = 2


def words(count: int) -> tuple[list[str], list[str]]:
    """Return prompts, and the emulator's answers to them."""
    expected = [f"word{number}" for number in range(count)]
    return [f"Say {word} and nothing else" for word in expected], expected


def max_repeats(emulator: GigaChatEmulator) -> int:
    """Return the number of requests with the most frequent prompt."""
    return max(Counter(emulator.prompts).values())


@dataclass
class Feeling:
    """How a text sounds."""

    mood: str


@dataclass
class Shy(Feeling):
    """A value that cannot be pickled, of a type that can."""

    def __reduce__(self) -> Any:
        raise TypeError("not me")


class Particular(Exception):
    """An error that can be pickled but not unpickled, like those of many libraries."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(f"{reason} ({code})")


def get_weather(city: str) -> str:
    """Return the weather in a city, and the process id."""
    return f"sunny in {city}, says {os.getpid()}"


def get_storm(city: str) -> str:
    """Return the weather in a city; always raises an error that cannot be unpickled."""
    raise Particular(f"no weather in {city}", 7)


def get_snow(city: str) -> str:
    """Return the snow in a city; one test removes this function."""
    return f"none in {city}"


def watch(event: object) -> None:
    """Do nothing: a hook that can be pickled."""


def arrive(folder: str, count: int) -> int:
    """Wait until ``count`` processes run this task; each runs one task at a time, so all have started then."""
    Path(folder, str(os.getpid())).touch()
    deadline = time.monotonic() + LONG_S
    while len(os.listdir(folder)) < count:
        assert time.monotonic() < deadline, "not all processes have started"
        time.sleep(0.01)
    return os.getpid()


def warm(pool: Executor, count: int, folder: Path) -> list[int]:
    """Start all processes of a pool, wait until they are ready, and return their ids."""
    return [future.result(LONG_S) for future in [pool.submit(arrive, str(folder), count) for _ in range(count)]]


class Inline(Executor):
    """An executor that runs each call at once and pickles it, as an executor of a cluster does.

    Args:
        before: called before each call; its error becomes the call's.
        after: changes the result of each call.
    """

    def __init__(
        self, before: Callable[[], object] = lambda: None, after: Callable[[Any], Any] = lambda result: result
    ) -> None:
        self.submitted = 0
        self.shown: list[str] = []
        self._before = before
        self._after = after

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.submitted += 1
        self.shown.append(repr((function, arguments, named)))
        future: Future[Any] = Future()
        try:
            self._before()
            unpickled = pickle.loads(pickle.dumps((function, arguments, named)))
            result = unpickled[0](*unpickled[1], **unpickled[2])
            future.set_result(pickle.loads(pickle.dumps(self._after(result))))
        except Exception as error:
            future.set_exception(error)
        return future


class Never(Executor):
    """An executor that starts no call."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.futures.append(future)
        return future


class Narrow(Executor):
    """An executor with one worker that does not report its number of workers.

    Attributes:
        most: the maximum number of unfinished calls.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1)
        self._open = 0
        self.most = 0

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self._open += 1
        self.most = max(self.most, self._open)
        future = self._worker.submit(function, *arguments, **named)
        future.add_done_callback(self._count_down)
        return future

    def _count_down(self, future: Future[Any]) -> None:
        self._open -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._worker.shutdown(wait, cancel_futures=cancel_futures)


client_of = functools.partial(clients.client_of, timeout=LONG_S)
