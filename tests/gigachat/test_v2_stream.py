"""Streams of API v2 over real TLS connections: how they end, variants of servers, and the kept data."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from support.clients import client_with_new_key
from support.stream_tools import WAIT_SECONDS, Background, until

from gigaclient import GigaChat
from gigaclient.errors import (
    APIConnectionError,
    APITimeoutError,
    GigaClientError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient.gigachat.v2.stream import ChatResponseStream
from gigaclient.testing import Answer, Fault, GigaChatEmulator, Pause

TEXT = "1, 2, 3, 4, 5"
PROMPT = "Count from 1 to 5"
CHAT = "/v2/chat/completions"
TIDE = {
    "name": "get_tide",
    "description": "Tells the height of the tide in a port",
    "parameters": {"type": "object", "properties": {"port": {"type": "string"}}},
}


@pytest.fixture
def emulator(shared_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    shared_emulator.clear()
    before = {name: value for name, value in vars(shared_emulator.v2).items() if not name.startswith("_")}
    yield shared_emulator
    for name, value in before.items():
        setattr(shared_emulator.v2, name, value)
    shared_emulator.max_streams = None
    shared_emulator.clear()


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with client_with_new_key(emulator) as client:
        yield client


# -- complete streams ------------------------------------------------------------------------------


def test_a_stream_gives_events_that_make_the_answer(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with giga.chat.stream(PROMPT, request_id="my-request", update_interval=0) as stream:
        assert isinstance(stream, ChatResponseStream)
        chunks = list(stream)
    assert [chunk.text for chunk in chunks] == ["1,", " 2,", " 3,", " 4,", " 5", ""]
    assert [chunk.event for chunk in chunks] == ["response.message.delta"] * 5 + ["response.message.done"]
    assert chunks[-1].finish_reason == stream.completion.finish_reason == "stop"
    assert stream.text == stream.result().text == TEXT
    assert stream.completion.usage is not None
    assert stream.completion.usage.output_tokens > 0
    assert stream.request_id == stream.completion.request_id == "my-request"
    sent = emulator.requests[-1]
    assert sent.headers["accept"] == "text/event-stream"
    assert sent.json()["stream"] is True
    assert sent.json()["model_options"] == {"update_interval": 0}


def test_the_stream_and_the_whole_answer_are_the_same(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    whole, streamed = giga.chat.create(PROMPT), giga.chat.stream(PROMPT).result()
    assert (whole.messages, whole.usage, whole.finish_reason) == (
        streamed.messages,
        streamed.usage,
        streamed.finish_reason,
    )


def test_the_recorded_stream_is_replayed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.replay("v2-stream.sse")
    answer = giga.chat.stream("Count").result()
    assert (answer.text, answer.model) == ("1, 2, 3", "GigaChat-3-Ultra:32.3.18.5")


@pytest.mark.parametrize(
    "habit",
    [
        "unnamed_events",
        "add_done_marker",
        "state_id_only_in_done",
        "function_call_only_in_done",
        "text_in_done",
        "string_content",
    ],
)
def test_variants_of_servers_give_the_same_answer(emulator: GigaChatEmulator, giga: GigaChat, habit: str) -> None:
    question = "How high is the tide in Murmansk?"
    usual = giga.chat.stream(question, functions=[TIDE]).result()
    setattr(emulator.v2, habit, True)
    with giga.chat.stream(PROMPT) as stream:
        assert "".join([chunk.text for chunk in stream]) == TEXT
    assert (stream.text, stream.completion.finish_reason) == (TEXT, "stop")
    answer = giga.chat.stream(question, functions=[TIDE]).result()
    assert [call.arguments for call in answer.function_calls] == [{"port": "Murmansk"}]
    assert answer.function_call is not None
    assert answer.function_call.id
    assert answer.tools_state_id
    assert answer.finish_reason == usual.finish_reason == "function_call"
    assert answer.message.tools_state_id == answer.tools_state_id


def test_tools_report_and_reasoning_is_apart(giga: GigaChat) -> None:
    with giga.chat.stream("Who is the president?", tools=["web_search"], reasoning="high") as stream:
        chunks = list(stream)
    events = [chunk.event for chunk in chunks if chunk.event != "response.message.delta"]
    assert events == ["response.tool.in_progress", "response.tool.completed", "response.message.done"]
    assert "".join([chunk.reasoning_text for chunk in chunks]) == stream.completion.reasoning_text != ""
    assert "".join([chunk.text for chunk in chunks]) == stream.completion.text
    assert set(stream.completion.sources) == {"1", "2"}
    assert [run.status for run in stream.completion.tool_executions] == ["success"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(write_size=1),
        Fault(write_size=7, crlf="\r\n"),
        Fault(gzip=True),
        Fault(close_delimited=True),
        Fault(comments=2),
        Fault(content_type=""),
        Fault(extra=b"event: response.brand.new\ndata: {}\n\n", extra_after_events=1),
        Fault(extra=b"event: ping\n\n", extra_after_events=0),
        Fault(no_finish_reason=True),
    ],
)
def test_the_bytes_may_come_in_any_framing(emulator: GigaChatEmulator, giga: GigaChat, fault: Fault) -> None:
    emulator.inject(fault, path=CHAT)
    assert giga.chat.stream(PROMPT).result().text == TEXT


def test_a_cut_after_the_last_event_does_not_matter(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(cut_after_events=6), path=CHAT)
    assert giga.chat.stream(PROMPT).result().text == TEXT


def test_a_server_that_does_not_hang_up_is_not_waited_for(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(stall_after_events=6), path=CHAT)
    began = time.monotonic()
    assert giga.chat.stream(PROMPT).result().text == TEXT
    assert time.monotonic() - began < WAIT_SECONDS / 2


def test_the_connection_is_used_again(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.chat.stream(PROMPT).result()
    before = emulator.connections
    giga.chat.stream(PROMPT).result()
    assert emulator.connections == before


def test_a_v2_stream_releases_its_permit(emulator: GigaChatEmulator) -> None:
    emulator.max_streams = 1
    with client_with_new_key(emulator, max_connections=1) as giga:
        for _ in range(3):
            assert giga.chat.stream(PROMPT).result().text == TEXT
        with giga.chat.stream(PROMPT) as stream:
            next(stream)
        until(lambda: emulator.open_streams == 0, "the server's end of the stream")
        assert giga.chat.create(PROMPT).text == TEXT


# -- broken streams --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error_type", "text"),
    [
        (Fault(cut_after_events=2), StreamInterruptedError, "1, 2,"),
        (Fault(reset_after_events=2), StreamInterruptedError, "1, 2,"),
        (Fault(end_after_events=2), StreamInterruptedError, "1, 2,"),
        (Fault(end_after_events=5), StreamInterruptedError, TEXT),
        (Fault(end_after_events=0), StreamInterruptedError, ""),
        (Fault(error_after_events=2), ServerError, "1, 2,"),
        (Fault(error_after_events=2, error={"status": 404, "message": "No such model"}), NotFoundError, "1, 2,"),
        (
            Fault(
                extra=b'event: response.error\ndata: {"error_details":{"user_message":"Overloaded"}}\n\n',
                extra_after_events=2,
            ),
            ServerError,
            "1, 2,",
        ),
        (Fault(malformed_after_events=2), InvalidResponseError, "1, 2,"),
    ],
)
def test_what_came_before_an_error_is_kept(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, error_type: type[GigaClientError], text: str
) -> None:
    emulator.inject(fault, path=CHAT)
    stream = giga.chat.stream(PROMPT)
    pieces = []
    with pytest.raises(error_type) as caught:
        for chunk in stream:
            pieces.append(chunk.text)
    assert "".join(pieces) == stream.text == caught.value.text == caught.value.completion.text == text
    assert caught.value.request_id == stream.request_id
    assert stream.closed


def test_nothing_is_repeated_once_text_has_come(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(reset_after_events=1), path=CHAT)
    before = len(emulator.requests)
    with pytest.raises(StreamInterruptedError):
        giga.chat.stream(PROMPT, max_retries=3).result()
    assert len(emulator.requests) == before + 1


def test_a_stream_is_retried_before_its_first_event(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=503), times=2, path=CHAT)
    assert giga.chat.stream(PROMPT, max_retries=2).result().text == TEXT


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault(status=404), NotFoundError),
        (Fault(status=429), RateLimitError),
        (Fault(status=503, html=True), ServerError),
        (Fault(reset=True), APIConnectionError),
        (Fault(content_type="text/html"), InvalidResponseError),
    ],
)
def test_a_refusal_is_raised_by_the_call_itself(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, error_type: type[GigaClientError]
) -> None:
    emulator.inject(fault, times=None, path=CHAT)
    with pytest.raises(error_type):
        giga.chat.stream(PROMPT, max_retries=0)


def test_silence_is_bounded(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(stall_after_events=2), path=CHAT)
    stream = giga.chat.stream(PROMPT, timeout=(WAIT_SECONDS, 0.3))
    with pytest.raises(APITimeoutError) as caught:
        stream.result()
    assert (caught.value.text, caught.value.timeout_kind) == ("1, 2,", "read")


def test_close_from_another_thread_ends_a_blocked_read(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(stall_after_events=2), path=CHAT)
    stream = giga.chat.stream(PROMPT)
    reading = Background(lambda: [chunk.text for chunk in stream])
    until(lambda: stream.text == "1, 2,", "the text before the silence")
    stream.close()
    assert reading.join().result == ["1,", " 2,"]
    assert stream.text == stream.completion.text == "1, 2,"
    with pytest.raises(StreamInterruptedError):
        stream.result()


def test_a_page_in_place_of_events_is_no_answer(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(html=True), path=CHAT)
    with pytest.raises(InvalidResponseError):
        giga.chat.stream(PROMPT)


def test_events_are_read_as_they_come(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    part = {"messages": [{"role": "assistant", "content": [{"text": "1"}]}]}
    event = f"event: response.message.delta\ndata: {json.dumps(part)}\n\n".encode()
    headers = {"Content-Type": "text/event-stream"}
    emulator.answer(lambda request: Answer(200, headers, [event, Pause(None)]), place="v2")
    with giga.chat.stream(PROMPT) as stream:
        assert next(stream).text == "1"
