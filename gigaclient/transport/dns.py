"""Host name look-ups that obey the deadline of a call.

``getaddrinfo`` cannot be interrupted and may take a minute, so it runs on a few daemon threads, and calls wait for its
result. Calls that need the same name share one look-up. Its addresses are remembered for some seconds.

A signal handler may interrupt a call anywhere, start a call itself, or raise. Therefore each call queues its look-up
once more while no thread has begun it, and only atomic operations change shared state.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from gigaclient._primitives import fork_safety
from gigaclient._primitives.deadline import Deadline, Latch
from gigaclient._primitives.foreign_errors import is_foreign

__all__ = ["AddressInfo", "Resolver", "resolver"]

AddressInfo: TypeAlias = tuple[int, int, int, str, Any]
"""An entry of ``socket.getaddrinfo``: family, type, protocol, canonical name, address."""

_MAX_THREADS = 4
_MAX_REMEMBERED = 256
# getaddrinfo does not say how long an answer is valid. Some seconds serve a burst of connections.
_REMEMBERED_SECONDS = 5.0


class _Lookup:
    """One look-up of a name, shared by all calls that wait for it."""

    def __init__(self, host: str, port: int, clock: Callable[[], float]) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._unclaimed = [True]  # popped by the thread that runs it, which is atomic
        self._waiting: list[Latch] = []
        self._done = False
        self._fresh_until = 0.0
        self._addresses: Sequence[AddressInfo] = ()
        self._failure: Exception | None = None

    @property
    def is_claimed(self) -> bool:
        """True once a thread has begun it."""
        return not self._unclaimed

    @property
    def is_usable(self) -> bool:
        """True while it has no result, and while its addresses are remembered."""
        return not self._done or self._clock() < self._fresh_until

    def run(self) -> None:
        """Look the name up and wake the waiting calls; do nothing if a thread has begun it already."""
        try:
            self._unclaimed.pop()
        except IndexError:
            return
        try:
            self._addresses = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            if self._addresses:
                self._fresh_until = self._clock() + _REMEMBERED_SECONDS
        except Exception as error:  # raised by `wait`
            self._failure = error.with_traceback(None)
        finally:
            # Set the flag first, then read the list; `wait` appends first, then checks. So one of them sees the other.
            self._done = True
            for latch in [*self._waiting]:
                latch.open()

    def wait(self, deadline: Deadline, seconds: float) -> Sequence[AddressInfo]:
        """Return the addresses; wait at most ``seconds``, and raise as :meth:`Resolver.resolve` does."""
        latch = Latch()
        self._waiting.append(latch)
        if not self._done and not deadline.wait(latch, seconds):
            raise deadline.exceeded("connect")
        if isinstance(self._failure, OSError):
            raise socket.gaierror(*self._failure.args)
        if isinstance(self._failure, UnicodeError):
            raise socket.gaierror(str(self._failure))
        if self._failure is not None:
            raise self._failure
        if not self._addresses:
            raise socket.gaierror("the name resolved to no address")
        return self._addresses


class _Worker(threading.Thread):
    """A thread that runs the pending look-ups, and ends when there are none."""

    def __init__(self, pending: queue.SimpleQueue[_Lookup]) -> None:
        super().__init__(name="gigaclient-dns", daemon=True)
        self._pending = pending
        self.is_leaving = False

    def run(self) -> None:
        """Run look-ups until none is pending."""
        while True:
            try:
                lookup = self._pending.get_nowait()
            except queue.Empty:
                self.is_leaving = True
                # A look-up may have been queued just before, by a call that counted on this thread.
                if self._pending.empty():
                    return
                self.is_leaving = False
            else:
                lookup.run()


class _Lookups:
    """The look-ups of one process."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, int], _Lookup] = {}
        self._pending: queue.SimpleQueue[_Lookup] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._lock = threading.RLock()

    def get(self, host: str, port: int, clock: Callable[[], float]) -> _Lookup:
        """Return the look-up of the name that is in progress or remembered; start one if there is none."""
        name = (host, port)
        found = self._by_name.get(name)
        if found is None or not found.is_usable:
            self._by_name.pop(name, None)
            if len(self._by_name) >= _MAX_REMEMBERED:
                self._drop_old()
            found = self._by_name.setdefault(name, _Lookup(host, port, clock))
        if not found.is_claimed:
            self._pending.put(found)
            self._start_worker()
        return found

    def forget(self, host: str, port: int) -> None:
        """Drop the remembered addresses of the name."""
        found = self._by_name.get((host, port))
        if found is not None and found.is_claimed:
            self._by_name.pop((host, port), None)

    def _drop_old(self) -> None:
        for name, lookup in list(self._by_name.items()):
            if not lookup.is_usable:
                self._by_name.pop(name, None)

    def _start_worker(self) -> None:
        worker = _Worker(self._pending)
        try:
            with self._lock:
                self._workers = [other for other in self._workers if not other.is_leaving]
                if len(self._workers) < _MAX_THREADS and not self._pending.empty():
                    worker.start()
                    self._workers.append(worker)
        except RuntimeError:
            if worker.ident is not None:
                raise  # from a signal handler of the program; the thread runs
            worker.run()  # the system has no more threads, or the interpreter is ending


class Resolver:
    """Looks host names up on a few daemon threads of the process, and remembers the addresses for some seconds.

    A forked child has none of the parent's threads, so it looks every name up anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lookups = _Lookups()
        fork_safety.register(self)

    def after_fork_in_child(self) -> None:
        """Forget the parent's look-ups and threads."""
        self._lookups = _Lookups()

    def resolve(self, host: str, port: int, deadline: Deadline, began: float) -> Sequence[AddressInfo]:
        """Return the addresses of ``host`` as ``socket.getaddrinfo`` does; at least one.

        Args:
            host: a name, or a numeric address, which needs no thread.
            port: the port in each address.
            deadline: the time limits of the call. Cancelling it ends the wait.
            began: the time by the deadline's clock at which connecting began, for the connect timeout.

        Raises:
            socket.gaierror: the name cannot be resolved.
            DeadlineExceeded: the deadline or the connect timeout passed first.
            Cancelled: the call was cancelled.
        """
        seconds = deadline.connect_remaining(began)
        if _is_numeric(host):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return self._lookups.get(host, port, self._clock).wait(deadline, seconds)

    def forget(self, host: str, port: int) -> None:
        """Look the name up again for the next connection, because no remembered address could be reached."""
        self._lookups.forget(host, port)


resolver = Resolver()
"""The resolver of all clients."""


def _is_numeric(host: str) -> bool:
    for family, address in ((socket.AF_INET, host), (socket.AF_INET6, host.partition("%")[0])):
        try:
            socket.inet_pton(family, address)
            return True
        except (OSError, ValueError) as error:
            if is_foreign(error):
                raise
    return False
