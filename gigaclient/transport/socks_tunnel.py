"""Open a tunnel through a SOCKS proxy with PySocks, within the time limit of a call.

PySocks reads with one timeout for each read, and keeps the password in local variables while it waits. So its socket
asks for the remaining time before each read and write, and the user and the password are :class:`SecretBytes`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import socks

from gigaclient._primitives.secret import Secret, SecretBytes
from gigaclient.transport.proxies import SocksError, proxy_address, resolves_names

__all__ = ["open_tunnel"]

_VERSION_4 = ("socks4", "socks4a")


class _Connected(socket.socket):
    """PySocks calls these methods in place of those of ``socket.socket``. They use the connection to the proxy.

    The socket itself is not connected. PySocks closes it after a failure, and the connection has another owner.
    """

    connection: socket.socket
    remaining: Callable[[], float]
    """Returns the seconds left, or raises when there are none."""

    def connect(self, address: Any) -> None:
        """Do nothing, because the connection exists."""

    def recv_into(self, *arguments: Any) -> int:
        """Read within the time left."""
        self.connection.settimeout(self.remaining())
        return self.connection.recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        """Write within the time left."""
        self.connection.settimeout(self.remaining())
        return self.connection.send(*arguments)


class _Tunnel(socks.socksocket, _Connected):
    """PySocks's handshake over a connection that exists."""


def open_tunnel(sock: socket.socket, proxy: Secret, host: str, port: int, remaining: Callable[[], float]) -> None:
    """Ask ``proxy``, which ``sock`` is connected to, for a connection to ``host``.

    Args:
        sock: the connection; its timeout is undefined afterwards.
        proxy: the address of the proxy, with user and password.
        host: a name if the proxy resolves names, else a numeric address; a name is looked up here without a time limit.
        port: the port of the host.
        remaining: returns the seconds left, or raises.

    Raises:
        SocksError: the proxy opened no tunnel.
        OSError: the connection failed, or ``remaining`` or a signal handler raised it.
    """
    with _Tunnel(sock.family, sock.type, sock.proto) as tunnel:
        tunnel.connection, tunnel.remaining = sock, remaining
        tunnel.proxy = _settings_of(proxy)
        try:
            tunnel.connect((host, port))
        except socks.ProxyError as error:
            failure = _unwrap(error.socket_err or error)
        else:
            return
    raise failure


def _settings_of(proxy: Secret) -> tuple[Any, ...]:
    parts = urlsplit(proxy.reveal())
    version = socks.SOCKS4 if parts.scheme in _VERSION_4 else socks.SOCKS5
    login = [SecretBytes(unquote(part).encode()) if part else None for part in (parts.username, parts.password)]
    return (version, *proxy_address(proxy), resolves_names(proxy), *login)


def _unwrap(error: OSError) -> OSError:
    """Return our error for one of PySocks, which wraps its own as well as those of the socket; others unchanged."""
    if not isinstance(error, socks.ProxyError):
        return error
    # 0x5c and 0x5d: SOCKS4 knows the user by the name in its request.
    of_login = isinstance(error, socks.SOCKS5AuthError) or str(error).startswith(("0x5c", "0x5d"))
    return SocksError(str(error).lower(), of_login=of_login)
