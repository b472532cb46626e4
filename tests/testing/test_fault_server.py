"""Tests of the server that controls every byte, and detects disconnected clients."""

from __future__ import annotations

import gzip
import http.client
import ssl
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
from testing.plain_client import Http, raw_request, raw_socket, read_all, soon, trusting

from gigaclient.testing import Answer, Authority, Cut, Pause, RawAnswer, RecordedRequest, Reset, Server


def serving(answer: Answer | RawAnswer, **options: object) -> Server:
    return Server(lambda request: answer, **options)  # type: ignore[arg-type]


def exchange(server: Server, request: bytes | None = None, tls: ssl.SSLContext | None = None) -> bytes:
    """Return all bytes of the response to one request, after which either side closes the connection."""
    with raw_socket(server.port, tls) as sock:
        sock.sendall(request if request is not None else raw_request(Connection="close"))
        return read_all(sock)[0]


# --- requests --------------------------------------------------------------------------------------------------


def test_a_request_is_recorded() -> None:
    started_at = time.monotonic()
    with serving(Answer()) as server, Http(server.port, None) as http_:
        http_.send("POST", "/a%20b/c?x=1&x=2&y=", "körper".encode(), {"X-One": "1", "Content-Type": "text/plain"})
        (request,) = server.requests
    assert (request.method, request.path, request.query) == ("POST", "/a%20b/c", "x=1&x=2&y=")
    assert request.params == {"x": "2", "y": ""}
    assert request.body == "körper".encode()
    assert request.headers["x-oNE"] == "1"
    assert "X-ONE" in request.headers
    assert request.connection == 1
    assert started_at <= request.at <= time.monotonic()


def test_a_header_that_came_twice_keeps_both_values() -> None:
    with serving(Answer()) as server:
        exchange(server, b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\nConnection: close\r\n\r\n")
        (request,) = server.requests
    assert request.headers.get_all("X") == ["1", "2"]
    assert request.headers["X"] == "1, 2"


def test_a_chunked_request_and_one_with_expect_100_continue_are_read() -> None:
    with serving(Answer(body="ok")) as server:
        exchange(
            server,
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        )
        with raw_socket(server.port, None) as sock:
            sock.sendall(raw_request(method="POST", Content_Length="3", Expect="100-continue", Connection="close"))
            assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b"xyz")
            assert read_all(sock)[0].endswith(b"ok")
        assert [request.body for request in server.requests] == [b"abcde", b"xyz"]


def test_neither_a_request_nor_its_headers_show_secrets_when_printed() -> None:
    with serving(Answer()) as server, Http(server.port, None) as http_:
        secret = {"Authorization": "Bearer SECRET", "Cookie": "a=SECRET", "X-Authorization": "Bearer SECRET"}
        http_.send("POST", "/", "SECRET", secret)
        (request,) = server.requests
    assert "SECRET" not in repr(request) + repr(request.headers)


def test_requests_on_one_connection_share_its_number() -> None:
    with serving(Answer(body="x")) as server:
        with Http(server.port, None) as one:
            one.send("GET", "/1")
            one.send("GET", "/2")
        with Http(server.port, None) as two:
            two.send("GET", "/3")
        assert [(r.path, r.connection) for r in server.requests] == [("/1", 1), ("/2", 1), ("/3", 2)]
        assert server.connections == 2
        assert soon(lambda: server.open_connections == 0)


def test_a_broken_request_and_one_that_is_too_long_are_refused() -> None:
    with serving(Answer(), max_body_bytes=10) as server:
        assert exchange(server, b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert exchange(server, raw_request(method="POST", body=b"x" * 11)).startswith(b"HTTP/1.1 413 ")
        assert server.requests == []


# --- responses -------------------------------------------------------------------------------------------------


def split(answer: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


def test_bytes_are_sent_with_their_length_and_a_date() -> None:
    with serving(Answer(404, {"X-Own": "1"}, b"nothing")) as server:
        head, body = split(exchange(server))
    assert head[0] == b"HTTP/1.1 404 Not Found"
    assert b"X-Own: 1" in head
    assert b"Content-Length: 7" in head
    assert any(line.startswith(b"Date: ") for line in head)
    assert body == b"nothing"


def test_each_step_is_sent_as_a_chunk() -> None:
    with serving(Answer(body=[b"ab", b"", b"cde" * 10])) as server:
        _, body = split(exchange(server))
    assert body == b"2\r\nab\r\n1e\r\n" + b"cde" * 10 + b"\r\n0\r\n\r\n"


def test_steps_can_be_sent_with_their_length_or_until_the_connection_ends() -> None:
    with serving(Answer(body=[b"ab", b"c"], framing="length")) as server:
        head, body = split(exchange(server))
        assert b"Content-Length: 3" in head
        assert body == b"abc"
    with serving(Answer(body=[b"ab", b"c"], framing="close")) as server:
        head, body = split(exchange(server, raw_request()))
        assert not any(line.lower().startswith((b"content-length", b"transfer-encoding")) for line in head)
        assert b"Connection: close" in head
        assert body == b"abc"


def test_an_http_1_0_client_gets_no_chunks() -> None:
    with serving(Answer(body=[b"ab", b"c"])) as server:
        head, body = split(exchange(server, b"GET / HTTP/1.0\r\n\r\n"))
    assert b"Transfer-Encoding: chunked" not in head
    assert body == b"abc"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_that_must_have_no_body_has_none(method: str, status: int) -> None:
    with serving(Answer(status, body=b"text")) as server:
        _, body = split(exchange(server, raw_request(method=method, Connection="close")))
    assert body == b""


def test_write_size_splits_the_content_and_every_write() -> None:
    text = "привет".encode()
    with Authority() as authority, serving(Answer(body=[text], write_size=1), tls=authority) as server:
        _, body = split(exchange(server, tls=trusting(authority.ca_file)))
        assert body == b"".join(b"1\r\n%c\r\n" % byte for byte in text) + b"0\r\n\r\n"
    with (
        Authority() as authority,
        serving(Answer(body=b"abcdef", write_size=2, write_pause_s=0.03), tls=authority) as server,
        raw_socket(server.port, trusting(authority.ca_file)) as sock,
    ):
        sock.sendall(raw_request())
        # A TLS record is one write, and recv returns one record at a time.
        assert split(sock.recv(65536))[1] == b""
        assert [sock.recv(65536) for _ in range(3)] == [b"ab", b"cd", b"ef"]


def test_gzip_is_flushed_after_every_step() -> None:
    first_read = threading.Event()

    def steps() -> Iterator[bytes]:
        yield b"first"
        assert first_read.wait(10)
        yield b"second"

    with serving(Answer(body=steps(), gzip=True)) as server, Http(server.port, None) as http_:
        response = http_.open("GET", "/")
        assert response.headers["Content-Encoding"] == "gzip"
        decompressor = zlib.decompressobj(wbits=31)
        assert decompressor.decompress(response.read1(100)) == b"first"
        first_read.set()
        assert decompressor.decompress(response.read()) == b"second"
        assert decompressor.eof
    with serving(Answer(body=b"whole" * 100, gzip=True)) as server, Http(server.port, None) as http_:
        reply = http_.send("GET", "/")
        assert gzip.decompress(reply.body) == b"whole" * 100
        assert reply.headers["Content-Length"] == str(len(reply.body))


def test_the_head_can_be_delayed_or_sent_slowly() -> None:
    with serving(Answer(body=b"x", before_s=0.2)) as server, raw_socket(server.port, None) as sock:
        started_at = time.monotonic()
        sock.sendall(raw_request())
        assert sock.recv(1) == b"H"
        assert time.monotonic() - started_at > 0.18
    with serving(Answer(body=b"x", header_pause_s=0.002)) as server, raw_socket(server.port, None) as sock:
        started_at = time.monotonic()
        sock.sendall(raw_request(Connection="close"))
        assert len(sock.recv(10)) == 1
        assert read_all(sock)[0].endswith(b"\r\n\r\nx")
        assert time.monotonic() - started_at > 0.1


def test_a_raw_answer_is_only_its_bytes() -> None:
    with serving(RawAnswer([b"HTTP/1.1 2", Pause(0.01), b"00 OK\r\nContent-Le"])) as server:
        assert exchange(server, raw_request()) == b"HTTP/1.1 200 OK\r\nContent-Le"


# --- the end of the connection ---------------------------------------------------------------------------------


def test_a_reset_is_a_reset() -> None:
    with serving(RawAnswer([Reset()])) as server, raw_socket(server.port, None) as sock:
        sock.sendall(raw_request())
        assert isinstance(read_all(sock)[1], ConnectionResetError)


def test_a_cut_leaves_the_body_without_its_end() -> None:
    with (
        serving(Answer(body=[b"ab", Cut(), b"never"])) as server,
        Http(server.port, None) as http_,
        http_.open("GET", "/") as response,
        pytest.raises(http.client.IncompleteRead),
    ):
        response.read()
    with serving(Answer(body=[b"ab", Cut(), b"cd"], framing="length")) as server:
        head, body = split(exchange(server))
        assert b"Content-Length: 4" in head
        assert body == b"ab"


@pytest.mark.parametrize("close_notify", [True, False])
def test_a_cut_sends_close_notify_only_on_request(close_notify: bool) -> None:
    with (
        Authority() as authority,
        serving(Answer(body=[b"ab", Cut(close_notify=close_notify)]), tls=authority) as server,
        raw_socket(server.port, None) as plain,
        trusting(authority.ca_file).wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as sock,
    ):
        sock.sendall(raw_request())
        received, error = read_all(sock)
        assert received.endswith(b"2\r\nab\r\n")
        assert (error is None) is close_notify


def test_a_close_delimited_answer_over_tls_ends_with_close_notify() -> None:
    with (
        Authority() as authority,
        serving(Answer(body=b"whole", framing="close"), tls=authority) as server,
        raw_socket(server.port, None) as plain,
        trusting(authority.ca_file).wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as sock,
    ):
        sock.sendall(raw_request())
        received, error = read_all(sock)
    assert received.endswith(b"whole")
    assert error is None


def test_the_connection_is_kept_or_closed_as_either_side_requests() -> None:
    with serving(Answer(body=b"x")) as server, raw_socket(server.port, None) as sock:
        sock.sendall(raw_request("/1") + raw_request("/2", Connection="close"))
        received = read_all(sock)[0]
        assert received.count(b"HTTP/1.1 200") == 2
        assert received.count(b"Connection: close") == 1
    with serving(Answer(body=b"x", keep_alive=False)) as server:
        assert b"Connection: close" in exchange(server, raw_request())


def test_an_idle_connection_is_closed_after_its_timeout() -> None:
    with serving(Answer(body=b"x"), idle_timeout_s=0.1) as server, raw_socket(server.port, None) as sock:
        sock.sendall(raw_request())
        started_at = time.monotonic()
        assert read_all(sock)[1] is None
        assert time.monotonic() - started_at > 0.05


def test_idle_connections_can_be_dropped_and_busy_ones_stay() -> None:
    dropped = threading.Event()

    def slow_steps() -> Iterator[bytes]:
        yield b"a"
        assert dropped.wait(10)
        yield b"b"

    def handler(request: RecordedRequest) -> Answer:
        return Answer(body=slow_steps() if request.path == "/slow" else b"x")

    with Authority() as authority, Server(handler, tls=authority) as server:
        context = trusting(authority.ca_file)
        with Http(server.port, context) as idle, Http(server.port, context) as busy:
            idle.send("GET", "/")
            response = busy.open("GET", "/slow")
            assert server.drop_idle_connections() == 1
            dropped.set()
            # The close has already arrived, so that the client can see it before it sends a request.
            idle.connection.sock.settimeout(0.0)
            assert idle.connection.sock.recv(1) == b""
            assert response.read() == b"ab"
            assert server.aborted == 0
