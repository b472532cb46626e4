"""Embeddings: one request or several, joined in order, without losing billed vectors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from support.clients import client_without_retries
from support.platform_tools import answer_with, bodies_sent_to, cosine

from gigaclient import GigaChat
from gigaclient.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    RequestEntityTooLargeError,
    ServerError,
)
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import Embedding, Embeddings, EmbeddingsUsage

PATH = "/embeddings"


@pytest.fixture
def emulator(emulator: GigaChatEmulator) -> GigaChatEmulator:
    emulator.exhausted_models = {"Embeddings-2"}
    return emulator


def item(index: Any, *vector: Any, tokens: Any = 1) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": list(vector), "usage": {"prompt_tokens": tokens}}


def answer(*items: Any) -> dict[str, Any]:
    return {"object": "list", "model": "Embeddings", "data": list(items)}


# -- one request -----------------------------------------------------------------------------------


def test_texts_become_vectors_in_their_order(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    texts = ["Прилив в порту высокий", "Приливы в портах высоки", "Stock markets fell"]
    result = giga.embeddings(texts)
    assert isinstance(result, Embeddings)
    assert [len(vector) for vector in result.vectors] == [1024] * 3
    assert [item.index for item in result.data] == [0, 1, 2]
    assert result.vectors[1] == result.data[1].embedding
    assert cosine(result.vectors[0], result.vectors[1]) > 0.4 > cosine(result.vectors[0], result.vectors[2])
    assert bodies_sent_to(emulator, PATH)[0].json() == {"model": "Embeddings", "input": texts}
    assert result.model == "Embeddings"
    assert result.request_id == bodies_sent_to(emulator, PATH)[0].headers["x-request-id"]
    assert result.raw["data"][2]["embedding"] == result.vectors[2]


def test_a_single_string_is_one_text_and_not_its_letters(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    assert len(giga.embeddings("abc").data) == 1
    assert bodies_sent_to(emulator, PATH)[0].json()["input"] == ["abc"]


def test_the_model_may_be_chosen(giga: GigaChat) -> None:
    result = giga.embeddings(["a text"], model="EmbeddingsGigaR")
    assert len(result.vectors[0]) == 2560
    assert result.model == "EmbeddingsGigaR"


def test_usage_is_kept_for_each_text_and_summed(giga: GigaChat) -> None:
    result = giga.embeddings(["12345678", "123"])
    assert [item.usage for item in result.data] == [EmbeddingsUsage(prompt_tokens=3), EmbeddingsUsage(prompt_tokens=1)]
    assert result.usage == EmbeddingsUsage(prompt_tokens=4)


def test_usage_is_none_if_the_server_sends_none(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, {"data": [{"index": 0, "embedding": [0.5]}]})
    result = giga.embeddings("text")
    assert (result.usage, result.vectors) == (None, [[0.5]])


def test_the_repr_of_a_result_is_short(giga: GigaChat) -> None:
    assert "<1024 numbers>" in repr(giga.embeddings("text"))
    assert len(repr(giga.embeddings("text"))) < 300


# -- several requests ------------------------------------------------------------------------------


def test_many_texts_are_sent_in_several_requests_and_joined(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    texts = [f"text number {number}" for number in range(7)]
    result = giga.embeddings((text for text in texts), batch_size=3)
    assert [request.json()["input"] for request in bodies_sent_to(emulator, PATH)] == [texts[:3], texts[3:6], texts[6:]]
    assert [item.index for item in result.data] == list(range(7))
    assert result.vectors == [giga.embeddings(text).vectors[0] for text in texts]
    assert result.usage is not None
    assert result.usage.prompt_tokens == sum(item.usage.prompt_tokens for item in result.data if item.usage)


def test_ninety_texts_are_sent_at_once_by_default(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.embeddings(["t"] * 91)
    assert [len(request.json()["input"]) for request in bodies_sent_to(emulator, PATH)] == [90, 1]


def test_no_request_is_longer_than_the_bytes_allowed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    texts = ["ж" * 100, 'with "quotes" and \n lines' * 4, "x" * 190, "short", "short too"]
    result = giga.embeddings(texts, batch_bytes=300)
    requests = bodies_sent_to(emulator, PATH)
    assert all(len(request.body) <= 300 for request in requests)
    assert len(requests) > 2
    assert [text for request in requests for text in request.json()["input"]] == texts
    assert len(result.data) == 5


def test_a_single_text_beyond_the_bytes_allowed_goes_alone(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.embeddings(["a", "b" * 500, "c"], batch_bytes=100)
    assert [request.json()["input"] for request in bodies_sent_to(emulator, PATH)] == [["a"], ["b" * 500], ["c"]]


def test_the_raw_form_of_a_joined_answer_has_every_item_as_it_was_sent(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    answer_with(emulator, PATH, {**answer(item(0, 1.0)), "brand_new": True})
    answer_with(emulator, PATH, answer({**item(0, 2.0), "also_new": 7}))
    result = giga.embeddings(["a", "b"], batch_size=1)
    assert result.raw["brand_new"] is True
    assert [entry.get("also_new") for entry in result.raw["data"]] == [None, 7]
    assert pickle.loads(pickle.dumps(result)).raw == copy.copy(result).raw == result.raw


def test_a_failure_keeps_the_vectors_so_far(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    texts = ["one", "two", "three", "four", "five"]
    expected = giga.embeddings(texts[:4]).vectors
    emulator.inject(Fault(headers={"X-Part": "1"}), path=PATH, times=2)
    emulator.inject(Fault(status=500), path=PATH)
    with pytest.raises(ServerError, match="4 of 5 texts") as caught:
        giga.embeddings(texts, batch_size=2)
    assert caught.value.completion.vectors == expected
    assert [item.index for item in caught.value.completion.data] == [0, 1, 2, 3]
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.completion.vectors == expected
    assert "4 of 5 texts" in str(again)


def test_a_failure_of_the_first_request_has_nothing_to_keep(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=500), path=PATH)
    with pytest.raises(ServerError) as caught:
        giga.embeddings(["a", "b"], batch_size=1)
    assert caught.value.completion is None
    assert len(bodies_sent_to(emulator, PATH)) == 1


def test_an_invalid_response_keeps_the_vectors_so_far(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, answer(item(0, 0.25)))
    answer_with(emulator, PATH, answer())
    with pytest.raises(InvalidResponseError, match="0 vectors for 1 texts") as caught:
        giga.embeddings(["a", "b"], batch_size=1)
    assert caught.value.completion.vectors == [[0.25]]


def test_the_deadline_is_for_all_requests_together(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(before_s=0.3), path=PATH, times=None)
    with pytest.raises(APITimeoutError) as caught:
        giga.embeddings(["text"] * 10, batch_size=1, deadline=1.0)
    assert caught.value.timeout_kind == "deadline"
    assert 1 <= len(caught.value.completion.data) <= 3


def test_each_request_is_tried_again_by_itself(emulator: GigaChatEmulator) -> None:
    with client_without_retries(emulator, max_retries=1) as giga:
        emulator.inject(Fault(status=503), path=PATH)
        assert len(giga.embeddings(["a", "b"], batch_size=1).data) == 2
    assert [request.json()["input"] for request in bodies_sent_to(emulator, PATH)] == [["a"], ["a"], ["b"]]


def test_a_request_that_may_be_billed_is_not_repeated(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(reset=True), path=PATH)
    with client_without_retries(emulator, max_retries=2) as giga, pytest.raises(APIConnectionError):
        giga.embeddings("text")
    assert len(bodies_sent_to(emulator, PATH)) == 1


def test_the_options_of_the_call_go_with_every_request(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.embeddings(["a", "b"], batch_size=1, session_id="s-1")
    assert [request.headers["x-session-id"] for request in bodies_sent_to(emulator, PATH)] == ["s-1", "s-1"]


# -- unusual responses -----------------------------------------------------------------------------------


def test_the_index_decides_and_not_the_order_of_the_answer(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, answer(item(2, 0.3), item(0, 0.1), item(1, 0.2)))
    result = giga.embeddings(["a", "b", "c"])
    assert result.vectors == [[0.1], [0.2], [0.3]]
    assert [item.index for item in result.data] == [0, 1, 2]


def test_without_any_index_the_order_of_the_answer_counts(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, answer({"embedding": [0.1]}, item(None, 0.2)))
    result = giga.embeddings(["a", "b"])
    assert result.vectors == [[0.1], [0.2]]
    assert [item.index for item in result.data] == [0, 1]


def test_numbers_as_strings_are_accepted(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, answer(item(1.0, 1, 0, tokens="7"), item("0", -1, 0.5, tokens=None)))
    result = giga.embeddings(["a", "b"])
    assert result.vectors == [[-1.0, 0.5], [1.0, 0.0]]
    assert result.usage == EmbeddingsUsage(prompt_tokens=7)


@pytest.mark.parametrize(
    "body",
    [
        answer(item(0, 0.1)),
        answer(item(0, 0.1), item(1, 0.2), item(2, 0.3)),
        answer(item(0, 0.1), item(0, 0.2)),
        answer(item(0, 0.1), item(2, 0.2)),
        answer(item(1, 0.1), item(2, 0.2)),
        answer(item(0, 0.1), {"embedding": [0.2]}),
        answer(item(0, 0.1), None),
        answer(item(0, 0.1), item(1)),
        answer(item(0, 0.1), item(1, 0.2, None)),
        answer(item(0, 0.1), {"index": 1}),
        answer(item(0, 0.1), {"index": 1, "embedding": None}),
        answer(item(0, 0.1), {"index": 1, "embedding": "0.2"}),
        {"object": "list", "data": None},
        {},
        [],
        None,
        "vectors",
    ],
    ids=str,
)
def test_an_ambiguous_order_of_vectors_is_refused(emulator: GigaChatEmulator, giga: GigaChat, body: Any) -> None:
    answer_with(emulator, PATH, b"null" if body is None else f'"{body}"' if isinstance(body, str) else body)
    with pytest.raises(InvalidResponseError) as caught:
        giga.embeddings(["a", "b"])
    assert caught.value.status_code == 200
    assert caught.value.request_id


def test_an_error_object_under_status_200_is_that_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, {"status": 402, "message": "Payment Required"})
    with pytest.raises(PaymentRequiredError):
        giga.embeddings("text")


# -- errors --------------------------------------------------------------------------------------


def test_refusals_of_the_service_have_their_classes(giga: GigaChat) -> None:
    with pytest.raises(NotFoundError, match="No such model"):
        giga.embeddings("text", model="Embedings")
    with pytest.raises(NotFoundError):
        giga.embeddings("text", model="GigaChat-2")
    with pytest.raises(PaymentRequiredError):
        giga.embeddings("text", model="Embeddings-2")
    with pytest.raises(RequestEntityTooLargeError):
        giga.embeddings("word " * 2000)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "texts is empty"),
        ("", r"texts\[0\] is empty"),
        (["a", ""], r"texts\[1\] is empty"),
        (["a", None], r"texts\[1\] must be a string, not NoneType"),
        (["a", b"b"], r"texts\[1\] is bytes"),
        (b"ab", "texts is bytes"),
        (7, "texts must be a string or several"),
        ({"a": "b"}, "not dict"),
        ([["a"]], r"texts\[0\] must be a string, not list"),
        (["ok", "half \ud83d"], r"texts\[1\] cannot be sent: .*surrogate"),
    ],
)
def test_invalid_texts_are_refused_before_sending(
    emulator: GigaChatEmulator, giga: GigaChat, texts: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        giga.embeddings(texts, batch_size=1)
    assert emulator.requests == []


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "10"])
@pytest.mark.parametrize("name", ["batch_size", "batch_bytes"])
def test_an_invalid_batch_size_is_refused(giga: GigaChat, name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a whole number"):
        giga.embeddings("text", **{name: wrong})


def test_an_invalid_model_is_refused(giga: GigaChat) -> None:
    with pytest.raises(ConfigError, match="model is empty"):
        giga.embeddings("text", model="")


def test_an_unknown_option_is_a_type_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(TypeError, match="dimensions"):
        giga.embeddings("text", dimensions=3)  # type: ignore[call-arg]
    assert emulator.requests == []


def test_a_vector_that_is_made_by_hand_is_checked_too() -> None:
    assert Embedding(embedding=[1, 2]).embedding == [1.0, 2.0]
    assert Embeddings(data=[Embedding(embedding=[1.0], index=0)]).raw["data"] == [{"embedding": [1.0], "index": 0}]
