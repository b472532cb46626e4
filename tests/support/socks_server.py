"""A SOCKS server on 127.0.0.1 for the tests: SOCKS5 (RFC 1928 and 1929), SOCKS4 and SOCKS4a."""

from __future__ import annotations

import socket
import struct
import time
from types import TracebackType
from typing import Any

from support.socket_tools import HANG, Peer, pump, silent

_REFUSED_5, _REFUSED_4 = 5, 0x5B


class SocksServer:
    """Tunnels to the hosts that clients ask for.

    Args:
        login: the required ``user:password``; for SOCKS4 the user alone.
        names: addresses by the host names that this server resolves.
        refuse: answer each request for a connection with "refused".
        silent_after: the number of the client's messages after which the server sends nothing more.
        drip_s: the pause after each byte that the server sends in the handshake.

    Attributes:
        targets: the hosts that clients asked for, as they wrote them.
        logins: the users and passwords that arrived.
    """

    def __init__(
        self,
        *,
        login: str | None = None,
        names: dict[str, str] | None = None,
        refuse: bool = False,
        silent_after: int | None = None,
        drip_s: float = 0.0,
    ) -> None:
        self._login = login
        self._names = names or {}
        self._refuse = refuse
        self._silent_after = silent_after
        self._drip_s = drip_s
        self.targets: list[str] = []
        self.logins: list[str] = []
        self._peer = Peer(self._talk)
        self.address = f"127.0.0.1:{self._peer.port}"

    def url(self, scheme: str = "socks5h", login: str = "") -> str:
        """Return the address of this proxy."""
        return f"{scheme}://{login}{'@' if login else ''}{self.address}"

    @property
    def connections(self) -> int:
        """The number of accepted connections."""
        return self._peer.accepted

    def _talk(self, sock: socket.socket) -> None:
        version = _read(sock, 1)
        target = self._talk_5(sock) if version == b"\x05" else self._talk_4(sock)
        if target is not None:
            with socket.create_connection(target, timeout=HANG) as server:
                pump(sock, server)

    def _talk_5(self, sock: socket.socket) -> tuple[str, int] | None:
        methods = _read(sock, _read(sock, 1)[0])
        method = 0 if self._login is None else 2
        if method not in methods:
            self._send(sock, b"\x05\xff", 1)
            return None
        self._send(sock, bytes([5, method]), 1)
        if method == 2 and not self._check_login(sock):
            return None
        kind = _read(sock, 4)[3]
        if kind == 3:
            host = _read(sock, _read(sock, 1)[0]).decode("ascii")
        else:
            family, size = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
            host = socket.inet_ntop(family, _read(sock, size))
        port = struct.unpack(">H", _read(sock, 2))[0]
        self.targets.append(f"{host}:{port}")
        self._send(sock, bytes([5, _REFUSED_5 if self._refuse else 0, 0, 1]) + bytes(6), 3)
        return None if self._refuse else (self._names.get(host, host), port)

    def _check_login(self, sock: socket.socket) -> bool:
        _read(sock, 1)
        user, password = (_read(sock, _read(sock, 1)[0]).decode() for _ in range(2))
        self.logins.append(f"{user}:{password}")
        accepted = self.logins[-1] == self._login
        self._send(sock, bytes([1, not accepted]), 2)
        return accepted

    def _talk_4(self, sock: socket.socket) -> tuple[str, int] | None:
        port, address = struct.unpack(">xH4s", _read(sock, 7))
        self.logins.append(_read_text(sock))
        host = _read_text(sock) if address[:3] == b"\0\0\0" else socket.inet_ntoa(address)
        self.targets.append(f"{host}:{port}")
        status = _REFUSED_4 if self._refuse else 0x5A if self._login in (None, self.logins[-1]) else 0x5D
        self._send(sock, bytes([0, status]) + bytes(6), 1)
        return (self._names.get(host, host), port) if status == 0x5A else None

    def _send(self, sock: socket.socket, data: bytes, message: int) -> None:
        if self._silent_after is not None and message >= self._silent_after:
            silent(sock)
            raise OSError("the client has left")
        for byte in data:
            sock.sendall(bytes([byte]))
            if self._drip_s:
                time.sleep(self._drip_s)

    def close(self) -> None:
        """Stop the server."""
        self._peer.close()

    def __enter__(self) -> SocksServer:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        received = sock.recv(size - len(data))
        if not received:
            raise OSError("the client has left")
        data += received
    return data


def _read_text(sock: Any) -> str:
    data = b""
    while not data.endswith(b"\0"):
        data += _read(sock, 1)
    return data[:-1].decode()
