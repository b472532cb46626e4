"""Tests that a connection goes to the first address that answers, and how long that takes."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.socket_tools import HANG, InThread, Stopwatch, deadline, eventually, unanswered_port
from support.token_tools import Clock

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient.transport import happy_eyeballs
from gigaclient.transport.dial import Dialer
from gigaclient.transport.dns import AddressInfo, Resolver
from gigaclient.transport.happy_eyeballs import ATTEMPT_DELAY_SECONDS, PreferredAddresses, connect, connect_to_host

NOISE = 5.0


def at(port: int, host: str = "127.0.0.1", family: int = socket.AF_INET) -> AddressInfo:
    return (family, socket.SOCK_STREAM, 6, "", (host, port) if family == socket.AF_INET else (host, port, 0, 0))


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that refuses connections, because it is bound and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def dead() -> Iterator[int]:
    """A port that neither accepts nor refuses connections."""
    with unanswered_port() as port:
        yield port


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert eventually(lambda: open_descriptors() <= before)


def open_descriptors() -> int:
    folder = "/dev/fd" if os.path.isdir("/dev/fd") else None
    return len(os.listdir(folder)) if folder else 0


def connected_port(*addresses: AddressInfo, limits: Deadline | None = None, prepare: Any = lambda sock: None) -> int:
    """Connect, and return the port that answered."""
    limits = limits or deadline()
    sock, address = connect(addresses, limits, limits.now(), prepare)
    with sock:
        assert sock.getpeername()[:2] == address[4][:2]
        assert sock.gettimeout() == 0.0
    return int(address[4][1])


# -- which address ---------------------------------------------------------------------------------


def test_the_first_address_is_used_when_it_answers(listening: int, dead: int) -> None:
    with Stopwatch() as took:
        assert connected_port(at(listening), at(dead)) == listening
    assert took.seconds < NOISE


def test_a_dead_first_address_costs_less_than_half_a_second(listening: int, dead: int) -> None:
    with Stopwatch() as took:
        assert connected_port(at(dead), at(listening)) == listening
    assert took.seconds >= ATTEMPT_DELAY_SECONDS - 0.01
    assert took.seconds < 0.5


def test_the_attempts_begin_a_delay_apart(listening: int, dead: int) -> None:
    with Stopwatch() as took:
        assert connected_port(at(dead), at(dead), at(listening)) == listening
    assert took.seconds >= 2 * ATTEMPT_DELAY_SECONDS - 0.01


def test_after_a_refusal_the_next_address_is_tried_at_once(
    listening: int, refusing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happy_eyeballs, "ATTEMPT_DELAY_SECONDS", 1000.0)
    assert connected_port(at(refusing), at(refusing), at(listening)) == listening


def test_an_address_of_an_unsupported_family_is_passed_over(listening: int) -> None:
    assert connected_port(at(0, family=12345), at(listening)) == listening


def test_the_exception_of_a_signal_handler_is_no_failure_of_an_address(listening: int) -> None:
    def interrupted(sock: socket.socket) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "from a signal handler")

    with pytest.raises(ConnectionResetError, match="from a signal handler"):
        connected_port(at(listening), at(listening), prepare=interrupted)


def test_the_families_take_turns() -> None:
    v6 = [at(n, "::1", socket.AF_INET6) for n in range(3)]
    v4 = [at(n) for n in range(2)]
    assert happy_eyeballs._alternating([*v6, *v4]) == [v6[0], v4[0], v6[1], v4[1], v6[2]]
    assert happy_eyeballs._alternating([*v4, *v6]) == [v4[0], v6[0], v4[1], v6[1], v6[2]]


# -- failures and limits ---------------------------------------------------------------------------


def test_the_last_failure_is_raised_when_no_address_answers(refusing: int) -> None:
    with pytest.raises(ConnectionRefusedError) as caught:
        connected_port(at(0, family=12345), at(refusing))
    assert caught.value.errno == errno.ECONNREFUSED
    with pytest.raises(OSError, match="no address"):
        connected_port()


@pytest.mark.parametrize("timeout_kind", ["connect", "deadline"])
def test_dead_addresses_cost_one_timeout_together(dead: int, timeout_kind: str) -> None:
    with Stopwatch() as took, pytest.raises(DeadlineExceeded) as caught:
        connected_port(*[at(dead)] * 4, limits=deadline(**{timeout_kind: 0.4}))
    assert caught.value.timeout_kind == timeout_kind
    assert 0.35 < took.seconds < NOISE


def test_cancelling_the_call_ends_all_attempts(dead: int) -> None:
    limits = deadline()
    connecting = threading.Event()
    waiting = InThread(lambda: connected_port(at(dead), limits=limits, prepare=lambda sock: connecting.set()))
    assert connecting.wait(HANG)
    time.sleep(0.05)  # into the wait, which nothing else would end in time
    with Stopwatch() as took:
        limits.cancel()
        assert isinstance(waiting.outcome(), Cancelled)
    assert took.seconds < NOISE


def test_a_call_cancelled_before_does_not_connect(listening: int) -> None:
    limits = deadline()
    limits.cancel()
    with pytest.raises(Cancelled):
        connect([at(listening)], limits, limits.now(), lambda sock: None)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGUSR1")
@pytest.mark.parametrize("raised", [KeyboardInterrupt, TimeoutError, OSError, BlockingIOError])
def test_the_exception_of_a_signal_handler_ends_the_wait_unchanged(dead: int, raised: type[BaseException]) -> None:
    failure = raised("from the handler")

    def handler(*_: object) -> None:
        raise failure

    connecting = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def send_signal() -> None:
        assert connecting.wait(HANG)
        time.sleep(0.02)  # into the wait
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        sender = InThread(send_signal)
        with pytest.raises(raised) as caught:
            connected_port(at(dead), prepare=lambda sock: connecting.set())
        assert caught.value is failure
        assert sender.outcome() is None
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("raised", [TimeoutError, OSError])
def test_it_ends_the_call_also_when_it_is_raised_between_two_lines(listening: int, raised: type[BaseException]) -> None:
    failure = raised("from the handler")

    failures = [failure]

    def prepare(sock: socket.socket) -> None:
        while failures:
            raise failures.pop()

    with pytest.raises(raised) as caught:
        connected_port(at(listening), at(listening), prepare=prepare)
    assert caught.value is failure


def test_a_socket_that_cannot_be_prepared_is_a_failed_attempt(listening: int) -> None:
    prepared: list[socket.socket] = []

    def prepare(sock: socket.socket) -> None:
        prepared.append(sock)
        if len(prepared) == 1:
            Dialer("api.test", source_address=("192.0.2.1", 0))._prepare(sock)  # an address of no machine

    assert connected_port(at(listening), at(listening), prepare=prepare) == listening
    assert prepared[0].fileno() == -1


# -- what is remembered ----------------------------------------------------------------------------


def test_the_address_that_answered_is_first_for_ten_minutes() -> None:
    clock = Clock()
    preferred = PreferredAddresses(clock)
    resolved = [at(1), at(2), at(3)]
    preferred.note("api.test", 443, resolved, resolved[2])
    assert preferred.sort("api.test", 443, resolved) == [at(3), at(1), at(2)]
    assert preferred.sort("api.test", 8443, resolved) == resolved
    assert preferred.sort("other.test", 443, resolved) == resolved
    clock.now += 599
    preferred.note("api.test", 443, resolved, resolved[2])
    assert preferred.sort("api.test", 443, resolved)[0] == at(3)
    clock.now += 2
    assert preferred.sort("api.test", 443, resolved) == resolved


def test_it_is_forgotten_when_the_first_address_answers_again() -> None:
    preferred = PreferredAddresses(Clock())
    resolved = [at(1), at(2)]
    preferred.note("api.test", 443, resolved, resolved[1])
    preferred.note("api.test", 443, resolved, resolved[0])
    assert preferred.sort("api.test", 443, resolved) == resolved


def test_the_second_call_does_not_wait_for_the_dead_address(
    listening: int, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happy_eyeballs, "resolver", Resolver())
    monkeypatch.setattr(happy_eyeballs, "_preferred", PreferredAddresses())
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [at(dead), at(listening)])
    seconds = []
    for _ in range(2):
        limits = deadline()
        with Stopwatch() as took, connect_to_host("api.test", 443, limits, limits.now(), lambda sock: None) as sock:
            assert sock.getpeername()[1] == listening
        seconds.append(took.seconds)
    assert seconds[0] >= ATTEMPT_DELAY_SECONDS - 0.01
    assert seconds[1] < ATTEMPT_DELAY_SECONDS


def test_a_host_that_cannot_be_reached_is_looked_up_again(
    listening: int, refusing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [[at(refusing)], [at(listening)]]
    monkeypatch.setattr(happy_eyeballs, "resolver", Resolver())
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answers.pop(0))
    limits = deadline()
    with pytest.raises(ConnectionRefusedError):
        connect_to_host("moved.test", 443, limits, limits.now(), lambda sock: None)
    connect_to_host("moved.test", 443, limits, limits.now(), lambda sock: None).close()
