"""Tests that a look-up of a host name obeys the limits of its call, and that the threads for it are few."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.socket_tools import HANG, InThread, Stopwatch, deadline, eventually
from support.token_tools import Clock, in_child, together

from gigaclient._primitives import fork_safety
from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient.transport import dns
from gigaclient.transport.dns import Resolver

ENTRY = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))
NOISE = 5.0


class NameServer:
    """Replaces ``socket.getaddrinfo``; each name is answered with one address once :attr:`may_answer` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.may_answer = threading.Event()
        self.failure: Exception | None = None

    def __call__(self, host: str, port: int, **options: Any) -> list[Any]:
        self.asked.append(host)
        self.threads.add(threading.current_thread())
        assert self.may_answer.wait(HANG)
        if self.failure is not None:
            raise self.failure
        return [ENTRY]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """A name server that does not answer yet."""
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.may_answer.set()
    assert eventually(lambda: not any(thread.is_alive() for thread in server.threads - {threading.main_thread()}))


@pytest.fixture
def answering(names: NameServer) -> NameServer:
    names.may_answer.set()
    return names


def resolve(resolver: Resolver, host: str = "api.test", limits: Deadline | None = None) -> Any:
    limits = limits or deadline()
    return resolver.resolve(host, 443, limits, limits.now())


def raised_by(work: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        work()
    return caught.value


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_kind", ["connect", "deadline"])
def test_a_look_up_without_an_answer_costs_the_timeout(names: NameServer, timeout_kind: str) -> None:
    with Stopwatch() as took, pytest.raises(DeadlineExceeded) as caught:
        resolve(Resolver(), limits=deadline(**{timeout_kind: 0.2}))
    assert caught.value.timeout_kind == timeout_kind
    assert 0.15 < took.seconds < NOISE
    assert names.asked == ["api.test"]


def test_cancelling_the_call_ends_the_wait(names: NameServer) -> None:
    limits = deadline()
    waiting = InThread(lambda: resolve(Resolver(), limits=limits))
    assert eventually(lambda: bool(names.asked))
    with Stopwatch() as took:
        limits.cancel()
        assert isinstance(waiting.outcome(), Cancelled)
    assert took.seconds < NOISE


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGUSR1")
@pytest.mark.parametrize("raised", [KeyboardInterrupt, TimeoutError, OSError, RuntimeError])
def test_the_exception_of_a_signal_handler_ends_the_wait_unchanged(
    names: NameServer, raised: type[BaseException]
) -> None:
    failure = raised("from the handler")

    def handler(*_: object) -> None:
        raise failure

    def send_signal() -> None:
        assert eventually(lambda: bool(names.asked))
        os.kill(os.getpid(), signal.SIGUSR1)

    resolver = Resolver()
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        sender = InThread(send_signal)
        assert raised_by(lambda: resolve(resolver)) is failure
        assert sender.outcome() is None
    finally:
        signal.signal(signal.SIGUSR1, before)
    names.may_answer.set()
    assert resolve(resolver) == [ENTRY]


def test_a_late_answer_serves_the_next_call(names: NameServer) -> None:
    resolver = Resolver()
    with pytest.raises(DeadlineExceeded):
        resolve(resolver, limits=deadline(connect=0.05))
    names.may_answer.set()
    assert resolve(resolver) == [ENTRY]
    assert names.asked == ["api.test"]


# -- threads ---------------------------------------------------------------------------------------


def test_calls_share_one_look_up_of_a_name(names: NameServer) -> None:
    resolver = Resolver()
    waiting = [InThread(lambda: resolve(resolver)) for _ in range(20)]
    assert eventually(lambda: bool(names.asked))
    names.may_answer.set()
    assert [thread.outcome() for thread in waiting] == [[ENTRY]] * 20
    assert names.asked == ["api.test"]


def test_unanswered_names_hold_four_threads_at_most(names: NameServer) -> None:
    resolver = Resolver()
    waiting = [InThread(lambda host=f"{n}.test": resolve(resolver, host)) for n in range(12)]  # type: ignore[misc]
    assert eventually(lambda: len(names.asked) == 4)
    time.sleep(0.05)
    assert len(names.asked) == len(names.threads) == 4
    assert all(thread.daemon for thread in names.threads)
    names.may_answer.set()
    assert [thread.outcome() for thread in waiting] == [[ENTRY]] * 12
    assert len(names.asked) == 12


def test_no_thread_is_left_when_all_names_are_resolved(answering: NameServer) -> None:
    resolver = Resolver()
    assert together(8, lambda n: resolve(resolver, f"{n}.test")) == [[ENTRY]] * 8
    assert eventually(lambda: not any(thread.is_alive() for thread in answering.threads))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo"])
def test_a_numeric_address_needs_no_thread(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail("a thread was started"))
    addresses = Resolver().resolve(host, 8443, deadline(), 0.0 + time.monotonic())
    assert addresses[0][4][:2] == (host.partition("%")[0], 8443) or addresses[0][4][0].startswith("fe80::1")


def test_without_threads_the_caller_looks_the_name_up(answering: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert resolve(Resolver()) == [ENTRY]
    assert answering.threads == {threading.current_thread()}


def test_a_look_up_that_no_thread_began_is_begun_by_the_next_call(
    answering: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver()
    with monkeypatch.context() as patch:
        patch.setattr(dns._Lookups, "_start_worker", lambda lookups: raise_interrupt())
        with pytest.raises(KeyboardInterrupt):
            resolve(resolver)
    assert resolve(resolver) == [ENTRY]


def raise_interrupt() -> None:
    raise KeyboardInterrupt


# -- what is remembered ----------------------------------------------------------------------------


def test_addresses_are_remembered_for_five_seconds(answering: NameServer) -> None:
    clock = Clock()
    resolver = Resolver(clock)
    for passed in (0.0, 4.9):
        clock.now += passed
        assert resolve(resolver) == [ENTRY]
    assert answering.asked == ["api.test"]
    clock.now += 0.2
    assert resolve(resolver) == [ENTRY]
    assert answering.asked == ["api.test"] * 2


def test_a_failure_is_not_remembered(answering: NameServer) -> None:
    resolver = Resolver()
    answering.failure = socket.gaierror(socket.EAI_AGAIN, "try again")
    failure = raised_by(lambda: resolve(resolver))
    assert isinstance(failure, socket.gaierror)
    assert failure.errno == socket.EAI_AGAIN
    answering.failure = None
    assert resolve(resolver) == [ENTRY]


def test_calls_that_share_a_failed_look_up_have_an_error_each(names: NameServer) -> None:
    resolver = Resolver()
    names.failure = socket.gaierror(socket.EAI_NONAME, "unknown")
    waiting = [InThread(lambda: resolve(resolver)) for _ in range(3)]
    assert eventually(lambda: len(resolver._lookups.get("api.test", 443, time.monotonic)._waiting) == 3)
    names.may_answer.set()
    errors = [thread.outcome() for thread in waiting]
    assert len({id(error) for error in [*errors, names.failure]}) == 4
    assert [type(error) for error in errors] == [socket.gaierror] * 3


def test_forgotten_addresses_are_looked_up_again(answering: NameServer) -> None:
    resolver = Resolver()
    resolve(resolver)
    resolver.forget("api.test", 443)
    resolve(resolver)
    assert answering.asked == ["api.test"] * 2


def test_many_names_do_not_stay_in_memory(answering: NameServer) -> None:
    clock = Clock()
    resolver = Resolver(clock)
    for n in range(600):
        clock.now += 0.1
        resolve(resolver, f"{n}.test")
    assert len(resolver._lookups._by_name) <= dns._MAX_REMEMBERED


def test_the_exception_of_a_signal_handler_does_not_make_an_address_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(family: int, address: str) -> bytes:
        raise OSError(errno.EIO, "from a signal handler")

    monkeypatch.setattr(socket, "inet_pton", interrupted)
    with pytest.raises(OSError, match="from a signal handler"):
        resolve(Resolver(), "127.0.0.1")


def test_an_invalid_name_is_an_error_of_the_look_up() -> None:
    assert isinstance(raised_by(lambda: resolve(Resolver(), "a" * 70 + ".test")), socket.gaierror)


def test_a_real_name_is_resolved() -> None:
    assert ("127.0.0.1", 443) in [address[4][:2] for address in resolve(Resolver(), "localhost")]


# -- forks -----------------------------------------------------------------------------------------


def in_c_child(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a child that is forked from C, so that none of Python's hooks for forks run.

    A child may hang in a lock of the interpreter that another thread held at that moment. Then start the next one.
    """
    libc = ctypes.PyDLL(None)  # keeps the GIL, as an embedding server does
    for _ in range(3):
        reading, writing = os.pipe()
        child = libc.fork()
        if child == 0:
            try:
                os.write(writing, repr(work()).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as result:
            try:
                if select.select([result], [], [], HANG / 4)[0]:
                    return result.read().decode()
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    raise AssertionError("all children hang")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("fork", [in_child, in_c_child], ids=["fork of Python", "fork of C"])
def test_a_child_resolves_while_the_parent_still_waits(names: NameServer, fork: Callable[[Any], Any]) -> None:
    resolver = Resolver()
    waiting = [InThread(lambda host=f"{n}.test": resolve(resolver, host)) for n in range(6)]  # type: ignore[misc]
    assert eventually(lambda: len(names.asked) == 4)

    def work() -> int:
        fork_safety.check_process()  # as each call does first
        socket.getaddrinfo = lambda host, port, **options: [ENTRY] * 3  # type: ignore[assignment]
        return len(resolve(resolver, "0.test"))

    assert str(fork(work)) == "3"
    names.may_answer.set()
    assert [thread.outcome() for thread in waiting] == [[ENTRY]] * 6
