"""Tests of the emulator's embeddings, token counts, checks and balance."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from gigaclient.testing import GigaChatEmulator, canned_model
from gigaclient.testing.fault_server import Answer, HeaderList, RecordedRequest
from gigaclient.testing.routing import Refusal, RoutedRequest
from gigaclient.testing.text_tools import TextTools, embeddings, vector


def call(emulator: GigaChatEmulator, path: str, body: Any = None, scope: str = "GIGACHAT_API_PERS") -> Any:
    """Return the response of the endpoint at ``path`` to ``body``, without a network."""
    client = base64.b64decode(emulator.add_credentials(scope)).decode().partition(":")[0]
    request = RecordedRequest("POST", f"/v1{path}", "", HeaderList(), json.dumps(body).encode(), 1, 0.0)
    route = next(route for route in TextTools(emulator).routes if route.path == path)
    answer = route.endpoint(RoutedRequest(request, "v1", path, {}, client, {}))
    assert isinstance(answer, Answer)
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


@pytest.fixture(scope="module")
def emulator() -> Iterator[GigaChatEmulator]:
    with GigaChatEmulator(exhausted_models=["GigaChat-2-Pro"]) as emulator:
        yield emulator


# -- vectors ---------------------------------------------------------------------------------------


def test_vectors_have_length_one_and_are_reproducible() -> None:
    for text in ("Прилив в порту", "", "a", "слово " * 200):
        values = vector(text, 1024)
        assert len(values) == 1024
        assert math.isclose(sum(value * value for value in values), 1.0, abs_tol=1e-3)
        assert values == vector(text, 1024)
        assert 0.0 not in values


def test_the_response_has_an_item_for_each_text(emulator: GigaChatEmulator) -> None:
    response = embeddings({"model": "GigaEmbeddings-3B-2025-09", "input": ["one", "two words"]}, emulator)
    assert [item["index"] for item in response["data"]] == [0, 1]
    assert [len(item["embedding"]) for item in response["data"]] == [2560, 2560]
    assert [item["usage"]["prompt_tokens"] for item in response["data"]] == [1, canned_model.tokens("two words")]
    assert "usage" not in response
    assert len(embeddings({"model": "Embeddings", "input": "one"}, emulator)["data"]) == 1


def test_an_exhausted_package_has_no_vectors() -> None:
    with GigaChatEmulator(exhausted_models=["Embeddings"]) as emulator, pytest.raises(Refusal) as caught:
        embeddings({"model": "Embeddings", "input": ["a"]}, emulator)
    assert caught.value.status == 402


# -- counts ----------------------------------------------------------------------------------------


def test_counts_equal_those_of_chat(emulator: GigaChatEmulator) -> None:
    counted = call(emulator, "/tokens/count", {"model": "GigaChat-2", "input": ["👋 Привет", ""]})
    assert counted == [
        {"object": "tokens", "tokens": canned_model.tokens("👋 Привет"), "characters": 8},
        {"object": "tokens", "tokens": 0, "characters": 0},
    ]


# -- checks ----------------------------------------------------------------------------------------


def test_the_filter_looks_at_every_message(emulator: GigaChatEmulator) -> None:
    messages = [{"role": "user", "content": "Ты дурак"}, {"role": "assistant", "content": "Нет"}]
    found = call(emulator, "/filter/check", {"model": "GigaFilter", "messages": messages})
    assert found == {"is_profane": True, "usage": {"filter_tokens": 4}}
    off = {"neuro": False, "blacklist": False}
    found = call(emulator, "/filter/check", {"model": "GigaFilter", "messages": messages, "settings": off})
    assert found["is_profane"] is False
    assert call(emulator, "/filter/check", {"model": "GigaFilter", "messages": messages[1:]})["is_profane"] is False


# -- refusals --------------------------------------------------------------------------------------

PERSON, PACKAGE, COMPANY = "GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP"
HELLO = [{"role": "user", "content": "x"}]
LONG = "Вечером мы шли вдоль реки, смотрели на воду и говорили о том, что было летом, и что будет зимой, "


@pytest.mark.parametrize(
    ("path", "body", "scope", "status"),
    [
        ("/embeddings", {"model": "Embeddings", "input": []}, PERSON, 400),
        ("/embeddings", {"model": "Embeddings", "input": ["a", 1]}, PERSON, 400),
        ("/embeddings", {"model": "Embeddings"}, PERSON, 400),
        ("/embeddings", {"input": ["a"]}, PERSON, 400),
        ("/embeddings", ["a"], PERSON, 400),
        ("/embeddings", {"model": "GigaChat-2", "input": ["a"]}, PERSON, 404),
        ("/embeddings", {"model": "none", "input": ["a"]}, PERSON, 404),
        ("/embeddings", {"model": "Embeddings", "input": ["a" * 1793]}, PERSON, 413),
        ("/tokens/count", {"model": "GigaChat-2", "input": "text"}, PERSON, 400),
        ("/tokens/count", {"model": "GigaChat-2", "input": []}, PERSON, 400),
        ("/tokens/count", {"input": ["text"]}, PERSON, 400),
        ("/tokens/count", {"model": "none", "input": ["text"]}, PERSON, 404),
        ("/ai/check", {"input": LONG * 2, "model": "GigaCheckDetection"}, PERSON, 403),
        ("/ai/check", {"input": LONG * 2, "model": "GigaCheckDetection"}, PACKAGE, 403),
        ("/ai/check", {"input": LONG * 2, "model": "GigaChat-2"}, COMPANY, 404),
        ("/ai/check", {"input": "too short", "model": "GigaCheckDetection"}, COMPANY, 422),
        ("/ai/check", {"input": ["text"], "model": "GigaCheckDetection"}, COMPANY, 400),
        ("/ai/check", {"input": LONG * 2}, COMPANY, 400),
        ("/filter/check", {"model": "GigaFilter", "messages": []}, PERSON, 400),
        ("/filter/check", {"model": "GigaFilter", "messages": "text"}, PERSON, 400),
        ("/filter/check", {"model": "GigaFilter", "messages": [{"content": "x"}]}, PERSON, 400),
        ("/filter/check", {"model": "GigaFilter", "messages": HELLO, "settings": {"neuro": 1}}, PERSON, 400),
        ("/filter/check", {"model": "GigaChat-2", "messages": HELLO}, PERSON, 404),
    ],
)
def test_a_request_is_refused_as_documented(
    emulator: GigaChatEmulator, path: str, body: Any, scope: str, status: int
) -> None:
    with pytest.raises(Refusal) as caught:
        call(emulator, path, body, scope)
    assert caught.value.status == status


# -- balance ---------------------------------------------------------------------------------------


def test_the_balance_is_only_for_packages(emulator: GigaChatEmulator) -> None:
    left = {entry["usage"]: entry["value"] for entry in call(emulator, "/balance")["balance"]}
    assert (left["GigaChat-2"], left["GigaChat-2-Pro"]) == (1_000_000, 0)
    assert isinstance(left["embeddings"], float)
    assert call(emulator, "/balance", scope="GIGACHAT_API_B2B")
    with pytest.raises(Refusal) as caught:
        call(emulator, "/balance", scope="GIGACHAT_API_CORP")
    assert (caught.value.status, caught.value.body["message"]) == (403, "Permission denied")


def test_the_scope_of_a_key_is_found(emulator: GigaChatEmulator) -> None:
    client = base64.b64decode(emulator.add_credentials("GIGACHAT_API_B2B")).decode().partition(":")[0]
    assert emulator.scope_of(client) == "GIGACHAT_API_B2B"
    assert emulator.scope_of("user somebody") == emulator.scope == "GIGACHAT_API_PERS"
