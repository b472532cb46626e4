"""Fixtures that pytest offers wherever gigaclient is installed: a fresh emulator for each test that asks for one.

    def test_my_code(gigachat_emulator):
        with GigaChat(**gigachat_emulator.client_options) as giga:
            assert my_code(giga) == ...

Loaded by every pytest run in the environment, so nothing but pytest is imported before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gigaclient.testing.fakegpt import FakeGptEmulator
    from gigaclient.testing.gigachat import GigaChatEmulator

__all__ = ["fakegpt_emulator", "gigachat_emulator"]


@pytest.fixture
def gigachat_emulator() -> Iterator[GigaChatEmulator]:
    """A running :class:`gigaclient.testing.GigaChatEmulator`, closed after the test."""
    try:
        from gigaclient.testing.gigachat import GigaChatEmulator
    except ImportError as error:
        pytest.fail(str(error), pytrace=False)
    with GigaChatEmulator() as emulator:
        yield emulator


@pytest.fixture
def fakegpt_emulator() -> Iterator[FakeGptEmulator]:
    """A running :class:`gigaclient.testing.FakeGptEmulator`, closed after the test."""
    try:
        from gigaclient.testing.fakegpt import FakeGptEmulator
    except ImportError as error:
        pytest.fail(str(error), pytrace=False)
    with FakeGptEmulator() as emulator:
        yield emulator
