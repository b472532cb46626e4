"""The common part of both emulators: servers, certificate authority, faults, scripted answers, and observations."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from gigaclient.testing.authority import Authority
from gigaclient.testing.fault_server import Server
from gigaclient.testing.faults import Fault, FaultQueue
from gigaclient.testing.http_messages import RecordedRequest
from gigaclient.testing.scripts import ScriptQueue

__all__ = ["Emulator", "LimitReached"]

E = TypeVar("E", bound="Emulator")


class LimitReached(Exception):
    """A client has as many open answers as it may have."""


class Emulator(ABC):
    """An emulated service on 127.0.0.1. A context manager; also has :meth:`start` and :meth:`close`.

    Args:
        authority: The certificate authority to use instead of a new one. It is not closed.

    Attributes:
        authority: The certificate authority.
    """

    _ENVIRONMENT_PREFIX: ClassVar[str]

    def __init__(self, authority: Authority | None) -> None:
        self.authority = authority if authority is not None else Authority()
        self._owns_authority = authority is None
        self._lock = threading.Lock()
        self._faults = FaultQueue()
        self._scripts = ScriptQueue()
        self._open_answers: Counter[str] = Counter()
        self._open_streams = 0

    @property
    @abstractmethod
    def _servers(self) -> tuple[Server, ...]:
        """The servers; the first one is that of the API."""

    # -- start and close

    def start(self: E) -> E:
        """Start to serve, and return the emulator."""
        try:
            for server in self._servers:
                server.start()
        except BaseException:
            for server in self._servers:
                server.close()
            raise
        return self

    def close(self) -> None:
        """Stop at once, stalled responses included. Safe to call twice."""
        for server in self._servers:
            server.close()
        if self._owns_authority:
            self.authority.close()

    def __enter__(self: E) -> E:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- addresses

    @property
    def ca_file(self) -> str:
        """The path of the PEM file with the certificate to trust."""
        return self.authority.ca_file

    @property
    @abstractmethod
    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for a client of this emulator."""

    @property
    def environment(self) -> dict[str, str]:
        """:attr:`client_options` as environment variables."""
        return {f"{self._ENVIRONMENT_PREFIX}{name.upper()}": str(value) for name, value in self.client_options.items()}

    # -- observations

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests to the API, oldest first."""
        return self._servers[0].requests

    @property
    def connections(self) -> int:
        """The number of TCP connections that the API has accepted."""
        return self._servers[0].connections

    @property
    def aborted(self) -> int:
        """The number of API responses whose client disconnected before their end."""
        return self._servers[0].aborted

    @property
    def open_streams(self) -> int:
        """The number of streams that are being sent now."""
        with self._lock:
            return self._open_streams

    def wait_until_idle(self, seconds: float = 10.0) -> None:
        """Wait until all streams have ended, for example after a client closed one early.

        Raises:
            TimeoutError: a stream was still open after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while count := self.open_streams:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{count} streams are still open after {seconds:g} s")
            time.sleep(0.01)

    def _open_answer(self, client: str, *, stream: bool, limit: int | None = None) -> Callable[[], None]:
        """Count an open answer of ``client``. The returned function ends it, once.

        Raises:
            LimitReached: ``limit`` answers are open.
        """
        with self._lock:
            if limit is not None and self._open_answers[client] >= limit:
                raise LimitReached
            self._open_answers[client] += 1
            self._open_streams += stream
        released = False

        def release() -> None:
            nonlocal released
            with self._lock:
                if not released:
                    released = True
                    self._open_answers[client] -= 1
                    self._open_streams -= stream

        return release

    # -- faults and scripts

    def inject(self, fault: Fault, *, times: int | None = 1, path: str | None = None) -> None:
        """Apply ``fault`` to the next ``times`` requests whose path ends in ``path``, in the order of injection.

        Without a path, only API requests with a valid token get the fault (FakeGpt: only conversations). Other
        endpoints need a path: ``/oauth`` and ``/token``, or ``/api/loads``, ``/auth/login`` and
        ``/api/auth/session``. ``times=None`` applies to every request until :meth:`clear`.
        """
        self._faults.inject(fault, times=times, path=path)

    def clear(self) -> None:
        """Remove all pending faults and scripted answers."""
        self._faults.clear()
        self._scripts.clear()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
