"""The load test: many threads use one client while the server revokes, resets, cuts and refuses at random.

``tests/test_load.py`` runs it for some seconds, ``scripts/soak.py`` for a chosen time. The server is a separate
process, so that the threads, descriptors and memory counted here belong to the client. The main thread makes calls too,
which signals interrupt.
"""

from __future__ import annotations

import functools
import gc
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support import interruption_tools
from support.interruption_tools import Children, Interruptions
from support.reliability_tools import descriptors, finish, python, question, resident_megabytes

from gigaclient import GigaChat
from gigaclient.errors import APITimeoutError, GigaClientError

READ_TIMEOUT = 1.5
SETTLE_SECONDS = 10.0
_SERVER = """
import json, sys
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.testing.http_messages import interim

with GigaChatEmulator() as emulator:
    print(json.dumps(emulator.client_options), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "revoke":
            emulator.revoke_tokens()
        elif order["do"] == "inject":
            fault = order["fault"]
            # Bytes, which JSON does not have: the numbers of interim responses, with one packet for each list.
            if "before_head" in fault:
                fault["before_head"] = [b"".join(map(interim, packet)) for packet in fault["before_head"]]
            if "after_body" in fault:
                fault["after_body"] = b"".join(map(interim, fault["after_body"]))
            emulator.inject(Fault(**fault), times=order["times"])
        elif order["do"] == "clear":
            emulator.clear()
        print(json.dumps({
            "oauth_calls": emulator.oauth_calls,
            "open": emulator.api_server.open_connections + emulator.oauth_server.open_connections,
            "streams": emulator.open_streams,
            "errors": [repr(error) for error in emulator.api_server.handler_errors],
        }), flush=True)
"""

FAULTS: tuple[dict[str, Any], ...] = (
    {"reset": True},
    {"hang_up": True},
    {"status": 429, "retry_after": 0.02},
    {"status": 429},
    {"status": 503},
    {"status": 502, "html": True},
    {"cut_after_bytes": 20},
    {"cut_after_events": 1},
    {"cut_after_events": 0},
    {"reset_after_events": 1},
    {"end_after_events": 1},
    {"error_after_events": 1},
    {"malformed_after_events": 0},
    {"stall_after_events": 1, "stall_s": 30.0},
    {"before_s": 0.3},
    {"before_s": 30.0},
    {"write_size": 1},
    {"write_size": 7, "gzip": True},
    {"comments": 3},
    {"no_end_marker": True},
    {"close_delimited": True},
    {"before_head": [[103]]},
    {"before_head": [[100], [103, 102], [103]]},
    {"before_head": [[103]] * 20, "cut_after_bytes": 20},
    {"before_head": [[103]], "header_pause_s": 0.001},
    {"before_head": [[101]]},
    {"after_body": [103]},
    {"before_head": [[103]], "reset_after_events": 0},
)


class Emulator:
    """The emulator in a separate process, controlled through its standard input."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.client_options: dict[str, Any] = json.loads(self._answer())

    def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command, and return the state of the server after it."""
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            state: dict[str, Any] = json.loads(self._answer())
            return state

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the emulator has died"
        return line

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process.stdout.close()


@contextmanager
def emulator() -> Iterator[Emulator]:
    """Start an emulator, and close it at the end."""
    server = Emulator()
    try:
        yield server
    finally:
        server.close()


_UNSENT = "deadline before it was sent"
INTERRUPTED = "interrupted"


@dataclass
class Round:
    """The result of one round.

    Attributes:
        outcomes: the number of calls by the method used, or by the name of their error.
        wrong: answers to another question, and other failures of the test.
        revoked: the number of revocations of all tokens.
        logins: the number of tokens that the client fetched.
        in_vain: the number of OAuth calls beyond that. A token fetch is lost when the deadline of the call that
            started it passes, and when a signal interrupts that call.
        forked: the number of children, of :func:`run_forks`.
        threads, descriptors, megabytes: the counts of this process after the round, with the client closed.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    revoked: int = 0
    logins: int = 0
    in_vain: int = 0
    forked: int = 0
    threads: int = 0
    descriptors: int = 0
    megabytes: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, outcome: str, wrong: str | None = None) -> None:
        """Count a call, and keep what was wrong with it."""
        with self._lock:
            self.outcomes[outcome] += 1
            if wrong is not None:
                self.wrong.append(wrong)

    @property
    def calls(self) -> int:
        """The number of calls."""
        return sum(self.outcomes.values())

    def __str__(self) -> str:
        ends = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        return (
            f"{self.calls} calls ({ends}); {self.forked} forks; {self.revoked} revocations, {self.logins} logins; "
            f"{self.threads} threads, {self.descriptors} descriptors, {self.megabytes:.1f} MB"
        )


def run_round(server: Emulator, seconds: float, *, threads: int = 64, seed: int | None = None) -> Round:
    """Run ``threads`` threads on one client for ``seconds`` with faults, and wait for their end.

    The main thread, which calls this, makes calls too, and signals raise exceptions inside of those.
    """
    done = Round()
    logins_before = server.order("look")["oauth_calls"]
    over = threading.Event()
    rng = random.Random(seed)
    with GigaChat(**server.client_options, timeout=READ_TIMEOUT, retry_backoff_factor=0.05) as giga:
        workers = [
            threading.Thread(target=_work, args=(giga, over, done, rng.random()), name=f"load-{number}", daemon=True)
            for number in range(threads)
        ]
        fault_thread = threading.Thread(target=_inject_faults, args=(server, over, done, rng.random()), daemon=True)
        for thread in (*workers, fault_thread):
            thread.start()
        if interruption_tools.AVAILABLE:
            main = threading.get_ident()
            interruptions = Interruptions(rng.random())
            send = functools.partial(signal.pthread_kill, main, signal.SIGUSR1)
            with interruptions.handled(), interruption_tools.sending(send, rng.random()):
                _work_interrupted(giga, interruptions, done, seconds, rng.random())
        else:
            time.sleep(seconds)
        over.set()
        server.order("clear")
        # The longest call: three attempts with a connect and a read timeout each, and the pauses between them.
        deadline = time.monotonic() + 3 * 2 * READ_TIMEOUT + 10
        for thread in (*workers, fault_thread):
            thread.join(max(0.0, deadline - time.monotonic()))
        done.wrong += [f"{thread.name} is stuck" for thread in workers if thread.is_alive()]
        stats = giga.stats()
        done.logins = stats.tokens_fetched
        if stats.in_flight or stats.waiting:
            done.wrong.append(f"something is left over: {stats}")
    del giga
    _wait_until_idle(server, done)
    state = server.order("look")
    done.wrong += state["errors"]
    done.in_vain = state["oauth_calls"] - logins_before - done.logins
    if done.logins > done.revoked + 1 or done.in_vain > done.outcomes[_UNSENT] + done.outcomes[INTERRUPTED]:
        done.wrong.append(f"{done.logins} logins, and {done.in_vain} in vain, for {done.revoked} revocations")
    done.threads, done.descriptors, done.megabytes = (
        threading.active_count(),
        _lasting_descriptors(),
        resident_megabytes(),
    )
    return done


def _lasting_descriptors() -> int:
    """Return the lowest number of descriptors within a second; leftovers of other tests may use some for a moment."""
    counts = [descriptors()]
    for _ in range(20):
        time.sleep(0.05)
        counts.append(descriptors())
    return min(counts)


def run_forks(server: Emulator, seconds: float, *, seed: int | None = None) -> Round:
    """Make calls in another process for ``seconds`` with faults; signals raise exceptions and fork inside of them."""
    done = Round()
    over = threading.Event()
    rng = random.Random(seed)
    fault_thread = threading.Thread(target=_inject_faults, args=(server, over, done, rng.random()), daemon=True)
    script = (
        "import sys; sys.path.insert(0, '..')\n"
        "from support.load_tools import work_and_fork\n"
        "work_and_fork(*parameters)\n"
    )
    child = python(script, [server.client_options, seconds, rng.random()])
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        fault_thread.start()
        with interruption_tools.sending(functools.partial(child.send_signal, signal.SIGUSR1), rng.random()):
            report = child.stdout.readline()
    finally:
        over.set()
    fault_thread.join()
    server.order("clear")
    _, errors = finish(child)
    if child.returncode or not report:
        done.wrong.append(f"the process of the forks failed: {errors}")
        return done
    outcomes, wrong, done.forked, done.descriptors = json.loads(report)
    done.outcomes.update(outcomes)
    done.wrong += wrong
    _wait_until_idle(server, done)
    return done


def _wait_until_idle(server: Emulator, done: Round) -> None:
    gc.collect()  # an interrupted call may leave its connection to the garbage collector
    deadline = time.monotonic() + SETTLE_SECONDS
    while state := server.order("look"):
        if not state["open"] and not state["streams"]:
            break
        if time.monotonic() > deadline:
            done.wrong.append(f"the server still has {state['open']} connections of a closed client")
            break
        time.sleep(0.05)


def _inject_faults(server: Emulator, over: threading.Event, done: Round, seed: float) -> None:
    rng = random.Random(seed)
    next_revocation = time.monotonic() + 0.5
    while not over.wait(rng.uniform(0.01, 0.08)):
        if time.monotonic() > next_revocation:
            # With pauses, because a call that meets two revocations fails: it gets a new token only once.
            next_revocation = time.monotonic() + rng.uniform(0.5, 1.5)
            done.revoked += 1
            server.order("revoke")
        server.order("inject", fault=rng.choice(FAULTS), times=rng.randint(1, 3))


def _work(giga: GigaChat, over: threading.Event, done: Round, seed: float) -> None:
    rng = random.Random(seed)
    while not over.is_set():
        done.note(*_outcome(giga, rng))


def _outcome(giga: GigaChat, rng: random.Random, interruptions: Interruptions | None = None) -> tuple[str, str | None]:
    """Ask a question; return the method or the name of the error, and a fault or None."""
    word, prompt = question()
    try:
        ask = functools.partial(_ask, giga, prompt, rng)
        outcome, text, is_complete = ask() if interruptions is None else interruptions.call(ask)
    except GigaClientError as error:
        wrong = None if word.startswith(error.text) else f"{error.text!r} belongs to another question: {error}"
        if isinstance(error, APITimeoutError) and error.timeout_kind == "deadline":
            return ("deadline" if error.sent else _UNSENT), wrong
        return type(error).__name__, wrong
    except BaseException as error:  # any other error is a bug that this test has to report
        if interruptions is not None and error is interruptions.raised:
            return INTERRUPTED, None
        return "crash", f"{type(error).__name__}: {error}"
    is_right = text == word if is_complete else word.startswith(text)
    return outcome, None if is_right else f"expected {word}, got {text!r} ({outcome})"


def _work_interrupted(giga: GigaChat, interruptions: Interruptions, done: Round, seconds: float, seed: float) -> None:
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        outcome, wrong = _outcome(giga, rng, interruptions)
        if outcome != INTERRUPTED and (where := interruptions.swallowed()):
            wrong = f"an exception of a signal handler became {outcome} ({wrong}):\n{where}"
        done.note(outcome, wrong)


def work_and_fork(options: dict[str, Any], seconds: float, seed: float) -> None:
    """Make calls that signals interrupt, and that are forked; print the counts of a :class:`Round` as JSON."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # before and after the calls
    done, first = Round(), descriptors()
    with GigaChat(**options, timeout=READ_TIMEOUT, retry_backoff_factor=0.05) as giga:

        def work() -> str:
            rng = random.Random()
            return "; ".join(wrong for _ in range(3) if (wrong := _outcome(giga, rng)[1]))

        giga.stream("Hello").result()  # so that the children inherit a token and an idle connection
        children = Children(work)
        interruptions = Interruptions(seed, children.fork)
        with interruptions.handled():
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            _work_interrupted(giga, interruptions, done, seconds, seed)
        children.reap()
        gc.collect()
        stats = giga.stats()
        if stats.in_flight or stats.waiting:
            done.wrong.append(f"something is left over after {children.forked} forks: {stats}")
    gc.collect()
    if descriptors() > first:
        done.wrong.append(f"{descriptors() - first} descriptors more after {children.forked} forks")
    sys.stdout.write(json.dumps([done.outcomes, done.wrong + children.wrong, children.forked, descriptors()]) + "\n")
    sys.stdout.flush()


def _ask(giga: GigaChat, prompt: str, rng: random.Random) -> tuple[str, str, bool]:
    """Send the prompt with a random method; return its name, the text, and True when the text must be complete."""
    choice = rng.random()
    if choice < 0.40:
        return "chat", giga.chat(prompt).text, True
    if choice < 0.65:
        return "stream", giga.stream(prompt).result().text, True
    if choice < 0.75:
        return "generate", "".join(giga.generate(prompt)), True
    if choice < 0.85:
        with giga.stream(prompt) as stream:
            for _ in stream:
                break
        return "stream closed early", stream.text, False
    if choice < 0.90:
        stream = giga.stream(prompt)
        next(stream, None)
        text = stream.text
        del stream
        return "stream dropped", text, False
    if choice < 0.95:
        return "chat", giga.chat(prompt, deadline=rng.uniform(0.001, 0.1)).text, True
    return "chat", giga.with_options(model="GigaChat-2-Max", timeout=2 * READ_TIMEOUT).chat(prompt).text, True


def grown(first: Round, last: Round, *, megabytes: float) -> list[str]:
    """Return the counts that are higher after ``last`` than after ``first``."""
    growth = []
    if last.threads > first.threads:
        growth.append(f"{last.threads - first.threads} threads more")
    if last.descriptors > first.descriptors:
        growth.append(f"{last.descriptors - first.descriptors} descriptors more")
    if last.megabytes > first.megabytes + megabytes:
        growth.append(f"{last.megabytes - first.megabytes:.1f} MB more")
    return growth
