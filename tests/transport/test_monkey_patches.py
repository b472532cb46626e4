"""Tests that a program which another library patched in a way that cannot work gets one sentence.

``tests/deployment`` has tests with the libraries themselves.
"""

from __future__ import annotations

import ssl
import sys
from types import SimpleNamespace

import pytest

from gigaclient import ConfigError, FakeGpt, GigaChat
from gigaclient.testing import GigaChatEmulator


class _PatchedContext(ssl.SSLContext):
    """As gevent's: derived from the original, and put in its place."""


@pytest.mark.parametrize("provider", [lambda: GigaChat(access_token="token"), lambda: FakeGpt(access_token="token")])
def test_gevent_that_patched_too_late_is_recognised_when_a_client_is_made(
    monkeypatch: pytest.MonkeyPatch, provider: object
) -> None:
    monkeypatch.setattr(ssl, "SSLContext", _PatchedContext)
    with pytest.raises(ConfigError, match="before the first import") as caught:
        provider()  # type: ignore[operator]
    assert "gevent" in str(caught.value)


def test_a_bundle_is_not_blamed_for_a_patch(monkeypatch: pytest.MonkeyPatch, emulator: GigaChatEmulator) -> None:
    monkeypatch.setattr(ssl, "SSLContext", _PatchedContext)
    with pytest.raises(ConfigError, match=r"^gevent patched ssl"):
        GigaChat(**emulator.client_options)


def test_a_patch_after_the_client_was_made_is_recognised_when_it_connects(
    monkeypatch: pytest.MonkeyPatch, emulator: GigaChatEmulator
) -> None:
    with GigaChat(**emulator.client_options) as giga:
        with monkeypatch.context() as patch:
            patch.setattr(ssl, "SSLContext", _PatchedContext)
            with pytest.raises(ConfigError, match="gevent"):
                giga.chat("hello")
        assert giga.chat("Say: hello").text == "hello"


@pytest.mark.parametrize("patched", [True, False])
def test_eventlet_is_refused_once_it_has_patched(monkeypatch: pytest.MonkeyPatch, patched: bool) -> None:
    patcher = SimpleNamespace(is_monkey_patched=lambda module: patched and module == "socket")
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    if not patched:
        GigaChat(access_token="token").close()
        return
    with pytest.raises(ConfigError, match="eventlet"):
        GigaChat(access_token="token")
