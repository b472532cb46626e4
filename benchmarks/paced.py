"""A slow service with a limit on concurrent requests; one more gets a 429.

One process with timers and no threads, so that it costs almost nothing compared with what is measured. A form
``paced-LIMIT-MS`` is a separate account: ``LIMIT`` concurrent answers, each ``MS`` milliseconds after its request. A
GET returns what the account has counted since the last one. A request for embeddings gets a vector for each text.
"""

from __future__ import annotations

import functools
import json
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping

from benchmarks import canned

_ANSWER = canned.answer("plain").writes[0]
_REFUSAL = canned.refusal()
_embeddings = functools.cache(canned.embeddings)
_READ_BYTES = 65536
_LOOK_AGAIN_SECONDS = 1.0


class Account:
    """The limit and the counters of one port.

    Args:
        form: its name.
    """

    def __init__(self, form: str) -> None:
        _, limit, milliseconds = form.split("-")
        self.limit = int(limit)
        self.seconds = int(milliseconds) / 1000
        self.running: deque[tuple[float, Connection, bytes]] = deque()
        self.answered = self.refused = self.max_running = 0

    def request(self, connection: Connection, now: float, answer: bytes) -> None:
        """Count a request; send its ``answer`` later, or refuse it."""
        if len(self.running) >= self.limit:
            self.refused += 1
            connection.send(_REFUSAL)
            return
        self.running.append((now + self.seconds, connection, answer))
        self.max_running = max(self.max_running, len(self.running))

    def answer(self, now: float) -> None:
        """Send the answers that are due."""
        while self.running and self.running[0][0] <= now:
            _, connection, answer = self.running.popleft()
            self.answered += 1
            connection.send(answer)

    def counters(self) -> bytes:
        """Return the response to a GET, and reset the counters."""
        counted = {"answered": self.answered, "refused": self.refused, "most": self.max_running}
        self.answered = self.refused = self.max_running = 0
        return canned.with_length(json.dumps(counted).encode())


class Connection:
    """One TLS connection, whose socket is read when it is readable."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, account: Account) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._account = account
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=True)
        self._greeted = False
        self._data = b""
        self._open = True

    def readable(self) -> bool:
        """Read what has arrived; return False when the connection is over."""
        try:
            block = self._sock.recv(_READ_BYTES)
            self._arrived.write(block)
            if block and self._advance():
                return True
        except OSError:  # TLS errors included: the client disconnected, as contenders do at their end
            self._open = False
        self.close()
        return False

    def _advance(self) -> bool:
        try:
            if not self._greeted:
                self._tls.do_handshake()
                self._greeted = True
            while block := self._tls.read(_READ_BYTES):
                self._data += block
                self._take()
        except ssl.SSLWantReadError:
            self._flush()
            return True
        return False

    def _take(self) -> None:
        missing, rest = canned.missing(self._data)
        if missing:
            return
        request, self._data = self._data[: len(self._data) - len(rest)], rest
        if request.startswith(b"GET"):
            self.send(self._account.counters())
            return
        answer = _ANSWER
        if request.startswith(b"POST /api/v1/embeddings"):
            answer = _embeddings(len(json.loads(request.partition(b"\r\n\r\n")[2])["input"]))
        self._account.request(self, time.monotonic(), answer)

    def send(self, answer: bytes) -> None:
        """Send an answer, unless the client has disconnected."""
        if self._open:
            try:
                self._tls.write(answer)
                self._flush()
            except OSError:
                self._open = False

    def _flush(self) -> None:
        if self._leaving.pending:
            self._sock.sendall(self._leaving.read())

    def close(self) -> None:
        """Close the socket; answers that are due are not sent."""
        self._open = False
        self._sock.close()


def serve(listeners: Mapping[socket.socket, str], context: ssl.SSLContext) -> None:
    """Serve the form of each listener for ever."""
    accounts = {listener: Account(form) for listener, form in listeners.items()}
    # Not epoll, which waits in whole milliseconds: a fiftieth of an answer.
    with selectors.SelectSelector() as selector:
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ)
        while True:
            due = [account.running[0][0] for account in accounts.values() if account.running]
            wait = min(due) - time.monotonic() if due else _LOOK_AGAIN_SECONDS
            for key, _ in selector.select(max(0.0, wait)):
                connection, sock = key.data, key.fileobj
                assert isinstance(sock, socket.socket)
                if connection is not None:
                    if not connection.readable():
                        selector.unregister(sock)
                    continue
                accepted, _ = sock.accept()
                connection = Connection(accepted, context, accounts[sock])
                selector.register(accepted, selectors.EVENT_READ, connection)
            now = time.monotonic()
            for account in accounts.values():
                account.answer(now)
