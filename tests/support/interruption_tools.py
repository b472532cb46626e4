"""Signals at random moments, for the load test: the calls of a main thread meet them.

A signal handler raises an exception of the program, or forks in C, wherever the call is. Python's hooks for forks do
not run in such a child. It makes calls with the inherited client, and leaves by ``os._exit``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import os
import random
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

AVAILABLE = hasattr(os, "fork") and hasattr(signal, "pthread_kill")
CHILD_SECONDS = 20.0
"""The limit of a child: its calls take less than half of that on a busy machine."""
_MOST_CHILDREN = 20


# The interpreter calls the first two itself, and does not pass on unchanged what they raise: it finalises a response of
# urllib3, or encodes a host name. The third is urllib3's, and ignores a reset that is raised in its own frame. The last
# is the audit hook of the tests: an exception in one makes the interpreter forget a descriptor that it just duplicated.
_DROPPED_IN = {"closed", "encode", "_make_request", "_loopback_only"}


class ProgramError(Exception):
    """An exception of the program, as Celery and RQ raise it."""


_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: ProgramError("from the handler"),
    lambda: TimeoutError("from the handler"),
    lambda: OSError(errno.EIO, "from the handler"),
    lambda: ConnectionResetError(errno.ECONNRESET, "from the handler"),
)


class Children:
    """Forks children in C, from a process with one thread.

    With more threads the child may wait for ever for a lock of the interpreter that one of them held.

    Attributes:
        forked: the number of children.
        wrong: what the children found wrong, and where one of them hung.
    """

    def __init__(self, work: Callable[[], str]) -> None:
        self._work = work
        self._fork = ctypes.PyDLL(None).fork  # the GIL is held, and no hook of Python runs
        self._running: dict[int, tuple[int, float]] = {}
        self.forked = 0
        self.wrong: list[str] = []

    def fork(self) -> None:
        """Start a child that runs ``work``, which returns a fault or an empty text."""
        if len(self._running) == _MOST_CHILDREN:
            self.reap()
        reading, writing = os.pipe()
        child = self._fork()
        if child:
            os.close(writing)
            self._running[child] = reading, time.monotonic() + CHILD_SECONDS
            self.forked += 1
            return
        try:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            faulthandler.enable(writing)  # SIGABRT writes where the child hangs
            os.write(writing, self._work().encode())
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(0)

    def reap(self) -> None:
        """Wait for all children, end those that take too long, and keep what they found wrong."""
        for child, (reading, limit) in self._running.items():
            if not select.select([reading], [], [], max(0.0, limit - time.monotonic()))[0]:
                os.kill(child, signal.SIGABRT)
            with os.fdopen(reading, "rb") as pipe:
                wrong = pipe.read().decode(errors="replace")
            os.waitpid(child, 0)
            if wrong:
                self.wrong.append(f"in a child: {wrong[:3000]}")
        self._running.clear()


class Interruptions:
    """Handles SIGUSR1 inside of calls of the main thread: raises an exception of the program, or calls ``fork``."""

    def __init__(self, seed: float, fork: Callable[[], object] | None = None) -> None:
        self._random = random.Random(seed)
        self._fork = fork
        self._is_armed = False
        self._raised_at: list[traceback.FrameSummary] = []
        self.raised: BaseException | None = None
        self._unraisable: BaseException | None = None

    def call(self, function: Callable[[], Any]) -> Any:
        """Call ``function``; a signal may raise ``self.raised`` inside."""
        self.raised = None
        self._is_armed = True
        try:
            return function()
        finally:
            self._is_armed = False

    def swallowed(self) -> str:
        """Return where the exception was raised that did not leave the last call; empty if there was none.

        A finaliser cannot pass an exception on.
        """
        if self.raised is None or self.raised is self._unraisable:
            return ""
        return f"{self.raised!r} from\n{''.join(traceback.format_list(self._raised_at))}"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._is_armed or frame is None or frame.f_code.co_name in _DROPPED_IN:
            return
        self._is_armed = False  # one signal is enough for a call
        if self._fork is not None and self._random.random() < 0.3:
            self._fork()
            return
        self._raised_at = traceback.extract_stack(frame)[-10:]
        self.raised = self._random.choice(_ERRORS)()
        raise self.raised

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signal during the block."""
        handler = signal.signal(signal.SIGUSR1, self._handle)
        hook, sys.unraisablehook = sys.unraisablehook, self._note_unraisable
        try:
            yield
        finally:
            signal.signal(signal.SIGUSR1, handler)
            sys.unraisablehook = hook
            # Its traceback may hold a socket that Python's own code was just making, and that no other code can close.
            self.raised = self._unraisable = None

    def _note_unraisable(self, unraisable: Any) -> None:
        if unraisable.exc_value is not None and unraisable.exc_value is self.raised:
            self._unraisable = self.raised
        elif unraisable.exc_type is not ResourceWarning:  # of a socket that an interrupted call left to its finaliser
            sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def sending(send: Callable[[], object], seed: float) -> Iterator[None]:
    """Call ``send``, which sends SIGUSR1 to the process or thread under test, at random moments during the block."""
    rng = random.Random(seed)

    def repeat(over: threading.Event) -> None:
        while not over.wait(rng.uniform(0.001, 0.05)):
            send()

    with in_background(repeat):
        yield


@contextlib.contextmanager
def in_background(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run ``work`` in a thread during the block; the end of the block sets its argument and waits for the thread."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
