"""Helpers of the tests of all endpoints except chat: a client of an emulator, and the received requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gigaclient import GigaChat
from gigaclient.testing import Fault, GigaChatEmulator

WAIT_SECONDS = 20.0


@contextmanager
def client_of(emulator: GigaChatEmulator, **options: Any) -> Iterator[GigaChat]:
    """Yield a client with short timeouts and without retries."""
    defaults = {"timeout": WAIT_SECONDS, "max_retries": 0, "retry_backoff_factor": 0.0}
    with GigaChat(**{**emulator.client_options, **defaults, **options}) as client:
        yield client


def answer_with(emulator: GigaChatEmulator, path: str, body: Any, *, kind: str = "application/json") -> None:
    """Answer the next request for ``path`` with ``body`` and status 200."""
    emulator.inject(Fault(body=body, content_type=kind), path=path)


def bodies_sent_to(emulator: GigaChatEmulator, path: str) -> list[Any]:
    """Return the requests for ``path`` so far."""
    return [request for request in emulator.requests if request.path.endswith(path)]


def cosine(one: list[float], other: list[float]) -> float:
    """Return the cosine of two vectors of length 1; 1.0 is the same direction."""
    return sum(a * b for a, b in zip(one, other, strict=True))
