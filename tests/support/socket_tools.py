"""Helpers of the transport tests: raw TCP peers, proxies, unresponsive ports, and functions that send a request."""

from __future__ import annotations

import base64
import contextlib
import gc
import selectors
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient.transport import Request, Response, Transport, origin_of
from gigaclient.transport.tls import Trust, read_bundle

HANG = 30.0
"""The limit of every wait in seconds: longer than a busy machine needs, shorter than the limit of the test run."""


# -- sending ---------------------------------------------------------------------------------------


def trust_in(path: str) -> Trust:
    """Return the trust in the bundle at ``path`` only."""
    return Trust(authorities=read_bundle(path), source=path)


@contextlib.contextmanager
def transport_to(*urls: str, trust: Trust | None = None, **options: Any) -> Iterator[Transport]:
    """Yield a transport to the origins of ``urls``, and close it at the end."""
    transport = Transport(trust or Trust(), tuple(dict.fromkeys(map(origin_of, urls))), **options)
    try:
        yield transport
    finally:
        transport.close()


def deadline(
    *, connect: float = HANG, read: float = HANG, event: float | None = None, deadline: float | None = None
) -> Deadline:
    """Return a deadline within the limit of the tests."""
    return Deadline(Timeouts(connect, read, event, HANG if deadline is None else deadline))


def send(
    transport: Transport,
    url: str,
    deadline_: Deadline | None = None,
    *,
    body: bytes | None = b"{}",
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> Response:
    """Send one request; return the response with its body unread."""
    return transport.send(Request(method, "/", body=body), url, dict(headers or {}), deadline_ or deadline())


def ask(transport: Transport, url: str, deadline_: Deadline | None = None, **options: Any) -> bytes:
    """Send one request and return the complete body."""
    return send(transport, url, deadline_, **options).read(64 * 1024 * 1024)


class Stopwatch:
    """Measures a block: ``with Stopwatch() as took: ...``, then ``took.seconds``."""

    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._started_at = time.monotonic()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._started_at


class InThread:
    """Runs ``work`` in a thread; :meth:`outcome` waits for its result or error."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._work()
        except BaseException as error:
            self.error = error

    def outcome(self) -> Any:
        """Wait for the end, and return the result or the error."""
        self._thread.join(HANG)
        assert not self._thread.is_alive(), "the thread is still running"
        return self.error if self.error is not None else self.value


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until ``holds`` returns True; return False when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Disable the garbage collector within the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record all warnings, repeated ones included."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


# -- peers -----------------------------------------------------------------------------------------


class Peer:
    """A TCP server on 127.0.0.1 that runs ``talk(sock)`` in a thread for each connection, and then closes it.

    With ``tls`` it does the handshake first. :attr:`accepted` counts the connections.
    """

    def __init__(self, talk: Callable[[Any], None], *, tls: ssl.SSLContext | None = None) -> None:
        self._talk = talk
        self._tls = tls
        self.accepted = 0
        self.open: list[Any] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The URL without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self.open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                wrapped = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self.open.append(wrapped)
                sock = wrapped
                sock.do_handshake()
            self._talk(sock)
        sock.close()

    def close(self) -> None:
        """Close the listener and all connections, and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self.open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(HANG)

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_request(sock: Any) -> bytes:
    """Read one request with its body from a peer's socket; return b"" when the client has disconnected."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = sock.recv(65536)
        if not received:
            return b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        received = sock.recv(65536)
        if not received:
            return b""
        body += received
    return data


def reset(sock: socket.socket) -> None:
    """Close the socket with a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def silent(sock: Any) -> None:
    """Read to the end and send nothing."""
    while sock.recv(65536):
        continue


@contextlib.contextmanager
def unanswered_port() -> Iterator[int]:
    """Yield a port that neither accepts nor refuses connections, so that a connect blocks."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        try:
            for _ in range(8):
                filler = socket.socket()
                fillers.append(filler)
                filler.settimeout(0.2)
                try:
                    filler.connect(("127.0.0.1", port))
                except TimeoutError:
                    break
            else:
                raise AssertionError("the queue of connections never filled up")
            yield port
        finally:
            for filler in fillers:
                filler.close()


class ConnectProxy:
    """An HTTP proxy with tunnels (CONNECT).

    Args:
        tls: the TLS context of the connection to the proxy.
        login: the required ``user:password``; clients without it get 407.
        drip_s: the pause after each byte of the response to CONNECT.
        instead: the bytes to send instead of a tunnel; empty bytes send nothing and keep the connection open.
        holds_open: keep the connection open after ``instead``.
        established: the response to CONNECT when there is a tunnel.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        login: str | None = None,
        drip_s: float = 0.0,
        instead: bytes | None = None,
        holds_open: bool = False,
        established: bytes = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n",
    ) -> None:
        self.established = established
        self.holds_open = holds_open
        self.login = login
        self.drip_s = drip_s
        self.instead = instead
        self.targets: list[str] = []
        self.heads: list[bytes] = []
        self._peer = Peer(self._talk, tls=tls)
        self.url = self._peer.url
        self.address = f"127.0.0.1:{self._peer.port}"

    @property
    def connections(self) -> int:
        """The number of accepted connections."""
        return self._peer.accepted

    def _talk(self, sock: Any) -> None:
        head = read_request(sock)
        if not head:
            return
        self.heads.append(head)
        self.targets.append(head.split(b" ")[1].decode())
        expected = None if self.login is None else b"Basic " + base64.b64encode(self.login.encode())
        if self.instead is not None:
            sock.sendall(self.instead)
            if not self.instead or self.holds_open:
                silent(sock)
            return
        if expected is not None and expected not in head:
            sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
            return
        host, _, port = self.targets[-1].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=HANG) as server:
            answer = self.established
            if self.drip_s:
                for byte in answer:
                    sock.sendall(bytes([byte]))
                    time.sleep(self.drip_s)
            else:
                sock.sendall(answer)
            pump(sock, server)

    def close(self) -> None:
        """Stop the proxy."""
        self._peer.close()

    def __enter__(self) -> ConnectProxy:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pump(one: Any, other: Any) -> None:
    """Forward bytes in both directions until either side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select(HANG):
                source: Any = key.fileobj
                while True:
                    data = source.recv(65536)
                    if not data:
                        return
                    key.data.sendall(data)
                    if not (isinstance(source, ssl.SSLSocket) and source.pending()):
                        break


# -- URLs ---------------------------------------------------------------------------------------------


def at_localhost(url: str) -> str:
    """Return the URL with ``localhost`` instead of 127.0.0.1."""
    return url.replace("//127.0.0.1", "//localhost")


def with_login(url: str, login: str) -> str:
    """Return a proxy's URL with ``user:password`` in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{login}@{parts.netloc}"
