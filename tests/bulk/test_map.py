"""``giga.map``: many prompts with a result each, errors, and the limits of a run."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from support.map_tools import echo, no_threads_are_left
from support.token_tools import LONG, ThreadGroup, until

from gigaclient import (
    AuthenticationError,
    ConfigError,
    GigaChat,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    ServerError,
    Usage,
)
from gigaclient._core.retry import RetryPolicy
from gigaclient.testing import Fault, GigaChatEmulator

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
    crowd = ThreadGroup(1, lambda n: [result.input for result in in_order])
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

    count = 0
    for result in giga.map(prompts(), ordered=ordered):
        count += 1
        assert len(read) - result.index <= 6
    assert count == 12


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

    monkeypatch.setattr("gigaclient.bulk.results.complete_task", broken)
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
