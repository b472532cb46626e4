"""The socket of one connection to the fault server: non-blocking, with TLS, and with waits that end at once.

Sockets are non-blocking and every wait is a poll. A wait therefore ends at once when the awaited event happens, when
the server closes, and when the client disconnects.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from gigaclient._primitives.fork_safety import steps

__all__ = ["ClientGoneError", "ClientSocket", "ConnectionEndedError", "Selector"]

_READ_BYTES = 65536
_MAX_INBOX_BYTES = 1024 * 1024
# Not selectors.DefaultSelector: epoll needs a second descriptor for each connection.
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class ClientGoneError(Exception):
    """The client has disconnected, or the server is closing."""


class ConnectionEndedError(Exception):
    """A step ended the connection on purpose."""


class ClientSocket:
    """The accepted socket of one client. Only shutdown and close_if_idle may be called from other threads.

    Args:
        sock: The accepted socket.
        is_stopping: Returns True when the server is closing.

    Attributes:
        inbox: The bytes that were read and not used yet.
        idle: True between two requests.
        close_requested: True after close_if_idle has ended the connection.
        is_silent: True when no further request is answered.
        client_finished: True when the client will send nothing more.
        closed: Set when the socket is closed.
        client_certificate: The subject's common name of the client's certificate, if it sent one.
    """

    def __init__(self, sock: socket.socket, is_stopping: Callable[[], bool]) -> None:
        self.inbox = bytearray()
        self.idle = False
        self.close_requested = False
        self.is_silent = False
        self.client_finished = False
        self.closed = threading.Event()
        self.client_certificate: str | None = None
        self._sock: socket.socket = sock
        self._tls: ssl.SSLSocket | None = None
        self._is_stopping = is_stopping
        self._selector = Selector()
        # Guards the descriptor: after the close, the system may reuse its number for another socket, which must not be
        # shut down.
        self._descriptor_lock = threading.Lock()

    # -- called from other threads

    def close_if_idle(self) -> bool:
        """Close the connection if it is between two requests; return True if it was."""
        if not self.idle:
            return False
        self.close_requested = True
        # This only ends the poll. The thread must not read after it: TLS would send the client an alert about the
        # missing bytes.
        self.shutdown(socket.SHUT_RD)
        return True

    def shutdown(self, how: int) -> None:
        """Shut the socket down, unless it is closed already. This ends its current wait."""
        with self._descriptor_lock:
            if not self.closed.is_set():
                try:
                    # Not SSLSocket.shutdown: it would drop the TLS state while the connection's thread uses it.
                    socket.socket.shutdown(self._sock, how)
                except OSError:
                    return

    # -- called in the thread of the connection

    def prepare(self) -> None:
        """Make the socket non-blocking."""
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self._sock, selectors.EVENT_READ)

    def handshake(self, context: ssl.SSLContext, timeout_s: float) -> None:
        """Do the TLS handshake; raise ``OSError`` when it fails or takes too long."""
        deadline = time.monotonic() + timeout_s
        # wrap_socket moves the descriptor from the plain socket to the new one.
        with self._descriptor_lock, steps:
            self._tls = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            self._sock = self._tls
        self._selector.close()
        self._selector = Selector()
        self._selector.register(self._sock, selectors.EVENT_READ)
        while True:
            try:
                with steps:  # tests may fork in the process of the emulator
                    self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                ready = self.wait(selectors.EVENT_READ, deadline - time.monotonic())
            except ssl.SSLWantWriteError:
                ready = self.wait(selectors.EVENT_WRITE, deadline - time.monotonic())
            if not ready:
                raise TimeoutError("the client did not finish the TLS handshake")
        certificate = self._tls.getpeercert()
        if certificate:
            names: Any = certificate.get("subject", ())
            self.client_certificate = next((v for part in names for k, v in part if k == "commonName"), "")

    def receive(self, timeout_s: float | None) -> bool:
        """Wait for bytes in the inbox; return False when the client has finished or the timeout expired."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.inbox:
            if not self.wait(selectors.EVENT_READ, None if deadline is None else deadline - time.monotonic()):
                return False
            if self.close_requested or not self.read_available():
                return False
        return True

    def read_available(self) -> bool:
        """Read the available bytes into the inbox without waiting; return False when the client has finished."""
        try:
            while True:
                data = self._sock.recv(_READ_BYTES)
                if not data:
                    self.client_finished = True
                    return False
                self.inbox += data
                if self._tls is None or not self._tls.pending():
                    return True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return True
        except OSError:
            return False

    def wait(self, events: int, timeout_s: float | None) -> bool:
        """Wait until the socket is ready; return False on a timeout, and raise when the server closes."""
        if self._is_stopping():
            raise ClientGoneError
        if events == selectors.EVENT_READ and self._tls is not None and self._tls.pending():
            return True
        if timeout_s is not None and timeout_s < 0:
            timeout_s = 0
        if self._selector.get_key(self._sock).events != events:
            self._selector.modify(self._sock, events)
        ready = bool(self._selector.select(timeout_s))
        if self._is_stopping():
            raise ClientGoneError
        return ready

    def check_client(self) -> None:
        """Raise if the client has disconnected. Keep early bytes of its next request."""
        if len(self.inbox) < _MAX_INBOX_BYTES and self.wait(selectors.EVENT_READ, 0) and not self.read_available():
            raise ClientGoneError

    def pause(self, seconds: float | None) -> None:
        """Send nothing for ``seconds``, or for ever; raise if the client disconnects."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if len(self.inbox) >= _MAX_INBOX_BYTES:
                # The client keeps sending. Stop polling, or its bytes would end each poll at once.
                time.sleep(0.05 if left is None else min(left, 0.05))
                continue
            if self.wait(selectors.EVENT_READ, left) and not self.read_available():
                raise ClientGoneError

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except (ssl.SSLWantWriteError, BlockingIOError):
                self.wait(selectors.EVENT_WRITE, None)
            except ssl.SSLWantReadError:
                self.wait(selectors.EVENT_READ, None)
            except OSError:
                raise ClientGoneError from None

    def reset_on_close(self) -> None:
        """Make the close send a TCP reset, through a linger time of zero."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def send_close_notify(self) -> None:
        """Send TLS's close_notify, without waiting for the client's."""
        if self._tls is not None:
            try:
                self._tls.unwrap()
            except (OSError, ValueError):
                return  # it has been sent; the error is about the client's

    def close(self, send_close_notify: bool) -> None:
        """Close the socket; ``send_close_notify`` ends TLS regularly."""
        try:
            if send_close_notify and not self._is_stopping():
                if not self.close_requested:
                    self.read_available()
                self.send_close_notify()
        finally:
            self._selector.close()
            with self._descriptor_lock:
                self.idle = False
                # SSLSocket.close sends no close_notify: only the code above decides about that.
                self._sock.close()
                self.closed.set()
