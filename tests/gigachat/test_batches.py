"""Batches: creation, polling, every response shape, and results that do not affect each other."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clients import client_of
from support.stream_tools import Background, until
from support.thread_tools import SOON, WAIT_SECONDS, requests_to, rows_of

from gigaclient import Chat, GigaChat, Message
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import Batch

ITEM = {
    "id": "b-1",
    "method": "chat_completions",
    "request_counts": {"total": 2},
    "status": "in_progress",
    "created_at": 1790000300,
    "updated_at": 1790000301,
}
READY = {**ITEM, "status": "completed", "output_file_id": "f-1"}
ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "Lena."}, "index": 0, "finish_reason": "stop"}],
    "created": 1790000400,
    "model": "GigaChat-2-Pro:2.0.31.04",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
}


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with client_of(emulator) as client:
        yield client


def sent_rows(emulator: GigaChatEmulator) -> list[dict[str, Any]]:
    return rows_of(requests_to(emulator, "POST", "/batches")[-1])


def results_file(emulator: GigaChatEmulator, content: bytes, **fault: Any) -> Batch:
    """Return a completed batch whose results are ``content``."""
    emulator.inject(Fault(body=content, **fault), path="/files/f-1/content")
    return Batch(id="b-1", status="completed", output_file_id="f-1")


def row(row_id: str, **fields: Any) -> bytes:
    return json.dumps({"id": row_id, **fields}).encode()


# -- end to end ---------------------------------------------------------------------------------


def test_a_batch_is_sent_waited_for_and_its_results_come_in_the_order_of_the_requests(giga: GigaChat) -> None:
    prompts = [f"Count from 1 to {last}" for last in range(2, 9)]
    batch = giga.create_batch(prompts)
    assert (batch.status, batch.done, batch.output_file_id) == ("created", False, None)
    assert batch.request_counts is not None and batch.request_counts.total == len(prompts)
    ready = giga.wait_for_batch(batch, poll_interval=SOON)
    assert ready.done and ready.id == batch.id
    results = giga.batch_results(ready)
    assert [result.id for result in results] == [f"row-{number}" for number in range(1, 8)]
    assert [result.request for result in results] == prompts
    assert [result.text for result in results] == [
        ", ".join(str(number) for number in range(1, last + 1)) for last in range(2, 9)
    ]
    assert [result.error for result in results] == [None] * len(prompts)
    assert results[0].completion is not None and results[0].completion.usage is not None
    assert results[0].raw["result"]["choices"][0]["message"]["content"] == results[0].text == str(results[0])


def test_an_embedder_answers_a_batch_of_texts(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    batch = giga.create_batch(["one", ["two", "three"], ("own", {"input": "four"})], method="embedder")
    request = requests_to(emulator, "POST", "/batches")[-1]
    assert request.params == {"method": "embedder"}
    assert rows_of(request) == [
        {"id": "row-1", "request": {"model": "Embeddings", "input": ["one"]}},
        {"id": "row-2", "request": {"model": "Embeddings", "input": ["two", "three"]}},
        {"id": "own", "request": {"model": "Embeddings", "input": ["four"]}},
    ]
    results = giga.batch_results(giga.wait_for_batch(batch, poll_interval=SOON))
    assert [len(result.embeddings.data) if result.embeddings else 0 for result in results] == [1, 2, 1]
    assert results[1].request == ["two", "three"]
    assert results[1].embeddings is not None
    assert results[1].embeddings.vectors == giga.embeddings(["two", "three"]).vectors
    assert (results[1].completion, results[1].error, results[1].text) == (None, None, "")


def test_the_vectors_of_a_row_come_in_the_order_of_its_texts(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    items = [{"embedding": [float(index)], "index": index} for index in (2, 0, 1)]
    batch = results_file(emulator, row("a", result={"data": items}))
    [result] = giga.batch_results(batch)
    assert result.embeddings is not None
    assert result.embeddings.vectors == [[0.0], [1.0], [2.0]]


# -- creation ----------------------------------------------------------------------------------


def test_a_batch_is_a_file_of_json_lines_with_v1_bodies(emulator: GigaChatEmulator) -> None:
    with client_of(emulator, model="GigaChat-2-Pro", profanity_check=False) as giga:
        giga.create_batch(
            [
                "Река?\n\u2028Да.",
                [{"role": "system", "content": "Briefly."}, Message(role="user", content="Lake?")],
                Chat(messages=[Message(role="user", content="Sea?")], model="GigaChat-2-Max", temperature=0.5),
                {"messages": [{"role": "user", "content": "Bay?"}], "stream": True, "new_field": 1},
            ],
            max_tokens=7,
        )
    request = requests_to(emulator, "POST", "/batches")[-1]
    assert request.headers["content-type"] == "application/octet-stream"
    assert request.headers["accept"] == "application/json"
    assert request.params == {"method": "chat_completions"}
    usual = {"model": "GigaChat-2-Pro", "profanity_check": False, "max_tokens": 7}
    assert rows_of(request) == [
        {"id": "row-1", "request": {"messages": [{"role": "user", "content": "Река?\n\u2028Да."}], **usual}},
        {
            "id": "row-2",
            "request": {
                "messages": [{"role": "system", "content": "Briefly."}, {"role": "user", "content": "Lake?"}],
                **usual,
            },
        },
        {
            "id": "row-3",
            "request": {
                **usual,
                "messages": [{"role": "user", "content": "Sea?"}],
                "model": "GigaChat-2-Max",
                "temperature": 0.5,
            },
        },
        {"id": "row-4", "request": {"messages": [{"role": "user", "content": "Bay?"}], "new_field": 1, **usual}},
    ]


def test_requests_may_have_ids(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    batch = giga.create_batch([('рек"а', "River?"), {"id": "lake", "request": "Lake?"}, {"request": "Sea?"}])
    assert [one["id"] for one in sent_rows(emulator)] == ['рек"а', "lake", "row-3"]
    assert batch.requests == {'рек"а': "River?", "lake": "Lake?", "row-3": "Sea?"}


def test_the_requests_are_read_once_and_one_after_the_other(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    history: list[dict[str, str]] = []

    def growing() -> Iterator[list[dict[str, str]]]:
        for number in range(3):
            history.append({"role": "user", "content": str(number)})
            yield history

    batch = giga.create_batch(growing())
    assert [len(one["request"]["messages"]) for one in sent_rows(emulator)] == [1, 2, 3]
    assert [len(request) for request in batch.requests.values()] == [1, 2, 3]


def test_a_request_that_the_iterable_reuses_is_copied(giga: GigaChat) -> None:
    request = {"messages": [{"role": "user", "content": "x"}]}

    def warmer() -> Iterator[dict[str, Any]]:
        for number in (1, 2):
            request["temperature"] = number  # type: ignore[assignment]
            yield request

    assert [kept["temperature"] for kept in giga.create_batch(warmer()).requests.values()] == [1, 2]


def test_what_the_iterable_raises_is_raised_and_nothing_is_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    def failing() -> Iterator[str]:
        yield "fine"
        raise KeyError("the database is gone")

    with pytest.raises(KeyError, match="the database is gone"):
        giga.create_batch(failing())
    assert emulator.requests == []


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "no requests"),
        ([("a", "x"), ("a", "y")], "two requests have the id 'a'"),
        ([("row-2", "x"), "y"], "two requests have the id 'row-2'"),
        ([("", "x")], "request 1: its id must be a string that is not empty"),
        ([{"id": 5, "request": "x"}], "its id must be a string that is not empty, not 5"),
        ([{"id": "a", "messages": []}], "an id goes next to the request"),
        (["x", []], "the request 'row-2': messages is empty"),
        (["x", [{"content": "no role"}]], r"the request 'row-2': messages\[0\] needs a role"),
        ({"messages": [{"role": "user", "content": "x"}]}, "put a single one into a list"),
        (Chat(messages=[Message(content="x")]), "a list of requests, not Chat"),
        (17, "a list of requests, not int"),
        ("Name a river.", "the file 'Name a river.' cannot be read"),
        (b"  \n", "the batch is empty"),
        (b"{}\n", "line 1 of the batch must be"),
        (b'{"id":"a","request":{}}\n\nnot json\n', "line 3 of the batch must be"),
        (b'{"id":"a","request":{}}\n{"id":"a","request":{}}\n', "line 2 of the batch has the id 'a' once more"),
    ],
)
def test_invalid_requests_are_refused_before_sending(
    emulator: GigaChatEmulator, giga: GigaChat, requests: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        giga.create_batch(requests)
    assert emulator.requests == []


def test_an_empty_text_is_sent_because_the_server_decides(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.create_batch([""], method="embedder")
    assert emulator.requests[-1].path.endswith("/batches")


@pytest.mark.parametrize("request_", [[], {"input": [1]}, {"texts": "x"}, 7])
def test_invalid_texts_are_refused_before_sending(emulator: GigaChatEmulator, giga: GigaChat, request_: Any) -> None:
    with pytest.raises(ConfigError, match="the request 'row-1': an embedder takes a text"):
        giga.create_batch([request_], method="embedder")
    assert emulator.requests == []


def test_wrong_options_are_refused_before_anything_is_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(ConfigError, match="method must be one of chat_completions, embedder"):
        giga.create_batch(["x"], method="chat")
    with pytest.raises(ConfigError, match="model must be in its rows"):
        giga.create_batch(b'{"id":"a","request":{}}', model="GigaChat-2-Pro")
    with pytest.raises(ConfigError, match="stream= is decided by the method"):
        giga.create_batch(["x"], stream=True)
    with pytest.raises(ConfigError, match="timeout"):
        giga.create_batch(["x"], timeout=-1)
    assert emulator.requests == []


@pytest.mark.parametrize("form", ["path", "text", "bytes", "file", "text file"])
def test_a_file_of_rows_is_sent_unchanged(
    emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path, form: str
) -> None:
    content = '{"id": "a",  "request": {"model":"GigaChat-2","messages":[{"role":"user","content":"скажи: да"}]}}\r\n\n'
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content.encode())
    requests: Any = {
        "path": path,
        "text": str(path),
        "bytes": content.encode(),
        "file": io.BytesIO(content.encode()),
        "text file": io.StringIO(content),
    }[form]
    batch = giga.create_batch(requests, request_id="mine")
    request = requests_to(emulator, "POST", "/batches")[-1]
    assert request.body == content.encode()
    assert request.headers["x-request-id"] == batch.request_id == "mine"
    assert batch.requests["a"]["messages"][0]["content"] == "скажи: да"
    [result] = giga.batch_results(giga.wait_for_batch(batch, poll_interval=SOON))
    assert (result.id, result.text) == ("a", "да")


# -- retries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [(Fault(status=500), ServerError), (Fault(status=504), ServerError), (Fault(reset=True), APIConnectionError)],
)
def test_a_batch_that_may_have_been_created_is_not_created_again(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, error_type: type[Exception]
) -> None:
    emulator.inject(fault, path="/batches")
    with pytest.raises(error_type):
        giga.create_batch(["x"])
    assert len(requests_to(emulator, "POST", "/batches")) == 1


def test_a_rejected_batch_is_retried(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=503), path="/batches")
    emulator.inject(Fault(status=429), path="/batches")
    assert giga.create_batch(["x"]).status == "created"
    sent = requests_to(emulator, "POST", "/batches")
    assert len(sent) == 3
    assert len({one.body for one in sent}) == 1


# -- state of a batch ----------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"batches": [READY, ITEM]}, [READY, ITEM], {"batches": [READY, None, ITEM]}])
def test_a_list_of_batches_is_read_in_either_shape(emulator: GigaChatEmulator, giga: GigaChat, body: Any) -> None:
    emulator.inject(Fault(body=body), path="/batches")
    found = giga.get_batches()
    assert [batch.status for batch in found.batches] == ["completed", "in_progress"]
    assert found.batches[0].raw == READY
    assert found.raw == (body if isinstance(body, dict) else {"data": body})
    assert found.request_id == found.batches[1].request_id is not None


@pytest.mark.parametrize("body", [{"batches": []}, [], {"batches": None}])
def test_an_empty_list_of_batches_is_read(emulator: GigaChatEmulator, giga: GigaChat, body: Any) -> None:
    emulator.inject(Fault(body=body), path="/batches")
    assert giga.get_batches().batches == []


@pytest.mark.parametrize("body", [{"batches": [ITEM]}, [ITEM], ITEM, [{**ITEM, "id": "b-0"}, ITEM]])
def test_one_batch_is_found_in_every_shape(emulator: GigaChatEmulator, giga: GigaChat, body: Any) -> None:
    emulator.inject(Fault(body=body), path="/batches")
    batch = giga.get_batch("b-1")
    assert (batch.id, batch.status, batch.created_at) == ("b-1", "in_progress", 1790000300)
    assert batch.raw == ITEM
    request = requests_to(emulator, "GET", "/batches")[-1]
    assert request.params == {"batch_id": "b-1"}
    assert request.headers["content-type"] == "application/json"
    assert request.body == b""


def test_the_emulators_shapes_are_all_read(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    made = [giga.create_batch([name]).id for name in ("x", "y")]
    for shape in ("object", "array", "item"):
        emulator.batches.list_shape = shape  # type: ignore[assignment]
        assert [batch.id for batch in giga.get_batches().batches] == made
        assert giga.get_batch(made[1]).id == made[1]


def test_a_batch_with_another_id_is_ignored(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(body={"batches": [ITEM]}), path="/batches")
    with pytest.raises(NotFoundError, match="Batch task not found: the server knows no batch 'b-2'") as caught:
        giga.get_batch("b-2")
    assert caught.value.status_code == 404
    assert caught.value.body == {"batches": [ITEM]}
    assert caught.value.request_id is not None


def test_an_unknown_batch_is_not_found(giga: GigaChat) -> None:
    with pytest.raises(NotFoundError, match="Batch task not found - get_batches"):
        giga.get_batch("none")


@pytest.mark.parametrize(
    "body", [b"null", b"17", b'"x"', b"[17]", b"{}", b'{"batches":7}', b"<html>", b'[{"status":"x"}]']
)
def test_a_response_without_batches_is_an_error(emulator: GigaChatEmulator, giga: GigaChat, body: bytes) -> None:
    emulator.inject(Fault(body=body), path="/batches")
    with pytest.raises(InvalidResponseError):
        giga.get_batches()


def test_an_error_under_status_200_is_an_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(body={"status": 404, "message": "Batch task not found"}), times=2, path="/batches")
    with pytest.raises(NotFoundError):
        giga.get_batches()
    with pytest.raises(NotFoundError):
        giga.create_batch(["x"])


def test_a_creation_response_without_a_batch_is_an_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(body=[]), path="/batches")
    with pytest.raises(InvalidResponseError, match="names no batch"):
        giga.create_batch(["x"])


def test_nulls_and_numbers_as_strings_do_not_fail_a_batch(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    odd = {
        **ITEM,
        "status": "resting",
        "created_at": 1790000300.0,
        "updated_at": None,
        "request_counts": {"total": "2"},
    }
    emulator.inject(Fault(body=[odd]), path="/batches")
    batch = giga.get_batch("b-1")
    assert (batch.status, batch.done, batch.created_at, batch.updated_at) == ("resting", False, 1790000300, None)
    assert batch.request_counts is not None and batch.request_counts.total == 2


@pytest.mark.parametrize("wrong", ["", None, 17])
def test_a_batch_is_named_by_its_id(emulator: GigaChatEmulator, giga: GigaChat, wrong: Any) -> None:
    for method in (giga.get_batch, giga.wait_for_batch, giga.batch_results):
        with pytest.raises(ConfigError, match="a batch is named by its id"):
            method(wrong)
    assert emulator.requests == []


def test_a_plan_without_batches_gets_advice(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.batches.scopes = {"GIGACHAT_API_CORP"}
    for call in (lambda: giga.create_batch(["x"]), giga.get_batches, lambda: giga.get_batch("b-1")):
        with pytest.raises(ForbiddenError, match="Permission denied - batches are for pay-as-you-go"):
            call()


def test_the_callers_content_type_takes_precedence(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(body=[]), path="/batches")
    giga.get_batches(headers={"content-type": "application/vnd.mine+json", "X-Mine": "1"})
    request = requests_to(emulator, "GET", "/batches")[-1]
    assert (request.headers["content-type"], request.headers["x-mine"]) == ("application/vnd.mine+json", "1")


def test_unknown_options_are_a_type_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for method in (
        giga.get_batches,
        lambda **o: giga.wait_for_batch("b", **o),
        lambda **o: giga.batch_results("b", **o),
    ):
        with pytest.raises(TypeError, match="no_such"):
            method(no_such=1)  # type: ignore[operator]
    assert emulator.requests == []


# -- requests of a batch ------------------------------------------------------------------------


def test_the_requests_stay_with_the_batch(giga: GigaChat) -> None:
    batch = giga.create_batch([("a", "Count from 1 to 3"), ("b", [{"role": "user", "content": "Say yes"}])])
    again = pickle.loads(pickle.dumps(batch))
    assert again == batch
    assert again.requests == batch.requests == {"a": "Count from 1 to 3", "b": [{"role": "user", "content": "Say yes"}]}
    assert giga.get_batch(again).requests == batch.requests
    assert giga.get_batch(again.id).requests == {}
    ready = giga.wait_for_batch(again, poll_interval=SOON)
    assert [result.request for result in giga.batch_results(ready)] == list(batch.requests.values())


def test_requests_that_the_batch_does_not_know_may_be_passed_again(giga: GigaChat) -> None:
    prompts = ["Count from 1 to 3", "Count from 1 to 4", "Count from 1 to 5"]
    batch_id = giga.wait_for_batch(giga.create_batch(prompts).id, poll_interval=SOON).id
    unjoined = giga.batch_results(batch_id)
    assert sorted(result.id for result in unjoined) == ["row-1", "row-2", "row-3"]
    assert [result.id for result in unjoined] != ["row-1", "row-2", "row-3"]
    assert {result.request for result in unjoined} == {None}
    for requests in (prompts, {"row-1": prompts[0], "row-2": prompts[1], "row-3": prompts[2]}, iter(prompts)):
        results = giga.batch_results(batch_id, requests=requests)
        assert [(result.request, result.text[-1]) for result in results] == list(zip(prompts, "345", strict=True))


def test_results_can_be_pickled_with_their_errors(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    content = b"\n".join([row("a", result=ANSWER), row("b", error={"status": 500, "message": "broken"})])
    results = giga.batch_results(results_file(emulator, content))
    again = pickle.loads(pickle.dumps(results))
    assert [result.text for result in again] == ["Lena.", ""]
    assert (again[1].error.status_code, again[1].error.message) == (500, "broken")


# -- waiting ---------------------------------------------------------------------------------------


def test_a_wait_polls_until_the_batch_is_completed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for status in ("created", "in_progress", "frozen", "failed", None):
        emulator.inject(Fault(body=[{**ITEM, "status": status}]), path="/batches")
    emulator.inject(Fault(body=[READY]), path="/batches")
    assert giga.wait_for_batch("b-1", poll_interval=SOON).output_file_id == "f-1"
    assert len(requests_to(emulator, "GET", "/batches")) == 6


def test_a_completed_batch_is_not_polled(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    batch = Batch(id="b-1", status="completed", output_file_id="f-1")
    assert giga.wait_for_batch(batch) is batch
    assert emulator.requests == []


def test_the_pauses_of_a_wait_grow(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.batches.looks = 6
    giga.wait_for_batch(giga.create_batch(["x"]), poll_interval=0.04)
    times = [request.at for request in requests_to(emulator, "GET", "/batches")]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    # The minimum of each pause: 0.04, 0.06, 0.09, 0.135, 0.2025.
    assert len(pauses) == 5
    assert all(pause >= 0.04 * 1.5**index - 0.002 for index, pause in enumerate(pauses))


def test_a_wait_times_out_with_the_last_state(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.batches.looks = 10_000
    batch = giga.create_batch(["x", "y"])
    began_at = time.monotonic()
    with pytest.raises(APITimeoutError, match=r"is still in_progress, 0 of 2 rows answered after 0\.3 s") as caught:
        giga.wait_for_batch(batch, poll_interval=0.05, timeout=0.3)
    assert 0.25 < time.monotonic() - began_at < WAIT_SECONDS
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.timeout_kind == "deadline"
    assert caught.value.completion.id == batch.id
    assert caught.value.completion.requests == batch.requests


def test_the_timeout_of_a_wait_limits_a_hanging_request(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(before_s=float("inf")), times=None, path="/batches")
    began_at = time.monotonic()
    with pytest.raises(APITimeoutError, match=r"the batch b-1 is in an unknown state after 0\.3 s"):
        giga.wait_for_batch("b-1", poll_interval=SOON, timeout=0.3)
    assert time.monotonic() - began_at < WAIT_SECONDS


def test_close_ends_a_wait(emulator: GigaChatEmulator) -> None:
    giga = client_of(emulator)
    emulator.inject(Fault(body=[ITEM]), times=None, path="/batches")
    waiting = Background(lambda: giga.wait_for_batch("b-1", poll_interval=3600))
    until(lambda: len(requests_to(emulator, "GET", "/batches")) == 1 and giga.stats().in_flight == 0, "the first look")
    giga.close()
    error = waiting.join().error
    assert isinstance(error, (APIConnectionError, ConfigError)) and "close" in str(error)


def test_close_ends_a_hanging_request_of_a_wait(emulator: GigaChatEmulator) -> None:
    giga = client_of(emulator)
    emulator.inject(Fault(before_s=float("inf")), path="/batches")
    waiting = Background(lambda: giga.wait_for_batch("b-1", poll_interval=SOON))
    until(lambda: len(requests_to(emulator, "GET", "/batches")) == 1, "the look")
    giga.close()
    error = waiting.join().error
    assert isinstance(error, APIConnectionError) and "close()" in str(error)


def test_a_wait_follows_retry_after(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=429, retry_after=0.4), path="/batches")
    emulator.inject(Fault(body=[READY]), path="/batches")
    giga.wait_for_batch("b-1", poll_interval=SOON, max_retries=0)
    first, second = (request.at for request in requests_to(emulator, "GET", "/batches"))
    assert second - first >= 0.39


@pytest.mark.parametrize(
    "fault", [Fault(status=503), Fault(status=429), Fault(status=502, html=True), Fault(reset=True)]
)
def test_a_wait_survives_temporary_failures(emulator: GigaChatEmulator, giga: GigaChat, fault: Fault) -> None:
    emulator.inject(fault, times=4, path="/batches")
    emulator.inject(Fault(body=[READY]), path="/batches")
    assert giga.wait_for_batch("b-1", poll_interval=SOON, max_retries=0).done
    assert len(requests_to(emulator, "GET", "/batches")) == 5


def test_a_wait_ends_when_the_service_stays_down(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=503), times=None, path="/batches")
    with pytest.raises(ServerError):
        giga.wait_for_batch("b-1", poll_interval=SOON, max_retries=0)
    assert len(requests_to(emulator, "GET", "/batches")) == 6


def test_failures_between_successes_do_not_add_up(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for _ in range(4):
        emulator.inject(Fault(status=503), times=3, path="/batches")
        emulator.inject(Fault(body=[ITEM]), path="/batches")
    emulator.inject(Fault(body=[READY]), path="/batches")
    assert giga.wait_for_batch("b-1", poll_interval=0.001, max_retries=0).done


@pytest.mark.parametrize(("status", "error_type"), [(404, NotFoundError), (403, ForbiddenError)])
def test_a_wait_ends_with_permanent_failures(
    emulator: GigaChatEmulator, giga: GigaChat, status: int, error_type: type[Exception]
) -> None:
    emulator.inject(Fault(status=status), path="/batches")
    with pytest.raises(error_type):
        giga.wait_for_batch("b-1", poll_interval=SOON)
    assert len(requests_to(emulator, "GET", "/batches")) == 1


@pytest.mark.parametrize("options", [{"poll_interval": 0}, {"poll_interval": "x"}, {"timeout": 0}, {"timeout": -1}])
def test_the_arguments_of_a_wait_are_validated(
    emulator: GigaChatEmulator, giga: GigaChat, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        giga.wait_for_batch("b-1", **options)
    assert emulator.requests == []


def test_one_batch_is_waited_for_from_several_threads(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.batches.looks = 12
    batch = giga.create_batch(["Count from 1 to 3"])
    start = threading.Barrier(4)

    def wait() -> Any:
        start.wait(10)
        return giga.batch_results(giga.wait_for_batch(batch, poll_interval=SOON))

    assert [[result.text for result in one.join().result] for one in [Background(wait) for _ in range(4)]] == [
        ["1, 2, 3"]
    ] * 4


# -- results ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["result", "response", "body"])
def test_a_result_is_read_in_every_shape(emulator: GigaChatEmulator, giga: GigaChat, shape: Any) -> None:
    emulator.batches.row_shape = shape
    emulator.batches.failing = {"b"}
    batch = giga.wait_for_batch(giga.create_batch([("a", "Count from 1 to 3"), ("b", "x")]), poll_interval=SOON)
    good, bad = giga.batch_results(batch)
    assert (good.text, good.error) == ("1, 2, 3", None)
    assert isinstance(bad.error, ServerError)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"error": {"status": 422, "message": "Invalid params: x"}}, 422, "Invalid params: x"),
        ({"error": {"code": 404, "message": "No such model"}}, 404, "No such model"),
        ({"error": "it broke"}, 500, "it broke"),
        ({"error": {"message": "it broke"}, "result": None}, 500, "it broke"),
        ({"result": {"status": 400, "message": "Bad row"}}, 400, "Bad row"),
        ({"response": {"status_code": 429, "body": {"status": 429, "message": "Slow down"}}}, 429, "Slow down"),
        ({"response": {"status_code": 503, "body": {"message": "Gone"}}}, 503, "Gone"),
        ({"response": {"status_code": 400, "error": {"message": "No"}}}, 400, "No"),
        ({"body": {"error": {"message": "Never", "status": 403}}}, 403, "Never"),
    ],
)
def test_a_failed_row_is_read_in_every_shape(
    emulator: GigaChatEmulator, giga: GigaChat, fields: dict[str, Any], status: int, message: str
) -> None:
    content = b"\n".join([row("a", **fields), row("b", result=ANSWER)])
    failed, good = giga.batch_results(results_file(emulator, content), requests={"a": "x", "b": "y"})
    assert isinstance(failed.error, APIStatusError)
    assert failed.error.status_code == status
    assert failed.error.message.startswith(message)
    assert (failed.completion, failed.request, failed.raw) == (None, "x", {"id": "a", **fields})
    assert (good.text, good.error) == ("Lena.", None)


def test_one_broken_character_in_a_row_is_replaced_and_the_answer_kept(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    line = b'{"id":"x","result":{"choices":[{"message":{"content":"Lena \\ud83d \xff"}}]}}'
    (result,) = giga.batch_results(results_file(emulator, line))
    assert result.text == "Lena \ufffd \ufffd"
    assert result.completion is not None
    assert result.completion.repaired


@pytest.mark.parametrize(
    ("line", "row_id", "reason"),
    [
        (b'{"id":"a","result":{"choices":[{"mess', "a", "not a JSON object"),
        (b'{"id":"\\u0430 \\"b\\"","result":{"cho', 'а "b"', "not a JSON object"),
        (b"<html>gateway</html>", "", "not a JSON object"),
        (b"[1, 2]", "", "neither an answer nor an error|not a JSON object"),
        (b"null", "", "not a JSON object"),
        (b'{"id":"a","result":{"text":"\xff"}}', "a", "neither an answer nor an error"),
        (b'{"id":"a"}', "a", "neither an answer nor an error"),
        (b'{"id":"a","result":{}}', "a", "neither an answer nor an error"),
        (b'{"id":"a","result":{"choices":[]}}', "a", "neither an answer nor an error"),
        (b'{"id":"a","result":{"choices":"none"}}', "a", "not what the API promises"),
        (b'{"id":"a","error":{"why":1}}', "a", "does not say how"),
        (b'{"id":"a","result":{"data":[{"embedding":["x"],"index":0}]}}', "a", "not what the API promises"),
        (b"[" * 2000, "", "not a JSON object"),
    ],
)
def test_a_bad_line_does_not_affect_others(
    emulator: GigaChatEmulator, giga: GigaChat, line: bytes, row_id: str, reason: str
) -> None:
    content = b"\n".join([row("x", result=ANSWER), b"", line, b"  \r", row("y", result=ANSWER), b""])
    results = giga.batch_results(results_file(emulator, content))
    assert [result.text for result in results] == ["Lena.", "", "Lena."]
    bad = results[1]
    assert bad.id == row_id
    assert isinstance(bad.error, InvalidResponseError)
    with pytest.raises(InvalidResponseError, match=reason):
        raise bad.error
    assert bad.raw


def test_missing_unknown_and_unnamed_rows_are_reported(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    content = b"\n".join(
        [row("stranger", result=ANSWER), json.dumps({"result": ANSWER}).encode(), row("b", result=ANSWER)]
    )
    results = giga.batch_results(results_file(emulator, content), requests=[("a", "A?"), ("b", "B?")])
    assert [(result.id, result.request, result.text) for result in results] == [
        ("a", "A?", ""),
        ("b", "B?", "Lena."),
        ("stranger", None, "Lena."),
        ("", None, "Lena."),
    ]
    assert isinstance(results[0].error, InvalidResponseError)
    assert "no row 'a'" in results[0].error.message
    assert [result.error for result in results[1:]] == [None, None, None]


def test_a_duplicate_row_is_reported_twice(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    content = b"\n".join([row("a", result=ANSWER), row("b", result=ANSWER), row("a", error="late")])
    results = giga.batch_results(results_file(emulator, content), requests=[("a", "A?"), ("b", "B?")])
    assert [(result.id, result.error is None) for result in results] == [("a", True), ("a", False), ("b", True)]


def test_junk_between_rows_does_not_affect_them(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.batches.extra_lines = [b"", b"{broken", b'{"id":"x"}']
    emulator.batches.leave_out = {"row-2"}
    batch = giga.wait_for_batch(giga.create_batch([f"Say '{word}'" for word in ("a", "b", "c")]), poll_interval=SOON)
    results = giga.batch_results(batch)
    assert [(result.id, result.text, result.error is None) for result in results[:3]] == [
        ("row-1", "a", True),
        ("row-2", "", False),
        ("row-3", "c", True),
    ]
    assert {result.id for result in results[3:]} == {"", "x"}


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_lines_are_split_at_any_block_boundary(
    emulator: GigaChatEmulator, giga: GigaChat, ends: bytes, size: int
) -> None:
    text = "Лена.\u2028\u0085"
    answer = {**ANSWER, "choices": [{"message": {"role": "assistant", "content": text}, "index": 0}]}
    lines = [json.dumps({"id": str(n), "result": answer}, ensure_ascii=False).encode() for n in range(3)]
    batch = results_file(emulator, b"\xef\xbb\xbf" + ends.join(lines), write_size=size)
    results = giga.batch_results(batch)
    assert [(result.id, result.text) for result in results] == [("0", text), ("1", text), ("2", text)]


def test_an_endless_line_is_an_error() -> None:
    from gigaclient.gigachat.batch_file import lines

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    with pytest.raises(InvalidResponseError, match="longer than 5000 bytes"):
        list(lines(endless(), 5000))


def test_a_cut_results_file_is_downloaded_again(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    content = b"\n".join(row(str(n), result=ANSWER) for n in range(20))
    emulator.inject(Fault(body=content, cut_after_bytes=1000), times=2, path="/files/f-1/content")
    results = giga.batch_results(results_file(emulator, content))
    assert [result.id for result in results] == [str(n) for n in range(20)]
    assert len(requests_to(emulator, "GET", "/content")) == 3


def test_a_file_that_is_cut_again_is_an_error_with_the_results_so_far(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    content = b"\n".join(row(str(n), result=ANSWER) for n in range(20))
    emulator.inject(Fault(body=content, cut_after_bytes=1000), times=None, path="/files/f-1/content")
    batch = Batch(id="b-1", status="completed", output_file_id="f-1")
    with pytest.raises(StreamInterruptedError, match="broke off") as caught:
        giga.batch_results(batch, max_retries=1)
    received = caught.value.completion
    assert [result.id for result in received] == [str(n) for n in range(len(received))]
    assert len(received) > 2 and all(result.text == "Lena." for result in received)
    assert caught.value.request_id is not None
    assert len(requests_to(emulator, "GET", "/content")) == 2


def test_a_stalled_file_is_a_timeout_with_the_results_so_far(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    content = row("a", result=ANSWER) + b"\n" + b"x" * 100_000
    batch = results_file(emulator, content, write_size=1000, write_pause_s=0.5)
    with pytest.raises(APITimeoutError) as caught:
        giga.batch_results(batch, deadline=0.8)
    assert [result.id for result in caught.value.completion] == ["a"]


def test_a_slow_file_is_read_while_rows_arrive(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    rows = [row(f"{number:02}", result=ANSWER) + b"\n" for number in range(12)]
    batch = results_file(emulator, b"".join(rows), write_size=len(rows[0]), write_pause_s=0.1)
    began_at = time.monotonic()
    assert len(giga.batch_results(batch, event_timeout=0.8)) == 12
    assert time.monotonic() - began_at > 0.8


def test_all_attempts_share_one_deadline(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    content = row("a", result=ANSWER) + b"\n"
    emulator.inject(Fault(body=content, cut_after_bytes=20, before_s=0.5), path="/files/f-1/content")
    batch = results_file(emulator, content, before_s=float("inf"))
    with pytest.raises(APITimeoutError) as caught:
        giga.batch_results(batch, deadline=2.0)
    # The message has the rest of the deadline that the second attempt started with.
    rest = re.search(r"the deadline of ([\d.]+) s", caught.value.message)
    assert rest is not None and float(rest[1]) < 1.5
    assert caught.value.timeout_kind == "deadline"
    assert len(requests_to(emulator, "GET", "/content")) == 2


def test_a_dripping_row_is_a_timeout(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    batch = results_file(emulator, b"x" * 100_000, write_size=10, write_pause_s=0.05)
    with pytest.raises(APITimeoutError) as caught:
        giga.batch_results(batch, event_timeout=0.4, deadline=10)
    assert caught.value.timeout_kind == "event"


def test_a_page_instead_of_the_file_is_an_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(InvalidResponseError, match="a page and not a file"):
        giga.batch_results(results_file(emulator, b"<html></html>", content_type="text/html; charset=utf-8"))


def test_a_file_that_is_gone_is_not_found(giga: GigaChat) -> None:
    with pytest.raises(NotFoundError):
        giga.batch_results(Batch(id="b-1", status="completed", output_file_id="none"))


def test_missing_results_are_refused_with_advice(giga: GigaChat) -> None:
    batch = giga.create_batch(["x"])
    with pytest.raises(ConfigError, match="is in_progress, and has no results yet: wait_for_batch"):
        giga.batch_results(batch)
    # The emulator completes the batch by now; batch_results polls once more.
    assert len(giga.batch_results(batch)) == 1


def test_the_results_release_their_connection(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    batch = giga.wait_for_batch(giga.create_batch(["x"]), poll_interval=SOON)
    before = emulator.connections
    for _ in range(3):
        giga.batch_results(batch)
    assert emulator.connections == before
    assert giga.stats().in_flight == 0


def test_an_id_is_quoted_in_the_path(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(NotFoundError):
        giga.batch_results(Batch(id="b-1", status="completed", output_file_id="../models?x=1"))
    assert emulator.requests[-1].path.endswith("/files/..%2Fmodels%3Fx%3D1/content")
