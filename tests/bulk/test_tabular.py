"""Results as rows: dicts, mappings of columns, and a table in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from gigaclient import GigaChat
from gigaclient.errors import RateLimitError
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types.bulk import EmbedResult, MapResult

PROMPTS = ["Count from 1 to 2", "Count from 1 to 3"]


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with GigaChat(**emulator.client_options, max_retries=0) as giga:
        yield giga


def test_each_result_is_a_dict_of_plain_values(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=400, body={"status": 400, "message": "no"}))
    failed, good = giga.map(PROMPTS, max_workers=1).to_dicts()
    assert list(good) == [
        "index", "input", "text", "value", "error", "prompt_tokens", "completion_tokens", "total_tokens",
        "attempts", "seconds", "restored",
    ]  # fmt: skip
    assert (good["index"], good["input"], good["text"], good["error"]) == (1, PROMPTS[1], "1, 2, 3", None)
    assert good["total_tokens"] == good["prompt_tokens"] + good["completion_tokens"]
    assert failed["error"].startswith("BadRequestError: ")
    assert (failed["text"], failed["prompt_tokens"]) == ("", None)


def test_only_the_rest_is_read(giga: GigaChat) -> None:
    results = giga.map(PROMPTS)
    next(results)
    assert [row["index"] for row in results.to_dicts()] == [1]


def test_vectors_are_a_column(giga: GigaChat) -> None:
    (row,) = giga.embed_many(["one"]).to_dicts()
    assert len(row["embedding"]) > 10
    assert row["prompt_tokens"] > 0
    assert "text" not in row


@pytest.mark.parametrize(
    "result",
    [
        MapResult(input={"a": 1}, index=0, value=[1], error=RateLimitError("wait", status_code=429)),
        EmbedResult(input="one", index=0, embedding=[0.5]),
    ],
    ids=lambda result: type(result).__name__,
)
def test_a_result_is_a_mapping_of_its_columns(result: Any) -> None:
    assert isinstance(result, Mapping)
    assert dict(result) == result.to_dict() == dict(result.items())
    assert list(result) == result.keys() == list(result.to_dict())
    assert result.values() == list(result.to_dict().values())
    assert len(result) == len(result.to_dict())
    assert result["index"] == result.get("index") == 0
    assert result.get("none", 7) == 7
    with pytest.raises(KeyError):
        result["none"]


def test_a_notebook_shows_the_last_results_and_sends_nothing(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = giga.map([*PROMPTS, "<b>"], max_workers=1)
    assert "0 answered" in results._repr_html_()
    assert emulator.prompts == []
    for _ in results:
        pass
    shown = results._repr_html_()
    assert "3 answered" in shown
    assert ">1, 2, 3</td>" in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert ">error<" not in shown
    assert len(shown) < 5000


def test_a_notebook_shows_no_more_than_twenty(giga: GigaChat) -> None:
    results = giga.map([f"Count from 1 to {number}" for number in range(2, 32)])
    results.to_dicts()
    assert results._repr_html_().count("<tr>") == 21
