"""Sockets whose reads and writes obey the deadline of a call.

``http.client`` reads through ``socket.makefile`` and urllib3 sets one timeout per read, so a server that sends single
bytes slowly can block a thread for ever. Here each read and write checks the call's ``Deadline`` first, over TLS and
plain TCP, for headers and body. Shutting the TCP connection down wakes a cancelled call.
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

__all__ = [
    "READ_BYTES",
    "ConnectionState",
    "DeadlineSocket",
    "current_state",
    "shut_down",
    "socket_timeout",
    "use_state",
]

T = TypeVar("T")


# The maximum size of a TLS record. A smaller read would leave the rest of a record in OpenSSL, invisible to poll().
READ_BYTES = 16 * 1024
_MAX_POLL_MS = 2**31 - 1  # the largest argument of poll()


class ConnectionState:
    """The state of one request and its response on a connection, set by the connection for the transport."""

    __slots__ = ("deadline", "ended", "fresh", "opened", "received", "reused", "sent")

    def __init__(self, deadline: Deadline, *, fresh: bool = False) -> None:
        self.deadline = deadline
        self.fresh = fresh
        """Do not use a connection that has been idle."""
        self.reused = False
        """The connection has served a request before."""
        self.opened = False
        """A connection was made for this request."""
        self.sent = False
        """The first byte of the request may have left."""
        self.received = False
        """At least one byte of a response arrived."""
        self.ended = False
        """The server has closed its side."""


_thread = threading.local()


def current_state() -> ConnectionState | None:
    """Return the state of the request that this thread is sending, or None."""
    state: ConnectionState | None = getattr(_thread, "state", None)
    return state


class use_state:
    """Sets the state that connections used by this thread serve.

    It is thread-local because ``requests`` and urllib3 have no parameter to pass it through.
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
    """A connected socket, plain or TLS, that obeys the deadline of the request it serves.

    The socket is non-blocking, and ``poll`` waits until it is ready. The timeouts of Python's sockets need more system
    calls for each read and write, and after each of them a thread has to wait for the GIL.

    While it serves no request, it behaves like an ordinary socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pid = os.getpid()
        # Guards `state` against a late abort of the previous request: a connection that was returned to the pool may
        # already carry the response of another call. Guards the descriptor too: once it is closed, its number may
        # belong to another socket. Reentrant, because a finaliser or a signal handler may close while it is held.
        self._lock = threading.RLock()
        self.state: ConnectionState | None = None
        # False for urllib3's TLS inside TLS (an HTTPS proxy), which has its own loop around a blocking socket.
        self._is_socket = isinstance(sock, socket.socket)
        self._timeout = self._idle_timeout = sock.gettimeout()
        """The present timeout of the socket, 0 when it is non-blocking; and its timeout while it serves no request."""
        self._wait_readable = _waiter(sock, _READABLE)
        self.request_sent = False
        """A request was sent and nothing was read since, so the next read should wait before it tries."""
        self.session_ticket_read = not isinstance(sock, ssl.SSLSocket)
        """The server's first data was read. It includes session tickets, which OpenSSL stores under its locks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def serve(self, state: ConnectionState | None) -> None:
        """Serve the request of ``state`` from now on, and obey its deadline; None for no request."""
        with self._lock:
            previous, self.state = self.state, state
        if previous is not None and previous is not state:
            previous.deadline.on_cancel(None)
        if state is not None:
            self._set_timeout(0.0)
            state.deadline.on_cancel(functools.partial(self.abort, state))

    def _set_timeout(self, seconds: float | None) -> None:
        if self._timeout != seconds:  # settimeout costs a system call
            self._sock.settimeout(seconds)
            self._timeout = seconds

    def settimeout(self, seconds: float | None) -> None:
        """Set the timeout of the socket; ignored while it serves a request, whose deadline counts."""
        if self.state is None:
            self._idle_timeout = seconds
            self._set_timeout(seconds)

    def unbind(self) -> None:
        """Restore the caller's own timeout."""
        self._set_timeout(self._idle_timeout)

    def wait(self, deadline: Deadline, event: int) -> None:
        """Wait until the socket is ready or has an error.

        Raises:
            DeadlineExceeded, Cancelled: the call cannot wait that long.
        """
        remaining = deadline.remaining()
        if self._is_socket:
            wait_ready = self._wait_readable if event == _READABLE else _waiter(self._sock, event)
            if not wait_ready(remaining):
                raise deadline.exceeded()
        elif self._timeout is None or remaining < 0.1 or not -0.05 <= remaining - self._timeout <= 0.05:
            # The next read or write waits. Ignore small differences, since each change costs a system call.
            self._set_timeout(socket_timeout(remaining))

    def is_quiet(self) -> bool:
        """Return True when no unexpected data has arrived, such as the end of the connection."""
        return not self._wait_readable(0.0)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of ``data`` within the deadline of the request."""
        state = self.state
        if state is None:
            self.unbind()
            self._sock.sendall(data, flags)
            return
        deadline = state.deadline
        if not self._is_socket:
            self.wait(deadline, _WRITABLE)
        with memoryview(data) as view, view.cast("B") as octets:
            done = 0
            while done < len(octets):
                deadline.remaining()
                state.sent = True
                try:
                    done += self.when_ready(self._sock.send, octets[done:], deadline, _WRITABLE)
                except ssl.SSLEOFError:
                    # As over plain TCP: the peer reads no more, but may have sent an alert or a response.
                    raise BrokenPipeError(errno.EPIPE, "connection closed by the peer") from None
        self.request_sent = True

    def when_ready(self, operation: Callable[[Any], T], argument: Any, deadline: Deadline, event: int) -> T:
        """Return ``operation(argument)``, a read or a write of the socket; wait and repeat while it would block."""
        while True:
            try:
                return operation(argument)
            except BlockingIOError:
                awaited = event
            except ssl.SSLWantReadError:
                awaited = _READABLE  # only a part of a TLS record has arrived
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
        """Return a buffered reader that obeys the deadline; for ``http.client``."""
        raw = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_DeadlineReader(self, raw), READ_BYTES)

    def abort(self, state: ConnectionState) -> None:
        """End a read or write that is blocked on behalf of ``state``, at once and from any thread.

        Shut down only the TCP connection, because the blocked thread uses the TLS object. Do nothing in a forked child,
        because the parent uses the same connection.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            if self.state is state:
                shut_down(self._sock)

    def close(self) -> None:
        """Close the socket; the connection stays open until its reader is closed too."""
        # http.client closes the connection before it reads a body that is the last one.
        self.close_descriptor(self._sock)

    def close_descriptor(self, owner: Any) -> None:
        """Close ``owner``, the socket or its reader; the second of them closes the connection."""
        if self._pid != os.getpid():
            owner.close()  # in a forked child the lock may be held for ever, and `abort` does nothing
            return
        with self._lock:
            owner.close()


class _DeadlineReader(io.RawIOBase):
    """The raw reader of a :class:`DeadlineSocket`, for ``http.client``."""

    def __init__(self, sock: DeadlineSocket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw  # keeps the socket open until it is closed itself
        if sock.session_ticket_read:
            self._receive_directly()
        else:
            self._recv_into: Callable[[Any], int] = functools.partial(self._receive_first, sock._sock.recv_into)
            self._recv: Callable[[int], bytes] = functools.partial(self._receive_first, sock._sock.recv)

    def _receive_directly(self) -> None:
        # Bypass `raw` for speed: it would check at each read that it is open, which the buffered reader does already.
        self._recv_into = self._sock._sock.recv_into
        self._recv = self._sock._sock.recv

    def _receive_first(self, receive: Callable[[Any], T], argument: Any) -> T:
        # The first data includes session tickets, so OpenSSL takes locks that a fork has to wait for.
        if self._sock.state is None:
            received = in_steps(cast(ssl.SSLSocket, self._sock._sock), receive, argument)
        else:
            with steps:
                received = receive(argument)
        self._sock.session_ticket_read = True
        self._receive_directly()
        return received

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into ``buffer`` within the deadline; return the number of bytes."""
        return self._read_with_deadline(self._recv_into, buffer)

    def receive(self, size: int) -> bytes:
        """Return up to ``size`` bytes of a single read. Call only when the buffered reader is empty."""
        return self._read_with_deadline(self._recv, size)

    def _read_with_deadline(self, receive: Callable[[Any], T], argument: Any) -> T:
        sock = self._sock
        state = sock.state
        if state is None:
            sock.unbind()
            return receive(argument)
        deadline = state.deadline
        if sock.request_sent or not sock._is_socket:
            sock.request_sent = False
            sock.wait(deadline, _READABLE)
        else:
            deadline.remaining()  # a server that always has data ready would never reach `wait`
        received = sock.when_ready(receive, argument, deadline, _READABLE)
        if deadline.cancelled:
            # The shutdown looks like the end of the response, and truncated headers would be accepted as complete.
            raise Cancelled("closed")
        if received:
            state.received = True
        else:
            state.ended = True
        return received

    def close(self) -> None:
        """Close the reader, and the connection if the socket is closed."""
        if not self.closed:
            try:
                self._sock.close_descriptor(self._raw)
            finally:
                super().close()


def socket_timeout(seconds: float) -> float | None:
    """Return ``seconds`` as an argument for ``settimeout``: None when they exceed the limit of the system."""
    return seconds if seconds < threading.TIMEOUT_MAX else None


if hasattr(select, "poll"):
    _READABLE, _WRITABLE = select.POLLIN, select.POLLOUT

    def _waiter(sock: socket.socket, event: int) -> Callable[[float], bool]:
        """Return a function that waits until ``sock`` is ready or broken; it returns False after ``seconds``."""
        poll = select.poll()
        poll.register(sock, event)

        def ready(seconds: float) -> bool:
            return bool(poll.poll(min(math.ceil(seconds * 1e3), _MAX_POLL_MS) if seconds < math.inf else None))

        return ready

else:  # Windows
    _READABLE, _WRITABLE = selectors.EVENT_READ, selectors.EVENT_WRITE

    def _waiter(sock: socket.socket, event: int) -> Callable[[float], bool]:
        """Return a function that waits until ``sock`` is ready or broken; it returns False after ``seconds``."""

        def ready(seconds: float) -> bool:
            with selectors.SelectSelector() as selector:
                selector.register(sock, event)
                return bool(selector.select(seconds if seconds < threading.TIMEOUT_MAX else None))

        return ready


def shut_down(sock: Any) -> None:
    """Shut the TCP connection of ``sock`` down in both directions, which wakes a thread blocked on it."""
    if not isinstance(sock, socket.socket):
        sock = sock.socket  # urllib3's TLS inside TLS (an HTTPS proxy)
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # it is no longer connected, so no thread can be blocked on it
