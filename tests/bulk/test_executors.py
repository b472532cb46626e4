"""``executor=`` of ``giga.map``: threads and processes."""

from __future__ import annotations

import contextvars
import multiprocessing
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from support.executor_tools import (
    LONG_S,
    WORKERS,
    Feeling,
    Inline,
    client_of,
    get_weather,
    max_repeats,
    watch,
    words,
)
from support.reliability_tools import Task, run_python, wait_until
from support.token_tools import shown_by

from gigaclient import ConfigError, GigaClientError
from gigaclient.testing import Fault, GigaChatEmulator

pytestmark = pytest.mark.usefixtures("only_pythons_pickler")


# -- threads of this process -----


def test_threads_ask_with_the_client_itself(gigachat_emulator: GigaChatEmulator) -> None:
    prompts, expected = words(20)
    with client_of(gigachat_emulator) as giga, ThreadPoolExecutor(4) as pool:
        results = list(giga.map(prompts, executor=pool))
        assert [result.text for result in results] == expected
        assert pool.submit(pow, 2, 3).result(LONG_S) == 8, "the executor is the caller's"
        assert giga.stats().connections > 0, "the client's own connections were used"
    assert gigachat_emulator.oauth_calls == 1
    assert max_repeats(gigachat_emulator) == 1


def test_no_more_is_submitted_than_there_are_threads(gigachat_emulator: GigaChatEmulator) -> None:
    submitted: list[Future[Any]] = []
    running: list[int] = []

    class Counting(ThreadPoolExecutor):
        def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
            submitted.append(super().submit(function, *arguments, **named))
            running.append(sum(not future.done() for future in submitted))
            return submitted[-1]

    gigachat_emulator.answer_pause_s = 0.02
    with client_of(gigachat_emulator) as giga, Counting(2) as pool:
        assert all(result.ok for result in giga.map(words(20)[0], executor=pool, max_workers=50))
    assert len(submitted) == 20
    assert max(running) == 2


def test_in_threads_nothing_has_to_be_picklable(gigachat_emulator: GigaChatEmulator) -> None:
    location = contextvars.ContextVar("place", default="nowhere")
    location.set("here")

    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny {location.get()}"

    with client_of(gigachat_emulator, on_end=lambda event: None) as giga, ThreadPoolExecutor(2) as pool:
        [result] = giga.map(["What is the weather in Paris?"], functions=[get_weather], executor=pool)
    assert result.run is not None
    assert result.run.steps[0].result == {"result": "sunny here"}


def test_closing_ends_the_calls_in_threads(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.answer_pause_s = LONG_S
    with client_of(gigachat_emulator) as giga, ThreadPoolExecutor(1) as pool:
        results = giga.map(words(5)[0], executor=pool)
        run = Task(lambda: list(results))
        wait_until(lambda: gigachat_emulator.prompts, what="the first prompt")
        results.close()
        assert run.result(seconds=20) == []
        assert results.stopped == "closed"
        assert pool.submit(pow, 2, 3).result(20) == 8, "the thread is free again"


# -- processes -----


def test_processes_ask_in_order_with_one_token_each(
    gigachat_emulator: GigaChatEmulator, processes: ProcessPoolExecutor
) -> None:
    prompts, expected = words(40)
    gigachat_emulator.answer_pause_s = 0.02
    with client_of(gigachat_emulator) as giga:
        results = list(giga.map(prompts, executor=processes))
        assert [result.text for result in results] == expected
        assert [result.index for result in results] == list(range(40))
        assert {result.attempts for result in results} == {1}
        assert all(0 < result.seconds < LONG_S and result.usage for result in results)
        assert giga.stats().connections == 0, "this process sent nothing"
        assert 1 <= gigachat_emulator.oauth_calls <= WORKERS
        again = list(giga.map(prompts, executor=processes, template="{} indeed", ordered=False))
        assert sorted(result.index for result in again) == list(range(40))
    assert gigachat_emulator.oauth_calls <= WORKERS, "a second run of the same client finds the first one's tokens"
    assert max_repeats(gigachat_emulator) == 1
    assert processes.submit(pow, 2, 3).result(LONG_S) == 8, "the executor is the caller's"


def test_processes_with_a_token_cache_share_one_token(
    gigachat_emulator: GigaChatEmulator, processes: ProcessPoolExecutor, tmp_path: Path
) -> None:
    gigachat_emulator.answer_pause_s = 0.1
    question = ["What is the weather in Paris?"] * 16
    with client_of(gigachat_emulator, token_cache=str(tmp_path / "token")) as giga:
        results = list(giga.map(question, functions=[get_weather], executor=processes))
    asking = {result.run.steps[0].result["result"].rpartition(" ")[2] for result in results if result.run}
    assert len(asking) == WORKERS
    assert gigachat_emulator.oauth_calls == 1


@pytest.mark.parametrize("limit", [1, 2])
def test_the_accounts_limit_holds_for_all_processes_together(
    gigachat_emulator: GigaChatEmulator, tmp_path: Path, limit: int, processes: ProcessPoolExecutor
) -> None:
    prompts, expected = words(24)
    gigachat_emulator.answer_pause_s = 0.02
    gigachat_emulator.max_streams = limit
    with client_of(gigachat_emulator) as giga, client_of(gigachat_emulator, max_connections=limit) as limited:
        results = list(giga.map(prompts, executor=processes))
        assert [result.text for result in results] == expected
        assert len(gigachat_emulator.prompts) - 24 <= 4, "a handful of refusals, which nobody sees"
        before = len(gigachat_emulator.prompts)
        assert all(result.ok for result in limited.map(prompts, executor=processes))
    assert len(gigachat_emulator.prompts) - before == 24, "none where the limit was known"


def test_a_429_in_a_process_is_retried_and_counted(
    gigachat_emulator: GigaChatEmulator, processes: ProcessPoolExecutor
) -> None:
    gigachat_emulator.inject(Fault(status=429, retry_after=1), times=2)
    began_at = time.monotonic()
    with client_of(gigachat_emulator, max_retries=0) as giga:
        [result] = giga.map(words(1)[0], executor=processes)
        assert giga.stats().limit == 1, "the client's own queue has learned of it"
    assert (result.text, result.attempts) == ("word0", 3)
    assert time.monotonic() - began_at > 2.0, "Retry-After was kept to"
    assert result.seconds > 2.0, "all of it counts"


def test_calls_of_this_process_and_of_the_others_queue_together(
    gigachat_emulator: GigaChatEmulator, processes: ProcessPoolExecutor
) -> None:
    prompts, expected = words(4)
    gigachat_emulator.max_streams = 1
    with client_of(gigachat_emulator, max_connections=1) as giga:
        with giga.stream("Count from 1 to 5") as stream:
            next(stream)
            run = Task(lambda: [result.text for result in giga.map(prompts, executor=processes)])
            wait_until(lambda: giga.stats().waiting == 1, what="a task that waits for a permit")
            assert len(gigachat_emulator.prompts) == 1
        assert run.result(seconds=LONG_S) == expected
    assert len(gigachat_emulator.prompts) == 5, "none was refused"


def test_closing_a_run_that_waits_for_a_permit_ends_it(gigachat_emulator: GigaChatEmulator) -> None:
    with client_of(gigachat_emulator, max_connections=1) as giga, giga.stream("Count from 1 to 5") as stream:
        next(stream)
        executor = Inline()
        results = giga.map(words(4)[0], executor=executor)
        run = Task(lambda: list(results))
        wait_until(lambda: giga.stats().waiting == 1, what="a task that waits for a permit")
        results.close()
        assert run.result(seconds=20) == []
        assert giga.stats().waiting == 0
        assert executor.submitted == 0


def test_functions_and_types_travel_and_dialogues_and_values_come_back(
    gigachat_emulator: GigaChatEmulator, processes: ProcessPoolExecutor
) -> None:
    with client_of(gigachat_emulator, on_end=watch) as giga:
        question = ["What is the weather in Paris?"]
        [ran] = giga.map(question, functions=[get_weather], executor=processes)
        [read] = giga.map(["I am glad"], response_format=Feeling, executor=processes)
    assert ran.run is not None
    answer = ran.run.steps[0].result["result"]
    assert answer.startswith("sunny in Paris")
    assert int(answer.rpartition(" ")[2]) != os.getpid()
    assert ran.run.messages[0].content == question[0]
    assert ran.attempts == 2
    assert type(read.value) is Feeling


def test_an_input_stays_where_it_is(gigachat_emulator: GigaChatEmulator, processes: ProcessPoolExecutor) -> None:
    inputs = [{"word": f"w{number}", "lock": threading.Lock()} for number in range(3)]
    with client_of(gigachat_emulator) as giga:
        template = "Say {word} and nothing else"
        results = list(giga.map(inputs, template=template, executor=processes))
    assert [result.text for result in results] == ["w0", "w1", "w2"]
    assert all(result.input is input_ for result, input_ in zip(results, inputs, strict=True))


def test_texts_are_embedded_in_processes_too(
    gigachat_emulator: GigaChatEmulator, processes: ProcessPoolExecutor
) -> None:
    texts = [f"text {number}" for number in range(10)] + [""]
    with client_of(gigachat_emulator) as giga:
        alone = giga.embeddings(texts[:10]).vectors
        results = list(giga.embed_many(texts, batch_size=4, executor=processes))
    assert [result.embedding for result in results[:10]] == alone
    assert isinstance(results[10].error, ConfigError)


def test_a_killed_process_ends_the_run_after_the_finished_results_and_the_next_run_sends_the_rest(
    gigachat_emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    prompts, expected = words(60)
    gigachat_emulator.answer_pause_s = 0.1
    checkpoint = tmp_path / "results.jsonl"
    context = multiprocessing.get_context("spawn")
    came = []
    with client_of(gigachat_emulator) as giga, ThreadPoolExecutor(4) as threads:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            victim = pool.submit(os.getpid).result(LONG_S)
            results = giga.map(prompts, executor=pool, checkpoint=checkpoint)
            with pytest.raises(
                GigaClientError, match=r"BrokenProcessPool.*the results so far were delivered"
            ) as raised:
                for result in results:
                    came.append(result.text)
                    if len(came) == 5:
                        gigachat_emulator.answer_pause_s = LONG_S
                        os.kill(victim, signal.SIGKILL)
        assert 5 <= len(came) < 60
        assert came == expected[: len(came)]
        assert gigachat_emulator.credentials not in shown_by(raised.value)
        assert results.stopped == "GigaClientError"
        gigachat_emulator.answer_pause_s = 0.0
        again = list(giga.map(prompts, executor=threads, checkpoint=checkpoint))
    assert [result.text for result in again] == expected
    assert sum(result.restored for result in again) == len(came)
    assert max_repeats(gigachat_emulator) <= 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize(("method", "rounds"), [("fork", 3), ("forkserver", 1)])
def test_processes_that_are_forked_amid_busy_threads_answer_as_well(
    gigachat_emulator: GigaChatEmulator, method: str, rounds: int
) -> None:
    script = f"""
import multiprocessing, threading
from concurrent.futures import ProcessPoolExecutor
from gigaclient import GigaChat
giga = GigaChat(**parameters)
over = threading.Event()

def be_busy():
    while not over.is_set():
        assert giga.chat("Say busy and nothing else").text == "busy"

threads = [threading.Thread(target=be_busy) for _ in range(4)]
for thread in threads: thread.start()
for _ in range({rounds}):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("{method}")) as pool:
        results = giga.map((f"Say {{number}} and nothing else" for number in range(12)), executor=pool)
        assert [result.text for result in results] == [str(number) for number in range(12)]
over.set()
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
print("good")
"""
    # This is Python 3.12's warning about forks with threads.
    flags = ("-W", "error", "-W", "ignore::DeprecationWarning")
    assert run_python(script, gigachat_emulator.client_options, flags=flags, timeout=50) == "good\n"


def test_a_script_that_leaves_its_loop_early_ends(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from gigaclient import GigaChat
pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
for result in GigaChat(**parameters).map((f"Say {number} and nothing else" for number in range(10**6)), executor=pool):
    print(result.text)
    if result.index == 3:
        break
"""
    out = run_python(script, gigachat_emulator.client_options, flags=("-W", "error"), timeout=50)
    assert out.split() == ["0", "1", "2", "3"]


# -- what cannot be pickled is refused before anything is sent -----


def local_function(emulator: GigaChatEmulator) -> Any:
    def get_rain(city: str) -> str:
        """The rain in a city."""
        return city

    return {}, {"functions": [get_rain]}


def local_type(emulator: GigaChatEmulator) -> Any:
    class Local(Feeling):
        """A type that cannot be imported elsewhere."""

    return {}, {"response_format": Local}


def own_context(emulator: GigaChatEmulator) -> Any:
    return {"ca_bundle_file": None, "ssl_context": ssl.create_default_context(cafile=emulator.ca_file)}, {}


NOT_PORTABLE: dict[str, Callable[[GigaChatEmulator], Any]] = {
    "a session": lambda emulator: ({"session": requests.Session()}, {}),
    "an ssl_context": own_context,
    "a hook without a name": lambda emulator: ({"on_end": lambda event: None}, {}),
    "a local function": local_function,
    "a local type": local_type,
}


@pytest.mark.parametrize("case", NOT_PORTABLE)
def test_what_cannot_be_pickled_is_refused_at_once(
    gigachat_emulator: GigaChatEmulator, case: str, tmp_path: Path
) -> None:
    settings, options = NOT_PORTABLE[case](gigachat_emulator)
    checkpoint = tmp_path / "results.jsonl"
    with client_of(gigachat_emulator, **settings) as giga, ThreadPoolExecutor(1) as threads:
        with pytest.raises(ConfigError, match=r"executor= runs in other processes, and .*pickled") as raised:
            giga.map(["Hi"], executor=Inline(), checkpoint=checkpoint, **options)
        assert gigachat_emulator.credentials not in shown_by(raised.value)
        assert (gigachat_emulator.requests, gigachat_emulator.oauth_calls) == ([], 0)
        assert [result.ok for result in giga.map(["Hi"], executor=threads, checkpoint=checkpoint, **options)], (
            "in threads it goes, and the checkpoint is free"
        )


@pytest.mark.parametrize("wrong", [ProcessPoolExecutor, "processes", 4, multiprocessing])
def test_what_is_no_executor_is_said_at_once(gigachat_emulator: GigaChatEmulator, wrong: Any) -> None:
    with (
        client_of(gigachat_emulator) as giga,
        pytest.raises(ConfigError, match=r"executor= takes a concurrent\.futures\.Executor.*get_executor\(\); this is"),
    ):
        giga.map(["Hi"], executor=wrong)
    assert gigachat_emulator.oauth_calls == 0


def test_a_prompt_that_cannot_travel_is_one_failed_item(gigachat_emulator: GigaChatEmulator) -> None:
    class Note(dict[str, str]):
        """A message whose type only this test knows."""

    prompts = ["Hi", [Note(role="user", content="What is the weather in Rome?")], "Hello"]
    with client_of(gigachat_emulator) as giga:
        results = list(giga.map(prompts, functions=[get_weather], executor=Inline()))
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1].error, ConfigError)
    assert "this prompt cannot be pickled" in str(results[1].error)
