"""One client, many threads: every answer belongs to its question, and no call waits for another without need."""

from __future__ import annotations

import contextvars
import threading

import pytest
from support.reliability_tools import Task, question, together, wait_until

from gigaclient import GigaChat
from gigaclient.context import session_id_cvar
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.testing import Answer, Fault, GigaChatEmulator, RecordedRequest

THREADS = 32


def test_a_burst_of_first_calls_gets_its_own_answers_for_one_login(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.oauth_pause_s = 0.1
    with GigaChat(**gigachat_emulator.client_options) as giga:

        def ask(number: int) -> bool:
            word, prompt = question()
            if number % 2:
                return giga.chat(prompt).text == word
            return "".join(giga.generate(prompt)) == word

        assert all(together(ask, THREADS))
        assert gigachat_emulator.oauth_calls == 1
        assert giga.stats().in_flight == giga.stats().waiting == 0
        assert giga.stats().connections <= THREADS + 1


def test_answers_that_come_in_another_order_reach_their_questions(gigachat_emulator: GigaChatEmulator) -> None:
    numbers = iter(range(THREADS))
    lock = threading.Lock()

    def answer(request: RecordedRequest) -> Answer:
        with lock:
            number = next(numbers)
        prompt = request.json()["messages"][-1]["content"]
        body = b'{"choices":[{"message":{"role":"assistant","content":"%s"},"index":0,"finish_reason":"stop"}]}'
        # The first request is answered last.
        return Answer(
            200, {"Content-Type": "application/json"}, body % prompt.encode(), before_s=(THREADS - number) * 0.01
        )

    gigachat_emulator.answer(answer, times=THREADS)
    with GigaChat(**gigachat_emulator.client_options) as giga:
        giga.get_token()
        assert together(lambda number: giga.chat(f"question {number}").text, THREADS) == [
            f"question {number}" for number in range(THREADS)
        ]


def test_no_thread_is_made_for_a_call(gigachat_emulator: GigaChatEmulator) -> None:
    def ours() -> set[str]:
        return {thread.name for thread in threading.enumerate() if not thread.name.startswith("emulator")}

    with GigaChat(**gigachat_emulator.client_options) as giga:
        giga.get_token()
        before = ours()
        gigachat_emulator.inject(Fault(stall_after_events=1, stall_s=0.3))
        stream = giga.stream("Count from 1 to 5", deadline=20, timeout=10)
        next(stream)
        assert ours() == before
        stream.result()
        giga.chat("Hello", deadline=20)
        assert ours() == before


def test_a_slow_call_delays_no_other_call(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        giga.get_token()
        gigachat_emulator.inject(Fault(before_s=float("inf")), times=8)
        slow = [Task(lambda: giga.chat("Hello")) for _ in range(8)]
        wait_until(lambda: len(gigachat_emulator.requests) == 8)
        assert all(together(lambda _: giga.chat("Say yes and nothing else").text == "yes", 8))
        assert giga.stats().in_flight == 8  # the slow calls have not ended
        giga.close()
        assert all(isinstance(task.error(), GigaClientError) for task in slow)


def test_a_stream_that_two_threads_read_raises_in_the_second_and_serves_the_first(
    gigachat_emulator: GigaChatEmulator,
) -> None:
    gigachat_emulator.inject(Fault(stall_after_events=1, stall_s=2.0))
    with GigaChat(**gigachat_emulator.client_options) as giga:
        stream = giga.stream("Say one two three and nothing else")
        first = Task(stream.result)
        wait_until(lambda: stream.text and stream._chunks.gi_running)  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match="one thread at a time"):
            next(stream)
        assert first.result().text == "one two three"


def test_what_a_context_says_stays_in_its_thread(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:

        def ask(number: int) -> None:
            session_id_cvar.set(f"session-{number}")
            giga.chat(f"Say {number} and nothing else")

        together(lambda number: contextvars.copy_context().run(ask, number), 16)
    seen = {
        request.headers["x-session-id"]: request.json()["messages"][-1]["content"]
        for request in gigachat_emulator.requests
    }
    assert seen == {f"session-{number}": f"Say {number} and nothing else" for number in range(16)}


def test_clients_made_in_many_threads_do_not_mix(gigachat_emulator: GigaChatEmulator) -> None:
    keys = [gigachat_emulator.add_credentials() for _ in range(8)]

    def ask(number: int) -> bool:
        word, prompt = question()
        with GigaChat(**{**gigachat_emulator.client_options, "credentials": keys[number]}) as giga:
            return giga.chat(prompt).text == word

    assert all(together(ask, 8))
    assert gigachat_emulator.oauth_calls == 8
    tokens = {request.headers["authorization"] for request in gigachat_emulator.requests}
    assert len(tokens) == 8
