"""The steps of a connection, one by one: DNS, TCP, a tunnel through a proxy, a TLS handshake.

The client does them all at once, so its errors have to guess the cause. Here each step runs alone, within a limit, and
sends only its own bytes: no request, and so no key and no token. The handshake happens in memory
(``SSLContext.wrap_bio``), because it may go through a TLS connection to a proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

from gigaclient._primitives.fork_safety import steps
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.transport.proxies import SocksError

__all__ = [
    "Address",
    "HandshakeResult",
    "ProbeError",
    "ProbeSocket",
    "ProbeStream",
    "ProbeTimeout",
    "Tls",
    "connect",
    "handshake",
    "resolve",
    "tunnel",
    "within",
]

T = TypeVar("T")

_READ_BYTES = 16 * 1024
_MAX_RESPONSE_BYTES = 64 * 1024
# The extra time before a step is abandoned. Most steps end at their own limit.
_GRACE_SECONDS = 1.0


class ProbeError(Exception):
    """A step failed.

    Attributes:
        cause: one of ``unknown_name``, ``lookup_failed``, ``refused``, ``unreachable``, ``timeout``, ``closed``,
            ``proxy_login``, ``proxy_refused``, ``not_http``, ``certificate``, ``client_certificate``, ``not_tls``,
            ``old_tls``, ``tls``.
        reason: the system's message; it contains nothing that was sent.
        code: OpenSSL's number for a certificate error; 0 for other errors.
    """

    def __init__(self, cause: str, reason: str, code: int = 0) -> None:
        super().__init__(cause, reason)
        self.cause, self.reason, self.code = cause, reason, code


class ProbeTimeout(Exception):
    """A step did not end within its limit, and was abandoned."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return the result of ``work``, or raise its error, within ``seconds``.

    The work runs in a daemon thread, because a DNS lookup cannot be interrupted. A thread that hangs is abandoned:
    neither the report nor the end of the program waits for it.

    Raises:
        ProbeTimeout: it took longer.
    """
    results: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            results.append((work(), None))
        except BaseException as error:
            results.append((None, error))

    thread = threading.Thread(target=run, name="gigaclient-doctor", daemon=True)
    thread.start()
    thread.join(seconds + _GRACE_SECONDS)
    if not results:
        raise ProbeTimeout
    value, error = results[0]
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


class Address(FrozenStruct, frozen=True):
    """A resolved address: the arguments of ``socket.socket`` and ``connect``."""

    family: int
    address: Any

    @property
    def ip(self) -> str:
        """The numeric address, without the port."""
        return str(self.address[0])


def resolve(host: str, port: int) -> list[Address]:
    """Resolve ``host`` to its addresses, in the system's order. It has no time limit: see :func:`within`.

    Raises:
        ProbeError: ``unknown_name`` or ``lookup_failed``.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        cause = "lookup_failed" if error.errno == socket.EAI_AGAIN else "unknown_name"
        failure = ProbeError(cause, error.strerror or "no address")
    except UnicodeError:
        failure = ProbeError("unknown_name", "it is not a valid host name")
    else:
        return [Address(family, address) for family, _, _, _, address in found]
    raise failure


class ProbeStream(Protocol):
    """A stream of bytes: a connection, or TLS over it."""

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""

    def receive(self) -> bytes:
        """Return the next bytes, ``b""`` at the end."""


class ProbeSocket:
    """A TCP connection with a deadline for all its reads and writes. A context manager."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        self._apply_deadline()
        try:
            self._sock.sendall(data)
        except OSError as error:
            failure = _socket_error(error)
        else:
            return
        raise failure

    def receive(self) -> bytes:
        """Return the next bytes, ``b""`` at the end."""
        self._apply_deadline()
        try:
            return self._sock.recv(_READ_BYTES)
        except OSError as error:
            failure = _socket_error(error)
        raise failure

    def open_socks_tunnel(self, proxy: Secret, host: str, port: int) -> None:
        """Have the SOCKS proxy, which this connection leads to, connect to ``host``.

        PySocks resolves the name, if the proxy does not; that has no time limit: see :func:`within`.

        Raises:
            ProbeError: ``proxy_login`` or ``proxy_refused``, or an error of the connection.
        """
        from gigaclient.transport.socks_tunnel import open_tunnel  # needs the extra

        try:
            open_tunnel(self._sock, proxy, host, port, self._remaining)
        except SocksError as error:
            failure = ProbeError("proxy_login" if error.of_login else "proxy_refused", str(error))
        except OSError as error:
            failure = _socket_error(error)
        else:
            return
        raise failure

    def _apply_deadline(self) -> None:
        self._sock.settimeout(self._remaining())

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise ProbeError("timeout", "timed out")
        return left

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def __enter__(self) -> ProbeSocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def connect(address: Address, seconds: float) -> ProbeSocket:
    """Connect to ``address``. The limit of ``seconds`` also covers all later reads and writes.

    Raises:
        ProbeError: ``refused``, ``unreachable``, ``timeout`` or ``closed``.
    """
    deadline = time.monotonic() + seconds
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:  # this machine does not support that address family
        failure = ProbeError("unreachable", error.strerror or "cannot be used here")
    else:
        try:
            sock.settimeout(seconds)
            sock.connect(address.address)
        except OSError as error:
            sock.close()
            failure = _socket_error(error)
        except BaseException:
            sock.close()
            raise
        else:
            return ProbeSocket(sock, deadline)
    raise failure


def tunnel(stream: ProbeStream, host: str, port: int, authorization: Secret | None) -> None:
    """Open a tunnel to ``host`` with CONNECT. ``authorization`` goes to the proxy only.

    Raises:
        ProbeError: ``proxy_login``, ``proxy_refused`` or ``not_http``; or an error of the stream.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    header = f"Proxy-Authorization: {authorization.reveal()}\r\n" if authorization is not None else ""
    stream.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{header}\r\n".encode("latin-1"))
    response = b""
    while b"\r\n\r\n" not in response:
        data = stream.receive()
        response += data
        if not data or len(response) > _MAX_RESPONSE_BYTES:
            break
    parts = response.partition(b"\r\n")[0].decode("latin-1").split(None, 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/") or not parts[1].isdecimal():
        raise ProbeError("not_http", "closed without a response" if not response else "its response is not HTTP")
    status = int(parts[1])
    if status == 407:
        raise ProbeError("proxy_login", "407 Proxy Authentication Required")
    if not 200 <= status <= 299:
        raise ProbeError("proxy_refused", f"{status} {http.client.responses.get(status, '')}".strip())


class HandshakeResult(FrozenStruct, frozen=True):
    """The result of a TLS handshake.

    Attributes:
        version: the version of TLS, such as ``TLSv1.3``.
        chain: the certificates that the server sent, as DER, its own first.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"chain"})

    version: str
    chain: tuple[bytes, ...]


class Tls:
    """A TLS connection over a stream. It carries the CONNECT request to a proxy that uses TLS."""

    def __init__(self, stream: ProbeStream, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._run(self._object.do_handshake)

    def result(self) -> HandshakeResult:
        """Return the version and the chain."""
        return HandshakeResult(self._object.version() or "TLS", _chain_of(self._object))

    def send(self, data: bytes) -> None:
        """Encrypt and send all of ``data``."""
        self._run(lambda: self._object.write(data))

    def receive(self) -> bytes:
        """Return the next decrypted bytes, ``b""`` at the end."""
        try:
            return self._run(lambda: self._object.read(_READ_BYTES))
        except ssl.SSLZeroReturnError:
            return b""

    def _run(self, step: Callable[[], T]) -> T:
        failure: ProbeError | None = None
        while failure is None:
            try:
                with steps:
                    value = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._stream.receive()
                if data:
                    self._incoming.write(data)
                else:
                    failure = ProbeError("closed", "closed in the middle of the TLS handshake")
            except ssl.SSLZeroReturnError:
                raise
            except ssl.SSLError as error:
                failure = _tls_error(error)
            else:
                self._flush()
                return value
        with contextlib.suppress(ProbeError):
            self._flush()  # sends the TLS alert
        raise failure

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._stream.send(data)


def handshake(stream: ProbeStream, context: ssl.SSLContext, host: str) -> HandshakeResult:
    """Do the TLS handshake with ``host`` and nothing more; return its result.

    Raises:
        ProbeError: ``certificate``, ``client_certificate``, ``not_tls``, ``old_tls`` or ``tls``; or an error of the
            stream.
    """
    return Tls(stream, context, host).result()


def _chain_of(connection: Any) -> tuple[bytes, ...]:
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return tuple(connection.get_unverified_chain() or ())
    # Older versions have the chain only in a private attribute; without it, the server's own certificate must do.
    inner: Any = getattr(connection, "_sslobj", None)
    if hasattr(inner, "get_unverified_chain"):
        pem = [certificate.public_bytes() for certificate in inner.get_unverified_chain() or ()]
        return tuple(ssl.PEM_cert_to_DER_cert(text) for text in pem)
    leaf = connection.getpeercert(binary_form=True)
    return (leaf,) if leaf else ()


def _socket_error(error: OSError) -> ProbeError:
    reason = (error.strerror or type(error).__name__).lower()
    if isinstance(error, TimeoutError):
        return ProbeError("timeout", "timed out")
    if isinstance(error, ConnectionRefusedError):
        return ProbeError("refused", reason)
    if isinstance(error, ConnectionError):
        return ProbeError("closed", reason)
    return ProbeError("unreachable", reason)


def _tls_error(error: ssl.SSLError) -> ProbeError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProbeError("certificate", error.verify_message or "it was refused", error.verify_code)
    reason = (error.reason or "unknown").replace("_", " ").lower()
    if "alert" in reason and any(word in reason for word in ("certificate", "unknown ca")):
        return ProbeError("client_certificate", reason)
    if "wrong version" in reason or "http request" in reason or "record layer failure" in reason:
        return ProbeError("not_tls", reason)
    if "unsupported protocol" in reason or "protocol version" in reason:
        return ProbeError("old_tls", reason)
    return ProbeError("tls", reason)
