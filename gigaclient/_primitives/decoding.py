"""Decoders of typed JSON, created by one thread at a time.

msgspec caches what it knows of a struct when a decoder first needs it, and does so before the entry is complete,
because types may contain themselves. A second thread that creates a decoder meanwhile finds an incomplete entry, and
its first decoding ends the process with a segmentation fault (seen with msgspec 0.22). So the whole package creates
decoders and converts values here. A fork waits too (:data:`gigaclient._primitives.fork_safety.steps`), because the
child would keep the incomplete entry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from gigaclient._primitives.fork_safety import steps

__all__ = ["convert", "decoder", "new_decoder"]

T = TypeVar("T")

# Reentrant, because a finaliser may run while the lock is held and decode something. `steps` is entered before the
# lock is taken, so that the lock is never held at a fork.
_lock = threading.RLock()


class _Decoders(dict[Any, Any]):
    def __missing__(self, type_: Any) -> Any:
        cached = self[type_] = new_decoder(type_)
        return cached


class _DecoderOf(Protocol):
    def __call__(self, type_: type[T], /) -> msgspec.json.Decoder[T]: ...


decoder: _DecoderOf = _Decoders().__getitem__
"""Return the strict decoder of one of our types; created at the first use and cached."""


def new_decoder(
    type_: type[T], *, strict: bool = True, dec_hook: Callable[[type, Any], Any] | None = None
) -> msgspec.json.Decoder[T]:
    """Create a ``msgspec.json.Decoder``; raise its errors."""
    with steps, _lock:
        return msgspec.json.Decoder(type_, strict=strict, dec_hook=dec_hook)


def convert(value: Any, type_: type[T], *, strict: bool = True) -> T:
    """Convert ``value`` to one of our types with ``msgspec.convert``; raise its errors."""
    decoder(type_)
    try:
        return msgspec.convert(value, type_, strict=strict)
    except SystemError:  # of msgspec before 0.21, for a whole number of some hundred digits
        reason = "a number is out of range"
    raise msgspec.ValidationError(reason)
