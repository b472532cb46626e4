"""The recorded responses of the live service, decoded whole and cut at every byte."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.stream_tools import FakeResponse

from gigaclient import ChatStream, GigaChat
from gigaclient.errors import GigaClientError, NotFoundError, StreamInterruptedError
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.streaming.sse import Decoder
from gigaclient.testing import Answer, Fault, GigaChatEmulator, recording
from gigaclient.types import Usage

STREAM = recording("v1-stream.sse").body
TEXT = (
    "$1\\, 2\\, 3$  \n\n**Подробный разбор:**\n- Начинаем счёт с единицы.\n- Добавляем следующее число — двойку."
    "\n- Заканчиваем счётом числом три."
)
USAGE = Usage(prompt_tokens=17, completion_tokens=42, total_tokens=59, precached_prompt_tokens=2)
FINISHED_AT = STREAM.index(b"\n\ndata: [DONE]")


@pytest.fixture
def giga(shared_emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    shared_emulator.clear()
    with GigaChat(**shared_emulator.client_options, max_retries=0, timeout=20) as client:
        yield client


def stream_of(*blocks: bytes) -> ChatStream:
    return ChatStream(FakeResponse(blocks), ChunkParser(None))


def test_the_recorded_stream_gives_its_text_and_usage() -> None:
    completion = stream_of(STREAM).result()
    assert completion.text == TEXT
    assert completion.usage == USAGE
    assert completion.finish_reason == "stop"
    assert completion.model == "GigaChat:2.0.28.2"
    assert completion.created == 1768996176


def test_the_recorded_stream_is_the_same_wherever_it_is_cut() -> None:
    whole = list(stream_of(STREAM))
    for cut in range(len(STREAM) + 1):
        stream = stream_of(STREAM[:cut], STREAM[cut:])
        assert list(stream) == whole, cut
        assert stream.completion.usage == USAGE
    assert list(stream_of(*(STREAM[at : at + 1] for at in range(len(STREAM))))) == whole


def test_the_recorded_stream_ended_at_any_byte_is_complete_or_an_error() -> None:
    events = recording("v1-stream.sse").events
    texts = [chunk.text for chunk in stream_of(STREAM)]
    for end in range(len(STREAM) + 1):
        stream = stream_of(STREAM[:end])
        if end >= FINISHED_AT:  # finish reason and usage have arrived; the line ends after them do not matter
            assert stream.result().text == TEXT
            assert stream.completion.usage == USAGE
            continue
        with pytest.raises(StreamInterruptedError) as caught:
            stream.result()
        whole_events = sum(end >= len(b"".join(events[:count])) - 2 for count in range(1, len(events) + 1))
        assert caught.value.text == stream.text == "".join(texts[:whole_events]), end


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_the_recorded_stream_is_the_same_with_other_line_ends(line_end: bytes) -> None:
    assert stream_of(STREAM.replace(b"\n", line_end)).result().text == TEXT


@pytest.mark.parametrize(
    "fault",
    [Fault(), Fault(write_size=1), Fault(gzip=True), Fault(close_delimited=True), Fault(crlf="\r\n"), Fault(crlf="\r"),
     Fault(write_size=3, gzip=True, close_delimited=True), Fault(comments=1)],
    ids=["plain", "bytes", "gzip", "close-delimited", "CRLF", "CR", "gzip in threes, close-delimited", "comments"],
)  # fmt: skip
def test_the_recorded_stream_is_read_over_a_real_connection(
    shared_emulator: GigaChatEmulator, giga: GigaChat, fault: Fault
) -> None:
    shared_emulator.replay("v1-stream.sse")
    shared_emulator.inject(fault, path="/chat/completions")
    stream = giga.stream("Count from 1 to 3")
    pieces = [chunk.text for chunk in stream]
    assert "".join(pieces) == stream.text == TEXT
    assert len(pieces) == 5
    assert stream.completion.usage == USAGE
    assert stream.completion.raw["usage"]["precached_prompt_tokens"] == 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 4096])
def test_the_recorded_stream_is_replayed_in_pieces_of_every_size(
    shared_emulator: GigaChatEmulator, giga: GigaChat, size: int
) -> None:
    shared_emulator.replay("v1-stream.sse")
    shared_emulator.inject(Fault(write_size=size), path="/chat/completions")
    assert giga.stream("x").result().text == TEXT


def test_the_recorded_stream_cut_on_a_real_connection_is_interrupted(
    shared_emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    for end in range(1, FINISHED_AT, 97):
        shared_emulator.replay("v1-stream.sse")
        shared_emulator.inject(Fault(cut_after_bytes=end, close_delimited=True), path="/chat/completions")
        with pytest.raises(StreamInterruptedError) as caught:
            giga.stream("x").result()
        assert TEXT.startswith(caught.value.text)


def test_the_recorded_answer_is_decoded(shared_emulator: GigaChatEmulator, giga: GigaChat) -> None:
    shared_emulator.replay("v1-chat.json")
    answer = giga.chat("Say hello")
    assert answer.text == "Hello."
    assert answer.usage == Usage(prompt_tokens=17, completion_tokens=3, total_tokens=20, precached_prompt_tokens=2)
    assert answer.model == "GigaChat:2.0.28.2"
    assert answer.raw == json.loads(recording("v1-chat.json").body)


def test_the_recorded_refusal_is_an_error(shared_emulator: GigaChatEmulator, giga: GigaChat) -> None:
    found = recording("v1-model-not-found.json")
    shared_emulator.answer(lambda _: Answer(found.status, {"Content-Type": "application/json"}, found.body))
    with pytest.raises(NotFoundError, match="No such model") as caught:
        giga.chat("x")
    assert caught.value.body == {"status": 404, "message": "No such model"}


def test_the_recorded_stream_of_v2_is_never_taken_for_an_answer_of_v1() -> None:
    with pytest.raises(GigaClientError):
        stream_of(recording("v2-stream.sse").body).result()
    events = Decoder().feed(recording("v2-stream.sse").body)
    assert [event.event for event in events] == ["response.message.delta", "response.message.done"]
