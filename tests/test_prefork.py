"""Forks: the child works at whatever moment the parent forks, and neither reads a response of the other.

Each test forks in a separate interpreter, because the one that runs the tests has threads of an emulator.
"""

from __future__ import annotations

import json
import os

import pytest
from support.reliability_tools import finish, python, run_python, wait_until

from gigaclient.testing import Answer, Fault, GigaChatEmulator, RecordedRequest, Server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

FLAGS = ("-W", "ignore::DeprecationWarning")  # Python 3.12 warns about a fork with threads, which these tests need

SETUP = """
import multiprocessing, os, random, signal, threading, time, uuid
from gigaclient import GigaChat
giga = GigaChat(**parameters)

def right(client=None):
    word = uuid.uuid4().hex
    if random.random() < 0.5:
        return (client or giga).chat(f"Say {word} and nothing else").text == word
    return (client or giga).stream(f"Say {word} and nothing else").result().text == word

def child(function, seconds=20):
    # Fork a worker that runs the function. It exits with status 0 if the function returns True. An alarm ends it if it
# hangs.
    pid = os.fork()
    if not pid:
        signal.alarm(seconds)
        status = 1
        try:
            status = 0 if function() is True else 2
        finally:
            os._exit(status)
    return pid

def ended_well(*pids):
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    assert statuses == [0] * len(pids), statuses
"""


def test_children_and_parent_that_share_a_warm_client_get_their_own_answers(
    gigachat_emulator: GigaChatEmulator,
) -> None:
    script = """
assert right()
streams = [giga.stream("Count from 1 to 5") for _ in range(4)]  # so that four connections are idle afterwards
for stream in streams: stream.result()
pids = [child(lambda: all(right() for _ in range(60))) for _ in range(4)]
assert all(right() for _ in range(60))
ended_well(*pids)
assert right()
print("good")
"""
    assert run_python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS) == "good\n"
    assert gigachat_emulator.oauth_calls == 1, "the children have the parent's token"


def test_the_first_calls_import_nothing(gigachat_emulator: GigaChatEmulator) -> None:
    """A child that is forked while a thread imports a module would wait for the lock of that module for ever."""
    script = """
import sys
loaded = set(sys.modules)
assert giga.chat("Say one").text
stream = giga.stream("Count from 1 to 3")
assert stream.result().text and stream.completion
print(sorted(set(sys.modules) - loaded))
"""
    assert run_python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS) == "[]\n"


def echo(request: RecordedRequest) -> Answer:
    """Answer ``Say word`` with the word."""
    word = request.json()["messages"][-1]["content"].split()[1]
    chunk = {"choices": [{"delta": {"content": word}, "index": 0, "finish_reason": "stop"}]}
    whole = {"choices": [{"message": {"role": "assistant", "content": word}, "index": 0, "finish_reason": "stop"}]}
    if request.json().get("stream"):
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        return Answer(200, {"Content-Type": "text/event-stream"}, body, "chunked")
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(whole))


def test_over_plain_tcp_no_answer_crosses_either() -> None:
    # A TLS connection that two processes use breaks; a plain TCP one delivers the response of the other process.
    script = """
streams = [giga.stream("Say anything and nothing else") for _ in range(4)]
for stream in streams: stream.result()
pids = [child(lambda: all(right() for _ in range(100))) for _ in range(4)]
assert all(right() for _ in range(100))
ended_well(*pids)
print("good")
"""
    with Server(echo) as server:
        options = {"access_token": "token", "base_url": f"{server.url}/v1", "max_retries": 0}
        assert run_python(SETUP + script, options, flags=FLAGS) == "good\n"


FORK_FROM_C = (
    SETUP.replace("os.fork()", "fork()")
    + """
import ctypes
fork = ctypes.PyDLL(None).fork  # as uWSGI does it: the GIL is held, and no hook of Python runs
"""
)


def test_no_answer_crosses_after_forks_that_python_does_not_see() -> None:
    script = """
from concurrent.futures import ThreadPoolExecutor

def all_right():
    with ThreadPoolExecutor(5) as pool:
        return all(pool.map(lambda _: right(), range(125)))

streams = [giga.stream("Say anything and nothing else") for _ in range(4)]  # four connections are idle afterwards
for stream in streams: stream.result()
pids = [child(all_right) for _ in range(4)]
assert all(right() for _ in range(25))
ended_well(*pids)
print("good")
"""
    with Server(echo) as server:
        options = {"access_token": "token", "base_url": f"{server.url}/v1", "max_retries": 0}
        assert run_python(FORK_FROM_C + script, options, flags=FLAGS) == "good\n"


def test_locks_that_a_thread_held_at_a_fork_that_python_does_not_see_are_replaced(
    gigachat_emulator: GigaChatEmulator,
) -> None:
    script = """
assert right()
executor = giga._executor
for lock in (executor.limiter._lock, executor.tokens._lock, executor.transport._lock):
    threading.Thread(target=lock.acquire).start()
executor.tokens._credential = None  # so that the child fetches a token
pids = [child(lambda: right() and right(GigaChat(**parameters))) for _ in range(2)]
ended_well(*pids)
print("good")
"""
    assert run_python(FORK_FROM_C + script, gigachat_emulator.client_options, flags=FLAGS) == "good\n"


def test_processes_of_multiprocessing_get_their_own_answers(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
def ask(number):
    word = f"{os.getpid()}-{number}-{uuid.uuid4().hex}"
    return giga.chat(f"Say {word} and nothing else").text == word

assert right()
with multiprocessing.get_context("fork").Pool(4) as pool:
    answers = pool.map_async(ask, range(200), chunksize=5)
    assert all(right() for _ in range(50))
    assert answers.get(30) == [True] * 200
print("good")
"""
    assert run_python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS) == "good\n"


def test_a_stream_of_the_parent_goes_on_whatever_its_children_do_to_it(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
stream = giga.stream("Count from 1 to 30")
text = next(stream).text

def leave_it(): return right()
def close_it(): stream.close(); return right()
def close_all(): giga.close(); return True
def drop_it():
    global stream
    del stream
    return right()

for function in (leave_it, close_it, close_all, drop_it):
    pids = [child(function) for _ in range(2)]
    text += next(stream).text
    ended_well(*pids)
    text += next(stream).text
for chunk in stream:
    text += chunk.text
assert stream.completion.finish_reason == "stop"
print(text)
"""
    gigachat_emulator.event_pause_s = 0.02
    text = run_python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS)
    assert text.split() == ", ".join(str(number) for number in range(1, 31)).split()


def test_workers_that_fork_while_the_parent_streams_do_not_disturb_it(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
problems = []
over = threading.Event()

def stream_on():
    while not over.is_set():
        word = uuid.uuid4().hex
        if giga.stream(f"Say {word} and {word} and nothing else").result().text != f"{word} and {word}":
            problems.append("the parent got something else")

readers = [threading.Thread(target=stream_on) for _ in range(4)]
for reader in readers: reader.start()
for _ in range(12):
    # As a prefork pool does: a worker for some tasks, then the next one, at random moments.
    time.sleep(random.uniform(0.0, 0.03))
    ended_well(child(lambda: all(right() for _ in range(5))), child(lambda: all(right() for _ in range(5))))
over.set()
for reader in readers:
    reader.join(20)
    assert not reader.is_alive()
assert problems == []
print("good")
"""
    assert run_python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS, timeout=50) == "good\n"


def test_a_fork_while_a_thread_fetches_the_token_does_not_lock_the_child(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
login = threading.Thread(target=giga.get_token, daemon=True)
login.start()
print("logging in", flush=True)
sys.stdin.readline()
ended_well(child(lambda: right() and right(), seconds=5))
print("good", flush=True)
"""
    gigachat_emulator.inject(Fault(before_s=float("inf")), path="/oauth")
    child = python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS)
    wait_until(lambda: gigachat_emulator.oauth_calls == 1)
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
    out, err = finish(child)
    assert (out, err) == ("logging in\ngood\n", "")
    assert gigachat_emulator.oauth_calls == 2


def test_a_fork_during_a_renewal_ahead_of_time_leaves_the_child_its_token(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
while not any(thread.name == "gigaclient-token" for thread in threading.enumerate()):
    giga.get_token()
    time.sleep(0.01)
ended_well(child(lambda: right() and right(), seconds=5))
print("good")
"""
    gigachat_emulator.token_life_s = 3.0  # the margin begins 0.75 s before the end
    child = python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS)
    wait_until(lambda: gigachat_emulator.oauth_calls == 1)
    gigachat_emulator.inject(Fault(before_s=float("inf")), path="/oauth")
    out, err = finish(child)
    assert (out, err) == ("good\n", "")


def test_forks_at_any_moment_of_busy_threads_cause_no_deadlock(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
from gigaclient._primitives.deadline import Deadline

over = threading.Event()
narrow = GigaChat(**parameters, max_connections=2)

def be_busy():
    while not over.is_set():
        assert right(narrow)

def revoke():
    # A refused token is fetched again, so that the lock of the token manager is always in use.
    while not over.is_set():
        narrow._executor.tokens.reject(narrow._executor.tokens.get(Deadline(narrow._executor.timeouts)))
        time.sleep(0.005)

threads = [threading.Thread(target=be_busy) for _ in range(6)] + [threading.Thread(target=revoke)]
for thread in threads: thread.start()
for _ in range(40):
    ended_well(child(lambda: right(narrow), seconds=10))
over.set()
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
print("good")
"""
    out = run_python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS, timeout=50)
    assert out == "good\n"


def test_a_child_of_a_child_works_as_well(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
assert right()
def grow(depth):
    if not right(): return False
    if depth: ended_well(child(lambda: grow(depth - 1)))
    return right()
assert grow(4) is True
print("good")
"""
    assert run_python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS) == "good\n"


def test_the_calls_of_the_parent_take_no_permit_in_the_child(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
narrow = GigaChat(**parameters, max_connections=1)
stream = narrow.stream("Count from 1 to 5")
next(stream)
waiting = threading.Thread(target=lambda: narrow.chat("Hello"))
waiting.start()
while narrow.stats().waiting != 1: time.sleep(0.01)
ended_well(child(lambda: right(narrow) and narrow.stats().waiting == 0 and narrow.stats().in_flight == 0, seconds=5))
stream.result()
waiting.join(10)
assert not waiting.is_alive()
print("good")
"""
    assert run_python(SETUP + script, gigachat_emulator.client_options, flags=FLAGS) == "good\n"


def test_a_child_that_ends_as_usual_is_silent(gigachat_emulator: GigaChatEmulator) -> None:
    script = """
assert right()
stream = giga.stream("Count from 1 to 5")
next(stream)
if not os.fork():
    assert right()
    sys.exit(0)
assert os.wait()[1] == 0
stream.result()
print("good")
"""
    flags = ("-X", "dev", "-W", "error", *FLAGS)
    child = python(SETUP + script, gigachat_emulator.client_options, flags=flags)
    assert finish(child) == ("good\n", "")
