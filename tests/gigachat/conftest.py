"""The client that most tests of GigaChat use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.platform_tools import client_of

from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    """Yield a client of the file's emulator without retries."""
    with client_of(emulator) as client:
        yield client
