"""A client of the emulator, and a check that no thread is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.reliability_tools import wait_until
from support.web import pumps

from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    emulator.clear()
    with GigaChat(**emulator.client_options, max_retries=0) as client:
        yield client
    wait_until(lambda: emulator.open_streams == 0, what="the end of all streams")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: not pumps(), what="the end of the threads that read")
