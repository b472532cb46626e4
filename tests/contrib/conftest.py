"""An emulator for kernels, terminals and streams that outlive one test."""

from __future__ import annotations

import pytest

from gigaclient.testing import GigaChatEmulator


@pytest.fixture(scope="module")
def emulator(shared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return shared_emulator
