"""Connections and their pools: what each request needs after its connection is made.

``http.client`` parses response headers with the e-mail parser, leniently, and writes request headers line by line.
Together that costs more than the rest of a call. Here both are done in one step: request headers where they are
typical, response headers always, and strictly.
"""

from __future__ import annotations

import queue
import re
import time
from collections import deque
from collections.abc import Mapping
from http.client import BadStatusLine, HTTPMessage, HTTPResponse, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ClosedPoolError
from urllib3.util import SKIP_HEADER, Timeout

from gigaclient._primitives.foreign_errors import ForeignError, is_foreign
from gigaclient.transport.dial import Dialer, TLSDialer, library_class
from gigaclient.transport.framing import MalformedChunkError, MalformedHeadError, chunk_size
from gigaclient.transport.response import HeaderDict
from gigaclient.transport.socket import DeadlineSocket, this_thread

__all__ = ["POOL_CLASSES", "DeadlineHTTPConnection", "DeadlineHTTPSConnection", "HeadResponse", "header_block"]

if not TYPE_CHECKING:
    HTTPConnection, HTTPSConnection = library_class(HTTPConnection), library_class(HTTPSConnection)

# Up to this size, the headers and body of a request are sent in one write: one packet, one TLS record, and no wait for
# an acknowledgement.
_COALESCE_BYTES = 64 * 1024
# A file is read and sent in blocks of this size. Smaller ones need more steps, larger ones more memory.
_FILE_BLOCK_BYTES = 256 * 1024

# A status line, and lines of one name and one value each, up to the empty line. Names are slightly wider than in RFC
# 9110, like in the libraries.
_HEAD = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([^\r\n\0]*))?\r\n((?:[!-9;-~]+:[^\r\n\0]*\r\n)*)\r\n")
_MAX_HEADERS = 100
_MAX_HEAD_BYTES = 64 * 1024
_MAX_INTERIM = 100
_MAX_LENGTH_DIGITS = 18

# A connection that was idle for longer is not trusted: the network may have forgotten it, and then no answer and no
# reset comes. The wall clock counts the sleep of a computer, which the monotonic clock of Linux does not.
_MAX_IDLE_SECONDS = 60.0

_PLAIN_NAMES = re.compile(r"[!-9;-~]+(?:\n[!-9;-~]+)*")
_LINE_BREAK = re.compile(r"[\r\n\0]")


class HeadResponse(HTTPResponse):
    """Parses the head of a response, and decides where its body ends (RFC 9112, section 6.3).

    ``http.client`` guesses when the headers are malformed or contradict each other. A wrong guess leaves bytes of this
    response for the next request on the connection. Here such a head is an error, which closes the connection.

    Attributes:
        lowered: the headers by their names in lower case, repeated ones joined with a comma.
    """

    lowered: dict[str, str]

    def begin(self, **options: Any) -> None:
        """Read the status and the headers of the final response; skip interim ones (1xx).

        Raises:
            MalformedHeadError: the head or its framing is invalid, or there are too many interim responses.
            RemoteDisconnected, IncompleteRead: the connection ended before the head did.
        """
        if self.headers is not None:
            return
        for _ in range(_MAX_INTERIM + 1):
            # Most heads arrive completely and are matched in the buffer. Peeking consumes nothing.
            head = _HEAD.match(self.fp.peek())
            if head is None:
                head = _read_head(self.fp)
            else:
                self.fp.read(head.end())
            if head[2][:1] != b"1":
                self._use(head)
                return
            if head[2] == b"101":
                raise MalformedHeadError("status 101 changes the protocol, which was not requested")
        raise MalformedHeadError(f"more than {_MAX_INTERIM} interim responses")

    def _use(self, head: re.Match[bytes]) -> None:
        """Take the status, the headers and the framing from ``head``."""
        minor, status, reason, block = head.groups()
        message = HTTPMessage()
        lowered: dict[str, str] = {}
        for line in block.decode("iso-8859-1").split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            value = value.strip(" \t")
            message.set_raw(name, value)
            key = name.lower()
            lowered[key] = f"{lowered[key]}, {value}" if key in lowered else value
        if len(message) > _MAX_HEADERS:
            raise MalformedHeadError(f"more than {_MAX_HEADERS} headers")
        self.lowered = lowered
        self.headers = self.msg = message
        self.version = 10 if minor == b"0" else 11
        self.code = self.status = int(status)
        self.reason = reason.decode("iso-8859-1").strip() if reason else ""
        self.chunked = False
        length, coding = lowered.get("content-length"), lowered.get("transfer-encoding")
        if self.status in (204, 304) or self._method in ("HEAD", "CONNECT"):  # type: ignore[attr-defined]
            self.length = 0
        elif coding is not None:
            if coding.lower() != "chunked" or length is not None or self.version == 10:
                raise MalformedHeadError("an unknown Transfer-Encoding, or one with a length or with HTTP/1.0")
            self.chunked, self.chunk_left, self.length = True, None, None
        elif length is not None:
            if not (length.isdecimal() and len(length) <= _MAX_LENGTH_DIGITS):
                raise MalformedHeadError("the Content-Length is not one number")
            self.length = int(length)
        else:
            self.length = None  # the body ends with the connection
        options = lowered.get("connection", "").lower()
        self.will_close = (
            "close" in options
            or (self.version == 10 and "keep-alive" not in options)
            or not (self.chunked or self.length is not None)
        )

    def _get_chunk_left(self) -> int | None:
        """Return the number of bytes left in the present chunk, or None after the last one.

        The libraries read compressed bodies and those that a hook wants through this method. The original takes any
        two bytes for the end of a chunk, and any number of Python for its size.
        """
        left: int | None = self.chunk_left
        if not left:
            if left == 0 and self._safe_read(2) != b"\r\n":  # type: ignore[attr-defined]
                raise MalformedChunkError("a chunk is longer than its size")
            line = self.fp.readline(_MAX_HEAD_BYTES)
            if line[-1:] != b"\n":
                raise IncompleteRead(b"")
            left = chunk_size(line[:-1].removesuffix(b"\r")) or None
            if left is None:
                self._read_and_discard_trailer()  # type: ignore[attr-defined]
                self._close_conn()  # type: ignore[attr-defined]
            self.chunk_left = left
        return left


def _read_head(source: Any) -> re.Match[bytes]:
    """Read a head line by line: it arrives in several packets, has folded lines or bare line feeds, or is malformed."""
    lines: list[memoryview] = []  # views, because their repr shows nothing: a cookie may be among them
    left = _MAX_HEAD_BYTES
    while True:
        line = b""  # the last one too: this frame waits now
        line = source.readline(left + 1)
        left -= len(line)
        if left < 0:
            raise MalformedHeadError(f"longer than {_MAX_HEAD_BYTES} bytes")
        if not line and not lines:
            raise RemoteDisconnected("the connection ended before the response")
        if not (lines or line.startswith(b"HTTP/1.")):
            raise BadStatusLine("not HTTP/1")
        if line[-1:] != b"\n":
            raise IncompleteRead(b"")
        line = line[: -2 if line[-2:] == b"\r\n" else -1]
        if len(lines) > 1 and line[:1] in (b" ", b"\t"):
            lines[-1] = memoryview(b" ".join((lines[-1], line.strip(b" \t"))))  # it continues the one before
            continue
        lines.append(memoryview(line))
        if not line:
            break
    head = _HEAD.fullmatch(b"\r\n".join(lines) + b"\r\n")
    if head is None:
        raise MalformedHeadError("a line is not a name, a colon and a value, or the status is not a number")
    return head


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


class DeadlineHTTPConnection(Dialer):
    """A connection without TLS: to a server on the loopback interface, or to an HTTP proxy."""

    # A program may set http.client's debuglevel, which prints each header that is sent, the token too. Ignore it here.
    debuglevel = 0
    response_class = HeadResponse
    idle_since = 0.0
    """The time at which the connection was put back to the pool, by the wall clock."""
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
        try:
            if state is not None:
                state.reused = self.sock is not None and self._requests_sent > 0
                if isinstance(self.sock, DeadlineSocket):
                    self.sock.serve(state)
            self._buffered = []
            self.blocksize = _FILE_BLOCK_BYTES
            # Writing the headers line by line, with checks for each, would cost more than the rest of the request.
            block = header_block(headers) if headers else None
            self._header_block = memoryview(block) if block is not None else None
            del block
            if self._header_block is not None:
                headers = _WrittenHeaders(headers)
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


class DeadlineHTTPSConnection(DeadlineHTTPConnection, TLSDialer):
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


class DeadlineHTTPPool(HTTPConnectionPool):
    """A pool of connections to one origin without TLS."""

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
        try:
            return super().urlopen(method, url, body, headers, *args, **options)
        except Exception:
            state, idle = this_thread.state, self.pool
            if state is not None and state.reused and not state.received and not state.deadline.cancelled and idle:
                _close_all(idle)  # what ended this connection may have ended the others, and each would cost a wait
            raise

    def _get_timeout(self, timeout: Any) -> Any:
        """Return the timeout that requests has just made. urllib3 would copy it twice, in a dozen calls."""
        return timeout if isinstance(timeout, Timeout) else super()._get_timeout(timeout)

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
        idle_seconds = time.time() - connection.idle_since
        if (
            (state is not None and state.fresh)
            or not 0 <= idle_seconds < _MAX_IDLE_SECONDS
            or not connection.is_connected
        ):
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is None:  # urllib3 has closed it
            return
        reusable = True
        if isinstance(conn.sock, DeadlineSocket):
            conn.sock.serve(None)
            reusable = conn.sock.reusable
        idle = self.pool
        if idle is None or not reusable:
            conn.close()
            return
        conn.idle_since = time.time()
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


class DeadlineHTTPSPool(DeadlineHTTPPool, HTTPSConnectionPool):  # type: ignore[override]
    """A pool of connections to one origin with TLS."""

    _library_pool: Any = HTTPSConnectionPool
    _library_class: Any = HTTPSConnection
    _deadline_class: Any = DeadlineHTTPSConnection


POOL_CLASSES = {"http": DeadlineHTTPPool, "https": DeadlineHTTPSPool}
