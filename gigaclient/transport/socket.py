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
import socket
import ssl
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from gigaclient._primitives.deadline import Cancelled, Deadline
from gigaclient._primitives.foreign_errors import is_foreign
from gigaclient._primitives.fork_safety import steps
from gigaclient.transport.readiness import READABLE, WRITABLE, poller, shut_down, socket_timeout
from gigaclient.transport.tls_handshake import in_steps

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["READ_BYTES", "ConnectionState", "DeadlineSocket", "this_thread"]

T = TypeVar("T")


# The maximum size of a TLS record. A smaller read would leave the rest of a record in OpenSSL, invisible to poll().
READ_BYTES = 16 * 1024
_MAX_POLL_MS = 2**31 - 1  # the largest argument of poll()
# After a read found no data, the next reads wait before they try. Trying in vain costs more than waiting in vain.
_READS_THAT_WAIT = 16


class ConnectionState(msgspec.Struct, eq=False, weakref=True):
    """The state of one request and its response on a connection, set by the connection for the transport."""

    deadline: Deadline
    fresh: bool = False
    """Do not use a connection that has been idle."""
    reused: bool = False
    """The connection has served a request before."""
    opened: bool = False
    """A connection was made for this request."""
    sent: bool = False
    """The first byte of the request may have left."""
    received: bool = False
    """At least one byte of a response arrived."""
    ended: bool = False
    """The server has closed its side."""


class _ThisThread(threading.local):
    """The state that connections used by this thread serve.

    It is thread-local because ``requests`` and urllib3 have no parameter to pass it through.
    """

    state: ConnectionState | None = None


this_thread = _ThisThread()


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
        self.pending: Callable[[], int] = getattr(sock, "pending", int)
        """Return the number of decrypted bytes that were not read; 0 without TLS."""
        self.poll = poller(sock, READABLE)
        """Wait some milliseconds until the socket is readable or broken; return a false value when it is not."""
        self.request_sent = False
        """A request was sent and nothing was read since, so the next read should wait before it tries."""
        self.waited = False
        """A read has waited for data; reset by the reader."""
        self.early_answer = b""
        """Bytes of a response that arrived while its request was still being sent; the reader takes them first."""
        self.reusable = True
        """False when a next request could get bytes that are not its response."""
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
            if self._timeout != 0.0:
                self._set_timeout(0.0)
            # Weak, because a cycle would keep the socket open and the call registered after an interrupt.
            state.deadline.on_cancel(functools.partial(_abort, weakref.ref(self), weakref.ref(state)))

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
            poll = self.poll if event == READABLE else poller(self._sock, event)
            if not poll(min(math.ceil(remaining * 1e3), _MAX_POLL_MS) if remaining < math.inf else None):
                raise deadline.exceeded()
        elif self._timeout is None or remaining < 0.1 or not -0.05 <= remaining - self._timeout <= 0.05:
            # The next read or write waits. Ignore small differences, since each change costs a system call.
            self._set_timeout(socket_timeout(remaining))

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of ``data`` within the deadline of the request."""
        state = self.state
        if state is None:
            self.unbind()
            self._sock.sendall(data, flags)
            return
        deadline = state.deadline
        if not self._is_socket:
            self.wait(deadline, WRITABLE)
        with memoryview(data) as view, view.cast("B") as octets:
            done = 0
            while done < len(octets):
                deadline.remaining()
                state.sent = True
                try:
                    done += self.when_ready(self._sock.send, octets[done:], deadline, WRITABLE)
                except ssl.SSLEOFError:
                    # As over plain TCP: the peer reads no more, but may have sent an alert or a response.
                    raise BrokenPipeError(errno.EPIPE, "connection closed by the peer") from None
        self.request_sent = True

    def when_ready(self, operation: Callable[[Any], T], argument: Any, deadline: Deadline, event: int) -> T:
        """Return ``operation(argument)``, a read or a write of the socket; wait and repeat while it would block."""
        while True:
            awaited, failure = event, None
            try:
                return operation(argument)
            except ssl.SSLWantReadError:
                awaited = READABLE  # only a part of a TLS record has arrived
            except ssl.SSLWantWriteError:
                awaited = WRITABLE
            except OSError as error:
                if is_foreign(error):
                    raise
                failure = None if isinstance(error, BlockingIOError) else error
            if failure is not None:
                try:
                    raise _socket_failure(failure, deadline)
                finally:
                    del failure  # its traceback refers to this frame, and a cycle would keep the socket
            if event == WRITABLE and self._is_socket:
                self.wait(deadline, awaited | READABLE)
                self._read_early_answer()
            else:
                self.waited = True
                self.wait(deadline, awaited)

    def _read_early_answer(self) -> None:
        """Read what arrived while the request is being sent, such as a 413 before the end of a body.

        Raises:
            BrokenPipeError: the server has answered or closed its side, so the rest of the request is not wanted.
        """
        receive: Callable[[int], bytes] = self._sock.recv
        try:
            received = receive(READ_BYTES) if self.session_ticket_read else self.receive_first(receive, READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return  # no data: the socket is writable, or TLS has read a session ticket
        self.early_answer, self.reusable = received, False
        if received and self.state is not None:
            self.state.received = True
        raise BrokenPipeError(errno.EPIPE, "the server did not wait for the end of the request")

    def receive_first(self, receive: Callable[[Any], T], argument: Any) -> T:
        """Read the first data, in steps that a fork waits for."""
        if self.state is None:
            received = in_steps(cast(ssl.SSLSocket, self._sock), receive, argument)
        else:
            with steps:
                received = receive(argument)
        self.session_ticket_read = True
        return received

    def makefile(self, mode: str = "rb", buffering: int | None = None, **options: Any) -> io.BufferedReader:
        """Return a buffered reader that obeys the deadline; for ``http.client``."""
        raw = self._sock.makefile("rb", buffering=0)
        return _ResponseReader(_DeadlineReader(self, raw), READ_BYTES)

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


def _abort(sock: weakref.ref[DeadlineSocket], state: weakref.ref[ConnectionState]) -> None:
    present, served = sock(), state()
    if present is not None and served is not None:
        present.abort(served)


def _socket_failure(error: OSError, deadline: Deadline) -> OSError:
    if deadline.cancelled:
        return Cancelled("closed")
    if not isinstance(error, TimeoutError):
        return error
    if error.errno is None:
        return deadline.exceeded()
    # From the system, which has given the connection up: no time limit of the call.
    return OSError(errno.EHOSTUNREACH, "the network does not reach the server any more")


class _DeadlineReader(io.RawIOBase):
    """The raw reader of a :class:`DeadlineSocket`, for ``http.client``."""

    def __init__(self, sock: DeadlineSocket, raw: io.RawIOBase) -> None:
        self.sock = sock
        self._raw = raw  # keeps the socket open until it is closed itself
        # Bypass `raw` for speed: it would check at each read that it is open, which the buffered reader does already.
        self._recv_into: Callable[[Any], int] = sock._sock.recv_into
        self._recv: Callable[[int], bytes] = sock._sock.recv
        self._receive = self._recv
        self._reads_that_wait = 0
        if isinstance(sock._sock, ssl.SSLSocket):
            # Bypass four functions of the standard library, which only check that the socket is open.
            self._receive = getattr(sock._sock._sslobj, "read", self._recv)  # type: ignore[attr-defined]
        self.response_ended = False
        self.filled = False
        """The last read got as much as it asked for, so OpenSSL may keep the rest of the TLS record."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read into ``buffer`` within the deadline; return the number of bytes, or None at the end of the response."""
        if self.response_ended:
            return None
        early = self.sock.early_answer
        if early:
            self.sock.early_answer = b""
            memoryview(buffer)[: len(early)] = early  # it fits: this is the first read into the whole buffer
            return len(early)
        received = self._read_with_deadline(self._recv_into, buffer)
        self.filled = received == memoryview(buffer).nbytes
        return received

    def receive(self, size: int) -> bytes:
        """Return up to ``size`` bytes of a single read. Call only when the buffered reader is empty."""
        sock = self.sock
        state = sock.state
        if state is None or sock.request_sent or not sock.session_ticket_read or not sock._is_socket:
            received = self._read_with_deadline(self._recv, size)
            self.filled = len(received) == size
            return received
        # A short path, because this runs for each event of a stream.
        deadline = state.deadline
        remaining = deadline.remaining()
        if self._reads_that_wait:
            # Nothing is left inside OpenSSL, invisible to poll(): earlier reads took whole records.
            self._reads_that_wait -= 1
            if not sock.poll(min(math.ceil(remaining * 1e3), _MAX_POLL_MS) if remaining < math.inf else None):
                raise deadline.exceeded()
        try:
            received = sock.when_ready(self._receive, size, deadline, READABLE)
        except ssl.SSLEOFError:  # as SSLSocket.recv: without the closing alert of TLS
            received = b""
        if sock.waited:
            sock.waited, self._reads_that_wait = False, _READS_THAT_WAIT
        if deadline.cancelled:
            raise Cancelled("closed")
        if not received:
            state.ended = True
        self.filled = len(received) == size
        return received

    def _read_with_deadline(self, receive: Callable[[Any], T], argument: Any) -> T:
        sock = self.sock
        state = sock.state
        if not sock.session_ticket_read:
            receive = functools.partial(sock.receive_first, receive)
        if state is None:
            sock.unbind()
            return receive(argument)
        deadline = state.deadline
        if sock.request_sent or not sock._is_socket:
            sock.request_sent = False
            sock.wait(deadline, READABLE)
        else:
            deadline.remaining()  # a server that always has data ready would never reach `wait`
        received = sock.when_ready(receive, argument, deadline, READABLE)
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
                self.sock.close_descriptor(self._raw)
            finally:
                super().close()


class _ResponseReader(io.BufferedReader):
    """The buffered reader of one response."""

    raw: _DeadlineReader

    def close(self) -> None:
        """Close the reader, and mark the connection if bytes are left that belong to no response.

        Every way to read a body closes the reader at its end, also those of the libraries and of a user's hook.
        """
        if not self.closed:
            raw = self.raw
            raw.response_ended = True  # so that peek returns the buffer without reading
            # Ask OpenSSL only if it may have something: it releases the GIL, and a thread would wait for its turn.
            raw.sock.reusable = raw.sock.reusable and not (self.peek() or (raw.filled and raw.sock.pending()))
        super().close()
