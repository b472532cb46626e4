"""Helpers of the tests of tokens, limits, settings and secrets."""

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
"""The limit of every wait in seconds, far more than any step takes."""


class Clock:
    """A monotonic clock that the test sets."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Source:
    """A token endpoint with numbered tokens.

    Attributes:
        calls: the number of calls.
        gate: an event that each call waits for before it returns; set by default.
        entered: an event that is set by the first call.
        script: for each call, oldest first: an exception to raise, or a function of the deadline to run.
        life: the life of its tokens in seconds.
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
    """Return a credential, by default without expiry."""
    return Credential(Secret(value), expires_at=expires_at, margin=margin)


def deadline_of(connect: float = 10.0, read: float = LONG, deadline: float = float("inf")) -> Deadline:
    """Return a deadline with these timeouts."""
    return Deadline(Timeouts(connect, read, deadline=deadline))


def value_of(result: Any) -> str:
    """Assert that ``result`` is a credential, and return its value."""
    assert isinstance(result, Credential), result
    return result.value.reveal()


class ThreadGroup:
    """Threads that start at the same time. ``outcomes`` has the result or error of each, in order."""

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
        started_at = time.monotonic()
        try:
            self.outcomes[number] = self._work(number)
        except BaseException as error:
            self.outcomes[number] = error
        self.seconds[number] = time.monotonic() - started_at

    def results(self, seconds: float = LONG) -> list[Any]:
        """Wait for all threads, and return the outcomes; fail when a thread hangs."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), "a thread hangs"
        return self.outcomes

    def is_busy_after(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for each thread; return True if one is still running."""
        for thread in self._threads:
            thread.join(seconds)
        return any(thread.is_alive() for thread in self._threads)


def together(count: int, work: Callable[[int], Any], seconds: float = LONG) -> list[Any]:
    """Run ``work(n)`` in ``count`` threads at once; return the result or error of each."""
    return ThreadGroup(count, work).results(seconds)


def shown_by(error: BaseException) -> str:
    """Return everything that an error and its causes reveal: texts, attributes, local variables of package frames."""
    texts: list[str] = []
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        texts += [str(current), repr(current), repr(current.args), repr(vars(current))]
        for frame, line in traceback.walk_tb(current.__traceback__):
            if "gigaclient" in frame.f_code.co_filename:
                variables = {name: _repr(value) for name, value in frame.f_locals.items()}
                texts.append(f"{frame.f_code.co_name}:{line} {variables}")
        todo += [current.__cause__, current.__context__]
    return "\n".join(texts)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"no repr: {type(error).__name__}"


def until(condition: Callable[[], object], seconds: float = LONG) -> None:
    """Wait until ``condition`` returns a true value; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.005)


def ask_elsewhere(client: Any, question: str, answers: Any) -> None:
    """Put an answer and an error into the queue ``answers``. A spawned process imports this function."""
    try:
        answers.put(client.chat(question))
        client.chat(question, model="no-such-model", max_retries=0)
    except BaseException as error:
        answers.put(error)


def in_child(work: Callable[[], Any], seconds: float = LONG) -> Any:
    """Run ``work`` in a forked child and return its result (through JSON); kill a child that hangs, and fail."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about forks with threads
        child = os.fork()
    if child == 0:
        try:
            answer = {"result": work()}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)  # without the exit handlers of the parent
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], seconds)
        if not ready:
            os.kill(child, signal.SIGKILL)
        received = b""
        while block := os.read(reading, 65536):
            received += block
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    assert ready, "the child hangs"
    answer = json.loads(received)
    assert "error" not in answer, answer["error"]
    return answer["result"]
