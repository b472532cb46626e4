"""Tests of the emulator's embeddings, token counts, checks and balance."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from support.platform_tools import cosine

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


def test_similar_texts_have_close_vectors() -> None:
    query = vector("When is the next tide in the port of Murmansk?", 1024)
    close = vector("The next tide in Murmansk port is at noon", 1024)
    far = vector("Рецепт борща со сметаной и чесноком", 1024)
    assert cosine(query, close) > 0.5
    assert abs(cosine(query, far)) < 0.15


def test_the_response_has_an_item_for_each_text(emulator: GigaChatEmulator) -> None:
    response = embeddings({"model": "GigaEmbeddings-3B-2025-09", "input": ["one", "two words"]}, emulator)
    assert [item["index"] for item in response["data"]] == [0, 1]
    assert [len(item["embedding"]) for item in response["data"]] == [2560, 2560]
    assert [item["usage"]["prompt_tokens"] for item in response["data"]] == [1, canned_model.tokens("two words")]
    assert "usage" not in response
    assert len(embeddings({"model": "Embeddings", "input": "one"}, emulator)["data"]) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "Embeddings", "input": []}, 400),
        ({"model": "Embeddings", "input": ["a", 1]}, 400),
        ({"model": "Embeddings"}, 400),
        ({"input": ["a"]}, 400),
        (["a"], 400),
        ({"model": "GigaChat-2", "input": ["a"]}, 404),
        ({"model": "none", "input": ["a"]}, 404),
        ({"model": "Embeddings", "input": ["a" * 1793]}, 413),
    ],
)
def test_requests_for_vectors_are_refused_as_documented(emulator: GigaChatEmulator, body: Any, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        embeddings(body, emulator)
    assert caught.value.status == status


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


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "GigaChat-2", "input": "text"}, 400),
        ({"model": "GigaChat-2", "input": []}, 400),
        ({"input": ["text"]}, 400),
        ({"model": "none", "input": ["text"]}, 404),
    ],
)
def test_counts_are_refused_as_documented(emulator: GigaChatEmulator, body: Any, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        call(emulator, "/tokens/count", body)
    assert caught.value.status == status


# -- checks ----------------------------------------------------------------------------------------

LONG = "Вечером мы шли вдоль реки, смотрели на воду и говорили о том, что было летом, и что будет зимой, "


@pytest.mark.parametrize(
    ("text", "category", "parts"),
    [
        (LONG + "когда замёрзнет лёд.", "human", 0),
        (LONG + "когда замёрзнет лёд. Важно отметить, что лёд скользкий.", "mixed", 1),
        ("Как языковая модель, " + LONG + "я не пью чай.", "ai", 1),
    ],
)
def test_authorship_depends_on_typical_phrases(
    emulator: GigaChatEmulator, text: str, category: str, parts: int
) -> None:
    body = {"input": text, "model": "GigaCheckDetection"}
    found = call(emulator, "/ai/check", body, "GIGACHAT_API_CORP")
    assert (found["category"], found["characters"], len(found["ai_intervals"])) == (category, len(text), parts)
    plain = call(emulator, "/ai/check", {**body, "model": "GigaCheckClassification"}, "GIGACHAT_API_CORP")
    assert plain == {name: value for name, value in found.items() if name != "ai_intervals"}


@pytest.mark.parametrize(
    ("body", "scope", "status"),
    [
        ({"input": LONG * 2, "model": "GigaCheckDetection"}, "GIGACHAT_API_PERS", 403),
        ({"input": LONG * 2, "model": "GigaCheckDetection"}, "GIGACHAT_API_B2B", 403),
        ({"input": LONG * 2, "model": "GigaChat-2"}, "GIGACHAT_API_CORP", 404),
        ({"input": "too short", "model": "GigaCheckDetection"}, "GIGACHAT_API_CORP", 422),
        ({"input": ["text"], "model": "GigaCheckDetection"}, "GIGACHAT_API_CORP", 400),
        ({"input": LONG * 2}, "GIGACHAT_API_CORP", 400),
    ],
)
def test_the_check_is_refused_as_documented(emulator: GigaChatEmulator, body: Any, scope: str, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        call(emulator, "/ai/check", body, scope)
    assert caught.value.status == status


def test_the_filter_looks_at_every_message(emulator: GigaChatEmulator) -> None:
    messages = [{"role": "user", "content": "Ты дурак"}, {"role": "assistant", "content": "Нет"}]
    found = call(emulator, "/filter/check", {"model": "GigaFilter", "messages": messages})
    assert found == {"is_profane": True, "usage": {"filter_tokens": 4}}
    off = {"neuro": False, "blacklist": False}
    found = call(emulator, "/filter/check", {"model": "GigaFilter", "messages": messages, "settings": off})
    assert found["is_profane"] is False
    assert call(emulator, "/filter/check", {"model": "GigaFilter", "messages": messages[1:]})["is_profane"] is False


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "GigaFilter", "messages": []}, 400),
        ({"model": "GigaFilter", "messages": "text"}, 400),
        ({"model": "GigaFilter", "messages": [{"content": "x"}]}, 400),
        ({"model": "GigaFilter", "messages": [{"role": "user", "content": "x"}], "settings": {"neuro": 1}}, 400),
        ({"model": "GigaChat-2", "messages": [{"role": "user", "content": "x"}]}, 404),
    ],
)
def test_the_filter_refuses_as_documented(emulator: GigaChatEmulator, body: Any, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        call(emulator, "/filter/check", body)
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
