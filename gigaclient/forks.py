"""What must start afresh in a forked child.

A lock that another thread held at the moment of the fork never opens in the child, and a socket shared with the parent
delivers the parent's answers. Objects that own locks or sockets register here; in the child each is told to replace
them. Registration holds no reference that would keep an object alive.
"""

from __future__ import annotations

import os
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


def _after_fork_in_child() -> None:
    failure: Exception | None = None
    for member in list(_registered):
        try:
            member.after_fork_in_child()
        except Exception as error:  # the others need their locks all the same
            failure = error
    if failure is not None:
        raise failure


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork_in_child)
