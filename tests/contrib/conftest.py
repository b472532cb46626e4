"""An emulator for tests whose kernels and terminals outlive one test."""

from __future__ import annotations

import pytest

from gigaclient.testing import GigaChatEmulator


@pytest.fixture(scope="module")
def emulator(shared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return shared_emulator
