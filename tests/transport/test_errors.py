"""Tests of the translation of library exceptions into ours, and that errors hold no secret and no library exception."""

from __future__ import annotations

import http.client
import pickle
import socket
import ssl
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3.exceptions as u3
from support.socket_tools import Peer, ask, deadline, read_request, send, transport_to, trust_in
from urllib3.util.ssl_match_hostname import CertificateError

from gigaclient._primitives.deadline import Deadline, DeadlineExceeded, Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient.errors import APIConnectionError, APITimeoutError, GigaClientError, InvalidResponseError, TLSError
from gigaclient.testing import Answer, Authority, Pause, RawAnswer, Reset, Server
from gigaclient.transport import wait_failure
from gigaclient.transport.errors import certificate_failure, is_lost_connection, is_proxy_failure, translate
from gigaclient.transport.framing import MalformedChunkError
from gigaclient.transport.socket import ConnectionState

SECRET = "Bearer s3cret-token"


def a_state(
    *, opened: bool = False, sent: bool = False, received: bool = False, reused: bool = False
) -> ConnectionState:
    state = ConnectionState(Deadline(Timeouts(10.0, 120.0)))
    state.opened, state.sent, state.received, state.reused = opened, sent, received, reused
    return state


def wrapped(cause: BaseException) -> Exception:
    """Return ``cause`` as requests raises it: nested in urllib3's exception and in its own."""
    inner = u3.MaxRetryError(None, "/v1?token=s3cret", cause)  # type: ignore[arg-type]
    request = requests.Request("POST", "https://api.example/v1?token=s3cret", {"Authorization": SECRET}).prepare()
    try:
        try:
            raise inner from cause
        except u3.MaxRetryError as error:
            raise requests.exceptions.ConnectionError(error, request=request) from error
    except requests.exceptions.ConnectionError as error:
        return error


def ssl_error(error_type: type[ssl.SSLError], reason: str) -> ssl.SSLError:
    error = error_type(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:1)")
    error.reason = reason
    return error


before_sending = a_state
while_waiting: Callable[[], ConnectionState] = lambda: a_state(opened=True, sent=True)  # noqa: E731
while_reading: Callable[[], ConnectionState] = lambda: a_state(opened=True, sent=True, received=True)  # noqa: E731

TABLE = [
    # the exception, the state of the request, the type of our error, its `sent`, a part of its message
    (
        socket.gaierror(-2, "Name or service not known"),
        before_sending,
        APIConnectionError,
        False,
        "could not be resolved",
    ),
    (u3.NameResolutionError("h", None, socket.gaierror()), before_sending, APIConnectionError, False, "resolved"),  # type: ignore[arg-type]
    (
        ConnectionRefusedError(111, "Connection refused"),
        before_sending,
        APIConnectionError,
        False,
        "connection refused",
    ),
    (u3.NewConnectionError(None, "refused"), before_sending, APIConnectionError, False, "no connection to api.example"),  # type: ignore[arg-type]
    (OSError(101, "Network is unreachable"), before_sending, APIConnectionError, False, "network is unreachable"),
    (TimeoutError("timed out"), before_sending, APITimeoutError, False, "no connection to api.example within 10 s"),
    (
        u3.ConnectTimeoutError(None, "slow"),
        before_sending,
        APITimeoutError,
        False,
        "no connection to api.example within 10 s",
    ),
    (
        requests.exceptions.ConnectTimeout(),
        before_sending,
        APITimeoutError,
        False,
        "no connection to api.example within 10 s",
    ),
    (u3.ReadTimeoutError(None, "/", "slow"), while_waiting, APITimeoutError, True, "read timeout 120 s"),  # type: ignore[arg-type]
    (requests.exceptions.ReadTimeout(), while_waiting, APITimeoutError, True, "read timeout 120 s"),
    (TimeoutError("The read operation timed out"), while_waiting, APITimeoutError, True, "read timeout 120 s"),
    (
        u3.ProxyError("x", OSError("Tunnel connection failed: 407 Proxy Authentication Required")),
        before_sending,
        APIConnectionError,
        False,
        "user and a password (407)",
    ),
    (
        u3.ProxyError("x", OSError("Tunnel connection failed: 503 Service Unavailable")),
        before_sending,
        APIConnectionError,
        False,
        "tunnel connection failed: 503",
    ),
    (
        u3.ProxyError("x", ConnectionRefusedError(111, "Connection refused")),
        before_sending,
        APIConnectionError,
        False,
        "the proxy http://proxy:40713 failed: connection refused",
    ),
    (
        u3.ProxyError("HTTPSConnectionPool(port=40713)", OSError("x")),
        before_sending,
        APIConnectionError,
        False,
        "failed",
    ),
    (http.client.RemoteDisconnected("closed"), while_waiting, APIConnectionError, True, "without an answer"),
    (ConnectionResetError(104, "Connection reset by peer"), while_waiting, APIConnectionError, True, "reset by peer"),
    (BrokenPipeError(32, "Broken pipe"), while_waiting, APIConnectionError, True, "broken pipe"),
    (ConnectionResetError(104, "Connection reset by peer"), while_reading, APIConnectionError, True, "complete"),
    (http.client.IncompleteRead(b"abc"), while_reading, APIConnectionError, True, "cut short"),
    (u3.IncompleteRead(3, 5), while_reading, APIConnectionError, True, "cut short"),
    (
        u3.ProtocolError("Connection broken", http.client.IncompleteRead(b"")),
        while_reading,
        APIConnectionError,
        True,
        "cut",
    ),
    (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), while_waiting, APIConnectionError, True, "violation"),
    (ssl_error(ssl.SSLError, "WRONG_VERSION_NUMBER"), before_sending, TLSError, False, "does that port speak TLS?"),
    (ssl_error(ssl.SSLError, "TLSV1_ALERT_PROTOCOL_VERSION"), before_sending, TLSError, False, "handshake"),
    (ssl_error(ssl.SSLError, "SSLV3_ALERT_HANDSHAKE_FAILURE"), before_sending, TLSError, False, "cert_file"),
    (ssl_error(ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED"), while_waiting, TLSError, True, "cert_file"),
    (ssl_error(ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA"), while_waiting, TLSError, True, "does not accept the one"),
    (ssl_error(ssl.SSLError, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), while_reading, APIConnectionError, True, "broke"),
    (http.client.BadStatusLine("SSH-2.0"), while_reading, InvalidResponseError, None, "did not answer in HTTP"),
    (http.client.LineTooLong("header line"), while_reading, InvalidResponseError, None, "LineTooLong"),
    (http.client.HTTPException("got more than 100 headers"), while_reading, InvalidResponseError, None, "HTTP"),
    (u3.InvalidHeader("two lengths"), while_reading, InvalidResponseError, None, "contradict"),
    (
        MalformedChunkError("the size of a chunk is not a number"),
        while_reading,
        InvalidResponseError,
        None,
        "size of a",
    ),
    (u3.DecodeError("gzip"), while_reading, InvalidResponseError, None, "decompressed"),
    (requests.exceptions.ContentDecodingError("gzip"), while_reading, InvalidResponseError, None, "decompressed"),
    (
        requests.exceptions.InvalidSchema("No connection adapters"),
        before_sending,
        APIConnectionError,
        False,
        "InvalidSchema",
    ),
    (AttributeError("read of a closed file"), while_reading, APIConnectionError, True, "AttributeError"),
    (ValueError(f"headers were {SECRET}"), while_reading, APIConnectionError, True, "ValueError"),
]


@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
@pytest.mark.parametrize(
    ("failure", "moment", "error_type", "sent", "message"),
    TABLE,
    ids=[f"{type(row[0]).__name__}-{str(row[4])[:24]}" for row in TABLE],
)
def test_each_failure_becomes_one_of_ours(
    failure: Exception,
    moment: Callable[[], ConnectionState],
    error_type: type[GigaClientError],
    sent: bool | None,
    message: str,
    nested: bool,
) -> None:
    if nested and type(failure) in (AttributeError, ValueError, requests.exceptions.InvalidSchema):
        message = ""  # the message names only the outermost type, which is an exception of requests
    error = translate(wrapped(failure) if nested else failure, moment(), "api.example", "http://proxy:40713")
    assert type(error) is error_type
    assert message in str(error)
    assert getattr(error, "sent", None) is sent
    assert "s3cret" not in str(error) + repr(error)
    assert ("407" in str(error).replace("40713", "")) is (message == "user and a password (407)")
    assert error.__cause__ is None
    assert error.__context__ is None
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
def test_a_refused_certificate_is_recognised_with_openssls_words(nested: bool) -> None:
    refusal = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refusal.verify_message = "self-signed certificate"
    mismatch = CertificateError("hostname 'h' doesn't match 'other'")
    for failure, message in ((refusal, "self-signed certificate"), (mismatch, "hostname 'h' doesn't match 'other'")):
        assert certificate_failure(wrapped(failure) if nested else failure) == message
    assert certificate_failure(wrapped(ssl_error(ssl.SSLError, "WRONG_VERSION_NUMBER"))) is None


@pytest.mark.parametrize(
    ("failure", "lost"),
    [
        (http.client.RemoteDisconnected("closed"), True),
        (ConnectionResetError(104, "reset"), True),
        (BrokenPipeError(32, "pipe"), True),
        (ssl.SSLEOFError(8, "EOF"), True),
        (requests.exceptions.ConnectionError("made up"), False),
        (TimeoutError("slow"), False),
        (http.client.BadStatusLine("x"), False),
        (ssl_error(ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_lost_connection_is_distinguished_from_slow_and_malformed_ones(failure: Exception, lost: bool) -> None:
    assert is_lost_connection(failure) is lost
    assert is_lost_connection(wrapped(failure)) is lost


def test_a_failure_of_the_proxy_is_distinguished_from_one_of_the_server() -> None:
    assert is_proxy_failure(wrapped(u3.ProxyError("x", OSError("y"))))
    assert not is_proxy_failure(wrapped(OSError("y")))


def test_an_expired_timeout_overrides_the_exception() -> None:
    state = while_waiting()
    state.deadline.expired = "deadline"
    error = translate(wrapped(ConnectionResetError(104, "reset")), state, "h")
    assert isinstance(error, APITimeoutError)
    assert error.timeout_kind == "deadline"


def test_a_cancelled_call_overrides_the_exception() -> None:
    state = while_waiting()
    state.deadline.cancel()
    error = translate(wrapped(TimeoutError("slow")), state, "h")
    assert type(error) is APIConnectionError
    assert "ended by close()" in str(error)


def test_a_timeout_near_the_deadline_is_reported_as_the_deadline() -> None:
    now = 0.0
    state = ConnectionState(Deadline(Timeouts(10.0, 120.0, deadline=5.0), clock=lambda: now))
    now = 5.0
    error = translate(wrapped(TimeoutError("The handshake operation timed out")), state, "h")
    assert isinstance(error, APITimeoutError)
    assert error.timeout_kind == "deadline"


@pytest.mark.parametrize("timeout_kind", ["connect", "read", "event", "deadline"])
def test_each_timeout_has_its_message_and_seconds(timeout_kind: str) -> None:
    error = wait_failure(DeadlineExceeded(timeout_kind), "api.example", Deadline(Timeouts(1, 2, 3, 4)), sent=True)
    assert error.timeout_kind == timeout_kind
    assert str({"connect": 1, "read": 2, "event": 3, "deadline": 4}[timeout_kind]) in str(error)
    assert isinstance(error, TimeoutError)


def test_a_cycle_of_causes_ends_the_search() -> None:
    one, two = OSError(5, "Input/output error"), ValueError("x")
    one.__cause__, two.__context__ = two, one
    two.args = (one, two)
    assert "input/output error" in str(translate(two, before_sending(), "h"))


def test_our_own_errors_pass_unchanged() -> None:
    with Server(lambda request: Answer()) as server, transport_to(server.url) as transport:

        def refuse(*args: object, **kwargs: object) -> None:
            raise InvalidResponseError("ours")

        transport._session.send = refuse  # type: ignore[method-assign, assignment]
        with pytest.raises(InvalidResponseError, match="ours"):
            ask(transport, server.url + "/")


# -- failures of real servers ------------------------------------------------------------------------------


def raised_by(work: Callable[[], object]) -> GigaClientError:
    with pytest.raises(GigaClientError) as caught:
        work()
    return caught.value


def shown_with_locals(error: BaseException) -> str:
    """Return what a traceback with local variables shows of our frames and the libraries'."""
    exception = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in exception.stack if "/tests/" not in frame.filename]
    assert frames
    return "".join(str(frame.locals) + str(frame.line) for frame in frames) + "".join(exception.format_exception_only())


def failing_servers() -> dict[str, Callable[[object], Answer | RawAnswer]]:
    return {
        "reset": lambda request: RawAnswer([Reset()]),
        "no answer": lambda request: RawAnswer([]),
        "not HTTP": lambda request: RawAnswer([b"SSH-2.0-server\r\n"]),
        "cut body": lambda request: RawAnswer([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"]),
        "cut chunk": lambda request: RawAnswer([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"]),
        "bad gzip": lambda request: Answer(headers={"Content-Encoding": "gzip"}, body=b"not gzip"),
        "silence": lambda request: RawAnswer([Pause(None)]),
    }


@pytest.mark.parametrize("case", sorted(failing_servers()))
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_an_error_holds_no_exception_of_a_library_and_no_secret(case: str, tls: bool) -> None:
    with Authority() as authority, Server(failing_servers()[case], tls=authority if tls else None) as server:
        with transport_to(server.url, trust=trust_in(authority.ca_file)) as transport:
            headers = {"Authorization": Secret(SECRET)}
            error = raised_by(lambda: ask(transport, server.url + "/x?key=s3cret", deadline(read=0.3), headers=headers))
        assert type(error).__module__ == "gigaclient.errors"
        assert error.__cause__ is None
        assert error.__context__ is None
        assert "s3cret" not in str(error)
        text = shown_with_locals(error)
        assert "s3cret-token" not in text
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for name, value in frame.f_locals.items():
                if "/tests/" not in frame.f_code.co_filename:
                    module = type(value).__module__
                    foreign = isinstance(value, BaseException) and module.split(".")[0] != "gigaclient"
                    assert not foreign, f"{name} in {frame.f_code.co_name} holds a {module}.{type(value).__name__}"
        pickle.loads(pickle.dumps(error))


def test_the_exception_of_a_user_who_calls_while_handling_one_is_left_alone() -> None:
    with Server(lambda request: RawAnswer([])) as server, transport_to(server.url) as transport:
        theirs = KeyError("theirs")
        try:
            raise theirs
        except KeyError:
            error = raised_by(lambda: ask(transport, server.url + "/"))
        assert error.__context__ is theirs


# -- invalid responses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stre",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r",
    ],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_truncated_headers_are_an_error(headers: bytes, tls: bool) -> None:
    with (
        Authority() as authority,
        Server(lambda request: RawAnswer([headers]), tls=authority if tls else None) as server,
        transport_to(server.url, trust=trust_in(authority.ca_file)) as transport,
    ):
        error = raised_by(lambda: send(transport, server.url + "/"))
    assert type(error) is APIConnectionError
    assert "cut short" in str(error)
    assert error.sent is True


def endless(start: bytes, line: bytes) -> Callable[[Any], None]:
    def talk(sock: Any) -> None:
        read_request(sock)
        sock.sendall(start)
        while True:
            sock.sendall(line * 50)

    return talk


@pytest.mark.parametrize(
    ("start", "line"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Header: ", b"value"),
        (b"", b"HTTP"),
    ],
    ids=["headers", "one header", "status line"],
)
def test_endless_headers_are_refused(start: bytes, line: bytes) -> None:
    with Peer(endless(start, line)) as peer, transport_to(peer.url) as transport:
        error = raised_by(lambda: send(transport, peer.url + "/"))
    assert type(error) is InvalidResponseError


def test_endless_interim_responses_are_refused() -> None:
    with Peer(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")) as peer, transport_to(peer.url) as transport:
        error = raised_by(lambda: send(transport, peer.url + "/"))
    assert type(error) is InvalidResponseError


def test_interim_responses_do_not_prolong_the_read_timeout() -> None:
    def talk(sock: Any) -> None:
        while True:
            sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
            time.sleep(0.05)

    with Peer(talk) as peer, transport_to(peer.url) as transport:
        error = raised_by(lambda: send(transport, peer.url + "/", deadline(read=0.5)))
    assert isinstance(error, APITimeoutError)
    assert error.timeout_kind == "read"


def test_deadline_exceeded_carries_its_kind() -> None:
    assert DeadlineExceeded("read").timeout_kind == "read"


def test_a_refused_connection_is_no_timeout() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # the port is bound, but does not listen
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with transport_to(url) as transport:
            error = raised_by(lambda: send(transport, url + "/"))
    assert type(error) is APIConnectionError
    assert "connection refused" in str(error)
    assert error.sent is False


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 64 + ".invalid"])
def test_an_unknown_host_name_has_its_own_message(name: str) -> None:
    with transport_to(f"https://{name}") as transport:
        error = raised_by(lambda: send(transport, f"https://{name}/"))
    assert type(error) is APIConnectionError
    assert f"'{name}' could not be resolved" in str(error)
    assert error.sent is False
