"""How long one call may still wait, and who may end the wait.

A call has up to four bounds: a *deadline* for the whole of it, the time to *connect*, the *read* timeout (silence, and
for an answer that is not streamed also its whole arrival), and in a stream the time without an *event*. Whoever blocks
on behalf of the call, be it a socket, a queue or a pause between tries, asks the call's :class:`Deadline` how long it
may, and is woken through it when the call is cancelled. No thread watches: each wait is bounded before it begins.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

__all__ = ["CancelGroup", "Cancelled", "Deadline", "DeadlineExceeded", "Latch", "Timeouts"]


class DeadlineExceeded(TimeoutError):
    """A bound was reached. ``kind`` is ``"connect"``, ``"read"``, ``"event"`` or ``"deadline"``."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"out of patience: {kind}")
        self.kind = kind


class Cancelled(ConnectionAbortedError):
    """Somebody closed the stream or the client while this call was waiting."""


class Latch:
    """What one thread waits for and any other opens, once and for good.

    Not ``threading.Event``: a finaliser may open this one, and it may run in the very thread that is waiting, between
    two steps of the wait. An event's own lock would then be waited for by the thread that holds it.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let the waiting thread go. From any thread; more than once is no harm."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # open already

    def wait(self, seconds: float = math.inf) -> bool:
        """Wait to be opened, ``seconds`` at the longest; True when it is open."""
        if not self._lock.acquire(timeout=-1 if seconds > threading.TIMEOUT_MAX else max(0.0, seconds)):
            return False
        self.open()  # as it was found, for the next wait
        return True


class Timeouts:
    """The patience of a client or a call, as configured; seconds, ``math.inf`` for none. Never changes."""

    __slots__ = ("chosen_event", "connect", "deadline", "event", "read")

    def __init__(
        self,
        connect: float = 10.0,
        read: float = 120.0,
        event: float | None = None,
        deadline: float = math.inf,
    ) -> None:
        self.connect = connect
        self.read = read
        self.chosen_event = event
        # Keep-alives prove that the server lives, so a stream that sends them gets longer, but not for ever.
        self.event = 4 * read if event is None else event
        self.deadline = deadline

    def within(self, seconds: float) -> Timeouts:
        """The same with a deadline of ``seconds``, for a part of a call that has so much left."""
        return Timeouts(self.connect, self.read, self.chosen_event, seconds)

    def __repr__(self) -> str:
        return f"Timeouts(connect={self.connect}, read={self.read}, event={self.event}, deadline={self.deadline})"


class Deadline:
    """The bounds of one call, from its first wait to its last byte.

    The methods that wait or arm belong to the thread that runs the call; :meth:`cancel` may be called from any.
    """

    __slots__ = (
        "_bound",
        "_clock",
        "_phase_ends",
        "_phase_kind",
        "_silence",
        "_wake",
        "cancelled",
        "deadline_at",
        "expired",
        "timeouts",
    )

    def __init__(self, timeouts: Timeouts, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeouts = timeouts
        self._clock = clock
        self.deadline_at = clock() + timeouts.deadline
        self._phase_ends = math.inf
        self._phase_kind = "read"
        # For the question that is asked before each read: the earlier of the two ends, and the longest silence.
        self._bound = self.deadline_at
        self._silence = timeouts.read
        self._wake: Callable[[], None] | None = None
        self.cancelled = False
        self.expired: str | None = None
        """Which bound was reached first; None while all is well."""

    def begin(self, kind: str, seconds: float) -> None:
        """Start a phase that as a whole may last ``seconds``, however lively the peer is."""
        self._phase_kind = kind
        self._phase_ends = ends_at = self._clock() + seconds
        self._bound = ends_at if ends_at < self.deadline_at else self.deadline_at

    def begin_response(self) -> None:
        """From the request's last byte to the answer's last header: one read timeout in all."""
        self.begin("read", self.timeouts.read)

    def begin_event(self) -> None:
        """From one event of a stream to the next."""
        self.begin("event", self.timeouts.event)

    def left(self) -> float:
        """Seconds until the deadline of the whole call; ``math.inf`` without one."""
        return self.deadline_at - self._clock()

    def remaining(self) -> float:
        """Seconds that the next blocking read or write may last.

        Raises:
            DeadlineExceeded: none are left.
            Cancelled: the call was cancelled.
        """
        if self.cancelled:
            raise Cancelled("closed")
        limit = self._bound - self._clock()
        if limit > self._silence:
            return self._silence
        if limit <= 0:
            raise self.exceeded()
        return limit

    def connect_remaining(self, started_at: float) -> float:
        """Seconds that connecting, begun at ``started_at``, may still last; raises as :meth:`remaining` does."""
        if self.cancelled:
            raise Cancelled("closed")
        now = self._clock()
        limit = min(started_at + self.timeouts.connect, self.deadline_at) - now
        if limit <= 0:
            raise self.exceeded("connect")
        return limit

    def exceeded(self, kind: str | None = None) -> DeadlineExceeded:
        """The error for a wait that reached its bound just now; notes which bound it was."""
        now = self._clock()
        # A wait ends a little before or after its bound, by the grain of the clock.
        if self.deadline_at - now < 0.005:
            kind = "deadline"
        elif kind is None:
            kind = self._phase_kind if self._phase_ends - now < 0.005 else "read"
        if self.expired is None:
            self.expired = kind
        return DeadlineExceeded(kind)

    def now(self) -> float:
        """The clock that all bounds are measured with; seconds."""
        return self._clock()

    # -- waiting and waking ------------------------------------------------------------------------------------------

    def on_cancel(self, wake: Callable[[], None] | None) -> None:
        """Say how to wake whoever waits for this call now; None when nobody does."""
        self._wake = wake
        if wake is not None and self.cancelled:
            wake()

    def cancel(self) -> None:
        """End the call's wait at once, and every later one. From any thread; more than once is no harm."""
        self.cancelled = True
        wake = self._wake
        if wake is not None:
            wake()

    def wait(self, latch: Latch, at_most: float = math.inf) -> bool:
        """Wait for ``latch``, ``at_most`` seconds; True when it was opened, False when that time is over.

        Raises:
            DeadlineExceeded: the deadline came first.
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
                # A wait may end a little before its time, by the grain of the clock: then there is more of it to come.
                now = self._clock()
                if now >= self.deadline_at:
                    raise self.exceeded("deadline")
                if now >= ends_at:
                    return False
        finally:
            self.on_cancel(None)

    def pause(self, seconds: float) -> None:
        """Sleep between two tries; raises as :meth:`wait` does."""
        self.wait(Latch(), seconds)


class CancelGroup:
    """The calls of one piece of work: counted, and ended together by whoever gives the work up.

    Attributes:
        sent: requests that were sent, repeated ones included.
        cancelled: whether the work was given up.
    """

    __slots__ = ("_calls", "cancelled", "sent")

    def __init__(self) -> None:
        self._calls: list[Deadline] = []
        self.cancelled = False
        self.sent = 0

    def begin(self, deadline: Deadline) -> None:
        """A call of this work begins; it ends at once where the work was given up."""
        # Noted first and looked at then, and in cancel() the other way round: one of the two sees the other.
        self._calls.append(deadline)
        if self.cancelled:
            deadline.cancel()

    def cancel(self) -> None:
        """End all calls of this work, and every later one. From any thread; more than once is no harm."""
        self.cancelled = True
        for deadline in [*self._calls]:
            deadline.cancel()
