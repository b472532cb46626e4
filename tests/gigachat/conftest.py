"""The client that most tests of GigaChat use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.clients import client_without_retries

from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    """Yield a client of the file's emulator without retries."""
    with client_without_retries(emulator) as client:
        yield client
