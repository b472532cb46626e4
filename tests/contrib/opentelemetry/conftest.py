"""Instrumented clients, and what they record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.telemetry import Telemetry

from gigaclient import FakeGpt, GigaChat
from gigaclient.contrib.opentelemetry import instrument
from gigaclient.testing import FakeGptEmulator, GigaChatEmulator


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def giga(emulator: GigaChatEmulator, telemetry: Telemetry) -> Iterator[GigaChat]:
    """An instrumented client."""
    with GigaChat(**emulator.client_options, retry_backoff_factor=0) as client:
        yield instrument(client, **telemetry.providers)


@pytest.fixture
def talkative(emulator: GigaChatEmulator, telemetry: Telemetry) -> Iterator[GigaChat]:
    """An instrumented client that records content."""
    with GigaChat(**emulator.client_options) as client:
        yield instrument(client, **telemetry.providers, capture_content=True)


@pytest.fixture
def fakegpt(fakegpt_emulator: FakeGptEmulator, telemetry: Telemetry) -> Iterator[FakeGpt]:
    """An instrumented client of FakeGpt that records content."""
    with FakeGpt(**fakegpt_emulator.client_options) as client:
        yield instrument(client, **telemetry.providers, capture_content=True)
