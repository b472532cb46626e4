"""One-line calls share a client: the same settings give the same client."""

from __future__ import annotations

import gc
import pickle
import time
import weakref
from typing import Any

import pytest
from support.token_tools import in_child, together

from gigaclient import ConfigError, GigaChat
from gigaclient._core.client_cache import ClientCache
from gigaclient._primitives.secret import Secret
from gigaclient.testing import GigaChatEmulator


class Client:
    closed = False


@pytest.fixture
def shared() -> ClientCache[Client]:
    return ClientCache()


def test_the_same_settings_give_the_same_client_in_whatever_order(shared: ClientCache[Client]) -> None:
    first = shared.get({"key": "a", "scope": "b"}, Client)
    assert shared.get({"scope": "b", "key": "a"}, Client) is first


@pytest.mark.parametrize(
    "other",
    [
        {"key": "b"},
        {"key": Secret("b")},
        {"key": "a", "scope": ""},
        {"key": None},
        {"key": 1},
        {"key": ("a",)},
        {"key": object()},
        {},
    ],
)
def test_other_settings_give_another_client(shared: ClientCache[Client], other: dict[str, Any]) -> None:
    assert shared.get({"key": "a"}, Client) is not shared.get(other, Client)


def test_secrets_are_compared_by_value_though_they_look_alike(shared: ClientCache[Client]) -> None:
    first = shared.get({"key": Secret("a")}, Client)
    assert shared.get({"key": Secret("b")}, Client) is not first
    assert shared.get({"key": Secret("a")}, Client) is first


def test_settings_cannot_be_forged_out_of_others(shared: ClientCache[Client]) -> None:
    assert shared.get({"a": "x\0b=y"}, Client) is not shared.get({"a": "x", "b": "y"}, Client)


def test_a_burst_of_first_calls_makes_one_client(shared: ClientCache[Client]) -> None:
    made: list[Client] = []

    def make() -> Client:
        time.sleep(0.02)
        made.append(Client())
        return made[-1]

    assert len({id(client) for client in together(16, lambda n: shared.get({"key": "a"}, make))}) == 1
    assert len(made) == 1


def test_a_closed_client_is_replaced(shared: ClientCache[Client]) -> None:
    first = shared.get({"key": "a"}, Client)
    first.closed = True
    assert shared.get({"key": "a"}, Client) is not first


def test_a_client_that_cannot_be_made_leaves_nothing_behind(shared: ClientCache[Client]) -> None:
    def refuse() -> Client:
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        shared.get({"key": "a"}, refuse)
    assert isinstance(shared.get({"key": "a"}, Client), Client)


def test_the_client_unused_for_longest_is_dropped_when_there_are_many(shared: ClientCache[Client]) -> None:
    clients = [weakref.ref(shared.get({"key": str(n)}, Client)) for n in range(32)]
    shared.get({"key": "0"}, Client)
    shared.get({"key": "new"}, Client)
    gc.collect()
    assert [n for n in range(32) if clients[n]() is None] == [1]


def test_settings_are_stored_only_as_a_hash(shared: ClientCache[Client]) -> None:
    shared.get({"key": Secret("the-secret-key"), "password": "the-secret-password"}, Client)
    assert "the-secret" not in repr(vars(shared))
    assert b"the-secret" not in pickle.dumps(list(shared._clients))


def test_a_forked_child_has_the_clients_and_its_own_lock(shared: ClientCache[Client]) -> None:
    first = shared.get({"key": "a"}, Client)

    def work() -> bool:
        return shared.get({"key": "a"}, Client) is first

    with shared._lock:
        assert in_child(work) is True


# -- create_generator -----


def generator_options(emulator: GigaChatEmulator) -> dict[str, Any]:
    options = emulator.client_options
    api_key = options.pop("credentials")
    return {**options, "api_key": api_key}


def test_one_line_calls_with_the_same_key_and_addresses_make_one_oauth_call(
    gigachat_emulator: GigaChatEmulator,
) -> None:
    options = generator_options(gigachat_emulator)

    def ask(n: int) -> str:
        return "".join(GigaChat.create_generator("GigaChat-2", f"Repeat: word{n}", stream=bool(n % 2), **options))

    outcomes = together(16, ask)
    assert all(f"word{n}" in outcome for n, outcome in enumerate(outcomes)), outcomes
    assert gigachat_emulator.oauth_calls == 1


def test_another_key_is_another_client(gigachat_emulator: GigaChatEmulator) -> None:
    options = generator_options(gigachat_emulator)
    list(GigaChat.create_generator("GigaChat-2", "hi", **options))
    list(GigaChat.create_generator("GigaChat-2", "hi", **{**options, "api_key": gigachat_emulator.add_credentials()}))
    assert gigachat_emulator.oauth_calls == 2


def test_a_missing_key_is_a_value_error_before_anything_is_sent(gigachat_emulator: GigaChatEmulator) -> None:
    options = {**generator_options(gigachat_emulator), "api_key": None}
    with pytest.raises(ValueError, match="GIGACHAT_CREDENTIALS"):
        GigaChat.create_generator("GigaChat-2", "hi", **options)
    assert gigachat_emulator.oauth_calls == gigachat_emulator.connections == 0


def test_the_key_may_come_from_the_environment_and_a_changed_one_is_noticed(
    gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**generator_options(gigachat_emulator), "api_key": None}
    for _ in range(2):
        monkeypatch.setenv("GIGACHAT_CREDENTIALS", gigachat_emulator.add_credentials())
        for _ in range(2):
            assert list(GigaChat.create_generator("GigaChat-2", "hi", **options))
    assert gigachat_emulator.oauth_calls == 2
