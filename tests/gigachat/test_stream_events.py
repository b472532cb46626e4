"""Parsing single events of a v1 stream. Whole streams are tested in ``test_stream.py``."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stream_tools import payload

from gigaclient.errors import GigaClientError, InvalidResponseError, RateLimitError, StreamInterruptedError
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.streaming.accumulator import ChatAccumulator
from gigaclient.streaming.sse import Event
from gigaclient.streaming.stream import END
from gigaclient.types import ChatCompletionChunk

JSON = b'{"choices":[{"delta":{"content":"hi"},"index":0}],"new":{"x":null}}'


class StandsFor:
    """An object that may refer to a chunk."""

    chunk: Any


def meaning(data: bytes, name: str = "message") -> Any:
    return ChunkParser("r-1").parse_event(Event(data, name))


def test_an_event_is_a_chunk_with_its_raw_form_and_request() -> None:
    chunk = meaning(JSON)
    assert isinstance(chunk, ChatCompletionChunk)
    assert chunk.text == "hi"
    assert chunk.raw == {"choices": [{"delta": {"content": "hi"}, "index": 0}], "new": {"x": None}}
    assert chunk.request_id == "r-1"


def test_all_chunks_of_a_stream_have_one_object_with_what_they_share() -> None:
    parser = ChunkParser("r-1")
    parser.headers = {"x-request-id": "echoed"}
    first, second = (parser.parse_event(Event(JSON)) for _ in range(2))
    assert isinstance(first, ChatCompletionChunk)
    assert isinstance(second, ChatCompletionChunk)
    assert first._hidden[1] is second._hidden[1]
    first.new = 1
    assert (first.new, second.new) == (1, {"x": None})  # what one chunk has is its alone
    for chunk in (first, second):
        assert (chunk.headers, chunk.request_id) == ({"x-request-id": "echoed"}, "r-1")


def test_a_chunk_in_a_cycle_is_collected() -> None:
    chunk = meaning(JSON)
    alive = weakref.ref(stands_for := StandsFor())
    stands_for.chunk, chunk.usage = chunk, stands_for
    del chunk, stands_for
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE]", b"[DONE] ", b"[DONE]\n", b"\t[DONE]\r"])
def test_the_end_marker_is_the_end(data: bytes) -> None:
    assert meaning(data) is END
    assert repr(END) == "END"


@pytest.mark.parametrize("data", [b"", b" ", b"\n\n"])
def test_empty_data_means_nothing(data: bytes) -> None:
    assert meaning(data) is None


@pytest.mark.parametrize("name", ["delta", "message", "response.message.delta"])
def test_the_events_name_does_not_matter(name: str) -> None:
    assert meaning(JSON, name).text == "hi"


def test_an_event_named_error_is_one_unless_it_is_a_chunk() -> None:
    assert meaning(JSON, "error").text == "hi"
    with pytest.raises(InvalidResponseError):
        meaning(b'{"reason": "x"}', "error")
    with pytest.raises(RateLimitError):
        meaning(b'{"status": 429, "message": "x"}', "error")


def test_a_chunk_without_choices_is_one() -> None:
    chunk = meaning(b'{"choices":[],"usage":{"total_tokens":5}}')
    assert chunk.choices == []
    assert chunk.usage.total_tokens == 5


def test_an_error_does_not_keep_the_error_of_the_decoder() -> None:
    for data in (b"{", b"\xff", b"[]", b'{"status":500,"message":"x"}'):
        with pytest.raises(GigaClientError) as caught:
            meaning(data)
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
        assert caught.value.request_id == "r-1"


@given(st.binary(max_size=200))
def test_any_data_is_a_chunk_an_end_nothing_or_our_error(data: bytes) -> None:
    try:
        result = meaning(data)
    except GigaClientError:
        return
    assert result is None or result is END or isinstance(result, ChatCompletionChunk)


def so_far(*chunks: dict[str, Any]) -> ChatAccumulator:
    accumulator = ChatAccumulator()
    for chunk in chunks:
        accumulator.add(msgspec.convert(chunk, ChatCompletionChunk), msgspec.json.encode(chunk))
    return accumulator


@pytest.mark.parametrize(
    ("accumulator", "whole"),
    [
        (so_far(), False),
        (so_far(payload("a")), False),
        (so_far(payload("a"), payload("", finish="stop")), True),
        (so_far(payload("a", finish="brand_new")), True),
        (so_far(payload("a", finish="stop"), payload("b", index=1)), False),
        (so_far(payload("a", finish="stop"), payload("b", index=1, finish="stop")), True),
    ],
)
def test_without_the_marker_every_answer_needs_a_finish_reason(accumulator: ChatAccumulator, whole: bool) -> None:
    parser = ChunkParser("r-1")
    parser.check_complete(accumulator, marked=True)
    if whole:
        parser.check_complete(accumulator, marked=False)
    else:
        with pytest.raises(StreamInterruptedError, match="the answer is cut"):
            parser.check_complete(accumulator, marked=False)
