"""The end of a run: closing, forks and threads; and runs of FakeGpt."""

from __future__ import annotations

import gc
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.map_tools import echo, no_threads_are_left
from support.token_tools import LONG, ThreadGroup, in_child, until

from gigaclient import (
    ConfigError,
    FakeGpt,
    GigaChat,
)
from gigaclient.context import custom_headers_cvar
from gigaclient.testing import FakeGptEmulator, GigaChatEmulator

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
    crowd = ThreadGroup(1, lambda n: list(results))
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

    assert ThreadGroup(3, run).results() == [40, 40, 40]


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
    assert shown[0] == "<MapResults running: 0 answered, 0 failed of 0 read>"
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
