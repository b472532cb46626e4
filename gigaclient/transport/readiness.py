"""Wait until a socket is ready, and end such a wait in another thread.

``poll()`` is used where the system has it, because ``select()`` is limited to small descriptor numbers.
"""

from __future__ import annotations

import select
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any

from gigaclient._primitives.foreign_errors import is_foreign

__all__ = ["READABLE", "WRITABLE", "Selector", "poller", "shut_down", "socket_timeout"]

# A selector is created for each wait, so poll() is better than epoll(), which needs a descriptor.
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)

if hasattr(select, "poll"):
    READABLE, WRITABLE = select.POLLIN, select.POLLOUT

    def poller(sock: socket.socket, event: int) -> Callable[[int | None], Any]:
        """Return a function that waits until ``sock`` is ready or broken; it returns a false value when time is up."""
        poll = select.poll()
        poll.register(sock, event)
        return poll.poll

else:  # Windows
    READABLE, WRITABLE = selectors.EVENT_READ, selectors.EVENT_WRITE

    def poller(sock: socket.socket, event: int) -> Callable[[int | None], Any]:
        """Return a function that waits until ``sock`` is ready or broken; it returns a false value when time is up."""

        def poll(milliseconds: int | None) -> Any:
            with selectors.SelectSelector() as selector:
                selector.register(sock, event)
                return selector.select(None if milliseconds is None else milliseconds / 1e3)

        return poll


def socket_timeout(seconds: float) -> float | None:
    """Return ``seconds`` as an argument for ``settimeout``: None when they exceed the limit of the system."""
    return seconds if seconds < threading.TIMEOUT_MAX else None


def shut_down(sock: Any) -> None:
    """Shut the TCP connection of ``sock`` down in both directions, which wakes a thread blocked on it."""
    if not isinstance(sock, socket.SocketType):
        sock = sock.socket  # urllib3's TLS inside TLS (an HTTPS proxy)
    try:
        socket.SocketType.shutdown(sock, socket.SHUT_RDWR)
    except OSError as error:
        if is_foreign(error):
            raise
        # It is no longer connected, so no thread can be blocked on it.
