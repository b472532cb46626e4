"""Pools of idle connections."""

from __future__ import annotations

import queue
from collections import deque
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from gigaclient.transport.connection import DeadlineHTTPConnection, DeadlineHTTPSConnection, library_class
from gigaclient.transport.headers import HeaderDict
from gigaclient.transport.socket import DeadlineSocket, current_state

__all__ = ["POOL_CLASSES"]

if not TYPE_CHECKING:
    HTTPConnection, HTTPSConnection = library_class(HTTPConnection), library_class(HTTPSConnection)


class IdleConnections:
    """A stack of the idle connections of one origin; the last one used is the next one used.

    It replaces urllib3's queue and has no limit: the pool grows to the number of threads that use it at the same time,
    and no thread ever waits for it. The ends of a deque are safe to use from many threads.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self._idle: deque[Any] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return an idle connection without waiting; raise ``queue.Empty`` when there is none."""
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an idle connection; ignore None."""
        if connection is not None:
            self._idle.append(connection)

    def qsize(self) -> int:
        """Return the number of idle connections."""
        return len(self._idle)

    def empty(self) -> bool:
        """Return True when there is no idle connection."""
        return not self._idle


class _DeadlinePool(HTTPConnectionPool):
    QueueCls = IdleConnections  # type: ignore[assignment]
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
            headers = dict(headers.pairs())  # urllib3 copies the headers, and copying a dict is much faster
        return super().urlopen(method, url, body, headers, *args, **options)

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        state = current_state()
        if state is not None and state.fresh and connection.sock is not None:
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and isinstance(conn.sock, DeadlineSocket):
            conn.sock.serve(None)
        idle = self.pool
        super()._put_conn(conn)
        if self.pool is None and idle is not None:
            # The pool was closed meanwhile. close() may have emptied it before this connection was added.
            _close_all(idle)


def _close_all(idle: Any) -> None:
    while True:
        try:
            connection = idle.get(block=False)
        except queue.Empty:
            return
        connection.close()


class DeadlineHTTPPool(_DeadlinePool):
    """A pool of connections to one origin without TLS."""


class DeadlineHTTPSPool(_DeadlinePool, HTTPSConnectionPool):  # type: ignore[override]
    """A pool of connections to one origin with TLS."""

    _library_pool: Any = HTTPSConnectionPool
    _library_class: Any = HTTPSConnection
    _deadline_class: Any = DeadlineHTTPSConnection

    def _validate_conn(self, conn: Any) -> None:
        # urllib3 would warn about each unverified connection here; the client has warned once, when the user disabled
        # certificate checks.
        if conn.is_closed:
            conn.connect()


POOL_CLASSES = {"http": DeadlineHTTPPool, "https": DeadlineHTTPSPool}
