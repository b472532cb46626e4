"""``giga.map``: many prompts with a result each, the limits of a run, and its end."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.token_tools import LONG, Crowd, in_child, until

from gigaclient import (
    AuthenticationError,
    ConfigError,
    FakeGpt,
    GigaChat,
    GigaClientError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    ServerError,
    Usage,
)
from gigaclient._core.retry import RetryPolicy
from gigaclient.bulk.checkpoint import Checkpoint
from gigaclient.context import custom_headers_cvar
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator


@pytest.fixture
def refusals() -> list[Any]:
    """Count the 429s that the client received."""
    return []


@pytest.fixture
def giga(emulator: GigaChatEmulator, refusals: list[Any]) -> Iterator[GigaChat]:
    def watch(event: Any) -> None:
        if event.status == 429:
            refusals.append(event)

    with GigaChat(**emulator.client_options, on_response=watch, retry_backoff_factor=0.01) as client:
        yield client


def echo(emulator: GigaChatEmulator, **special: Any) -> None:
    """Have the model repeat each prompt; for some, return another text or call a function first."""

    def answer(request: Any) -> Any:
        prompt = request.json()["messages"][-1]["content"]
        found = special.get(prompt)
        if callable(found):
            found = found()
        return f"echo of {prompt}" if found is None else found

    emulator.answer(answer, times=100_000)


def no_threads_are_left() -> bool:
    until(lambda: not any(thread.name.startswith("giga.map") for thread in threading.enumerate()), LONG / 4)
    return True


# -- what comes out -----


def test_each_prompt_has_a_result_with_all_that_became_of_it(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    echo(emulator)
    results = list(giga.map(["one", "two", "three"]))
    assert [(result.index, result.input, result.text) for result in results] == [
        (0, "one", "echo of one"),
        (1, "two", "echo of two"),
        (2, "three", "echo of three"),
    ]
    first = results[0]
    assert first.ok
    assert first.error is None
    assert first.completion is not None
    assert isinstance(first.usage, Usage)
    assert first.usage == first.completion.usage
    assert (first.attempts, first.restored) == (1, False)
    assert 0.0 < first.seconds < LONG


def test_options_and_the_template_hold_for_each_prompt(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    rows = [{"text": "Nice"}, {"text": "Poor"}]
    list(giga.map(rows, template="Good or bad? {text}", model="GigaChat-2-Pro", temperature=0.1))
    assert emulator.prompts == ["Good or bad? Nice", "Good or bad? Poor"]
    assert {(chat["model"], chat["temperature"]) for chat in emulator.chats} == {("GigaChat-2-Pro", 0.1)}


def test_results_come_in_the_order_of_the_prompts_or_as_they_come(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    go = threading.Event()
    echo(emulator, slow=lambda: (go.wait(LONG), None)[1])
    in_order = giga.map(["slow", *"abc"])
    crowd = Crowd(1, lambda n: [result.input for result in in_order])
    assert crowd.is_busy_after(0.3)
    go.set()
    assert crowd.results()[0] == ["slow", "a", "b", "c"]
    go.clear()
    as_completed = giga.map(["slow", *"abc"], ordered=False)
    assert {next(as_completed).input for _ in "abc"} == {"a", "b", "c"}
    go.set()
    assert [result.input for result in as_completed] == ["slow"]


def test_nothing_is_read_or_sent_before_the_first_result_is_requested(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    read: list[int] = []

    def prompts() -> Iterator[str]:
        for number in itertools.count():
            read.append(number)
            yield f"prompt {number}"

    results = giga.map(prompts(), max_workers=4)
    assert (read, emulator.prompts) == ([], [])
    assert [result.index for result in itertools.islice(results, 5)] == [0, 1, 2, 3, 4]
    results.close()
    assert len(read) < 60  # of an infinite iterable: a few for each result
    sent = len(emulator.prompts)
    assert sent <= len(read)
    assert no_threads_are_left()


def test_a_slow_reader_holds_up_reading_and_not_running_calls(
    giga: GigaChat, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gigaclient.bulk.results._WINDOW", 10)
    results = giga.map((f"prompt {n}" for n in itertools.count()), ordered=False, max_workers=4)
    for _ in range(30):
        next(results)
    until(lambda: len(emulator.prompts) == results.progress.read)
    assert 30 < results.progress.read <= 30 + 10
    results.close()


def test_the_iterable_is_read_in_the_thread_that_iterates(giga: GigaChat) -> None:
    threads = set()

    def prompts() -> Iterator[str]:
        for number in range(20):
            threads.add(threading.get_ident())
            yield f"prompt {number}"

    assert len(list(giga.map(prompts()))) == 20
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("ordered", [True, False])
def test_results_do_not_wait_for_a_source_that_is_slower_than_the_service(giga: GigaChat, ordered: bool) -> None:
    read: list[int] = []

    def prompts() -> Iterator[str]:
        for number in range(12):
            time.sleep(0.1)
            read.append(number)
            yield f"prompt {number}"

    for result in giga.map(prompts(), ordered=ordered):
        assert len(read) - result.index <= 6


def test_no_prompts_are_no_results(giga: GigaChat) -> None:
    results = giga.map([])
    assert list(results) == []
    assert results.stopped is None
    assert next(results, "none") == "none"


# -- errors -----


def test_one_failing_prompt_does_not_lose_the_others(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=500), times=3)
    results = list(giga.map(["fails", None, "two", 17, "three"]))
    assert [result.ok for result in results] == [False, False, True, False, True]
    failed, missing, *_ = results
    assert isinstance(failed.error, ServerError)
    assert (failed.attempts, failed.text, failed.usage) == (3, "", None)
    assert isinstance(missing.error, ConfigError)
    assert (missing.attempts, missing.input) == (0, None)


def test_the_first_error_is_raised_if_wanted_and_ends_the_run(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = giga.map(["one", None, "two"], raise_errors=True)
    assert next(results).input == "one"
    with pytest.raises(ConfigError):
        next(results)
    assert list(results) == []
    assert no_threads_are_left()


def test_an_error_of_the_iterable_comes_after_the_results_before_it(giga: GigaChat) -> None:
    def prompts() -> Iterator[str]:
        yield "one"
        yield "two"
        raise LookupError("the database is gone")

    came = []
    with pytest.raises(LookupError, match="the database is gone"):
        for result in giga.map(prompts()):
            came.append(result.input)
    assert came == ["one", "two"]


def test_a_wrong_key_is_raised_once_and_not_ten_thousand_times(emulator: GigaChatEmulator) -> None:
    with GigaChat(**{**emulator.client_options, "credentials": "d3Jvbmc6d3Jvbmc="}) as giga:
        results = giga.map(f"prompt {n}" for n in range(10_000))
        with pytest.raises(AuthenticationError):
            list(results)
        assert results.stopped == "AuthenticationError"
        assert results.progress.read < 20


def test_a_missing_key_is_raised_once(emulator: GigaChatEmulator) -> None:
    options = {**emulator.client_options}
    del options["credentials"]
    with GigaChat(**options) as giga, pytest.raises(ConfigError, match="no credentials"):
        list(giga.map(["one", "two"]))


def test_an_empty_account_ends_the_run_after_the_finished_results(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = giga.map(f"prompt {n}" for n in range(10_000))
    came = [next(results) for _ in range(10)]
    emulator.inject(Fault(status=402), times=None)
    with pytest.raises(PaymentRequiredError):
        came.extend(results)
    assert 10 <= sum(result.ok for result in came) < 10_000


def test_the_request_for_model_hints_does_not_count_as_an_attempt(giga: GigaChat) -> None:
    (result,) = giga.map([{"messages": "one", "model": "GigaChat-2-Prp"}])
    assert "GigaChat-2-Pro" in str(result.error)
    assert result.attempts == 1


def test_a_wrong_model_is_raised_once_if_all_prompts_use_it(giga: GigaChat) -> None:
    one_wrong = list(giga.map(["one", {"messages": "two", "model": "GigaChat-17"}, "three"]))
    assert [result.ok for result in one_wrong] == [True, False, True]
    results = giga.map((f"prompt {n}" for n in range(10_000)), model="GigaChat-17")
    with pytest.raises(NotFoundError):
        list(results)
    assert results.progress.read < 20


def test_an_invalid_option_is_raised_at_once(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    wrong: list[dict[str, Any]] = [
        {"model": " "},
        {"response_format": 17},
        {"max_workers": 0},
        {"max_tokens_total": -1},
        {"max_seconds": 0},
        {"max_errors_in_row": "many"},
        {"via": "pigeon"},
        {"timeout": "soon"},
        {"stream": True},
        {"template": "no placeholder"},
        {"functions": [print, 17]},
    ]
    for options in wrong:
        with pytest.raises(ConfigError):
            giga.map(["one"], **options)
    for prompts in ("one prompt", b"one", {"messages": []}, None, 17):
        with pytest.raises(ConfigError):
            giga.map(prompts)  # type: ignore[arg-type]
    assert emulator.prompts == []


# -- the account's limits -----


def test_inputs_that_can_be_no_prompt_count_as_errors_in_a_row(giga: GigaChat) -> None:
    results = giga.map(itertools.repeat(17), max_errors_in_row=5)
    assert [type(result.error) for result in results] == [ConfigError] * 5
    assert results.stopped == "max_errors_in_row"


def test_an_internal_error_is_raised_and_does_not_leave_the_caller_waiting(
    giga: GigaChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("gigaclient.bulk.thread_pool.complete_task", broken)
    with pytest.raises(ZeroDivisionError):
        list(giga.map(["one", "two"]))


@pytest.mark.parametrize(("streams", "prompts", "max_refused"), [(1, 40, 5), (4, 120, 12)])
def test_the_limit_of_the_plan_is_found_and_kept_to_and_no_refusal_is_seen(
    giga: GigaChat, emulator: GigaChatEmulator, refusals: list[Any], streams: int, prompts: int, max_refused: int
) -> None:
    emulator.max_streams = streams
    emulator.answer_pause_s = 0.05
    results = list(giga.map(f"prompt {n}" for n in range(prompts)))
    assert all(result.ok for result in results)
    assert 1 <= len(refusals) <= max_refused
    assert sum(result.attempts for result in results) == prompts + len(refusals)
    assert streams <= giga.stats().limit <= streams + 1
    assert sorted(Counter(emulator.prompts).values())[-1] <= 1 + len(refusals)


def test_without_a_limit_many_go_at_once_and_never_more_than_wanted(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.answer_pause_s = 0.05
    max_in_flight = 0
    results = giga.map((f"prompt {n}" for n in range(200)), max_workers=8)
    for _ in results:
        max_in_flight = max(max_in_flight, giga.stats().in_flight)
    assert 5 <= max_in_flight <= 8


def test_the_clients_own_limit_holds_from_the_first_call_on(emulator: GigaChatEmulator) -> None:
    emulator.max_streams = 2
    emulator.answer_pause_s = 0.01
    with GigaChat(**emulator.client_options, max_connections=2) as giga:
        assert all(result.attempts == 1 for result in giga.map(f"prompt {n}" for n in range(50)))


def test_retry_after_is_kept_to_by_all(giga: GigaChat, emulator: GigaChatEmulator, refusals: list[Any]) -> None:
    sent: list[float] = []
    watching = giga.with_options(on_request=lambda event: sent.append(time.monotonic()))
    emulator.inject(Fault(status=429, retry_after=1))
    results = list(watching.map(["one", "two", "three"]))
    assert [result.attempts for result in results] == [2, 1, 1]
    assert min(sent[1:]) - sent[0] >= 1.0


def test_a_service_that_stays_too_busy_ends_the_run(
    giga: GigaChat, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = RetryPolicy(max_retries=10, backoff_factor=0.0001)
    monkeypatch.setattr("gigaclient.bulk.throttle._PAUSES", quick)
    emulator.inject(Fault(status=429), times=None)
    results = giga.map(["one", "two"])
    came = []
    with pytest.raises(RateLimitError):
        came.extend(results)
    assert results.stopped == "RateLimitError"
    assert len(emulator.requests) - len(emulator.oauth_requests) <= 12


def test_a_token_that_is_refused_amid_the_run_is_not_seen(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    for result in giga.map(f"prompt {n}" for n in range(120)):
        assert result.ok
        if result.index == 30:
            emulator.revoke_tokens()
    assert giga.stats().tokens_fetched == 2


# -- budgets -----


def test_no_more_tokens_are_spent_than_wanted(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    each = giga.chat("prompt 0").usage
    assert each is not None
    results = giga.map((f"prompt {n % 10}" for n in range(1000)), max_tokens_total=each.total_tokens * 30)
    came = list(results)
    assert results.stopped == "max_tokens_total"
    assert 25 <= len(came) <= 30
    assert results.progress.tokens == sum(result.usage.total_tokens for result in came if result.usage)
    assert results.progress.tokens <= each.total_tokens * 30


def test_running_calls_are_cancelled_when_the_time_is_up(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    go = threading.Event()
    echo(emulator, slow=lambda: (go.wait(LONG), None)[1])
    results = giga.map(["one", "two", "slow", "three"], max_seconds=2.0, ordered=False)
    started_at = time.monotonic()
    came = [result.input for result in results]
    assert time.monotonic() - started_at < LONG / 2
    go.set()
    assert "slow" not in came
    assert came[:2] == ["one", "two"]
    assert results.stopped == "max_seconds"


def test_time_is_up_also_while_results_keep_coming(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = giga.map((f"prompt {n}" for n in itertools.count()), max_seconds=0.5)
    assert sum(1 for result in results if result.ok) > 5
    assert results.stopped == "max_seconds"
    assert results.progress.seconds < LONG / 2


def test_the_run_stops_after_so_many_errors_in_a_row(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=400), times=None)
    results = giga.map((f"prompt {n}" for n in range(1000)), max_errors_in_row=5)
    came = list(results)
    assert results.stopped == "max_errors_in_row"
    assert 5 <= len(came) < 10
    assert all(result.error for result in came)


# -- the checkpoint -----


def test_finished_prompts_are_not_sent_again_in_any_order(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    echo(emulator)
    path = tmp_path / "results.jsonl"
    prompts = [f"prompt {n}" for n in range(12)]
    with giga.map(prompts, checkpoint=path) as results:
        first = {result.input: result for result in itertools.islice(results, 7)}
    sent = Counter(emulator.prompts)
    results = giga.map(prompts[::-1], checkpoint=path)
    second = {result.input: result for result in results}
    assert list(second) == prompts[::-1]
    assert all(result.text == f"echo of {result.input}" for result in second.values())
    assert results.progress.restored >= 7
    for prompt, result in first.items():
        again = second[prompt]
        assert again.restored
        assert again.index == 11 - result.index
        assert (again.completion, again.usage, again.attempts) == (result.completion, result.usage, 1)
        assert again.completion is not None
        assert result.completion is not None
        assert again.completion.raw == result.completion.raw
    # Calls that ran when the first loop was left may be sent once more.
    assert sum((Counter(emulator.prompts) - sent).values()) <= 5
    sent = Counter(emulator.prompts)
    assert all(result.restored for result in giga.map(prompts, checkpoint=path))
    assert Counter(emulator.prompts) == sent


def test_a_prompt_that_is_there_three_times_has_three_answers(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    for number in range(3):
        emulator.answer(f"answer {number}")
    texts = sorted(result.text for result in giga.map(["same"] * 3, checkpoint=path))
    assert texts == ["answer 0", "answer 1", "answer 2"]
    emulator.answer("answer 3")
    results = list(giga.map(["same"] * 4, checkpoint=path))
    assert sorted(result.text for result in results) == [*texts, "answer 3"]
    assert len(emulator.prompts) == 4


def test_other_options_are_another_request(giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    list(giga.map(["one"], checkpoint=path, temperature=0.5, model="GigaChat-2"))
    same = list(giga.map(["one"], checkpoint=path, model="GigaChat-2", temperature=0.5, timeout=17))
    other = list(giga.map(["one"], checkpoint=path, model="GigaChat-2", temperature=0.6))
    assert [same[0].restored, other[0].restored] == [True, False]


def test_failed_prompts_are_written_to_the_file_and_sent_again(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    emulator.inject(Fault(status=400))
    results = list(giga.map(["one", None, "two"], checkpoint=path))
    assert [result.ok for result in results] == [False, False, True]
    assert '"status_code":400' in path.read_text("utf-8")
    again = list(giga.map(["one", "two"], checkpoint=path))
    assert [(result.ok, result.restored) for result in again] == [(True, False), (True, True)]


def test_a_result_is_on_the_disk_before_it_is_delivered(
    giga: GigaChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    synced: list[int] = []
    plain = os.fsync

    def counted(descriptor: int) -> None:
        plain(descriptor)
        synced.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", counted)
    for result in giga.map(["one", "two", "three"], checkpoint=path):
        lines = path.read_bytes()[: synced[-1]].decode().splitlines()
        assert any(f'"input":"{result.input}"' in line for line in lines)


def test_a_full_disk_ends_the_run_after_the_finished_results(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Checkpoint.append

    def full(checkpoint: Checkpoint, line: Any) -> int:
        if line["input"] == "prompt 3":
            raise OSError(28, "No space left on device")
        return plain(checkpoint, line)

    monkeypatch.setattr(Checkpoint, "append", full)
    came = []
    with pytest.raises(OSError, match="No space left"):
        for result in giga.map((f"prompt {n}" for n in range(100)), checkpoint=tmp_path / "results.jsonl"):
            came.append(result.input)
    assert came[:4] == [f"prompt {n}" for n in range(4)]
    assert len(came) < 20


def test_a_file_that_is_no_checkpoint_is_refused_before_anything_is_sent(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one"}\n', "utf-8")
    with pytest.raises(ConfigError):
        giga.map(["one"], checkpoint=path)
    assert path.read_text("utf-8") == '{"prompt": "one"}\n'
    assert emulator.requests == []


# -- values and functions -----


@dataclasses.dataclass
class Review:
    good: bool
    stars: int


def test_answers_come_as_values_of_a_type_also_from_the_checkpoint(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    emulator.answer('{"good": true, "stars": 5}')
    emulator.answer("no JSON at all")
    first, second = giga.map(["nice", "odd"], response_format=Review, checkpoint=path, max_workers=1)
    assert first.value == Review(good=True, stars=5)
    assert second.value is None
    assert isinstance(second.error, GigaClientError)
    assert second.text == "no JSON at all"
    emulator.answer('{"good": false, "stars": 1}')
    again = list(giga.map(["odd", "nice"], response_format=Review, checkpoint=path))
    assert [result.value for result in again] == [Review(good=False, stars=1), Review(good=True, stars=5)]
    assert [result.restored for result in again] == [False, True]


def test_an_answer_that_is_nested_beyond_reading_costs_its_own_prompt_alone(
    giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    emulator.answer("[" * 100_000)
    emulator.answer('{"good": true, "stars": 5}')
    results = list(giga.map(["deep", "nice"], response_format=Review, checkpoint=tmp_path / "c.jsonl", max_workers=1))
    assert [result.ok for result in results] == [False, True]
    assert results[0].text == "[" * 100_000


def test_functions_are_run_for_each_prompt(giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    called: list[str] = []

    def weather(city: str) -> str:
        """The weather.

        Args:
            city: where
        """
        called.append(city)
        return f"rain in {city}"

    path = tmp_path / "results.jsonl"
    for city in ("Omsk", "Kazan"):
        emulator.answer({"function_call": {"name": "weather", "arguments": {"city": city}}})
        emulator.answer(f"It rains in {city}.")
    results = list(giga.map(["Omsk?", "Kazan?"], functions=[weather], checkpoint=path, max_workers=1))
    assert called == ["Omsk", "Kazan"]
    assert [result.text for result in results] == ["It rains in Omsk.", "It rains in Kazan."]
    assert [result.attempts for result in results] == [2, 2]
    run = results[0].run
    assert run is not None
    assert [step.result for step in run.steps] == [{"result": "rain in Omsk"}]
    assert results[0].usage == run.usage
    again = list(giga.map(["Kazan?"], functions=[weather], checkpoint=path))
    assert (again[0].text, again[0].restored, again[0].usage) == ("It rains in Kazan.", True, results[1].usage)
    assert len(called) == 2


def test_a_function_that_ends_its_thread_costs_its_own_prompt_alone(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    def leave() -> str:
        """Leave."""
        raise SystemExit(3)

    emulator.answer({"function_call": {"name": "leave", "arguments": {}}})
    results = list(giga.map(["one", "two"], functions=[leave], max_workers=1))
    assert isinstance(results[0].error, GigaClientError)
    assert "SystemExit" in str(results[0].error)
    assert results[1].ok


def test_descriptions_of_functions_alone_are_sent_and_the_call_is_the_answer(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    emulator.answer({"function_call": {"name": "pay", "arguments": {"sum": 5}}})
    description = {"name": "pay", "description": "pay", "parameters": {"type": "object", "properties": {}}}
    (result,) = giga.map(["pay!"], functions=[description])
    assert result.completion is not None
    assert result.completion.function_call is not None
    assert result.completion.function_call.arguments == {"sum": 5}
    assert result.run is None


# -- threads and the end -----


def test_running_calls_end_when_the_results_are_closed_left_or_dropped(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    go = threading.Event()
    echo(emulator, slow=lambda: (go.wait(LONG), None)[1])
    try:
        for leave in ("close", "with", "drop"):
            results = giga.map(itertools.chain(["one"], itertools.repeat("slow")))
            assert next(results).input == "one"
            until(lambda: giga.stats().in_flight > 0)
            if leave == "close":
                results.close()
            elif leave == "with":
                with results:
                    pass
            del results
            gc.collect()
            until(lambda: giga.stats().in_flight == 0 and no_threads_are_left(), LONG / 4)
    finally:
        go.set()
    assert giga.chat("still there?").text


def test_closing_from_another_thread_ends_the_wait(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    go = threading.Event()
    echo(emulator, slow=lambda: (go.wait(LONG), None)[1])
    results = giga.map(["slow", "slow"])
    crowd = Crowd(1, lambda n: list(results))
    until(lambda: giga.stats().in_flight > 0)
    results.close()
    assert crowd.results(LONG / 2) == [[]]
    go.set()
    assert results.stopped == "closed"


def test_a_client_that_is_closed_ends_the_run(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    results = giga.map(f"prompt {n}" for n in range(10_000))
    next(results)
    giga.close()
    with pytest.raises(ConfigError, match="closed"):
        list(results)
    assert results.progress.read < 1000


def test_a_client_that_is_closed_while_no_call_runs_ends_the_run(giga: GigaChat) -> None:
    results = giga.map((f"prompt {n}" for n in range(10_000)), max_workers=1)
    next(results)
    until(lambda: giga.stats().in_flight == 0 and results._scheduler.is_idle())
    giga.close()
    with pytest.raises(ConfigError, match="closed"):
        list(results)
    assert results.progress.read < 10


def test_threads_see_the_context_variables_of_the_caller(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    seen: list[Any] = []

    def look() -> str:
        """Look."""
        seen.append(custom_headers_cvar.get())
        return "yes"

    emulator.answer({"function_call": {"name": "look", "arguments": {}}})
    token = custom_headers_cvar.set({"X-Team": "reviews"})
    try:
        list(giga.map(["one"], functions=[look]))
    finally:
        custom_headers_cvar.reset(token)
    assert seen == [{"X-Team": "reviews"}]
    assert all(request.headers["X-Team"] == "reviews" for request in emulator.requests if request.path.endswith("chat"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_has_no_part_in_the_run_and_does_not_disturb_it(giga: GigaChat) -> None:
    results = giga.map(f"prompt {n}" for n in range(30))
    next(results)

    def child() -> str:
        try:
            next(results)
        except ConfigError as error:
            results.close()
            return str(error)
        return "it went on"

    assert "process" in in_child(child)
    assert len(list(results)) == 29


def test_several_runs_of_one_client_share_its_limit(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.max_streams = 3
    emulator.answer_pause_s = 0.005

    def run(n: int) -> int:
        return sum(result.ok for result in giga.map(f"run {n} prompt {m}" for m in range(40)))

    assert Crowd(3, run).results() == [40, 40, 40]


def test_a_pool_of_threads_of_the_callers_own_will_do(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    echo(emulator)
    with ThreadPoolExecutor(4, thread_name_prefix="mine") as pool:
        results = list(giga.map([f"prompt {n}" for n in range(40)], executor=pool))
    assert [result.text for result in results] == [f"echo of prompt {n}" for n in range(40)]


def test_nothing_that_is_shown_holds_a_secret(emulator: GigaChatEmulator) -> None:
    with GigaChat(**emulator.client_options) as giga:
        results = giga.map(["one", None])
        shown = [repr(results), *(repr(result) for result in results), repr(results), repr(results.progress)]
    assert not any(emulator.credentials in text for text in shown)
    assert shown[0] == "<MapResults under way: 0 answered, 0 failed of 0 read>"
    assert shown[3] == "<MapResults at its end: 1 answered, 1 failed of 2 read>"


# -- the other provider -----


def test_fakegpt_works_in_the_same_way_and_its_answers_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with FakeGptEmulator() as emulator, FakeGpt(**emulator.client_options) as fake:
        first = list(fake.map(["one", "two"], checkpoint=path, temperature=0.1))
        assert all(result.ok and result.text for result in first)
        second = list(fake.map(["two", "one", "three"], checkpoint=path))
        assert [result.restored for result in second] == [True, True, False]
        assert [result.text for result in second[:2]] == [first[1].text, first[0].text]


@pytest.mark.parametrize("option", ["via", "functions", "response_format"])
def test_what_fakegpt_cannot_do_is_refused_and_not_passed_over(option: str) -> None:
    with FakeGpt("https://127.0.0.1:9") as fake, pytest.raises(ConfigError, match=option):
        fake.map(["one"], **{option: "batches"})
