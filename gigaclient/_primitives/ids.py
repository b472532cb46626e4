"""Request ids."""

from __future__ import annotations

import random

from gigaclient._primitives import fork_safety as forks

__all__ = ["new_id"]


class _IdGenerator:
    """A private random generator, so that ids differ even when a program seeds the shared one.

    ``os.urandom`` releases the GIL on each call, and each of 64 threads then waits to get it back. Nothing secret
    depends on the ids.
    """

    def __init__(self) -> None:
        self.after_fork_in_child()
        forks.register(self)

    def after_fork_in_child(self) -> None:
        """Reseed, because the parent goes on with the old state."""
        self.bits = random.Random().getrandbits


_ids = _IdGenerator()


def new_id() -> str:
    """Return a random UUID (RFC 9562, section 5.4) as text.

    The module ``uuid`` takes twice as long, and 3 ms to import.
    """
    digits = bytearray(_ids.bits(128).to_bytes(16, "big"))
    digits[6] = digits[6] & 0x0F | 0x40  # the version
    digits[8] = digits[8] & 0x3F | 0x80  # the variant
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
