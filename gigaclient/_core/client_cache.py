"""Clients that calls without a client of their own share: same settings, same client, so one token and one pool."""

from __future__ import annotations

import hashlib
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from gigaclient._primitives import fork_safety as forks

__all__ = ["ClientCache"]

_MOST = 32

ClientT = TypeVar("ClientT")


class ClientCache(Generic[ClientT]):
    """The clients made so far, by their settings; the one unused for longest is dropped when there are many."""

    def __init__(self) -> None:
        # Guards the clients. Held while one is made, so that a burst of first calls makes one and not many.
        self._lock = threading.Lock()
        self._clients: OrderedDict[str, ClientT] = OrderedDict()
        forks.register(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    def get(self, settings: Mapping[str, Any], make: Callable[[], ClientT]) -> ClientT:
        """The client for ``settings``, made now if there is none yet. Settings are kept as a hash."""
        key = _key(settings)
        with self._lock:
            client = self._clients.get(key)
            if client is None or getattr(client, "closed", False):
                client = self._clients[key] = make()
            self._clients.move_to_end(key)
            while len(self._clients) > _MOST:
                self._clients.popitem(last=False)
            return client


def _key(settings: Mapping[str, Any]) -> str:
    # In a function of its own: what it holds must not be in the frames of a client that cannot be made.
    # Objects (a session, a context) are told apart by identity; the client that holds them keeps them alive.
    parts = [(name, str.__str__(value) if isinstance(value, str) else (value,)) for name, value in settings.items()]
    return hashlib.sha256(repr(sorted(parts, key=operator.itemgetter(0))).encode("utf-8", "surrogatepass")).hexdigest()
