"""Tests of malicious and broken servers: each response ends soon with a typed error and uses little memory."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.reliability_tools import at_most

from gigaclient import GigaChat
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    GigaClientError,
    InvalidResponseError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient.testing import Answer, GigaChatEmulator, Pause, RawAnswer, RecordedRequest, Server
from gigaclient.testing.fault_server import Step

BLOCK = b"x" * 65536
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENT = {"timeout": 30, "max_retries": 0}

Serve = Callable[[Answer | RawAnswer], GigaChat]


def forever(block: bytes) -> Iterator[Step]:
    while True:
        yield block


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def token_answer(token: str = "good-token") -> Answer:
    body = {"access_token": token, "expires_at": int((time.time() + 1800) * 1000)}
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(body))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a factory of clients whose server sends one response to every API call."""
    with contextlib.ExitStack() as stack:

        def start(answer: Answer | RawAnswer) -> GigaChat:
            server = stack.enter_context(Server(lambda request: answer))
            return stack.enter_context(GigaChat(access_token="good-token", base_url=f"{server.url}/v1", **PATIENT))

        yield start


@pytest.fixture
def log_in() -> Iterator[Serve]:
    """Return a factory of clients whose token endpoint sends one response to every login."""
    with contextlib.ExitStack() as stack:

        def start(answer: Answer | RawAnswer) -> GigaChat:
            server = stack.enter_context(Server(lambda request: answer))
            return stack.enter_context(
                GigaChat(
                    credentials="aWQ6c2VjcmV0LXNlY3JldA==",
                    base_url=f"{server.url}/v1",
                    auth_url=f"{server.url}/oauth",
                    **PATIENT,
                )
            )

        yield start


def error_of(
    call: Callable[[], Any], error_type: type[GigaClientError], *, seconds: float = 10, megabytes: float = 8
) -> GigaClientError:
    """Return the error of ``call``; it must be raised soon, use little memory and have a short message."""
    with at_most(seconds=seconds, megabytes=megabytes), pytest.raises(error_type) as caught:
        call()
    assert len(str(caught.value)) < 2000
    assert "good-token" not in repr(caught.value) + str(caught.value)
    assert "c2VjcmV0" not in repr(caught.value) + str(caught.value)
    return caught.value


# -- status lines and endless headers ------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([HEAD, forever(b"X-More: and more\r\n" * 1000)], id="lines"),
        pytest.param([HEAD, b"X-Long: ", forever(BLOCK)], id="one-line"),
        pytest.param([b"HTTP/1.1 ", forever(BLOCK)], id="status-line"),
        pytest.param([forever(BLOCK)], id="no-line"),
        pytest.param([forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)], id="continue"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n", forever(b"X-More: and more\r\n" * 1000)], id="continue-with-lines"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["chat", "stream"])
def test_endless_headers_are_refused_soon(steps: list[Any], stream: bool, serve: Serve) -> None:
    def flat() -> Iterator[Step]:
        for step in steps:
            if isinstance(step, bytes):
                yield step
            else:
                yield from step

    giga = serve(RawAnswer(flat())).with_options(timeout=5)
    call = giga.stream if stream else giga.chat
    error = error_of(lambda: call("Hello"), GigaClientError)
    assert isinstance(error, (InvalidResponseError, APITimeoutError, APIConnectionError))


@pytest.mark.parametrize(
    "head",
    [
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\r\n" * 1000,
        b"\x00" * 1000,
    ],
)
def test_a_response_that_is_not_http_has_its_own_error(head: bytes, serve: Serve) -> None:
    error_of(lambda: serve(RawAnswer([head])).chat("Hello"), GigaClientError, seconds=5)


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: -1\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 0x10\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: rot13\r\n",
        b"Content-Encoding: x-unknown\r\n",
        b"Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip, gzip, gzip, gzip, gzip\r\n",
    ],
)
def test_headers_that_lie_about_the_body_end_in_a_typed_error(lengths: bytes, serve: Serve) -> None:
    giga = serve(RawAnswer([HEAD + lengths + b"\r\n", b"{}not json", Pause(0.1)]))
    error_of(lambda: giga.chat("Hello"), GigaClientError, seconds=5)


# -- bodies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["close", "chunked", "length"])
def test_a_body_without_end_is_read_to_the_limit_and_no_further(framing: str, serve: Serve) -> None:
    if framing == "chunked":
        steps: list[Any] = [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", forever(chunk(BLOCK))]
    elif framing == "length":
        steps = [HEAD + b"Content-Length: 100000000000\r\n\r\n", forever(BLOCK)]
    else:
        steps = [HEAD + b"\r\n", forever(BLOCK)]

    def flat() -> Iterator[Step]:
        yield steps[0]
        yield from steps[1]

    # The limit is 64 MiB, and joining the pieces needs it twice.
    error = error_of(lambda: serve(RawAnswer(flat())).chat("Hello"), InvalidResponseError, seconds=25, megabytes=160)
    assert "larger than" in str(error)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 503])
def test_a_page_of_ten_megabytes_is_quoted_and_not_kept(status: int, serve: Serve) -> None:
    page: list[Step] = [b"<html><title>Oops</title>", *[b"<p>Sorry!</p>" * 800] * 1000]
    giga = serve(Answer(status, {"Content-Type": "text/html"}, page))
    error = error_of(lambda: giga.chat("Hello"), GigaClientError, megabytes=2 if status != 200 else 32)
    kept = getattr(error, "body", "")
    assert len(str(kept)) < 2000
    if status != 200:
        assert isinstance(error, APIStatusError)
        assert error.status_code == status


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"choices":[', b'{"error":{"message":'])
def test_json_nested_without_end_is_an_error_and_no_crash(status: int, opening: bytes, serve: Serve) -> None:
    giga = serve(Answer(status, {"Content-Type": "application/json"}, opening * 200_000))
    error = error_of(lambda: giga.chat("Hello"), GigaClientError, megabytes=24)
    assert isinstance(error, InvalidResponseError if status == 200 else APIStatusError)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"' + b"9" * 100 + b'","role":"assistant"},"index":' + b"9" * 5000 + b"}]}",
        b'{"choices":' + b"9" * 1_000_000 + b"}",
        b'{"choices":1e999999999}',
        b'{"choices":[' + b"0," * 300_000 + b"0]}",
        b"\xff\xfe" * 100_000,
        b"\xef\xbb\xbf" + b" " * 1_000_000,
        b'{"choices":null,"choices":' + b"[]," * 10 + b"}",
    ],
    ids=["integer", "long-number", "exponent", "many", "bytes", "blanks", "twice"],
)
def test_json_that_is_absurd_is_an_error(body: bytes, serve: Serve) -> None:
    giga = serve(Answer(200, {"Content-Type": "application/json"}, body))
    error_of(lambda: giga.chat("Hello"), InvalidResponseError, megabytes=24)


@pytest.fixture(scope="module")
def big_bomb() -> bytes:
    """Return 600 MB of spaces in 600 KB: 600 members of one gzip file."""
    return gzip.compress(b" " * 2**24) * 40


def test_a_gzip_bomb_is_defused_at_the_limit(big_bomb: bytes, serve: Serve) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    error = error_of(
        lambda: serve(Answer(200, headers, big_bomb)).chat("Hello"), InvalidResponseError, seconds=25, megabytes=200
    )
    assert "larger than" in str(error)


def test_a_gzip_bomb_as_an_error_page_costs_nearly_nothing(big_bomb: bytes, serve: Serve) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    error_of(lambda: serve(Answer(500, headers, big_bomb)).chat("Hello"), ServerError, megabytes=16)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_gzip_bomb_in_a_stream_is_defused_at_the_limit(framing: Any, big_bomb: bytes, serve: Serve) -> None:
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    giga = serve(Answer(200, headers, big_bomb, framing=framing))
    # The limit for an event is 32 MiB; spaces without a line end are a line that is too long.
    error = error_of(lambda: giga.stream("Hello").result(), GigaClientError, seconds=25, megabytes=120)
    assert isinstance(error, InvalidResponseError)


# -- streams -------------------------------------------------------------------------------------------

GOOD = b'data: {"choices":[{"delta":{"content":"word","role":"assistant"},"index":0}]}\n\n'


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(GOOD + b'data: {"choices":"', BLOCK, id="line"),
        pytest.param(GOOD, b"data: " + b"x" * 4000 + b"\n", id="event"),
        pytest.param(GOOD + b"event: ", BLOCK, id="name"),
        pytest.param(GOOD + b": ", BLOCK, id="comment"),
    ],
)
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "plain"])
def test_an_endless_line_or_event_is_refused(first: bytes, then: bytes, chunked: bool, serve: Serve) -> None:
    def steps() -> Iterator[Step]:
        yield STREAM_HEAD if chunked else b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        yield chunk(first) if chunked else first
        yield from forever(chunk(then) if chunked else then)

    stream = serve(RawAnswer(steps())).stream("Hello")
    error = error_of(stream.result, InvalidResponseError, seconds=20, megabytes=80)  # the limit is 32 MiB
    assert "longer than" in str(error)
    assert error.text == stream.text == "word"


@pytest.mark.parametrize(
    ("first", "then"),
    [(chunk(GOOD), b": keep-alive\n\n" * 1000), (b"", b"event: ping\ndata:\n\n" * 100)],
    ids=["comments", "events without content"],
)
def test_an_endless_stream_without_content_ends_with_a_timeout(serve: Serve, first: bytes, then: bytes) -> None:
    def steps() -> Iterator[Step]:
        yield STREAM_HEAD + first
        while True:
            yield chunk(then)
            yield Pause(0.005)

    stream = serve(RawAnswer(steps())).stream("Hello", event_timeout=1.0)
    error = error_of(stream.result, APITimeoutError, seconds=5)
    assert isinstance(error, APITimeoutError)
    assert error.timeout_kind == "event"


@pytest.mark.parametrize(
    "line",
    [
        b"-5\r\n",
        b"zz\r\n",
        b"0x10\r\n",
        b"1_0\r\n",
        b"+5\r\n",
        b"ffffffffffffffffffffffff\r\n",
        b"\r\n",
        b"5" * 20_000 + b"\r\n",
        b"5;" + b"x" * 20_000 + b"\r\n",
        b"\xd9\xa3\r\n",
        b"3\r\nabcdef\r\n",
    ],
)
def test_a_chunk_of_absurd_size_is_malformed(line: bytes, serve: Serve) -> None:
    stream = serve(RawAnswer([STREAM_HEAD + chunk(GOOD), Pause(0.1), line, Pause(0.2)])).stream("Hello")
    error = error_of(stream.result, InvalidResponseError, seconds=5)
    assert error.text == "word"


@pytest.mark.parametrize("line", [b"-5\r\n", b"zz\r\n", b"5" * 70_000 + b"\r\n", b"ffffffffffffffffffffffff\r\n"])
def test_a_chunk_of_absurd_size_in_a_plain_answer_is_an_error(line: bytes, serve: Serve) -> None:
    giga = serve(RawAnswer([HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + line, Pause(0.2)]))
    error_of(lambda: giga.chat("Hello"), GigaClientError, seconds=5)


def test_a_chunk_larger_than_memory_uses_only_what_arrives(serve: Serve) -> None:
    giga = serve(RawAnswer([STREAM_HEAD + chunk(GOOD) + b"7fffffffffffffff\r\n", GOOD]))
    stream = giga.stream("Hello")
    error = error_of(stream.result, StreamInterruptedError, seconds=5)
    assert error.text == "wordword"


def test_endless_trailers_are_refused(serve: Serve) -> None:
    def steps() -> Iterator[Step]:
        yield STREAM_HEAD + chunk(GOOD) + b"0\r\n"
        yield from forever(b"X-More: and more\r\n" * 1000)

    error_of(lambda: serve(RawAnswer(steps())).stream("Hello").result(), GigaClientError, seconds=5)


def test_data_after_the_end_marker_is_not_read(serve: Serve) -> None:
    def steps() -> Iterator[Step]:
        yield STREAM_HEAD + chunk(GOOD + b"data: [DONE]\n\n")
        yield from forever(chunk(BLOCK))

    with at_most(seconds=5, megabytes=8):
        assert serve(RawAnswer(steps())).stream("Hello").result().text == "word"


# -- other hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("stream", [False, True], ids=["chat", "stream"])
def test_a_redirect_is_an_error_and_the_other_host_hears_nothing(status: int, stream: bool) -> None:
    with Server(lambda request: Answer(200, {}, b"{}")) as other:
        redirect = Answer(status, {"Location": f"{other.url}/v1/chat/completions?key=value"}, b"")
        with (
            Server(lambda request: redirect) as server,
            GigaChat(access_token="good-token", base_url=f"{server.url}/v1", **PATIENT) as giga,
        ):
            call = giga.stream if stream else giga.chat
            error = error_of(lambda: call("Hello"), APIStatusError, seconds=5)
        assert isinstance(error, APIStatusError)
        assert error.status_code == status
        assert other.connections == 0
        assert len(server.requests) == 1


def test_a_redirect_of_the_token_endpoint_takes_the_key_nowhere() -> None:
    with Server(lambda request: token_answer()) as other:
        with (
            Server(lambda request: Answer(307, {"Location": f"{other.url}/oauth"}, b"")) as server,
            GigaChat(
                credentials="aWQ6c2VjcmV0LXNlY3JldA==",
                base_url=f"{server.url}/v1",
                auth_url=f"{server.url}/oauth",
                **PATIENT,
            ) as giga,
        ):
            error_of(lambda: giga.chat("Hello"), APIStatusError, seconds=5)
        assert other.connections == 0


def test_cookies_are_neither_kept_nor_sent_nor_shown(gigachat_emulator: GigaChatEmulator) -> None:
    seen: list[str | None] = []

    def answer(request: RecordedRequest) -> Answer:
        seen.append(request.headers.get("cookie"))
        body = {"choices": [{"message": {"role": "assistant", "content": "word"}, "index": 0, "finish_reason": "stop"}]}
        names = [("Set-Cookie", f"session{number}=hostile; Path=/") for number in range(50)]
        return Answer(200, [*names, ("Content-Type", "application/json")], json.dumps(body))

    with Server(answer) as server, GigaChat(access_token="good-token", base_url=f"{server.url}/v1", **PATIENT) as giga:
        for _ in range(3):
            completion = giga.chat("Hello")
            assert "set-cookie" not in {name.lower() for name in completion.headers}
    assert seen == [None, None, None]


# -- tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [
        "x" * 10_000_000,
        "x" * 200_000,
        "good\r\nX-Evil: 1",
        "good\ntoken",
        "good\ttoken",
        "good token",
        "т0кен",
        "\x00",
        "",
    ],
    ids=["10-MB", "200-KB", "crlf", "lf", "tab", "blank", "cyrillic", "nul", "empty"],
)
def test_a_token_that_no_header_can_carry_is_refused_unshown(token: str, log_in: Serve) -> None:
    giga = log_in(token_answer(token))
    # The memory includes the emulator's ten megabytes.
    error = error_of(lambda: giga.chat("Hello"), InvalidResponseError, megabytes=40)
    assert len(error.attempts) <= 1
    if token:
        assert token[:200] not in str(error)
        assert token[:200] not in repr(vars(error))


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"token"', b"{}", b'{"access_token":{}}', b'{"access_token":["a"]}', b"[" * 100_000,
     b"\xff" * 1000, b'{"access_token":"a","expires_at":' + b"9" * 4000 + b"}", b"<html>no</html>"],
)  # fmt: skip
def test_a_token_answer_of_another_shape_is_an_error_or_lasts_until_refused(body: bytes, log_in: Serve) -> None:
    giga = log_in(Answer(200, {"Content-Type": "application/json"}, body))
    error_of(lambda: giga.chat("Hello"), GigaClientError, seconds=5)


def test_an_endless_token_response_is_refused(log_in: Serve) -> None:
    def steps() -> Iterator[Step]:
        yield HEAD + b'\r\n{"access_token":"'
        yield from forever(BLOCK)

    error = error_of(lambda: log_in(RawAnswer(steps())).chat("Hello"), InvalidResponseError, seconds=5)
    assert "larger than" in str(error)


# -- values of headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["9" * 5000, "-1", "1e400", "nan", "inf", "tomorrow", "Mon, 99 Foo 99999 99:99:99 GMT", "\x7f", "1" * 20 + " GMT"],
)
def test_a_retry_after_that_is_junk_or_for_ever_is_not_obeyed(value: str) -> None:
    answer = Answer(503, {"Retry-After": value}, b"{}")
    with (
        Server(lambda request: answer) as server,
        GigaChat(
            access_token="good-token", base_url=f"{server.url}/v1", max_retries=1, retry_backoff_factor=0.01
        ) as giga,
    ):
        error = error_of(lambda: giga.chat("Hello"), ServerError, seconds=5)
    assert isinstance(error, ServerError)
    assert error.retry_after is None or error.retry_after >= 0


def test_a_request_id_of_the_servers_making_cannot_flood_a_message() -> None:
    answer = Answer(400, {"X-Request-Id": "r" * 50_000, "Content-Type": "application/json"}, b'{"message":"no"}')
    with (
        Server(lambda request: answer) as server,
        GigaChat(access_token="good-token", base_url=f"{server.url}/v1", **PATIENT) as giga,
    ):
        error_of(lambda: giga.chat("Hello"), BadRequestError, seconds=5)
