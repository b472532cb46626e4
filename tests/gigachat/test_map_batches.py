"""Many prompts through batches: matched to their responses, noted in the checkpoint, and created only once."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.clients import client_of
from support.stream_tools import WAIT_SECONDS, Background, until
from support.thread_tools import SOON, requests_to, rows_of

from gigaclient import Chat, GigaChat, Message
from gigaclient.bulk.checkpoint import Checkpoint
from gigaclient.bulk.tasks import Item, Task
from gigaclient.bulk.throttle import Throttle
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    ConfigError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    ServerError,
)
from gigaclient.gigachat.jobs.batches import BatchJob
from gigaclient.testing import Authority, Fault, GigaChatEmulator
from gigaclient.types import MapResult

PATH = "/batches"
NEVER = 10**9


class Places(BaseModel):
    numbers: list[int]


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with client_of(emulator) as client:
        yield client


def count_prompts(*numbers: int) -> list[str]:
    return [f"Count from 1 to {number}" for number in numbers]


def count_answer(number: int) -> str:
    return ", ".join(str(each) for each in range(1, number + 1))


def run(giga: GigaChat, prompts: Any, **options: Any) -> list[MapResult]:
    return list(giga.map(prompts, **{"via": "batches", "poll_interval": SOON, **options}))


def created(emulator: GigaChatEmulator) -> list[list[dict[str, Any]]]:
    """Return the rows of each request to create a batch."""
    return [rows_of(request) for request in requests_to(emulator, "POST", PATH)]


def row_id_of(giga: GigaChat, emulator: GigaChatEmulator, prompt: str) -> str:
    """Return the row id of a prompt, which is the same in every run."""
    run(giga, [prompt])
    row_id: str = created(emulator)[-1][0]["id"]
    return row_id


def polled_batches(emulator: GigaChatEmulator) -> int:
    """Return the number of polled batches, each of which is in the checkpoint by then."""
    return len({request.params.get("batch_id") for request in requests_to(emulator, "GET", PATH)})


def start_unfinished_run(
    giga: GigaChat, emulator: GigaChatEmulator, prompts: list[str], path: Path, batch_size: int = 500
) -> None:
    """Start a run that ends while it waits for its batches; all of them exist by then."""
    emulator.batches.looks = NEVER
    with giga.map(prompts, via="batches", poll_interval=SOON, checkpoint=path, batch_size=batch_size) as results:
        waiting = Background(lambda: list(results))
        until(lambda: polled_batches(emulator) == -(-len(prompts) // batch_size), "polls of the batches")
        results.close()
        assert waiting.join().result == []
    emulator.batches.looks = 1


# -- complete runs -----


def test_each_prompt_gets_its_answer_whatever_the_order_of_the_rows(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    numbers = range(2, 9)
    results = run(giga, count_prompts(*numbers))
    assert [result.input for result in results] == count_prompts(*numbers)
    assert [result.index for result in results] == list(range(7))
    assert [result.text for result in results] == [count_answer(number) for number in numbers]
    assert [(result.ok, result.attempts, result.restored) for result in results] == [(True, 1, False)] * 7
    for result in results:
        assert result.completion is not None
        assert result.usage == result.completion.usage != None  # noqa: E711 - a chained comparison
        assert result.completion.raw["choices"][0]["message"]["content"] == result.text
    assert len(created(emulator)) == 1


def test_the_rows_are_what_chat_would_have_sent(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    prompts = ["Hello", [Message(role="user", content="Hello")], Chat(messages=[{"role": "user", "content": "Hi"}])]
    run(giga, prompts, temperature=0.5, model="GigaChat-2-Pro", headers={"X-Team": "search"})
    request = requests_to(emulator, "POST", PATH)[0]
    assert (request.params, request.headers["x-team"]) == ({"method": "chat_completions"}, "search")
    for prompt in prompts:
        giga.chat(prompt, temperature=0.5, model="GigaChat-2-Pro")
    sent = [one.json() for one in requests_to(emulator, "POST", "/chat/completions")]
    assert [row["request"] for row in rows_of(request)] == sent


def test_prompts_go_in_batches_of_so_many(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = run(giga, count_prompts(*range(2, 9)), batch_size=3)
    assert [result.text for result in results] == [count_answer(number) for number in range(2, 9)]
    assert sorted(len(rows) for rows in created(emulator)) == [1, 3, 3]


def test_the_same_prompt_three_times_is_three_rows_and_three_answers(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    results = run(giga, count_prompts(3, 3, 4, 3))
    assert [result.text for result in results] == [count_answer(3), count_answer(3), count_answer(4), count_answer(3)]
    (rows,) = created(emulator)
    assert len({row["id"] for row in rows}) == 4


def test_several_batches_run_at_once(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.batches.looks = NEVER
    with giga.map(count_prompts(*range(2, 14)), via="batches", batch_size=2, poll_interval=SOON) as results:
        waiting = Background(lambda: list(results))
        until(lambda: len(created(emulator)) == 4, "four batches")
        before = len(requests_to(emulator, "GET", PATH))
        until(lambda: len(requests_to(emulator, "GET", PATH)) >= before + 12, "further polls")
        assert len(created(emulator)) == 4
        emulator.batches.looks = 1
        assert [result.text for result in waiting.join().result] == [count_answer(number) for number in range(2, 14)]
    assert len(created(emulator)) == 6


def test_batches_go_together_from_the_beginning(giga: GigaChat) -> None:
    # The service limits concurrent streams, not batches, so the throttle need not probe for a limit.
    assert giga.map(["Hello"], via="batches")._throttle.allowed() == 4
    assert giga.map(["Hello"], via="batches", max_workers=9)._throttle.allowed() == 9
    throttle = Throttle(4, None)
    assert throttle.refused(100.0, None, 3, 0.0)
    assert (throttle.allowed(), throttle.resumes_at) == (4, 100.5)  # later, although other batches are in progress


def test_max_workers_says_how_many(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.batches.looks = 3
    run(giga, count_prompts(*range(2, 8)), batch_size=2, max_workers=1)
    methods = "".join(request.method[0] for request in emulator.requests if request.path.endswith(PATH))
    assert methods == "PGGG" * 3


def test_batches_may_be_yielded_in_order_of_completion(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = run(giga, count_prompts(*range(2, 9)), batch_size=2, ordered=False)
    assert sorted(result.index for result in results) == list(range(7))
    assert all(result.text == count_answer(result.index + 2) for result in results)


def test_a_value_is_read_from_each_answer(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = run(giga, ["Count from 1 to 3", "Name a river"], response_format=Places)
    (rows,) = created(emulator)
    assert [row["request"]["response_format"]["type"] for row in rows] == ["json_schema"] * 2
    for result in results:
        assert isinstance(result.value, Places)
        assert result.completion is not None


def test_an_answer_that_is_no_such_value_is_an_error_with_the_answer(giga: GigaChat, monkeypatch: Any) -> None:
    def text(self: Any, request: Any) -> Any:
        answer = usual(self, request)
        answer["choices"][0]["message"]["content"] = "no JSON"
        return answer

    from gigaclient.testing.batches import EmulatedBatches

    usual = EmulatedBatches._completion
    monkeypatch.setattr(EmulatedBatches, "_completion", text)
    (result,) = run(giga, ["Count from 1 to 3"], response_format=Places)
    assert not result.ok
    assert result.text == "no JSON"
    assert result.value is None


def test_functions_that_are_descriptions_are_sent_along(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    weather = {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {}}}
    run(giga, ["Hello"], functions=[weather])
    assert created(emulator)[0][0]["request"]["functions"][0]["name"] == "weather"


# -- errors -----


def test_a_row_that_failed_is_the_error_of_its_prompt_alone(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.batches.failing = {row_id_of(giga, emulator, "Count from 1 to 3")}
    results = run(giga, count_prompts(2, 3, 4))
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1].error, ServerError)


def test_a_row_that_is_not_there_is_the_error_of_its_prompt_alone(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.batches.leave_out = {row_id_of(giga, emulator, "Count from 1 to 3")}
    emulator.batches.extra_lines = [b"", b"no JSON", b'{"id":"unknown","result":{}}']
    results = run(giga, count_prompts(2, 3, 4))
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1].error, InvalidResponseError)
    assert next(iter(emulator.batches.leave_out)) in str(results[1].error)


def test_a_row_that_comes_twice_counts_as_the_good_one(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    row_id = row_id_of(giga, emulator, "Count from 1 to 3")
    emulator.batches.extra_lines = [b'{"id":"%b","error":{"status":500,"message":"Oops"}}' % row_id.encode()] * 4
    results = run(giga, count_prompts(2, 3, 4))
    assert [result.text for result in results] == [count_answer(2), count_answer(3), count_answer(4)]


def test_a_prompt_that_cannot_be_sent_is_its_own_error(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = run(giga, ["Count from 1 to 2", None, "\ud800", "Count from 1 to 3"])
    assert [isinstance(result.error, ConfigError) for result in results] == [False, True, True, False]
    assert len(created(emulator)[0]) == 2


def test_a_plan_without_batches_is_reported_once(giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    emulator.batches.scopes = {"GIGACHAT_API_CORP"}
    results = giga.map(count_prompts(*range(2, 30)), via="batches", batch_size=7, checkpoint=tmp_path / "c.jsonl")
    with pytest.raises(ForbiddenError, match="pay-as-you-go"):
        next(results)
    assert (results.stopped, results.progress.failed) == ("ForbiddenError", 0)
    assert (tmp_path / "c.jsonl").read_bytes() == b""


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_refused_for_its_content_is_split_in_halves(
    giga: GigaChat, emulator: GigaChatEmulator, status: int
) -> None:
    emulator.inject(Fault(status=status), path=PATH)
    results = run(giga, count_prompts(2, 3, 4))
    assert [result.text for result in results] == [count_answer(2), count_answer(3), count_answer(4)]
    assert sorted(len(rows) for rows in created(emulator)) == [1, 2, 3]


def test_a_row_that_no_batch_may_hold_has_the_error_alone(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=413), path=PATH, times=2)  # the whole batch, and the first half
    results = run(giga, count_prompts(2, 3, 4), max_workers=1)
    assert [(result.ok, result.attempts) for result in results] == [(False, 2), (True, 1), (True, 1)]
    assert isinstance(results[0].error, APIStatusError)
    assert results[0].error.status_code == 413


def test_a_batch_creation_refused_with_429_is_retried_later(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=429, retry_after=0), path=PATH, times=5)
    results = run(giga, count_prompts(2, 3))
    assert [result.ok for result in results] == [True, True]
    assert len(created(emulator)) == 6


def test_a_refused_poll_does_not_create_the_batch_again(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.batches.looks = NEVER
    waiting = Background(lambda: run(giga, count_prompts(2, 3)))
    until(lambda: bool(requests_to(emulator, "GET", PATH)), "a poll")
    # More refusals than wait_for_batch() tolerates: the whole task is queued again and continues with its batch.
    emulator.inject(Fault(status=429, retry_after=0), path=PATH, times=20)
    seen = len(requests_to(emulator, "GET", PATH))
    until(lambda: len(requests_to(emulator, "GET", PATH)) > seen + 21, "polls after the refusals")
    emulator.batches.looks = 1
    assert [result.text for result in waiting.join().result] == [count_answer(2), count_answer(3)]
    assert len(created(emulator)) == 1


def test_without_a_checkpoint_the_batch_that_is_left_is_named_in_the_log(
    giga: GigaChat, emulator: GigaChatEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.batches.looks = NEVER
    with giga.map(count_prompts(2), via="batches", max_seconds=0.5, poll_interval=SOON) as results:
        assert list(results) == []
    (batch,) = giga.get_batches().batches
    until(lambda: any(batch.id in one.getMessage() and one.levelno == logging.WARNING for one in caplog.records))


# -- how a run ends -----


def test_a_wait_of_minutes_ends_when_the_time_of_the_run_does(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.batches.looks = NEVER
    began_at = time.monotonic()
    results = giga.map(count_prompts(2, 3), via="batches", poll_interval=600.0, max_seconds=1.0)
    assert list(results) == []
    assert results.stopped == "max_seconds"
    assert time.monotonic() - began_at < WAIT_SECONDS


def test_a_pause_before_the_results_are_fetched_again_ends_as_well(emulator: GigaChatEmulator) -> None:
    emulator.batches.looks = 1
    emulator.inject(Fault(cut_after_bytes=10), path="/content", times=None)
    began_at = time.monotonic()
    with client_of(emulator, retry_backoff_factor=1000.0) as patient:
        results = patient.map(count_prompts(2, 3), via="batches", poll_interval=SOON, max_seconds=2.0)
        assert list(results) == []
    assert [len(requests_to(emulator, "GET", "/content")), results.stopped] == [1, "max_seconds"]
    assert time.monotonic() - began_at < WAIT_SECONDS


def test_an_interrupt_ends_a_wait_of_minutes_and_leaves_no_thread(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.batches.looks = NEVER

    def interrupt() -> None:
        until(lambda: bool(requests_to(emulator, "GET", PATH)), "a poll")
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupting = Background(interrupt)
        list(giga.map(count_prompts(2), via="batches", poll_interval=600.0))
    interrupting.join()
    until(lambda: not any(one.name.startswith("giga.map") for one in threading.enumerate()), "the end of the threads")


def test_the_budget_holds_between_batches(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    (one,) = run(giga, count_prompts(5))
    assert one.usage is not None and one.usage.total_tokens
    results = giga.map(
        count_prompts(*[5] * 20),
        via="batches",
        batch_size=4,
        max_workers=1,
        poll_interval=SOON,
        max_tokens_total=10 * one.usage.total_tokens,
    )
    assert len(list(results)) == 8
    assert results.stopped == "max_tokens_total"


# -- later runs -----


def test_a_run_that_is_started_again_waits_for_the_batches_that_exist_in_whatever_order(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    prompts = count_prompts(*range(2, 12))
    start_unfinished_run(giga, emulator, prompts, path, batch_size=3)
    assert len(created(emulator)) == 4
    results = run(giga, prompts[::-1], checkpoint=path, batch_size=3)
    assert [result.text for result in results] == [count_answer(number) for number in range(11, 1, -1)]
    assert [(result.restored, result.attempts) for result in results] == [(False, 1)] * 10
    assert len(created(emulator)) == 4
    before = len(emulator.requests)
    again = run(giga, prompts, checkpoint=path)
    assert [(result.restored, result.text) for result in again] == [(True, count_answer(n)) for n in range(2, 12)]
    assert len(emulator.requests) == before


def test_prompts_of_one_batch_far_apart_are_joined_without_reading_to_the_end(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    start_unfinished_run(giga, emulator, count_prompts(*range(2, 12)), path, batch_size=4)
    shuffled = [*range(2, 12, 4), *range(3, 12, 4), *range(4, 12, 4), *range(5, 12, 4)]
    read: list[int] = []

    def endless() -> Iterator[str]:
        for number in itertools.chain(shuffled, itertools.count(12)):
            read.append(number)
            yield from count_prompts(number)

    with giga.map(endless(), via="batches", poll_interval=SOON, checkpoint=path, batch_size=4) as results:
        assert [next(results).text for _ in shuffled] == [count_answer(number) for number in shuffled]
    old = {row["id"] for rows in created(emulator)[:3] for row in rows}
    assert len(old) == 10
    assert not any(row["id"] in old for rows in created(emulator)[3:] for row in rows)


def test_prompts_that_join_different_batches_do_not_wait_until_one_of_these_is_complete(tmp_path: Path) -> None:
    keys = [bytes([number]) * 16 for number in range(8)]
    with Checkpoint(tmp_path / "c.jsonl") as checkpoint:
        for batch_id, its in (("b-1", keys[:4]), ("b-2", keys[4:])):
            checkpoint.append({"note": {"batch": batch_id, "rows": [key.hex() for key in its]}})
    with Checkpoint(tmp_path / "c.jsonl") as checkpoint:
        job = BatchJob(None, {}, batch_size=4)
        job.begin(checkpoint)
        items = [Item(index, "Hello", b"{}", keys[number]) for index, number in enumerate((0, 4, 1, 5, 2, 3))]
        gathered = [[task.items for task in job.gather(item)] for item in items]
    assert gathered == [[], [], [], [[items[0], items[2]], [items[1], items[3]]], [], [[items[4], items[5]]]]


def test_rows_whose_prompts_do_not_come_are_left_for_a_further_run(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    start_unfinished_run(giga, emulator, count_prompts(2, 3, 4, 5), path)
    second = run(giga, count_prompts(6, 3), checkpoint=path)
    assert [result.text for result in second] == [count_answer(6), count_answer(3)]
    third = run(giga, count_prompts(2, 3, 4, 5), checkpoint=path)
    assert [result.text for result in third] == [count_answer(number) for number in (2, 3, 4, 5)]
    assert [result.restored for result in third] == [False, True, False, False]
    assert [len(rows) for rows in created(emulator)] == [4, 1]


def test_the_same_prompt_twice_in_a_batch_that_was_left_is_joined_twice(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    start_unfinished_run(giga, emulator, count_prompts(3, 3), tmp_path / "c.jsonl")
    results = run(giga, count_prompts(3, 3, 3), checkpoint=tmp_path / "c.jsonl")
    assert [result.text for result in results] == [count_answer(3)] * 3
    assert [len(rows) for rows in created(emulator)] == [2, 1]


def test_a_batch_that_the_service_has_forgotten_is_made_anew(
    giga: GigaChat, emulator: GigaChatEmulator, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start_unfinished_run(giga, emulator, count_prompts(2, 3), tmp_path / "c.jsonl")
    with GigaChatEmulator(authority=authority) as other, client_of(other) as elsewhere:
        results = run(elsewhere, count_prompts(2, 3), checkpoint=tmp_path / "c.jsonl")
        assert [result.text for result in results] == [count_answer(2), count_answer(3)]
        assert [len(rows) for rows in created(other)] == [2]
        again = run(elsewhere, count_prompts(2, 3, 2), checkpoint=tmp_path / "c.jsonl")
        assert [(result.ok, result.restored) for result in again] == [(True, True), (True, True), (True, False)]
    assert caplog.text.count("is gone") == 1


def test_a_batch_of_this_run_that_the_service_denies_is_an_error_and_not_paid_for_twice(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    emulator.batches.looks = NEVER
    waiting = Background(lambda: run(giga, count_prompts(2, 3)))
    until(lambda: bool(requests_to(emulator, "GET", PATH)), "a poll")
    emulator.inject(Fault(status=404, body={"status": 404, "message": "Batch task not found"}), path=PATH)
    assert [type(result.error) for result in waiting.join().result] == [NotFoundError] * 2
    assert len(created(emulator)) == 1


def test_a_run_whose_polls_failed_is_followed_by_one_that_waits_for_the_same_batch(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    emulator.batches.looks = NEVER
    waiting = Background(lambda: run(giga, count_prompts(2, 3), checkpoint=path, max_retries=0))
    until(lambda: bool(requests_to(emulator, "GET", PATH)), "a poll")
    emulator.inject(Fault(status=500), path=PATH, times=None)
    assert [type(result.error) for result in waiting.join().result] == [ServerError] * 2
    emulator.clear()
    emulator.batches.looks = 1
    results = run(giga, count_prompts(2, 3), checkpoint=path)
    assert [result.text for result in results] == [count_answer(2), count_answer(3)]
    assert len(created(emulator)) == 1


def test_a_row_that_failed_goes_into_a_new_batch_in_the_next_run(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    failing = row_id_of(giga, emulator, "Count from 1 to 3")
    emulator.batches.failing = {failing}
    run(giga, count_prompts(2, 3), checkpoint=tmp_path / "c.jsonl")
    emulator.batches.failing = set()
    results = run(giga, count_prompts(2, 3), checkpoint=tmp_path / "c.jsonl")
    assert [(result.ok, result.restored) for result in results] == [(True, True), (True, False)]
    assert [row["id"] for row in created(emulator)[-1]] == [failing]


def test_a_run_killed_after_it_wrote_results_and_before_it_noted_so_loses_nothing(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    run(giga, count_prompts(2, 3, 4), checkpoint=path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert [b'"note"' in line for line in lines] == [True, False, False, False, True]
    path.write_bytes(b"".join(lines[:3]))
    results = run(giga, count_prompts(2, 3, 4), checkpoint=path)
    assert [result.restored for result in results].count(True) == 2
    assert all(result.ok for result in results)
    assert len(created(emulator)) == 1


def test_a_run_may_be_continued_without_batches_and_the_other_way_round(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    run(giga, count_prompts(2, 3), checkpoint=path)
    list(giga.map(count_prompts(2, 3, 4), checkpoint=path))
    results = run(giga, count_prompts(4, 3, 2, 5), checkpoint=path)
    assert [result.restored for result in results] == [True, True, True, False]
    assert [len(requests_to(emulator, "POST", end)) for end in ("/chat/completions", PATH)] == [1, 2]


def test_a_batch_that_cannot_be_noted_still_brings_its_results(
    giga: GigaChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def append(self: Checkpoint, line: Any) -> int:
        if "note" in line:
            raise OSError(28, "No space left on device", self.path)
        return usual(self, line)

    usual = Checkpoint.append
    monkeypatch.setattr(Checkpoint, "append", append)
    results = run(giga, count_prompts(2, 3), checkpoint=tmp_path / "c.jsonl")
    assert [result.ok for result in results] == [True, True]
    assert "could not be noted" in caplog.text


def test_foreign_and_damaged_notes_are_ignored(giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    with Checkpoint(path) as checkpoint:
        notes = (
            "text",
            {"batch": 5},
            {"batch": "b", "rows": "r"},
            {"other": []},
            ["b"],
            {"batch": "b", "settled": True},
        )
        for note in notes:
            checkpoint.append({"note": note})
    assert [result.ok for result in run(giga, count_prompts(2), checkpoint=path)] == [True]
    assert len(created(emulator)) == 1


KILLED = """
    import sys
    from gigaclient import GigaChat

    with GigaChat(timeout=20) as giga:
        prompts = [f"Count from 1 to {number}" for number in range(2, 12)]
        list(giga.map(prompts, via="batches", batch_size=3, poll_interval=0.05, checkpoint=sys.argv[1]))
"""


def test_a_run_that_is_killed_while_it_waits_creates_no_batch_twice(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    emulator.batches.looks = NEVER
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(path)]
    with subprocess.Popen(program, env={**os.environ, **emulator.environment}) as process:
        try:
            until(
                lambda: (
                    len({one.params.get("batch_id") for one in requests_to(emulator, "GET", PATH)}) == 4
                    or process.poll() is not None
                ),
                "looks at four batches",
            )
            assert process.poll() is None
        finally:
            process.kill()
    emulator.batches.looks = 1
    results = run(giga, count_prompts(*range(11, 1, -1)), checkpoint=path, batch_size=5)
    assert [result.text for result in results] == [count_answer(number) for number in range(11, 1, -1)]
    assert [len(rows) for rows in created(emulator)].count(3) == 3
    assert len(created(emulator)) == 4


# -- arguments -----


def weather(city: str) -> str:
    """Return the weather."""
    return city


@pytest.mark.parametrize(
    "options",
    [
        {"via": "mail"},
        {"via": "batches", "batch_size": 0},
        {"via": "batches", "batch_size": 1.5},
        {"via": "batches", "poll_interval": 0},
        {"via": "batches", "poll_interval": "soon"},
        {"via": "batches", "functions": [weather]},
        {"via": "batches", "stream": True},
        {"via": "batches", "executor": object()},
        {"batch_size": 10},
        {"poll_interval": 1.0},
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(
    giga: GigaChat, emulator: GigaChatEmulator, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        giga.map(["Hello"], **options)
    assert emulator.requests == []


def test_a_batch_that_exists_is_not_split(giga: GigaChat) -> None:
    job = BatchJob(None, {})
    error = APIStatusError("413", status_code=413)
    task = Task([Item(number, "Hello", b"{}", b"k" * 16) for number in range(2)])
    assert [len(each.items) for each in job.split(task, error)] == [1, 1]
    assert job.split(task, APIConnectionError("reset")) == ()
    task.note = object()
    assert job.split(task, error) == ()
