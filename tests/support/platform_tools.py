"""What the tests of the endpoints beside chat share: a client of an emulator, and the bodies that came in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gigaclient import GigaChat
from gigaclient.testing import Fault, GigaChatEmulator

WAIT_SECONDS = 20.0


@contextmanager
def client_of(emulator: GigaChatEmulator, **options: Any) -> Iterator[GigaChat]:
    """A client that gives up early and never waits between tries."""
    deadline = {"timeout": WAIT_SECONDS, "max_retries": 0, "retry_backoff_factor": 0.0}
    with GigaChat(**{**emulator.client_options, **deadline, **options}) as client:
        yield client


def answer_with(emulator: GigaChatEmulator, path: str, body: Any, *, kind: str = "application/json") -> None:
    """Have the next request for ``path`` answered with ``body`` and status 200."""
    emulator.inject(Fault(body=body, content_type=kind), path=path)


def sent_to(emulator: GigaChatEmulator, path: str) -> list[Any]:
    """The requests for ``path`` so far."""
    return [request for request in emulator.requests if request.path.endswith(path)]


def cosine(one: list[float], other: list[float]) -> float:
    """How close two vectors of length 1 are; 1.0 is the same direction."""
    return sum(a * b for a, b in zip(one, other, strict=True))
