"""How many calls may be under way at once for one account: a queue in front of the server's own limit.

GigaChat answers 429 to more parallel generations than the plan has (one, for a personal key). Callers wait here
instead, first come first served and within their deadline. Where no number was given, or the number was too high, the
limit is found from the refusals: at the first of a burst it falls to half, or to as many as went at once before without
one, and the others lower it to what is left under way. After a run of successes one more is tried; if that was one too
many, it is taken back, and the next run has to be four times as long.

A place is given back by finalisers too, which run anywhere, and a Ctrl-C can hit between any two steps. Hence three
rules below. What is held is a set, whose ``add`` and ``discard`` each happen at once or not at all and may happen
twice. Whoever leaves the lock looks whether somebody can be let in. Whoever waits looks for itself now and then.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from threading import get_ident

from gigaclient._primitives import fork_safety as forks
from gigaclient._primitives.deadline import Deadline, Latch

__all__ = ["Limiter", "Permit", "limiter_for"]

# For each call that the limit allows.
_SUCCESSES_TO_GROW = 4
_LONGER_AFTER_REFUSAL = 4
_MOST_SUCCESSES_TO_GROW = _SUCCESSES_TO_GROW * _LONGER_AFTER_REFUSAL**5
_LOOK_AGAIN_SECONDS = 2.0


class _Place:
    """A call that queues or is under way."""

    __slots__ = ("gone", "latch")

    def __init__(self) -> None:
        self.latch = Latch()
        self.gone = False


class Permit:
    """A place among the calls under way. Give it back once; more often is no harm, and dropping it will do."""

    __slots__ = ("_limiter", "_place", "generation", "rank")

    def __init__(self, limiter: Limiter, place: _Place) -> None:
        self._limiter = limiter
        self._place = place
        self.generation = limiter._generation
        self.rank = 0

    def release(self) -> None:
        """Give the place to whoever waits longest. From any thread, and from a finaliser."""
        try:
            self._limiter._leave(self._place)
        except BaseException:  # an interrupt in the midst of it: nobody will ask again
            self._limiter._leave(self._place)
            raise

    def __del__(self) -> None:
        self.release()

    def refused(self) -> None:
        """The server said 429 to the call that held this place."""
        self._limiter._refused(self)

    def succeeded(self) -> None:
        """The server accepted the call that held this place."""
        self._limiter._succeeded(self)


class Limiter:
    """Lets at most so many calls be under way.

    Args:
        most: never more than this many; None to find out.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most: float = math.inf if most is None else most
        # Guards what follows, but for taking places out of `_held`; held for a few assignments.
        self._lock = threading.Lock()
        self._inside = 0  # the thread that took the lock last
        self._limit: float = self._most
        self._held: set[_Place] = set()
        self._queue: deque[_Place] = deque()
        self._generation = 0
        self._successes = 0
        self._successes_to_grow = _SUCCESSES_TO_GROW
        self._grown = False  # since the last refusal
        self._proven = 0  # so many were under way, since then, when a call began that was accepted
        forks.register(self)

    def after_fork_in_child(self) -> None:
        """The parent's calls are not ours."""
        self._lock = threading.Lock()
        self._inside = 0
        self._held = set()
        self._queue = deque()

    @property
    def limit(self) -> float:
        """The limit in force; ``math.inf`` while none is known."""
        return self._limit

    @property
    def under_way(self) -> int:
        """Calls that hold a place."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Calls that queue."""
        return len(self._queue)

    def tighten(self, most: int) -> None:
        """Another client of the same account wants no more than ``most``: the smaller number holds for all."""
        me = get_ident()
        with self._lock:
            self._inside = me
            self._most = min(self._most, most)
            self._limit = min(self._limit, self._most)
        self._advance()

    def acquire(self, deadline: Deadline) -> Permit:
        """Wait for a place.

        Raises:
            patience.DeadlineExceeded: the call's deadline came first.
            patience.Cancelled: the call was cancelled.
        """
        me = get_ident()
        place = _Place()
        permit = Permit(self, place)  # before there is anything to lose
        try:
            with self._lock:
                self._inside = me
                if not self._queue and len(self._held) < self._limit:
                    self._held.add(place)
                else:
                    self._queue.append(place)
            self._advance()
            while place not in self._held:
                deadline.wait(place.latch, _LOOK_AGAIN_SECONDS)
                self._advance()
        except BaseException:
            self._give_up(permit, place)
            raise
        permit.generation, permit.rank = self._generation, len(self._held)
        return permit

    def _give_up(self, permit: Permit, place: _Place) -> None:
        permit.release()  # it may have come at the very moment that this call gave up
        me = get_ident()
        with self._lock:
            self._inside = me
            if place in self._queue:
                self._queue.remove(place)
        self._advance()

    def _leave(self, place: _Place) -> None:
        if place.gone and place not in self._held:
            return
        # In this order: whoever is granting the place right now looks at `gone` after having added it.
        place.gone = True
        self._held.discard(place)
        self._advance()

    def _advance(self) -> None:
        me = get_ident()
        while self._may_grant():
            if self._inside == me and self._lock.locked():
                return  # a finaliser amid our own use of the lock; whoever leaves the lock looks again
            with self._lock:
                self._inside = me
                self._settle()

    def _may_grant(self) -> bool:
        return bool(self._queue) and len(self._held) < self._limit

    def _settle(self) -> None:
        while self._may_grant():
            place = self._queue[0]
            if not place.gone:
                self._held.add(place)
                place.latch.open()
                if place.gone:
                    self._held.discard(place)
            # Last: a place that is lost from the queue before it is granted would be waited for in vain.
            self._queue.popleft()

    def _refused(self, permit: Permit) -> None:
        me = get_ident()
        with self._lock:
            self._inside = me
            others = len(self._held - {permit._place})
            enough = self._limit
            if permit.generation == self._generation:
                self._generation += 1
                if self._grown:
                    enough = self._limit - 1
                    longer = self._successes_to_grow * _LONGER_AFTER_REFUSAL
                    self._successes_to_grow = min(longer, _MOST_SUCCESSES_TO_GROW)
                else:
                    enough = max(min(self._limit, others + 1) // 2, min(self._proven, others))
                self._grown = False
                self._successes = self._proven = 0
            elif self._successes == 0:
                # A call that began before the limit was lowered last belongs to the same burst: others of it may be
                # about to be refused, and those that remain in the end are what the server takes.
                enough = others
            self._limit = max(1, min(self._limit, enough))
        self._advance()

    def _succeeded(self, permit: Permit) -> None:
        if permit.rank > self._proven and permit.generation == self._generation:
            self._proven = permit.rank
        if self._limit >= self._most:
            return
        me = get_ident()
        with self._lock:
            self._inside = me
            self._successes += 1
            if self._successes >= self._successes_to_grow * self._limit:
                self._successes = 0
                self._limit = min(self._limit + 1, self._most)
                if self._grown:  # the last step was right: the server takes more than it did
                    self._successes_to_grow = _SUCCESSES_TO_GROW
                self._grown = True
        self._advance()


_limiters: weakref.WeakValueDictionary[str, Limiter] = weakref.WeakValueDictionary()
_limiters_lock = threading.Lock()


def limiter_for(account: str, most: int | None) -> Limiter:
    """The limiter that all clients of ``account`` in this process share; ``account`` is a hash, not a secret."""
    with _limiters_lock:
        limiter = _limiters.get(account)
        if limiter is None:
            limiter = _limiters[account] = Limiter(most)
        elif most is not None:
            limiter.tighten(most)
        return limiter


class _LockKeeper:
    def after_fork_in_child(self) -> None:
        global _limiters_lock
        _limiters_lock = threading.Lock()


_keeper = _LockKeeper()
forks.register(_keeper)
