"""Tests of the stream object without a network: its text, its end, closing, and errors.

``gigachat/test_stream.py`` tests the same over a real connection.
"""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.stream_tools import DONE, WAIT_SECONDS, Background, FakeResponse, event, payload, sse_bytes

from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    GigaClientError,
    InvalidResponseError,
    RateLimitError,
    StreamInterruptedError,
)
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.streaming.stream import ChatStream

HELLO = [event(payload("Hel", delta={"role": "assistant"})), event(payload("lo"))]
END = event(payload("", finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}))
WHOLE = [*HELLO, END, DONE]


def stream_of(
    *blocks: bytes | BaseException | Callable[[], bytes], **timeouts: float
) -> tuple[ChatStream, FakeResponse]:
    response = FakeResponse(blocks, **timeouts)
    return ChatStream(response, ChunkParser("r-1"), request_id="r-1"), response


# -- broken characters -----------------------------------------------------------------------------


@pytest.mark.parametrize("last", [END, event(payload(finish="stop"))], ids=["empty content", "no content"])
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ((rb"High \ud83c", rb"\udf0a tide"), "High 🌊 tide"),
        ((rb"High \ud83c", b"tide"), "High \ufffdtide"),
        ((rb"High \ud83c",), "High \ufffd"),
        ((rb"\udf0a tide",), "\ufffd tide"),
        ((rb"High \ud83c", b"", rb"\udf0a"), "High 🌊"),
        ((b"High\xf0\x9f\xff tide",), "High\ufffd\ufffd tide"),
    ],
)
def test_half_a_character_is_joined_with_its_other_half_or_replaced(
    pieces: tuple[bytes, ...], text: str, last: bytes
) -> None:
    blocks = [event(b'{"choices":[{"delta":{"content":"%s"},"index":0}]}' % piece) for piece in pieces]
    stream, _ = stream_of(*blocks, last, DONE)
    assert "".join(chunk.text for chunk in stream) == text
    completion = stream.result()
    assert completion.text == stream.text == text
    assert "broken characters" in completion.repaired[0]
    assert completion.finish_reason == "stop"


def test_half_a_character_before_the_end_marker_is_replaced() -> None:
    stream, _ = stream_of(event(b'{"choices":[{"delta":{"content":"High \\ud83c"},"index":0}]}'), DONE)
    chunks = list(stream)
    assert [chunk.text for chunk in chunks] == ["High ", "\ufffd"]
    assert chunks[1].raw == {"choices": [{"index": 0, "delta": {"content": "\ufffd"}}]}
    assert stream.text == stream.result().text == "High \ufffd"


def test_half_a_character_before_a_cut_is_replaced() -> None:
    stream, _ = stream_of(event(b'{"choices":[{"delta":{"content":"High \\ud83c"},"index":0}]}'))
    with pytest.raises(StreamInterruptedError) as caught:
        stream.result()
    assert caught.value.text == "High \ufffd"


def test_halves_of_two_choices_are_not_joined_with_each_other() -> None:
    def chunk(index: int, content: bytes, finish: bytes = b"null") -> bytes:
        body = b'{"choices":[{"delta":{"content":"%s"},"index":%d,"finish_reason":%s}]}'
        return event(body % (content, index, finish))

    stream, _ = stream_of(
        chunk(0, rb"a\ud83c"), chunk(1, rb"b\ud83c"), chunk(0, rb"\udf0a"), chunk(1, b"", b'"stop"'), END, DONE
    )
    assert [choice.message.content for choice in stream.result().choices] == ["a🌊", "b\ufffd"]


def test_a_stream_of_whole_characters_is_not_said_to_be_mended() -> None:
    stream, _ = stream_of(event(payload("🌊 \ufffd")), END, DONE)
    assert stream.result().repaired == ()


# -- reading ---------------------------------------------------------------------------------------


def test_chunks_come_as_they_are_read_and_not_before() -> None:
    stream, response = stream_of(*WHOLE)
    assert response.read == 0
    assert next(stream).text == "Hel"
    assert response.read == 1
    assert stream.text == "Hel"
    assert stream.completion.text == "Hel"
    assert stream.completion.finish_reason is None
    assert not stream.closed
    assert [chunk.text for chunk in stream] == ["lo", ""]
    assert stream.closed
    assert list(stream) == []


def test_the_completion_is_whole_once_the_stream_has_ended() -> None:
    stream, response = stream_of(*WHOLE)
    completion = stream.result()
    assert completion.text == stream.text == "Hello"
    assert completion.finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 3
    assert completion.message.role == "assistant"
    assert completion.request_id == stream.request_id == "r-1"
    assert response.drained == 1
    assert stream.result() == completion  # allowed more than once


def test_result_reads_what_a_loop_left() -> None:
    stream, _ = stream_of(*WHOLE)
    for _chunk in stream:
        break
    assert stream.result().text == "Hello"


def test_many_chunks_in_one_block_come_one_by_one() -> None:
    stream, _ = stream_of(b"".join(WHOLE))
    assert next(stream).text == "Hel"
    assert stream.text == "Hel"


def test_nothing_after_the_end_marker_counts() -> None:
    stream, _ = stream_of(b"".join(WHOLE) + event(payload("more")))
    assert stream.result().text == "Hello"


def test_its_repr_shows_state_and_length_but_no_text() -> None:
    stream, _ = stream_of(*WHOLE)
    next(stream)
    assert repr(stream) == "<ChatStream open, 3 characters so far, request r-1>"
    stream.close()
    assert "closed" in repr(stream)


# -- closing ---------------------------------------------------------------------------------------


def test_the_with_block_closes_it() -> None:
    stream, response = stream_of(*WHOLE)
    with stream as same:
        assert same is stream
        next(stream)
    assert stream.closed
    assert response.closed
    assert stream.text == "Hel"


def test_a_closed_stream_just_ends_and_has_no_result() -> None:
    stream, response = stream_of(*WHOLE)
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []
    with pytest.raises(StreamInterruptedError, match="closed") as caught:
        stream.result()
    assert caught.value.text == "Hel"
    assert caught.value.completion is not None
    assert caught.value.completion.text == "Hel"
    assert caught.value.request_id == "r-1"
    assert response.read == 1


def test_it_may_be_closed_before_it_is_read() -> None:
    stream, response = stream_of(*WHOLE)
    stream.close()
    assert response.closed == 1
    assert list(stream) == []
    assert stream.text == ""
    assert stream.completion.text == ""
    assert response.read == 0


def test_closing_after_the_end_changes_nothing() -> None:
    stream, _ = stream_of(*WHOLE)
    whole = stream.result()
    stream.close()
    assert stream.result() == whole


def test_a_failure_that_close_caused_is_an_end_and_not_an_error() -> None:
    read, closed = threading.Event(), threading.Event()

    def blocked() -> bytes:
        read.set()
        assert closed.wait(WAIT_SECONDS)
        raise APIConnectionError("the call was ended by close()")

    stream, _ = stream_of(HELLO[0], blocked)
    reader = Background(lambda: [chunk.text for chunk in stream])
    assert read.wait(WAIT_SECONDS)
    stream.close()
    closed.set()
    assert reader.join().error is None
    assert reader.result == ["Hel"]


def test_a_stream_dropped_half_read_gives_its_connection_back_at_once() -> None:
    stream, response = stream_of(*WHOLE)
    next(stream)
    gone = weakref.ref(stream)
    gc.disable()  # by reference counting: the garbage collector may run too late for the pool
    try:
        del stream
        assert gone() is None
        assert response.closed == 1
    finally:
        gc.enable()


def test_a_stream_dropped_after_its_end_closes_nothing_more() -> None:
    stream, response = stream_of(*WHOLE)
    stream.result()
    before = response.closed
    del stream
    gc.collect()
    assert response.closed == before


def test_a_second_reader_gets_an_error_and_the_first_is_not_disturbed() -> None:
    read, go_on = threading.Event(), threading.Event()

    def blocked() -> bytes:
        read.set()
        assert go_on.wait(WAIT_SECONDS)
        return HELLO[1]

    stream, response = stream_of(HELLO[0], blocked, END, DONE)
    reader = Background(lambda: [chunk.text for chunk in stream])
    assert read.wait(WAIT_SECONDS)
    with pytest.raises(ConfigError, match="one thread at a time"):
        next(stream)
    with pytest.raises(ConfigError, match="one thread at a time"):
        stream.result()
    assert stream.text == "Hel"
    assert not stream.closed
    assert not response.closed
    go_on.set()
    assert reader.join().error is None
    assert reader.result == ["Hel", "lo", ""]
    assert stream.result().text == "Hello"


# -- interrupts and errors -------------------------------------------------------------------------


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupt_passes_through_and_the_text_stays(interrupt: type[BaseException]) -> None:
    stream, response = stream_of(HELLO[0], interrupt(), HELLO[1], END, DONE)
    next(stream)
    with pytest.raises(interrupt):
        next(stream)
    assert response.closed
    assert stream.closed
    assert stream.text == stream.completion.text == "Hel"
    assert list(stream) == []
    with pytest.raises(StreamInterruptedError, match="broken"):
        stream.result()


def test_a_broken_connection_raises_an_interruption_with_the_text_so_far() -> None:
    stream, response = stream_of(*HELLO, APIConnectionError("reset by the peer"))
    got = []
    with pytest.raises(StreamInterruptedError, match="reset by the peer") as caught:
        for chunk in stream:
            got.append(chunk.text)
    assert got == ["Hel", "lo"]
    assert caught.value.text == "Hello"
    assert caught.value.completion is not None
    assert caught.value.completion.text == "Hello"
    assert caught.value.completion.finish_reason is None
    assert caught.value.request_id == "r-1"
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert response.closed
    assert stream.closed
    assert stream.text == "Hello"


def test_nothing_comes_twice_after_an_error() -> None:
    stream, _ = stream_of(*HELLO, APIConnectionError("reset by the peer"), *WHOLE)
    with pytest.raises(StreamInterruptedError):
        stream.result()
    assert list(stream) == []
    assert stream.text == "Hello"


def test_an_error_in_a_stream_can_be_pickled_with_its_text() -> None:
    stream, _ = stream_of(*HELLO, APIConnectionError("reset by the peer"))
    with pytest.raises(StreamInterruptedError) as caught:
        stream.result()
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, StreamInterruptedError)
    assert (again.text, again.request_id, str(again)) == ("Hello", "r-1", str(caught.value))
    assert again.completion is not None
    assert caught.value.completion is not None
    assert again.completion == caught.value.completion
    assert again.completion.raw == caught.value.completion.raw


@pytest.mark.parametrize("timeout_kind", ["read", "event", "deadline"])
def test_a_timeout_stays_one_and_keeps_the_text(timeout_kind: str) -> None:
    stream, _ = stream_of(*HELLO, APITimeoutError("too slow", timeout_kind=timeout_kind))
    with pytest.raises(APITimeoutError, match="too slow") as caught:
        stream.result()
    assert caught.value.timeout_kind == timeout_kind
    assert caught.value.text == "Hello"
    assert isinstance(caught.value, TimeoutError)


INVALID: list[tuple[str, list[bytes], type[GigaClientError], str]] = [
    ("no end at all", [], StreamInterruptedError, "without an end marker and without a finish reason"),
    ("cut within an event", [event(payload("lost"))[:-20]], StreamInterruptedError, "without an end marker"),
    ("cut within a character", [event(payload("я"))[:40]], StreamInterruptedError, "without an end marker"),
    ("malformed JSON", [event("{"), END, DONE], InvalidResponseError, "not JSON"),
    ("an array", [event([]), END, DONE], InvalidResponseError, "array"),
    ("a number", [event("5"), END, DONE], InvalidResponseError, "int"),
    ("null", [event("null"), END, DONE], InvalidResponseError, "null"),
    ("a text", [event('"hello"'), END, DONE], InvalidResponseError, "str"),
    ("a word", [event("[DONE"), END, DONE], InvalidResponseError, "not JSON"),
    ("a field of another type", [event({"choices": {}}), END, DONE], InvalidResponseError, "choices"),
    ("content of another type", [event(payload(delta={"content": 5})), END, DONE], InvalidResponseError, "content"),
    ("JSON nested too deep", [event("[" * 100_000), END, DONE], InvalidResponseError, "not a chunk"),
    ("an error object", [event({"status": 500, "message": "oh"}), DONE], APIStatusError, "500: oh"),
    ("an error of its class", [event({"status": 429, "message": "oh"}), DONE], RateLimitError, "429: oh"),
    ("a wrapped error", [event({"error": {"code": 429, "message": "oh"}}), DONE], RateLimitError, "429: oh"),
    ("an error as text", [event({"error": "oh"}), DONE], APIStatusError, "500: oh"),
    ("an error with empty choices", [event({"choices": [], "status": 429, "message": "oh"})], RateLimitError, "oh"),
    ("an error with null choices", [event({"choices": None, "status": 429, "message": "oh"})], RateLimitError, "oh"),
    ("an error without its empty line", [b'data: {"status": 429, "message": "oh"}'], RateLimitError, "oh"),
    ("a gateway's message", [event({"message": "Unauthorized"}), DONE], InvalidResponseError, "something else"),
    ("an event named error", [b"event: error\n" + event({"detail": 1}), DONE], InvalidResponseError, "something else"),
    ("one of two answers unfinished", [event(payload("b", index=1)), END], StreamInterruptedError, "without an end"),
]


@pytest.mark.parametrize(("name", "blocks", "error_type", "message"), INVALID, ids=[case[0] for case in INVALID])
def test_an_invalid_response_is_a_typed_error_with_the_text_so_far(
    name: str, blocks: list[bytes], error_type: type[GigaClientError], message: str
) -> None:
    stream, response = stream_of(*HELLO, *blocks)
    got: list[str] = []
    with pytest.raises(error_type) as caught:
        for chunk in stream:
            got.append(chunk.text)
    assert message in str(caught.value)
    assert "".join(got) == "Hello"
    assert caught.value.text.startswith("Hello")
    assert caught.value.completion is not None
    assert caught.value.completion.text == caught.value.text == stream.text
    assert caught.value.request_id == "r-1"
    assert response.closed
    assert type(pickle.loads(pickle.dumps(caught.value))) is type(caught.value)


def test_an_event_that_is_no_chunk_is_shown_in_the_error() -> None:
    stream, _ = stream_of(event("<html>502 Bad Gateway</html>"))
    with pytest.raises(InvalidResponseError) as caught:
        stream.result()
    assert caught.value.body == "<html>502 Bad Gateway</html>"
    assert caught.value.status_code == 200


def test_a_stream_that_only_says_it_is_done_gives_an_empty_answer() -> None:
    assert stream_of(DONE)[0].result().text == ""


COMPLETE: list[tuple[str, list[bytes]]] = [
    ("both marks", [*HELLO, END, DONE]),
    ("an end marker without a finish reason", [*HELLO, DONE]),
    ("a finish reason without an end marker", [*HELLO, END]),
    ("an end marker without its empty line", [*HELLO, DONE[:-1]]),
    ("an end marker without any line end", [*HELLO, DONE[:-2]]),
    ("a last event without its empty line", [*HELLO, END[:-1]]),
    ("a last event without any line end", [*HELLO, END[:-2]]),
    ("an end marker cut off after the finish reason", [*HELLO, END, DONE[:9]]),
    ("comments after the finish reason", [*HELLO, END, b": bye\n\n", b": by"]),
    ("spaces around the end marker", [*HELLO, b"data:  [DONE] \n\n"]),
    ("finish_reason null before", [*HELLO, event(payload("", choice={"finish_reason": None})), END, DONE]),
    ("no space after the colon", [block.replace(b"data: ", b"data:") for block in [*HELLO, END, DONE]]),
    ("CRLF", [block.replace(b"\n", b"\r\n") for block in [*HELLO, END, DONE]]),
    ("empty data in between", [HELLO[0], b"data\n\ndata: \n\n", HELLO[1], END, DONE]),
    ("an unknown event", [*HELLO, event({"ping": 1}), END, DONE]),
    ("names and ids", [b"event: delta\nid: 5\n" + block for block in [*HELLO, END, DONE]]),
    ("data over several lines", [*HELLO, END.replace(b'"delta"', b'\ndata: "delta"'), DONE]),
]


@pytest.mark.parametrize(("name", "blocks"), COMPLETE, ids=[case[0] for case in COMPLETE])
def test_an_end_marker_or_a_finish_reason_makes_an_answer_whole(name: str, blocks: list[bytes]) -> None:
    assert stream_of(*blocks)[0].result().text == "Hello"


def test_a_finish_reason_of_null_is_none() -> None:
    stream, _ = stream_of(*HELLO, event(payload("", choice={"finish_reason": None})))
    with pytest.raises(StreamInterruptedError):
        stream.result()


def test_usage_that_comes_after_the_finish_reason_is_kept() -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}})
    completion = stream_of(*HELLO, event(payload("", finish="stop")), usage, DONE)[0].result()
    assert completion.usage is not None
    assert completion.usage.total_tokens == 9
    assert completion.finish_reason == "stop"


def test_a_line_that_never_ends_is_refused_after_the_events_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from gigaclient.streaming import sse

    monkeypatch.setattr(sse.Decoder, "__init__", _small_decoder(sse.Decoder.__init__))
    stream, _ = stream_of(HELLO[0] + b"data: " + b"x" * 10_000)
    assert next(stream).text == "Hel"
    with pytest.raises(InvalidResponseError, match="longer than 1000 bytes") as caught:
        next(stream)
    assert caught.value.text == "Hel"


def _small_decoder(init: Callable[..., None]) -> Callable[..., None]:
    def made(self: Any, max_event_bytes: int = 1000) -> None:
        init(self, max_event_bytes)

    return made


# -- the event timeout -----------------------------------------------------------------------------


def test_only_chunks_renew_the_event_timeout() -> None:
    begun: list[str] = []
    response = FakeResponse([b": ping\n\n", HELLO[0], b": ping\n\n", b"data\n\n", HELLO[1] + END, DONE])
    original = type(response.deadline).begin_event

    class Watched(type(response.deadline)):  # type: ignore[misc]
        def begin_event(self) -> None:
            begun.append(stream.text)
            original(self)

    response.deadline = Watched(response.deadline.timeouts)
    stream = ChatStream(response, ChunkParser(None))
    stream.result()
    # at the start, after the first chunk, and after the block with two chunks
    assert begun == ["", "Hel", "Hello"]


def test_the_time_that_the_reader_takes_is_not_the_servers_silence() -> None:
    times: list[int] = []
    response = FakeResponse(WHOLE)

    class Watched(type(response.deadline)):  # type: ignore[misc]
        def begin_event(self) -> None:
            times.append(response.read)

    response.deadline = Watched(response.deadline.timeouts)
    stream = ChatStream(response, ChunkParser(None))
    assert times == []  # the time before the first read does not count either
    next(stream)
    assert times == [0]  # restarted when the reader returns, not when the chunk was yielded
    next(stream)
    assert times == [0, 1]


def test_functions_can_be_called_by_a_stream() -> None:
    call = {"name": "get_tide", "arguments": {"port": "Murmansk"}}
    for delta in (
        {"function_call": call},
        {"function_call": call, "content": ""},
        {"function_call": call, "content": None},
    ):
        chunk = event(payload(delta={**delta, "functions_state_id": "s-1"}))
        completion = stream_of(chunk, event(payload("", finish="function_call")), DONE)[0].result()
        assert completion.function_call is not None
        assert completion.function_call.arguments == {"port": "Murmansk"}
        assert completion.message.functions_state_id == "s-1"
        assert completion.text == ""
        assert completion.finish_reason == "function_call"


def test_a_stream_of_everything_in_single_bytes_is_the_same() -> None:
    data = sse_bytes(payload("Привет, "), payload("мир \u2028 🙂"), payload("", finish="stop")) + DONE
    stream, _ = stream_of(*(data[at : at + 1] for at in range(len(data))))
    assert [chunk.text for chunk in stream] == ["Привет, ", "мир \u2028 🙂", ""]
