"""Tests of the connections of the fault server: disconnected clients, close, and load."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from testing.plain_client import Http, raw_request, raw_socket, read_all, soon, trusting

from gigaclient.testing import Answer, Authority, Pause, RawAnswer, RecordedRequest, Server


def serving(answer: Answer | RawAnswer, **options: object) -> Server:
    return Server(lambda request: answer, **options)  # type: ignore[arg-type]


# --- disconnected clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=[b"a", Pause(None)]),
        Answer(before_s=None),
        Answer(body=[b"x" * 1000, Pause(0.01)] * 10_000),
        RawAnswer([Pause(None)]),
    ],
    ids=["stalled", "silent", "busy", "raw"],
)
def test_a_disconnected_client_is_detected_at_once(answer: Answer | RawAnswer, secure: bool) -> None:
    finished = threading.Event()
    answer.done = finished.set
    with Authority() as authority, serving(answer, tls=authority if secure else None) as server:
        sock = raw_socket(server.port, trusting(authority.ca_file) if secure else None)
        sock.sendall(raw_request())
        assert soon(lambda: len(server.requests) == 1)
        time.sleep(0.05)
        assert server.aborted == 0
        assert not finished.is_set()
        sock.close()
        assert soon(lambda: server.aborted == 1)
        assert finished.wait(10)


def test_a_client_that_stops_reading_blocks_no_other_and_its_disconnect_is_detected() -> None:
    with serving(Answer(body=[b"x" * 100_000] * 1000)) as server:
        sock = raw_socket(server.port, None)
        sock.sendall(raw_request())
        time.sleep(0.2)
        with Http(server.port, None) as other:
            assert other.open("GET", "/").status == 200
            assert server.aborted == 0
        sock.close()
        assert soon(lambda: server.aborted == 2)


def test_a_client_that_reads_to_the_end_is_not_counted_as_aborted() -> None:
    with serving(Answer(body=[b"a", b"b"])) as server:
        for _ in range(20):
            with Http(server.port, None) as http_:
                assert http_.send("GET", "/").body == b"ab"
        assert soon(lambda: server.open_connections == 0)
        assert server.aborted == 0


def test_done_is_called_before_the_last_bytes_arrive() -> None:
    finished = threading.Event()
    for body in (b"whole", [b"a", b"b"]):
        finished.clear()
        with serving(Answer(body=body, done=finished.set)) as server, Http(server.port, None) as http_:
            http_.send("GET", "/")
            assert finished.is_set()


def test_an_error_in_the_handler_is_a_500_and_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    def handler(request: RecordedRequest) -> Answer:
        raise LookupError("in the handler")

    with Server(handler) as server, Http(server.port, None) as http_:
        assert http_.send("GET", "/").status == 500
        assert [type(error) for error in server.handler_errors] == [LookupError]
    assert "in the handler" in capsys.readouterr().err


# --- closing ---------------------------------------------------------------------------------------------------


def test_close_ends_stalled_answers_and_idle_connections_promptly() -> None:
    def handler(request: RecordedRequest) -> Answer | RawAnswer:
        return {
            "/silent": Answer(before_s=None),
            "/stalled": Answer(body=[b"a", Pause(None)]),
            "/endless": Answer(body=iter(lambda: b"x" * 65536, b"")),
        }.get(request.path, Answer(body=b"x"))

    server = Server(handler).start()
    sockets = []
    for path in ("/silent", "/stalled", "/endless", "/"):
        sock = raw_socket(server.port, None)
        sock.sendall(raw_request(path))
        sockets.append(sock)
    sockets.append(raw_socket(server.port, None))
    assert soon(lambda: len(server.requests) == 4)
    server.close()
    assert server.open_connections == 0
    assert server.aborted == 0
    for sock in sockets:
        read_all(sock)
        sock.close()
    with pytest.raises(OSError):
        raw_socket(server.port, None)
    server.close()


def test_close_ends_a_handshake_that_never_happens() -> None:
    with Authority() as authority:
        server = serving(Answer(), tls=authority).start()
        with socket.create_connection(("127.0.0.1", server.port), timeout=5):
            assert soon(lambda: server.open_connections == 1)
            server.close()
            assert server.open_connections == 0


def test_a_closed_server_leaves_no_thread_behind() -> None:
    with serving(Answer(body=b"x")) as server, Http(server.port, None) as http_:
        http_.send("GET", "/")
        name = f"emulator-{server.port}"
        assert any(thread.name.startswith(name) for thread in threading.enumerate())
    assert soon(lambda: not any(thread.name.startswith(name) for thread in threading.enumerate()))


def test_the_port_is_unknown_before_the_start() -> None:
    server = serving(Answer())
    with pytest.raises(RuntimeError, match="not been started"):
        _ = server.url
    with server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        with pytest.raises(RuntimeError, match="already"):
            server.start()


# --- load ------------------------------------------------------------------------------------------------------


def test_64_connections_are_served_at_once() -> None:
    together = threading.Barrier(64, timeout=20)
    seen: list[bytes] = []

    def handler(request: RecordedRequest) -> Answer:
        return Answer(body=[b"a", Pause(0.05), request.body])

    with Authority() as authority, Server(handler, tls=authority) as server:
        context = trusting(authority.ca_file)

        def send(number: int) -> None:
            with Http(server.port, context) as http_:
                http_.connection.connect()
                together.wait()
                seen.append(http_.send("POST", "/", str(number)).body)

        threads = [threading.Thread(target=send, args=(number,), daemon=True) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(seen) == sorted(b"a%d" % number for number in range(64))
        assert server.connections == 64
        assert server.aborted == 0


def test_a_stream_of_5000_events_is_complete() -> None:
    with (
        Authority() as authority,
        serving(Answer(body=[b"data: x\n\n"] * 5000), tls=authority) as server,
        Http(server.port, trusting(authority.ca_file)) as http_,
    ):
        assert http_.send("GET", "/").body.count(b"data: x\n\n") == 5000
