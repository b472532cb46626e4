"""A ``requests_cache.CachedSession`` as ``session=``: which requests it caches, and no secrets in its cache."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
import requests_cache

from gigaclient import FakeGpt, GigaChat, TLSError
from gigaclient.testing import Authority, FakeGptEmulator, GigaChatEmulator

PROMPT = "Count from 1 to 5"
CALLS: dict[str, Callable[[GigaChat], Any]] = {
    "models": lambda giga: [model.id for model in giga.get_models().data],
    "chat": lambda giga: giga.chat(PROMPT).text,
    "stream": lambda giga: giga.stream(PROMPT).result().text,
}
WITH_CHATS: dict[str, Any] = {
    "allowable_methods": ["GET", "POST"],
    "urls_expire_after": {"*/oauth": requests_cache.DO_NOT_CACHE},
}


@pytest.mark.parametrize(
    ("settings", "call", "requests"),
    [
        ({}, "models", 1),
        ({}, "chat", 2),
        ({}, "stream", 2),
        (WITH_CHATS, "models", 1),
        (WITH_CHATS, "chat", 1),
        (WITH_CHATS, "stream", 2),
        ({"urls_expire_after": {"*/models": 60, "*": requests_cache.DO_NOT_CACHE}}, "models", 1),
        ({"urls_expire_after": {"*/chat/*": 60, "*": requests_cache.DO_NOT_CACHE}}, "models", 2),
    ],
)
def test_a_repeated_call_is_sent_as_often_as_the_page_says(
    gigachat_emulator: GigaChatEmulator, settings: dict[str, Any], call: str, requests: int
) -> None:
    with requests_cache.CachedSession(backend="memory", **settings) as session:
        with GigaChat(**gigachat_emulator.client_options, session=session) as giga:
            answers = [CALLS[call](giga) for _ in range(2)]
        assert answers[0] == answers[1]
        assert len(gigachat_emulator.requests) == requests
        assert not [response.url for response in session.cache.filter() if response.url.endswith("/oauth")]


def test_the_cache_keeps_no_key_and_no_token(gigachat_emulator: GigaChatEmulator) -> None:
    with requests_cache.CachedSession(backend="memory", **WITH_CHATS) as session:
        with GigaChat(**gigachat_emulator.client_options, session=session) as giga:
            for call in CALLS.values():
                call(giga)
            token = giga.get_token().access_token
        kept = "".join(f"{vars(response)} {vars(response.request)}" for response in session.cache.filter())
    assert "/models" in kept
    assert token not in kept
    assert gigachat_emulator.credentials not in kept


def test_a_cached_session_is_pinned_like_any_other(gigachat_emulator: GigaChatEmulator) -> None:
    options = gigachat_emulator.client_options
    with Authority() as another, requests_cache.CachedSession(backend="memory") as session:
        options["ca_bundle_file"] = another.ca_file
        with GigaChat(**options, session=session, max_retries=0) as giga, pytest.raises(TLSError):
            giga.get_models()
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def test_fakegpt_logs_in_through_a_cached_session() -> None:
    with FakeGptEmulator() as emulator, requests_cache.CachedSession(backend="memory") as session:
        with FakeGpt(**emulator.client_options, session=session) as fake:
            assert fake.chat(PROMPT).text == fake.chat(PROMPT).text
        assert emulator.logins == 1
