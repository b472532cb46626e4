"""What the tests of executors share: types and functions that other processes can import, and executors with a will."""

from __future__ import annotations

import os
import pickle
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator

LONG_S = 40.0
"""No wait of these tests may be longer."""

WORKERS = 2


def words(count: int) -> tuple[list[str], list[str]]:
    """Prompts, and what the emulator answers to them."""
    expected = [f"word{number}" for number in range(count)]
    return [f"Say {word} and nothing else" for word in expected], expected


def most_asked(emulator: GigaChatEmulator) -> int:
    """How often the prompt was asked that was asked most."""
    return max(Counter(emulator.prompts).values())


@dataclass
class Feeling:
    """How a text sounds."""

    mood: str


@dataclass
class Shy(Feeling):
    """A value that does not travel, of a type that does."""

    def __reduce__(self) -> Any:
        raise TypeError("not me")


class Particular(Exception):
    """An error that pickles and does not unpickle, as those of many libraries."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(f"{reason} ({code})")


def get_weather(city: str) -> str:
    """The weather in a city, and who looked: the process."""
    return f"sunny in {city}, says {os.getpid()}"


def get_storm(city: str) -> str:
    """The weather in a city."""
    raise Particular(f"no weather in {city}", 7)


def get_snow(city: str) -> str:
    """The snow in a city; for the test that takes it away."""
    return f"none in {city}"


def watch(event: object) -> None:
    """A hook that travels."""


def arrive(folder: str, count: int) -> int:
    """Wait until so many processes have arrived: where each runs one task at a time, each has got one."""
    Path(folder, str(os.getpid())).touch()
    ends_at = time.monotonic() + LONG_S
    while len(os.listdir(folder)) < count:
        assert time.monotonic() < ends_at, "not all processes came"
        time.sleep(0.01)
    return os.getpid()


def warm(pool: Executor, count: int, folder: Path) -> list[int]:
    """Start all the processes of a pool, and wait until all can work; who they are."""
    return [future.result(LONG_S) for future in [pool.submit(arrive, str(folder), count) for _ in range(count)]]


class Inline(Executor):
    """An executor of nobody's library: it runs what is submitted at once, over a pickle as a cluster does.

    Args:
        before: what to do before each call; what it raises comes of the call.
        after: what becomes of the call's result.
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
            travelled = pickle.loads(pickle.dumps((function, arguments, named)))
            result = travelled[0](*travelled[1], **travelled[2])
            future.set_result(pickle.loads(pickle.dumps(self._after(result))))
        except Exception as error:
            future.set_exception(error)
        return future


class Never(Executor):
    """An executor that never begins what is submitted."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.futures.append(future)
        return future


class Narrow(Executor):
    """An executor that does not say how few workers it has: one.

    Attributes:
        most: how many calls were submitted and not finished, at the most.
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


def client_of(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    """Return a client of the emulator that retries at once."""
    return GigaChat(**{"timeout": LONG_S, "retry_backoff_factor": 0.0, **emulator.client_options, **options})
