"""Ids for requests."""

from __future__ import annotations

import random

from gigaclient._primitives import fork_safety as forks

__all__ = ["new_id"]


class _Ids:
    """Random UUIDs, from a generator of our own: whatever a program seeds the shared one with, ids differ.

    Not from the system's, which gives the interpreter away for each call: of 64 threads, each waits its turn again.
    Nothing secret depends on them.
    """

    def __init__(self) -> None:
        self.after_fork_in_child()
        forks.register(self)

    def after_fork_in_child(self) -> None:
        """Begin elsewhere: the parent goes on where it was."""
        self.bits = random.Random().getrandbits


_ids = _Ids()


def new_id() -> str:
    """A random UUID (RFC 9562, section 5.4), as text. The module ``uuid`` takes twice as long, and 3 ms to import."""
    digits = bytearray(_ids.bits(128).to_bytes(16, "big"))
    digits[6] = digits[6] & 0x0F | 0x40  # the version
    digits[8] = digits[8] & 0x3F | 0x80  # the variant
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
