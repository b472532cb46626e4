"""Clients shared by one-line calls: the same settings give the same client, so one token and one connection pool."""

from __future__ import annotations

import hashlib
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from gigaclient._primitives import fork_safety

__all__ = ["ClientCache"]

_MAX_CLIENTS = 32

ClientT = TypeVar("ClientT")


class ClientCache(Generic[ClientT]):
    """Clients by their settings; the least recently used one is dropped when there are more than 32."""

    def __init__(self) -> None:
        # Guards the clients. Held while one is made, so that a burst of first calls makes only one.
        self._lock = threading.RLock()
        self._clients: OrderedDict[str, ClientT] = OrderedDict()
        fork_safety.register(self)

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread of the parent may hold."""
        self._lock = threading.RLock()

    def get(self, settings: Mapping[str, Any], make: Callable[[], ClientT]) -> ClientT:
        """Return the client for ``settings``, made now if there is none yet. Settings are stored as a hash."""
        key = _key(settings)
        fork_safety.check_process()
        with self._lock:
            client = self._clients.get(key)
            if client is None or getattr(client, "closed", False):
                client = self._clients[key] = make()
            self._clients.move_to_end(key)
            while len(self._clients) > _MAX_CLIENTS:
                self._clients.popitem(last=False)
            return client


def _key(settings: Mapping[str, Any]) -> str:
    # A separate function, so that these secrets are not in the frames of the traceback when make() fails.
    # Objects (a session, a context) are compared by identity; the client keeps them alive.
    parts = [(name, str.__str__(value) if isinstance(value, str) else (value,)) for name, value in settings.items()]
    return hashlib.sha256(repr(sorted(parts, key=operator.itemgetter(0))).encode("utf-8", "surrogatepass")).hexdigest()
