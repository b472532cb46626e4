"""Helpers of the tests of all endpoints except chat: answers of the emulator, and the received requests."""

from __future__ import annotations

from typing import Any

from gigaclient.testing import Fault, GigaChatEmulator

WAIT_SECONDS = 20.0


def answer_with(emulator: GigaChatEmulator, path: str, body: Any, *, kind: str = "application/json") -> None:
    """Answer the next request for ``path`` with ``body`` and status 200."""
    emulator.inject(Fault(body=body, content_type=kind), path=path)


def bodies_sent_to(emulator: GigaChatEmulator, path: str) -> list[Any]:
    """Return the requests for ``path`` so far."""
    return [request for request in emulator.requests if request.path.endswith(path)]


def cosine(one: list[float], other: list[float]) -> float:
    """Return the cosine of two vectors of length 1; 1.0 is the same direction."""
    return sum(a * b for a, b in zip(one, other, strict=True))
