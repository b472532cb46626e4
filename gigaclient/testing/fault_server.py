"""An HTTP/1.1 server on 127.0.0.1 that puts on the wire exactly what it is told to, byte by byte.

One blocking thread per connection. The requests are parsed by h11; the answers are written by hand, because what
a test wants to see is what no decent library would send: half a header, a chunk without its end, a reset.

Sockets are non-blocking and every wait is a poll, so each of these ends a wait at once: the moment it was waiting
for, :meth:`Server.close`, and a client that went away (which is also counted, see :attr:`Server.aborted`).
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
_BEFORE_RESET_S = 0.05
_SECRET_HEADERS = frozenset({"authorization", "x-authorization", "cookie", "proxy-authorization"})
# selectors.DefaultSelector would be epoll: a second descriptor for every connection, for one socket to watch.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


# --- what a body is made of ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """Send nothing for ``seconds``; ``None`` is until the client leaves or the server closes."""

    seconds: float | None


@dataclass(frozen=True)
class Reset:
    """End the connection with a TCP reset, a moment after the step before it, so that the client has seen that one."""


@dataclass(frozen=True)
class Cut:
    """End the connection in the middle: no last chunk, no rest of the promised length.

    With ``close_notify`` the TLS layer says goodbye first, which makes it look like a deliberate end.
    """

    close_notify: bool = False


Step: TypeAlias = bytes | Pause | Reset | Cut
Framing = Literal["length", "chunked", "close"]
HeaderItems: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass
class Answer:
    """What to send for one request.

    Attributes:
        status: The HTTP status.
        headers: A mapping, or pairs where a name repeats. ``Date`` and the framing headers are added unless given.
        body: Bytes, text (sent as UTF-8), or an iterable of steps.
        framing: ``"length"`` (Content-Length; steps are collected first), ``"chunked"`` (one chunk per step),
            or ``"close"`` (the end of the connection is the end of the body). By default bytes are sent with their
            length and steps are chunked.
        write_size: No write is longer than this many bytes. The content is cut as well: in chunked framing each
            piece of the content is a chunk of its own, so the client's decoder sees every border.
        write_pause_s: Pause after each piece that ``write_size`` made.
        gzip: Compress the body, flushed after every step.
        before_s: Silence before the first byte of the answer; ``None`` is for ever.
        header_pause_s: Drip the head byte by byte with this pause between two bytes.
        keep_alive: ``False`` says ``Connection: close`` and means it.
        done: Called once, as soon as nothing but the last bytes is left to be sent, or the client is gone.
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
    """Steps written as they are once the request has been read: no head, no framing. Then the connection ends."""

    steps: Iterable[Step]
    done: Callable[[], None] | None = None


# --- what came in ----------------------------------------------------------------------------------------------


class HeaderList(Mapping[str, str]):
    """Header fields; names in any case. A name that came twice has its values joined by ``", "``."""

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
        """Every value that was sent under ``name``, in order."""
        return list(self._values.get(name.lower(), ()))

    def __repr__(self) -> str:
        shown = {name: "***" if name in _SECRET_HEADERS else self[name] for name in self}
        return f"Headers({shown})"


@dataclass(frozen=True)
class RecordedRequest:
    """A request as it was read.

    Attributes:
        method: In capitals.
        path: Without the query, still percent-encoded.
        query: What followed the ``?``, or ``""``.
        headers: Names in any case.
        body: The whole body.
        connection: Which TCP connection it came on (1 is the first one accepted).
        at: When it had been read, on the monotonic clock, in seconds.
        client_certificate: The subject's common name of the client's certificate, if it showed one.
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
        """The body, parsed. ``ValueError`` when it is not JSON in UTF-8."""
        return json.loads(self.body.decode("utf-8"))

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form-encoded body (the last value of each); empty for any other body."""
        if self.headers.get("content-type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return {}
        return _last_values(self.body.decode("utf-8", "replace"))

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the query (the last value of each)."""
        return _last_values(self.query)

    def __repr__(self) -> str:
        # Neither headers nor body: a failing assertion prints this, and both may hold secrets.
        return f"<{self.method} {self.path} on connection {self.connection}, {len(self.body)} bytes>"


def _last_values(encoded: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(encoded, keep_blank_values=True).items()}


Handler: TypeAlias = Callable[["RecordedRequest"], Answer | RawAnswer]


# --- the server ------------------------------------------------------------------------------------------------


def wait_for_streams(count: Callable[[], int], seconds: float) -> None:
    """Wait until ``count``, of the streams under way, is 0.

    Raises:
        TimeoutError: it was not after ``seconds``.
    """
    ends_at = time.monotonic() + seconds
    while count():
        if time.monotonic() >= ends_at:
            raise TimeoutError(f"{count()} streams are still under way after {seconds:g} s")
        time.sleep(0.01)


class Server:
    """Serves ``handler`` on 127.0.0.1 until closed. A context manager; :meth:`start` and :meth:`close` by hand.

    Args:
        handler: Called in the connection's thread with each request; it may not block (a pause belongs into its
            answer, where it can be interrupted). If it raises, the client gets a 500 and the error is kept in
            :attr:`handler_errors`.
        tls: Who signs the certificate, or a ready context; ``None`` is plain HTTP.
        port: 0 takes a free one.
        client_ca: Whose client certificates are demanded (only together with an ``Authority`` in ``tls``).
        idle_timeout_s: Close a kept-alive connection after this long without a request.
        handshake_timeout_s: How long a client may take for its TLS handshake.
        keep_requests: How many requests :attr:`requests` remembers.
        max_body_bytes: A longer request is refused with 413.
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
        self._wanted_port = port
        self.idle_timeout_s = idle_timeout_s
        self.handshake_timeout_s = handshake_timeout_s
        self.max_body_bytes = max_body_bytes
        self._lock = threading.Lock()
        self._requests: deque[RecordedRequest] = deque(maxlen=keep_requests)
        self._live: dict[int, _Connection] = {}
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
        """The port; known once the server has started."""
        if not self._port:
            raise RuntimeError("the server has not been started: use it as a context manager, or call start()")
        return self._port

    @property
    def url(self) -> str:
        """Scheme, address and port, without a slash at the end."""
        return f"{'https' if self._context is not None else 'http'}://{_HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """TCP connections accepted so far."""
        with self._lock:
            return self._accepted

    @property
    def open_connections(self) -> int:
        """TCP connections that are open now."""
        with self._lock:
            return len(self._live)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests read so far, oldest first."""
        with self._lock:
            return list(self._requests)

    @property
    def aborted(self) -> int:
        """How often a client left while its answer was still being written or held back."""
        with self._lock:
            return self._aborted

    @property
    def handshake_errors(self) -> list[str]:
        """Why TLS handshakes failed, one text for each."""
        with self._lock:
            return list(self._handshake_errors)

    # -- life

    def start(self) -> Server:
        """Begin to listen. Returns itself."""
        if self._listener is not None:
            raise RuntimeError("the server has been started already")
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((_HOST, self._wanted_port))
            listener.listen(512)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        self._port = int(listener.getsockname()[1])
        self._wake, woken = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept, args=(listener, woken), name=f"emulator-{self._port}", daemon=True
        )
        self._acceptor.start()
        return self

    def close(self) -> None:
        """Stop listening and end every connection, stalled answers included, within moments. Safe to call twice."""
        with self._lock:
            already, self.stopping = self.stopping, True
            live = list(self._live.values())
        if already or self._wake is None or self._acceptor is None:
            return
        self._wake.close()
        self._acceptor.join(5.0)
        with self._lock:
            live = list(self._live.values())
        for connection in live:
            connection.interrupt()
        limit = time.monotonic() + 5.0
        for connection in live:
            connection.closed.wait(max(0.0, limit - time.monotonic()))

    def drop_idle_connections(self) -> int:
        """Close the kept-alive connections that are between two requests; returns how many there were.

        On return the close has reached the client's side.
        """
        with self._lock:
            live = list(self._live.values())
        dropped = [connection for connection in live if connection.hang_up_if_idle()]
        limit = time.monotonic() + 2.0
        for connection in dropped:
            connection.closed.wait(max(0.0, limit - time.monotonic()))
        return len(dropped)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- for the threads

    def _accept(self, listener: socket.socket, woken: socket.socket) -> None:
        with listener, woken, _Selector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while not self.stopping:
                selector.select()
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    continue
                except OSError:
                    # The client was gone before it was accepted, or this process is out of descriptors.
                    time.sleep(0.01)
                    continue
                with self._lock:
                    self._accepted += 1
                    connection = _Connection(self, sock, self._accepted)
                    self._live[connection.number] = connection
                threading.Thread(
                    target=connection.serve,
                    args=(self._context,),
                    name=f"emulator-{self._port}-{connection.number}",
                    daemon=True,
                ).start()

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._live.pop(connection.number, None)

    def _record(self, request: RecordedRequest) -> None:
        with self._lock:
            self._requests.append(request)

    def _count_aborted(self) -> None:
        with self._lock:
            if not self.stopping:
                self._aborted += 1

    def _note_handshake_error(self, reason: BaseException) -> None:
        with self._lock:
            if not self.stopping:
                self._handshake_errors.append(f"{type(reason).__name__}: {reason}")


class _GoneError(Exception):
    """The client left, or the server is closing."""


class _EndError(Exception):
    """A step ended the connection on purpose."""


class _TooLargeError(Exception):
    """The request's body is longer than the server takes."""


class _Connection:
    """One accepted connection. All its methods run in its own thread, but for interrupt and hang_up_if_idle."""

    def __init__(self, server: Server, sock: socket.socket, number: int) -> None:
        self.number = number
        self.closed = threading.Event()
        self._server = server
        self._sock: socket.socket = sock
        self._tls: ssl.SSLSocket | None = None
        self._inbox = bytearray()
        self._idle = False
        self._hang_up = False
        self._client_certificate: str | None = None
        # Guards the descriptor: nobody may shut down a number that the system has given to somebody else.
        self._closing = threading.Lock()

    # -- from other threads

    def interrupt(self) -> None:
        """End every wait of this connection at once."""
        self._shut(socket.SHUT_RDWR)

    def hang_up_if_idle(self) -> bool:
        if not self._idle:
            return False
        self._hang_up = True
        # Only to end the poll: nobody reads after this, or TLS would complain to the client about the missing bytes.
        self._shut(socket.SHUT_RD)
        return True

    def _shut(self, how: int) -> None:
        with self._closing:
            if not self.closed.is_set():
                try:
                    # Not SSLSocket.shutdown: that would take the TLS state from under the thread that uses it.
                    socket.socket.shutdown(self._sock, how)
                except OSError:
                    return

    # -- the thread

    def serve(self, context: ssl.SSLContext | None) -> None:
        goodbye = False
        self._selector = _Selector()
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(self._sock, selectors.EVENT_READ)
            if context is not None:
                self._handshake(context)
            goodbye = self._converse()
        except (_GoneError, _EndError, OSError):
            goodbye = False
        finally:
            self._end(goodbye)

    def _converse(self) -> bool:
        """Answer one request after the other; True when the connection ends in good order."""
        while True:
            try:
                request, http11 = self._read_request()
            except h11.RemoteProtocolError as problem:
                return self._refuse(problem.error_status_hint, str(problem))
            except _TooLargeError:
                return self._refuse(413, "Payload too large")
            if request is None:
                return True
            self._server._record(request)
            answer = self._ask(request)
            try:
                alive = self._write(request, answer, http11)
            except _GoneError:
                self._server._count_aborted()
                raise
            finally:
                if answer.done is not None:
                    answer.done()
            if not alive:
                return True

    def _ask(self, request: RecordedRequest) -> Answer | RawAnswer:
        try:
            return self._server.handler(request)
        except Exception as problem:  # the test's own code: whatever it raises must be seen
            self._server.handler_errors.append(problem)
            traceback.print_exc(file=sys.stderr)
            return Answer(500, {"Content-Type": "text/plain"}, f"the handler raised {type(problem).__name__}")

    def _refuse(self, status: int, reason: str) -> bool:
        body = json.dumps({"status": status, "message": reason}).encode()
        self._send(
            _head(
                status,
                [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")],
            )
            + body
        )
        # The rest of the request may still be on its way; closing on unread bytes would reset the answer away.
        self._shut(socket.SHUT_WR)
        limit = time.monotonic() + 0.5
        while self._wait(selectors.EVENT_READ, limit - time.monotonic()) and self._pull():
            self._inbox.clear()
        return False

    # -- reading

    def _handshake(self, context: ssl.SSLContext) -> None:
        limit = time.monotonic() + self._server.handshake_timeout_s
        # wrap_socket detaches the plain socket: the descriptor lives on in the new one, under the same number.
        with self._closing, steps:
            self._tls = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            self._sock = self._tls
        self._selector.close()
        self._selector = _Selector()
        self._selector.register(self._sock, selectors.EVENT_READ)
        try:
            while True:
                try:
                    with steps:  # for tests that fork in the process of the emulator
                        self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    ready = self._wait(selectors.EVENT_READ, limit - time.monotonic())
                except ssl.SSLWantWriteError:
                    ready = self._wait(selectors.EVENT_WRITE, limit - time.monotonic())
                if not ready:
                    raise TimeoutError("the client did not finish the TLS handshake")
        except (OSError, _GoneError) as problem:
            self._server._note_handshake_error(problem)
            raise
        shown = self._tls.getpeercert()
        if shown:
            names: Any = shown.get("subject", ())
            self._client_certificate = next((v for part in names for k, v in part if k == "commonName"), "")

    def _read_request(self) -> tuple[RecordedRequest | None, bool]:
        """The next request and whether it spoke HTTP/1.1; None when the client (or patience) ended first."""
        # A parser for each request: h11 would want to write the answers as well, and these are not always HTTP.
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=256 * 1024)
        begun = bool(self._inbox)
        if begun:
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
                self._idle = not begun
                arrived = self._receive(None if begun else self._server.idle_timeout_s)
                self._idle = False
                if not arrived:
                    if begun:
                        raise _GoneError
                    return None, True
                begun = True
                parser.receive_data(bytes(self._inbox))
                self._inbox.clear()
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._server.max_body_bytes:
                    raise _TooLargeError
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise _GoneError
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
        """Wait for bytes into the inbox. False: the client finished, or the time is up."""
        limit = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._inbox:
            if not self._wait(selectors.EVENT_READ, None if limit is None else limit - time.monotonic()):
                return False
            if self._hang_up or not self._pull():
                return False
        return True

    def _pull(self) -> bool:
        """Take what is there into the inbox, without waiting. False when the client has finished."""
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
        """Wait until the socket is ready. False when the time is up; raises when the server closes."""
        if self._server.stopping:
            raise _GoneError
        if events == selectors.EVENT_READ and self._tls is not None and self._tls.pending():
            return True
        if timeout_s is not None and timeout_s < 0:
            timeout_s = 0
        if self._selector.get_key(self._sock).events != events:
            self._selector.modify(self._sock, events)
        ready = bool(self._selector.select(timeout_s))
        if self._server.stopping:
            raise _GoneError
        return ready

    def _look_for_the_client(self) -> None:
        """Raise if the client has left. Bytes of a next request that came early are kept."""
        if len(self._inbox) < 1024 * 1024 and self._wait(selectors.EVENT_READ, 0) and not self._pull():
            raise _GoneError

    def _pause(self, seconds: float | None) -> None:
        limit = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if limit is None else limit - time.monotonic()
            if left is not None and left <= 0:
                return
            if len(self._inbox) >= 1024 * 1024:
                # A client that keeps sending: stop reading, or its bytes would wake us without end.
                time.sleep(0.05 if left is None else min(left, 0.05))
                continue
            if self._wait(selectors.EVENT_READ, left) and not self._pull():
                raise _GoneError

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
                raise _GoneError from None

    def _step(self, step: Step) -> None:
        if isinstance(step, Pause):
            self._pause(step.seconds)
        elif isinstance(step, Reset):
            # A reset overtakes what the client has not read yet; what was sent before it shall have been seen.
            self._pause(_BEFORE_RESET_S)
            # With a linger of zero the close that follows becomes a reset.
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _EndError
        elif isinstance(step, Cut):
            if step.close_notify:
                self._say_goodbye()
            raise _EndError
        else:
            self._look_for_the_client()
            self._send(step)

    def _write(self, request: RecordedRequest, answer: Answer | RawAnswer, http11: bool) -> bool:
        """Send the answer; True when the connection may carry another request."""
        if isinstance(answer, RawAnswer):
            try:
                for step in answer.steps:
                    self._step(step)
            finally:
                _close_iterator(answer.steps)
            return False
        if answer.before_s is None or answer.before_s > 0:
            self._pause(answer.before_s)
        body = answer.body.encode("utf-8") if isinstance(answer.body, str) else answer.body
        steps: Iterable[Step] = (body,) if isinstance(body, bytes) else body
        packer = zlib.compressobj(wbits=31) if answer.gzip else None
        framing = answer.framing or ("length" if isinstance(body, bytes) else "chunked")
        if framing == "chunked" and not http11:
            framing = "close"
        try:
            return self._write_framed(request, answer, steps, framing, packer, http11)
        finally:
            _close_iterator(body)

    def _write_framed(
        self,
        request: RecordedRequest,
        answer: Answer,
        steps: Iterable[Step],
        framing: Framing,
        packer: zlib._Compress | None,
        http11: bool,
    ) -> bool:
        if packer is not None:
            steps = _compressed(steps, packer)
        if framing == "length":
            steps = list(steps)
        headers = list(answer.headers.items() if isinstance(answer.headers, Mapping) else answer.headers)
        given = {name.lower(): value for name, value in headers}
        bare = answer.status < 200 or answer.status in (204, 304)
        asked_to_close = "close" in request.headers.get("connection", "").lower()
        alive = answer.keep_alive and http11 and not asked_to_close and framing != "close"
        alive = alive and given.get("connection", "").lower() != "close"
        if packer is not None:
            headers.append(("Content-Encoding", "gzip"))
        if framing == "length" and not bare and "content-length" not in given:
            headers.append(("Content-Length", str(sum(len(step) for step in steps if isinstance(step, bytes)))))
        if framing == "chunked" and not bare:
            headers.append(("Transfer-Encoding", "chunked"))
        if not alive and "connection" not in given:
            headers.append(("Connection", "close"))
        head = _head(answer.status, headers)
        if bare or request.method == "HEAD":
            self._finish(answer, alive, self._drip(answer, head))
            return alive
        if isinstance(answer.body, (bytes, str)) and framing == "length" and not answer.write_size:
            # The usual case in one write: head and body leave in the same TLS record.
            self._look_for_the_client()
            self._finish(answer, alive, self._drip(answer, head) + b"".join(s for s in steps if isinstance(s, bytes)))
            return alive
        self._send(self._drip(answer, head))
        for step in steps:
            if not isinstance(step, bytes):
                self._step(step)
            elif answer.write_size:
                self._look_for_the_client()
                for start in range(0, len(step), answer.write_size):
                    piece = _framed(step[start : start + answer.write_size], framing)
                    for offset in range(0, len(piece), answer.write_size):
                        self._send(piece[offset : offset + answer.write_size])
                    if answer.write_pause_s:
                        self._pause(answer.write_pause_s)
            elif step:
                self._look_for_the_client()
                self._send(_framed(step, framing))
        try:
            self._finish(answer, alive, b"0\r\n\r\n" if framing == "chunked" else b"")
        except _GoneError:
            # The content was complete; a client that leaves at the end marker has aborted nothing.
            raise _EndError from None
        return alive

    def _drip(self, answer: Answer, head: bytes) -> bytes:
        """Send the head slowly if so asked; returns what of it is still to be sent."""
        if not answer.header_pause_s:
            return head
        for offset in range(len(head) - 1):
            self._send(head[offset : offset + 1])
            self._pause(answer.header_pause_s)
        return head[-1:]

    def _finish(self, answer: Answer, alive: bool, last: bytes) -> None:
        # Before the last bytes: whoever has read them must find the slot free and the connection idle.
        if answer.done is not None:
            answer.done()
        self._idle = alive
        self._send(last)

    # -- the end

    def _say_goodbye(self) -> None:
        if self._tls is not None:
            try:
                self._tls.unwrap()
            except (OSError, ValueError):
                # Sent; the client's own goodbye has not come yet, and nobody waits for it.
                return

    def _end(self, goodbye: bool) -> None:
        try:
            if goodbye and not self._server.stopping:
                if not self._hang_up:
                    self._pull()
                self._say_goodbye()
        finally:
            self._selector.close()
            with self._closing:
                self._idle = False
                # The base class's close: SSLSocket adds nothing to it, and a TLS goodbye is our decision alone.
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


def _compressed(steps: Iterable[Step], packer: zlib._Compress) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, bytes):
            yield packer.compress(step) + packer.flush(zlib.Z_SYNC_FLUSH)
        else:
            yield step
    yield packer.flush()


def _close_iterator(steps: object) -> None:
    close = getattr(steps, "close", None)
    if callable(close):
        close()
