"""One credential, kept fresh, shared by every thread of a client and fetched once however many ask.

Near its end a credential is renewed *beside* the callers, by one thread that lives for that one renewal: nobody waits
for it, not even while the token endpoint hangs. Only a missing, expired or refused credential makes callers wait, each
within its own patience.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from gigaclient._primitives import fork_safety as forks
from gigaclient._primitives.deadline import Deadline, Latch, Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import APITimeoutError, GigaClientError

__all__ = ["MARGIN_SECONDS", "Credential", "TokenManager"]

MARGIN_SECONDS = 60.0
_PAUSE_AFTER_FAILED_RENEWAL = 5.0
# A Ctrl-C can hit a thread while it wakes the others. Whoever was forgotten looks for itself after so many seconds.
_LOOK_AGAIN_SECONDS = 1.0

_log = logging.getLogger("gigaclient")


class Credential(FrozenStruct, frozen=True, eq=False):
    """What a server lent us, in one piece: no thread can see the token of one login with the expiry of another.

    Attributes:
        value: the access token.
        cookies: the value of the ``Cookie`` header that belongs to it, where a login works by cookie.
        good_until: the moment, on the monotonic clock, at which it expires; ``math.inf`` when that is not known, and
            then it is used until it is refused.
        margin: seconds before that moment at which a successor is fetched.
        expires_at_ms: the expiry as the server sent it, in Unix milliseconds; 0 when it is not known.
        borrowed: it comes from a cache that other processes fill, so it may have been refused already unnoticed.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"cookies", "value"})

    value: Secret
    cookies: Secret | None = None
    expires_at: float = math.inf
    margin: float = MARGIN_SECONDS
    expires_at_ms: int = 0
    from_store: bool = False

    @staticmethod
    def margin_for(life: float) -> float:
        """Seconds before the end at which to renew a credential that lives ``life`` seconds in all.

        One that lives no longer than the margin is used for its life all the same.
        """
        return MARGIN_SECONDS if life > MARGIN_SECONDS else life / 4


class _InFlight:
    """One fetch, and whoever waits for it."""

    def __init__(self, read_timeout: float) -> None:
        self.read_timeout = read_timeout
        self.waiters: list[Latch] = []
        self.credential: Credential | None = None
        self.error: GigaClientError | None = None
        """Why there is no credential, where that concerns the waiters too."""
        self.landed = False


class TokenManager:
    """Keeps one :class:`Credential`.

    Args:
        source: fetches a new one within the patience it is given; None when the first one cannot be replaced.
        timeouts: the patience of a renewal beside the callers.
        initial: a credential that is there already.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        source: Callable[[Deadline], Credential] | None,
        *,
        timeouts: Timeouts,
        initial: Credential | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._timeouts = timeouts
        self._clock = clock
        # Guards what follows. Never held while the source runs, and never taken by a thread whose credential is good.
        self._lock = threading.Lock()
        self._credential = initial
        self._flight: _InFlight | None = None
        self._no_renewal_before = -math.inf
        self._fetched = 0
        forks.register(self)

    def after_fork_in_child(self) -> None:
        """A new lock, and no fetch under way: the thread that ran it is the parent's. The credential stays."""
        self._lock = threading.Lock()
        self._flight = None

    @property
    def fetched(self) -> int:
        """Credentials fetched so far."""
        return self._fetched

    @property
    def renewable(self) -> bool:
        """Whether a refused credential can be replaced."""
        return self._source is not None

    def get(self, deadline: Deadline) -> Credential | None:
        """A credential to use now; None when there is none and no way to get one.

        Raises:
            GigaClientError: fetching it failed, or somebody else is fetching it and this call's timeouts are over.
            patience.DeadlineExceeded, patience.Cancelled: the same, and the call cannot wait any longer at all.
        """
        credential = self._credential  # one read: the token and its expiry belong together
        if credential is not None:
            left = credential.expires_at - self._clock()
            if left > credential.margin:
                return credential
            if left > 0:
                self._refresh_in_background(credential)
                return credential
        if self._source is None:
            return credential  # past its time as far as we know; only the server can say so
        return self._fetch(self._source, deadline)

    def reject(self, refused: Credential) -> None:
        """The server refused this very credential: forget it, and no other. A late refusal spares the successor."""
        with self._lock:
            if self._credential is refused and self._source is not None:
                self._credential = None

    # -- callers that need one -----------------------------------------------------------------------------------------

    def _fetch(self, source: Callable[[Deadline], Credential], deadline: Deadline) -> Credential:
        timeouts = deadline.timeouts
        ends_at = deadline.now() + timeouts.connect + timeouts.read
        while True:
            mine: _InFlight | None = None
            arrived = Latch()
            try:
                with self._lock:
                    credential = self._credential
                    if credential is not None and credential.expires_at > self._clock():
                        return credential
                    flight = self._flight
                    if flight is None:
                        # `mine` first: an interrupt at any later step ends the flight.
                        mine = flight = self._flight = _InFlight(timeouts.read)
                    else:
                        flight.waiters.append(arrived)
                if mine is not None:
                    return self._fetch_as_leader(mine, source, deadline)
            finally:
                if mine is not None:
                    self._publish(mine)
            self._wait(flight, arrived, ends_at, deadline)
            if flight.credential is not None:
                return flight.credential
            if flight.error is not None and not _may_do_better(flight, deadline):
                raise _copy(flight.error)
            # Whoever was fetching gave up for reasons of its own: somebody else takes over.

    def _wait(self, flight: _InFlight, arrived: Latch, ends_at: float, deadline: Deadline) -> None:
        while not flight.landed:
            left = ends_at - deadline.now()
            if left <= 0:
                seconds = deadline.timeouts.connect + deadline.timeouts.read
                raise APITimeoutError(
                    f"no access token in time: another thread asked for it, and no answer came within {seconds:g} s "
                    "(connect and read timeout)",
                    sent=False,
                    timeout_kind="read",
                )
            deadline.wait(arrived, min(left, _LOOK_AGAIN_SECONDS))

    def _fetch_as_leader(
        self, flight: _InFlight, source: Callable[[Deadline], Credential], deadline: Deadline
    ) -> Credential:
        try:
            credential = source(deadline)
        except GigaClientError as error:
            # A deadline of its own, or a close(), is nothing that the others have to share.
            if not deadline.cancelled and deadline.expired != "deadline":
                flight.error = _copy(error)
            raise
        flight.credential = credential
        return credential

    def _publish(self, flight: _InFlight) -> None:
        try:
            self._land_once(flight)
        except BaseException:  # an interrupt in the midst of it: the waiters are to be told all the same
            self._land_once(flight)
            raise

    def _land_once(self, flight: _InFlight) -> None:
        with self._lock:
            if not flight.landed:
                flight.landed = True
                if flight.credential is not None:
                    self._credential = flight.credential
                    self._fetched += not flight.credential.from_store
                else:
                    # Even if it was not a renewal: what failed now would fail beside the callers as well.
                    self._no_renewal_before = self._clock() + _PAUSE_AFTER_FAILED_RENEWAL
            if self._flight is flight:
                self._flight = None
        for waiter in flight.waiters:
            waiter.open()

    # -- renewal beside them -------------------------------------------------------------------------------------------

    def _refresh_in_background(self, credential: Credential) -> None:
        source = self._source
        if source is None or self._flight is not None or self._clock() < self._no_renewal_before:
            return
        flight: _InFlight | None = None
        thread: threading.Thread | None = None
        try:
            with self._lock:
                # Once more, now that nobody else can decide the same.
                if (
                    self._flight is not None
                    or self._credential is not credential
                    or self._clock() < self._no_renewal_before
                ):
                    return
                flight = self._flight = _InFlight(self._timeouts.read)
            thread = threading.Thread(target=self._renew, args=(flight, source), name="gigaclient-token", daemon=True)
            thread.start()
        except BaseException as error:
            if flight is not None and (thread is None or not thread.is_alive()):
                self._publish(flight)  # nobody else will
            if not isinstance(error, RuntimeError):
                raise
            # No more threads, or the interpreter is on its way out. The credential is good; a later call may try.

    def _renew(self, flight: _InFlight, source: Callable[[Deadline], Credential]) -> None:
        reason = None
        try:
            self._fetch_as_leader(flight, source, Deadline(self._timeouts))
        except GigaClientError as error:
            reason = str(error)
        except Exception as error:  # must not end in a traceback on the terminal of somebody whose call went well
            reason = type(error).__name__
        finally:
            self._publish(flight)
        if reason is not None:
            _log.warning("renewing the access token ahead of its expiry failed, the old one is used on: %s", reason)


def _may_do_better(flight: _InFlight, deadline: Deadline) -> bool:
    # The endpoint was too slow for the thread that asked; a more patient one may still get an answer.
    return isinstance(flight.error, APITimeoutError) and deadline.timeouts.read > flight.read_timeout


def _copy(error: GigaClientError) -> GigaClientError:
    # One exception raised in many threads would collect all their tracebacks.
    rebuild, arguments = error.__reduce__()
    return rebuild(*arguments)
