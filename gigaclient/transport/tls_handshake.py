"""TLS handshakes in steps short enough for a fork to wait for.

``ssl`` makes a handshake in one call, and that call takes OpenSSL's locks between waits for the network. A process that
is forked at such a moment has a child that cannot make a handshake of its own: see
:mod:`gigaclient._primitives.fork_safety`.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

from gigaclient._primitives.fork_safety import steps

__all__ = ["Context", "in_steps"]

T = TypeVar("T")

# A new one for each wait, so what costs no descriptor is better than what scales; select() has no room for large ones.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Context(ssl.SSLContext):
    """An ``ssl.SSLContext`` whose connections make their handshake in steps, within the same time limit."""

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        with steps:
            wrapped = super().wrap_socket(sock, server_side, False, suppress_ragged_eofs, server_hostname, session)
        if not do_handshake_on_connect:
            return wrapped
        try:
            in_steps(wrapped, wrapped.do_handshake)
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def in_steps(wrapped: ssl.SSLSocket, operation: Callable[..., T], *arguments: Any) -> T:
    """What ``operation`` of ``wrapped`` returns, called in steps: the waits for the network are made outside of it.

    Raises:
        TimeoutError: the socket's time limit, for the whole operation. As after any other error, the connection is of
            no more use then.
    """
    limit = wrapped.gettimeout()
    ends = None if limit is None else time.monotonic() + limit
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
            wrapped.settimeout(limit)
            return result
        with _Selector() as selector:
            selector.register(wrapped, awaited)
            if not selector.select(None if ends is None else ends - time.monotonic()):
                raise TimeoutError(f"{operation.__name__} timed out")
