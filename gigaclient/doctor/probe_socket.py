"""The way to a server, step by step: a name, a connection, a tunnel through a proxy, a TLS handshake.

The client does all of it in one go, and its errors have to guess what went wrong. Here each step is taken by itself,
each within a limit, and nothing is ever sent over a line but what the step needs: no request, and so no key and no
token. The handshake takes place in memory (``SSLContext.wrap_bio``), since it may have to go through a TLS connection
with a proxy.
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

__all__ = [
    "Address",
    "ProbeError",
    "ProbeSocket",
    "ProbeStream",
    "ProbeTimeout",
    "SettingSource",
    "Tls",
    "connect",
    "resolve",
    "shake_hands",
    "tunnel",
    "within",
]

T = TypeVar("T")

_READ_BYTES = 16 * 1024
_LONGEST_ANSWER = 64 * 1024
# What a guarded step may take beyond its limit before it is left to itself: it ends by its own clock as a rule.
_GRACE_SECONDS = 1.0


class ProbeError(Exception):
    """A step failed.

    Attributes:
        kind: what happened, in one word: ``unknown_name``, ``lookup_failed``, ``refused``, ``unreachable``, ``slow``,
            ``closed``, ``proxy_login``, ``proxy_refused``, ``not_http``, ``certificate``, ``asks_certificate``,
            ``not_tls``, ``old_tls``, ``tls``.
        reason: the same as the system said it; it holds nothing that was sent.
        code: the number that OpenSSL gives to what is wrong with a certificate; 0 elsewhere.
    """

    def __init__(self, kind: str, reason: str, code: int = 0) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason, self.code = kind, reason, code


class ProbeTimeout(Exception):
    """A step did not end within its limit, and was left to itself."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, unless it takes longer than ``seconds``.

    In a thread of its own, since looking a name up cannot be interrupted. It is a daemon thread, and one that hangs is
    left behind: neither the report nor the end of the program waits for it.

    Raises:
        ProbeTimeout: it did.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="gigaclient-doctor", daemon=True)
    thread.start()
    thread.join(seconds + _GRACE_SECONDS)
    if not outcome:
        raise ProbeTimeout
    value, error = outcome[0]
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


class Address(FrozenStruct, frozen=True):
    """Where a name leads: the arguments of ``socket.socket`` and ``connect``."""

    family: int
    place: Any

    @property
    def ip(self) -> str:
        """The numeric address, without the port."""
        return str(self.place[0])


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of ``host``, in the system's order. Not bounded: see :func:`within`.

    Raises:
        Trouble: ``unknown_name`` or ``lookup_failed``.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        kind = "lookup_failed" if error.errno == socket.EAI_AGAIN else "unknown_name"
        trouble = ProbeError(kind, error.strerror or "no address")
    except UnicodeError:
        trouble = ProbeError("unknown_name", "it cannot be a host's name")
    else:
        return [Address(family, place) for family, _, _, _, place in found]
    raise trouble


class ProbeStream(Protocol):
    """What bytes go over: a line, or TLS on it."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes: ...


class ProbeSocket:
    """A TCP connection, whose every read and write ends when the time of the step is over. A context manager."""

    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        self._sock = sock
        self._ends_at = ends_at

    def send(self, data: bytes) -> None:
        self._arm()
        try:
            self._sock.sendall(data)
        except OSError as error:
            trouble = _trouble(error)
        else:
            return
        raise trouble

    def receive(self) -> bytes:
        """What has come, ``b""`` at the end."""
        self._arm()
        try:
            return self._sock.recv(_READ_BYTES)
        except OSError as error:
            trouble = _trouble(error)
        raise trouble

    def _arm(self) -> None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise ProbeError("slow", "timed out")
        self._sock.settimeout(left)

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> ProbeSocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def connect(address: Address, seconds: float) -> ProbeSocket:
    """A connection to ``address``, made within ``seconds``; whatever is done over it has to end within them as well.

    Raises:
        Trouble: ``refused``, ``unreachable``, ``slow`` or ``closed``.
    """
    ends_at = time.monotonic() + seconds
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:  # this machine does not speak that family
        trouble = ProbeError("unreachable", error.strerror or "cannot be used here")
    else:
        try:
            sock.settimeout(seconds)
            sock.connect(address.place)
        except OSError as error:
            sock.close()
            trouble = _trouble(error)
        except BaseException:
            sock.close()
            raise
        else:
            return ProbeSocket(sock, ends_at)
    raise trouble


def tunnel(stream: ProbeStream, host: str, port: int, authorization: Secret | None) -> None:
    """Have a proxy open a tunnel to ``host`` (CONNECT). ``authorization`` is for the proxy alone.

    Raises:
        Trouble: ``proxy_login``, ``proxy_refused`` or ``not_http``; or as the line does.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    login = f"Proxy-Authorization: {authorization.reveal()}\r\n" if authorization is not None else ""
    stream.send(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{login}\r\n".encode("latin-1"))
    head = b""
    while b"\r\n\r\n" not in head:
        more = stream.receive()
        head += more
        if not more or len(head) > _LONGEST_ANSWER:
            break
    words = head.partition(b"\r\n")[0].decode("latin-1").split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        raise ProbeError("not_http", "closed without an answer" if not head else "its answer is not HTTP")
    status = int(words[1])
    if status == 407:
        raise ProbeError("proxy_login", "407 Proxy Authentication Required")
    if not 200 <= status <= 299:
        raise ProbeError("proxy_refused", f"{status} {http.client.responses.get(status, '')}".strip())


class SettingSource(FrozenStruct, frozen=True):
    """What a server showed in a handshake.

    Attributes:
        version: of TLS, such as ``TLSv1.3``.
        chain: its certificates as DER, its own first, as it sent them.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"chain"})

    version: str
    chain: tuple[bytes, ...]


class Tls:
    """A TLS connection over a stream; for a proxy, over which a tunnel is asked for."""

    def __init__(self, stream: ProbeStream, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._run(self._object.do_handshake)

    def shown(self) -> SettingSource:
        return SettingSource(self._object.version() or "TLS", _chain_of(self._object))

    def send(self, data: bytes) -> None:
        self._run(lambda: self._object.write(data))

    def receive(self) -> bytes:
        try:
            return self._run(lambda: self._object.read(_READ_BYTES))
        except ssl.SSLZeroReturnError:
            return b""

    def _run(self, step: Callable[[], T]) -> T:
        trouble: ProbeError | None = None
        while trouble is None:
            try:
                with steps:
                    value = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._stream.receive()
                if data:
                    self._incoming.write(data)
                else:
                    trouble = ProbeError("closed", "closed in the middle of the TLS handshake")
            except ssl.SSLZeroReturnError:
                raise
            except ssl.SSLError as error:
                trouble = _tls_trouble(error)
            else:
                self._flush()
                return value
        with contextlib.suppress(ProbeError):
            self._flush()  # the alert that says why we leave
        raise trouble

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._stream.send(data)


def shake_hands(stream: ProbeStream, context: ssl.SSLContext, host: str) -> SettingSource:
    """Do the TLS handshake with ``host`` and nothing more; what the server showed.

    Raises:
        Trouble: ``certificate``, ``asks_certificate``, ``not_tls``, ``old_tls`` or ``tls``; or as the line does.
    """
    return Tls(stream, context, host).shown()


def _chain_of(connection: Any) -> tuple[bytes, ...]:
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return tuple(connection.get_unverified_chain() or ())
    # What the newer name gives is there before, only not in public. Where it is not, the server's own will do.
    inner: Any = getattr(connection, "_sslobj", None)
    if hasattr(inner, "get_unverified_chain"):
        pem = [certificate.public_bytes() for certificate in inner.get_unverified_chain() or ()]
        return tuple(ssl.PEM_cert_to_DER_cert(text) for text in pem)
    own = connection.getpeercert(binary_form=True)
    return (own,) if own else ()


def _trouble(error: OSError) -> ProbeError:
    reason = (error.strerror or type(error).__name__).lower()
    if isinstance(error, TimeoutError):
        return ProbeError("slow", "timed out")
    if isinstance(error, ConnectionRefusedError):
        return ProbeError("refused", reason)
    if isinstance(error, ConnectionError):
        return ProbeError("closed", reason)
    return ProbeError("unreachable", reason)


def _tls_trouble(error: ssl.SSLError) -> ProbeError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProbeError("certificate", error.verify_message or "it was refused", error.verify_code)
    reason = (error.reason or "unknown").replace("_", " ").lower()
    if "alert" in reason and any(word in reason for word in ("certificate", "unknown ca")):
        return ProbeError("asks_certificate", reason)
    if "wrong version" in reason or "http request" in reason or "record layer failure" in reason:
        return ProbeError("not_tls", reason)
    if "unsupported protocol" in reason or "protocol version" in reason:
        return ProbeError("old_tls", reason)
    return ProbeError("tls", reason)
