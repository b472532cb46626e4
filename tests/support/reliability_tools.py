"""Helpers of the reliability tests: child interpreters, limits on time and memory, and counts that must not grow."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

SUPPORT = Path(__file__).resolve().parent

T = TypeVar("T")


def question() -> tuple[str, str]:
    """Return a unique word, and a prompt whose answer is that word."""
    word = uuid.uuid4().hex
    return word, f"Say {word} and nothing else"


def python(
    script: str, parameters: Any = None, *, flags: tuple[str, ...] = (), timeout: float = 30
) -> subprocess.Popen[str]:
    """Start a child interpreter that runs ``script`` with ``parameters`` as a variable of that name.

    The value is sent through standard input, because all users can read command lines, and it may contain a key.
    """
    head = "import json, sys\nparameters = json.loads(sys.stdin.readline())\n"
    child = subprocess.Popen(
        [sys.executable, *flags, "-c", head + script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=SUPPORT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert child.stdin is not None
    child.stdin.write(json.dumps(parameters) + "\n")
    child.stdin.flush()
    return child


def finish(child: subprocess.Popen[str], *, timeout: float = 30) -> tuple[str, str]:
    """Wait for the child and return its standard output and standard error; fail when it does not end in time."""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        raise AssertionError(
            f"the child did not end within {timeout} s; it wrote: {out[-2000:]}{err[-2000:]}"
        ) from None
    return out, err


def run_python(script: str, parameters: Any = None, *, flags: tuple[str, ...] = (), timeout: float = 30) -> str:
    """Run ``script``, assert that it succeeds, and return its output."""
    child = python(script, parameters, flags=flags)
    out, err = finish(child, timeout=timeout)
    assert child.returncode == 0, f"status {child.returncode}: {out[-2000:]}{err[-4000:]}"
    return out


def wait_until(fulfilled: Callable[[], object], *, seconds: float = 10, what: str = "it") -> None:
    """Wait until ``fulfilled`` returns a true value; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not fulfilled():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


class Task:
    """A function that runs in a thread; :meth:`result` waits for it with a limit."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self.ended_at = 0.0
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._result = function()
        except BaseException as error:
            self._error = error
        finally:
            self.ended_at = time.monotonic()

    def error(self, *, seconds: float = 10) -> BaseException | None:
        """Wait for the end, and return the error of the function or None."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"the thread was still busy after {seconds} s"
        return self._error

    def result(self, *, seconds: float = 10) -> Any:
        """Wait for the end, and return the result or raise the error."""
        error = self.error(seconds=seconds)
        if error is not None:
            raise error
        return self._result


def together(function: Callable[[int], T], count: int, *, seconds: float = 30) -> list[T]:
    """Call ``function(0)`` to ``function(count - 1)`` in threads that start at the same time; return the results."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(seconds)
        return function(number)

    with ThreadPoolExecutor(count) as pool:
        return [future.result(seconds) for future in [pool.submit(run, number) for number in range(count)]]


@contextlib.contextmanager
def at_most(*, seconds: float, megabytes: float) -> Iterator[None]:
    """Assert limits on the time of the block and on its peak memory (Python allocations)."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        started_at = time.monotonic()
        yield
        took = time.monotonic() - started_at
        peak = (tracemalloc.get_traced_memory()[1] - before) / 2**20
    finally:
        tracemalloc.stop()
    assert took < seconds, f"took {took:.1f} s, which is more than {seconds}"
    assert peak < megabytes, f"took {peak:.1f} MB, which is more than {megabytes}"


def descriptors() -> int:
    """Return the number of open descriptors of this process."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    raise AssertionError("this system does not list descriptors")


def resident_megabytes() -> float:
    """Return the resident memory of this process, or its peak where the system has no current value."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def free_port() -> int:
    """Return a free port. Another process may take it."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
