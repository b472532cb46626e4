"""Token counts: one for each text, in order, each with the ids of its call."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from support.clients import client_without_retries
from support.platform_tools import answer_with, bodies_sent_to

from gigaclient import GigaChat
from gigaclient.errors import BadRequestError, ConfigError, InvalidResponseError, NotFoundError, ServerError
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import TokensCount

PATH = "/tokens/count"


def test_texts_are_counted_in_their_order(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    counts = giga.tokens_count(["Привет!", "", "Nice to meet you 👋"])
    assert [(count.tokens, count.characters) for count in counts] == [(2, 7), (0, 0), (6, 18)]
    assert all(isinstance(count, TokensCount) for count in counts)
    assert bodies_sent_to(emulator, PATH)[0].json() == {
        "model": "GigaChat-2",
        "input": ["Привет!", "", "Nice to meet you 👋"],
    }


def test_one_string_is_one_text(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    assert len(giga.tokens_count("abc")) == 1
    assert bodies_sent_to(emulator, PATH)[0].json()["input"] == ["abc"]  # the API does not accept a bare string


def test_the_names_are_those_of_the_official_sdk(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.tokens_count(input_=(text for text in ["a", "b"]), model="GigaChat-2-Pro")
    assert bodies_sent_to(emulator, PATH)[0].json() == {"model": "GigaChat-2-Pro", "input": ["a", "b"]}


def test_the_clients_model_counts_unless_another_is_named(emulator: GigaChatEmulator) -> None:
    with client_without_retries(emulator, model="GigaChat-2-Max") as giga:
        giga.tokens_count("a")
    assert bodies_sent_to(emulator, PATH)[0].json()["model"] == "GigaChat-2-Max"


def test_each_count_has_the_ids_of_its_call(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, [{"tokens": 1, "object": "tokens", "new": "x"}, {"tokens": 2.0, "characters": None}])
    first, second = giga.tokens_count(["a", "b"])
    sent = bodies_sent_to(emulator, PATH)[0].headers["x-request-id"]
    assert first.request_id == second.request_id == first.headers["x-request-id"] == sent
    assert first.raw == {"tokens": 1, "object": "tokens", "new": "x"}
    assert (second.tokens, second.characters) == (2, None)
    assert pickle.loads(pickle.dumps(second)).raw == {"tokens": 2.0, "characters": None}


@pytest.mark.parametrize(
    "body",
    [[], [{"tokens": 1}], [{"tokens": 1}] * 3, [{"tokens": 1}, None], [{"tokens": 1}, {"tokens": None}], {}, [1, 2]],
    ids=str,
)
def test_an_answer_without_a_count_for_each_text_is_refused(
    emulator: GigaChatEmulator, giga: GigaChat, body: Any
) -> None:
    answer_with(emulator, PATH, body)
    with pytest.raises(InvalidResponseError):
        giga.tokens_count(["a", "b"])


def test_an_error_object_under_status_200_is_that_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, {"status": 400, "message": "Invalid model version"})
    with pytest.raises(BadRequestError, match="Invalid model version"):
        giga.tokens_count("a")


def test_errors_have_their_classes_and_are_retried(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(NotFoundError):
        giga.tokens_count("a", model="GigaChat-1000")
    emulator.inject(Fault(status=503), path=PATH)
    with pytest.raises(ServerError):
        giga.tokens_count("a")
    emulator.inject(Fault(status=503), path=PATH)
    assert giga.tokens_count("a", max_retries=1)[0].tokens == 1


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "input_ is empty"),
        ([1], r"input_\[0\] must be a string, not int"),
        (b"a", "input_ is bytes"),
        (None, "input_ must be a string or several"),
        ({"a": 1}, "not dict"),
    ],
)
def test_invalid_texts_are_refused_before_sending(
    emulator: GigaChatEmulator, giga: GigaChat, texts: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        giga.tokens_count(texts)
    assert emulator.requests == []


def test_an_unknown_option_is_a_type_error(giga: GigaChat) -> None:
    with pytest.raises(TypeError, match="temperature"):
        giga.tokens_count("a", temperature=1)  # type: ignore[call-arg]
