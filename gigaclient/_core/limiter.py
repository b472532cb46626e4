"""The concurrency limit of one account: a queue of calls in front of the server's own limit.

GigaChat answers 429 to more parallel generations than the plan has (one, for a personal key). Calls wait here instead,
first come first served and within their deadline. Without ``max_connections``, or when that is too high, the limit is
found from responses with status 429. The first of a burst lowers the limit to half of the running calls, or to the
number of calls that were accepted at once before, if that is higher. The others lower it to the number of calls that
still run. After a run of successes the limit grows by one. If that leads to a 429, the step is undone, and the next run
must be four times as long.

Finalisers release permits too, in any thread at any moment, and a Ctrl-C can hit between any two steps. Hence three
rules. The held slots are a set: its ``add`` and ``discard`` are atomic, and doing one twice changes nothing. Each
thread that leaves the lock checks the queue. Each waiting call checks the queue at intervals.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections import deque
from typing import Any

import msgspec

from gigaclient._primitives import fork_safety
from gigaclient._primitives.deadline import Deadline, Latch
from gigaclient.errors import ConfigError

__all__ = ["Limiter", "Permit", "limiter_for"]

_GROWTH_BACKOFF = 4
# The next two are multiplied by the limit.
_SUCCESSES_TO_GROW = 4
_MAX_SUCCESSES_TO_GROW = _SUCCESSES_TO_GROW * _GROWTH_BACKOFF**5
_QUEUE_CHECK_SECONDS = 2.0


class _Slot(msgspec.Struct, eq=False):
    """The slot of one call, queued or held."""

    latch: Any = None
    """The latch that its call waits for, if it is queued."""
    released: bool = False
    thread: int = 0
    """The thread that is inside the call; 0 if none is, as once the call has returned a stream."""


class Permit:
    """The right of one call to run. Releasing it twice is allowed, and dropping the last reference releases it."""

    __slots__ = ("_limiter", "_slot", "generation", "rank")

    def __init__(self, limiter: Limiter, slot: _Slot) -> None:
        self._limiter = limiter
        self._slot = slot
        self.generation = limiter._generation
        self.rank = 0

    def release(self) -> None:
        """Pass the permit to the call that has waited longest; call from any thread or finaliser."""
        try:
            self._limiter._release(self._slot)
        except BaseException:
            if not hasattr(self, "_slot"):
                return  # an interrupt hit the constructor: nothing was queued
            self._limiter._release(self._slot)  # an interrupt hit the release, and no other code would repeat it
            raise

    __del__ = release

    def outlive_call(self) -> None:
        """Keep the permit after its call has returned, for the stream that another thread may read and close."""
        self._slot.thread = 0

    def refused(self) -> None:
        """Record that the server answered the call with 429."""
        self._limiter._refused(self)

    def succeeded(self) -> None:
        """Record that the server accepted the call."""
        self._limiter._succeeded(self)


class Limiter:
    """Lets a limited number of calls run at once.

    Args:
        maximum: the highest limit; None to find it from the server's responses.
    """

    def __init__(self, maximum: int | None = None) -> None:
        self._maximum: float = math.inf if maximum is None else maximum
        # Guards the attributes below, except for removals from `_held`; held for a few assignments. Reentrant, because
        # a finaliser or a signal handler may run while its own thread holds it.
        self._lock = threading.RLock()
        self._limit: float = self._maximum
        self._held: set[_Slot] = set()
        self._queue: deque[_Slot] = deque()
        self._generation = 0
        self._successes = 0
        self._successes_to_grow = _SUCCESSES_TO_GROW
        self._grown = False  # since the last refusal
        self._proven = 0  # the most calls that ran at once when an accepted call began, since the last refusal
        fork_safety.register(self)

    def after_fork_in_child(self) -> None:
        """Forget the parent's calls."""
        self._lock = threading.RLock()
        self._held = set()
        self._queue = deque()

    @property
    def limit(self) -> float:
        """The limit in force; ``math.inf`` while none is known."""
        return self._limit

    @property
    def under_way(self) -> int:
        """The number of calls that hold a permit."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """The number of queued calls."""
        return len(self._queue)

    def tighten(self, maximum: int) -> None:
        """Lower the limit to ``maximum`` for all clients of the account, if it is higher."""
        with self._lock:
            self._maximum = min(self._maximum, maximum)
            self._limit = min(self._limit, self._maximum)
        self._advance()

    def acquire(self, deadline: Deadline, thread: int = 0) -> Permit:
        """Wait for a permit.

        Args:
            deadline: the deadline of the call.
            thread: the thread that is inside the call until the permit is released or outlives the call; 0 for none.

        Raises:
            deadline.DeadlineExceeded: the call's deadline came first.
            deadline.Cancelled: the call was cancelled.
            ConfigError: this thread is inside the calls that hold all permits.
        """
        slot = _Slot(thread=thread)
        permit = Permit(self, slot)  # before the slot is queued, so that an interrupt cannot lose it
        try:
            with self._lock:
                if not self._queue and len(self._held) < self._limit:
                    self._held.add(slot)
                else:
                    slot.latch = Latch()
                    self._queue.append(slot)
            self._advance()
            while slot not in self._held:
                self._check_holders(slot)
                deadline.wait(slot.latch, _QUEUE_CHECK_SECONDS)
                self._advance()
        except BaseException:
            self._abandon(permit, slot)
            raise
        permit.generation, permit.rank = self._generation, len(self._held)
        return permit

    def _check_holders(self, slot: _Slot) -> None:
        """Raise ConfigError if all permits belong to calls that cannot go on before the present one ends."""
        held = tuple(self._held)
        if slot.thread and held and slot not in held and all(holder.thread == slot.thread for holder in held):
            raise ConfigError(
                f"a hook or a signal handler called the client from inside a call that holds the last of {len(held)} "
                "permits, and would wait for it for ever: make that call in another thread, or afterwards"
            )

    def _abandon(self, permit: Permit, slot: _Slot) -> None:
        permit.release()  # it may have been granted at the moment of the interrupt
        with self._lock:
            self._dequeue(slot)
        self._advance()

    def _release(self, slot: _Slot) -> None:
        if slot.released and slot not in self._held:
            return
        # In this order: a thread that is granting the slot right now checks `released` after it has added the slot.
        slot.released = True
        self._held.discard(slot)
        self._advance()

    def _advance(self) -> None:
        while self._queue and len(self._held) < self._limit:
            with self._lock:
                self._grant()

    def _grant(self) -> None:
        # A finaliser or a signal handler may do the same in this thread between any two steps.
        while len(self._held) < self._limit:
            try:
                slot = self._queue[0]
            except IndexError:
                return
            if not slot.released:
                self._held.add(slot)
                slot.latch.open()
                if slot.released:
                    self._held.discard(slot)
            # Last: a slot removed from the queue before it is granted would leave its call waiting forever.
            self._dequeue(slot)

    def _dequeue(self, slot: _Slot) -> None:
        with contextlib.suppress(ValueError):  # another thread or a finaliser was faster
            self._queue.remove(slot)

    def _refused(self, permit: Permit) -> None:
        with self._lock:
            others = len(self._held - {permit._slot})
            lowered = self._limit
            if permit.generation == self._generation:
                self._generation += 1
                if self._grown:
                    lowered = self._limit - 1
                    longer = self._successes_to_grow * _GROWTH_BACKOFF
                    self._successes_to_grow = min(longer, _MAX_SUCCESSES_TO_GROW)
                else:
                    lowered = max(min(self._limit, others + 1) // 2, min(self._proven, others))
                self._grown = False
                self._successes = self._proven = 0
            elif self._successes == 0:
                # A call that began before the limit was last lowered belongs to the same burst. More calls of the
                # burst may be refused, and those that remain in the end are as many as the server accepts.
                lowered = others
            self._limit = max(1, min(self._limit, lowered))
        self._advance()

    def _succeeded(self, permit: Permit) -> None:
        if permit.rank > self._proven and permit.generation == self._generation:
            self._proven = permit.rank
        if self._limit >= self._maximum:
            return
        with self._lock:
            self._successes += 1
            if self._successes >= self._successes_to_grow * self._limit:
                self._successes = 0
                self._limit = min(self._limit + 1, self._maximum)
                if self._grown:  # the last step was right: the server accepts more than before
                    self._successes_to_grow = _SUCCESSES_TO_GROW
                self._grown = True
        self._advance()


_limiters: weakref.WeakValueDictionary[str, Limiter] = weakref.WeakValueDictionary()
_limiters_lock = threading.RLock()


def limiter_for(account: str, maximum: int | None) -> Limiter:
    """Return the limiter that all clients of ``account`` in this process share; ``account`` is a hash, no secret."""
    fork_safety.check_process()
    with _limiters_lock:
        limiter = _limiters.get(account)
        if limiter is None:
            limiter = _limiters[account] = Limiter(maximum)
        elif maximum is not None:
            limiter.tighten(maximum)
        return limiter


class _RegistryLockReset:
    def after_fork_in_child(self) -> None:
        global _limiters_lock
        _limiters_lock = threading.RLock()


_lock_reset = _RegistryLockReset()
fork_safety.register(_lock_reset)
