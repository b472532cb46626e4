"""Fixtures of the emulator tests. The fixtures of the pytest plugin are tested separately."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testing.plain_client import Giga

from gigaclient.testing import FakeGptEmulator, GigaChatEmulator


@pytest.fixture
def gigachat() -> Iterator[GigaChatEmulator]:
    with GigaChatEmulator() as emulator:
        yield emulator
    assert emulator.api_server.handler_errors == []
    assert emulator.oauth_server.handler_errors == []


@pytest.fixture
def giga(gigachat: GigaChatEmulator) -> Iterator[Giga]:
    """Return a client of the standard library with a token."""
    with Giga(gigachat) as client:
        yield client


@pytest.fixture
def fakegpt() -> Iterator[FakeGptEmulator]:
    with FakeGptEmulator() as emulator:
        yield emulator
    assert emulator.server.handler_errors == []
