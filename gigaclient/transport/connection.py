"""Connections and their pools: what each request needs after its connection is made.

``http.client`` parses response headers with the e-mail parser and writes request headers line by line. Together that
costs more than the rest of a call. Typical headers are handled here in one step. Unusual ones (a folded line, an
interim response, headers in several packets, a value with a line break) are left to the libraries unchanged.
"""

from __future__ import annotations

import queue
import re
from collections import deque
from collections.abc import Mapping
from http.client import HTTPMessage, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ClosedPoolError
from urllib3.util import SKIP_HEADER

from gigaclient._primitives.foreign_errors import ForeignError, is_foreign
from gigaclient.transport.dial import Dialer, TLSDialer, library_class
from gigaclient.transport.response import HeaderDict
from gigaclient.transport.socket import DeadlineSocket, this_thread

__all__ = ["POOL_CLASSES", "DeadlineHTTPConnection", "DeadlineHTTPSConnection", "HeadResponse", "header_block"]

if not TYPE_CHECKING:
    HTTPConnection, HTTPSConnection = library_class(HTTPConnection), library_class(HTTPSConnection)

# Up to this size, the headers and body of a request are sent in one write: one packet, one TLS record, and no wait for
# an acknowledgement.
_COALESCE_BYTES = 64 * 1024

# A final status, and lines of one name and one value each. Names are slightly wider than in RFC 9110, like in the
# libraries.
_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([^\r\n]*))?\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)*)\r\n")
_MAX_HEADERS = 64  # below http.client's limit of 100
_MAX_LENGTH_DIGITS = 18

_PLAIN_NAMES = re.compile(r"[!-9;-~]+(?:\n[!-9;-~]+)*")
_LINE_BREAK = re.compile(r"[\r\n\0]")


class HeadResponse(HTTPResponse):
    """Parses typical headers that have arrived completely; leaves all others to ``http.client``.

    Attributes:
        lowered: the headers by their names in lower case, repeated ones joined with a comma; None if ``http.client``
            parsed them.
    """

    lowered: dict[str, str] | None = None

    def begin(self, **options: Any) -> None:
        """Read the status and the headers.

        Raises:
            IncompleteRead: the connection ended before the headers did.
        """
        # Later Pythons pass limits here; when one is set, the library must apply it.
        # Peek first: nothing may be consumed before all headers are known to be typical.
        found = None
        if self.headers is None and not any(options.values()):
            found = _PLAIN_HEAD.match(self.fp.peek())
        if found is not None and self._use(found):
            self.fp.read(found.end())
            return
        super().begin(**options)
        state = this_thread.state
        if state is not None and state.ended:
            # http.client accepts truncated headers as complete, and would lose the rest silently.
            raise IncompleteRead(b"")

    def _use(self, head: re.Match[bytes]) -> bool:
        """Take the status and the headers from ``head``; return False if ``http.client`` has to parse them."""
        status, reason, block = head.groups()
        lines = block.decode("iso-8859-1").split("\r\n")
        if len(lines) - 1 > _MAX_HEADERS:
            return False
        message = HTTPMessage()
        lowered: dict[str, str] = {}
        for line in lines[:-1]:
            name, _, value = line.partition(":")
            value = value.lstrip(" \t")
            message.set_raw(name, value)
            key = name.lower()
            lowered[key] = f"{lowered[key]}, {value}" if key in lowered else value
        length, coding = lowered.get("content-length"), lowered.get("transfer-encoding")
        if length is not None and not (length.isdecimal() and len(length) <= _MAX_LENGTH_DIGITS):
            return False
        if coding is not None and coding.lower() != "chunked":
            return False
        self.lowered = lowered
        self.headers = self.msg = message
        self.version = 11
        self.code = self.status = int(status)
        self.reason = reason.decode("iso-8859-1").strip() if reason else ""
        self.chunked = coding is not None
        if self.chunked:
            self.chunk_left = None
        self.length = None if length is None or self.chunked else int(length)
        if self.status in (204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        # Without a length or chunks, the body ends with the connection.
        self.will_close = "close" in lowered.get("connection", "").lower() or not (
            self.chunked or self.length is not None
        )
        return True


def header_block(headers: Mapping[str, Any]) -> bytes | None:
    """Return the header lines of a request without the last line break; None when they may be unsafe.

    Then ``http.client`` checks them line by line and refuses a name or a value that could start another line.
    """
    names, values = list(headers), list(headers.values())
    try:
        lines = "\n".join(names)
        if _PLAIN_NAMES.fullmatch(lines) is None or lines.count("\n") != len(names) - 1:
            return None
        if _LINE_BREAK.search("".join(values)) is not None:
            return None
        if SKIP_HEADER in values:  # an instruction to urllib3, not a value
            return None
        # Join and do not format: formatting a secret gives the mask.
        return "\r\n".join(map(": ".join, zip(names, values, strict=True))).encode("latin-1")
    except (TypeError, UnicodeEncodeError):  # bytes, or characters that are not allowed in a header
        return None


class _WrittenHeaders(dict[str, Any]):
    """Headers that are written already: urllib3 finds their names, but nothing to write."""

    items: Any = staticmethod(tuple)


class DeadlineConnection(Dialer):
    """The common base of plain and TLS connections."""

    # A program may set http.client's debuglevel, which prints each header that is sent, the token too. Ignore it here.
    debuglevel = 0
    response_class = HeadResponse
    # Views, because the repr of a view shows nothing: the frames of a blocked write hold these as local variables.
    _buffered: list[memoryview] | None = None
    _header_block: memoryview | None = None

    @property
    def is_connected(self) -> bool:
        """True while the connection is open and has no unexpected data, such as the end of the connection."""
        return not self.sock.poll(0) if isinstance(self.sock, DeadlineSocket) else super().is_connected

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        """Send a request, small ones in a single write; the read timeout begins after it."""
        state = this_thread.state
        if state is not None:
            state.reused = self.sock is not None and self._requests_sent > 0
            if isinstance(self.sock, DeadlineSocket):
                self.sock.serve(state)
        self._buffered = []
        # Writing the headers line by line, with checks for each, would cost more than the rest of the request.
        block = header_block(headers) if headers else None
        self._header_block = memoryview(block) if block is not None else None
        del block
        if self._header_block is not None:
            headers = _WrittenHeaders(headers)
        try:
            super().request(method, url, body, headers, **options)
            buffered, self._buffered = self._buffered, None
            if buffered:
                self.send(memoryview(b"".join(buffered)))
        except OSError as error:
            # urllib3 ignores a broken pipe and a reset here, because a response may have arrived before.
            if is_foreign(error):
                raise ForeignError(error) from None
            raise
        finally:
            self._buffered = self._header_block = None
            self._requests_sent += 1
            if state is not None:
                state.deadline.begin("read", state.deadline.timeouts.read)

    def send(self, data: Any) -> None:
        """Send ``data``, or buffer it while :meth:`request` collects a small request."""
        block, self._header_block = self._header_block, None
        if block is not None:  # `data` is the request line and the Host header
            data = memoryview(b"".join((data[:-2], block, b"\r\n\r\n")))
        buffered = self._buffered
        if buffered is None:
            super().send(data)
        elif isinstance(data, (bytes, memoryview)) and sum(map(len, buffered)) + len(data) <= _COALESCE_BYTES:
            buffered.append(memoryview(data))
        else:
            self._buffered = None
            if buffered:
                super().send(memoryview(b"".join(buffered)))
            super().send(data)


class DeadlineHTTPConnection(DeadlineConnection):
    """A connection without TLS: to a server on the loopback interface, or to an HTTP proxy."""


class DeadlineHTTPSConnection(DeadlineConnection, TLSDialer):
    """A TLS connection."""


class IdleConnections(deque[Any]):
    """A stack of the idle connections of one origin; the last one used is the next one used.

    It replaces urllib3's queue and has no limit: the pool grows to the number of threads that use it at the same time,
    and no thread ever waits for it. The ends of a deque are safe to use from many threads.
    """

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return an idle connection without waiting; raise ``queue.Empty`` when there is none. For urllib3."""
        try:
            return self.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an idle connection; ignore None. For urllib3."""
        if connection is not None:
            self.append(connection)


class _DeadlinePool(HTTPConnectionPool):
    QueueCls = IdleConnections  # type: ignore[assignment]
    pool: IdleConnections | None  # type: ignore[assignment]
    _library_pool: Any = HTTPConnectionPool
    _library_class: Any = HTTPConnection
    _deadline_class: Any = DeadlineHTTPConnection

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]
        """The class of connections: ours, unless a recorder such as vcrpy has replaced the library's class."""
        present = self._library_pool.ConnectionCls
        return self._deadline_class if present is self._library_class else present

    def urlopen(self, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **options: Any) -> Any:
        """Send a request through a connection of the pool."""
        if isinstance(headers, HeaderDict):
            headers = dict(headers._store.values())  # urllib3 copies the headers, and copying a dict is much faster
        return super().urlopen(method, url, body, headers, *args, **options)

    def _get_conn(self, timeout: float | None = None) -> Any:
        """Take a connection from the pool, or return a new one, which connects when the request is sent."""
        idle = self.pool
        if idle is None:
            raise ClosedPoolError(self, "Pool is closed.")
        try:
            connection = idle.pop()
        except IndexError:
            return self._new_conn()
        state = this_thread.state
        if (state is not None and state.fresh) or not connection.is_connected:
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is None:  # urllib3 has closed it
            return
        if isinstance(conn.sock, DeadlineSocket):
            conn.sock.serve(None)
        idle = self.pool
        if idle is None:
            conn.close()
            return
        idle.append(conn)
        if self.pool is None:
            # The pool was closed meanwhile. close() may have emptied it before this connection was added.
            _close_all(idle)


def _close_all(idle: IdleConnections) -> None:
    while True:
        try:
            connection = idle.pop()
        except IndexError:
            return
        connection.close()


class DeadlineHTTPPool(_DeadlinePool):
    """A pool of connections to one origin without TLS."""


class DeadlineHTTPSPool(_DeadlinePool, HTTPSConnectionPool):  # type: ignore[override]
    """A pool of connections to one origin with TLS."""

    _library_pool: Any = HTTPSConnectionPool
    _library_class: Any = HTTPSConnection
    _deadline_class: Any = DeadlineHTTPSConnection


POOL_CLASSES = {"http": DeadlineHTTPPool, "https": DeadlineHTTPSPool}
