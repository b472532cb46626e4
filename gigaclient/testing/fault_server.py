"""An HTTP/1.1 server on 127.0.0.1 that controls every byte of its responses, for tests of faulty servers.

Each connection has a thread. h11 parses the requests. Responses are written without a library, because libraries send
no invalid ones: half a header, a chunk without its end, a reset.

Sockets are non-blocking and every wait is a poll. A wait therefore ends at once when the awaited event happens, on
:meth:`Server.close`, and when the client disconnects (see :attr:`Server.aborted`).
"""

from __future__ import annotations

import email.utils
import http
import json
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs

from gigaclient._primitives.fork_safety import steps
from gigaclient.testing.authority import Authority
from gigaclient.testing.extra import extra_is_missing

try:
    import h11
except ImportError as error:
    raise extra_is_missing(error) from error

__all__ = [
    "Answer",
    "Cut",
    "HeaderList",
    "Pause",
    "RawAnswer",
    "RecordedRequest",
    "Reset",
    "Server",
    "Step",
    "wait_for_streams",
]

_HOST = "127.0.0.1"
_READ_BYTES = 65536
_PAUSE_BEFORE_RESET_S = 0.05
_SECRET_HEADERS = frozenset({"authorization", "x-authorization", "cookie", "proxy-authorization"})
# Not selectors.DefaultSelector: epoll needs a second descriptor for each connection.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


# --- steps of a body -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """Send nothing for ``seconds``; ``None`` lasts until the client disconnects or the server closes."""

    seconds: float | None


@dataclass(frozen=True)
class Reset:
    """End the connection with a TCP reset, shortly after the previous step, so that the client has received that."""


@dataclass(frozen=True)
class Cut:
    """End the connection in the middle of the body: without the last chunk or the rest of the announced length.

    ``close_notify`` sends TLS's close_notify first, so that it looks like a regular end.
    """

    close_notify: bool = False


Step: TypeAlias = bytes | Pause | Reset | Cut
Framing = Literal["length", "chunked", "close"]
HeaderItems: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass
class Answer:
    """The response to one request.

    Attributes:
        status: The HTTP status.
        headers: A mapping, or pairs for repeated names. Missing ``Date`` and framing headers are added.
        body: Bytes, text (sent as UTF-8), or an iterable of steps.
        framing: ``"length"`` (Content-Length; steps are collected first), ``"chunked"`` (one chunk per step),
            or ``"close"`` (the end of the connection ends the body). By default, bytes are sent with their length
            and steps are chunked.
        write_size: The largest write in bytes. In chunked framing, each piece of the content becomes a separate
            chunk, so that the client's decoder gets every boundary.
        write_pause_s: Seconds after each piece of ``write_size`` bytes.
        gzip: Compress the body, and flush after every step.
        before_s: Seconds before the first byte of the response; ``None`` is for ever.
        header_pause_s: Send the head byte by byte with this pause between two bytes.
        keep_alive: ``False`` sends ``Connection: close`` and closes the connection.
        done: Called once, before the last bytes are sent or when the client has disconnected.
    """

    status: int = 200
    headers: HeaderItems = field(default_factory=dict)
    body: bytes | str | Iterable[Step] = b""
    framing: Framing | None = None
    write_size: int | None = None
    write_pause_s: float = 0.0
    gzip: bool = False
    before_s: float | None = 0.0
    header_pause_s: float = 0.0
    keep_alive: bool = True
    done: Callable[[], None] | None = None


@dataclass
class RawAnswer:
    """Raw steps without head and framing, written after the request has been read. Then the connection ends."""

    steps: Iterable[Step]
    done: Callable[[], None] | None = None


# --- requests --------------------------------------------------------------------------------------------------


class HeaderList(Mapping[str, str]):
    """Case-insensitive header fields. The values of a repeated name are joined by ``", "``."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.items_as_sent: tuple[tuple[str, str], ...] = tuple(items)
        self._values: dict[str, list[str]] = {}
        for name, value in self.items_as_sent:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, name: str) -> list[str]:
        """Return all values of ``name`` in their order."""
        return list(self._values.get(name.lower(), ()))

    def __repr__(self) -> str:
        shown = {name: "***" if name in _SECRET_HEADERS else self[name] for name in self}
        return f"Headers({shown})"


@dataclass(frozen=True)
class RecordedRequest:
    """A request that the server has read.

    Attributes:
        method: The method in capitals.
        path: The percent-encoded path, without the query.
        query: The part after the ``?``, or ``""``.
        headers: The headers, with case-insensitive names.
        body: The complete body.
        connection: The number of the TCP connection, from 1.
        at: The time at which it had been read, on the monotonic clock, in seconds.
        client_certificate: The subject's common name of the client's certificate, if it sent one.
    """

    method: str
    path: str
    query: str
    headers: HeaderList
    body: bytes
    connection: int
    at: float
    client_certificate: str | None = None

    def json(self) -> Any:
        """Parse the body; raise ``ValueError`` when it is not JSON in UTF-8."""
        return json.loads(self.body.decode("utf-8"))

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form-encoded body (the last value of each); empty for other bodies."""
        if self.headers.get("content-type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return {}
        return _last_values(self.body.decode("utf-8", "replace"))

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the query (the last value of each)."""
        return _last_values(self.query)

    def __repr__(self) -> str:
        # Without headers and body: failing assertions print this, and both may contain secrets.
        return f"<{self.method} {self.path} on connection {self.connection}, {len(self.body)} bytes>"


def _last_values(encoded: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(encoded, keep_blank_values=True).items()}


Handler: TypeAlias = Callable[["RecordedRequest"], Answer | RawAnswer]


# --- the server ------------------------------------------------------------------------------------------------


def wait_for_streams(count: Callable[[], int], seconds: float) -> None:
    """Wait until ``count()``, the number of open streams, is 0.

    Raises:
        TimeoutError: a stream was still open after ``seconds``.
    """
    ends_at = time.monotonic() + seconds
    while count():
        if time.monotonic() >= ends_at:
            raise TimeoutError(f"{count()} streams are still open after {seconds:g} s")
        time.sleep(0.01)


class Server:
    """Serves ``handler`` on 127.0.0.1 until closed. A context manager; also has :meth:`start` and :meth:`close`.

    Args:
        handler: Called in the connection's thread with each request. It must not block; use a :class:`Pause`, which
            can be interrupted. If it raises, the client gets a 500 and :attr:`handler_errors` the error.
        tls: The authority that signs the certificate, or a TLS context; ``None`` is plain HTTP.
        port: The port; 0 is a free one.
        client_ca: The authority of required client certificates (only with an ``Authority`` in ``tls``).
        idle_timeout_s: Close a kept-alive connection after this many seconds without a request.
        handshake_timeout_s: The limit for a TLS handshake in seconds.
        keep_requests: The number of requests that :attr:`requests` keeps.
        max_body_bytes: The limit for the body of a request; a longer one gets 413.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        tls: Authority | ssl.SSLContext | None = None,
        port: int = 0,
        client_ca: Authority | str | None = None,
        idle_timeout_s: float | None = None,
        handshake_timeout_s: float = 10.0,
        keep_requests: int = 100_000,
        max_body_bytes: int = 96 * 1024 * 1024,
    ) -> None:
        if client_ca is not None and not isinstance(tls, Authority):
            raise ValueError("client_ca needs tls to be an Authority")
        self.handler = handler
        self._context = tls.server_context(client_ca=client_ca) if isinstance(tls, Authority) else tls
        self._requested_port = port
        self.idle_timeout_s = idle_timeout_s
        self.handshake_timeout_s = handshake_timeout_s
        self.max_body_bytes = max_body_bytes
        self._lock = threading.Lock()
        self._requests: deque[RecordedRequest] = deque(maxlen=keep_requests)
        self._open: dict[int, _Connection] = {}
        self._accepted = 0
        self._aborted = 0
        self._handshake_errors: list[str] = []
        self.handler_errors: list[BaseException] = []
        self._listener: socket.socket | None = None
        self._wake: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._port = 0
        self.stopping = False

    # -- addresses and observations

    @property
    def port(self) -> int:
        """The port. Raises ``RuntimeError`` before the start."""
        if not self._port:
            raise RuntimeError("the server has not been started: use it as a context manager, or call start()")
        return self._port

    @property
    def url(self) -> str:
        """Scheme, address and port, without a slash at the end."""
        return f"{'https' if self._context is not None else 'http'}://{_HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """The number of accepted TCP connections."""
        with self._lock:
            return self._accepted

    @property
    def open_connections(self) -> int:
        """The number of open TCP connections."""
        with self._lock:
            return len(self._open)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The received requests, oldest first."""
        with self._lock:
            return list(self._requests)

    @property
    def aborted(self) -> int:
        """The number of responses whose client disconnected before their end."""
        with self._lock:
            return self._aborted

    @property
    def handshake_errors(self) -> list[str]:
        """The error messages of failed TLS handshakes."""
        with self._lock:
            return list(self._handshake_errors)

    # -- start and close

    def start(self) -> Server:
        """Start to listen, and return the server."""
        if self._listener is not None:
            raise RuntimeError("the server has been started already")
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((_HOST, self._requested_port))
            listener.listen(512)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        self._port = int(listener.getsockname()[1])
        self._wake, wake_receiver = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept, args=(listener, wake_receiver), name=f"emulator-{self._port}", daemon=True
        )
        self._acceptor.start()
        return self

    def close(self) -> None:
        """Stop listening, and close all connections at once, stalled responses included. Safe to call twice."""
        with self._lock:
            was_stopping, self.stopping = self.stopping, True
        if was_stopping or self._wake is None or self._acceptor is None:
            return
        self._wake.close()
        self._acceptor.join(5.0)
        with self._lock:
            connections = list(self._open.values())
        for connection in connections:
            connection.interrupt()
        deadline = time.monotonic() + 5.0
        for connection in connections:
            connection.closed.wait(max(0.0, deadline - time.monotonic()))

    def drop_idle_connections(self) -> int:
        """Close the kept-alive connections that are idle, and return their number.

        The clients have received the close when this returns.
        """
        with self._lock:
            connections = list(self._open.values())
        dropped = [connection for connection in connections if connection.close_if_idle()]
        deadline = time.monotonic() + 2.0
        for connection in dropped:
            connection.closed.wait(max(0.0, deadline - time.monotonic()))
        return len(dropped)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- called in the threads

    def _accept(self, listener: socket.socket, wake_receiver: socket.socket) -> None:
        with listener, wake_receiver, _Selector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(wake_receiver, selectors.EVENT_READ)
            while not self.stopping:
                selector.select()
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    continue
                except OSError:
                    # The client has disconnected already, or this process has no descriptors left.
                    time.sleep(0.01)
                    continue
                with self._lock:
                    self._accepted += 1
                    connection = _Connection(self, sock, self._accepted)
                    self._open[connection.number] = connection
                threading.Thread(
                    target=connection.serve,
                    args=(self._context,),
                    name=f"emulator-{self._port}-{connection.number}",
                    daemon=True,
                ).start()

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._open.pop(connection.number, None)

    def _record(self, request: RecordedRequest) -> None:
        with self._lock:
            self._requests.append(request)

    def _count_aborted(self) -> None:
        with self._lock:
            if not self.stopping:
                self._aborted += 1

    def _record_handshake_error(self, error: BaseException) -> None:
        with self._lock:
            if not self.stopping:
                self._handshake_errors.append(f"{type(error).__name__}: {error}")


class _ClientGoneError(Exception):
    """The client has disconnected, or the server is closing."""


class _ConnectionEndedError(Exception):
    """A step ended the connection on purpose."""


class _BodyTooLargeError(Exception):
    """The request's body exceeds ``max_body_bytes``."""


class _Connection:
    """One accepted connection. All methods except interrupt and close_if_idle run in its thread."""

    def __init__(self, server: Server, sock: socket.socket, number: int) -> None:
        self.number = number
        self.closed = threading.Event()
        self._server = server
        self._sock: socket.socket = sock
        self._tls: ssl.SSLSocket | None = None
        self._inbox = bytearray()
        self._idle = False
        self._close_requested = False
        self._client_certificate: str | None = None
        # Guards the descriptor: after the close, the system may reuse its number for another socket, which must not be
        # shut down.
        self._descriptor_lock = threading.Lock()

    # -- called from other threads

    def interrupt(self) -> None:
        """End the current wait of this connection at once."""
        self._shutdown(socket.SHUT_RDWR)

    def close_if_idle(self) -> bool:
        """Close the connection if it is between two requests; return True if it was."""
        if not self._idle:
            return False
        self._close_requested = True
        # This only ends the poll. The thread must not read after it: TLS would send the client an alert about the
        # missing bytes.
        self._shutdown(socket.SHUT_RD)
        return True

    def _shutdown(self, how: int) -> None:
        with self._descriptor_lock:
            if not self.closed.is_set():
                try:
                    # Not SSLSocket.shutdown: it would drop the TLS state while the connection's thread uses it.
                    socket.socket.shutdown(self._sock, how)
                except OSError:
                    return

    # -- the thread

    def serve(self, context: ssl.SSLContext | None) -> None:
        """Serve the connection to its end."""
        send_close_notify = False
        self._selector = _Selector()
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(self._sock, selectors.EVENT_READ)
            if context is not None:
                self._handshake(context)
            send_close_notify = self._serve_requests()
        except (_ClientGoneError, _ConnectionEndedError, OSError):
            send_close_notify = False
        finally:
            self._close(send_close_notify)

    def _serve_requests(self) -> bool:
        """Answer the requests of the connection; return True when it ends regularly."""
        while True:
            try:
                request, http11 = self._read_request()
            except h11.RemoteProtocolError as error:
                return self._refuse(error.error_status_hint, str(error))
            except _BodyTooLargeError:
                return self._refuse(413, "Payload too large")
            if request is None:
                return True
            self._server._record(request)
            answer = self._call_handler(request)
            try:
                alive = self._write(request, answer, http11)
            except _ClientGoneError:
                self._server._count_aborted()
                raise
            finally:
                if answer.done is not None:
                    answer.done()
            if not alive:
                return True

    def _call_handler(self, request: RecordedRequest) -> Answer | RawAnswer:
        try:
            return self._server.handler(request)
        except Exception as error:  # the handler is the user's code, and its errors must be visible
            self._server.handler_errors.append(error)
            traceback.print_exc(file=sys.stderr)
            return Answer(500, {"Content-Type": "text/plain"}, f"the handler raised {type(error).__name__}")

    def _refuse(self, status: int, reason: str) -> bool:
        body = json.dumps({"status": status, "message": reason}).encode()
        self._send(
            _head(
                status,
                [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")],
            )
            + body
        )
        # A close with unread bytes would send a reset, and the client would lose the response.
        self._shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 0.5
        while self._wait(selectors.EVENT_READ, deadline - time.monotonic()) and self._read_available():
            self._inbox.clear()
        return False

    # -- reading

    def _handshake(self, context: ssl.SSLContext) -> None:
        deadline = time.monotonic() + self._server.handshake_timeout_s
        # wrap_socket moves the descriptor from the plain socket to the new one.
        with self._descriptor_lock, steps:
            self._tls = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            self._sock = self._tls
        self._selector.close()
        self._selector = _Selector()
        self._selector.register(self._sock, selectors.EVENT_READ)
        try:
            while True:
                try:
                    with steps:  # tests may fork in the process of the emulator
                        self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    ready = self._wait(selectors.EVENT_READ, deadline - time.monotonic())
                except ssl.SSLWantWriteError:
                    ready = self._wait(selectors.EVENT_WRITE, deadline - time.monotonic())
                if not ready:
                    raise TimeoutError("the client did not finish the TLS handshake")
        except (OSError, _ClientGoneError) as error:
            self._server._record_handshake_error(error)
            raise
        certificate = self._tls.getpeercert()
        if certificate:
            names: Any = certificate.get("subject", ())
            self._client_certificate = next((v for part in names for k, v in part if k == "commonName"), "")

    def _read_request(self) -> tuple[RecordedRequest | None, bool]:
        """Return the next request, and True for HTTP/1.1; None when the client or ``idle_timeout_s`` ended first."""
        # A new parser for each request, because one parser would expect to write the responses too.
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=256 * 1024)
        started = bool(self._inbox)
        if started:
            parser.receive_data(bytes(self._inbox))
            self._inbox.clear()
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                if parser.they_are_waiting_for_100_continue:
                    permission = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                    self._send(parser.send(permission) or b"")
                self._idle = not started
                received = self._receive(None if started else self._server.idle_timeout_s)
                self._idle = False
                if not received:
                    if started:
                        raise _ClientGoneError
                    return None, True
                started = True
                parser.receive_data(bytes(self._inbox))
                self._inbox.clear()
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._server.max_body_bytes:
                    raise _BodyTooLargeError
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise _ClientGoneError
        assert head is not None
        self._inbox += parser.trailing_data[0]
        path, _, query = head.target.decode("latin-1").partition("?")
        headers = HeaderList((n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers.raw_items())
        request = RecordedRequest(
            head.method.decode("ascii").upper(),
            path,
            query,
            headers,
            bytes(body),
            self.number,
            time.monotonic(),
            self._client_certificate,
        )
        return request, head.http_version == b"1.1"

    def _receive(self, timeout_s: float | None) -> bool:
        """Wait for bytes in the inbox; return False when the client has finished or the timeout expired."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._inbox:
            if not self._wait(selectors.EVENT_READ, None if deadline is None else deadline - time.monotonic()):
                return False
            if self._close_requested or not self._read_available():
                return False
        return True

    def _read_available(self) -> bool:
        """Read the available bytes into the inbox without waiting; return False when the client has finished."""
        try:
            while True:
                data = self._sock.recv(_READ_BYTES)
                if not data:
                    return False
                self._inbox += data
                if self._tls is None or not self._tls.pending():
                    return True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return True
        except OSError:
            return False

    # -- waiting

    def _wait(self, events: int, timeout_s: float | None) -> bool:
        """Wait until the socket is ready; return False on a timeout, and raise when the server closes."""
        if self._server.stopping:
            raise _ClientGoneError
        if events == selectors.EVENT_READ and self._tls is not None and self._tls.pending():
            return True
        if timeout_s is not None and timeout_s < 0:
            timeout_s = 0
        if self._selector.get_key(self._sock).events != events:
            self._selector.modify(self._sock, events)
        ready = bool(self._selector.select(timeout_s))
        if self._server.stopping:
            raise _ClientGoneError
        return ready

    def _check_client(self) -> None:
        """Raise if the client has disconnected. Keep early bytes of its next request."""
        if len(self._inbox) < 1024 * 1024 and self._wait(selectors.EVENT_READ, 0) and not self._read_available():
            raise _ClientGoneError

    def _pause(self, seconds: float | None) -> None:
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if len(self._inbox) >= 1024 * 1024:
                # The client keeps sending. Stop polling, or its bytes would end each poll at once.
                time.sleep(0.05 if left is None else min(left, 0.05))
                continue
            if self._wait(selectors.EVENT_READ, left) and not self._read_available():
                raise _ClientGoneError

    # -- writing

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except (ssl.SSLWantWriteError, BlockingIOError):
                self._wait(selectors.EVENT_WRITE, None)
            except ssl.SSLWantReadError:
                self._wait(selectors.EVENT_READ, None)
            except OSError:
                raise _ClientGoneError from None

    def _run_step(self, step: Step) -> None:
        if isinstance(step, Pause):
            self._pause(step.seconds)
        elif isinstance(step, Reset):
            # A reset discards unread bytes, so give the client time to read the previous step.
            self._pause(_PAUSE_BEFORE_RESET_S)
            # With a linger time of zero, the close sends a reset.
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _ConnectionEndedError
        elif isinstance(step, Cut):
            if step.close_notify:
                self._send_close_notify()
            raise _ConnectionEndedError
        else:
            self._check_client()
            self._send(step)

    def _write(self, request: RecordedRequest, answer: Answer | RawAnswer, http11: bool) -> bool:
        """Send the response; return True when the connection can serve another request."""
        if isinstance(answer, RawAnswer):
            try:
                for step in answer.steps:
                    self._run_step(step)
            finally:
                _close_iterator(answer.steps)
            return False
        if answer.before_s is None or answer.before_s > 0:
            self._pause(answer.before_s)
        body = answer.body.encode("utf-8") if isinstance(answer.body, str) else answer.body
        steps: Iterable[Step] = (body,) if isinstance(body, bytes) else body
        compressor = zlib.compressobj(wbits=31) if answer.gzip else None
        framing = answer.framing or ("length" if isinstance(body, bytes) else "chunked")
        if framing == "chunked" and not http11:
            framing = "close"
        try:
            return self._write_framed(request, answer, steps, framing, compressor, http11)
        finally:
            _close_iterator(body)

    def _write_framed(
        self,
        request: RecordedRequest,
        answer: Answer,
        steps: Iterable[Step],
        framing: Framing,
        compressor: zlib._Compress | None,
        http11: bool,
    ) -> bool:
        if compressor is not None:
            steps = _compressed(steps, compressor)
        if framing == "length":
            steps = list(steps)
        headers = list(answer.headers.items() if isinstance(answer.headers, Mapping) else answer.headers)
        names = {name.lower(): value for name, value in headers}
        no_body = answer.status < 200 or answer.status in (204, 304)
        client_closes = "close" in request.headers.get("connection", "").lower()
        alive = answer.keep_alive and http11 and not client_closes and framing != "close"
        alive = alive and names.get("connection", "").lower() != "close"
        if compressor is not None:
            headers.append(("Content-Encoding", "gzip"))
        if framing == "length" and not no_body and "content-length" not in names:
            headers.append(("Content-Length", str(sum(len(step) for step in steps if isinstance(step, bytes)))))
        if framing == "chunked" and not no_body:
            headers.append(("Transfer-Encoding", "chunked"))
        if not alive and "connection" not in names:
            headers.append(("Connection", "close"))
        head = _head(answer.status, headers)
        if no_body or request.method == "HEAD":
            self._finish(answer, alive, self._send_head_slowly(answer, head))
            return alive
        if isinstance(answer.body, (bytes, str)) and framing == "length" and not answer.write_size:
            # The usual case in one write: head and body share a TLS record.
            self._check_client()
            self._finish(
                answer, alive, self._send_head_slowly(answer, head) + b"".join(s for s in steps if isinstance(s, bytes))
            )
            return alive
        self._send(self._send_head_slowly(answer, head))
        for step in steps:
            if not isinstance(step, bytes):
                self._run_step(step)
            elif answer.write_size:
                self._check_client()
                for start in range(0, len(step), answer.write_size):
                    piece = _framed(step[start : start + answer.write_size], framing)
                    for offset in range(0, len(piece), answer.write_size):
                        self._send(piece[offset : offset + answer.write_size])
                    if answer.write_pause_s:
                        self._pause(answer.write_pause_s)
            elif step:
                self._check_client()
                self._send(_framed(step, framing))
        try:
            self._finish(answer, alive, b"0\r\n\r\n" if framing == "chunked" else b"")
        except _ClientGoneError:
            # The content was complete, so a client that disconnects at the end marker has not aborted it.
            raise _ConnectionEndedError from None
        return alive

    def _send_head_slowly(self, answer: Answer, head: bytes) -> bytes:
        """Send all but the last byte of the head if there is a ``header_pause_s``; return the unsent bytes."""
        if not answer.header_pause_s:
            return head
        for offset in range(len(head) - 1):
            self._send(head[offset : offset + 1])
            self._pause(answer.header_pause_s)
        return head[-1:]

    def _finish(self, answer: Answer, alive: bool, last: bytes) -> None:
        # Before the last bytes: a client that has read them must find the slot free and the connection idle.
        if answer.done is not None:
            answer.done()
        self._idle = alive
        self._send(last)

    # -- close

    def _send_close_notify(self) -> None:
        if self._tls is not None:
            try:
                self._tls.unwrap()
            except (OSError, ValueError):
                # It has been sent. The client's close_notify is not awaited.
                return

    def _close(self, send_close_notify: bool) -> None:
        try:
            if send_close_notify and not self._server.stopping:
                if not self._close_requested:
                    self._read_available()
                self._send_close_notify()
        finally:
            self._selector.close()
            with self._descriptor_lock:
                self._idle = False
                # SSLSocket.close sends no close_notify: only the code above decides about that.
                self._sock.close()
                self.closed.set()
            self._server._forget(self)


def _framed(data: bytes, framing: Framing) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" else data


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    headers = list(headers)
    if not any(name.lower() == "date" for name, _ in headers):
        headers.append(("Date", email.utils.formatdate(usegmt=True)))
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _compressed(steps: Iterable[Step], compressor: zlib._Compress) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, bytes):
            yield compressor.compress(step) + compressor.flush(zlib.Z_SYNC_FLUSH)
        else:
            yield step
    yield compressor.flush()


def _close_iterator(steps: object) -> None:
    close = getattr(steps, "close", None)
    if callable(close):
        close()
