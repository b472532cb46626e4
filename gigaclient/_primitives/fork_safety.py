"""Replace locks and sockets in a forked child, and make a fork wait for short critical steps.

A lock that another thread held at the moment of the fork is never released in the child. A socket shared with the
parent delivers the parent's responses. Objects that own locks or sockets register here, and the child replaces those
of each object. The registry holds weak references only.

OpenSSL and the C library have process-wide locks that cannot be replaced. A child that needs one hangs in its first
TLS handshake. So the short steps that take such locks run inside :data:`steps`, and a fork waits until no thread is in
one.

Python does not see each fork: uWSGI and other C programs call ``fork(2)`` themselves. So each call compares the process
id first (:func:`check_process`), and a child that Python did not see replaces its locks and sockets then.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from threading import get_ident
from typing import Protocol


class ForkAware(Protocol):
    """An object that owns locks or sockets."""

    def after_fork_in_child(self) -> None:
        """Replace the locks and sockets. Runs only in the child, before any other code."""


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def register(member: ForkAware) -> None:
    """Call ``member.after_fork_in_child`` after each fork while ``member`` exists."""
    _registered.add(member)


# Far longer than any step takes. Without a limit, one step that does not end would prevent every fork.
_MAX_WAIT_SECONDS = 1.0
_CHECK_SECONDS = 0.001


class Steps(contextlib.ContextDecorator):
    """Encloses short steps during which the process must not be forked; never a wait.

    A context manager and a decorator. Do not nest steps: the end of the inner one would end the outer one.

    It has no lock, because the exception of a signal handler may leave any lock of Python code held. Only atomic
    operations change its state. What an exception leaves there ends with the next step or fork of that thread.
    """

    def __init__(self) -> None:
        self._running: set[int] = set()
        """The threads that are inside a step."""
        self._pending_forks: dict[int, float] = {}
        """The threads that fork, and the time at which steps wait for that fork no longer."""

    def __enter__(self) -> None:
        thread = get_ident()
        # Add first and look for forks afterwards; `before_fork` does it the other way round. So one sees the other.
        self._running.add(thread)
        if self._pending_forks:
            self._let_forks_pass(thread)

    def _let_forks_pass(self, thread: int) -> None:
        while any(time.monotonic() < ends_at for ends_at in tuple(self._pending_forks.values())):
            self._running.discard(thread)
            time.sleep(_CHECK_SECONDS)
            self._running.add(thread)

    def __exit__(self, *exc_info: object) -> None:
        self._running.discard(get_ident())

    def before_fork(self) -> None:
        """Block new steps, and wait until those of other threads have ended."""
        thread, gives_up_at = get_ident(), time.monotonic() + _MAX_WAIT_SECONDS
        self._pending_forks[thread] = gives_up_at + _MAX_WAIT_SECONDS
        while self._running - {thread} and time.monotonic() < gives_up_at:
            time.sleep(_CHECK_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Unblock the other threads."""
        self._pending_forks.pop(get_ident(), None)

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads."""
        self.__init__()  # type: ignore[misc]


steps = Steps()


process_id = os.getpid()
"""The id of the process that the locks and sockets belong to."""

# By the process id, because a lock of the parent may be held for ever. Reentrant: a signal handler may call a client.
_resets: dict[int, threading.RLock] = {}


def check_process() -> None:
    """Replace locks and sockets if this process was forked and Python did not see it."""
    if os.getpid() != process_id:
        # The first calls of a child may come from several threads at once; one of them does it, the others wait.
        with _resets.setdefault(os.getpid(), threading.RLock()):
            if os.getpid() != process_id:
                _after_fork_in_child()


def _after_fork_in_child() -> None:
    global process_id
    steps.after_fork_in_child()
    failure: Exception | None = None
    for member in list(_registered):
        try:
            member.after_fork_in_child()
        except Exception as error:  # the remaining members still need new locks
            failure = error
    process_id = os.getpid()  # last: until then, other threads wait
    if failure is not None:
        raise failure


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=steps.before_fork,
        after_in_parent=steps.after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
