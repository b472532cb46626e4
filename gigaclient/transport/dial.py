"""Connect: look the host name up, try its addresses, open a tunnel through a proxy, make the TLS handshake.

All of it happens once for a connection. :mod:`gigaclient.transport.connection` has what each request needs.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError, ProxyError

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded, Timeouts
from gigaclient._primitives.foreign_errors import is_foreign
from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError
from gigaclient.transport.dns import resolver
from gigaclient.transport.framing import MalformedHeadError
from gigaclient.transport.happy_eyeballs import connect_to_host
from gigaclient.transport.monkey_patches import check_patches
from gigaclient.transport.proxies import SocksError, proxy_address, resolves_names
from gigaclient.transport.readiness import shut_down, socket_timeout
from gigaclient.transport.socket import ConnectionState, DeadlineSocket, this_thread

__all__ = ["Dialer", "TLSDialer", "library_class"]


def library_class(class_: Any) -> Any:
    """Return urllib3's original class, even when vcrpy has replaced it by a subclass before this import."""
    for base in class_.__mro__:
        if base.__module__ == "urllib3.connection":
            return base
    # So it is in Pyodide, where urllib3 calls the browser's fetch.
    raise ConfigError(
        f"gigaclient sends requests through sockets, and here urllib3 has {class_.__module__}.{class_.__name__} "
        "instead of a socket's connection. Python in WebAssembly cannot run a client: run it where Python has sockets."
    )


if not TYPE_CHECKING:
    HTTPConnection, HTTPSConnection = library_class(HTTPConnection), library_class(HTTPSConnection)


class _ConnectCanceller:
    """Wakes a thread that is blocked in a tunnel's or a TLS handshake.

    It holds a duplicate descriptor, because the socket moves into a TLS object that other threads cannot reach.
    """

    def __init__(self, sock: socket.socket) -> None:
        # Duplicate and own the descriptor in one step of the interpreter: ``sock.dup()`` takes several, and the
        # exception of a signal handler between two of them would leave the number open for ever.
        self._sock: socket.SocketType = next(
            map(socket.SocketType, (sock.family,), (sock.type,), (sock.proto,), map(socket.dup, (sock.fileno(),)))
        )
        # As in DeadlineSocket: once closed, the number of a descriptor may belong to another socket.
        self._lock = threading.RLock()

    def __call__(self) -> None:
        with self._lock:
            shut_down(self._sock)

    def close(self) -> None:
        with self._lock:
            self._sock.close()


# After sleep, a NAT's timeout or a change of address nothing arrives on a connection, not even a reset. With these
# options the system ends it after half a minute without an acknowledgement. Not every system has all of them.
_DEAD_PEER_OPTIONS = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPALIVE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 30_000,
}


def _detect_dead_peer(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _DEAD_PEER_OPTIONS.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError as error:
        if is_foreign(error):
            raise
        # A system may refuse an option that Python knows.


class Dialer(HTTPConnection):
    """Connects within the deadline of the request that its thread sends."""

    socks_proxy: Secret | None = None
    """The SOCKS proxy to connect through; set by a subclass that the adapter makes for it."""
    _requests_sent = 0
    _canceller: _ConnectCanceller | None = None
    _connect_began = 0.0

    def connect(self) -> None:
        """Connect, and replace the socket by a :class:`DeadlineSocket`."""
        check_patches()  # a program may be patched after its client was made
        state = this_thread.state
        try:
            super().connect()
            if isinstance(self.sock, socket.socket):
                _detect_dead_peer(self.sock)
            deadline_socket = DeadlineSocket(self.sock)
            self._requests_sent = 0
            self.sock = deadline_socket
            if state is not None:
                state.opened = True
                deadline_socket.serve(state)
        finally:
            self._close_canceller()

    def _new_conn(self) -> socket.socket:
        state, proxy = this_thread.state, self.socks_proxy
        if state is None and proxy is None:
            return super()._new_conn()
        deadline = state.deadline if state is not None else Deadline(Timeouts())
        # One connect timeout covers everything from here to the end of the handshake, with or without a proxy.
        began = self._connect_began = deadline.now()
        try:
            host, port = proxy_address(proxy) if proxy is not None else (self._dns_host, self.port)
            sock = connect_to_host(host, port, deadline, began, self._prepare)
        except socket.gaierror as error:
            raise self._of_proxy(NameResolutionError(self.host, self, error)) from error
        except OSError as error:
            if error.errno is None or is_foreign(error):
                raise  # not from the system: a time limit, a cancel, or a signal handler of the program
            if isinstance(error, TimeoutError):
                raise ConnectTimeoutError(self, "no connection in time") from deadline.exceeded("connect")
            raise self._of_proxy(NewConnectionError(self, f"connecting failed: {error}")) from error
        try:
            self._canceller = _ConnectCanceller(sock)
            deadline.on_cancel(self._canceller)
            if proxy is not None:
                self._open_socks_tunnel(proxy, sock, deadline)
            # The TLS handshake that follows uses this timeout for all its reads together.
            sock.settimeout(socket_timeout(deadline.connect_remaining(began)))
        except BaseException:
            sock.close()
            raise
        return sock

    def _of_proxy(self, failure: HTTPError) -> HTTPError:
        return failure if self.socks_proxy is None else ProxyError("no connection", failure)

    def _open_socks_tunnel(self, proxy: Secret, sock: socket.socket, deadline: Deadline) -> None:
        from gigaclient.transport.socks_tunnel import open_tunnel  # needs the extra

        began, host = self._connect_began, self._dns_host
        try:
            if not resolves_names(proxy):
                host = self._address_for(proxy, deadline)
                deadline.on_cancel(self._canceller)
            open_tunnel(sock, proxy, host, self.port, lambda: deadline.connect_remaining(began))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except OSError as error:
            if error.errno is None and not isinstance(error, SocksError):
                raise  # as in _new_conn
            raise ProxyError("no tunnel", error) from error

    def _address_for(self, proxy: Secret, deadline: Deadline) -> str:
        """Look the host up here, and return an address that the proxy can connect to."""
        addresses = resolver.resolve(self._dns_host, self.port, deadline, self._connect_began)
        only_ipv4 = proxy.lower().startswith("socks4")
        for family, *_, address in addresses:
            if family == socket.AF_INET or not only_ipv4:
                return str(address[0])
        raise SocksError("socks4:// has no ipv6, and the host has no other address: write socks5h://")

    def _prepare(self, sock: socket.socket) -> None:
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        if self.source_address:
            sock.bind(self.source_address)

    def _close_canceller(self) -> None:
        canceller, self._canceller = self._canceller, None
        if canceller is not None:
            canceller.close()

    def _tunnel(self) -> None:
        """Open a tunnel through an HTTP proxy, within the connect timeout.

        ``http.client`` takes an interim response for the answer to CONNECT, and its frames show the password.
        """
        state, raw_socket = this_thread.state or ConnectionState(Deadline(Timeouts())), self.sock
        deadline, deadline_socket = state.deadline, DeadlineSocket(raw_socket)
        began = self._connect_began or deadline.now()
        deadline.begin("connect", deadline.connect_remaining(began))
        deadline_socket.serve(state)
        self.sock = deadline_socket
        try:
            deadline_socket.sendall(self._connect_request())
            self._read_connect_response(deadline_socket)
        except (HTTPException, OSError) as error:
            if isinstance(error, (DeadlineExceeded, Cancelled)) or is_foreign(error):
                raise
            raise ProxyError("no tunnel", error) from error
        finally:
            state.sent = state.received = state.ended = False  # these bytes were the proxy's, not the server's
            deadline_socket.serve(None)
            if self.sock is deadline_socket:
                self.sock = raw_socket
        deadline.begin("read", math.inf)
        raw_socket.settimeout(socket_timeout(deadline.connect_remaining(began)))
        deadline.on_cancel(self._canceller)

    def _connect_request(self) -> memoryview:
        """Return the CONNECT request. Its repr shows nothing, because a frame that waits holds it."""
        host = self._tunnel_host or ""
        target = f"[{host}]:{self._tunnel_port}" if ":" in host else f"{host}:{self._tunnel_port}"
        headers = {**self._tunnel_headers, "Host": target}  # type: ignore[attr-defined]
        # Join and do not format: formatting a secret gives the mask.
        lines = [f"CONNECT {target} HTTP/1.1", *map(": ".join, headers.items()), "", ""]
        return memoryview("\r\n".join(lines).encode("latin-1"))

    def _read_connect_response(self, sock: DeadlineSocket) -> None:
        response = self.response_class(sock, method="CONNECT")  # type: ignore[arg-type]
        try:
            response.begin()
        finally:
            response.close()
        if not 200 <= response.status < 300:
            self.close()
            raise OSError(f"Tunnel connection failed: {response.status} {response.reason}")
        if not sock.reusable:
            raise MalformedHeadError("data follows it, before any was sent through the tunnel")


class TLSDialer(Dialer, HTTPSConnection):
    """Connects with TLS."""

    def connect(self) -> None:
        """Connect, and mark the connection as verified: urllib3 would warn at each request on one that is not.

        The client has warned once, when the user disabled certificate checks.
        """
        super().connect()
        self.is_verified = True

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        # Older urllib3 applies the server's cert_reqs to the proxy's TLS context as well, which may disable checks.
        server_cert_reqs, self.cert_reqs = self.cert_reqs, self.proxy_config.ssl_context.verify_mode  # type: ignore[union-attr]
        try:
            return super()._connect_tls_proxy(hostname, sock)
        finally:
            self.cert_reqs = server_cert_reqs
