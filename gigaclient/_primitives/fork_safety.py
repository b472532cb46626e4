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
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """An object that owns locks or sockets."""

    def after_fork_in_child(self) -> None:
        """Replace the locks and sockets. Runs only in the child, before any other code."""


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def register(member: ForkAware) -> None:
    """Call ``member.after_fork_in_child`` after each fork while ``member`` exists."""
    _registered.add(member)


# Far longer than any step takes. Without a limit, a fork made inside a step would wait for itself.
_MAX_WAIT_SECONDS = 1.0


class Steps(contextlib.ContextDecorator):
    """Encloses short steps during which the process must not be forked; never a wait.

    A context manager and a decorator. Do not nest steps: a fork that waits for the outer step blocks the inner one.
    """

    def __init__(self) -> None:
        # Reentrant, because a signal handler may fork, or a finaliser run, while its own thread holds this lock.
        self._changed = threading.Condition(threading.RLock())
        self._running = 0
        self._pending_forks = 0

    def __enter__(self) -> None:
        with self._changed:
            if self._pending_forks:
                self._changed.wait_for(self._no_fork_pending, _MAX_WAIT_SECONDS)
            self._running += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._changed:
            self._running = max(self._running - 1, 0)  # a child forked inside a step exits it as well
            if self._pending_forks and not self._running:
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Block new steps, and wait until the running ones have ended."""
        with self._changed:
            self._pending_forks += 1
            self._changed.wait_for(self._no_step_running, _MAX_WAIT_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Unblock the other threads."""
        with self._changed:
            self._pending_forks -= 1
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads."""
        self.__init__()  # type: ignore[misc]

    def _no_fork_pending(self) -> bool:
        return not self._pending_forks

    def _no_step_running(self) -> bool:
        return not self._running


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
