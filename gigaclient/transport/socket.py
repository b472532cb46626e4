"""Sockets and connections that wait no longer than the call they serve may.

``http.client`` reads through ``socket.makefile`` and urllib3 arms one timeout per read, so a server that drips single
bytes can hold a thread for ever. Here each read and write asks the call's ``Deadline`` first, over TLS and plain TCP
alike, headers and body alike, and a cancelled call is woken by shutting the TCP connection down.
"""

from __future__ import annotations

import errno
import functools
import io
import math
import os
import select
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gigaclient._primitives.deadline import Cancelled, Deadline
from gigaclient._primitives.fork_safety import steps
from gigaclient.transport.tls_handshake import in_steps

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["READ_BYTES", "ConnectionState", "current_state", "use_state"]

T = TypeVar("T")


# One TLS record: what a single read can bring at most. With less room for it, the rest of a record would stay in
# OpenSSL, where poll() knows nothing of it.
READ_BYTES = 16 * 1024
# What poll() can be given.
_LONGEST_POLL_MS = 2**31 - 1


class ConnectionState:
    """One request and its answer on one connection: what the layers below tell the one that sent it."""

    __slots__ = ("deadline", "ended", "fresh", "opened", "received", "reused", "sent")

    def __init__(self, deadline: Deadline, *, fresh: bool = False) -> None:
        self.deadline = deadline
        self.fresh = fresh
        """Do not use a connection that has been idle."""
        self.reused = False
        """The connection had served a request before."""
        self.opened = False
        """A connection was made for this request."""
        self.sent = False
        """The first byte of the request may have left."""
        self.received = False
        """At least one byte of an answer came."""
        self.ended = False
        """The server has closed its side."""


_thread = threading.local()


def current_state() -> ConnectionState | None:
    """The exchange that this thread is sending, if any."""
    state: ConnectionState | None = getattr(_thread, "state", None)
    return state


class use_state:
    """Makes ``state`` the one that connections used by this thread serve.

    The call passes through ``requests`` and urllib3, whose signatures have no place for it.
    """

    __slots__ = ("_outer", "_state")

    def __init__(self, state: ConnectionState) -> None:
        self._state = state
        self._outer: ConnectionState | None = None

    def __enter__(self) -> None:
        self._outer = current_state()
        _thread.state = self._state

    def __exit__(self, *exc_info: object) -> None:
        _thread.state = self._outer


class DeadlineSocket:
    """A connected socket, plain or TLS, that obeys the patience of the exchange it serves.

    Such a socket does not block: what is not ready is waited for in ``poll``. The time limits of Python's sockets take
    more system calls for each read and write, and each is a turn that a thread has to wait for among many.

    Between exchanges, and for code that uses the connection without one, it behaves like the socket itself.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pid = os.getpid()
        # Guards `state` against an abort meant for the one before, since a connection that went back to the pool may
        # already be carrying somebody else's answer; and the descriptor, whose number may be another socket's once it
        # is closed. Reentrant, because a finaliser or a signal handler may close in the middle of it.
        self._lock = threading.RLock()
        self.state: ConnectionState | None = None
        # urllib3's TLS inside TLS, through an HTTPS proxy, has a loop of its own around a socket that blocks.
        self._is_socket = isinstance(sock, socket.socket)
        self._limit = self._users_limit = sock.gettimeout()
        """The time limit that the socket has now, 0 when it does not block; and the one it has without an exchange."""
        self._readable = _waiter(sock, _READABLE)
        self.request_sent = False
        """A request has left and nothing was read since: an answer takes its time."""
        self.session_ticket_read = not isinstance(sock, ssl.SSLSocket)
        """The server's first data has come. With it come session tickets, which OpenSSL files under its locks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def serve(self, state: ConnectionState | None) -> None:
        """From now on, wait as ``state`` allows."""
        with self._lock:
            before, self.state = self.state, state
        if before is not None and before is not state:
            before.deadline.on_cancel(None)
        if state is not None:
            self._set_limit(0.0)
            state.deadline.on_cancel(functools.partial(self.abort, state))

    def _set_limit(self, seconds: float | None) -> None:
        if self._limit != seconds:  # it costs a system call
            self._sock.settimeout(seconds)
            self._limit = seconds

    def settimeout(self, seconds: float | None) -> None:
        if self.state is None:
            self._users_limit = seconds
            self._set_limit(seconds)

    def unbind(self) -> None:
        """Block, as long as whoever uses the connection without an exchange has said."""
        self._set_limit(self._users_limit)

    def wait(self, deadline: Deadline, event: int) -> None:
        """Wait until the socket is ready, or has something to tell.

        Raises:
            patience.DeadlineExceeded, patience.Cancelled: the call cannot wait that long.
        """
        limit = deadline.remaining()
        if self._is_socket:
            ready = self._readable if event == _READABLE else _waiter(self._sock, event)
            if not ready(limit):
                raise deadline.exceeded()
        elif self._limit is None or limit < 0.1 or not -0.05 <= limit - self._limit <= 0.05:
            # The next read or write waits. A difference that nobody would notice is left alone.
            self._set_limit(_settable(limit))

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for, such as the connection's end."""
        return not self._readable(0.0)

    def sendall(self, data: Any, flags: int = 0) -> None:
        state = self.state
        if state is None:
            self.unbind()
            self._sock.sendall(data, flags)
            return
        deadline = state.deadline
        if not self._is_socket:
            self.wait(deadline, _WRITABLE)
        with memoryview(data) as view, view.cast("B") as rest:
            done = 0
            while done < len(rest):
                deadline.remaining()
                state.sent = True
                try:
                    done += self.when_ready(self._sock.send, rest[done:], deadline, _WRITABLE)
                except ssl.SSLEOFError:
                    # Told as over plain TCP: the peer takes no more, and may have said why (an alert, an answer).
                    raise BrokenPipeError(errno.EPIPE, "connection closed by the peer") from None
        self.request_sent = True

    def when_ready(self, operation: Callable[[Any], T], what: Any, deadline: Deadline, event: int) -> T:
        """What ``operation``, a read or a write of the socket, returns; tried first, and waited for where need be."""
        while True:
            try:
                return operation(what)
            except BlockingIOError:
                awaited = event
            except ssl.SSLWantReadError:
                awaited = _READABLE  # of a TLS record not all is here yet
            except ssl.SSLWantWriteError:
                awaited = _WRITABLE
            except TimeoutError:
                raise deadline.exceeded() from None
            except OSError:
                if deadline.cancelled:
                    raise Cancelled("closed") from None
                raise
            self.wait(deadline, awaited)

    def makefile(self, mode: str = "rb", buffering: int | None = None, **options: Any) -> io.BufferedReader:
        raw = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_DeadlineReader(self, raw), READ_BYTES)

    def abort(self, state: ConnectionState) -> None:
        """End whatever read or write is blocked here on behalf of ``state``, from any thread, at once.

        Only the TCP connection is shut down: the TLS object is in use by the blocked thread. In a forked child nothing
        happens, since the connection is the parent's as well.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            if self.state is state:
                _shut_down(self._sock)

    def close(self) -> None:
        # A reader may outlive this: http.client closes the connection before the body when nothing comes after it.
        self.close_descriptor(self._sock)

    def close_descriptor(self, part: Any) -> None:
        """Close the socket or its reader, whichever; what is closed last closes the connection."""
        if self._pid != os.getpid():
            part.close()  # a fork may have left the lock shut for ever, and nobody aborts here
            return
        with self._lock:
            part.close()


class _DeadlineReader(io.RawIOBase):
    """The reading end that ``http.client`` gets."""

    def __init__(self, wire: DeadlineSocket, raw: io.RawIOBase) -> None:
        self._wire = wire
        self._raw = raw  # counts as a user of the socket until it is closed
        if wire.session_ticket_read:
            self._receive_as_it_comes()
        else:
            self._recv_into: Callable[[Any], int] = functools.partial(self._first, wire._sock.recv_into)
            self._recv: Callable[[int], bytes] = functools.partial(self._first, wire._sock.recv)

    def _receive_as_it_comes(self) -> None:
        # Past `raw`, for speed: it would look at each read whether it is open, which others have done already.
        self._recv_into = self._wire._sock.recv_into
        self._recv = self._wire._sock.recv

    def _first(self, receive: Callable[[Any], T], what: Any) -> T:
        if self._wire.state is None:
            received = in_steps(cast(ssl.SSLSocket, self._wire._sock), receive, what)
        else:
            with steps:
                received = receive(what)
        self._wire.session_ticket_read = True
        self._receive_as_it_comes()
        return received

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._read_with_deadline(self._recv_into, buffer)

    def receive(self, size: int) -> bytes:
        """What one read brings, ``size`` bytes at most; for those who know that nothing is left in the buffer above."""
        return self._read_with_deadline(self._recv, size)

    def _read_with_deadline(self, receive: Callable[[Any], T], what: Any) -> T:
        wire = self._wire
        state = wire.state
        if state is None:
            wire.unbind()
            return receive(what)
        deadline = state.deadline
        if wire.request_sent or not wire._is_socket:
            wire.request_sent = False
            wire.wait(deadline, _READABLE)
        else:
            deadline.remaining()  # a server may never let anybody wait
        received = wire.when_ready(receive, what, deadline, _READABLE)
        if deadline.cancelled:
            # The shutdown looks like the end of the answer, and a head cut there would pass for a whole one.
            raise Cancelled("closed")
        if received:
            state.received = True
        else:
            state.ended = True
        return received

    def close(self) -> None:
        if not self.closed:
            try:
                self._wire.close_descriptor(self._raw)
            finally:
                super().close()


def _settable(seconds: float) -> float | None:
    return seconds if seconds < threading.TIMEOUT_MAX else None


if hasattr(select, "poll"):
    _READABLE, _WRITABLE = select.POLLIN, select.POLLOUT

    def _waiter(sock: socket.socket, event: int) -> Callable[[float], bool]:
        """Waits until ``sock`` is ready for reading or writing, or broken; False after so many seconds."""
        poll = select.poll()
        poll.register(sock, event)

        def ready(seconds: float) -> bool:
            return bool(poll.poll(min(math.ceil(seconds * 1e3), _LONGEST_POLL_MS) if seconds < math.inf else None))

        return ready

else:  # Windows
    _READABLE, _WRITABLE = selectors.EVENT_READ, selectors.EVENT_WRITE

    def _waiter(sock: socket.socket, event: int) -> Callable[[float], bool]:
        """Waits until ``sock`` is ready for reading or writing, or broken; False after so many seconds."""

        def ready(seconds: float) -> bool:
            with selectors.SelectSelector() as selector:
                selector.register(sock, event)
                return bool(selector.select(seconds if seconds < threading.TIMEOUT_MAX else None))

        return ready


def _shut_down(sock: Any) -> None:
    if not isinstance(sock, socket.socket):
        sock = sock.socket  # urllib3's TLS inside TLS, through an HTTPS proxy
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # not connected any more: nobody can be blocked on it
