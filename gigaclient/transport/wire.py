"""Sockets and connections that wait no longer than the call they serve may.

``http.client`` reads through ``socket.makefile`` and urllib3 arms one timeout per read, so a server that drips single
bytes can hold a thread for ever. Here each read and write asks the call's :class:`~gigaclient.patience.Patience` first,
over TLS and plain TCP alike, headers and body alike, and a cancelled call is woken by shutting the TCP connection down.
"""

from __future__ import annotations

import errno
import functools
import io
import math
import os
import queue
import select
import selectors
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from http.client import HTTPException, IncompleteRead
from typing import TYPE_CHECKING, Any, TypeVar, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ProxyError

from gigaclient.forks import steps
from gigaclient.handshake import in_steps
from gigaclient.patience import Cancelled, Exhausted, Patience
from gigaclient.transport.head import Headers, PlainHeadResponse, Written, header_block

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["POOL_CLASSES", "READ_BYTES", "Exchange", "current_exchange", "exchanging"]

T = TypeVar("T")


def _librarys_own(kind: Any) -> Any:
    """urllib3's own class, even where this module is loaded while vcrpy has put one derived from it in its place."""
    return next(base for base in kind.__mro__ if base.__module__ == "urllib3.connection")


if not TYPE_CHECKING:
    HTTPConnection, HTTPSConnection = _librarys_own(HTTPConnection), _librarys_own(HTTPSConnection)

# One TLS record: what a single read can bring at most. With less room for it, the rest of a record would stay in
# OpenSSL, where poll() knows nothing of it.
READ_BYTES = 16 * 1024
# What poll() can be given.
_LONGEST_POLL_MS = 2**31 - 1
# Below this, head and body of a request leave in one write: one packet, one TLS record, no wait for an acknowledgement.
_COALESCE_BYTES = 64 * 1024


class Exchange:
    """One request and its answer on one connection: what the layers below tell the one that sent it."""

    __slots__ = ("ended", "fresh", "opened", "patience", "received", "reused", "sent")

    def __init__(self, patience: Patience, *, fresh: bool = False) -> None:
        self.patience = patience
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


def current_exchange() -> Exchange | None:
    """The exchange that this thread is sending, if any."""
    exchange: Exchange | None = getattr(_thread, "exchange", None)
    return exchange


class exchanging:
    """Makes ``exchange`` the one that connections used by this thread serve.

    The call passes through ``requests`` and urllib3, whose signatures have no place for it.
    """

    __slots__ = ("_exchange", "_outer")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._outer: Exchange | None = None

    def __enter__(self) -> None:
        self._outer = current_exchange()
        _thread.exchange = self._exchange

    def __exit__(self, *exc_info: object) -> None:
        _thread.exchange = self._outer


class Wire:
    """A connected socket, plain or TLS, that obeys the patience of the exchange it serves.

    Such a socket does not block: what is not ready is waited for in ``poll``. The time limits of Python's sockets take
    more system calls for each read and write, and each is a turn that a thread has to wait for among many.

    Between exchanges, and for code that uses the connection without one, it behaves like the socket itself.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pid = os.getpid()
        # Guards `exchange` against an abort meant for the one before, since a connection that went back to the pool may
        # already be carrying somebody else's answer; and the descriptor, whose number may be another socket's once it
        # is closed. Reentrant, because a finaliser or a signal handler may close in the middle of it.
        self._lock = threading.RLock()
        self.exchange: Exchange | None = None
        # urllib3's TLS inside TLS, through an HTTPS proxy, has a loop of its own around a socket that blocks.
        self._is_socket = isinstance(sock, socket.socket)
        self._limit = self._users_limit = sock.gettimeout()
        """The time limit that the socket has now, 0 when it does not block; and the one it has without an exchange."""
        self._readable = _waiter(sock, _READABLE)
        self.asked = False
        """A request has left and nothing was read since: an answer takes its time."""
        self.greeted = not isinstance(sock, ssl.SSLSocket)
        """The server's first data has come. With it come session tickets, which OpenSSL files under its locks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def serve(self, exchange: Exchange | None) -> None:
        """From now on, wait as ``exchange`` allows."""
        with self._lock:
            before, self.exchange = self.exchange, exchange
        if before is not None and before is not exchange:
            before.patience.on_cancel(None)
        if exchange is not None:
            self._set_limit(0.0)
            exchange.patience.on_cancel(functools.partial(self.abort, exchange))

    def _set_limit(self, seconds: float | None) -> None:
        if self._limit != seconds:  # it costs a system call
            self._sock.settimeout(seconds)
            self._limit = seconds

    def settimeout(self, seconds: float | None) -> None:
        if self.exchange is None:
            self._users_limit = seconds
            self._set_limit(seconds)

    def as_itself(self) -> None:
        """Block, as long as whoever uses the connection without an exchange has said."""
        self._set_limit(self._users_limit)

    def wait(self, patience: Patience, event: int) -> None:
        """Wait until the socket is ready, or has something to tell.

        Raises:
            patience.Exhausted, patience.Cancelled: the call cannot wait that long.
        """
        limit = patience.remaining()
        if self._is_socket:
            ready = self._readable if event == _READABLE else _waiter(self._sock, event)
            if not ready(limit):
                raise patience.exhausted()
        elif self._limit is None or limit < 0.1 or not -0.05 <= limit - self._limit <= 0.05:
            # The next read or write waits. A difference that nobody would notice is left alone.
            self._set_limit(_settable(limit))

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for, such as the connection's end."""
        return not self._readable(0.0)

    def sendall(self, data: Any, flags: int = 0) -> None:
        exchange = self.exchange
        if exchange is None:
            self.as_itself()
            self._sock.sendall(data, flags)
            return
        patience = exchange.patience
        if not self._is_socket:
            self.wait(patience, _WRITABLE)
        with memoryview(data) as view, view.cast("B") as rest:
            done = 0
            while done < len(rest):
                patience.remaining()
                exchange.sent = True
                try:
                    done += self.when_ready(self._sock.send, rest[done:], patience, _WRITABLE)
                except ssl.SSLEOFError:
                    # Told as over plain TCP: the peer takes no more, and may have said why (an alert, an answer).
                    raise BrokenPipeError(errno.EPIPE, "connection closed by the peer") from None
        self.asked = True

    def when_ready(self, operation: Callable[[Any], T], what: Any, patience: Patience, event: int) -> T:
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
                raise patience.exhausted() from None
            except OSError:
                if patience.cancelled:
                    raise Cancelled("closed") from None
                raise
            self.wait(patience, awaited)

    def makefile(self, mode: str = "rb", buffering: int | None = None, **options: Any) -> io.BufferedReader:
        raw = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_WireReader(self, raw), READ_BYTES)

    def abort(self, exchange: Exchange) -> None:
        """End whatever read or write is blocked here on behalf of ``exchange``, from any thread, at once.

        Only the TCP connection is shut down: the TLS object is in use by the blocked thread. In a forked child nothing
        happens, since the connection is the parent's as well.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            if self.exchange is exchange:
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


class _WireReader(io.RawIOBase):
    """The reading end that ``http.client`` gets."""

    def __init__(self, wire: Wire, raw: io.RawIOBase) -> None:
        self._wire = wire
        self._raw = raw  # counts as a user of the socket until it is closed
        if wire.greeted:
            self._receive_as_it_comes()
        else:
            self._recv_into: Callable[[Any], int] = functools.partial(self._first, wire._sock.recv_into)
            self._recv: Callable[[int], bytes] = functools.partial(self._first, wire._sock.recv)

    def _receive_as_it_comes(self) -> None:
        # Past `raw`, for speed: it would look at each read whether it is open, which others have done already.
        self._recv_into = self._wire._sock.recv_into
        self._recv = self._wire._sock.recv

    def _first(self, receive: Callable[[Any], T], what: Any) -> T:
        if self._wire.exchange is None:
            received = in_steps(cast(ssl.SSLSocket, self._wire._sock), receive, what)
        else:
            with steps:
                received = receive(what)
        self._wire.greeted = True
        self._receive_as_it_comes()
        return received

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._patiently(self._recv_into, buffer)

    def receive(self, size: int) -> bytes:
        """What one read brings, ``size`` bytes at most; for those who know that nothing is left in the buffer above."""
        return self._patiently(self._recv, size)

    def _patiently(self, receive: Callable[[Any], T], what: Any) -> T:
        wire = self._wire
        exchange = wire.exchange
        if exchange is None:
            wire.as_itself()
            return receive(what)
        patience = exchange.patience
        if wire.asked or not wire._is_socket:
            wire.asked = False
            wire.wait(patience, _READABLE)
        else:
            patience.remaining()  # a server may never let anybody wait
        received = wire.when_ready(receive, what, patience, _READABLE)
        if patience.cancelled:
            # The shutdown looks like the end of the answer, and a head cut there would pass for a whole one.
            raise Cancelled("closed")
        if received:
            exchange.received = True
        else:
            exchange.ended = True
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


class _Waker:
    """Wakes a thread that is blocked in connect or in a handshake.

    It has a descriptor of its own: on the way, the socket moves into a TLS object that nobody else can get hold of.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock.dup()
        self._lock = threading.RLock()  # as in Wire: a closed number may be somebody else's

    def __call__(self) -> None:
        with self._lock:
            _shut_down(self._sock)

    def close(self) -> None:
        with self._lock:
            self._sock.close()


def _shut_down(sock: Any) -> None:
    if not isinstance(sock, socket.socket):
        sock = sock.socket  # urllib3's TLS inside TLS, through an HTTPS proxy
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # not connected any more: nobody can be blocked on it


class _PatientConnection(HTTPConnection):
    """What plain and TLS connections have in common."""

    # Not what http.client's own may be set to: it prints each header it sends, the token too.
    debuglevel = 0
    response_class = PlainHeadResponse
    _served = 0
    _corked: list[bytes] | None = None
    _header_block: bytes | None = None
    _waker: _Waker | None = None
    _connect_began = 0.0

    def connect(self) -> None:
        exchange = current_exchange()
        try:
            super().connect()
            wire = Wire(self.sock)
            self._served = 0
            self.sock = wire
            if exchange is not None:
                exchange.opened = True
                wire.serve(exchange)
        finally:
            self._drop_waker()

    def _new_conn(self) -> socket.socket:
        exchange = current_exchange()
        if exchange is None:
            return super()._new_conn()
        patience = exchange.patience
        # From here to the end of the handshake, through a proxy or not, is one connect timeout.
        began = self._connect_began = patience.now()
        patience.connect_remaining(began)
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, reason) from error
        failure: OSError = OSError("the name resolved to no address")
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            # urllib3 gives each address the whole connect timeout; here they share one.
            share = patience.connect_remaining(began) / (len(addresses) - index)
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:  # this machine does not speak that family
                failure = error
                continue
            try:
                self._prepare(sock, share, patience)
                sock.connect(address)
                # The TLS handshake that follows takes its bound from here, as one for all its reads.
                sock.settimeout(_settable(patience.connect_remaining(began)))
                return sock
            except OSError as error:
                sock.close()
                self._drop_waker()
                if patience.cancelled:
                    raise Cancelled("closed") from None
                failure = error
            except BaseException:
                sock.close()
                raise
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "no connection in time") from patience.exhausted("connect")
        raise NewConnectionError(self, f"connecting failed: {failure}") from failure

    def _prepare(self, sock: socket.socket, timeout: float, patience: Patience) -> None:
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        sock.settimeout(_settable(timeout))
        if self.source_address:
            sock.bind(self.source_address)
        self._waker = _Waker(sock)
        patience.on_cancel(self._waker)

    def _drop_waker(self) -> None:
        waker, self._waker = self._waker, None
        if waker is not None:
            waker.close()

    def _tunnel(self) -> None:
        # The proxy's answer to CONNECT may drip in as well.
        exchange, plain = current_exchange(), self.sock
        if exchange is None:
            super()._tunnel()
            return
        patience, wire = exchange.patience, Wire(plain)
        patience.begin("connect", patience.connect_remaining(self._connect_began))
        wire.serve(exchange)
        self.sock = wire
        try:
            super()._tunnel()
        except (HTTPException, OSError) as error:
            if isinstance(error, (Exhausted, Cancelled)):
                raise
            raise ProxyError("no tunnel", error) from error
        finally:
            exchange.sent = exchange.received = exchange.ended = False  # that was the proxy, not the server
            wire.serve(None)
            if self.sock is wire:
                self.sock = plain
        patience.begin("read", math.inf)
        plain.settimeout(_settable(patience.connect_remaining(self._connect_began)))
        patience.on_cancel(self._waker)

    @property
    def is_connected(self) -> bool:
        return self.sock.is_quiet() if isinstance(self.sock, Wire) else super().is_connected

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        exchange = current_exchange()
        if exchange is not None:
            exchange.reused = self.sock is not None and self._served > 0
            if isinstance(self.sock, Wire):
                self.sock.serve(exchange)
        self._corked = []
        # Line by line, each with its checks, urllib3 and http.client take longer over the headers than over the rest.
        self._header_block = header_block(headers) if headers else None
        if self._header_block is not None:
            headers = Written(headers)
        try:
            super().request(method, url, body, headers, **options)
            corked, self._corked = self._corked, None
            if corked:
                self.send(b"".join(corked))
        finally:
            self._corked = self._header_block = None
            self._served += 1
            if exchange is not None:
                exchange.patience.begin_answer()

    def endheaders(self, *args: Any, **options: Any) -> None:
        block, self._header_block = self._header_block, None
        if block is not None:
            self._output(block)  # type: ignore[attr-defined]
        super().endheaders(*args, **options)

    def getresponse(self) -> Any:
        response = super().getresponse()
        exchange = current_exchange()
        if exchange is not None and exchange.ended:
            # http.client takes a head that breaks off for a whole one: what was still to come is simply not there.
            response.close()
            raise IncompleteRead(b"")
        return response

    def send(self, data: Any) -> None:
        corked = self._corked
        if corked is None:
            super().send(data)
        elif isinstance(data, bytes) and sum(map(len, corked)) + len(data) <= _COALESCE_BYTES:
            corked.append(data)
        else:
            self._corked = None
            if corked:
                super().send(b"".join(corked))
            super().send(data)


class PatientHTTPConnection(_PatientConnection):
    """A plain connection, to a server on the loopback interface or through a proxy."""


class PatientHTTPSConnection(_PatientConnection, HTTPSConnection):
    """A TLS connection."""

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        # Older urllib3 makes the context for an HTTPS proxy as careless as the one for the server is.
        for_server, self.cert_reqs = self.cert_reqs, self.proxy_config.ssl_context.verify_mode  # type: ignore[union-attr]
        try:
            return super()._connect_tls_proxy(hostname, sock)
        finally:
            self.cert_reqs = for_server


class IdleConnections:
    """The idle connections of one origin, the one used last on top.

    It stands in for urllib3's queue and has no size: the pool grows to the number of threads that use it at the same
    time, and is never the thing a thread waits for. A deque's ends are safe to use from many threads.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self._idle: deque[Any] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = True, timeout: float | None = None) -> None:
        if connection is not None:
            self._idle.append(connection)

    def qsize(self) -> int:
        return len(self._idle)

    def empty(self) -> bool:
        return not self._idle


class _PatientPool(HTTPConnectionPool):
    QueueCls = IdleConnections  # type: ignore[assignment]
    _librarys_pool: Any = HTTPConnectionPool
    _librarys_class: Any = HTTPConnection
    _own_class: Any = PatientHTTPConnection

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]
        """Connections of our own, unless somebody has put another class in the place of the library's: that is how
        vcrpy records and plays back.
        """
        wanted = self._librarys_pool.ConnectionCls
        return self._own_class if wanted is self._librarys_class else wanted

    def urlopen(self, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **options: Any) -> Any:
        if isinstance(headers, Headers):
            headers = dict(headers.pairs())  # urllib3 copies them, and a dict is copied in no time
        return super().urlopen(method, url, body, headers, *args, **options)

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        exchange = current_exchange()
        if exchange is not None and exchange.fresh and connection.sock is not None:
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and isinstance(conn.sock, Wire):
            conn.sock.serve(None)
        idle = self.pool
        super()._put_conn(conn)
        if self.pool is None and idle is not None:
            # The pool was closed meanwhile, and what it held too: whoever of the two looks last finds this connection.
            _close_all(idle)


def _close_all(idle: Any) -> None:
    while True:
        try:
            connection = idle.get(block=False)
        except queue.Empty:
            return
        connection.close()


class PatientHTTPPool(_PatientPool):
    """The connections to one plain origin."""


class PatientHTTPSPool(_PatientPool, HTTPSConnectionPool):  # type: ignore[override]
    """The connections to one TLS origin."""

    _librarys_pool: Any = HTTPSConnectionPool
    _librarys_class: Any = HTTPSConnection
    _own_class: Any = PatientHTTPSConnection

    def _validate_conn(self, conn: Any) -> None:
        # urllib3 would also warn about an unverified connection here, on each one; the client warned once, when the
        # user switched verification off.
        if conn.is_closed:
            conn.connect()


POOL_CLASSES = {"http": PatientHTTPPool, "https": PatientHTTPSPool}
