"""Tests of the connection pool: its size, reuse, stale connections, and calls that are closed while they are read."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.socket_tools import (
    InThread,
    Peer,
    Stopwatch,
    ask,
    deadline,
    eventually,
    no_garbage_collection,
    read_request,
    reset,
    send,
    transport_to,
)

from gigaclient import APIConnectionError, ConfigError, GigaChat
from gigaclient.testing import Answer, Authority, Fault, GigaChatEmulator, Pause, RawAnswer, RecordedRequest, Server
from gigaclient.transport import Response, Transport
from gigaclient.transport.connection import DeadlineHTTPPool, IdleConnections
from gigaclient.transport.tls import Trust

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = [b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"]


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """Run ``work`` in ``count`` threads that start at the same moment; return the results."""
    together = threading.Barrier(count)

    def begin() -> Any:
        together.wait(20)
        return work()

    return [thread.outcome() for thread in [InThread(begin) for _ in range(count)]]


# -- pool size -----------------------------------------------------------------------------------------------


def test_32_threads_use_at_most_32_connections_and_use_them_again(
    authority: Authority, trust: Trust, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="urllib3")
    with (
        Server(lambda request: Answer(body="ok", before_s=0.05), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):

        def burst() -> list[bytes]:
            return [ask(transport, server.url + "/") for _ in range(5)]

        assert in_threads(32, burst) == [[b"ok"] * 5] * 32
        first = server.connections
        assert first <= 32
        assert in_threads(32, burst) == [[b"ok"] * 5] * 32
        assert server.connections <= 32
        assert len(server.requests) == 320
        assert transport.connections_opened == server.connections
        assert transport.in_flight == 0
    assert "pool is full" not in caplog.text


def test_the_rest_of_a_tls_record_ends_the_connection(
    authority: Authority, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Reads of the length of the response, so that OpenSSL keeps what follows, where poll() does not see it.
    monkeypatch.setattr("gigaclient.transport.socket.READ_BYTES", len(OK))
    with (
        Server(lambda request: Answer(head=OK[:-2], body=OK[-2:], after_body=b"more"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        assert [ask(transport, server.url + "/") for _ in range(2)] == [b"ok", b"ok"]
        assert server.connections == 2


def test_openssl_is_not_asked_for_the_rest_after_a_read_that_took_the_whole_record(
    authority: Authority, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each question releases the GIL, and among many threads a call would wait for its turn.
    asked: list[bool] = []
    monkeypatch.setattr(ssl.SSLSocket, "pending", lambda sock: asked.append(sock.server_side) or 0)
    with (
        Server(lambda request: Answer(body="ok"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        assert [ask(transport, server.url + "/") for _ in range(3)] == [b"ok"] * 3
        assert server.connections == 1
    assert False not in asked  # the test's server asks too


def test_the_connection_used_last_is_used_next(authority: Authority, trust: Trust) -> None:
    with (
        Server(lambda request: Answer(body="ok"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        responses = [send(transport, server.url + "/") for _ in range(3)]
        for response in responses:
            response.read(10)
        for _ in range(5):
            ask(transport, server.url + "/")
        assert [request.connection for request in server.requests[3:]] == [3] * 5


def test_an_idle_connection_is_never_waited_for() -> None:
    idle = IdleConnections()
    with Stopwatch() as took:
        for timeout in (None, 5.0):
            with pytest.raises(Exception, match=r"^$"):
                idle.get(block=True, timeout=timeout)
    assert took.seconds < 4
    for number in range(100):
        idle.put(number)
    assert len(idle) == 100
    assert idle.get() == 99


def test_half_read_streams_do_not_block_the_next_call(authority: Authority, trust: Trust) -> None:
    def answer(request: RecordedRequest) -> Answer:
        return Answer(body=[EVENTS[0], Pause(None)] if request.path == "/stream" else "ok")

    with Server(answer, tls=authority) as server, transport_to(server.url, trust=trust) as transport:
        streams = []
        for _ in range(20):
            blocks = send(transport, server.url + "/stream").blocks()
            assert next(blocks) == EVENTS[0]
            streams.append(blocks)
        with Stopwatch() as took:
            assert ask(transport, server.url + "/") == b"ok"
        assert took.seconds < 5
        assert transport.in_flight == 20
        for blocks in streams:
            blocks.close()
        assert transport.in_flight == 0
        assert eventually(lambda: server.open_connections == 1)


def test_a_response_closes_its_connection_even_if_the_garbage_collector_closed_its_reader_first() -> None:
    with Server(lambda request: Answer(body=[EVENTS[0], Pause(None)])) as server, transport_to(server.url) as transport:
        response = send(transport, server.url + "/stream")
        response.original.raw._fp.fp.close()
        response.close()
        assert transport.in_flight == 0
        assert eventually(lambda: server.open_connections == 0)


# -- reuse -----------------------------------------------------------------------------------------------------


def stream_through(transport: Transport, url: str) -> bytes:
    """Read events until the end marker, then drain, as a stream object does."""
    response = send(transport, url)
    received = b""
    blocks = response.blocks()
    for block in blocks:
        received += block
        if received.endswith(EVENTS[-1]):
            response.drain(blocks)
            break
    return received


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("late_s", [0.0, 0.03], ids=["at once", "late"])
@pytest.mark.parametrize("gzip", [False, True], ids=["", "gzip"])
def test_five_streams_read_to_their_end_use_one_connection(
    tls: bool, late_s: float, gzip: bool, authority: Authority, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine, what is a little late takes longer than the transport waits for it.
    monkeypatch.setattr("gigaclient.transport.response._DRAIN_SECONDS", 5.0)

    def stream(request: RecordedRequest) -> Answer:
        return Answer(body=[*EVENTS, Pause(late_s)], gzip=gzip)

    with Server(stream, tls=authority if tls else None) as server:
        with transport_to(server.url, trust=trust) as transport:
            for _ in range(5):
                assert stream_through(transport, server.url + "/") == b"".join(EVENTS)
                assert transport.in_flight == 0
        assert server.connections == 1


def test_a_server_that_keeps_the_body_open_after_the_end_marker_is_not_waited_for(
    authority: Authority, trust: Trust
) -> None:
    def stream(request: RecordedRequest) -> Answer:
        return Answer(body=[*EVENTS, Pause(None)])

    with Server(stream, tls=authority) as server, transport_to(server.url, trust=trust) as transport:
        with Stopwatch() as took:
            assert stream_through(transport, server.url + "/") == b"".join(EVENTS)
        assert took.seconds < 5
        assert transport.in_flight == 0
        assert eventually(lambda: server.open_connections == 0)


def test_a_server_that_goes_on_after_the_end_marker_is_not_listened_to(authority: Authority, trust: Trust) -> None:
    def stream(request: RecordedRequest) -> Answer:
        def steps() -> Iterator[bytes | Pause]:
            yield from EVENTS
            while True:
                yield b": more\n\n"
                yield Pause(0.002)

        return Answer(body=steps())

    with Server(stream, tls=authority) as server, transport_to(server.url, trust=trust) as transport:
        with Stopwatch() as took:
            stream_through(transport, server.url + "/")
        assert took.seconds < 5
        assert eventually(lambda: server.open_connections == 0)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body="ok"),
        Answer(body=[b"ok"]),
        Answer(204),
        Answer(304),
        Answer(body=b"ok", gzip=True),
        Answer(500, body="error"),
    ],
    ids=["length", "chunked", "204", "304", "gzip", "500"],
)
def test_every_kind_of_whole_answer_gives_its_connection_back(
    answer: Answer, authority: Authority, trust: Trust
) -> None:
    with Server(lambda request: answer, tls=authority) as server:
        with transport_to(server.url, trust=trust) as transport:
            for _ in range(3):
                assert ask(transport, server.url + "/") in (b"ok", b"error", b"")
        assert server.connections == 1


@pytest.mark.parametrize(
    "rest",
    [b"2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"2\r\nok\r\n0\r\n\r\n\r\n"],
    ids=["another answer", "an empty line"],
)
def test_bytes_after_the_end_of_a_body_are_dropped(rest: bytes) -> None:
    def talk(sock: Any) -> None:
        while read_request(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + rest)

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        assert [ask(transport, peer.url + "/") for _ in range(3)] == [b"ok"] * 3
        assert peer.accepted == 3


def test_a_whole_client_keeps_its_connection_over_chats_streams_and_errors() -> None:
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, max_retries=0) as giga:
        for _ in range(5):
            assert giga.stream("Count from 1 to 3").result().text == "1, 2, 3"
            assert giga.chat("hello").text
        assert emulator.connections == 1


def test_a_stream_that_is_dropped_gives_up_its_connection_without_the_garbage_collector() -> None:
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options) as giga:
        emulator.inject(Fault(stall_after_events=2), path="/chat/completions")
        with no_garbage_collection():
            stream = giga.stream("Count from 1 to 9")
            next(stream)
            assert giga.stats().in_flight == 1
            del stream
            assert giga.stats().in_flight == 0


# -- stale connections -----------------------------------------------------------------------------------------


def test_a_connection_that_the_server_closed_while_idle_is_replaced_unnoticed(
    authority: Authority, trust: Trust
) -> None:
    with (
        Server(lambda request: Answer(body="ok"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        responses = [send(transport, server.url + "/") for _ in range(4)]
        assert [response.read(9) for response in responses] == [b"ok"] * 4
        assert server.drop_idle_connections() == 4
        for _ in range(4):
            assert ask(transport, server.url + "/") == b"ok"
        assert server.connections == 5
        assert len(server.requests) == 8


def test_a_whole_client_notices_nothing_even_with_retries_off() -> None:
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, max_retries=0) as giga:
        for number in range(4):
            assert giga.chat("hello").text
            assert giga.stream("hello").result().text
            assert emulator.connections == number + 1
            assert emulator.api_server.drop_idle_connections() == 1
        assert giga.stats().retries == 0


class ClosingPeer:
    """A peer that responds to the first request of each connection, and calls ``second`` for the second one."""

    def __init__(self, second: Callable[[Any], None], first: Callable[[Any], None] | None = None) -> None:
        self.requests: list[bytes] = []
        self._first = first or (lambda sock: sock.sendall(OK))
        self._second = second

    def __call__(self, sock: Any) -> None:
        request = read_request(sock)
        if not request:
            return
        self.requests.append(request)
        self._first(sock)
        if self._second is after_idle_reset:
            time.sleep(0.05)  # let the client read first, because a reset discards unread data
            reset(sock)
            return
        # Read only the beginning of the second request, so that the rest is still on its way during the close.
        start = sock.recv(7)
        if start:
            self.requests.append(start)
            self._second(sock)


def after_idle_reset(sock: Any) -> None:
    raise AssertionError("never called: only a marker")


def closes(sock: Any) -> None:
    sock.close()


def shuts_down_first(sock: Any) -> None:
    socket.socket.shutdown(sock, socket.SHUT_RDWR)
    sock.close()


@pytest.mark.parametrize("second", [closes, reset, shuts_down_first, after_idle_reset], ids=lambda f: f.__name__)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
def test_a_request_on_a_just_closed_connection_is_sent_again_once_on_a_new_one(
    second: Callable[[Any], None], tls: bool, size: int, authority: Authority, trust: Trust
) -> None:
    talk = ClosingPeer(second)
    body = b"x" * size
    with Peer(talk, tls=authority.server_context() if tls else None) as peer:
        with transport_to(peer.url, trust=trust) as transport:
            assert ask(transport, peer.url + "/", body=body) == b"ok"
            if second is after_idle_reset:
                time.sleep(0.1)  # let the peer send the reset; the test passes whether it has arrived or not
            assert ask(transport, peer.url + "/", body=body) == b"ok"
        assert peer.accepted == 2
        assert len([request for request in talk.requests if len(request) > 7]) == 2


def test_it_is_sent_again_only_once(trust: Trust) -> None:
    served: list[int] = []

    def talk(sock: Any) -> None:
        while read_request(sock):
            served.append(1)
            if len(served) > 1:
                return
            sock.sendall(OK)

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        assert ask(transport, peer.url + "/") == b"ok"
        with pytest.raises(APIConnectionError, match="without an answer") as caught:
            ask(transport, peer.url + "/")
        assert caught.value.sent is True
        assert peer.accepted == 2
        assert len(served) == 3


def test_with_many_dead_connections_in_the_pool_it_still_takes_one_repeat() -> None:
    arrived = threading.Barrier(5)

    def first(sock: Any) -> None:
        if len(talk.requests) <= 5:
            arrived.wait(20)
        sock.sendall(OK)

    talk = ClosingPeer(closes, first)
    with Peer(talk) as peer, transport_to(peer.url) as transport:
        assert in_threads(5, lambda: ask(transport, peer.url + "/")) == [b"ok"] * 5
        assert peer.accepted == 5
        for _ in range(3):
            assert ask(transport, peer.url + "/") == b"ok"


def test_on_a_fresh_connection_nothing_is_repeated() -> None:
    def talk(sock: Any) -> None:
        read_request(sock)

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        for _ in range(3):
            with pytest.raises(APIConnectionError):
                ask(transport, peer.url + "/")
        assert peer.accepted == 3


@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("end", [shuts_down_first, reset], ids=lambda f: f.__name__)
def test_once_a_byte_of_the_answer_came_nothing_is_repeated(beginning: bytes, end: Callable[[Any], None]) -> None:
    requests: list[bytes] = []

    def talk(sock: Any) -> None:
        requests.append(read_request(sock))
        sock.sendall(OK)
        second = read_request(sock)
        if second:
            requests.append(second)
            sock.sendall(beginning)
            time.sleep(0.05)  # let the client read first, because a reset discards unread data
            end(sock)

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        assert ask(transport, peer.url + "/") == b"ok"
        with pytest.raises(Exception, match=r"cut short|broke|did not answer in HTTP"):
            ask(transport, peer.url + "/")
        assert peer.accepted == 1
        assert len(requests) == 2


def test_slowness_on_a_used_connection_is_no_reason_to_repeat() -> None:
    requests: list[bytes] = []

    def talk(sock: Any) -> None:
        while request := read_request(sock):
            requests.append(request)
            if len(requests) == 1:
                sock.sendall(OK)

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        ask(transport, peer.url + "/")
        with pytest.raises(APIConnectionError, match="read timeout"):
            ask(transport, peer.url + "/", deadline(read=0.2))
        assert len(requests) == 2


# -- closing while another thread reads ----------------------------------------------------------------------


class EndedByClose(Exception):
    """The read ended because the call was closed, the only allowed error."""


def read_or_raise(response: Response) -> bytes:
    try:
        return response.read(1000)
    except APIConnectionError as error:
        if "ended by close()" not in str(error):
            raise
    raise EndedByClose


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("gzip", [False, True], ids=["", "gzip"])
def test_a_close_during_the_return_to_the_pool_does_not_close_the_pooled_connection(
    framing: Any, gzip: bool, authority: Authority, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = DeadlineHTTPPool._put_conn
    closing: list[Any] = []

    def put_and_be_closed(self: Any, connection: Any) -> None:
        put(self, connection)
        if closing:
            assert InThread(closing.pop().close).outcome() is None

    monkeypatch.setattr(DeadlineHTTPPool, "_put_conn", put_and_be_closed)
    answer = Answer(body=[b"ok"], framing=framing, gzip=gzip)
    with (
        Server(lambda request: answer, tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        for _ in range(3):
            response = send(transport, server.url + "/")
            closing.append(response)
            with contextlib.suppress(EndedByClose):
                assert read_or_raise(response) == b"ok"
            assert not closing
            assert ask(transport, server.url + "/") == b"ok"
            assert transport.in_flight == 0
        assert server.connections == 1


def test_closes_that_race_with_the_end_of_a_body_never_hurt_another_call(authority: Authority, trust: Trust) -> None:
    until = time.monotonic() + 3.0
    body = [b"x" * 100, b"y" * 100]

    def answer(request: RecordedRequest) -> Answer:
        return Answer(body=body, framing="chunked" if request.path == "/chunked" else "length")

    with Server(answer, tls=authority) as server, transport_to(server.url, trust=trust) as transport:

        def innocent() -> int:
            count = 0
            while time.monotonic() < until:
                assert ask(transport, server.url + "/chunked") == b"".join(body)
                count += 1
            return count

        def closed_by_another() -> int:
            count = 0
            while time.monotonic() < until:
                released: list[int] = []
                response = send(transport, server.url + ("/chunked" if count % 2 else "/length"))
                response.on_done = lambda released=released: released.append(1)
                started = threading.Event()

                def close(response: Any = response, started: threading.Event = started) -> None:
                    started.set()
                    response.close()

                closer = threading.Thread(target=close)
                closer.start()
                started.wait(5)
                with contextlib.suppress(EndedByClose):
                    read_or_raise(response)
                closer.join(20)
                assert released == [1]
                count += 1
            return count

        results = [thread.outcome() for thread in [InThread(w) for w in (innocent, innocent, closed_by_another) * 2]]
        assert all(isinstance(count, int) and count > 10 for count in results), results
        assert transport.in_flight == 0


def test_a_cancel_that_comes_late_does_not_hurt_the_next_call_on_that_connection(
    authority: Authority, trust: Trust
) -> None:
    answers = iter([Answer(body=[b"1", Pause(0.01), b"2"]), Answer(body="ok", before_s=0.3)])
    with (
        Server(lambda request: next(answers), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        response = send(transport, server.url + "/")
        wake = response.deadline._wake  # a cancelling thread may hold this function, and call it at any later moment
        assert wake is not None
        assert response.read(10) == b"12"
        following = InThread(lambda: ask(transport, server.url + "/"))
        assert eventually(lambda: len(server.requests) == 2)
        wake()
        assert following.outcome() == b"ok"
        assert server.connections == 1


def test_a_response_ends_exactly_once(authority: Authority, trust: Trust) -> None:
    with (
        Server(lambda request: Answer(body="ok"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        calls: list[int] = []
        response = send(transport, server.url + "/")
        response.on_done = lambda: calls.append(1)
        response.read(10)
        response.close()
        response.close()
        assert b"".join(response.blocks()) == b""
        assert calls == [1]


def test_a_closed_transport_refuses_further_calls(authority: Authority, trust: Trust) -> None:
    with (
        Server(lambda request: Answer(body="ok"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        ask(transport, server.url + "/")
        transport.close()
        transport.close()
        assert transport.closed
        assert eventually(lambda: server.open_connections == 0)
        with pytest.raises(ConfigError, match="closed"):
            ask(transport, server.url + "/")
        assert transport.in_flight == 0


def test_a_response_read_after_close_raises_and_leaves_nothing_open(authority: Authority, trust: Trust) -> None:
    with (
        Server(lambda request: Answer(body=[b"1", Pause(0.01), b"2" * 100_000]), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        blocks = send(transport, server.url + "/").blocks()
        assert next(blocks) == b"1"
        transport.close()
        with pytest.raises(APIConnectionError, match=r"ended by close\(\)"):
            list(blocks)
        assert eventually(lambda: server.open_connections == 0)


def test_an_answer_that_closes_its_connection_is_read_to_its_end(authority: Authority, trust: Trust) -> None:
    for answer in (Answer(body=[b"ok"], framing="close"), Answer(body="ok", keep_alive=False)):
        with Server(lambda request, answer=answer: answer, tls=authority) as server:  # type: ignore[misc]
            with transport_to(server.url, trust=trust) as transport:
                assert [ask(transport, server.url + "/") for _ in range(2)] == [b"ok"] * 2
            assert server.connections == 2


def test_a_raw_answer_without_length_ends_with_its_connection(trust: Trust) -> None:
    with (
        Server(lambda request: RawAnswer([b"HTTP/1.0 200 OK\r\n\r\n", b"ok"])) as server,
        transport_to(server.url) as transport,
    ):
        assert ask(transport, server.url + "/") == b"ok"
