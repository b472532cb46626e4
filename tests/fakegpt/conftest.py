"""An emulator for each test, clients that point at it, and a stream fed from bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gigaclient import FakeGpt
from gigaclient.testing import FakeGptEmulator

MakeClient = Callable[..., FakeGpt]


@pytest.fixture
def emulator() -> Iterator[FakeGptEmulator]:
    with FakeGptEmulator() as emulator:
        yield emulator
        assert emulator.server.handler_errors == []


@pytest.fixture
def make(emulator: FakeGptEmulator) -> Iterator[MakeClient]:
    """Create clients for the emulator that retry quickly, and close them."""
    made: list[FakeGpt] = []

    def make(**options: Any) -> FakeGpt:
        client = FakeGpt(**{"retry_backoff_factor": 0.0, "timeout": 20.0, **emulator.client_options, **options})
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make: MakeClient) -> FakeGpt:
    return make()
