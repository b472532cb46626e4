"""What must start afresh in a forked child, and what a fork has to wait for.

A lock that another thread held at the moment of the fork never opens in the child, and a socket shared with the parent
delivers the parent's answers. Objects that own locks or sockets register here; in the child each is told to replace
them. Registration holds no reference that would keep an object alive.

OpenSSL and the C library have such locks too, for the whole process, and nobody can replace those: a child that needs
one hangs in its first TLS handshake. So the short steps that take them are made inside :data:`steps`, and a fork waits
until no thread is in one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """Something that owns locks or sockets."""

    def after_fork_in_child(self) -> None:
        """Replace them. Runs in the child alone, before any other code of it."""


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def register(member: ForkAware) -> None:
    """Have ``member`` told about each fork, for as long as it lives."""
    _registered.add(member)


# Far longer than any step takes. Waiting for ever would be a hang of our own where a fork is made inside a step.
_LONGEST_WAIT_S = 1.0


class Steps(contextlib.ContextDecorator):
    """Stands around each short piece of work, never a wait, in which this process must not be forked.

    A context manager and a decorator. Not to be nested: a fork that waits for the outer step holds the inner one up.
    """

    def __init__(self) -> None:
        # Reentrant, because a signal handler may fork, or a finaliser run, while its own thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._under_way = 0
        self._forks = 0

    def __enter__(self) -> None:
        with self._changed:
            if self._forks:
                self._changed.wait_for(self._nobody_forks, _LONGEST_WAIT_S)
            self._under_way += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._changed:
            self._under_way = max(self._under_way - 1, 0)  # a child that was forked inside a step leaves it, too
            if self._forks and not self._under_way:
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Let nobody begin a step, and wait until those under way have ended."""
        with self._changed:
            self._forks += 1
            self._changed.wait_for(self._nobody_is_inside, _LONGEST_WAIT_S)

    def after_fork_in_parent(self) -> None:
        """Let the others go on."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads."""
        self.__init__()  # type: ignore[misc]

    def _nobody_forks(self) -> bool:
        return not self._forks

    def _nobody_is_inside(self) -> bool:
        return not self._under_way


steps = Steps()


def _after_fork_in_child() -> None:
    steps.after_fork_in_child()
    failure: Exception | None = None
    for member in list(_registered):
        try:
            member.after_fork_in_child()
        except Exception as error:  # the others need their locks all the same
            failure = error
    if failure is not None:
        raise failure


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(
        before=steps.before_fork,
        after_in_parent=steps.after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
