"""Many threads, one client and a faulty server: ten seconds of the test that ``make soak`` runs for longer."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest
from support import interruption_tools, load_tools
from support.load_tools import Emulator, Round
from support.reliability_tools import run_python


@pytest.fixture(scope="module")
def rounds() -> Iterator[tuple[Round, Round]]:
    with load_tools.emulator() as server:
        yield load_tools.run_round(server, 3.0, seed=1), load_tools.run_round(server, 7.0, seed=2)


def test_every_answer_belongs_to_its_question_and_no_thread_is_stuck(rounds: tuple[Round, Round]) -> None:
    first, second = rounds
    assert (first.wrong, second.wrong) == ([], [])


def test_most_calls_go_through_on_a_bad_day(rounds: tuple[Round, Round]) -> None:
    _, bad = rounds
    through = sum(
        bad.outcomes[name] for name in ("chat", "stream", "generate", "stream closed early", "stream dropped")
    )
    assert through > 500, bad
    assert through > 0.7 * bad.calls, bad


def test_the_day_was_bad_enough(rounds: tuple[Round, Round]) -> None:
    _, bad = rounds
    assert bad.revoked >= 3, bad
    assert bad.outcomes["deadline"] > 0, bad
    assert bad.outcomes["StreamInterruptedError"] > 0, bad
    assert len([name for name in bad.outcomes if name.endswith("Error")]) >= 3, bad


@pytest.mark.skipif(not interruption_tools.AVAILABLE, reason="there is no signal for one thread")
def test_the_calls_of_the_main_thread_were_interrupted(rounds: tuple[Round, Round]) -> None:
    _, bad = rounds
    assert bad.outcomes[load_tools.INTERRUPTED] >= 5, bad


def test_a_revoked_token_costs_at_most_one_login(rounds: tuple[Round, Round]) -> None:
    _, bad = rounds
    assert 1 < bad.logins <= bad.revoked + 1


def test_threads_descriptors_and_memory_are_what_they_were(rounds: tuple[Round, Round]) -> None:
    first, second = rounds
    assert load_tools.grown(first, second, megabytes=12.0) == []


@pytest.mark.skipif(not interruption_tools.AVAILABLE, reason="nothing forks here")
def test_signals_and_forks_in_c_inside_of_calls_mix_up_no_answers_and_leave_nothing_behind() -> None:
    with load_tools.emulator() as server:
        done = load_tools.run_forks(server, 5.0, seed=1)
    assert done.wrong == []
    assert done.forked >= 3, done
    assert done.outcomes[load_tools.INTERRUPTED] >= 3, done
    assert done.outcomes["chat"] + done.outcomes["stream"] >= 3, done


def test_the_soak_notices_an_answer_to_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_tools, "question", lambda: ("something", "Say else and nothing else"))
    monkeypatch.setattr(load_tools, "FAULTS", ({},))
    with load_tools.emulator() as server:
        found = load_tools.run_round(server, 0.5, threads=2, seed=1)
    assert any("expected something" in wrong for wrong in found.wrong)


def test_the_soak_notices_a_connection_that_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with load_tools.emulator() as server:
        look = Emulator.order

        def with_open_connection(self: Emulator, do: str, **more: object) -> dict[str, object]:
            return {**look(self, do, **more), "open": 1}

        monkeypatch.setattr(Emulator, "order", with_open_connection)
        monkeypatch.setattr(load_tools, "SETTLE_SECONDS", 0.2)
        found = load_tools.run_round(server, 0.3, threads=2, seed=1)
    assert any("still has 1 connections" in wrong for wrong in found.wrong)


FOUND = """
import sys, time
sys.path.insert(0, "..")
from support import interruption_tools
interruption_tools.CHILD_SECONDS = 1.0
for work in (lambda: "", lambda: "expected a, got b", lambda: 1 / 0, lambda: time.sleep(60)):
    children = interruption_tools.Children(work)
    children.fork()
    children.reap()
    print(children.forked, [wrong.splitlines()[0] for wrong in children.wrong])
"""


@pytest.mark.skipif(not interruption_tools.AVAILABLE, reason="nothing forks here")
def test_the_soak_notices_what_a_child_found_and_a_child_that_hangs() -> None:
    assert run_python(FOUND).splitlines() == [
        "1 []",
        "1 ['in a child: expected a, got b']",
        "1 ['in a child: Traceback (most recent call last):']",
        "1 ['in a child: Fatal Python error: Aborted']",
    ]


@pytest.mark.skipif(not interruption_tools.AVAILABLE, reason="there is no signal for one thread")
def test_the_soak_notices_an_exception_of_a_signal_handler_that_is_swallowed() -> None:
    interruptions = interruption_tools.Interruptions(0.5)

    def call() -> None:
        signal.raise_signal(signal.SIGUSR1)

    def swallow() -> None:
        with contextlib.suppress(Exception):
            call()

    with interruptions.handled():
        interruptions.call(lambda: None)
        assert interruptions.swallowed() == ""
        with pytest.raises(Exception, match="from the handler"):
            interruptions.call(call)
        interruptions.call(swallow)
        assert "in swallow" in interruptions.swallowed()
