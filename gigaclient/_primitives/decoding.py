"""Decoders of typed JSON, made by one thread at a time.

msgspec notes what it knows of a struct the first time that a decoder needs it, and notes it before it is complete,
because types may contain themselves. A second thread that makes a decoder in between finds the half of it, and its
first decoding ends the process with a segmentation fault (seen with msgspec 0.22). So every decoder and every
conversion of the package comes from here. A fork waits as well (:data:`gigaclient._primitives.fork_safety.steps`):
the child would keep
the half.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gigaclient._primitives.fork_safety import steps

__all__ = ["convert", "decoder", "new_decoder"]

T = TypeVar("T")

# Reentrant, because a finaliser may run in the midst of it and decode something else. The steps come first, so that it
# is never held at a fork.
_lock = threading.RLock()
_made: dict[Any, Any] = {}


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of one of our types, strict; made when it is first asked for and kept."""
    found: msgspec.json.Decoder[T] | None = _made.get(kind)
    if found is None:
        found = _made[kind] = new_decoder(kind)
    return found


def new_decoder(
    kind: type[T], *, strict: bool = True, dec_hook: Callable[[type, Any], Any] | None = None
) -> msgspec.json.Decoder[T]:
    """``msgspec.json.Decoder``, with its errors."""
    with steps, _lock:
        return msgspec.json.Decoder(kind, strict=strict, dec_hook=dec_hook)


def convert(value: Any, kind: type[T], *, strict: bool = True) -> T:
    """``msgspec.convert`` to one of our types, with its errors."""
    decoder(kind)
    return msgspec.convert(value, kind, strict=strict)
