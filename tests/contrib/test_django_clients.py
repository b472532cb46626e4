"""Clients from Django's settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.django_tools import configured
from support.reliability_tools import together

configured()
from django.conf import settings  # noqa: E402
from django.test import override_settings  # noqa: E402

from gigaclient import ConfigError, FakeGpt, GigaChat  # noqa: E402
from gigaclient.contrib.django import clients as clients_module  # noqa: E402
from gigaclient.contrib.django import (  # noqa: E402
    get_client,
)

KEY = "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwOjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMQ=="


@pytest.fixture(autouse=True)
def _no_clients_left() -> Iterator[None]:
    clients_module._clients.reset()
    yield
    clients_module._clients.reset()


def test_each_alias_has_one_client_for_all_threads() -> None:
    with override_settings(GIGACLIENT={"default": {"credentials": KEY}, "pool": {"provider": "fakegpt"}}):
        found = together(lambda number: get_client("pool" if number % 2 else "default"), 16)
        assert len({id(client) for client in found}) == 2
        assert isinstance(get_client(), GigaChat)
        assert isinstance(get_client("pool"), FakeGpt)


def test_options_without_an_alias_are_the_default_one() -> None:
    with override_settings(GIGACLIENT={"credentials": KEY, "model": "GigaChat-2-Pro"}):
        assert get_client(kind=GigaChat).model == "GigaChat-2-Pro"


def test_without_the_setting_a_client_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_MODEL", "GigaChat-2-Max")
    with override_settings():
        if hasattr(settings, "GIGACLIENT"):
            del settings.GIGACLIENT
        clients_module._clients.reset()
        assert get_client(kind=GigaChat).model == "GigaChat-2-Max"


def test_override_settings_brings_another_client_and_takes_it_away_again() -> None:
    with override_settings(GIGACLIENT={"credentials": KEY, "model": "outer"}):
        outer = get_client()
        with override_settings(GIGACLIENT={"credentials": KEY, "model": "inner"}):
            assert get_client(kind=GigaChat).model == "inner"
        assert get_client(kind=GigaChat).model == "outer"
        with override_settings(LANGUAGE_CODE="ru"):
            kept = get_client()
        assert get_client() is kept
        assert not outer.closed  # type: ignore[attr-defined]


def test_a_client_that_was_closed_is_replaced() -> None:
    with override_settings(GIGACLIENT={"credentials": KEY}):
        with get_client() as closed:
            pass
        assert get_client() is not closed


class OwnProvider(GigaChat):
    """A client class for the option ``provider``."""


@pytest.mark.parametrize("provider", [OwnProvider, f"{__name__}.OwnProvider"])
def test_a_provider_may_be_the_users_own_class(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__.partition(".")[0], sys.modules.get(__name__.partition(".")[0]))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[OwnProvider.__module__])
    with override_settings(GIGACLIENT={"provider": provider, "credentials": KEY}):
        assert type(get_client()).__name__ == "OwnProvider"


@pytest.mark.parametrize(
    ("setting", "alias", "message"),
    [
        ({"default": {}, "cheap": {}}, "chaep", "has no alias 'chaep'; it has 'default', 'cheap'; is it 'cheap'?"),
        ({"cheap": {}}, "default", "has no alias 'default'; it has 'cheap'"),
        ({"Model": "x"}, "default", "GigaChat has no argument Model; did you mean model?"),
        ({"api_key": "hidden-word"}, "default", "pass credentials="),
        ({"credentials": "hidden-word ключ"}, "default", "credentials: is not base64"),
        ({"provider": "fakegtp"}, "default", 'provider must be "gigachat", "fakegpt"'),
        ({"provider": "nowhere.Client"}, "default", "cannot be imported"),
        ({"provider": "json.JSONDecoder"}, "default", "meets gigaclient.ChatProvider"),
        ({"default": {}, "model": "x"}, "default", "mixes aliases and options: move 'model'"),
        ("hidden-word", "default", "must be a dict of options, or of aliases to options, not str"),
        ({1: {}}, "default", "names are strings"),
        ({"default": {1: 2}}, "default", "names of options are strings"),
    ],
)
def test_a_setting_that_cannot_work_says_what_to_do(setting: Any, alias: str, message: str) -> None:
    with override_settings(GIGACLIENT=setting), pytest.raises(ConfigError) as raised:
        get_client(alias)
    assert message in str(raised.value)
    assert str(raised.value).startswith("GIGACLIENT")
    assert "hidden-word" not in str(raised.value)


def test_a_client_of_another_class_than_requested_is_an_error() -> None:
    message = "is a GigaChat, and a FakeGpt was requested"
    with override_settings(GIGACLIENT={"credentials": KEY}), pytest.raises(ConfigError, match=message):
        get_client(kind=FakeGpt)
