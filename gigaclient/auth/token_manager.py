"""The access token of a client: shared by all its threads, fetched once, refreshed in the background.

Shortly before a credential expires, one short-lived thread refreshes it in the background. No call waits for that, even
when the token endpoint hangs. Calls wait only when the credential is missing, expired or refused, each within its own
deadline.
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

__all__ = ["MARGIN_SECONDS", "MAX_TOKEN_CHARACTERS", "Credential", "TokenManager", "fits_header"]

MARGIN_SECONDS = 60.0
MAX_TOKEN_CHARACTERS = 64 * 1024
_PAUSE_AFTER_FAILED_REFRESH_SECONDS = 5.0
# A Ctrl-C may interrupt a thread while it wakes the waiters. A waiter that was missed checks again after this time.
_RECHECK_SECONDS = 1.0

_log = logging.getLogger("gigaclient")


def fits_header(token: str) -> bool:
    """Return True if a header can carry ``token``, and servers accept one of its length."""
    return len(token) <= MAX_TOKEN_CHARACTERS and token.isascii() and token.isprintable() and " " not in token


class Credential(FrozenStruct, frozen=True, eq=False):
    """An access token with its expiry; immutable, so that no thread sees the token of one login with another's expiry.

    Attributes:
        value: the access token.
        cookies: the value of the ``Cookie`` header that belongs to it, if the login uses cookies.
        expires_at: the time of expiry on the monotonic clock; ``math.inf`` when it is unknown, and then the token is
            used until it is refused.
        margin: the seconds before ``expires_at`` at which the token is refreshed.
        expires_at_ms: the expiry as the server sent it, in Unix milliseconds; 0 when it is unknown.
        from_store: True when it comes from a store shared with other processes, so it may have been refused there.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"cookies", "value"})

    value: Secret
    cookies: Secret | None = None
    expires_at: float = math.inf
    margin: float = MARGIN_SECONDS
    expires_at_ms: int = 0
    from_store: bool = False

    @staticmethod
    def margin_for(lifetime: float) -> float:
        """Return the refresh margin for a credential that is valid for ``lifetime`` seconds.

        A credential that is valid for less than the usual margin gets a shorter margin, so that it is used at all.
        """
        return MARGIN_SECONDS if lifetime > MARGIN_SECONDS else lifetime / 4


class _InFlight:
    """One fetch of a credential, with the threads that wait for it."""

    def __init__(self, read_timeout: float, thread: int | None = None) -> None:
        self.read_timeout = read_timeout
        self.thread = thread
        """The thread whose call fetches; None in the background."""
        self.waiters: list[Latch] = []
        self.credential: Credential | None = None
        self.error: GigaClientError | None = None
        """The error of the fetch, if it concerns the waiters too."""
        self.published = False


class TokenManager:
    """Provides one :class:`Credential` to all threads, and refreshes it.

    Args:
        source: fetches a new credential within a deadline; None when the initial one cannot be replaced.
        timeouts: the timeouts of a background refresh.
        initial: a credential that is already known.
        clock: the monotonic clock, in seconds.
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
        # Guards what follows. Never held while the source runs, and not taken while the credential is valid. Reentrant,
        # because a signal handler may call the client while its own thread holds it.
        self._lock = threading.RLock()
        self._credential = initial
        self._in_flight: _InFlight | None = None
        self._no_refresh_before = -math.inf
        self._fetched = 0
        forks.register(self)

    def after_fork_in_child(self) -> None:
        """Replace the lock and forget a fetch in progress, whose thread is the parent's. Keep the credential."""
        self._lock = threading.RLock()
        self._in_flight = None

    @property
    def fetched(self) -> int:
        """The number of credentials fetched so far."""
        return self._fetched

    @property
    def current(self) -> Credential | None:
        """The credential in use, without a fetch; it may have expired."""
        return self._credential

    @property
    def renewable(self) -> bool:
        """True when a refused credential can be replaced."""
        return self._source is not None

    def get(self, deadline: Deadline) -> Credential | None:
        """Return a credential to use now; None when there is none and no source.

        Raises:
            GigaClientError: the fetch failed, or another thread's fetch took longer than this call's timeouts.
            DeadlineExceeded, Cancelled: the deadline of this call passed, or the call was cancelled.
        """
        credential = self._credential  # read once: another thread may replace it
        if credential is not None:
            left = credential.expires_at - self._clock()
            if left > credential.margin:
                return credential
            if left > 0:
                self._refresh_in_background(credential)
                return credential
        if self._source is None:
            return credential  # expired by our clock, but only the server can decide that
        return self._fetch(self._source, deadline)

    def reject(self, refused: Credential) -> None:
        """Drop the credential that the server refused; keep a newer one that has replaced it meanwhile."""
        with self._lock:
            if self._credential is refused and self._source is not None:
                self._credential = None

    # -- fetching while calls wait -------------------------------------------------------------------------------------

    def _fetch(self, source: Callable[[Deadline], Credential], deadline: Deadline) -> Credential:
        timeouts = deadline.timeouts
        ends_at = deadline.now() + timeouts.connect + timeouts.read
        me = threading.get_ident()
        while True:
            own: _InFlight | None = None
            published = Latch()
            try:
                with self._lock:
                    credential = self._credential
                    if credential is not None and credential.expires_at > self._clock():
                        return credential
                    fetch = self._in_flight
                    # A signal handler that calls the client inside its own thread's fetch cannot wait for that one.
                    if fetch is None or fetch.thread == me:
                        # `own` must be assigned first: then an interrupt at any later step still publishes the fetch.
                        own = fetch = self._in_flight = _InFlight(timeouts.read, me)
                    else:
                        fetch.waiters.append(published)
                if own is not None:
                    return self._fetch_as_leader(own, source, deadline)
            finally:
                if own is not None:
                    self._publish(own)
            self._wait(fetch, published, ends_at, deadline)
            if fetch.credential is not None:
                return fetch.credential
            if fetch.error is not None and not _has_longer_timeout(fetch, deadline):
                raise _copy(fetch.error)
            # The fetching thread gave up for a reason that concerns only its own call: try to become the leader.

    def _wait(self, fetch: _InFlight, published: Latch, ends_at: float, deadline: Deadline) -> None:
        while not fetch.published:
            left = ends_at - deadline.now()
            if left <= 0:
                seconds = deadline.timeouts.connect + deadline.timeouts.read
                raise APITimeoutError(
                    f"no access token in time: another thread requested it, and no response came within {seconds:g} s "
                    "(connect and read timeout)",
                    sent=False,
                    timeout_kind="read",
                )
            deadline.wait(published, min(left, _RECHECK_SECONDS))

    def _fetch_as_leader(
        self, fetch: _InFlight, source: Callable[[Deadline], Credential], deadline: Deadline
    ) -> Credential:
        try:
            credential = source(deadline)
        except GigaClientError as error:
            # The leader's own deadline or a close() must not fail the other calls.
            if not deadline.cancelled and deadline.expired != "deadline":
                fetch.error = _copy(error)
            raise
        fetch.credential = credential
        return credential

    def _publish(self, fetch: _InFlight) -> None:
        try:
            self._publish_once(fetch)
        except BaseException:  # an interrupt in the middle of it: the waiters must be woken all the same
            self._publish_once(fetch)
            raise

    def _publish_once(self, fetch: _InFlight) -> None:
        with self._lock:
            if not fetch.published:
                fetch.published = True
                if fetch.credential is not None:
                    self._credential = fetch.credential
                    self._fetched += not fetch.credential.from_store
                else:
                    # Also when a call waited for the fetch: a background refresh would fail now as well.
                    self._no_refresh_before = self._clock() + _PAUSE_AFTER_FAILED_REFRESH_SECONDS
            if self._in_flight is fetch:
                self._in_flight = None
        for waiter in fetch.waiters:
            waiter.open()

    # -- background refresh --------------------------------------------------------------------------------------------

    def _refresh_in_background(self, credential: Credential) -> None:
        source = self._source
        if source is None or self._in_flight is not None or self._clock() < self._no_refresh_before:
            return
        fetch: _InFlight | None = None
        thread: threading.Thread | None = None
        try:
            with self._lock:
                # Check again under the lock, because another thread may have started a refresh meanwhile.
                if (
                    self._in_flight is not None
                    or self._credential is not credential
                    or self._clock() < self._no_refresh_before
                ):
                    return
                fetch = self._in_flight = _InFlight(self._timeouts.read)
            thread = threading.Thread(target=self._refresh, args=(fetch, source), name="gigaclient-token", daemon=True)
            thread.start()
        except BaseException as error:
            if fetch is not None and (thread is None or not thread.is_alive()):
                self._publish(fetch)  # the thread that would publish it did not start
            if not isinstance(error, RuntimeError):
                raise
            # No thread can be started, or the interpreter exits. The credential is still valid; a later call may retry.

    def _refresh(self, fetch: _InFlight, source: Callable[[Deadline], Credential]) -> None:
        reason = None
        try:
            self._fetch_as_leader(fetch, source, Deadline(self._timeouts))
        except GigaClientError as error:
            reason = str(error)
        except Exception as error:  # a traceback on the terminal would alarm a user whose call succeeded
            reason = type(error).__name__
        finally:
            self._publish(fetch)
        if reason is not None:
            _log.warning("refreshing the access token before its expiry failed, the current one stays: %s", reason)


def _has_longer_timeout(fetch: _InFlight, deadline: Deadline) -> bool:
    # The endpoint was too slow for the leader's read timeout; a call with a longer one may still succeed.
    return isinstance(fetch.error, APITimeoutError) and deadline.timeouts.read > fetch.read_timeout


def _copy(error: GigaClientError) -> GigaClientError:
    # A single exception raised in many threads would collect all their tracebacks.
    rebuild, arguments = error.__reduce__()
    return rebuild(*arguments)
