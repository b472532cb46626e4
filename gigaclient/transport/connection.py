"""HTTP connections on deadline sockets."""

from __future__ import annotations

import math
import socket
import ssl
import threading
from http.client import HTTPException, IncompleteRead
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ProxyError

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient.transport.headers import PlainHeadResponse, Written, header_block
from gigaclient.transport.socket import DeadlineSocket, _settable, _shut_down, current_state

__all__ = ["DeadlineHTTPConnection", "DeadlineHTTPSConnection", "library_class"]


def library_class(kind: Any) -> Any:
    """urllib3's own class, even where this module is loaded while vcrpy has put one derived from it in its place."""
    return next(base for base in kind.__mro__ if base.__module__ == "urllib3.connection")


if not TYPE_CHECKING:
    HTTPConnection, HTTPSConnection = library_class(HTTPConnection), library_class(HTTPSConnection)

# Below this, head and body of a request leave in one write: one packet, one TLS record, no wait for an acknowledgement.
_COALESCE_BYTES = 64 * 1024


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


class _DeadlineConnection(HTTPConnection):
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
        state = current_state()
        try:
            super().connect()
            wire = DeadlineSocket(self.sock)
            self._served = 0
            self.sock = wire
            if state is not None:
                state.opened = True
                wire.serve(state)
        finally:
            self._drop_waker()

    def _new_conn(self) -> socket.socket:
        state = current_state()
        if state is None:
            return super()._new_conn()
        deadline = state.deadline
        # From here to the end of the handshake, through a proxy or not, is one connect timeout.
        began = self._connect_began = deadline.now()
        deadline.connect_remaining(began)
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, reason) from error
        failure: OSError = OSError("the name resolved to no address")
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            # urllib3 gives each address the whole connect timeout; here they share one.
            share = deadline.connect_remaining(began) / (len(addresses) - index)
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:  # this machine does not speak that family
                failure = error
                continue
            try:
                self._prepare(sock, share, deadline)
                sock.connect(address)
                # The TLS handshake that follows takes its bound from here, as one for all its reads.
                sock.settimeout(_settable(deadline.connect_remaining(began)))
                return sock
            except OSError as error:
                sock.close()
                self._drop_waker()
                if deadline.cancelled:
                    raise Cancelled("closed") from None
                failure = error
            except BaseException:
                sock.close()
                raise
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "no connection in time") from deadline.exceeded("connect")
        raise NewConnectionError(self, f"connecting failed: {failure}") from failure

    def _prepare(self, sock: socket.socket, timeout: float, deadline: Deadline) -> None:
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        sock.settimeout(_settable(timeout))
        if self.source_address:
            sock.bind(self.source_address)
        self._waker = _Waker(sock)
        deadline.on_cancel(self._waker)

    def _drop_waker(self) -> None:
        waker, self._waker = self._waker, None
        if waker is not None:
            waker.close()

    def _tunnel(self) -> None:
        # The proxy's answer to CONNECT may drip in as well.
        state, plain = current_state(), self.sock
        if state is None:
            super()._tunnel()
            return
        deadline, wire = state.deadline, DeadlineSocket(plain)
        deadline.begin("connect", deadline.connect_remaining(self._connect_began))
        wire.serve(state)
        self.sock = wire
        try:
            super()._tunnel()
        except (HTTPException, OSError) as error:
            if isinstance(error, (DeadlineExceeded, Cancelled)):
                raise
            raise ProxyError("no tunnel", error) from error
        finally:
            state.sent = state.received = state.ended = False  # that was the proxy, not the server
            wire.serve(None)
            if self.sock is wire:
                self.sock = plain
        deadline.begin("read", math.inf)
        plain.settimeout(_settable(deadline.connect_remaining(self._connect_began)))
        deadline.on_cancel(self._waker)

    @property
    def is_connected(self) -> bool:
        return self.sock.is_quiet() if isinstance(self.sock, DeadlineSocket) else super().is_connected

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        state = current_state()
        if state is not None:
            state.reused = self.sock is not None and self._served > 0
            if isinstance(self.sock, DeadlineSocket):
                self.sock.serve(state)
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
            if state is not None:
                state.deadline.begin_response()

    def endheaders(self, *args: Any, **options: Any) -> None:
        block, self._header_block = self._header_block, None
        if block is not None:
            self._output(block)  # type: ignore[attr-defined]
        super().endheaders(*args, **options)

    def getresponse(self) -> Any:
        response = super().getresponse()
        state = current_state()
        if state is not None and state.ended:
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


class DeadlineHTTPConnection(_DeadlineConnection):
    """A plain connection, to a server on the loopback interface or through a proxy."""


class DeadlineHTTPSConnection(_DeadlineConnection, HTTPSConnection):
    """A TLS connection."""

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        # Older urllib3 makes the context for an HTTPS proxy as careless as the one for the server is.
        for_server, self.cert_reqs = self.cert_reqs, self.proxy_config.ssl_context.verify_mode  # type: ignore[union-attr]
        try:
            return super()._connect_tls_proxy(hostname, sock)
        finally:
            self.cert_reqs = for_server
