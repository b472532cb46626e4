"""A bad day in full: many threads on one client, a server that revokes, resets, cuts and refuses at random.

``tests/test_load.py`` runs it for some seconds, ``scripts/soak.py`` for as long as it is told. The server is a process
of its own, so that threads, descriptors and memory counted here are the client's.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.reliability_tools import descriptors, question, resident_megabytes

from gigaclient import GigaChat
from gigaclient.errors import APITimeoutError, GigaClientError

READ_TIMEOUT = 1.5
SETTLE_SECONDS = 10.0
_SERVER = """
import json, sys
from gigaclient.testing import Fault, GigaChatEmulator

with GigaChatEmulator() as emulator:
    print(json.dumps(emulator.client_options), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "revoke":
            emulator.revoke_tokens()
        elif order["do"] == "inject":
            emulator.inject(Fault(**order["fault"]), times=order["times"])
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
)


class Emulator:
    """The emulator in a process of its own, told what to do through its standard input."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.client_options: dict[str, Any] = json.loads(self._answer())

    def order(self, do: str, **more: Any) -> dict[str, Any]:
        """Have something done; how things stand afterwards."""
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self._process.stdin.flush()
            found: dict[str, Any] = json.loads(self._answer())
            return found

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the emulator has died"
        return line

    def close(self) -> None:
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
    server = Emulator()
    try:
        yield server
    finally:
        server.close()


_UNSENT = "deadline before it was sent"


@dataclass
class Round:
    """What one round came to.

    Attributes:
        outcomes: how many calls ended how: ``right``, or the name of an error.
        wrong: answers that belong to another question, and whatever else must not be.
        revoked: how often all tokens were revoked.
        logins: how many tokens the client fetched.
        in_vain: how many OAuth calls the server saw beyond that. What a call has begun for all whose own deadline
            passes comes to nothing.
        threads, descriptors, megabytes: of this process when the round was over and the client closed.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    revoked: int = 0
    logins: int = 0
    in_vain: int = 0
    threads: int = 0
    descriptors: int = 0
    megabytes: float = 0.0

    @property
    def calls(self) -> int:
        return sum(self.outcomes.values())

    def __str__(self) -> str:
        ends = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        return (
            f"{self.calls} calls ({ends}); {self.revoked} revocations, {self.logins} logins; "
            f"{self.threads} threads, {self.descriptors} descriptors, {self.megabytes:.1f} MB"
        )


def run_round(server: Emulator, seconds: float, *, threads: int = 64, seed: int | None = None) -> Round:
    """One client, ``threads`` threads and a bad day of ``seconds``; then everything has to be over."""
    done = Round()
    logins_before = server.order("look")["oauth_calls"]
    over = threading.Event()
    lock = threading.Lock()
    rng = random.Random(seed)

    def note(outcome: str, wrong: str | None = None) -> None:
        with lock:
            done.outcomes[outcome] += 1
            if wrong is not None:
                done.wrong.append(wrong)

    with GigaChat(**server.client_options, timeout=READ_TIMEOUT, retry_backoff_factor=0.05) as giga:
        workers = [
            threading.Thread(target=_work, args=(giga, over, note, rng.random()), name=f"load-{number}", daemon=True)
            for number in range(threads)
        ]
        trouble = threading.Thread(target=_make_trouble, args=(server, over, done, rng.random()), daemon=True)
        for thread in (*workers, trouble):
            thread.start()
        time.sleep(seconds)
        over.set()
        server.order("clear")
        # What a call may last at the most: three tries of a connect and a read timeout each, and the pauses.
        limit = time.monotonic() + 3 * 2 * READ_TIMEOUT + 10
        for thread in (*workers, trouble):
            thread.join(max(0.0, limit - time.monotonic()))
        done.wrong += [f"{thread.name} is stuck" for thread in workers if thread.is_alive()]
        stats = giga.stats()
        done.logins = stats.tokens_fetched
        if stats.in_flight or stats.waiting:
            done.wrong.append(f"something is left over: {stats}")
    del giga
    _settle(server, done)
    found = server.order("look")
    done.wrong += found["errors"]
    done.in_vain = found["oauth_calls"] - logins_before - done.logins
    if done.logins > done.revoked + 1 or done.in_vain > done.outcomes[_UNSENT]:
        done.wrong.append(f"{done.logins} logins, and {done.in_vain} in vain, for {done.revoked} revocations")
    done.threads, done.descriptors, done.megabytes = threading.active_count(), descriptors(), resident_megabytes()
    return done


def _settle(server: Emulator, done: Round) -> None:
    limit = time.monotonic() + SETTLE_SECONDS
    while found := server.order("look"):
        if not found["open"] and not found["streams"]:
            break
        if time.monotonic() > limit:
            done.wrong.append(f"the server still has {found['open']} connections of a closed client")
            break
        time.sleep(0.05)
    gc.collect()


def _make_trouble(server: Emulator, over: threading.Event, done: Round, seed: float) -> None:
    rng = random.Random(seed)
    next_revocation = time.monotonic() + 0.5
    while not over.wait(rng.uniform(0.01, 0.08)):
        if time.monotonic() > next_revocation:
            # Far enough apart that few calls meet two of them; a call gets a new token once.
            next_revocation = time.monotonic() + rng.uniform(0.5, 1.5)
            done.revoked += 1
            server.order("revoke")
        server.order("inject", fault=rng.choice(FAULTS), times=rng.randint(1, 3))


def _work(giga: GigaChat, over: threading.Event, note: Any, seed: float) -> None:
    rng = random.Random(seed)
    while not over.is_set():
        word, asked = question()
        try:
            outcome, text, whole = _ask(giga, asked, rng)
        except GigaClientError as error:
            wrong = None if word.startswith(error.text) else f"{error.text!r} was not asked for: {error}"
            if isinstance(error, APITimeoutError) and error.timeout_kind == "deadline":
                note("deadline" if error.sent else _UNSENT, wrong)
            else:
                note(type(error).__name__, wrong)
        except BaseException as error:  # whatever else comes is what this is here to find
            note("crash", f"{type(error).__name__}: {error}")
        else:
            good = text == word if whole else word.startswith(text)
            note(outcome, None if good else f"asked for {word}, got {text!r} ({outcome})")


def _ask(giga: GigaChat, asked: str, rng: random.Random) -> tuple[str, str, bool]:
    """How it was asked, the text that came, and whether it has to be all of it."""
    way = rng.random()
    if way < 0.40:
        return "chat", giga.chat(asked).text, True
    if way < 0.65:
        return "stream", giga.stream(asked).result().text, True
    if way < 0.75:
        return "generate", "".join(giga.generate(asked)), True
    if way < 0.85:
        with giga.stream(asked) as stream:
            for _ in stream:
                break
        return "stream closed early", stream.text, False
    if way < 0.90:
        stream = giga.stream(asked)
        next(stream, None)
        text = stream.text
        del stream
        return "stream dropped", text, False
    if way < 0.95:
        return "chat", giga.chat(asked, deadline=rng.uniform(0.001, 0.1)).text, True
    return "chat", giga.with_options(model="GigaChat-2-Max", timeout=2 * READ_TIMEOUT).chat(asked).text, True


def grown(first: Round, last: Round, *, megabytes: float) -> list[str]:
    """What is more after ``last`` than it was after ``first``, though it should not be."""
    found = []
    if last.threads > first.threads:
        found.append(f"{last.threads - first.threads} threads more")
    if last.descriptors > first.descriptors:
        found.append(f"{last.descriptors - first.descriptors} descriptors more")
    if last.megabytes > first.megabytes + megabytes:
        found.append(f"{last.megabytes - first.megabytes:.1f} MB more")
    return found
