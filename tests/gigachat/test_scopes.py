"""The search for the scope of a key: which clients are tried, which are closed, and which errors end it."""

from __future__ import annotations

import pytest

from gigaclient import AuthenticationError, GigaChat, ServerError
from gigaclient.gigachat.scopes import SCOPES, client_in_scope
from gigaclient.testing import Fault, GigaChatEmulator


class Clients:
    """Makes clients of the emulator with one key, and keeps them by their scopes."""

    def __init__(self, emulator: GigaChatEmulator, key: str) -> None:
        self._emulator = emulator
        self._key = key
        self.made: dict[str, GigaChat] = {}

    def make(self, scope: str) -> GigaChat:
        client = self.made[scope] = GigaChat(
            **{**self._emulator.client_options, "credentials": self._key, "scope": scope, "max_retries": 0}
        )
        return client


def test_the_client_of_the_accepted_scope_stays_open_and_the_others_are_closed(emulator: GigaChatEmulator) -> None:
    clients = Clients(emulator, emulator.add_credentials("GIGACHAT_API_B2B"))
    client, scope = client_in_scope(clients.make, SCOPES)
    assert scope == "GIGACHAT_API_B2B"
    assert {tried: made.closed for tried, made in clients.made.items()} == {"GIGACHAT_API_PERS": True, scope: False}
    assert client.get_models().data
    client.close()


def test_a_key_of_no_scope_raises_the_first_refusal(emulator: GigaChatEmulator) -> None:
    clients = Clients(emulator, emulator.add_credentials("GIGACHAT_API_CORP"))
    with pytest.raises(AuthenticationError, match="belongs to another plan"):
        client_in_scope(clients.make, SCOPES[:2])
    assert [made.closed for made in clients.made.values()] == [True, True]


def test_any_other_error_ends_the_search(emulator: GigaChatEmulator) -> None:
    clients = Clients(emulator, emulator.add_credentials("GIGACHAT_API_CORP"))
    emulator.inject(Fault(status=500), path="/oauth")
    with pytest.raises(ServerError):
        client_in_scope(clients.make, SCOPES)
    assert [made.closed for made in clients.made.values()] == [True]
