"""Vectors of many texts: grouped into requests, with one result each; a refused text does not affect the others."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.platform_tools import answer_with, bodies_sent_to
from support.stream_tools import until

from gigaclient import GigaChat
from gigaclient.bulk import results as engine
from gigaclient.bulk.tasks import Item, Task
from gigaclient.errors import (
    ConfigError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    RequestEntityTooLargeError,
    ServerError,
)
from gigaclient.gigachat.jobs.embeddings import EmbeddingJob
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import EmbeddingsUsage, EmbedResult

PATH = "/embeddings"
TOO_LONG = "word " * 3000


@pytest.fixture
def emulator(emulator: GigaChatEmulator) -> GigaChatEmulator:
    emulator.exhausted_models = {"Embeddings-2"}
    return emulator


def sizes(emulator: GigaChatEmulator) -> list[int]:
    """Return the number of texts in each request."""
    return [len(request.json()["input"]) for request in bodies_sent_to(emulator, PATH)]


def embedded(giga: GigaChat, texts: Any, **options: Any) -> list[EmbedResult]:
    return list(giga.embed_many(texts, **{"max_workers": 1, **options}))


def vectors(*values: Any) -> dict[str, Any]:
    data = [{"index": index, "embedding": value} for index, value in enumerate(values)]
    return {"object": "list", "model": "Embeddings", "data": data}


# -- requests -----


def test_each_text_gets_its_vector_its_index_and_its_usage(giga: GigaChat) -> None:
    texts = [f"text {number}" for number in range(7)]
    results = embedded(giga, texts, batch_size=3)
    assert [result.input for result in results] == texts
    assert [result.index for result in results] == list(range(7))
    direct = giga.embeddings(texts)
    assert [result.embedding for result in results] == direct.vectors
    assert [result.usage for result in results] == [item.usage for item in direct.data]
    assert all(isinstance(result.usage, EmbeddingsUsage) for result in results)
    assert [(result.ok, result.attempts, result.restored) for result in results] == [(True, 1, False)] * 7


def test_texts_are_gathered_into_requests_of_so_many(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    embedded(giga, [f"text {number}" for number in range(200)], batch_size=90)
    assert sizes(emulator) == [90, 90, 20]


def test_texts_are_gathered_into_requests_of_so_many_bytes(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    texts = ["a" * 100, "b" * 100, "c" * 100, "d" * 400, "e" * 100]
    embedded(giga, texts, batch_bytes=300)
    bodies = [request.body for request in bodies_sent_to(emulator, PATH)]
    assert [len(json.loads(body)["input"]) for body in bodies] == [2, 1, 1, 1]
    assert len(bodies[0]) <= 300 < len(bodies[2])  # a text above the limit is sent alone


def test_the_model_and_the_options_of_the_call_go_with_each_request(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    results = embedded(giga, ["one", "two"], model="EmbeddingsGigaR", batch_size=1, headers={"X-Team": "search"})
    assert [len(result.embedding) for result in results] == [2560, 2560]
    assert [request.headers["x-team"] for request in bodies_sent_to(emulator, PATH)] == ["search"] * 2


def test_a_template_makes_the_text_of_an_item(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    rows = [{"title": "Lena", "body": "A river."}, {"title": "Baikal", "body": "A lake."}]
    results = embedded(giga, rows, template="{title}. {body}")
    assert bodies_sent_to(emulator, PATH)[0].json()["input"] == ["Lena. A river.", "Baikal. A lake."]
    assert [result.input for result in results] == rows


def test_nothing_is_read_or_sent_before_the_first_result_is_requested(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    read: list[int] = []

    def endless() -> Iterator[str]:
        for number in itertools.count():
            read.append(number)
            yield f"text {number}"

    with giga.embed_many(endless(), batch_size=4, max_workers=1) as results:
        assert (read, sizes(emulator)) == ([], [])
        assert [next(results).index for _ in range(6)] == list(range(6))
        assert len(read) <= 20
    assert results.stopped == "closed"


# -- requests that are not full -----


def test_texts_that_take_long_to_come_do_not_wait_for_a_full_request(
    emulator: GigaChatEmulator, giga: GigaChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddingJob, "max_gather_seconds", 0.0)

    def slow() -> Iterator[str]:
        yield "one"
        until(lambda: sizes(emulator) == [1], "the first text's request")
        yield "two"

    assert [result.ok for result in embedded(giga, slow())] == [True, True]


def test_a_text_that_waits_for_others_does_not_hold_up_what_is_finished(
    emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_WINDOW", 10)
    known = [f"text {number}" for number in range(40)]
    embedded(giga, known, checkpoint=tmp_path / "c.jsonl", batch_size=20)
    # The window is full, and all of it but the first text is finished. No second text comes to fill the request.
    results = embedded(giga, ["new", *known], checkpoint=tmp_path / "c.jsonl", batch_size=5)
    assert [result.restored for result in results] == [False] + [True] * 40
    assert sizes(emulator) == [20, 20, 1]


# -- errors -----


def test_a_value_that_is_not_a_text_is_an_error_and_is_not_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    results = embedded(giga, ["one", "", ["a", "list"], b"bytes", None, "\ud800", "two"])
    assert [result.ok for result in results] == [True, False, False, False, False, False, True]
    for result in results[1:-1]:
        assert isinstance(result.error, ConfigError)
        assert (result.embedding, result.attempts) == ([], 0)
    assert "empty" in str(results[1].error)
    assert bodies_sent_to(emulator, PATH)[0].json()["input"] == ["one", "two"]


@pytest.mark.parametrize("index", [0, 3, 6])
def test_a_text_that_is_refused_costs_no_other_its_vector(
    emulator: GigaChatEmulator, giga: GigaChat, index: int
) -> None:
    texts = [f"text {number}" for number in range(7)]
    texts[index] = TOO_LONG
    results = embedded(giga, texts)
    assert [result.index for result in results if not result.ok] == [index]
    assert isinstance(results[index].error, RequestEntityTooLargeError)
    assert results[index].attempts == len(
        [request for request in bodies_sent_to(emulator, PATH) if TOO_LONG in request.json()["input"]]
    )
    others = [text for text in texts if text != TOO_LONG]
    assert [result.embedding for result in results if result.ok] == giga.embeddings(others).vectors


@pytest.mark.parametrize("status", [400, 422])
def test_a_request_refused_for_its_content_is_sent_again_in_halves(
    emulator: GigaChatEmulator, giga: GigaChat, status: int
) -> None:
    emulator.inject(Fault(status=status), path=PATH)
    results = embedded(giga, ["one", "two", "three", "four", "five"])
    assert [result.ok for result in results] == [True] * 5
    assert [result.attempts for result in results] == [2] * 5
    assert sizes(emulator) == [5, 2, 3]


def test_a_request_without_a_vector_for_each_text_is_sent_again_in_halves(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    answer_with(emulator, PATH, vectors([1.0], [2.0]))
    results = embedded(giga, ["one", "two", "three"])
    assert [len(result.embedding) for result in results] == [1024] * 3
    assert sizes(emulator) == [3, 1, 2]


def test_a_page_in_place_of_an_answer_is_the_error_of_all_its_texts(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(html=True), path=PATH)
    results = embedded(giga, ["one", "two", "three"], batch_size=2)
    assert [type(result.error) for result in results] == [InvalidResponseError, InvalidResponseError, type(None)]
    assert sizes(emulator) == [2, 1]


def test_an_empty_vector_is_the_error_of_its_text_alone(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    answer_with(emulator, PATH, vectors([1.0], [], [3.0]))
    results = embedded(giga, ["one", "two", "three"])
    assert [result.embedding for result in results] == [[1.0], [], [3.0]]
    assert isinstance(results[1].error, InvalidResponseError)
    assert sizes(emulator) == [3]


def test_another_error_is_that_of_all_texts_of_its_request_and_of_no_others(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    emulator.inject(Fault(status=500), path=PATH)
    results = embedded(giga, ["one", "two", "three"], batch_size=2)
    assert [type(result.error) for result in results] == [ServerError, ServerError, type(None)]
    assert sizes(emulator) == [2, 1]


def test_an_unknown_model_is_requested_once(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(NotFoundError, match="Embeddings"):  # the suggested name
        embedded(giga, (f"text {number}" for number in itertools.count()), model="Embedings", batch_size=2)
    assert sizes(emulator) == [2]


def test_a_package_that_is_used_up_ends_the_run(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(PaymentRequiredError):
        embedded(giga, (f"text {number}" for number in itertools.count()), model="Embeddings-2", batch_size=10)
    assert len(sizes(emulator)) == 1


def test_a_refusal_for_too_many_requests_is_not_seen(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=429, retry_after=0), path=PATH, times=2)
    results = embedded(giga, ["one", "two", "three"])
    assert [(result.ok, result.attempts) for result in results] == [(True, 3)] * 3


# -- the budget -----


def test_a_request_whose_texts_would_exceed_the_budget_is_not_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    cost = giga.embeddings("text 10").usage
    assert cost is not None and cost.prompt_tokens > 0
    most = 25 * cost.prompt_tokens
    run = giga.embed_many(
        (f"text {number}" for number in range(10, 99)), batch_size=10, max_workers=1, max_tokens_total=most
    )
    assert len(list(run)) == 20
    assert (run.stopped, run.progress.tokens) == ("max_tokens_total", 20 * cost.prompt_tokens)
    assert sizes(emulator) == [1, 10, 10]


def test_requests_in_progress_count_with_all_of_their_texts(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    cost = giga.embeddings("text 10").usage
    assert cost is not None
    run = giga.embed_many(
        (f"text {number}" for number in range(10, 99)), batch_size=10, max_tokens_total=35 * cost.prompt_tokens
    )
    assert len(list(run)) == 30
    assert run.stopped == "max_tokens_total"


# -- the checkpoint -----


def test_stored_vectors_are_not_requested_again_and_keep_every_digit(
    emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path
) -> None:
    path = tmp_path / "vectors.jsonl"
    numbers = [0.1, -0.0, 1e-300, 1 / 3, 5.0, -2.2250738585072014e-308]
    answer_with(emulator, PATH, vectors(numbers, [1.5]))
    first = embedded(giga, ["one", "two"], checkpoint=path)
    again = embedded(giga, ["two", "one", "three"], checkpoint=path)
    assert [result.restored for result in again] == [True, True, False]
    assert repr(again[1].embedding) == repr(first[0].embedding) == repr(numbers)
    assert again[1].usage == first[0].usage
    assert sizes(emulator) == [2, 1]
    line = json.loads(path.read_text("utf-8").splitlines()[0])
    assert (line["input"], line["embedding"], line["index"]) == ("one", numbers, 0)


def test_the_usage_of_a_restored_text_is_known_and_not_counted_again(giga: GigaChat, tmp_path: Path) -> None:
    first = embedded(giga, ["one"], checkpoint=tmp_path / "c.jsonl")
    run = giga.embed_many(["one"], checkpoint=tmp_path / "c.jsonl")
    assert [result.usage for result in run] == [first[0].usage] != [None]
    assert (run.progress.restored, run.progress.tokens) == (1, 0)


def test_another_model_sends_new_requests(emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path) -> None:
    embedded(giga, ["one"], checkpoint=tmp_path / "c.jsonl")
    (result,) = embedded(giga, ["one"], checkpoint=tmp_path / "c.jsonl", model="EmbeddingsGigaR")
    assert (result.restored, len(result.embedding)) == (False, 2560)


def test_the_size_of_the_requests_does_not_matter_to_the_checkpoint(
    emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path
) -> None:
    texts = ["one", "two", "three"]
    embedded(giga, texts, checkpoint=tmp_path / "c.jsonl")
    results = embedded(giga, texts, checkpoint=tmp_path / "c.jsonl", batch_size=1, batch_bytes=10)
    assert [result.restored for result in results] == [True] * 3
    assert sizes(emulator) == [3]


@pytest.mark.parametrize("spoilt", [[], ["a"], "text", None, [None]])
def test_a_text_with_an_invalid_stored_vector_is_sent_again(
    emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path, spoilt: Any
) -> None:
    path = tmp_path / "c.jsonl"
    embedded(giga, ["one"], checkpoint=path)
    line = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**line, "embedding": spoilt}) + "\n", "utf-8")
    (result,) = embedded(giga, ["one"], checkpoint=path)
    assert (result.ok, result.restored, len(result.embedding)) == (True, False, 1024)


def test_a_text_that_failed_is_sent_again_in_the_next_run(
    emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path
) -> None:
    emulator.inject(Fault(status=500), path=PATH)
    first = embedded(giga, ["one", "two"], batch_size=1, checkpoint=tmp_path / "c.jsonl")
    again = embedded(giga, ["one", "two"], batch_size=1, checkpoint=tmp_path / "c.jsonl")
    assert [result.ok for result in first] == [False, True]
    assert [(result.ok, result.restored) for result in again] == [(True, False), (True, True)]


# -- arguments -----


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": True},
        {"batch_bytes": 0.5},
        {"model": ""},
        {"model": None},
        {"max_workers": 0},
        {"timeout": -1},
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(
    emulator: GigaChatEmulator, giga: GigaChat, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        giga.embed_many(["one"], **options)
    assert sizes(emulator) == []


def test_an_option_that_does_not_exist_is_refused_at_once(giga: GigaChat) -> None:
    with pytest.raises(TypeError, match="temperature"):
        giga.embed_many(["one"], temperature=0.5)  # type: ignore[call-arg]


def test_a_single_string_is_no_list_of_texts(giga: GigaChat) -> None:
    with pytest.raises(ConfigError, match="list"):
        giga.embed_many("text")


def test_collected_items_are_not_pickled_with_the_job(giga: GigaChat) -> None:
    job = EmbeddingJob("Embeddings", 2, 1000, giga._call_settings({}))
    item = Item(0, "one", b'"one"', b"")
    assert list(job.gather(item)) == []
    travelled = pickle.loads(pickle.dumps(job))
    assert list(travelled.rest()) == []
    assert [task.items for task in job.rest()] == [[item]]
    assert [len(result.answer) for result in travelled.run(giga, Task([item]))] == [1024]
