"""Clients of an emulator, for all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigaclient import GigaChat

if TYPE_CHECKING:  # make test-next runs without the packages of the emulator
    from gigaclient.testing import GigaChatEmulator

WAIT_SECONDS = 20.0


def client_of(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    """Return a client that retries at once."""
    return GigaChat(**{"timeout": WAIT_SECONDS, "retry_backoff_factor": 0.0, **emulator.client_options, **options})


def client_without_retries(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    """Return a client that sends each request once."""
    return client_of(emulator, **{"max_retries": 0, **options})


def client_with_new_key(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    """Return a client whose limits and tokens no other test shares. It retries at once."""
    return client_of(emulator, **{**options, "credentials": emulator.add_credentials()})
