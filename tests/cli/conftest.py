"""The emulator, and an environment that points at it, for the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gigaclient.testing import GigaChatEmulator


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Isolate the tests from the settings and the keyring of the user; return the folder for settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config" / "gigaclient"


@pytest.fixture
def emulator(shared_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[GigaChatEmulator]:
    """Return the emulator, with its address and key in the environment."""
    for name, value in shared_emulator.environment.items():
        monkeypatch.setenv(name, value)
    shared_emulator.clear()
    yield shared_emulator
    shared_emulator.clear()
