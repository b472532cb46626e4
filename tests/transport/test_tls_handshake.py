"""Tests that a fork waits for the short steps that take OpenSSL's locks, and that handshakes consist of such steps.

Without this, some children hung in their first handshake: docs/reliability.md has the figures. The
locks held for ever were those of OpenSSL's table of extra data, its certificate store and the C library's time zone.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import signal
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from support.token_tools import LONG, in_child, until

from gigaclient import GigaChat
from gigaclient._primitives import fork_safety as forks
from gigaclient._primitives.fork_safety import Steps, steps
from gigaclient.testing import Answer, Authority, GigaChatEmulator, Server
from gigaclient.transport import tls_handshake as handshake
from gigaclient.transport.tls import Trust, read_bundle


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Yield a server socket that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def connected(address: Any, limit: float | None = LONG) -> socket.socket:
    return socket.create_connection(address[:2], timeout=limit)


class Forker:
    """A thread that calls the handlers of a fork and records when they have ended."""

    def __init__(self, members: Steps) -> None:
        self.through = threading.Event()
        self._members = members
        self._thread = threading.Thread(target=self._fork)
        self._thread.start()

    def _fork(self) -> None:
        # The handlers of os.register_at_fork only; other tests make a real fork.
        self._members.before_fork()
        self.through.set()

    def join(self) -> None:
        self._thread.join(LONG)
        assert not self._thread.is_alive()


# -- the steps -----


def test_a_fork_waits_until_the_running_steps_have_ended() -> None:
    members = Steps()
    with members:
        forker = Forker(members)
        assert not forker.through.wait(0.2)
    assert forker.through.wait(LONG)
    forker.join()


def test_no_step_begins_during_a_fork() -> None:
    members = Steps()
    members.before_fork()
    begun = threading.Event()

    def begin() -> None:
        with members:
            begun.set()

    thread = threading.Thread(target=begin)
    thread.start()
    assert not begun.wait(0.2)
    members.after_fork_in_parent()
    assert begun.wait(LONG)
    thread.join(LONG)


def test_a_fork_inside_a_step_or_during_a_hanging_one_is_late_but_does_not_hang() -> None:
    members = Steps()
    with members:
        began = time.monotonic()
        members.before_fork()
        assert time.monotonic() - began < LONG
        with members:  # a thread that then begins a step is late as well
            assert time.monotonic() - began < LONG
        members.after_fork_in_parent()
    members.before_fork()
    members.after_fork_in_parent()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_the_child_knows_nothing_of_the_steps_of_the_parents_threads() -> None:
    release, inside = threading.Event(), threading.Event()

    def hold() -> None:
        with steps:
            inside.set()
            release.wait(LONG)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(LONG)
    try:
        assert in_child(lambda: [len(steps._running), len(steps._pending_forks)]) == [0, 0]
    finally:
        release.set()
        holder.join(LONG)
    assert not steps._running
    assert not steps._pending_forks


def test_an_exception_inside_the_end_of_a_step_blocks_no_later_step_or_fork() -> None:
    members = Steps()
    members.__enter__()  # and no __exit__, as after the exception of a signal handler
    members.before_fork()
    ended = threading.Event()

    def step() -> None:
        with members:
            ended.set()

    thread = threading.Thread(target=step)
    thread.start()
    assert ended.wait(LONG)  # although the fork did not report its end
    thread.join(LONG)
    with members:
        pass
    forker = Forker(members)
    began = time.monotonic()
    assert forker.through.wait(LONG)
    assert time.monotonic() - began < forks._MAX_WAIT_SECONDS
    forker.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_every_fork_of_the_process_waits() -> None:
    release, inside = threading.Event(), threading.Event()

    def hold() -> None:
        with steps:
            inside.set()
            until(lambda: len(steps._pending_forks) == 1)
            release.wait(0.2)
            over.append(time.monotonic())

    over: list[float] = []
    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(LONG)
    child_began = in_child(time.monotonic)
    holder.join(LONG)
    assert child_began >= over[0]


# -- the handshake -----


def test_a_handshake_succeeds_and_leaves_the_time_limit_as_it_was(authority: Authority) -> None:
    context = Trust(authorities=authority.ca_pem.decode()).make_context()
    with Server(lambda request: Answer(200, {}, "here"), tls=authority) as server:
        for limit in (LONG, None):
            with connected(("127.0.0.1", server.port), limit) as plain:
                wrapped = context.wrap_socket(plain, server_hostname="127.0.0.1")
                with wrapped:
                    assert wrapped.gettimeout() == limit
                    assert wrapped.version() in ("TLSv1.2", "TLSv1.3")


def test_the_locks_are_taken_inside_steps_alone(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    shake = ssl.SSLSocket.do_handshake
    wrap = ssl.SSLContext.wrap_socket
    first_step_done = threading.Event()

    def recorded_handshake(self: ssl.SSLSocket, block: bool = False) -> None:
        if self.server_side:
            # On a busy machine the server could answer during the first step, and there would be no second one.
            assert first_step_done.wait(LONG)
            shake(self, block)
            return
        seen.append(("handshake", bool(steps._running)))
        try:
            shake(self, block)
        finally:
            first_step_done.set()

    def recorded_wrap(self: ssl.SSLContext, *args: Any, **options: Any) -> ssl.SSLSocket:
        if isinstance(self, handshake.Context):
            seen.append(("new", bool(steps._running)))
        return wrap(self, *args, **options)

    context = Trust(authorities=authority.ca_pem.decode()).make_context()
    with Server(lambda request: Answer(200, {}, "here"), tls=authority) as server:
        monkeypatch.setattr(ssl.SSLSocket, "do_handshake", recorded_handshake)
        monkeypatch.setattr(ssl.SSLContext, "wrap_socket", recorded_wrap)
        context.wrap_socket(connected(("127.0.0.1", server.port)), server_hostname="127.0.0.1").close()
    monkeypatch.undo()
    assert seen[0] == ("new", True)
    assert len(seen) >= 3, "one step before the server's answer, and one after it"
    assert set(seen[1:]) == {("handshake", True)}


def test_contexts_are_made_in_steps(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def recorded(context: ssl.SSLContext, *args: Any, **options: Any) -> None:
        seen.append(len(steps._running))
        return load(context, *args, **options)

    load = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", recorded)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.ca_file)
    read_bundle(authority.ca_file)
    for kind in ("pinned", "system"):
        Trust(mode=kind, authorities=authority.ca_pem.decode()).make_context()
    assert seen == [1, 1, 1]


def test_no_step_lasts_while_the_server_is_awaited(silent: socket.socket, authority: Authority) -> None:
    context = Trust(authorities=authority.ca_pem.decode()).make_context()
    plain = connected(silent.getsockname())
    failures: list[BaseException] = []

    def shake() -> None:
        try:
            context.wrap_socket(plain, server_hostname="127.0.0.1")
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=shake)
    thread.start()
    peer, _ = silent.accept()
    with peer:
        peer.settimeout(LONG)
        assert peer.recv(1), "the client has said hello"
        until(lambda: not steps._running)
        began = time.monotonic()
        steps.before_fork()
        steps.after_fork_in_parent()
        assert time.monotonic() - began < forks._MAX_WAIT_SECONDS
    thread.join(LONG)
    assert not thread.is_alive()
    assert len(failures) == 1


def test_a_silent_server_ends_the_handshake_after_the_timeout(silent: socket.socket, authority: Authority) -> None:
    context = Trust(authorities=authority.ca_pem.decode()).make_context()
    plain = connected(silent.getsockname(), 0.3)
    with pytest.raises(TimeoutError, match="do_handshake timed out"):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_server_that_reads_nothing_is_awaited_for_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    awaited_events: list[int] = []
    outcomes = [ssl.SSLWantWriteError(), ssl.SSLWantReadError(), None]

    class Wrapped(socket.socket):
        def do_handshake(self) -> None:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome

    class Selector(handshake.Selector):  # type: ignore[misc, name-defined]
        def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
            awaited_events.append(events)
            return super().register(fileobj, events, data)

    monkeypatch.setattr(handshake, "Selector", Selector)
    with theirs, Wrapped(fileno=ours.detach()) as wrapped:
        theirs.send(b"so that there is something to read")
        wrapped.settimeout(LONG)
        handshake.in_steps(wrapped, wrapped.do_handshake)  # type: ignore[arg-type]
        assert wrapped.gettimeout() == LONG
    assert awaited_events == [handshake.selectors.EVENT_WRITE, handshake.selectors.EVENT_READ]


def test_a_refused_handshake_closes_the_connection(authority: Authority) -> None:
    with Authority() as other, Server(lambda request: Answer(200, {}, "here"), tls=other) as server:
        context = Trust(authorities=authority.ca_pem.decode()).make_context()
        plain = connected(("127.0.0.1", server.port))
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(plain, server_hostname="127.0.0.1")
        assert plain.fileno() == -1
        until(lambda: server.open_connections == 0)


def test_no_handshake_is_made_unless_requested(silent: socket.socket, authority: Authority) -> None:
    context = Trust(authorities=authority.ca_pem.decode()).make_context()
    plain = connected(silent.getsockname())
    with context.wrap_socket(plain, do_handshake_on_connect=False, server_hostname="127.0.0.1") as wrapped:
        assert wrapped.gettimeout() == LONG
        assert wrapped.version() is None


# -- the client -----


def test_the_first_data_of_a_connection_are_read_in_steps_and_what_follows_is_not(
    gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted:
        entered = 0

        def __enter__(self) -> None:
            Counted.entered += 1
            steps.__enter__()

        def __exit__(self, *exc_info: object) -> None:
            steps.__exit__(*exc_info)

    monkeypatch.setattr("gigaclient.transport.socket.steps", Counted())
    with GigaChat(**gigachat_emulator.client_options) as giga:
        assert giga.stream("Count from 1 to 5").result().text
        first = Counted.entered
        assert first >= 2, "one for the token and one for the answer, at least"
        assert giga.stream("Count from 1 to 5").result().text
        assert giga.chat("hi").text
    assert gigachat_emulator.connections == 1
    assert Counted.entered == first


def test_a_call_on_a_connection_that_is_there_waits_for_no_fork(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        assert giga.chat("hi").text
        done = threading.Event()
        thread = threading.Thread(target=lambda: (giga.chat("hi"), done.set()))
        steps.before_fork()
        try:
            thread.start()
            assert done.wait(forks._MAX_WAIT_SECONDS * 0.9)
        finally:
            steps.after_fork_in_parent()
        thread.join(LONG)


# -- sockets that are dropped ------------------------------------------------------------------------------------------


class HandlerError(Exception):
    """The exception that the signal handler raises."""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no signal for a program")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_signal_handler_that_raises_while_a_socket_is_dropped_leaves_no_descriptor(
    tls: bool, silent: socket.socket, authority: Authority
) -> None:
    def handle(number: int, frame: Any) -> None:
        raise HandlerError

    dropped: list[socket.socket] = [handshake.Socket(socket.AF_INET, socket.SOCK_STREAM)]
    dropped[0].connect(silent.getsockname())
    if tls:
        context = Trust(authorities=authority.ca_pem.decode()).make_context()
        dropped.append(context.wrap_socket(dropped.pop(), do_handshake_on_connect=False, server_hostname="127.0.0.1"))
    number = dropped[0].fileno()
    # No step of Python code is between the two calls: what drops the socket meets the signal first.
    calls = [functools.partial(ctypes.PyDLL(None)["raise"], int(signal.SIGUSR1)), dropped.clear]
    original = signal.signal(signal.SIGUSR1, handle)
    try:
        with pytest.raises(HandlerError):
            deque(map(operator.methodcaller("__call__"), calls), maxlen=0)
    finally:
        signal.signal(signal.SIGUSR1, original)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
