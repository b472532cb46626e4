"""TLS handshakes in short steps that a fork can wait for.

``ssl`` makes a handshake in one call, which takes OpenSSL's locks between waits for the network. After a fork at such a
moment the child cannot make a handshake: see :mod:`gigaclient._primitives.fork_safety`.

The sockets of connections are made here too: they are closed when nothing refers to them any more.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

from gigaclient._primitives.fork_safety import steps
from gigaclient.errors import ConfigError
from gigaclient.transport.readiness import Selector

__all__ = ["Context", "Socket", "in_steps"]

T = TypeVar("T")


class _ClosedWhenDropped:
    """Closes a socket with its last reference, in silence; Python would issue a ``ResourceWarning``.

    A stream that the program drops inside a reference cycle, and an interrupted call, close their connection so.
    """

    # Not a function in Python: a signal handler may raise at the first step of one, before it closes anything.
    __del__ = socket.SocketType.close


class Socket(_ClosedWhenDropped, socket.socket):
    """A socket that is closed when it is dropped."""


class _TLSSocket(_ClosedWhenDropped, ssl.SSLSocket):
    """A TLS socket that is closed when it is dropped."""


class Context(ssl.SSLContext):
    """An ``ssl.SSLContext`` whose sockets make their handshake in steps, within the same timeout.

    Raises:
        ConfigError: the settings of OpenSSL on this machine allow no TLS.
    """

    sslsocket_class = _TLSSocket

    def __new__(cls, protocol: int, *arguments: Any, **options: Any) -> Context:
        """Make a context; raise our own error when OpenSSL cannot."""
        try:
            return super().__new__(cls, protocol, *arguments, **options)
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).replace("_", " ").lower()
        raise ConfigError(
            f"OpenSSL cannot set up TLS on this machine ({reason}): correct its configuration file, which the variable "
            "OPENSSL_CONF may name. If that file demands FIPS (fips=yes), it must also load OpenSSL's FIPS provider"
        )

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """Wrap ``sock``, and make the handshake in steps."""
        try:
            with steps:
                wrapped = super().wrap_socket(sock, server_side, False, suppress_ragged_eofs, server_hostname, session)
        except BaseException as error:
            _leave_to_one_owner(sock, error)
            raise
        if not do_handshake_on_connect:
            return wrapped
        try:
            in_steps(wrapped, wrapped.do_handshake)
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def _leave_to_one_owner(sock: socket.socket, error: BaseException) -> None:
    """Detach the descriptor of ``sock`` from a TLS socket that ``error`` has left unfinished.

    ``ssl`` gives the descriptor to the TLS socket first and detaches the plain socket afterwards. After an interrupt
    between the two both would close it. The second time, its number may belong to another part of the process.
    """
    number, trace = sock.fileno(), error.__traceback__
    while trace is not None and number >= 0:
        for value in list(trace.tb_frame.f_locals.values()):
            if value is not sock and isinstance(value, socket.socket) and value.fileno() == number:
                value.detach()
        trace = trace.tb_next


def in_steps(wrapped: ssl.SSLSocket, operation: Callable[..., T], *arguments: Any) -> T:
    """Call ``operation``, a method of ``wrapped``, in steps; wait for the network outside of the steps.

    Raises:
        TimeoutError: the timeout of the socket passed, for the whole operation. After any error the connection cannot
            be used again.
    """
    timeout = wrapped.gettimeout()
    ends_at = None if timeout is None else time.monotonic() + timeout
    wrapped.settimeout(0.0)
    while True:
        try:
            with steps:
                result = operation(*arguments)
        except ssl.SSLWantReadError:
            awaited = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            awaited = selectors.EVENT_WRITE
        else:
            wrapped.settimeout(timeout)
            return result
        with Selector() as selector:
            selector.register(wrapped, awaited)
            if not selector.select(None if ends_at is None else ends_at - time.monotonic()):
                raise TimeoutError(f"{operation.__name__} timed out")
