"""Deadlines, timeouts and cancellation of a call.

A call has up to four timeouts. *deadline* limits the whole call, and *connect* limits connecting. *read* limits the
silence of the server, and the whole arrival of a response that is not streamed. *event* limits the time between two
events of a stream. Code that blocks on behalf of a call (sockets, queues, pauses between attempts) gets its time limit
from the :class:`Deadline`, which also wakes it when the call is cancelled. No watchdog thread is needed.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable

__all__ = ["CancelGroup", "Cancelled", "Deadline", "DeadlineExceeded", "Latch", "Timeouts"]


# When a wait has ended, the clock may say that this much of it is left: Windows advances its clock every 16 ms.
_CLOCK_GRAIN = 0.02


class DeadlineExceeded(TimeoutError):
    """A timeout expired. ``timeout_kind`` is ``"connect"``, ``"read"``, ``"event"`` or ``"deadline"``."""

    def __init__(self, timeout_kind: str) -> None:
        super().__init__(f"timeout expired: {timeout_kind}")
        self.timeout_kind = timeout_kind


class Cancelled(ConnectionAbortedError):
    """The stream or the client was closed while this call was waiting."""


class Latch:
    """A one-way flag: one thread waits for it, and any other thread opens it for good.

    ``threading.Event`` would deadlock. A finaliser may open the latch in the very thread that waits, between two steps
    of the wait. That thread would then wait for the event's internal lock while holding it.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Wake the waiting thread. Safe from any thread, and more than once."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is open already

    def wait(self, seconds: float = math.inf) -> bool:
        """Wait up to ``seconds``; return True when the latch is open."""
        if not self._lock.acquire(timeout=-1 if seconds > threading.TIMEOUT_MAX else max(0.0, seconds)):
            return False
        self.open()  # the next wait must find the latch open
        return True


class Timeouts:
    """The configured timeouts of a client or a call. Immutable; in seconds, ``math.inf`` means no limit."""

    __slots__ = ("configured_event", "connect", "deadline", "event", "read")

    def __init__(
        self,
        connect: float = 10.0,
        read: float = 120.0,
        event: float | None = None,
        deadline: float = math.inf,
    ) -> None:
        self.connect = connect
        self.read = read
        self.configured_event = event
        # A stream that sends only keep-alive comments comes from a running server: it gets more time, but not for ever.
        self.event = 4 * read if event is None else event
        self.deadline = deadline

    def within(self, seconds: float) -> Timeouts:
        """Return a copy with a deadline of ``seconds``, for one part of a call."""
        return Timeouts(self.connect, self.read, self.configured_event, seconds)

    def __repr__(self) -> str:
        return f"Timeouts(connect={self.connect}, read={self.read}, event={self.event}, deadline={self.deadline})"


class Deadline:
    """The time limits of one call, from its first wait to its last byte.

    Only the thread that runs the call may use it; :meth:`cancel` is safe from any thread.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_ends_at",
        "_phase_ends",
        "_phase_kind",
        "_read_timeout",
        "_wake",
        "began_at",
        "cancelled",
        "deadline_at",
        "expired",
        "group",
        "in_flight",
        "timeouts",
    )

    def __init__(self, timeouts: Timeouts, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeouts = timeouts
        self._clock = clock
        self.deadline_at = clock() + timeouts.deadline
        self._phase_ends = math.inf
        self._phase_kind = "read"
        self.began_at = 0.0
        """The time at which the present phase began."""
        # Cached because `remaining` runs before each read: the earlier of the phase's end and the deadline.
        self._ends_at = self.deadline_at
        self._read_timeout = timeouts.read
        self._wake: Callable[[], None] | None = None
        self.cancelled = False
        self.group: CancelGroup | None = None
        """The cancel group of the task that the call belongs to, if any."""
        self.in_flight = False
        """A request was sent and its response has not ended."""
        self.expired: str | None = None
        """The first timeout that expired, or None."""

    def begin(self, timeout_kind: str, seconds: float) -> None:
        """Start a phase that ends after ``seconds``, even when data keeps arriving."""
        self._phase_kind = timeout_kind
        self.began_at = now = self._clock()
        self._phase_ends = ends_at = now + seconds
        self._ends_at = ends_at if ends_at < self.deadline_at else self.deadline_at

    def begin_event(self) -> None:
        """Start the event timeout that the next event of a stream must arrive within."""
        # As begin() does, without its call.
        self._phase_kind = "event"
        self.began_at = now = self._clock()
        self._phase_ends = ends_at = now + self.timeouts.event
        self._ends_at = ends_at if ends_at < self.deadline_at else self.deadline_at

    def left(self) -> float:
        """Return the seconds until the deadline of the whole call; ``math.inf`` without one."""
        return self.deadline_at - self._clock()

    def remaining(self) -> float:
        """Return the seconds that the next blocking read or write may last.

        Raises:
            DeadlineExceeded: no time is left.
            Cancelled: the call was cancelled.
        """
        if self.cancelled:
            raise Cancelled("closed")
        limit = self._ends_at - self._clock()
        if limit > self._read_timeout:
            return self._read_timeout
        if limit <= 0:
            raise self.exceeded()
        return limit

    def connect_remaining(self, started_at: float) -> float:
        """Return the seconds left to connect, if it began at ``started_at``; raise as :meth:`remaining` does."""
        if self.cancelled:
            raise Cancelled("closed")
        now = self._clock()
        limit = min(started_at + self.timeouts.connect, self.deadline_at) - now
        if limit <= 0:
            raise self.exceeded("connect")
        return limit

    def exceeded(self, timeout_kind: str | None = None) -> DeadlineExceeded:
        """Record which timeout has just expired, and return the error for it."""
        now = self._clock()
        if timeout_kind is None:
            timeout_kind = "read"
            if self._ends_at - now < _CLOCK_GRAIN:
                timeout_kind = self._phase_kind if self._phase_ends < self.deadline_at else "deadline"
        elif self.deadline_at - now < _CLOCK_GRAIN:
            timeout_kind = "deadline"
        if self.expired is None:
            self.expired = timeout_kind
        return DeadlineExceeded(timeout_kind)

    def now(self) -> float:
        """Return the time in seconds by the clock that all limits use."""
        return self._clock()

    # -- waiting and waking ------------------------------------------------------------------------------------------

    def on_cancel(self, wake: Callable[[], None] | None) -> None:
        """Set the function that wakes the blocked thread of this call; None when it does not block."""
        self._wake = wake
        if wake is not None and self.cancelled:
            wake()

    def cancel(self) -> None:
        """End the current wait of the call at once, and every later one. Safe from any thread, and more than once."""
        self.cancelled = True
        wake = self._wake
        if wake is not None:
            wake()

    def wait(self, latch: Latch, at_most: float = math.inf) -> bool:
        """Wait up to ``at_most`` seconds for ``latch``; return whether it was opened.

        Raises:
            DeadlineExceeded: the deadline passed first.
            Cancelled: the call was cancelled.
        """
        ends_at = self._clock() + at_most
        self.on_cancel(latch.open)
        try:
            while True:
                if self.cancelled:
                    raise Cancelled("closed")
                now = self._clock()
                opened = latch.wait(min(ends_at, self.deadline_at) - now)
                if self.cancelled:
                    raise Cancelled("closed")
                if opened:
                    return True
                # A wait may end a little too early, because clocks are coarse; then the loop waits for the rest.
                now = self._clock()
                if now >= self.deadline_at:
                    raise self.exceeded("deadline")
                if now >= ends_at:
                    return False
        finally:
            self.on_cancel(None)

    def pause(self, seconds: float) -> None:
        """Sleep between two attempts; raise as :meth:`wait` does."""
        self.wait(Latch(), seconds)


class CancelGroup:
    """The calls of one task, counted and cancelled together.

    Attributes:
        sent: the number of requests sent, with retries.
        cancelled: True when the task was cancelled.
    """

    __slots__ = ("active_calls", "cancelled", "sent")

    def __init__(self) -> None:
        self.active_calls: Callable[[], Iterable[Deadline]] = tuple
        """Returns the registered calls of the client that runs the task, those of other tasks among them."""
        self.cancelled = False
        self.sent = 0

    def cancel(self) -> None:
        """Cancel all calls of the group, and every later one. Safe from any thread, and more than once."""
        # A call is registered first and then checks the flag; here the flag is set first and then the registry is read.
        # So one of the two sees the other.
        self.cancelled = True
        for deadline in self.active_calls():
            if deadline.group is self:
                deadline.cancel()
