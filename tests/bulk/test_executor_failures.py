"""Executors of other kinds, executors that fail, and results that cannot be pickled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from support.executor_tools import (
    Inline,
    Narrow,
    Never,
    Particular,
    Shy,
    client_of,
    get_snow,
    get_storm,
    words,
)
from support.reliability_tools import Task, wait_until

from gigaclient import FakeGpt, GigaClientError, RateLimitError
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator

pytestmark = pytest.mark.usefixtures("only_pythons_pickler")


# -- any executor -----


def test_any_executor_will_do(gigachat_emulator: GigaChatEmulator) -> None:
    prompts, expected = words(5)
    executor = Inline()
    with client_of(gigachat_emulator, max_connections=1) as giga:  # one permit, which the submitted task holds already
        assert [result.text for result in giga.map(prompts, executor=executor)] == expected
    assert executor.submitted == 5
    assert gigachat_emulator.oauth_calls == 1


def test_fakegpt_has_it_too(fakegpt_emulator: FakeGptEmulator) -> None:
    with FakeGpt(**fakegpt_emulator.client_options) as fake:
        results = list(fake.map(["Say one and nothing else", "Say two and nothing else"], executor=Inline()))
    assert [result.text for result in results] == ["one", "two"]


def test_what_is_submitted_shows_neither_key_nor_prompt(gigachat_emulator: GigaChatEmulator) -> None:
    executor = Inline()
    with client_of(gigachat_emulator) as giga:
        [result] = giga.map(["Say wonder and nothing else"], executor=executor)
    assert result.text == "wonder"
    assert "wonder" not in executor.shown[0]
    assert gigachat_emulator.credentials not in executor.shown[0]
    assert "<Pickled: " in executor.shown[0]


def test_a_retried_task_has_other_arguments(gigachat_emulator: GigaChatEmulator) -> None:
    # Dask identifies tasks by their arguments, and would return the old 429 again.
    answered: dict[tuple[str, ...], Any] = {}

    class Remembering(Inline):
        def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
            key = tuple(argument.__dask_tokenize__() for argument in arguments)
            if key not in answered:
                answered[key] = super().submit(function, *arguments, **named)
            return answered[key]

    gigachat_emulator.inject(Fault(status=429, retry_after=0), times=2)
    with client_of(gigachat_emulator) as giga:
        results = list(giga.map(["Say twice and nothing else"] * 2, executor=Remembering()))
    assert [result.text for result in results] == ["twice", "twice"]
    assert len(gigachat_emulator.prompts) == 4


def test_tasks_that_wait_for_a_worker_do_not_raise_the_limit(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.answer_pause_s = 0.1
    executor = Narrow()
    with client_of(gigachat_emulator) as giga, executor:
        assert all(result.ok for result in giga.map(words(40)[0], executor=executor))
    assert executor.most <= 8, "one worker: more would only stand in its queue"


def test_a_long_call_lets_others_go_where_no_worker_has_to_be_waited_for(gigachat_emulator: GigaChatEmulator) -> None:
    class ResponseSummary(Never):
        _max_workers = 2

    executor = ResponseSummary()
    with client_of(gigachat_emulator) as giga, giga.map(words(9)[0], executor=executor) as results:
        run = Task(lambda: list(results))
        wait_until(lambda: len(executor.futures) == 2, seconds=30, what="a second call, none having come back")
        results.close()
        assert run.result() == []


def test_successes_of_workers_raise_the_limit_again(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(Fault(status=429, retry_after=0))
    with client_of(gigachat_emulator) as giga:
        found = iter(giga.map(words(9)[0], executor=Inline()))
        assert next(found).attempts == 2
        assert giga.stats().limit == 1
        assert all(result.ok for result in found)
        assert giga.stats().limit == 2


def test_waiting_for_a_worker_does_not_count_as_time_of_the_call(gigachat_emulator: GigaChatEmulator) -> None:
    with client_of(gigachat_emulator) as giga:
        [result] = giga.map(words(1)[0], executor=Inline(before=lambda: time.sleep(2.5)))
    assert result.ok
    assert 0 < result.seconds < 2.5


# -- executors that fail -----


def failing(error: Exception) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


def test_an_executor_that_is_shut_down_ends_the_run(gigachat_emulator: GigaChatEmulator) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with (
        client_of(gigachat_emulator) as giga,
        pytest.raises(GigaClientError, match=r"takes no more work .*after shutdown"),
    ):
        list(giga.map(words(100)[0], executor=pool))
    assert gigachat_emulator.prompts == []


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (BrokenExecutor("it fell over"), "does not work any more"),
        (ModuleNotFoundError("no gigaclient"), "this version"),
    ],
    ids=["broken", "not installed"],
)
def test_a_failure_that_the_next_task_would_meet_ends_the_run(
    gigachat_emulator: GigaChatEmulator, failure: Exception, advice: str
) -> None:
    executor = Inline(before=failing(failure))
    with client_of(gigachat_emulator) as giga, pytest.raises(GigaClientError, match=advice):
        list(giga.map(words(100)[0], executor=executor))
    assert executor.submitted == 1


def test_any_other_failure_of_the_executor_is_the_items(gigachat_emulator: GigaChatEmulator) -> None:
    troubles = iter([None, LookupError("the line to the worker went dead"), None])

    def sometimes() -> None:
        trouble = next(troubles)
        if trouble is not None:
            raise trouble

    with client_of(gigachat_emulator) as giga:
        results = list(giga.map(words(3)[0], executor=Inline(before=sometimes)))
    assert [result.text for result in results] == ["word0", "", "word2"]
    error = results[1].error
    assert isinstance(error, GigaClientError)
    assert "LookupError: the line to the worker went dead" in str(error)


def test_what_cannot_be_read_is_the_items_error(gigachat_emulator: GigaChatEmulator) -> None:
    with client_of(gigachat_emulator) as giga:
        [result] = giga.map(words(1)[0], executor=Inline(after=lambda brought: brought[:-5]))
        assert giga._executor.limiter.under_way == 0, "the permit was released"
    assert isinstance(result.error, GigaClientError)
    assert "cannot be read here" in str(result.error)


def test_a_cancelled_future_is_the_items_error(gigachat_emulator: GigaChatEmulator) -> None:
    executor = Never()
    with client_of(gigachat_emulator) as giga:
        run = Task(lambda: list(giga.map(words(1)[0], executor=executor)))
        wait_until(lambda: executor.futures, what="a task")
        assert executor.futures[0].cancel()
        [result] = run.result()
        assert giga._executor.limiter.under_way == 0, "the permit was released"
    assert "cancelled" in str(result.error)


def test_closing_cancels_what_has_not_begun_and_drops_what_comes_late(gigachat_emulator: GigaChatEmulator) -> None:
    executor = Never()
    with client_of(gigachat_emulator) as giga:
        results = giga.map(words(3)[0], executor=executor)
        run = Task(lambda: list(results))
        wait_until(lambda: executor.futures, what="a task")
        results.close()
        assert run.result() == []
        assert [future.cancelled() for future in executor.futures] == [True]
        assert giga._executor.limiter.under_way == 0, "the permit was released"

        late = Never()
        second = giga.map(words(3)[0], executor=late)
        run = Task(lambda: list(second))
        wait_until(lambda: late.futures, what="a task")
        late.futures[0].set_running_or_notify_cancel()
        second.close()
        assert giga._executor.limiter.under_way == 1, "a worker runs it all the same"
        late.futures[0].set_result(b"whatever")
        assert run.result() == []
        assert giga._executor.limiter.under_way == 0


def test_a_worker_that_cannot_open_the_client_ends_the_run(
    gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(Executor):
        def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
            with monkeypatch.context() as patch:
                patch.delattr("support.executor_tools.get_snow")
                return Inline().submit(function, *arguments, **named)

    with client_of(gigachat_emulator) as giga, pytest.raises(GigaClientError, match=r"cannot open.*get_snow"):
        list(giga.map(["What is the weather in Paris?"] * 9, functions=[get_snow], executor=Elsewhere()))
    assert gigachat_emulator.prompts == []


# -- what cannot come back -----


def test_an_answer_whose_value_cannot_come_back_keeps_its_text(gigachat_emulator: GigaChatEmulator) -> None:
    with client_of(gigachat_emulator) as giga:
        [result] = giga.map(["I am glad"], response_format=Shy, executor=Inline())
    assert result.value is None
    assert "mood" in result.text
    assert "cannot come back" in str(result.error)


def test_an_error_that_cannot_be_pickled_is_described(gigachat_emulator: GigaChatEmulator) -> None:
    question = ["What is the weather in Paris?"]
    with client_of(gigachat_emulator) as giga:
        [result] = giga.map(question, functions=[get_storm], on_error="raise", executor=Inline())
    assert type(result.error) is GigaClientError
    assert "Particular: no weather in Paris (7)" in str(result.error)
    with pytest.raises(Particular):
        get_storm("Paris")


def test_errors_of_ours_come_back_whole(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(Fault(status=429, retry_after=3600))
    with client_of(gigachat_emulator) as giga, pytest.raises(RateLimitError) as raised:
        list(giga.map(words(3)[0], executor=Inline()))
    assert raised.value.retry_after == 3600


def test_counts_of_items_are_right_whatever_the_order(
    gigachat_emulator: GigaChatEmulator, processes: ProcessPoolExecutor
) -> None:
    prompts, expected = words(30)
    gigachat_emulator.inject(Fault(status=422), times=3)
    with client_of(gigachat_emulator) as giga, giga.map(prompts, executor=processes, ordered=False) as results:
        found = {result.index: result for result in results}
        assert results.progress[:3] == (30, 27, 3)
    assert Counter(result.text for result in found.values() if result.ok) <= Counter(expected)
    assert len(gigachat_emulator.prompts) == 30
