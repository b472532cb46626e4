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


class _DeadlinePool(HTTPConnectionPool):
    QueueCls = IdleConnections  # type: ignore[assignment]
    _librarys_pool: Any = HTTPConnectionPool
    _librarys_class: Any = HTTPConnection
    _own_class: Any = DeadlineHTTPConnection

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]
        """Connections of our own, unless somebody has put another class in the place of the library's: that is how
        vcrpy records and plays back.
        """
        wanted = self._librarys_pool.ConnectionCls
        return self._own_class if wanted is self._librarys_class else wanted

    def urlopen(self, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **options: Any) -> Any:
        if isinstance(headers, HeaderDict):
            headers = dict(headers.pairs())  # urllib3 copies them, and a dict is copied in no time
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
            # The pool was closed meanwhile, and what it held too: whoever of the two looks last finds this connection.
            _close_all(idle)


def _close_all(idle: Any) -> None:
    while True:
        try:
            connection = idle.get(block=False)
        except queue.Empty:
            return
        connection.close()


class DeadlineHTTPPool(_DeadlinePool):
    """The connections to one plain origin."""


class DeadlineHTTPSPool(_DeadlinePool, HTTPSConnectionPool):  # type: ignore[override]
    """The connections to one TLS origin."""

    _librarys_pool: Any = HTTPSConnectionPool
    _librarys_class: Any = HTTPSConnection
    _own_class: Any = DeadlineHTTPSConnection

    def _validate_conn(self, conn: Any) -> None:
        # urllib3 would also warn about an unverified connection here, on each one; the client warned once, when the
        # user switched verification off.
        if conn.is_closed:
            conn.connect()


POOL_CLASSES = {"http": DeadlineHTTPPool, "https": DeadlineHTTPSPool}
