"""``close()`` ends running calls, and the interpreter exits, promptly and without output, while calls run."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.reliability_tools import Task, descriptors, finish, python, together, wait_until

from gigaclient import GigaChat
from gigaclient.errors import APIConnectionError, ConfigError, GigaClientError, StreamInterruptedError
from gigaclient.testing import Fault, GigaChatEmulator

PROMPT = "Count from 1 to 5"
SILENT = Fault(stall_after_events=2)
STRICT = ("-X", "dev", "-W", "error")
AT_ONCE = 4.0  # seconds; enough on a busy machine, and twice as long is still less than any timeout in force


@pytest.fixture
def giga(gigachat_emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with GigaChat(**gigachat_emulator.client_options) as client:
        yield client


@contextlib.contextmanager
def mute_server() -> Iterator[int]:
    """Yield the port of a server that accepts connections and sends nothing, so that the TLS handshake hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# -- exit of the interpreter ---------------------------------------------------------------------------

SETUP = """
import threading, time
from gigaclient import GigaChat
giga = GigaChat(**parameters)

def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread

def half_read(stream):
    next(stream)
    next(stream)
    return stream
"""

ENDS = {
    "a client that was never used": "",
    "a client with idle connections": "giga.chat('Hello')",
    "a closed client": "giga.chat('Hello'); giga.close(); giga.close()",
    "a stream half read": "stream = half_read(giga.stream('Count from 1 to 5'))",
    "a stream half read, and the client closed": "stream = half_read(giga.stream('Count from 1 to 5')); giga.close()",
    "a stream in a ring": "ring = [half_read(giga.stream('Count from 1 to 5'))]; ring.append(ring); del ring",
    "a generator half read": "text = giga.generate('Count from 1 to 5'); next(text)",
    "sys.exit in the loop over a stream": "for _ in giga.stream('Count from 1 to 5'): sys.exit(0)",
    "a thread blocked in a stream": """
stream = half_read(giga.stream('Count from 1 to 5'))
in_thread(stream.result)
while giga.stats().in_flight != 1: time.sleep(0.01)
time.sleep(0.1)
""",
    "threads blocked in calls": """
giga.get_token()
for _ in range(4): in_thread(lambda: giga.chat("Wait"))
while giga.stats().in_flight != 4: time.sleep(0.01)
time.sleep(0.1)
""",
    "threads in the queue": """
narrow = GigaChat(**parameters, max_connections=1)
stream = half_read(narrow.stream('Count from 1 to 5'))
for _ in range(3): in_thread(lambda: narrow.chat("Hello"))
while narrow.stats().waiting != 3: time.sleep(0.01)
""",
}


@pytest.mark.parametrize("state", ENDS)
def test_the_interpreter_ends_at_once_and_in_silence_with(state: str, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(SILENT, times=1, path="/chat/completions")
    if "calls" in state:
        gigachat_emulator.clear()
        gigachat_emulator.inject(Fault(before_s=float("inf")), times=None, path="/chat/completions")
    elif "idle" in state or "closed client" in state:
        gigachat_emulator.clear()
    child = python(
        SETUP + ENDS[state] + "\nprint('the end', flush=True)\n", gigachat_emulator.client_options, flags=STRICT
    )
    assert child.stdout is not None
    first = child.stdout.readline() if "sys.exit" not in state else "the end\n"
    started_at = time.monotonic()
    _, err = finish(child)
    took = time.monotonic() - started_at
    assert (first, err, child.returncode) == ("the end\n", "", 0)
    assert "sys.exit" in state or took < 2 * AT_ONCE


def test_the_interpreter_does_not_wait_for_a_renewal_that_hangs(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.token_life_s = 3.0  # the margin begins 0.75 s before the end
    script = """
while not any(thread.name == "gigaclient-token" for thread in threading.enumerate()):
    giga.get_token()
    time.sleep(0.01)
print("the end", flush=True)
"""
    child = python(SETUP + script, gigachat_emulator.client_options, flags=STRICT)
    wait_until(lambda: gigachat_emulator.oauth_calls == 1)
    gigachat_emulator.inject(Fault(before_s=float("inf")), path="/oauth")
    assert child.stdout is not None
    first = child.stdout.readline()
    started_at = time.monotonic()
    _, err = finish(child)
    assert (first, err, child.returncode) == ("the end\n", "", 0)
    assert time.monotonic() - started_at < 2 * AT_ONCE


# -- close() -------------------------------------------------------------------------------------------


def test_closing_twice_and_from_many_threads_is_allowed(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    giga.chat("Hello")
    together(lambda _: giga.close(), 8)
    giga.close()
    assert giga.closed
    wait_until(lambda: gigachat_emulator.api_server.open_connections == 0)


def test_closing_gives_every_descriptor_back(gigachat_emulator: GigaChatEmulator) -> None:
    def rounds(count: int) -> int:
        for _ in range(count):
            with GigaChat(**gigachat_emulator.client_options) as giga:
                giga.chat("Hello")
                stream = giga.stream(PROMPT)
                next(stream)
        wait_until(lambda: gigachat_emulator.api_server.open_connections == 0)
        wait_until(lambda: gigachat_emulator.oauth_server.open_connections == 0)
        return descriptors()

    gc.collect()
    # Fewer is no leak: what earlier tests have left may be closed meanwhile.
    earlier = rounds(5)
    assert rounds(5) <= earlier


CALLS: dict[str, Callable[[GigaChat], Any]] = {
    "chat": lambda giga: giga.chat("Hello"),
    "stream": lambda giga: giga.stream("Hello"),
    "generate": lambda giga: list(giga.generate("Hello")),
    "get_token": lambda giga: giga.get_token(),
    "with_options": lambda giga: giga.with_options(model="GigaChat-2-Max"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_after_close_says_so(call: str, giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    giga.chat("Hello")
    giga.close()
    seen = len(gigachat_emulator.requests)
    with pytest.raises(ConfigError, match="closed: make a new one"):
        CALLS[call](giga)
    assert len(gigachat_emulator.requests) == seen


def test_a_generator_made_before_close_says_so_when_it_begins(giga: GigaChat) -> None:
    text = giga.generate("Hello")
    giga.close()
    with pytest.raises(ConfigError, match="closed"):
        next(text)


def test_closing_a_copy_leaves_the_client_and_closing_the_client_ends_its_copies(giga: GigaChat) -> None:
    copy = giga.with_options(model="GigaChat-2-Max")
    copy.close()
    assert giga.chat("Say yes and nothing else").text == "yes"
    other = giga.with_options(model="GigaChat-2-Max")
    giga.close()
    with pytest.raises(ConfigError, match="closed"):
        other.chat("Hello")


def ends_at_once(task: Task, giga: GigaChat) -> BaseException:
    """Close the client and return the error that ends the task."""
    started_at = time.monotonic()
    giga.close()
    error = task.error()
    assert task.ended_at - started_at < AT_ONCE
    assert error is not None, "the call went through"
    assert "close" in str(error)
    return error


def test_close_ends_a_call_that_waits_for_its_answer(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(Fault(before_s=float("inf")))
    task = Task(lambda: giga.chat("Hello"))
    wait_until(lambda: len(gigachat_emulator.requests) == 1)
    assert isinstance(ends_at_once(task, giga), APIConnectionError)


def test_close_ends_a_call_whose_answer_drips_in(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(Fault(write_size=1, write_pause_s=0.1))
    task = Task(lambda: giga.chat("Hello"))
    wait_until(lambda: len(gigachat_emulator.requests) == 1)
    assert isinstance(ends_at_once(task, giga), APIConnectionError)


def test_close_ends_a_stream_and_its_text_stays(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(SILENT)
    stream = giga.stream("Say some words and nothing else")
    task = Task(stream.result)
    wait_until(lambda: stream.text)
    error = ends_at_once(task, giga)
    assert isinstance(error, StreamInterruptedError)
    assert error.text == stream.text != ""


def test_close_ends_a_stream_that_no_thread_is_reading(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(SILENT)
    stream = giga.stream(PROMPT)
    next(stream)
    giga.close()
    with pytest.raises(StreamInterruptedError, match="close"):
        stream.result()
    wait_until(lambda: gigachat_emulator.open_streams == 0)


def test_close_ends_a_call_that_waits_for_its_token(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(Fault(before_s=float("inf")), times=None, path="/oauth")
    leader = Task(lambda: giga.chat("Hello"))
    wait_until(lambda: gigachat_emulator.oauth_calls == 1)
    follower = Task(lambda: giga.stream("Hello"))
    time.sleep(0.2)  # no public figure shows that a thread waits for the token of another
    for task in (leader, follower):
        ends_at_once(task, giga)
    assert gigachat_emulator.requests == []
    assert gigachat_emulator.oauth_calls == 1


def test_close_ends_get_token(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(Fault(before_s=float("inf")), times=None, path="/oauth")
    tasks = [Task(giga.get_token) for _ in range(2)]
    wait_until(lambda: gigachat_emulator.oauth_calls == 1)
    time.sleep(0.2)
    for task in tasks:
        ends_at_once(task, giga)


def test_close_ends_a_call_in_the_queue(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options, max_connections=1) as giga:
        gigachat_emulator.inject(SILENT)
        stream = giga.stream(PROMPT)
        next(stream)
        task = Task(lambda: giga.chat("Hello"))
        wait_until(lambda: giga.stats().waiting == 1)
        ends_at_once(task, giga)
        stream.close()
    assert len(gigachat_emulator.requests) == 1


def test_close_ends_a_call_that_pauses_between_two_tries(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.inject(Fault(status=503, retry_after=30))
    task = Task(lambda: giga.chat("Hello"))
    wait_until(lambda: giga.stats().retries == 1)  # counted right before the pause
    ends_at_once(task, giga)
    assert len(gigachat_emulator.requests) == 1


def test_close_ends_a_call_in_its_tls_handshake(gigachat_emulator: GigaChatEmulator) -> None:
    with mute_server() as port:
        options = {**gigachat_emulator.client_options, "base_url": f"https://127.0.0.1:{port}/v1"}
        with GigaChat(**options) as giga:
            giga.get_token()
            task = Task(lambda: giga.chat("Hello"))
            wait_until(lambda: giga.stats().in_flight == 1)
            time.sleep(0.2)
            ends_at_once(task, giga)


def test_close_while_many_calls_run_ends_each_of_them(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.answer_pause_s = 0.02
    before = threading.active_count()
    with GigaChat(**gigachat_emulator.client_options) as giga:

        def ask_until_the_end() -> None:
            while True:
                giga.chat("Hello")

        tasks = [Task(ask_until_the_end) for _ in range(16)]
        wait_until(lambda: len(gigachat_emulator.requests) > 50)
        started_at = time.monotonic()
        giga.close()
        errors = [task.error() for task in tasks]
    assert max(task.ended_at for task in tasks) - started_at < 2 * AT_ONCE
    assert all(isinstance(error, GigaClientError) and "close" in str(error) for error in errors), errors
    wait_until(lambda: gigachat_emulator.api_server.open_connections == 0)
    wait_until(lambda: threading.active_count() <= before)
