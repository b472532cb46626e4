"""Tests of raw bytes around an answer, early answers, and idle connections that end with a 408 or fall silent."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from testing.plain_client import TIMEOUT_S, Giga, Http, chat_body, raw_request, raw_socket, read_all, soon, trusting

from gigaclient.testing import Answer, Authority, FakeGptEmulator, Fault, GigaChatEmulator, RawAnswer, Server, interim
from gigaclient.testing.http_messages import Pause, RecordedRequest

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


def serving(answer: Answer | RawAnswer, **options: object) -> Server:
    return Server(lambda request: answer, **options)  # type: ignore[arg-type]


def exchange(server: Server) -> bytes:
    """Return all bytes of the response to one request, after which the server closes the connection."""
    with raw_socket(server.port, None) as sock:
        sock.sendall(raw_request(Connection="close"))
        return read_all(sock)[0]


# --- raw bytes around an answer --------------------------------------------------------------------------------


def test_an_interim_response_is_a_head() -> None:
    assert interim() == b"HTTP/1.1 103 Early Hints\r\n\r\n"
    assert interim(199, {"X": "1"}) == interim(199, [("X", "1")]) == b"HTTP/1.1 199 Unknown\r\nX: 1\r\n\r\n"


def test_raw_steps_come_before_the_head() -> None:
    steps = (interim(103), Pause(0.2), interim(100) * 2)
    with serving(Answer(body=b"ok", before_head=steps)) as server, raw_socket(server.port, None) as sock:
        sock.sendall(raw_request(Connection="close"))
        assert sock.recv(1000) == interim(103)
        assert sock.recv(len(interim(100)) * 2) == interim(100) * 2
        rest = read_all(sock)[0]
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n") and rest.endswith(b"\r\n\r\nok")


def test_a_raw_head_replaces_the_regular_one_and_the_connection_stays_open() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\nno colon\r\n\r\n"
    with serving(Answer(404, {"X": "1"}, b"ok", head=head)) as server, raw_socket(server.port, None) as sock:
        for _ in range(2):
            sock.sendall(raw_request())
            received = b""
            while len(received) < len(head) + 2:
                received += sock.recv(1000)
            assert received == head + b"ok"
        assert server.connections == 1


def test_raw_bytes_come_after_the_body() -> None:
    for answer in (Answer(body=b"ok", after_body=OK), Answer(body=[b"ok"], after_body=OK)):
        with serving(answer) as server:
            _, _, rest = exchange(server).partition(b"\r\n\r\n")
        assert rest == (b"ok" if answer.body == b"ok" else b"2\r\nok\r\n0\r\n\r\n") + OK


def test_a_fault_sends_raw_bytes_around_the_regular_answer(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(before_head=(interim(103), interim(102)), after_body=b"junk"))
    context = trusting(gigachat.ca_file)
    token = f"Bearer {gigachat.issue_token()}"
    body = chat_body("Say: yes").encode()
    request = raw_request("/v1/chat/completions", "POST", body, User_Agent="x", Authorization=token, Connection="close")
    with raw_socket(gigachat.api_server.port, context) as sock:
        sock.sendall(request)
        received = read_all(sock)[0]
    assert received.startswith(interim(103) + interim(102) + b"HTTP/1.1 200 OK\r\n")
    assert b'"yes"' in received
    assert received.endswith(b"}junk")


def test_a_fault_has_a_raw_head(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(head=OK, body=b"ok"))
    with Giga(gigachat) as giga:
        reply = giga.chat("hello")
    assert (reply.headers.items(), reply.body) == ([("Content-Length", "2")], b"ok")


# --- early answers ---------------------------------------------------------------------------------------------


def test_an_early_answer_comes_before_the_body() -> None:
    heads: list[RecordedRequest] = []

    def refuse_long(request: RecordedRequest) -> Answer | None:
        heads.append(request)
        return Answer(413, body=b"too long") if int(request.headers.get("content-length", "0")) > 100 else None

    with serving(Answer(body=b"ok"), on_head=refuse_long) as server:
        with raw_socket(server.port, None) as sock:
            sock.sendall(raw_request(method="POST", Content_Length="1000000"))
            sock.sendall(b"x" * 1000)
            early = read_all(sock)[0]
            for _ in range(100):
                sock.sendall(b"x" * 9_000)  # the server reads on: a reset would take the answer away from other clients
        assert early.startswith(b"HTTP/1.1 413 ") and early.endswith(b"too long")
        assert b"Connection: close" in early
        with Http(server.port, None) as http_:
            assert http_.send("POST", "/", b"short").body == b"ok"
    assert [request.body for request in server.requests] == [b"", b"short"]
    assert [request.headers["content-length"] for request in heads] == ["1000000", "5"]


def test_an_early_answer_can_be_raw_and_leave_the_body_unread() -> None:
    raw = RawAnswer([TIMED_OUT, Pause(None)])
    with (
        serving(Answer(), on_head=lambda request: raw) as server,
        raw_socket(server.port, None) as sock,
    ):
        sock.sendall(raw_request(method="POST", Content_Length="5"))
        assert sock.recv(1000) == TIMED_OUT
        sock.sendall(b"12345")
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_an_early_fault_answers_while_the_body_is_sent(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(early=True, status=413), path="/files")
    context = trusting(gigachat.ca_file)
    token = f"Bearer {gigachat.issue_token()}"
    with raw_socket(gigachat.api_server.port, context) as sock:
        sock.sendall(raw_request("/v1/files", "POST", User_Agent="x", Authorization=token, Content_Length="9999"))
        early = sock.recv(1000)
    assert early.startswith(b"HTTP/1.1 413 ") and b"Payload too large" in early
    with Giga(gigachat) as giga:
        assert giga.chat("Say: yes").status == 200


def test_an_early_fault_of_fakegpt_is_for_conversations(fakegpt: FakeGptEmulator) -> None:
    fakegpt.inject(Fault(early=True, status=413))
    with Http(fakegpt.server.port, trusting(fakegpt.ca_file)) as http_:
        assert http_.send("GET", "/api/loads?t=1").status == 200
        reply = http_.send("POST", "/api/conversation", b"{}")
    assert (reply.status, reply.json()["detail"]["code"]) == (413, "message_length_exceeds_limit")


def test_an_early_fault_needs_an_answer() -> None:
    with pytest.raises(ValueError, match="early needs an answer"):
        Fault(early=True, event_pause_s=1.0)


# --- idle connections ------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def authority(request: pytest.FixtureRequest) -> Iterator[Authority | None]:
    if not request.param:
        yield None
        return
    with Authority() as found:
        yield found


def test_an_idle_connection_can_end_with_a_response(authority: Authority | None) -> None:
    context = trusting(authority.ca_file) if authority is not None else None
    with serving(Answer(body=b"x"), tls=authority, idle_response=TIMED_OUT) as server:
        with raw_socket(server.port, context) as sock:
            sock.sendall(raw_request())
            while not sock.recv(1000).endswith(b"x"):
                pass
            assert server.drop_idle_connections() == 1
            assert read_all(sock) == (TIMED_OUT, None)
        server.idle_timeout_s = 0.1
        with raw_socket(server.port, context) as sock:
            assert read_all(sock) == (TIMED_OUT, None)
        assert soon(lambda: server.open_connections == 0)


def test_a_connection_that_the_client_ends_gets_no_response() -> None:
    with serving(Answer(), idle_response=TIMED_OUT) as server, raw_socket(server.port, None) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == (b"", None)


def test_silenced_connections_stay_open_without_an_answer(authority: Authority | None) -> None:
    context = trusting(authority.ca_file) if authority is not None else None
    with serving(Answer(body=b"x"), tls=authority) as server:
        with Http(server.port, context) as kept, Http(server.port, context) as other:
            assert kept.send("GET", "/1").body == b"x"
            assert server.silence_idle_connections() == 1
            kept.connection.request("GET", "/2")
            assert other.send("GET", "/3").body == b"x", "a new connection is answered"
            kept.connection.sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                kept.connection.getresponse()
            assert [request.path for request in server.requests] == ["/1", "/3"]
            assert server.open_connections == 2
        assert soon(lambda: server.open_connections == 0), "the client has closed it"


def test_close_ends_silenced_connections() -> None:
    with serving(Answer(body=b"x")) as server, Http(server.port, None) as http_:
        http_.send("GET", "/")
        server.silence_idle_connections()
        http_.connection.request("GET", "/")
        started_at = time.monotonic()
        server.close()
    assert time.monotonic() - started_at < TIMEOUT_S / 2
