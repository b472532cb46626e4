"""Connect to the first address of a host that answers, as RFC 8305 (Happy Eyeballs) describes.

The addresses of a host are tried in turn, 250 ms apart, and the first connection wins. All attempts run in the thread
of the call. Their sockets are non-blocking, and one selector waits for all of them.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

from gigaclient._primitives.deadline import Deadline
from gigaclient._primitives.foreign_errors import is_foreign
from gigaclient.transport.dns import AddressInfo, resolver
from gigaclient.transport.readiness import Selector
from gigaclient.transport.tls_handshake import Socket

__all__ = ["ATTEMPT_DELAY_SECONDS", "PreferredAddresses", "connect", "connect_to_host"]

ATTEMPT_DELAY_SECONDS = 0.25
"""The pause between the beginnings of two attempts: RFC 8305, section 5."""

# Like the cache of outcomes in RFC 6555, section 4.2: later, a repaired address is tried first again.
_REMEMBERED_SECONDS = 600.0
_MAX_REMEMBERED = 256

# A cancel is noticed after this time. A pipe or a pair of sockets would wake the wait sooner. But Python hands their
# descriptors over as numbers, and the exception of a signal handler at that moment would leave them open for ever.
_MAX_WAIT_SECONDS = 0.05


def connect_to_host(
    host: str, port: int, deadline: Deadline, began: float, prepare: Callable[[socket.socket], None]
) -> socket.socket:
    """Resolve ``host``, and return a non-blocking socket that is connected to it.

    The arguments and errors are those of :meth:`.dns.Resolver.resolve` and :func:`connect`.
    """
    addresses = resolver.resolve(host, port, deadline, began)
    try:
        sock, address = connect(_preferred.sort(host, port, addresses), deadline, began, prepare)
    except OSError:
        resolver.forget(host, port)  # the host may have moved
        raise
    _preferred.note(host, port, addresses, address)
    return sock


def connect(
    addresses: Iterable[AddressInfo],
    deadline: Deadline,
    began: float,
    prepare: Callable[[socket.socket], None],
) -> tuple[socket.socket, AddressInfo]:
    """Return a non-blocking socket that is connected to the first address that answers, and that address.

    Args:
        addresses: entries of ``socket.getaddrinfo``, the preferred one first; the families are tried alternately.
        deadline: the time limits of the call. Cancelling it ends the wait.
        began: the time by the deadline's clock at which connecting began, for the connect timeout.
        prepare: sets options of each socket before it connects, and may bind it; its ``OSError`` ends that attempt.

    Raises:
        OSError: no address could be reached; the error of the last attempt.
        DeadlineExceeded: the deadline or the connect timeout passed first.
        Cancelled: the call was cancelled.
    """
    with _Attempts(deadline, prepare) as attempts:
        return attempts.run(deque(_alternating(addresses)), began)


class _Attempts:
    """The attempts of one :func:`connect`; closes all sockets but the connected one."""

    def __init__(self, deadline: Deadline, prepare: Callable[[socket.socket], None]) -> None:
        self._deadline = deadline
        self._prepare = prepare
        self._running: dict[socket.socket, AddressInfo] = {}
        self._connected: socket.socket | None = None
        self._failure = OSError("the name resolved to no address")

    def __enter__(self) -> _Attempts:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in self._running:
            sock.close()

    def run(self, pending: deque[AddressInfo], began: float) -> tuple[socket.socket, AddressInfo]:
        """Start the attempts in turn; return the first connected socket and its address."""
        next_start = 0.0
        while self._connected is None:
            remaining = self._deadline.connect_remaining(began)
            now = self._deadline.now()
            if pending and (not self._running or now >= next_start):
                self._start(pending.popleft())
                next_start = now + ATTEMPT_DELAY_SECONDS
            elif self._running:
                self._wait(min(remaining, next_start - now) if pending else remaining)
            else:
                raise self._failure
        return self._connected, self._running.pop(self._connected)

    def _start(self, address: AddressInfo) -> None:
        """Begin to connect to ``address``."""
        try:
            sock = Socket(*address[:3])
        except OSError as error:  # this machine does not support the address family
            if is_foreign(error):
                raise
            self._failure = error
            return
        self._running[sock] = address
        try:
            self._prepare(sock)
            sock.setblocking(False)
            sock.connect(address[4])
        except BlockingIOError:
            return  # as usual: the wait shows how it ends
        except OSError as error:
            if is_foreign(error):
                raise
            self._drop(sock, error)
        else:
            self._connected = sock

    def _wait(self, seconds: float) -> None:
        """Wait until an attempt has ended, at most ``seconds`` and briefly enough to notice a cancel."""
        with Selector() as selector:
            for sock in self._running:
                selector.register(sock, selectors.EVENT_WRITE)
            ready = [key.fileobj for key, _ in selector.select(min(seconds, _MAX_WAIT_SECONDS))]
        for sock in [sock for sock in self._running if sock in ready]:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._drop(sock, OSError(code, os.strerror(code)))
            else:
                self._connected = sock
                return

    def _drop(self, sock: socket.socket, failure: OSError) -> None:
        self._failure = failure
        del self._running[sock]
        sock.close()


class PreferredAddresses:
    """Remembers for each host the address that answered when an earlier one did not, and puts it first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._remembered: dict[tuple[str, int], tuple[Any, float]] = {}

    def sort(self, host: str, port: int, addresses: Sequence[AddressInfo]) -> list[AddressInfo]:
        """Return ``addresses`` with the remembered one first."""
        target, until = self._remembered.get((host, port), (None, 0.0))
        if self._clock() >= until:
            return list(addresses)
        return sorted(addresses, key=lambda address: bool(address[4] != target))

    def note(self, host: str, port: int, addresses: Sequence[AddressInfo], answered: AddressInfo) -> None:
        """Remember the address that answered, unless it is the first of ``addresses``, which are as resolved."""
        target = answered[4]
        if addresses[0][4] == target:
            self._remembered.pop((host, port), None)
            return
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        remembered = self._remembered.get((host, port))
        # Using it does not prolong it: after the time, the first address is tried again.
        if remembered is None or remembered[0] != target or self._clock() >= remembered[1]:
            self._remembered[host, port] = (target, self._clock() + _REMEMBERED_SECONDS)


_preferred = PreferredAddresses()


def _alternating(addresses: Iterable[AddressInfo]) -> list[AddressInfo]:
    """Return the addresses with their families in turn, beginning with the first: RFC 8305, section 4."""
    by_family: dict[int, list[AddressInfo]] = {}
    for address in addresses:
        by_family.setdefault(address[0], []).append(address)
    ranked = [(rank, address) for family in by_family.values() for rank, address in enumerate(family)]
    return [address for _, address in sorted(ranked, key=lambda pair: pair[0])]
