"""What the tests of tokens, limits, settings and secrets share."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient.auth.token_manager import Credential

LONG = 20.0
"""Seconds after which a wait in a test has failed; far more than anything here takes."""


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Source:
    """A token endpoint: numbers its answers, and does first what the test wants done.

    Attributes:
        calls: how often it was asked.
        gate: set by the test to let it answer; open unless the test closes it.
        entered: set once it was asked.
        script: for each call, oldest first: an exception to raise, or a function of the patience to run.
        life: seconds that what it gives is good for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, life: float = 1800.0) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self.calls = 0
        self.life = life
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.script: list[BaseException | Callable[[Deadline], object]] = []

    def __call__(self, deadline: Deadline) -> Credential:
        with self._lock:
            self.calls += 1
            number = self.calls
            step = self.script.pop(0) if self.script else None
        self.entered.set()
        if isinstance(step, BaseException):
            assert self.gate.wait(LONG)
            raise step
        if step is not None:
            step(deadline)
        assert self.gate.wait(LONG)
        return credential(f"token {number}", self._clock() + self.life, Credential.margin_for(self.life))


def credential(value: str = "token", expires_at: float = float("inf"), margin: float = 60.0) -> Credential:
    return Credential(Secret(value), expires_at=expires_at, margin=margin)


def patient(connect: float = 10.0, read: float = LONG, deadline: float = float("inf")) -> Deadline:
    return Deadline(Timeouts(connect, read, deadline=deadline))


def value_of(found: Any) -> str:
    assert isinstance(found, Credential), found
    return found.value.reveal()


class Crowd:
    """Threads that start at the same moment; what each returned or raised, in order."""

    def __init__(self, count: int, work: Callable[[int], Any]) -> None:
        self.outcomes: list[Any] = [None] * count
        self.seconds = [0.0] * count
        self._work = work
        self._start = threading.Barrier(count)
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        self._start.wait(LONG)
        began = time.monotonic()
        try:
            self.outcomes[number] = self._work(number)
        except BaseException as error:
            self.outcomes[number] = error
        self.seconds[number] = time.monotonic() - began

    def results(self, seconds: float = LONG) -> list[Any]:
        """The outcomes, once all have come; a thread that hangs fails the test."""
        ends_at = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), "a thread hangs"
        return self.outcomes

    def is_busy_after(self, seconds: float) -> bool:
        """Whether a thread is still at work after so long."""
        for thread in self._threads:
            thread.join(seconds)
        return any(thread.is_alive() for thread in self._threads)


def together(count: int, work: Callable[[int], Any], seconds: float = LONG) -> list[Any]:
    """Run ``work(n)`` in so many threads at once; what each returned or raised."""
    return Crowd(count, work).results(seconds)


def shown_by(error: BaseException) -> str:
    """All that the error and the errors behind it show: text, attributes, local variables of the package's frames."""
    told: list[str] = []
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        told += [str(current), repr(current), repr(current.args), repr(vars(current))]
        for frame, line in traceback.walk_tb(current.__traceback__):
            if "gigaclient" in frame.f_code.co_filename:
                variables = {name: _repr(value) for name, value in frame.f_locals.items()}
                told.append(f"{frame.f_code.co_name}:{line} {variables}")
        todo += [current.__cause__, current.__context__]
    return "\n".join(told)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"no repr: {type(error).__name__}"


def until(condition: Callable[[], object], seconds: float = LONG) -> None:
    """Wait for something that nobody tells about."""
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "it did not come to be in time"
        time.sleep(0.005)


def ask_elsewhere(client: Any, question: str, answers: Any) -> None:
    """For a process that was spawned, and so imports what it runs: an answer and an error."""
    try:
        answers.put(client.chat(question))
        client.chat(question, model="no-such-model", max_retries=0)
    except BaseException as error:
        answers.put(error)


def in_child(work: Callable[[], Any], seconds: float = LONG) -> Any:
    """What ``work`` returns (as JSON) in a forked child; a child that hangs is killed and fails the test."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: "this process is multi-threaded"; just so
        child = os.fork()
    if child == 0:
        try:
            answer = {"result": work()}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)  # no clean-up of what is the parent's
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], seconds)
        if not ready:
            os.kill(child, signal.SIGKILL)
        told = b""
        while block := os.read(reading, 65536):
            told += block
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    assert ready, "the child hangs"
    answer = json.loads(told)
    assert "error" not in answer, answer["error"]
    return answer["result"]
