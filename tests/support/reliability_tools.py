"""What the tests of bad days share: child interpreters, limits on time and memory, and counts of what must not grow."""

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
    """A word that nobody else asks for, and the question whose answer is that word."""
    word = uuid.uuid4().hex
    return word, f"Say {word} and nothing else"


def python(
    script: str, given: Any = None, *, flags: tuple[str, ...] = (), timeout: float = 30
) -> subprocess.Popen[str]:
    """A child interpreter that runs ``script``; ``given`` is there as the variable of that name.

    It comes by standard input and not on the command line, where everybody could read the key.
    """
    head = "import json, sys\ngiven = json.loads(sys.stdin.readline())\n"
    child = subprocess.Popen(
        [sys.executable, *flags, "-c", head + script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=SUPPORT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert child.stdin is not None
    child.stdin.write(json.dumps(given) + "\n")
    child.stdin.flush()
    return child


def finish(child: subprocess.Popen[str], *, timeout: float = 30) -> tuple[str, str]:
    """What the child wrote to standard output and standard error; a failure when it does not end in time."""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        raise AssertionError(
            f"the child did not end within {timeout} s; it wrote: {out[-2000:]}{err[-2000:]}"
        ) from None
    return out, err


def run_python(script: str, given: Any = None, *, flags: tuple[str, ...] = (), timeout: float = 30) -> str:
    """Run ``script`` to its end, which must be a good one; what it printed."""
    child = python(script, given, flags=flags)
    out, err = finish(child, timeout=timeout)
    assert child.returncode == 0, f"status {child.returncode}: {out[-2000:]}{err[-4000:]}"
    return out


def wait_until(fulfilled: Callable[[], object], *, seconds: float = 10, what: str = "it") -> None:
    """Look until ``fulfilled`` says yes; a failure when it does not in time."""
    limit = time.monotonic() + seconds
    while not fulfilled():
        assert time.monotonic() < limit, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


class Task:
    """A function in a thread of its own; :meth:`result` has a limit."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._outcome: Any = None
        self._error: BaseException | None = None
        self.ended_at = 0.0
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._outcome = function()
        except BaseException as error:
            self._error = error
        finally:
            self.ended_at = time.monotonic()

    def error(self, *, seconds: float = 10) -> BaseException | None:
        """What the function raised, once it has ended."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"the thread was still busy after {seconds} s"
        return self._error

    def result(self, *, seconds: float = 10) -> Any:
        error = self.error(seconds=seconds)
        if error is not None:
            raise error
        return self._outcome


def together(function: Callable[[int], T], count: int, *, seconds: float = 30) -> list[T]:
    """``function(0..count-1)``, each in a thread of its own, begun at the same moment."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(seconds)
        return function(number)

    with ThreadPoolExecutor(count) as pool:
        return [future.result(seconds) for future in [pool.submit(run, number) for number in range(count)]]


@contextlib.contextmanager
def at_most(*, seconds: float, megabytes: float) -> Iterator[None]:
    """A bound on the time of the block, and on what Python allocates within it at any one moment."""
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
    """Open descriptors of this process."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    raise AssertionError("this system does not list descriptors")


def resident_megabytes() -> float:
    """Memory of this process that is in use now; its peak where the system tells no better."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
