"""Tests of connections that end while they are idle or while a request is sent, and of who owns a descriptor."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.socket_tools import Peer, Stopwatch, ask, deadline, read_request, send, transport_to

from gigaclient import APITimeoutError, GigaChat
from gigaclient.errors import APIConnectionError, RequestEntityTooLargeError
from gigaclient.testing import Answer, Authority, Fault, GigaChatEmulator, Server
from gigaclient.transport import Transport, dial
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.transport.tls import Trust

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

# -- a 408 that ends an idle connection ------------------------------------------------------------------------------


def status_of(transport: Transport, url: str, safety: RetrySafety = RetrySafety.BILLABLE) -> int:
    """Send one request, read its response, and return the status."""
    response = transport.send(Request("POST", "/", body=b"{}", retry_safety=safety), url, {}, deadline())
    response.read(100)
    return response.status


def idle_timeout_peer(authority: Authority, *answers: bytes, before_s: float = 0.0) -> tuple[Peer, list[int]]:
    """Return a peer, and the list of its requests by their connection.

    A connection's first answer is ``OK``, its second one the next of ``answers``, and its end follows.
    """
    pending, served = list(answers), []

    def talk(sock: Any) -> None:
        number = peer.accepted
        while read_request(sock):
            served.append(number)
            if served.count(number) == 1 and (number == 1 or not pending):
                sock.sendall(OK)
                continue
            time.sleep(before_s)
            sock.sendall(pending.pop(0))
            return

    peer = Peer(talk, tls=authority.server_context())
    return peer, served


@pytest.mark.parametrize("safety", [RetrySafety.BILLABLE, RetrySafety.IDEMPOTENT])
def test_a_408_that_crosses_a_request_on_an_idle_connection_is_no_answer_to_it(
    safety: RetrySafety, authority: Authority, trust: Trust
) -> None:
    peer, served = idle_timeout_peer(authority, TIMED_OUT)
    with peer, transport_to(peer.url, trust=trust) as transport:
        assert [status_of(transport, peer.url + "/", safety) for _ in range(2)] == [200, 200]
        assert served == [1, 1, 2]
        assert transport.in_flight == 0


def test_a_second_408_is_reported(authority: Authority, trust: Trust) -> None:
    peer, served = idle_timeout_peer(authority, TIMED_OUT, TIMED_OUT)
    with peer, transport_to(peer.url, trust=trust) as transport:
        assert [status_of(transport, peer.url + "/") for _ in range(2)] == [200, 408]
        assert served == [1, 1, 2]


def test_a_408_on_a_new_connection_is_reported(authority: Authority, trust: Trust) -> None:
    with (
        Server(lambda request: Answer(408, keep_alive=False), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        assert status_of(transport, server.url + "/") == 408
        assert len(server.requests) == 1


def test_a_408_that_keeps_the_connection_is_reported(authority: Authority, trust: Trust) -> None:
    peer, served = idle_timeout_peer(authority, TIMED_OUT.replace(b"Connection: close\r\n", b""))
    with peer, transport_to(peer.url, trust=trust) as transport:
        assert [status_of(transport, peer.url + "/") for _ in range(2)] == [200, 408]
        assert served == [1, 1]


def test_a_408_that_comes_late_is_reported(authority: Authority, trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigaclient.transport.http._CROSSING_SECONDS", 0.1)
    peer, served = idle_timeout_peer(authority, TIMED_OUT, before_s=0.2)
    with peer, transport_to(peer.url, trust=trust) as transport:
        assert [status_of(transport, peer.url + "/") for _ in range(2)] == [200, 408]
        assert served == [1, 1]


def test_a_whole_client_does_not_notice_the_idle_timeout_of_a_server() -> None:
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, max_retries=0) as giga:
        emulator.api_server.idle_response = TIMED_OUT
        for _ in range(3):
            assert giga.chat("hello").text
            assert giga.stream("hello").result().text
            emulator.api_server.drop_idle_connections()


# -- an answer before the end of the request -------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_an_answer_that_comes_while_the_body_is_sent_is_read_at_once(
    tls: bool, authority: Authority, trust: Trust
) -> None:
    ended = threading.Event()
    asked: list[bytes] = []

    def talk(sock: Any) -> None:
        asked.append(sock.recv(1000))
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig" if len(asked) == 1 else OK)
        ended.wait(20)  # neither read the rest nor close, so that only the answer can end the sending

    with (
        Peer(talk, tls=authority.server_context() if tls else None) as peer,
        transport_to(peer.url, trust=trust) as transport,
    ):
        with Stopwatch() as took:
            response = send(transport, peer.url + "/", body=b"x" * 30_000_000)
            assert (response.status, response.read(10)) == (413, b"big")
        assert took.seconds < 10
        # The server did not read the rest of the body, so the connection cannot be used again.
        assert ask(transport, peer.url + "/") == b"ok"
        assert peer.accepted == 2
        ended.set()


def test_a_client_reports_an_early_413() -> None:
    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options, max_retries=0) as giga:
        emulator.inject(Fault(early=True, status=413), path="/files")
        with pytest.raises(RequestEntityTooLargeError):
            giga.upload_file(b"x" * 8_000_000, filename="big.txt")
        assert giga.chat("hello").text
        assert giga.stats().in_flight == 0


# -- connections that died while they were idle ----------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [61.0, 8 * 3600.0, -3600.0], ids=["idle", "sleep", "clock set back"])
def test_a_connection_that_was_idle_for_long_is_replaced(
    seconds: float, authority: Authority, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with (
        Server(lambda request: Answer(body="ok"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        monkeypatch.setattr("gigaclient.transport.connection.time.time", lambda: now)
        assert [ask(transport, server.url + "/") for _ in range(2)] == [b"ok"] * 2
        assert server.connections == 1
        assert server.silence_idle_connections() == 1  # as after a change of address
        monkeypatch.setattr("gigaclient.transport.connection.time.time", lambda: now + seconds)
        with Stopwatch() as took:
            assert ask(transport, server.url + "/", deadline(read=10)) == b"ok"
        assert took.seconds < 9
        assert server.connections == 2


def test_one_dead_connection_is_the_only_one_that_costs_a_wait(authority: Authority, trust: Trust) -> None:
    with (
        Server(lambda request: Answer(body="ok"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        for response in [send(transport, server.url + "/") for _ in range(5)]:
            response.read(10)
        assert server.silence_idle_connections() == 5
        with pytest.raises(APITimeoutError):
            ask(transport, server.url + "/", deadline(read=0.3))
        assert [ask(transport, server.url + "/", deadline(read=10)) for _ in range(5)] == [b"ok"] * 5
        assert server.connections == 6


def options_of(sock: Any) -> dict[str, int]:
    names = ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    known = {name: getattr(socket, name) for name in names if hasattr(socket, name)}
    return {name: sock.getsockopt(socket.IPPROTO_TCP, option) for name, option in known.items()}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_the_system_watches_over_each_connection(tls: bool, authority: Authority, trust: Trust) -> None:
    with (
        Server(lambda request: Answer(body="ok"), tls=authority if tls else None) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        ask(transport, server.url + "/")
        (connection,) = transport._adapter._pools[server.url].pool
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = options_of(connection.sock)
        assert options.pop("TCP_USER_TIMEOUT", 30_000) == 30_000
        assert options
        assert max(options.values()) <= 10


def test_the_exception_of_a_signal_handler_is_no_option_that_the_system_refuses() -> None:
    class Interrupted:
        def setsockopt(self, *arguments: int) -> None:
            raise OSError(errno.EIO, "from a signal handler")

    with pytest.raises(OSError, match="from a signal handler"):
        dial._detect_dead_peer(Interrupted())  # type: ignore[arg-type]


def test_a_connection_that_the_system_gives_up_is_an_error_and_no_timeout_of_ours(
    authority: Authority, trust: Trust
) -> None:
    with (
        Server(lambda request: Answer(body="ok"), tls=authority) as server,
        transport_to(server.url, trust=trust) as transport,
    ):
        ask(transport, server.url + "/")
        (connection,) = transport._adapter._pools[server.url].pool

        # A dead path: what is sent vanishes, and then the system gives the connection up. The error comes from the
        # module that raises it, because one of the program's own code would leave the call unchanged.
        of_ssl: dict[str, Any] = {"__name__": "ssl"}
        exec('def recv_into(buffer):\n    raise TimeoutError(110, "Connection timed out")', of_ssl)
        reader = connection.sock.makefile

        def makefile(mode: str) -> Any:
            made = reader(mode)
            made.raw._recv_into = of_ssl["recv_into"]
            return made

        connection.sock.makefile = makefile
        with pytest.raises(APIConnectionError, match="does not reach the server") as caught:
            status_of(transport, server.url + "/", RetrySafety.BILLABLE)
        assert not isinstance(caught.value, APITimeoutError)
        assert caught.value.sent
        assert len(server.requests) == 2  # not sent again: the server may have read it


# -- who owns a descriptor -------------------------------------------------------------------------------------------


STORM = """
import gc, os, sys
from support.socket_tools import deadline, eventually, transport_to
from gigaclient.testing import Answer, Authority, Server
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.transport.tls import Trust, read_bundle

REQUEST = Request("POST", "/", body=b"{}", retry_safety=RetrySafety.NON_IDEMPOTENT)  # a new connection for each
FILES = ("ssl.py", "socket.py", "tls_handshake.py", "dial.py", "happy_eyeballs.py", "connection.py", "fork_safety.py")
wrong = []
sys.unraisablehook = lambda unraisable: None  # the warning that an interrupted socket was not closed


def interrupted(url, transport, moment):
    # Raise KeyboardInterrupt at the given call or return of a function; return False when the request ended before.
    passed = 0

    def profile(frame, event, argument):
        nonlocal passed
        if frame.f_code.co_filename.endswith(FILES):
            passed += 1
            if passed == moment:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        transport.send(REQUEST, url, {}, deadline()).read(10)
    except KeyboardInterrupt as error:
        # Another part of the process gets the numbers that are free now; then the rest of the call is released.
        pipes = [os.pipe() for _ in range(3)]
        error = None
    else:
        return False
    finally:
        sys.setprofile(None)
    for read_end, write_end in pipes:
        try:
            os.write(write_end, b"x")
            assert os.read(read_end, 1) == b"x"
            os.close(read_end)
            os.close(write_end)
        except OSError as error:
            wrong.append((moment, repr(error)))
    return True


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


with Authority() as authority, Server(lambda request: Answer(body="ok"), tls=authority) as server:
    trust = Trust(authorities=read_bundle(authority.ca_file), source="")
    before = open_descriptors()
    gc.disable()  # what an interrupt leaves must close without it
    with transport_to(server.url, trust=trust) as transport:
        transport.send(REQUEST, server.url + "/", {}, deadline()).read(10)
        moment = 1
        while interrupted(server.url + "/", transport, moment):
            moment += 1
        in_flight = transport.in_flight
    eventually(lambda: server.open_connections == 0 and open_descriptors() <= before, 5)
    left_open = open_descriptors() - before
print(moment, in_flight, left_open, wrong)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system has no table of descriptors")
def test_an_interrupt_at_any_moment_closes_no_descriptor_of_another_owner_and_leaves_none_open() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    run = subprocess.run(
        [sys.executable, "-c", STORM], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
    moments, in_flight, left_open, wrong = run.stdout.strip().split(" ", 3)
    assert int(moments) > 100
    assert (wrong, in_flight, left_open) == ("[]", "0", "0"), run.stderr
