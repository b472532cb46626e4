"""Pytest fixtures with a new emulator for each test. Pytest finds them wherever gigaclient is installed.

    def test_my_code(gigachat_env):
        gigachat_env.answer("Forty-two.")
        assert my_code_that_makes_a_client() == "Forty-two."
        assert gigachat_env.prompts == ["What is the answer?"]

    def test_my_function(gigachat_emulator):
        with GigaChat(**gigachat_emulator.client_options) as giga:
            assert my_function(giga) == ...

Every pytest run in the environment loads this module, so it imports only pytest until a fixture is used.
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
    """Start a :class:`gigaclient.testing.GigaChatEmulator`, and close it after the test."""
    try:
        from gigaclient.testing.gigachat import GigaChatEmulator
    except ImportError as error:
        pytest.fail(str(error), pytrace=False)
    with GigaChatEmulator() as emulator:
        yield emulator


@pytest.fixture
def fakegpt_emulator() -> Iterator[FakeGptEmulator]:
    """Start a :class:`gigaclient.testing.FakeGptEmulator`, and close it after the test."""
    try:
        from gigaclient.testing.fakegpt import FakeGptEmulator
    except ImportError as error:
        pytest.fail(str(error), pytrace=False)
    with FakeGptEmulator() as emulator:
        yield emulator


@pytest.fixture
def gigachat_env(gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> GigaChatEmulator:
    """Point the environment at ``gigachat_emulator``, so that ``GigaChat()`` without arguments uses it.

    All other ``GIGACHAT_`` variables are removed, so that no test calls the real service or reads personal settings.
    """
    _set_environment("GIGACHAT_", gigachat_emulator.environment, monkeypatch)
    return gigachat_emulator


@pytest.fixture
def fakegpt_env(fakegpt_emulator: FakeGptEmulator, monkeypatch: pytest.MonkeyPatch) -> FakeGptEmulator:
    """Point the environment at ``fakegpt_emulator``, so that ``FakeGpt()`` without arguments uses it."""
    _set_environment("FAKEGPT_", fakegpt_emulator.environment, monkeypatch)
    return fakegpt_emulator


def _set_environment(prefix: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(prefix)]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # A proxy of the environment cannot reach 127.0.0.1 of this machine.
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))))
