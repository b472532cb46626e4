"""An HTTP/1.1 server on 127.0.0.1 that controls every byte of its responses, for tests of faulty servers.

Each connection has a thread. h11 parses the requests. Responses are written without a library, because libraries send
no invalid ones: half a header, a chunk without its end, a reset.
"""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from gigaclient.testing.authority import Authority
from gigaclient.testing.client_socket import ClientGoneError, ClientSocket, ConnectionEndedError, Selector
from gigaclient.testing.http_messages import (
    Answer,
    Cut,
    Handler,
    HeaderList,
    Pause,
    RawAnswer,
    RecordedRequest,
    Reset,
    Step,
    interim,
)
from gigaclient.testing.request_reader import RefusedRequestError, RequestReader
from gigaclient.testing.response_writer import error_response, write

__all__ = ["Answer", "Cut", "HeaderList", "Pause", "RawAnswer", "RecordedRequest", "Reset", "Server", "Step", "interim"]

_HOST = "127.0.0.1"
_LINGER_S = 2.0


class Server:
    """Serves ``handler`` on 127.0.0.1 until closed. A context manager; also has :meth:`start` and :meth:`close`.

    Args:
        handler: Called in the connection's thread with each request. It must not block; use a :class:`Pause`, which
            can be interrupted. If it raises, the client gets a 500 and :attr:`handler_errors` the error.
        tls: The authority that signs the certificate, or a TLS context; ``None`` is plain HTTP.
        port: The port; 0 is a free one.
        client_ca: The authority of required client certificates (only with an ``Authority`` in ``tls``).
        on_head: Called with each request before its body is read, so the request has none. An answer is sent at once,
            and the connection ends; None reads the body and calls ``handler``.
        idle_timeout_s: Close a kept-alive connection after this many seconds without a request.
        idle_response: Raw bytes to send on an idle connection before it is closed, by ``idle_timeout_s`` or
            :meth:`drop_idle_connections`. Some servers send a 408.
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
        on_head: Callable[[RecordedRequest], Answer | RawAnswer | None] | None = None,
        idle_timeout_s: float | None = None,
        idle_response: bytes = b"",
        handshake_timeout_s: float = 10.0,
        keep_requests: int = 100_000,
        max_body_bytes: int = 96 * 1024 * 1024,
    ) -> None:
        if client_ca is not None and not isinstance(tls, Authority):
            raise ValueError("client_ca needs tls to be an Authority")
        self.handler = handler
        self._context = tls.server_context(client_ca=client_ca) if isinstance(tls, Authority) else tls
        self._requested_port = port
        self.on_head = on_head
        self.idle_timeout_s = idle_timeout_s
        self.idle_response = idle_response
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

    def silence_idle_connections(self) -> int:
        """Never answer again on the kept-alive connections that are idle, and return their number.

        They stay open, as a connection does whose peer has lost its address. New connections are answered.
        """
        with self._lock:
            return sum(connection.silence_if_idle() for connection in self._open.values())

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- called in the threads

    def _accept(self, listener: socket.socket, wake_receiver: socket.socket) -> None:
        with listener, wake_receiver, Selector() as selector:
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


class _Connection:
    """One accepted connection. All methods except interrupt and close_if_idle run in its thread."""

    def __init__(self, server: Server, sock: socket.socket, number: int) -> None:
        self.number = number
        self._server = server
        self._sock = ClientSocket(sock, lambda: server.stopping)
        self.closed = self._sock.closed

    # -- called from other threads

    def interrupt(self) -> None:
        """End the current wait of this connection at once."""
        self._sock.shutdown(socket.SHUT_RDWR)

    def close_if_idle(self) -> bool:
        """Close the connection if it is between two requests; return True if it was."""
        return self._sock.close_if_idle()

    def silence_if_idle(self) -> bool:
        """Answer no further request if the connection is between two requests; return True if it is."""
        self._sock.is_silent = self._sock.is_silent or self._sock.idle
        return self._sock.idle

    # -- the thread

    def serve(self, context: ssl.SSLContext | None) -> None:
        """Serve the connection to its end."""
        send_close_notify = False
        try:
            self._sock.prepare()
            if context is not None:
                self._handshake(context)
            send_close_notify = self._serve_requests()
        except (ClientGoneError, ConnectionEndedError, OSError):
            send_close_notify = False
        finally:
            try:
                self._sock.close(send_close_notify)
            finally:
                self._server._forget(self)

    def _handshake(self, context: ssl.SSLContext) -> None:
        try:
            self._sock.handshake(context, self._server.handshake_timeout_s)
        except (OSError, ClientGoneError) as error:
            self._server._record_handshake_error(error)
            raise

    def _serve_requests(self) -> bool:
        """Answer the requests of the connection; return True when it ends regularly."""
        reader = RequestReader(self._sock, self.number, self._server)
        while True:
            try:
                request = reader.next()
            except RefusedRequestError as error:
                return self._refuse(error.status, error.reason)
            if request is None:
                self._send_idle_response()
                return True
            self._server._record(request)
            early = reader.early_answer
            if early is not None:
                if isinstance(early, Answer):
                    early = replace(early, keep_alive=False)
                self._write(request, early, http11=reader.http11)
                return self._linger()
            if not self._write(request, self._call_handler(request), http11=reader.http11):
                return True

    def _send_idle_response(self) -> None:
        """Send ``idle_response`` unless the client itself has ended the connection."""
        if self._server.idle_response and not self._sock.client_finished:
            self._sock.send(self._server.idle_response)

    def _write(self, request: RecordedRequest, answer: Answer | RawAnswer, *, http11: bool) -> bool:
        """Send the answer; return True when the connection can serve another request."""
        try:
            return write(self._sock, request, answer, http11=http11)
        except ClientGoneError:
            self._server._count_aborted()
            raise
        finally:
            if answer.done is not None:
                answer.done()

    def _call_handler(self, request: RecordedRequest) -> Answer | RawAnswer:
        try:
            return self._server.handler(request)
        except Exception as error:  # the handler is the user's code, and its errors must be visible
            self._server.handler_errors.append(error)
            traceback.print_exc(file=sys.stderr)
            return Answer(500, {"Content-Type": "text/plain"}, f"the handler raised {type(error).__name__}")

    def _refuse(self, status: int, reason: str) -> bool:
        body = json.dumps({"status": status, "message": reason}).encode()
        self._sock.send(error_response(status, body))
        return self._linger()

    def _linger(self) -> bool:
        """Read what the client still sends. A close with unread bytes would reset the connection."""
        self._sock.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER_S
        while self._sock.wait(selectors.EVENT_READ, deadline - time.monotonic()) and self._sock.read_available():
            self._sock.inbox.clear()
        return False
