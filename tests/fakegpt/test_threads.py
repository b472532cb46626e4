"""One client, many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from gigaclient import AuthenticationError, FakeGpt, GigaClientError
from gigaclient.testing import FakeGptEmulator, Fault

MakeClient = Callable[..., FakeGpt]

THREADS = 32


def at_once(call: Callable[[int], Any]) -> list[Any]:
    """Return the results or exceptions of ``call`` in many threads that begin together."""
    gate = threading.Barrier(THREADS)
    found: list[Any] = [None] * THREADS

    def run(number: int) -> None:
        gate.wait(30)
        try:
            found[number] = call(number)
        except BaseException as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return found


def ask(client: FakeGpt) -> Callable[[int], str]:
    return lambda number: str(client.chat(f"Repeat: {number}"))


def test_many_threads_log_in_once(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    found = at_once(ask(client))
    assert all(isinstance(text, str) and text for text in found), found
    assert emulator.logins == 1
    assert [request.path for request in emulator.requests].count("/api/loads") == 1
    assert client.stats().tokens_fetched == 1


def test_answers_do_not_cross(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.answer(lambda request: request.json()["messages"][0]["content"]["parts"][0][::-1], times=THREADS)
    assert at_once(lambda number: client.chat(f"<{number}>").text) == [f"<{number}>"[::-1] for number in range(THREADS)]


def test_many_threads_that_are_refused_log_in_once_more(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    client.chat("hi")
    emulator.revoke_sessions()
    found = at_once(ask(client))
    assert all(isinstance(text, str) and text for text in found), found
    assert emulator.logins == 2


def test_a_failed_login_is_everybodys_error_and_an_object_of_their_own(
    make: MakeClient, emulator: FakeGptEmulator
) -> None:
    client = make(max_retries=0)
    emulator.login_refused = True
    emulator.inject(Fault(before_s=1.0), path="/api/loads")  # so that all of them wait for this one
    found = at_once(ask(client))
    assert all(type(error) is AuthenticationError for error in found), found
    assert len({id(error) for error in found}) == THREADS
    assert emulator.logins < THREADS
    emulator.login_refused = False
    assert client.chat("hi").text


def test_closing_ends_everybody(make: MakeClient, emulator: FakeGptEmulator) -> None:
    client = make()
    client.chat("hi")
    emulator.inject(Fault(stall_after_events=3), times=None, path="/api/conversation")
    reading = threading.Semaphore(0)

    def read(_: int) -> str:
        stream = client.stream("Count from 1 to 9")
        next(stream)
        reading.release()
        return str(stream.result())

    def close_when_all_read() -> None:
        for _ in range(THREADS):
            reading.acquire(timeout=40)
        client.close()

    closer = threading.Thread(target=close_when_all_read, daemon=True)
    closer.start()
    found = at_once(read)
    closer.join(10)
    assert all(isinstance(error, GigaClientError) for error in found), found
