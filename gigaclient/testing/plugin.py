"""Fixtures that pytest offers wherever gigaclient is installed: a fresh emulator for each test that asks for one.

    def test_my_code(gigachat_env):
        gigachat_env.answer("Forty-two.")
        assert my_code_that_makes_a_client() == "Forty-two."
        assert gigachat_env.prompts == ["What is the answer?"]

    def test_my_function(gigachat_emulator):
        with GigaChat(**gigachat_emulator.client_options) as giga:
            assert my_function(giga) == ...

Loaded by every pytest run in the environment, so nothing but pytest is imported before a fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gigaclient.testing.fakegpt import FakeGptEmulator
    from gigaclient.testing.gigachat import GigaChatEmulator

__all__ = ["fakegpt_emulator", "fakegpt_env", "gigachat_emulator", "gigachat_env"]


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


@pytest.fixture
def gigachat_env(gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> GigaChatEmulator:
    """``gigachat_emulator``, with the environment pointing at it: ``GigaChat()`` without arguments goes there.

    No other ``GIGACHAT_`` variable is left, so that no test meets the real service or the settings of a person.
    """
    _point("GIGACHAT_", gigachat_emulator.environment, monkeypatch)
    return gigachat_emulator


@pytest.fixture
def fakegpt_env(fakegpt_emulator: FakeGptEmulator, monkeypatch: pytest.MonkeyPatch) -> FakeGptEmulator:
    """``fakegpt_emulator``, with the environment pointing at it: ``FakeGpt()`` without arguments goes there."""
    _point("FAKEGPT_", fakegpt_emulator.environment, monkeypatch)
    return fakegpt_emulator


def _point(prefix: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(prefix)]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # A proxy that the environment names does not reach this machine.
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))))
