"""Streams of GigaChat over real TLS connections: when chunks arrive, how streams end, and the state of the connection.

There are no mocks, because the tests are about sockets, compression, framing and threads.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.clients import client_with_new_key
from support.stream_tools import DONE, WAIT_SECONDS, Background, event, payload, sse_bytes, until

from gigaclient import ChatStream, GigaChat
from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigError,
    GigaClientError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient.testing import Answer, Fault, GigaChatEmulator, Pause

TEXT = "1, 2, 3, 4, 5"
PROMPT = "Count from 1 to 5"
CHAT = "/chat/completions"


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with client_with_new_key(emulator) as client:
        yield client


def chats(emulator: GigaChatEmulator) -> int:
    return sum(request.path.endswith(CHAT) for request in emulator.requests)


# -- complete streams ------------------------------------------------------------------------------


def test_a_stream_gives_chunks_that_make_the_answer(giga: GigaChat) -> None:
    with giga.stream(PROMPT) as stream:
        chunks = list(stream)
    assert "".join(chunk.text for chunk in chunks) == TEXT
    assert len(chunks) > 3
    assert chunks[-1].finish_reason == "stop"
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.request_id == stream.request_id for chunk in chunks)
    assert stream.completion.usage is not None
    assert stream.completion.usage.completion_tokens > 0


def test_a_stream_asks_for_events(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    stream = giga.stream(PROMPT, request_id="my-request", update_interval=0)
    request = emulator.requests[-1]
    assert request.headers["accept"] == "text/event-stream"
    assert request.json()["stream"] is True
    assert request.json()["update_interval"] == 0
    assert stream.request_id == request.headers["x-request-id"] == "my-request"
    stream.close()


def test_the_request_was_sent_and_accepted_when_the_stream_is_there(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    before = chats(emulator)
    stream = giga.stream(PROMPT)
    assert chats(emulator) == before + 1
    assert isinstance(stream, ChatStream)
    stream.close()


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault(status=404), NotFoundError),
        (Fault(status=429), RateLimitError),
        (Fault(status=503, html=True), ServerError),
        (Fault(reset=True), APIConnectionError),
    ],
)
def test_a_refusal_is_raised_by_the_call_itself(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, error_type: type[GigaClientError]
) -> None:
    emulator.inject(fault, times=None, path=CHAT)
    with pytest.raises(error_type):
        giga.stream(PROMPT, max_retries=0)


def test_a_stream_is_retried_before_its_first_chunk(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=503), times=2, path=CHAT)
    before = chats(emulator)
    assert giga.stream(PROMPT).result().text == TEXT
    assert chats(emulator) == before + 3


@pytest.mark.parametrize("gzip", [False, True])
def test_streams_use_one_connection_one_after_the_other(emulator: GigaChatEmulator, giga: GigaChat, gzip: bool) -> None:
    emulator.inject(Fault(gzip=gzip), times=4, path=CHAT)
    before = emulator.connections
    for _ in range(4):
        assert giga.stream(PROMPT).result().text == TEXT
    assert giga.chat(PROMPT).text == TEXT
    assert emulator.connections == before + 1


def test_a_stream_outlives_the_name_of_its_client(emulator: GigaChatEmulator) -> None:
    stream = client_with_new_key(emulator).stream(PROMPT)
    gc.collect()
    assert stream.result().text == TEXT


def test_several_answers_are_streamed_side_by_side(giga: GigaChat) -> None:
    completion = giga.stream(PROMPT, n=2).result()
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert completion.choices[0].message.content == TEXT
    assert (completion.choices[1].message.content or "").startswith(TEXT)
    assert [choice.finish_reason for choice in completion.choices] == ["stop", "stop"]


def test_a_function_call_comes_whole(giga: GigaChat) -> None:
    tide = {
        "name": "get_tide",
        "description": "The tide at a port",
        "parameters": {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
    }
    stream = giga.stream("What is the tide in Murmansk?", functions=[tide], function_call="auto")
    completion = stream.result()
    assert completion.finish_reason == "function_call"
    assert completion.function_call is not None
    assert completion.function_call.name == "get_tide"
    assert isinstance(completion.function_call.arguments, dict)
    assert completion.message.functions_state_id
    history: list[Any] = [
        {"role": "user", "content": "What is the tide in Murmansk?"},
        completion.message,
        {"role": "function", "name": "get_tide", "content": {"height_m": 1.8}},
    ]
    assert "1.8" in giga.stream(history, functions=[tide]).result().text


def test_a_progress_report_is_seen_and_is_not_text(giga: GigaChat) -> None:
    stream = giga.stream("Draw a cat", function_call="auto")
    chunks = list(stream)
    reports = [chunk for chunk in chunks if chunk.choices[0].delta.role == "function_in_progress"]
    assert reports
    assert all(report.choices[0].delta.content and report.text == "" for report in reports)
    assert stream.text.startswith("<img ")
    assert "Seconds left" not in stream.text


def test_unknown_fields_of_a_chunk_stay_reachable(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    chunk = payload("hi", finish="brand_new", future={"x": None}, delta={"mood": "good", "role": "oracle"})
    emulator.answer(sse_bytes(chunk) + DONE)
    stream = giga.stream(PROMPT)
    assert [one.raw for one in stream] == [chunk]
    assert stream.completion.finish_reason == "brand_new"
    assert stream.completion.message.role == "oracle"
    assert stream.completion.raw["future"] == {"x": None}
    assert stream.completion.raw["choices"][0]["message"]["mood"] == "good"


# -- chunks without delay --------------------------------------------------------------------------

FRAMINGS: dict[str, dict[str, Any]] = {
    "chunked": {},
    "close-delimited": {"close_delimited": True},
    "gzip": {"gzip": True},
    "gzip, close-delimited": {"gzip": True, "close_delimited": True},
    "byte by byte": {"write_size": 1},
    "byte by byte, close-delimited": {"write_size": 1, "close_delimited": True},
    "CRLF": {"crlf": "\r\n"},
    "CR alone": {"crlf": "\r"},
    "CR alone, byte by byte": {"crlf": "\r", "write_size": 1},
    "with comments": {"comments": 2},
}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_an_event_comes_out_as_soon_as_its_last_byte_is_in(
    emulator: GigaChatEmulator, giga: GigaChat, framing: dict[str, Any]
) -> None:
    # After two events the server is silent, so that waiting for a third one ends with the read timeout.
    emulator.inject(Fault(stall_after_events=2, **framing), path=CHAT)
    with giga.stream(PROMPT, timeout=WAIT_SECONDS / 2) as stream:
        assert [next(stream).text, next(stream).text] == ["1,", " 2,"]


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_every_framing_gives_the_same_answer(
    emulator: GigaChatEmulator, giga: GigaChat, framing: dict[str, Any]
) -> None:
    emulator.inject(Fault(**framing), path=CHAT)
    completion = giga.stream(PROMPT).result()
    assert completion.text == TEXT
    assert completion.finish_reason == "stop"
    assert completion.usage is not None


# -- broken streams --------------------------------------------------------------------------------

BROKEN_STREAMS: dict[str, tuple[Fault, type[GigaClientError], str]] = {
    "cut": (Fault(cut_after_events=2), StreamInterruptedError, "1, 2,"),
    "reset": (Fault(reset_after_events=2), StreamInterruptedError, "1, 2,"),
    "ends early in good order": (Fault(end_after_events=2), StreamInterruptedError, "1, 2,"),
    "ends early, close-delimited": (Fault(end_after_events=2, close_delimited=True), StreamInterruptedError, "1, 2,"),
    "cut, close-delimited": (Fault(cut_after_events=2, close_delimited=True), StreamInterruptedError, "1, 2,"),
    "cut before the first event": (Fault(cut_after_events=0), StreamInterruptedError, ""),
    "reset before the first event": (Fault(reset_after_events=0), StreamInterruptedError, ""),
    "cut within an event": (Fault(cut_after_bytes=250), StreamInterruptedError, "1,"),
    "cut within an event, close-delimited": (
        Fault(cut_after_bytes=250, close_delimited=True), StreamInterruptedError, "1,"
    ),
    "gzip cut": (Fault(gzip=True, cut_after_events=2), StreamInterruptedError, "1, 2,"),
    "gzip ends early": (Fault(gzip=True, end_after_events=2), StreamInterruptedError, "1, 2,"),
    "gzip cut, close-delimited": (
        Fault(gzip=True, cut_after_events=2, close_delimited=True), StreamInterruptedError, "1, 2,"
    ),
    "neither end marker nor finish reason": (
        Fault(no_end_marker=True, no_finish_reason=True), StreamInterruptedError, TEXT
    ),
    "error object": (Fault(error_after_events=2), ServerError, "1, 2,"),
    "error of its status": (
        Fault(error_after_events=2, error={"status": 429, "message": "Too many requests"}), RateLimitError, "1, 2,"
    ),
    "wrapped error": (
        Fault(error_after_events=2, error={"error": {"code": 404, "message": "gone"}}), NotFoundError, "1, 2,"
    ),
    "malformed JSON": (Fault(malformed_after_events=2), InvalidResponseError, "1, 2,"),
    "not an object": (Fault(extra_after_events=2, extra=b"data: [1]\n\n"), InvalidResponseError, "1, 2,"),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "error_type", "text"), BROKEN_STREAMS.values(), ids=BROKEN_STREAMS)
def test_an_incomplete_stream_is_an_error_with_the_text_so_far(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, error_type: type[GigaClientError], text: str
) -> None:
    emulator.inject(fault, path=CHAT)
    before = chats(emulator)
    got: list[str] = []
    stream = giga.stream(PROMPT, max_retries=5)
    with pytest.raises(error_type) as caught:
        for chunk in stream:
            got.append(chunk.text)
    assert type(caught.value) is error_type
    assert "".join(got) == text
    assert caught.value.text == stream.text == text
    assert caught.value.completion is not None
    assert caught.value.completion.text == text
    assert caught.value.request_id == stream.request_id == emulator.requests[-1].headers["x-request-id"]
    assert caught.value.__context__ is None
    # Nothing is sent or yielded twice, and the client still works.
    assert chats(emulator) == before + 1
    assert list(stream) == []
    assert giga.stats().in_flight == 0
    assert giga.stream(PROMPT).result().text == TEXT


PAGES: dict[str, tuple[Fault, type[GigaClientError], str]] = {
    "HTML": (Fault(html=True), InvalidResponseError, "text/html"),
    "error as JSON": (Fault(body={"status": 500, "message": "oh"}), ServerError, "oh"),
    "error of its status": (Fault(body={"status": 429, "message": "oh"}), RateLimitError, "oh"),
    "wrong content type": (Fault(content_type="text/plain"), InvalidResponseError, "text/plain"),
    "JSON's content type": (Fault(content_type="application/json"), InvalidResponseError, "application/json"),
    "empty page": (Fault(body=b""), InvalidResponseError, "not an event stream"),
    "text": (Fault(body="please log in"), InvalidResponseError, "please log in"),
}


@pytest.mark.parametrize(("fault", "error_type", "message"), PAGES.values(), ids=PAGES)
def test_a_response_that_is_not_an_event_stream_is_refused_with_its_body(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, error_type: type[GigaClientError], message: str
) -> None:
    emulator.inject(fault, path=CHAT)
    with pytest.raises(error_type) as caught:
        giga.stream(PROMPT)
    assert message in str(caught.value)
    assert caught.value.request_id
    if isinstance(caught.value, InvalidResponseError):
        assert caught.value.status_code == 200
        assert "x-request-id" in caught.value.headers
        assert caught.value.body or fault.body == b""
    assert giga.stats().in_flight == 0


def test_the_content_type_is_read_without_its_parameters_and_case(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for content_type in ("Text/Event-Stream ; charset=windows-1251", "text/event-stream;charset=utf-8", ""):
        emulator.inject(Fault(content_type=content_type), path=CHAT)
        assert giga.stream("Скажи: привет").result().text == "привет"


def test_an_empty_event_stream_is_an_interrupted_one(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.answer(b"")
    with pytest.raises(StreamInterruptedError):
        giga.stream(PROMPT).result()


@pytest.mark.parametrize(
    "fault",
    [Fault(no_end_marker=True), Fault(no_finish_reason=True), Fault(no_end_marker=True, close_delimited=True)],
    ids=["no end marker", "no finish reason", "no end marker, close-delimited"],
)
def test_either_end_marker_or_finish_reason_will_do(emulator: GigaChatEmulator, giga: GigaChat, fault: Fault) -> None:
    emulator.inject(fault, path=CHAT)
    assert giga.stream(PROMPT).result().text == TEXT


def test_a_server_that_stays_after_its_end_marker_is_not_waited_for(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    whole = sse_bytes(payload("hi", finish="stop")) + DONE
    emulator.answer(lambda _: Answer(200, {"Content-Type": "text/event-stream"}, [whole, Pause(None)]))
    stream = giga.stream(PROMPT, timeout=600)
    assert Background(stream.result).join().result.text == "hi"  # join has a limit far below 600 s


# -- timeouts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "options", "deadline"),
    [
        (Fault(stall_after_events=2), {"timeout": 0.4}, "read"),
        (Fault(stall_after_events=2), {"deadline": 0.6}, "deadline"),
        (Fault(comments_forever_after_events=2), {"event_timeout": 0.5}, "event"),
        (Fault(comments_forever_after_events=2), {"timeout": 0.2}, "event"),
        (Fault(comments_forever_after_events=2), {"deadline": 0.6}, "deadline"),
        (Fault(write_size=1, write_pause_s=0.01), {"deadline": 0.6}, "deadline"),
    ],
    ids=["silence", "silence, deadline", "comments", "comments, by default four reads", "comments, deadline", "drip"],
)
def test_a_timeout_keeps_the_text(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, options: dict[str, float], deadline: str
) -> None:
    emulator.inject(fault, path=CHAT)
    giga.get_token()
    stream = giga.stream(PROMPT, **options)
    with pytest.raises(APITimeoutError) as caught:
        stream.result()
    assert caught.value.timeout_kind == deadline
    if fault.write_size is None:
        assert caught.value.text == stream.text == "1, 2,"
    assert stream.closed
    assert giga.stats().in_flight == 0


def test_keep_alive_comments_within_the_timeout_keep_the_stream_open(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    emulator.inject(Fault(comments=3, event_pause_s=0.05), path=CHAT)
    assert giga.stream(PROMPT, event_timeout=5).result().text == TEXT


def test_a_slow_reader_is_not_a_silent_server(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(event_pause_s=0.02), path=CHAT)
    stream = giga.stream(PROMPT, timeout=0.4, event_timeout=0.4)
    next(stream)
    time.sleep(0.6)  # longer than both timeouts
    assert stream.result().text == TEXT


# -- closing ---------------------------------------------------------------------------------------


def test_closing_from_another_thread_ends_a_blocked_read_at_once(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(stall_after_events=2), path=CHAT)
    stream = giga.stream(PROMPT, timeout=600)
    reader = Background(lambda: [chunk.text for chunk in stream])
    until(lambda: stream.text == "1, 2,")
    stream.close()
    assert reader.join().error is None  # join has a limit far below 600 s
    assert reader.result == ["1,", " 2,"]
    with pytest.raises(StreamInterruptedError, match="closed"):
        stream.result()
    assert giga.stats().in_flight == 0


def test_closing_the_client_ends_a_blocked_read_with_an_error(emulator: GigaChatEmulator) -> None:
    client = client_with_new_key(emulator)
    emulator.inject(Fault(stall_after_events=2), path=CHAT)
    stream = client.stream(PROMPT, timeout=600)
    reader = Background(stream.result)
    until(lambda: stream.text == "1, 2,")
    client.close()
    error = reader.join().error
    assert isinstance(error, StreamInterruptedError)
    assert error.text == "1, 2,"


def test_a_second_reader_of_a_stream_is_refused_and_the_first_goes_on(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    emulator.inject(Fault(stall_after_events=2, stall_s=0.5), path=CHAT)
    stream = giga.stream(PROMPT)
    reader = Background(lambda: [chunk.text for chunk in stream])
    until(lambda: stream.text == "1, 2,")
    with pytest.raises(ConfigError, match="one thread at a time"):
        next(stream)
    assert "".join(reader.join().result) == TEXT
    assert stream.result().text == TEXT


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals are sent to threads on POSIX alone")
def test_an_interrupt_keeps_the_text_and_closes_the_connection(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(stall_after_events=2), path=CHAT)
    aborted = emulator.api_aborted
    stream = giga.stream(PROMPT, timeout=600)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        until(lambda: stream.text == "1, 2,")
        time.sleep(0.05)  # blocked in a read, or about to be: both must work
        signal.pthread_kill(main, signal.SIGINT)

    sender = Background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        stream.result()
    sender.join()
    assert stream.closed
    assert stream.text == stream.completion.text == "1, 2,"
    assert list(stream) == []
    until(lambda: emulator.api_aborted == aborted + 1, "the server seeing the connection go")
    assert giga.stats().in_flight == 0
    assert giga.chat(PROMPT).text == TEXT


@pytest.mark.parametrize("way", ["close", "with", "drop", "break out of the loop"])
def test_a_half_read_stream_releases_its_permit(emulator: GigaChatEmulator, way: str) -> None:
    emulator.inject(Fault(stall_after_events=2), path=CHAT)
    aborted = emulator.api_aborted
    with client_with_new_key(emulator, max_connections=1, deadline=WAIT_SECONDS) as client:
        gc.disable()  # dropping the last reference must be enough
        try:
            if way == "break out of the loop":
                for _chunk in client.stream(PROMPT):
                    break
            elif way == "with":
                with client.stream(PROMPT) as stream:
                    next(stream)
            else:
                stream = client.stream(PROMPT)
                next(stream)
                assert client.stats().in_flight == 1
                if way == "close":
                    stream.close()
                del stream
            assert client.stats().in_flight == 0
            assert client.chat(PROMPT).text == TEXT  # would wait for its permit until the deadline
        finally:
            gc.enable()
    until(lambda: emulator.api_aborted == aborted + 1, "the server seeing the connection go")


def test_a_stream_that_was_never_read_releases_its_permit(emulator: GigaChatEmulator) -> None:
    with client_with_new_key(emulator, max_connections=1, deadline=WAIT_SECONDS) as client:
        client.stream(PROMPT)
        assert client.chat(PROMPT).text == TEXT
        stream = client.stream(PROMPT)
        stream.close()
        assert list(stream) == []
        assert client.chat(PROMPT).text == TEXT


def test_a_stream_in_a_reference_cycle_releases_its_permit(emulator: GigaChatEmulator) -> None:
    with client_with_new_key(emulator, max_connections=1, deadline=WAIT_SECONDS) as client:
        ring: list[Any] = [client.stream(PROMPT)]
        next(ring[0])
        ring.append(ring)
        del ring
        gc.collect()
        assert client.chat(PROMPT).text == TEXT


def test_a_refused_stream_releases_its_permit(emulator: GigaChatEmulator) -> None:
    with client_with_new_key(emulator, max_connections=1, deadline=WAIT_SECONDS, max_retries=0) as client:
        for fault in (Fault(status=404), Fault(html=True), Fault(reset=True), Fault(status=500)):
            # A reset of a reused connection is retried once on a new one: two resets make one failure.
            emulator.inject(fault, path=CHAT, times=2 if fault.reset else 1)
            with pytest.raises(GigaClientError):
                client.stream(PROMPT)
        assert client.stream(PROMPT).result().text == TEXT


def test_a_revoked_token_is_renewed_before_the_stream_begins(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.get_token()
    emulator.revoke_tokens()
    before = emulator.oauth_calls
    assert giga.stream(PROMPT).result().text == TEXT
    assert emulator.oauth_calls == before + 1


def test_a_401_within_a_stream_is_an_error_and_nothing_is_repeated(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.get_token()
    before, tokens = chats(emulator), emulator.oauth_calls
    emulator.inject(Fault(error_after_events=1, error={"status": 401, "message": "Token has expired"}), path=CHAT)
    with pytest.raises(AuthenticationError) as caught:
        giga.stream(PROMPT).result()
    assert caught.value.text == "1,"
    assert (chats(emulator), emulator.oauth_calls) == (before + 1, tokens)


def test_a_status_error_in_a_stream_is_whole(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.answer(event(payload("Hel")) + event({"status": 422, "message": "Invalid params: no", "more": 1}))
    with pytest.raises(APIStatusError) as caught:
        giga.stream(PROMPT).result()
    assert caught.value.status_code == 422
    assert caught.value.message == "Invalid params: no"
    assert caught.value.body == {"status": 422, "message": "Invalid params: no", "more": 1}
    assert caught.value.text == "Hel"
