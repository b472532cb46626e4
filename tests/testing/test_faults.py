"""Tests of the bytes that each fault sends."""

from __future__ import annotations

import datetime
import email.utils
import gzip
import http.client
import json
import time
from typing import Any

import pytest
from testing.plain_client import Giga, chat_body, data_of, payloads, raw_request, tls_exchange, trusting

from gigaclient.testing import Fault, GigaChatEmulator

PROMPT = "Count from 1 to 4"
# 1, 2, 3 and 4, the last chunk, the end marker
EVENTS = 6


def stream_bytes(emulator: GigaChatEmulator, fault: Fault) -> tuple[bytes, bytes, BaseException | None]:
    """Return the head, the framed body and the final error of a stream with ``fault``."""
    emulator.inject(fault)
    token = emulator.issue_token()
    body = chat_body(PROMPT, stream=True).encode()
    request = raw_request(
        "/v1/chat/completions", "POST", body, User_Agent="raw", Authorization=f"Bearer {token}", Connection="close"
    )
    received, error = tls_exchange(emulator.api_server.port, trusting(emulator.ca_file), request)
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest, error


def unchunked(body: bytes) -> tuple[bytes, bool]:
    """Return the content of a chunked body, and True if the last chunk came."""
    content = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        if size == b"0":
            return content, rest == b"\r\n"
        content += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return content, False


def content(emulator: GigaChatEmulator, fault: Fault) -> tuple[bytes, bool]:
    return unchunked(stream_bytes(emulator, fault)[1])


def text_of(stream: bytes) -> str:
    return "".join(c["choices"][0]["delta"].get("content", "") for c in payloads(stream) if "choices" in c)


# --- instead of the answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Your request contains invalid JSON syntax."),
        (401, "Unauthorized"),
        (402, "Payment Required"),
        (403, "Permission denied"),
        (404, "No such model"),
        (413, "Payload too large"),
        (429, "Too many requests"),
        (500, "Internal Server Error"),
        (502, "Bad Gateway"),
        (503, "Service Unavailable"),
        (504, "Gateway Timeout"),
    ],
)
def test_a_status_has_the_body_of_the_service(gigachat: GigaChatEmulator, status: int, message: str) -> None:
    gigachat.inject(Fault(status=status))
    with Giga(gigachat) as giga:
        reply = giga.chat(PROMPT)
        assert reply.status == status
        assert reply.json() == {"status": status, "message": message}
        assert giga.chat(PROMPT).status == 200


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        (b"", b"", "text/plain; charset=utf-8"),
        ("no JSON", b"no JSON", "text/plain; charset=utf-8"),
        ([1, "я"], '[1,"я"]'.encode(), "application/json; charset=utf-8"),
    ],
)
def test_the_body_of_a_refusal_can_be_anything(
    gigachat: GigaChatEmulator, body: Any, sent: bytes, content_type: str
) -> None:
    gigachat.inject(Fault(status=503, body=body, headers={"X-Extra": "1"}))
    with Giga(gigachat) as giga:
        reply = giga.chat(PROMPT)
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (503, sent, content_type)
    assert reply.headers["X-Extra"] == "1"
    assert reply.headers["X-Request-Id"]


def test_retry_after_is_text_seconds_or_a_date(gigachat: GigaChatEmulator) -> None:
    moment = datetime.datetime(2026, 11, 21, 3, 0, 5, tzinfo=datetime.timezone.utc)
    with Giga(gigachat) as giga:
        for retry_after, sent in (("soon", "soon"), (2, "2"), (0.5, "0.5"), (moment, "Sat, 21 Nov 2026 03:00:05 GMT")):
            gigachat.inject(Fault(status=429, retry_after=retry_after))
            assert giga.chat(PROMPT).headers["Retry-After"] == sent
    assert email.utils.parsedate_to_datetime("Sat, 21 Nov 2026 03:00:05 GMT") == moment


@pytest.mark.parametrize(("status", "sent"), [(None, 200), (502, 502)])
def test_a_page_is_html(gigachat: GigaChatEmulator, status: int | None, sent: int) -> None:
    gigachat.inject(Fault(html=True, status=status))
    with Giga(gigachat) as giga:
        reply = giga.chat(PROMPT, stream=True)
    assert reply.status == sent
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert reply.text.startswith("<!DOCTYPE html>")


def test_a_valid_token_can_be_refused_once(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(unauthorized=True))
    with Giga(gigachat) as giga:
        reply = giga.chat(PROMPT)
        assert (reply.status, reply.json()) == (401, {"status": 401, "message": "Unauthorized"})
        assert giga.chat(PROMPT).status == 200


def test_a_reset_comes_before_any_byte(gigachat: GigaChatEmulator) -> None:
    head, _, error = stream_bytes(gigachat, Fault(reset=True))
    assert head == b""
    assert isinstance(error, ConnectionResetError)


def test_hanging_up_is_an_end_without_an_answer(gigachat: GigaChatEmulator) -> None:
    head, _, error = stream_bytes(gigachat, Fault(hang_up=True))
    assert head == b""
    assert error is None
    gigachat.inject(Fault(hang_up=True))
    with Giga(gigachat) as giga, pytest.raises(http.client.RemoteDisconnected):
        giga.chat(PROMPT)


def test_silence_before_the_head(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(before_s=0.2))
    with Giga(gigachat) as giga:
        started_at = time.monotonic()
        assert giga.chat(PROMPT).status == 200
        assert time.monotonic() - started_at > 0.18
        gigachat.inject(Fault(before_s=float("inf")))
        giga.connection.timeout = 0.2
        giga.connection.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            giga.chat(PROMPT)


# --- framing ---------------------------------------------------------------------------------------------------


def test_without_a_fault_a_stream_is_whole(gigachat: GigaChatEmulator) -> None:
    stream, ended = content(gigachat, Fault())
    assert ended
    assert len(data_of(stream)) == EVENTS
    assert text_of(stream) == "1, 2, 3, 4"
    assert stream.endswith(b"data: [DONE]\n\n")


def test_byte_by_byte_every_chunk_is_one_byte(gigachat: GigaChatEmulator) -> None:
    _, body, _ = stream_bytes(gigachat, Fault(write_size=1))
    stream, ended = unchunked(body)
    assert ended
    assert text_of(stream) == "1, 2, 3, 4"
    assert body == b"".join(b"1\r\n%c\r\n" % byte for byte in stream) + b"0\r\n\r\n"


def test_a_compressed_stream_is_the_same_stream(gigachat: GigaChatEmulator) -> None:
    head, body, _ = stream_bytes(gigachat, Fault(gzip=True))
    assert b"Content-Encoding: gzip" in head
    assert text_of(gzip.decompress(unchunked(body)[0])) == "1, 2, 3, 4"


def test_a_close_delimited_stream_has_no_framing(gigachat: GigaChatEmulator) -> None:
    head, body, error = stream_bytes(gigachat, Fault(close_delimited=True))
    assert b"Transfer-Encoding" not in head
    assert b"Content-Length" not in head
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")
    assert error is None
    gigachat.inject(Fault(close_delimited=True))
    with Giga(gigachat) as giga:
        reply = giga.chat(PROMPT)
        assert reply.headers["Content-Length"] is None
        assert reply.json()["choices"]


@pytest.mark.parametrize("wrong", ["text/plain", ""])
def test_the_content_type_can_be_wrong_or_missing(gigachat: GigaChatEmulator, wrong: str) -> None:
    gigachat.inject(Fault(content_type=wrong))
    with Giga(gigachat) as giga:
        reply = giga.chat(PROMPT, stream=True)
    assert reply.headers.get_all("Content-Type", []) == ([wrong] if wrong else [])
    assert text_of(reply.body) == "1, 2, 3, 4"


def test_the_head_can_be_sent_byte_by_byte(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(header_pause_s=0.001))
    with Giga(gigachat) as giga:
        started_at = time.monotonic()
        assert giga.chat(PROMPT).status == 200
        assert time.monotonic() - started_at > 0.2


def test_a_body_can_be_cut_after_some_bytes(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(cut_after_bytes=20))
    with Giga(gigachat) as giga, giga.open_chat(PROMPT) as response:
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
        assert len(caught.value.partial) == 20
    stream, ended = content(gigachat, Fault(cut_after_bytes=20))
    assert (len(stream), ended) == (20, False)


# --- within a stream -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(EVENTS + 1))
def test_a_cut_after_n_events(gigachat: GigaChatEmulator, count: int) -> None:
    _, body, error = stream_bytes(gigachat, Fault(cut_after_events=count))
    stream, ended = unchunked(body)
    assert (len(data_of(stream)), ended) == (count, False)
    assert not isinstance(error, ConnectionResetError)


def test_a_reset_after_n_events(gigachat: GigaChatEmulator) -> None:
    _, body, error = stream_bytes(gigachat, Fault(reset_after_events=2))
    assert len(data_of(unchunked(body)[0])) == 2
    assert isinstance(error, ConnectionResetError)


def test_an_early_end_is_a_regular_end(gigachat: GigaChatEmulator) -> None:
    stream, ended = content(gigachat, Fault(end_after_events=2))
    assert (len(data_of(stream)), ended) == (2, True)


def test_a_stall_has_its_length(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(stall_after_events=1, stall_s=0.25))
    with Giga(gigachat) as giga, giga.open_chat(PROMPT, stream=True) as response:
        assert response.read1(10_000).count(b"data: ") == 1
        started_at = time.monotonic()
        assert len(data_of(response.read())) == EVENTS - 1
        assert time.monotonic() - started_at > 0.2
    gigachat.inject(Fault(stall_after_events=1))
    with Giga(gigachat) as giga, giga.open_chat(PROMPT, stream=True) as response:
        assert response.read1(10_000).count(b"data: ") == 1
        time.sleep(0.2)
        assert gigachat.open_streams == 1
        assert gigachat.api_aborted == 0


@pytest.mark.parametrize("error", [None, {"status": 429, "message": "enough"}])
def test_an_error_object_ends_the_stream_regularly(gigachat: GigaChatEmulator, error: Any) -> None:
    stream, ended = content(gigachat, Fault(error_after_events=2, error=error))
    assert ended
    assert len(data_of(stream)) == 3
    assert json.loads(data_of(stream)[-1]) == (error or {"status": 500, "message": "Internal Server Error"})


def test_one_event_can_be_broken_json(gigachat: GigaChatEmulator) -> None:
    stream, _ = content(gigachat, Fault(malformed_after_events=1))
    data = data_of(stream)
    assert len(data) == EVENTS
    with pytest.raises(ValueError):
        json.loads(data[1])
    assert [json.loads(data[index])["object"] for index in (0, 2, 3, 4)] == ["chat.completion"] * 4


def test_one_event_can_be_invalid_utf_8(gigachat: GigaChatEmulator) -> None:
    stream, _ = content(gigachat, Fault(invalid_utf8_after_events=1))
    blocks = stream.split(b"\n\n")
    with pytest.raises(UnicodeDecodeError):
        blocks[1].decode()
    # A decoder that replaces invalid bytes would find valid JSON with a wrong text.
    assert json.loads(blocks[1].decode(errors="replace")[6:])["choices"]
    assert all(block.decode() is not None for index, block in enumerate(blocks) if index != 1)


def test_the_end_marker_can_be_missing(gigachat: GigaChatEmulator) -> None:
    stream, ended = content(gigachat, Fault(no_end_marker=True))
    assert ended
    assert b"[DONE]" not in stream
    assert payloads(stream)[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_finish_reason_can_be_missing(gigachat: GigaChatEmulator) -> None:
    stream, _ = content(gigachat, Fault(no_finish_reason=True))
    assert b"finish_reason" not in stream
    assert text_of(stream) == "1, 2, 3, 4"
    assert payloads(stream)[-1]["usage"]["total_tokens"] > 0
    assert stream.endswith(b"data: [DONE]\n\n")


def test_events_can_come_slowly(gigachat: GigaChatEmulator) -> None:
    started_at = time.monotonic()
    content(gigachat, Fault(event_pause_s=0.05))
    assert time.monotonic() - started_at > 0.05 * (EVENTS - 1)


def test_comments_stand_before_every_event(gigachat: GigaChatEmulator) -> None:
    stream, _ = content(gigachat, Fault(comments=2))
    assert stream.count(b": keep-alive\n\n") == 2 * EVENTS
    assert text_of(stream) == "1, 2, 3, 4"


def test_comments_can_go_on_for_ever(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(comments_forever_after_events=1, comment_pause_s=0.001))
    with Giga(gigachat) as giga, giga.open_chat(PROMPT, stream=True) as response:
        received = b""
        while received.count(b": keep-alive\n\n") < 50:
            received += response.read1(10_000)
        assert len(data_of(received)) == 1


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_lines_can_end_otherwise(gigachat: GigaChatEmulator, line_end: Any) -> None:
    stream, _ = content(gigachat, Fault(crlf=line_end, comments=1))
    assert stream.count(line_end.encode() * 2) == 2 * EVENTS
    assert stream.count(b"\n") == (4 * EVENTS if line_end == "\r\n" else 0)
    assert text_of(stream) == "1, 2, 3, 4"


def test_extra_bytes_are_inserted_unchanged(gigachat: GigaChatEmulator) -> None:
    assert content(gigachat, Fault(extra=b"\xef\xbb\xbfretry: 5\n\n"))[0].startswith(b"\xef\xbb\xbfretry: 5\n\ndata: ")
    stream, _ = content(gigachat, Fault(extra=b"id: 7\ndata\n\n", extra_after_events=1))
    assert stream.split(b"\n\n")[1] == b"id: 7\ndata"


def test_faults_combine(gigachat: GigaChatEmulator) -> None:
    head, body, _ = stream_bytes(
        gigachat, Fault(crlf="\r\n", close_delimited=True, write_size=3, no_end_marker=True, end_after_events=3)
    )
    assert b"Transfer-Encoding" not in head
    assert text_of(body) == "1, 2, 3,"
    assert body.endswith(b"\r\n\r\n")
