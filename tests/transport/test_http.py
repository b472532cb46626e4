"""Tests of the transport: timeouts, cancellation, interrupts, bodies, users' sessions and forks.

The rules for timeouts: connecting (TCP, a proxy's CONNECT, TLS) takes at most the connect timeout. Each write waits at
most the read timeout for the peer to read. All headers must arrive within one read timeout after the last byte of the
request. A body that is read whole must arrive within one read timeout after the headers. So a call without a stream
ends within ``connect + 2 * read`` if the peer reads the request at once, and within its deadline in any case.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st
from support.socket_tools import (
    HANG,
    InThread,
    Peer,
    Stopwatch,
    ask,
    deadline,
    eventually,
    read_request,
    send,
    silent,
    transport_to,
    unanswered_port,
)

from gigaclient import APIConnectionError, APITimeoutError, GigaChat, InvalidResponseError, StreamInterruptedError
from gigaclient._primitives.deadline import Deadline, DeadlineExceeded
from gigaclient.testing import Answer, Authority, Cut, Fault, GigaChatEmulator, Pause, RawAnswer, Reset, Server
from gigaclient.transport import Request, Response, Transport
from gigaclient.transport.socket import ConnectionState, DeadlineSocket
from gigaclient.transport.tls import Trust

NOISE = 1.5
"""Seconds that a busy machine may add to a wait."""


def silent_until(release: threading.Event) -> Callable[[Any], None]:
    """Return a peer that neither reads nor writes before ``release``."""

    def talk(sock: Any) -> None:
        release.wait(HANG)

    return talk


def fails_after(seconds: float, work: Callable[[], object], *, at_least: float | None = None) -> APITimeoutError:
    """Return the timeout error that ends ``work`` after ``seconds``, and not much later."""
    with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
        work()
    assert seconds - 0.1 < took.seconds or at_least is not None
    assert took.seconds < seconds + NOISE
    if at_least is not None:
        assert took.seconds > at_least - 0.05
    return caught.value


# -- timeouts ------------------------------------------------------------------------------------------------


def test_a_port_that_accepts_no_connection_costs_the_connect_timeout() -> None:
    with unanswered_port() as port, transport_to(f"http://127.0.0.1:{port}") as transport:
        error = fails_after(0.4, lambda: send(transport, f"http://127.0.0.1:{port}/", deadline(connect=0.4)))
    assert error.timeout_kind == "connect"
    assert error.sent is False


def test_a_deadline_before_the_connect_timeout_counts() -> None:
    with unanswered_port() as port, transport_to(f"http://127.0.0.1:{port}") as transport:
        error = fails_after(0.4, lambda: send(transport, f"http://127.0.0.1:{port}/", deadline(deadline=0.4)))
    assert error.timeout_kind == "deadline"


@pytest.mark.parametrize("timeout_kind", ["connect", "deadline"])
def test_a_server_that_never_answers_the_handshake_costs_the_same(timeout_kind: str, trust: Trust) -> None:
    with Peer(silent) as peer:
        url = peer.url.replace("http:", "https:")
        with transport_to(url, trust=trust) as transport:
            error = fails_after(0.4, lambda: send(transport, url + "/", deadline(**{timeout_kind: 0.4})))
    assert error.timeout_kind == timeout_kind
    assert error.sent is False


def test_several_addresses_share_one_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with unanswered_port() as port, transport_to(f"http://localhost:{port}") as transport:
        entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [entry] * 4)
        error = fails_after(0.6, lambda: send(transport, f"http://localhost:{port}/", deadline(connect=0.6)))
    assert error.timeout_kind == "connect"


def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda request: Answer(body="ok")) as server, unanswered_port() as port:
        url = server.url.replace("127.0.0.1", "localhost")
        bad = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        odd = (socket.AF_UNIX, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [odd, bad, good])
        with transport_to(url) as transport:
            assert ask(transport, url + "/", deadline(connect=0.8)) == b"ok"


@pytest.fixture
def unanswered_name(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host name whose look-up does not end before the test does."""
    release = threading.Event()
    lookup = socket.getaddrinfo
    name = f"slow-{time.monotonic_ns()}.invalid"

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host != name:
            return lookup(host, *args, **options)
        release.wait(HANG)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield name
    release.set()


@pytest.mark.parametrize("timeout_kind", ["connect", "deadline"])
def test_a_name_that_is_not_resolved_costs_the_timeout(timeout_kind: str, unanswered_name: str) -> None:
    url = f"https://{unanswered_name}"
    with transport_to(url) as transport:
        error = fails_after(0.3, lambda: send(transport, url + "/", deadline(**{timeout_kind: 0.3})))
    assert error.timeout_kind == timeout_kind
    assert error.sent is False


def test_close_ends_a_call_that_waits_for_a_name(unanswered_name: str) -> None:
    url = f"https://{unanswered_name}"
    with transport_to(url) as transport:
        waiting = InThread(lambda: send(transport, url + "/"))
        assert eventually(lambda: any(call._wake for call in transport.active_calls()))
        with Stopwatch() as took:
            transport.close()
            error = waiting.outcome()
        assert took.seconds < NOISE
    assert isinstance(error, APIConnectionError)
    assert "close()" in str(error)


def test_a_new_connection_does_not_wait_for_the_dead_address_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        Server(lambda request: Answer(body="ok", headers={"Connection": "close"})) as server,
        unanswered_port() as port,
    ):
        url = server.url.replace("127.0.0.1", "localhost")
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: addresses)
        with transport_to(url) as transport:
            seconds = []
            for _ in range(3):
                with Stopwatch() as took:
                    assert ask(transport, url + "/") == b"ok"
                seconds.append(took.seconds)
    assert seconds[0] >= 0.24
    assert min(seconds[1:]) < 0.24


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_silence_costs_the_read_timeout(tls: bool, authority: Authority, trust: Trust) -> None:
    with (
        Server(lambda request: RawAnswer([Pause(None)]), tls=authority if tls else None) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        error = fails_after(0.4, lambda: send(transport, server.url + "/", deadline(read=0.4)))
    assert error.timeout_kind == "read"
    assert error.sent is True


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("timeout_kind", ["read", "deadline"])
def test_slow_headers_cost_one_read_timeout_in_all(
    timeout_kind: str, tls: bool, authority: Authority, trust: Trust
) -> None:
    with (
        Server(lambda request: Answer(header_pause_s=0.05), tls=authority if tls else None) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        error = fails_after(0.5, lambda: send(transport, server.url + "/", deadline(**{timeout_kind: 0.5})))
    assert error.timeout_kind == timeout_kind


def slow_body(framing: Any = None, gzip: bool = False) -> Callable[[object], Answer]:
    def steps() -> Iterator[bytes | Pause]:
        while True:
            yield b"x"
            yield Pause(0.02)

    def answer(request: object) -> Answer:
        if framing == "length":
            return Answer(headers={"Content-Length": "1000000"}, body=steps(), framing="close")
        return Answer(body=steps(), framing=framing, gzip=gzip)

    return answer


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("framing", ["chunked", "close", "length", "gzip"])
@pytest.mark.parametrize("timeout_kind", ["read", "deadline"])
def test_a_slow_body_costs_one_more_read_timeout_or_the_deadline(
    timeout_kind: str, framing: str, tls: bool, authority: Authority, trust: Trust
) -> None:
    answer = slow_body(None if framing == "gzip" else framing, framing == "gzip")
    with Server(answer, tls=authority if tls else None) as server, transport_to(server.url, trust=trust) as transport:
        error = fails_after(0.4, lambda: ask(transport, server.url + "/", deadline(**{timeout_kind: 0.4})))
    assert error.timeout_kind == timeout_kind


def test_a_plain_call_ends_within_connect_and_twice_the_read_timeout(authority: Authority, trust: Trust) -> None:
    def slow(request: object) -> Answer:
        answer = slow_body()(request)
        answer.before_s = 0.3
        return answer

    with Server(slow, tls=authority) as server, transport_to(server.url, trust=trust) as transport:
        waiting = deadline(connect=0.4, read=0.4)
        error = fails_after(0.4 + 2 * 0.4, lambda: ask(transport, server.url + "/", waiting), at_least=0.7)
    assert error.timeout_kind == "read"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_peer_that_reads_no_bytes_costs_the_read_timeout(tls: bool, authority: Authority, trust: Trust) -> None:
    release = threading.Event()
    context = authority.server_context() if tls else None
    with Peer(silent_until(release), tls=context) as peer, transport_to(peer.url, trust=trust) as transport:
        body = b"x" * 16 * 1024 * 1024
        for timeout_kind in ("read", "deadline"):
            error = fails_after(
                0.4,
                lambda timeout_kind=timeout_kind: send(
                    transport, peer.url + "/", deadline(**{timeout_kind: 0.4}), body=body
                ),  # type: ignore[misc]
            )
            assert error.timeout_kind == timeout_kind
            assert error.sent is True
        release.set()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("framing", ["chunked", "close", "gzip"])
def test_a_stream_that_falls_silent_is_left_at_the_deadline(
    framing: Any, tls: bool, authority: Authority, trust: Trust
) -> None:
    answer = Answer(
        body=[b"data: 1\n\n", Pause(None)], framing=None if framing == "gzip" else framing, gzip=framing == "gzip"
    )
    with (
        Server(lambda request: answer, tls=authority if tls else None) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        blocks = send(transport, server.url + "/", deadline(deadline=0.5)).blocks()
        assert next(blocks) == b"data: 1\n\n"
        with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
            next(blocks)
        assert caught.value.timeout_kind == "deadline"
        assert took.seconds < 0.5 + 0.2 + NOISE


def test_a_stream_without_deadline_lasts_while_events_arrive(authority: Authority, trust: Trust) -> None:
    steps = [step for _ in range(12) for step in (b"data: 1\n\n", Pause(0.05))]
    with (
        Server(lambda request: Answer(body=steps), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        response = send(transport, server.url + "/", deadline(read=0.25))
        response.deadline.begin_event()
        assert b"".join(response.blocks()) == b"data: 1\n\n" * 12


def test_a_stream_of_comments_alone_costs_the_event_timeout() -> None:
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, max_retries=0) as giga:
        emulator.inject(Fault(comments_forever_after_events=1), path="/chat/completions")
        stream = giga.stream("Count from 1 to 5", event_timeout=0.4)
        next(stream)
        error = fails_after(0.4, stream.result)
        assert error.timeout_kind == "event"
        assert error.text


def test_the_deadline_of_a_whole_client_holds_for_token_head_body_and_stream() -> None:
    faults = {
        "token": (Fault(before_s=float("inf")), "/oauth"),
        "head": (Fault(header_pause_s=0.05), "/chat/completions"),
        "body": (Fault(write_size=1, write_pause_s=0.05), "/chat/completions"),
    }
    for fault, path in faults.values():
        with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, max_retries=0) as giga:
            emulator.inject(fault, path=path)
            with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
                giga.chat("hello", deadline=0.5)
            assert caught.value.timeout_kind == "deadline"
            assert took.seconds < 0.5 + 0.2 + NOISE
            assert giga.chat("hello").text
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, max_retries=0) as giga:
        emulator.inject(Fault(stall_after_events=2), path="/chat/completions")
        with Stopwatch() as took, pytest.raises(APITimeoutError) as caught:
            giga.stream("Count from 1 to 9", deadline=0.5).result()
        assert caught.value.timeout_kind == "deadline"
        assert took.seconds < 0.5 + 0.2 + NOISE


# -- cancellation ----------------------------------------------------------------------------------------------


class BlockedCall:
    """A call that is blocked in a thread."""

    def __init__(self, transport: Transport, url: str, *, body: bytes = b"{}") -> None:
        self.response: Response | None = None
        self.deadline: Deadline = deadline()
        self._call = (transport, url, body)
        self.ended_at = 0.0
        self._thread = InThread(self._run)

    def _run(self) -> bytes:
        transport, url, body = self._call
        try:
            self.response = transport.send(Request("POST", "/", body=body), url, {}, self.deadline)
            return self.response.read(10**8)
        finally:
            self.ended_at = time.monotonic()

    def is_ended_by(self, end: Callable[[], object]) -> None:
        began = time.monotonic()
        assert not self.ended_at, "it did not wait"
        end()
        returned = time.monotonic()
        error = self._thread.outcome()
        assert isinstance(error, APIConnectionError), error
        assert "ended by close()" in str(error)
        assert returned - began < NOISE
        assert self.ended_at - began < NOISE


PHASES = ["connect", "handshake", "sending", "headers", "slow headers", "body", "gzip body", "close-delimited body"]


@pytest.fixture(params=PHASES)
def blocked(
    request: pytest.FixtureRequest, authority: Authority, trust: Trust
) -> Iterator[tuple[Transport, BlockedCall]]:
    """Yield a transport and a call that is blocked in one of the phases of a call."""
    phase = request.param
    answers = {
        "headers": Answer(before_s=None),
        "slow headers": Answer(header_pause_s=0.2),
        "body": Answer(body=[b"1", Pause(None)]),
        "gzip body": Answer(body=[b"1", Pause(None)], gzip=True),
        "close-delimited body": Answer(body=[b"1", Pause(None)], framing="close"),
    }
    if phase == "connect":
        with unanswered_port() as port, transport_to(f"http://127.0.0.1:{port}") as transport:
            yield transport, when_blocked(BlockedCall(transport, f"http://127.0.0.1:{port}/"))
    elif phase in ("handshake", "sending"):
        release = threading.Event()
        context = authority.server_context() if phase == "sending" else None
        with Peer(silent_until(release), tls=context) as peer:
            url = peer.url.replace("http:", "https:")
            with transport_to(url, trust=trust) as transport:
                yield transport, when_blocked(BlockedCall(transport, url + "/", body=b"x" * 16 * 1024 * 1024))
                release.set()
    else:
        with (
            Server(lambda request: answers[phase], tls=authority) as server,
            transport_to(server.url, trust=trust) as transport,
        ):
            waiting = BlockedCall(transport, server.url + "/")
            if "body" in phase:
                assert eventually(lambda: waiting.response is not None)
            assert eventually(lambda: len(server.requests) == 1)
            yield transport, when_blocked(waiting)
            assert eventually(lambda: server.open_connections == 0)


def when_blocked(waiting: BlockedCall) -> BlockedCall:
    time.sleep(0.1)  # let it block in its phase: there is no condition to wait for
    return waiting


def test_closing_the_client_ends_every_wait_at_once(blocked: tuple[Transport, BlockedCall]) -> None:
    transport, waiting = blocked
    waiting.is_ended_by(transport.close)
    assert transport.in_flight == 0


def test_cancelling_one_call_ends_its_wait_at_once(blocked: tuple[Transport, BlockedCall]) -> None:
    transport, waiting = blocked
    waiting.is_ended_by(waiting.response.close if waiting.response is not None else waiting.deadline.cancel)
    assert transport.in_flight == 0
    assert not transport.closed
    with Server(lambda request: Answer(body="ok")) as other, transport_to(other.url) as unhurt:
        assert ask(unhurt, other.url + "/") == b"ok"


def test_after_a_cancelled_call_the_next_one_works(authority: Authority, trust: Trust) -> None:
    answers = [Answer(body=[b"1", Pause(None)]), Answer(body="ok")] * 3
    queue = iter(answers)
    with (
        Server(lambda request: next(queue), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        for _ in range(3):
            waiting = BlockedCall(transport, server.url + "/")
            assert eventually(lambda: waiting.response is not None)  # noqa: B023
            waiting.is_ended_by(waiting.response.close)  # type: ignore[union-attr]
            assert ask(transport, server.url + "/") == b"ok"


def test_a_stream_is_closed_from_another_thread_at_once_and_the_client_works_on() -> None:
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, max_connections=1) as giga:
        for _ in range(3):
            emulator.inject(Fault(stall_after_events=2), path="/chat/completions")
            stream = giga.stream("Count from 1 to 9")
            reader = InThread(lambda: list(stream))  # noqa: B023
            assert eventually(lambda: stream.text == "1, 2,")  # noqa: B023
            with Stopwatch() as took:
                stream.close()
                chunks = reader.outcome()
            assert took.seconds < NOISE
            assert "".join(chunk.text for chunk in chunks) == "1, 2,"
            with pytest.raises(StreamInterruptedError):
                stream.result()
            assert giga.stats().in_flight == 0
            assert giga.chat("hello", deadline=10).text


def test_closing_the_client_ends_a_stream_with_the_text_so_far() -> None:
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options) as giga:
        emulator.inject(Fault(stall_after_events=2), path="/chat/completions")
        stream = giga.stream("Count from 1 to 9")
        reader = InThread(stream.result)
        assert eventually(lambda: stream.text == "1, 2,")
        giga.close()
        error = reader.outcome()
        assert isinstance(error, StreamInterruptedError)
        assert error.text == "1, 2,"


def test_a_cancel_while_a_refused_certificate_is_fetched_ends_the_call(authority: Authority) -> None:
    stalled = threading.Event()

    def talk(sock: Any) -> None:
        if peer.accepted == 1:
            with authority.server_context().wrap_socket(sock, server_side=True):
                return
        stalled.set()
        silent(sock)

    with Peer(talk) as peer:
        url = peer.url.replace("http:", "https:")
        with transport_to(url) as transport:
            call = InThread(lambda: ask(transport, url + "/"))
            assert stalled.wait(10)
            with Stopwatch() as took:
                transport.close()
                error = call.outcome()
            assert took.seconds < NOISE
            assert "unable to get local issuer certificate" in str(error)


# -- interrupts --------------------------------------------------------------------------------------------------


INTERRUPTED = """
    import signal, sys, threading, time
    from gigaclient import GigaChat
    phase, base_url, auth_url, credentials, ca_file = sys.argv[1:]
    giga = GigaChat(base_url=base_url, auth_url=auth_url, credentials=credentials, ca_bundle_file=ca_file,
                    max_connections=1)
    giga.get_token()
    stream = None
    if phase == "stream":
        stream = giga.stream("Count from 1 to 9")
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    began = time.monotonic()
    try:
        if stream is not None:
            stream.result()
        else:
            giga.chat("hello")
        print("not interrupted")
    except KeyboardInterrupt:
        print("interrupted" if time.monotonic() - began < 2 else "late")
    if stream is not None:
        print(stream.text)
        print(stream.closed)
    print(giga.stats().in_flight)
    print(giga.chat("Count from 1 to 3", deadline=10).text)
    giga.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no timer that interrupts")
@pytest.mark.parametrize("phase", ["stream", "headers", "body"])
def test_an_interrupt_leaves_the_text_and_a_client_that_works(phase: str) -> None:
    fault = {
        "stream": Fault(stall_after_events=2),
        "headers": Fault(before_s=float("inf")),
        "body": Fault(write_size=1, write_pause_s=0.2),
    }[phase]
    with GigaChatEmulator() as emulator:
        emulator.inject(fault, path="/chat/completions")
        arguments = [phase, emulator.base_url, emulator.auth_url, emulator.credentials, emulator.ca_file]
        lines = run_python(INTERRUPTED, *arguments)
        assert lines == ["interrupted", *(["1, 2,", "True"] if phase == "stream" else []), "0", "1, 2, 3"]
        assert emulator.api_aborted == 1


def run_python(code: str, *arguments: str) -> list[str]:
    """Run ``code`` in a new process and return the lines that it prints."""
    environment = {**os.environ, "PYTHONWARNINGS": "default", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=HANG,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="there is no signal for one thread")
# An interrupt inside a library may leave a socket that is closed only when its last reference is dropped.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_moment_leaves_no_call_in_flight(authority: Authority, trust: Trust) -> None:
    class InterruptError(BaseException):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise InterruptError

    done: list[int] = []
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with (
            Server(lambda request: Answer(body=[b"1", b"2"]), tls=authority) as server,
            transport_to(server.url, trust=trust) as transport,
        ):
            interrupted = 0
            for number in range(150):
                main = threading.main_thread().ident
                assert main is not None
                timer = threading.Timer(0.0002 * (number % 20), signal.pthread_kill, (main, signal.SIGUSR1))
                response: Response | None = None
                try:
                    timer.start()
                    response = send(transport, server.url + "/")
                    response.on_done = lambda: done.append(1)
                    response.read(10)
                    timer.join(5)
                    time.sleep(0.001)
                except InterruptError:
                    interrupted += 1
                    if response is not None:
                        response.close()
                finally:
                    timer.join(5)
            assert interrupted > 30
            gc.collect()
            assert transport.in_flight == 0
            assert eventually(lambda: server.open_connections <= 1)
            assert ask(transport, server.url + "/") == b"12"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_while_a_close_wakes_the_reader_still_ends_the_response(
    authority: Authority, trust: Trust
) -> None:
    def interrupt() -> None:
        raise TimeoutError("from a signal handler")

    with (
        Server(lambda request: Answer(body=[b"1", Pause(HANG)]), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        response = send(transport, server.url + "/")
        response.deadline.on_cancel(interrupt)
        with pytest.raises(TimeoutError):
            response.close()
        assert transport.in_flight == 0
        assert eventually(lambda: server.open_connections == 0)


# -- bodies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
@pytest.mark.parametrize("zipped", [False, True], ids=["", "gzip"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_body_comes_out_whole_however_it_is_framed(
    framing: Any, zipped: bool, tls: bool, authority: Authority, trust: Trust
) -> None:
    body = os.urandom(300_000)
    answer = Answer(body=[body[:70_000], body[70_000:70_001], body[70_001:]], framing=framing, gzip=zipped)
    with (
        Server(lambda request: answer, tls=authority if tls else None) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        assert ask(transport, server.url + "/") == body


@given(st.data())
def test_chunks_cut_anywhere_come_out_whole_over_a_socket(data: st.DataObject) -> None:
    payload = data.draw(st.binary(max_size=300))
    size = data.draw(st.integers(1, 50))
    with shared_server() as (server, transport):
        server.handler = lambda request: Answer(body=[payload], framing="chunked", write_size=size)
        assert ask(transport, server.url + "/") == payload


_shared: list[Any] = []


@pytest.fixture(scope="module", autouse=True)
def _close_shared_server() -> Iterator[None]:
    yield
    for thing in reversed(_shared):
        thing.close()
    _shared.clear()


class shared_server:
    def __enter__(self) -> tuple[Server, Transport]:
        if not _shared:
            server = Server(lambda request: Answer()).start()
            _shared.extend([server, Transport(Trust(), (server.url,))])
        return _shared[0], _shared[1]

    def __exit__(self, *exc_info: object) -> None:
        return None


@pytest.mark.parametrize("framing", ["chunked", "close", "gzip"])
def test_two_events_come_out_one_by_one_as_each_is_complete(framing: Any, authority: Authority, trust: Trust) -> None:
    held = threading.Event()

    def steps() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        held.wait(HANG)
        yield b"data: 2\n\n"

    zipped = framing == "gzip"
    answer = Answer(body=steps(), framing=None if zipped else framing, gzip=zipped)
    with Server(lambda request: answer, tls=authority) as server, transport_to(server.url, trust=trust) as transport:
        blocks = send(transport, server.url + "/").blocks()
        assert next(blocks) == b"data: 1\n\n"
        held.set()
        assert b"".join(blocks) == b"data: 2\n\n"


def test_two_events_in_one_slow_chunk_come_out_one_by_one() -> None:
    held = threading.Event()
    first, second = b"data: 1\n\n", b"data: 2\n\n"

    def talk(sock: Any) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(first + second))
        sock.sendall(first)
        held.wait(HANG)
        sock.sendall(second + b"\r\n0\r\n\r\n")

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        blocks = send(transport, peer.url + "/").blocks()
        assert next(blocks) == first
        held.set()
        assert list(blocks) == [second]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("end", [Cut(), Cut(close_notify=True), Reset()], ids=["cut", "close_notify", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked", "gzip chunked"])
def test_a_body_that_is_cut_is_an_error(framing: str, end: Any, tls: bool, authority: Authority, trust: Trust) -> None:
    if framing == "length":
        answer = Answer(headers={"Content-Length": "1000"}, body=[b"12345", end], framing="close")
    else:
        answer = Answer(body=[b"12345", end], gzip=framing.startswith("gzip"))
    with (
        Server(lambda request: answer, tls=authority if tls else None) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        response = send(transport, server.url + "/")
        received = b""
        with pytest.raises(APIConnectionError, match=r"cut short|broke") as caught:
            for block in response.blocks():
                received += block
        assert received == b"12345"
        assert caught.value.sent is True
        assert not isinstance(caught.value, APITimeoutError)
        assert transport.in_flight == 0


@pytest.mark.parametrize(
    ("chunk", "error_type"),
    [
        (b"5\r\nab", APIConnectionError),
        (b"5\r\nabcde\r\n0\r\nX-Trailer: 1\r\n", APIConnectionError),
        (b"zz\r\n", InvalidResponseError),
        (b"5\r\nabcdeXX\r\n", InvalidResponseError),
    ],
    ids=["cut", "cut in the trailers", "no size", "too long"],
)
def test_framing_that_breaks_is_an_error_of_its_kind(chunk: bytes, error_type: type[Exception]) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with (
        Server(lambda request: RawAnswer([head + chunk])) as server,
        transport_to(server.url) as transport,
        pytest.raises(error_type),
    ):
        ask(transport, server.url + "/")


def test_a_body_larger_than_the_limit_is_refused_and_not_read_on(authority: Authority, trust: Trust) -> None:
    def steps() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    with (
        Server(lambda request: Answer(body=steps()), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        response = send(transport, server.url + "/")
        with pytest.raises(InvalidResponseError, match="larger than 1000000 bytes") as caught:
            response.read(1_000_000)
        assert caught.value.status_code == 200
        assert transport.in_flight == 0
        assert eventually(lambda: server.open_connections == 0)


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    with Server(lambda request: Answer(body=b"x" * 1000)) as server, transport_to(server.url) as transport:
        assert len(send(transport, server.url + "/").read(1000)) == 1000
        with pytest.raises(InvalidResponseError):
            send(transport, server.url + "/").read(999)


def test_a_bomb_of_gzip_takes_no_more_memory_than_the_limit_allows() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(128)) + packer.flush()
    answer = Answer(headers={"Content-Encoding": "gzip"}, body=bomb)
    with Server(lambda request: answer) as server, transport_to(server.url) as transport:
        tracemalloc.start()
        try:
            with pytest.raises(InvalidResponseError, match="larger than"):
                send(transport, server.url + "/").read(1_000_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 48 * 1024 * 1024


def test_of_a_huge_error_page_only_the_beginning_is_read(authority: Authority, trust: Trust) -> None:
    page = b"<html><title>502 Bad Gateway</title>" + b" " * 10 * 1024 * 1024
    with (
        Server(lambda request: Answer(502, body=page), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        response = send(transport, server.url + "/")
        assert response.read_some(64 * 1024) == page[: 64 * 1024]
        assert transport.in_flight == 0


def test_a_slow_or_broken_error_page_raises_nothing() -> None:
    for answer in (slow_body()(None), Answer(500, body=[b"oops", Cut()])):
        with Server(lambda request, answer=answer: answer) as server, transport_to(server.url) as transport:  # type: ignore[misc]
            with Stopwatch() as took:
                assert isinstance(send(transport, server.url + "/", deadline(read=0.4)).read_some(1000), bytes)
            assert took.seconds < 0.4 + NOISE


def test_headers_are_in_lower_case_joined_and_without_cookies() -> None:
    headers = [("X-A", "1"), ("x-a", "2"), ("Set-Cookie", "s=1"), ("Content-Type", "Text/Event-Stream; charset=x")]
    with Server(lambda request: Answer(headers=headers)) as server, transport_to(server.url) as transport:
        response = send(transport, server.url + "/")
        assert response.headers["x-a"] == "1, 2"
        assert "set-cookie" not in response.headers
        assert response.media_type == "text/event-stream"
        response.read(10)


@pytest.mark.parametrize("size", [0, 1, 60_000, 70_000, 3_000_000])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_request_arrives_byte_for_byte(size: int, tls: bool, authority: Authority, trust: Trust) -> None:
    body = os.urandom(size)
    with (
        Server(lambda request: Answer(), tls=authority if tls else None) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        for _ in range(2):
            ask(transport, server.url + "/a%20b?c=d", body=body, headers={"X-Header": "value"})
    for request in server.requests:
        assert request.body == body
        assert (request.path, request.query) == ("/a%20b", "c=d")
        assert request.headers["x-header"] == "value"
        assert request.headers["accept-encoding"] == "identity"


def test_a_server_that_always_has_data_ready_is_cut_off_at_the_deadline() -> None:
    ours, peers = socket.socketpair()
    with ours, peers:
        sock = DeadlineSocket(ours)
        waiting = deadline(deadline=0.3)
        sock.serve(ConnectionState(waiting))
        with sock.makefile() as reader, pytest.raises(DeadlineExceeded):
            while True:
                peers.send(b"x" * 1000)
                assert reader.read1(1000)
        assert waiting.expired == "deadline"


def test_nothing_is_written_once_the_time_is_over() -> None:
    ours, peers = socket.socketpair()
    with ours, peers:
        sock = DeadlineSocket(ours)
        late = ConnectionState(deadline(deadline=0.001))
        sock.serve(late)
        time.sleep(0.01)
        with pytest.raises(DeadlineExceeded):
            sock.sendall(b"x")
        assert not late.sent


def test_an_idle_connection_obeys_its_own_timeout() -> None:
    ours, peers = socket.socketpair()
    with ours, peers:
        sock = DeadlineSocket(ours)
        sock.settimeout(0.2)
        for state in (ConnectionState(deadline()), None):
            sock.serve(state)
        with sock.makefile() as reader, pytest.raises(TimeoutError):
            reader.read(1)
        for state in (ConnectionState(deadline()), None):
            sock.serve(state)
        with pytest.raises(TimeoutError):
            sock.sendall(b"y" * 16 * 1024 * 1024)


def test_a_read_waits_for_the_response_before_it_tries(
    authority: Authority, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt to read releases the GIL, and each of many threads then waits to get it back."""
    tries: list[int] = []
    receive = ssl.SSLSocket.recv_into

    def counted(self: ssl.SSLSocket, *arguments: Any) -> int:
        tries.append(0)
        return receive(self, *arguments)

    monkeypatch.setattr(ssl.SSLSocket, "recv_into", counted)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def talk(sock: Any) -> None:
        while read_request(sock):
            time.sleep(0.2)
            sock.sendall(answer)

    with Peer(talk, tls=authority.server_context()) as peer, transport_to(peer.url, trust=trust) as transport:
        assert ask(transport, peer.url + "/") == b"ok"
        tries.clear()
        assert ask(transport, peer.url + "/") == b"ok"
    assert len(tries) == 1


def test_events_that_come_one_by_one_are_waited_for_before_they_are_read(authority: Authority, trust: Trust) -> None:
    """A read in vain costs a system call and an exception. After one, the next sixteen reads wait first."""
    waits = threading.Semaphore(0)

    def talk(sock: Any) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(40):
            waits.acquire(timeout=HANG)
            sock.sendall(b"2\r\n%02d\r\n" % number)
        sock.sendall(b"0\r\n\r\n")

    with Peer(talk, tls=authority.server_context()) as peer, transport_to(peer.url, trust=trust) as transport:
        response = send(transport, peer.url + "/")
        reader: Any = response.original.raw._original_response.fp.raw
        receive, poll = reader._receive, reader.sock.poll
        assert receive.__qualname__ == "_SSLSocket.read"  # not the method of Python, which calls four more
        failed: list[ssl.SSLWantReadError] = []

        def counted(size: int) -> bytes:
            try:
                received: bytes = receive(size)
            except ssl.SSLWantReadError as error:
                failed.append(error)
                raise
            return received

        def signalled(milliseconds: int | None) -> Any:
            waits.release()
            return poll(milliseconds)

        reader._receive, reader.sock.poll = counted, signalled
        waits.release()  # for the first block, which the buffered reader takes
        assert b"".join(response.blocks()) == b"".join(b"%02d" % number for number in range(40))
    assert 1 <= len(failed) <= 4


def test_a_small_request_leaves_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    sendall = DeadlineSocket.sendall

    def counting(self: DeadlineSocket, data: Any, flags: int = 0) -> None:
        writes.append(len(data))
        sendall(self, data, flags)

    monkeypatch.setattr(DeadlineSocket, "sendall", counting)
    with Server(lambda request: Answer()) as server, transport_to(server.url) as transport:
        ask(transport, server.url + "/", body=b"x" * 1000)
    assert len(writes) == 1


def test_an_answer_that_comes_before_the_request_was_read_is_the_answer(authority: Authority, trust: Trust) -> None:
    answer = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"

    def talk(sock: Any) -> None:
        sock.recv(1000)
        sock.sendall(answer)
        socket.socket.shutdown(sock, socket.SHUT_WR)
        while sock.recv(65536):
            continue

    for context in (None, authority.server_context()):
        with Peer(talk, tls=context) as peer, transport_to(peer.url, trust=trust) as transport:
            response = send(transport, peer.url + "/", body=b"x" * 4_000_000)
            assert (response.status, response.read(10)) == (413, b"big")


# -- sessions of the user ------------------------------------------------------------------------------------------


def test_adapters_are_mounted_only_where_the_user_has_none() -> None:
    with requests.Session() as session:
        own = requests.adapters.HTTPAdapter()
        session.mount("https://api.example/", own)
        before = set(session.adapters)
        with transport_to("https://api.example", "https://auth.example", session=session):
            assert session.adapters["https://api.example/"] is own
            assert set(session.adapters) - before == {"https://auth.example/"}


def test_an_adapter_of_the_users_own_is_used_and_its_failures_may_have_been_sent() -> None:
    class UserAdapter(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            raise requests.exceptions.ConnectionError("made up")

    with requests.Session() as session:
        session.mount("https://api.example/", UserAdapter())
        with (
            transport_to("https://api.example", session=session) as transport,
            pytest.raises(APIConnectionError, match="ConnectionError") as caught,
        ):
            ask(transport, "https://api.example/")
    assert caught.value.sent is True


def test_mocks_of_the_responses_package_work_for_answers_streams_and_failures() -> None:
    url = "https://api.example"
    event = b'data: {"choices":[{"delta":{"content":"hi"},"index":0,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    with responses.RequestsMock() as mock, requests.Session() as session:
        mock.post(url + "/v1/chat/completions", json={"choices": [{"message": {"content": "hello"}, "index": 0}]})
        mock.post(url + "/v1/chat/completions", body=event, content_type="text/event-stream")
        mock.post(url + "/v1/chat/completions", status=500, json={"message": "no"})
        mock.post(url + "/v1/chat/completions", body=requests.exceptions.ReadTimeout())
        with GigaChat(base_url=url + "/v1", access_token="token", session=session, max_retries=0) as giga:
            assert giga.chat("hello").text == "hello"
            assert "".join(giga.generate("hello")) == "hi"
            with pytest.raises(Exception, match="500"):
                giga.chat("hello")
            with pytest.raises(APITimeoutError):
                giga.chat("hello")
            assert mock.calls[0].request.headers["Authorization"] == "Bearer token"
            assert giga.stats().in_flight == 0


def test_the_users_session_is_not_closed_with_the_client() -> None:
    with Server(lambda request: Answer(body="ok")) as server, requests.Session() as session:
        with transport_to("https://api.example", session=session):
            pass
        assert session.get(server.url + "/", timeout=10).text == "ok"


# -- forks -------------------------------------------------------------------------------------------------------


FORKED = """
    import gc, os, sys, threading
    from gigaclient import GigaChat
    base_url, auth_url, credentials, ca_file = sys.argv[1:]
    def say(line):
        os.write(1, (line + "\\n").encode())  # one write, so that lines of several threads do not mix
    giga = GigaChat(base_url=base_url, auth_url=auth_url, credentials=credentials, ca_bundle_file=ca_file)
    giga.chat("hello")
    stream = giga.stream("Count from 1 to 9")
    first = next(stream)
    blocked = giga.stream("Count from 11 to 19")
    waiting = threading.Thread(target=lambda: say(f"thread {blocked.result().text}"))
    waiting.start()
    transport = giga._executor.transport
    sockets = [stream._response.original.raw.connection.sock]
    # Locks that another thread holds at the moment of the fork.
    held, forked = threading.Event(), threading.Event()
    def hold():
        with transport._lock, sockets[0]._lock:
            held.set()
            forked.wait(20)
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    child = os.fork()
    if child == 0:
        assert transport.in_flight == 0
        del sockets, stream, waiting, blocked
        gc.collect()
        say(f"child {giga.chat('Count from 21 to 23').text}")
        assert giga.stats().connections >= 1
        giga.close()
        os._exit(0)
    forked.set()
    holder.join(20)
    _, status = os.waitpid(child, 0)
    say(f"status {status}")
    say("parent " + first.text + "".join(chunk.text for chunk in stream))
    waiting.join(20)
    say(f"again {giga.chat('Count from 1 to 3').text}")
    giga.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_after_a_fork_each_process_has_its_own_connections_and_no_stream_is_hurt() -> None:
    with GigaChatEmulator(event_pause_s=0.05) as emulator:
        arguments = [emulator.base_url, emulator.auth_url, emulator.credentials, emulator.ca_file]
        lines = run_python(FORKED, *arguments)
        assert sorted(lines) == sorted(
            [
                "child 21, 22, 23",
                "status 0",
                "parent 1, 2, 3, 4, 5, 6, 7, 8, 9",
                "thread 11, 12, 13, 14, 15, 16, 17, 18, 19",
                "again 1, 2, 3",
            ]
        )
        assert emulator.oauth_calls == 1  # the child uses the parent's token


CHILD_CLOSES = """
    import os, sys
    from gigaclient import GigaChat
    base_url, auth_url, credentials, ca_file = sys.argv[1:]
    giga = GigaChat(base_url=base_url, auth_url=auth_url, credentials=credentials, ca_bundle_file=ca_file)
    stream = giga.stream("Count from 1 to 9")
    next(stream)
    child = os.fork()
    if child == 0:
        stream.close()
        giga.close()
        os._exit(0)
    os.waitpid(child, 0)
    print(stream.result().text)
    print([giga.chat("Count from 1 to 3").text for _ in range(2)])
    print(giga.stats().connections)
    giga.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_closing_in_the_child_closes_nothing_of_the_parents() -> None:
    with GigaChatEmulator(event_pause_s=0.05) as emulator:
        arguments = [emulator.base_url, emulator.auth_url, emulator.credentials, emulator.ca_file]
        lines = run_python(CHILD_CLOSES, *arguments)
    assert lines == ["1, 2, 3, 4, 5, 6, 7, 8, 9", "['1, 2, 3', '1, 2, 3']", "2"]


BURST_AFTER_FORK = """
    import os, sys
    from concurrent.futures import ThreadPoolExecutor
    from gigaclient import GigaChat
    base_url, auth_url, credentials, ca_file = sys.argv[1:]
    giga = GigaChat(base_url=base_url, auth_url=auth_url, credentials=credentials, ca_bundle_file=ca_file)
    giga.chat("hello")
    child = os.fork()
    start = 100 if child else 500
    def right(number):
        return giga.chat(f"Count from {number} to {number}").text == str(number)
    with ThreadPoolExecutor(4) as pool:
        wrong = sum(not ok for ok in pool.map(right, range(start, start + 60)))
    if child == 0:
        os._exit(min(wrong, 100))
    _, status = os.waitpid(child, 0)
    print(wrong, status)
    giga.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_parent_and_child_never_get_each_others_answers() -> None:
    with GigaChatEmulator() as emulator:
        arguments = [emulator.base_url, emulator.auth_url, emulator.credentials, emulator.ca_file]
        assert run_python(BURST_AFTER_FORK, *arguments) == ["0 0"]
