"""The events of a conversation, from bytes to chunks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient import (
    APIStatusError,
    ChatCompletionChunk,
    ChatStream,
    InvalidResponseError,
    RequestEntityTooLargeError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient.fakegpt.events import SnapshotAccumulator, SnapshotParser

DONE = b"data: [DONE]\n\n"


class Bytes:
    """A response whose body is these blocks."""

    def __init__(self, blocks: list[bytes]) -> None:
        self._blocks = blocks
        self.deadline = Deadline(Timeouts())
        self.closed = False

    def blocks(self) -> Iterator[bytes]:
        yield from self._blocks

    def drain(self, blocks: Iterator[bytes]) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True


def stream_of(*blocks: bytes) -> ChatStream:
    parser = SnapshotParser("r-1")
    return ChatStream(Bytes(list(blocks)), parser, SnapshotAccumulator(parser), request_id="r-1")


def message(text: Any, message_id: str | None = "m-1", finished: bool = False, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "author": {"role": "assistant"},
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully" if finished else "in_progress",
        "metadata": {"message_type": "next", "model_slug": "text-davinci-002-render-sha"},
        "recipient": "all",
    }
    if message_id is not None:
        found["id"] = message_id
    if finished:
        found["end_turn"] = True
        found["metadata"]["finish_details"] = {"type": "stop"}
    return {"message": {**found, **fields}, "conversation_id": "c-1", "error": None}


def event(payload: Any) -> bytes:
    data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    try:
        return f"data: {data}\n\n".encode()
    except UnicodeEncodeError:
        return f"data: {json.dumps(payload)}\n\n".encode()


MODERATION = {
    "conversation_id": "c-1",
    "message_id": "m-1",
    "is_completion": True,
    "moderation_response": {"flagged": False, "blocked": False},
}
STATES = [message("The"), message("The Лена"), message("The Лена 🌊", finished=True), MODERATION]
WHOLE = b"".join(map(event, STATES)) + DONE


def test_an_answer_comes_as_chunks_of_the_common_types() -> None:
    stream = stream_of(WHOLE)
    chunks = list(stream)
    assert [chunk.text for chunk in chunks] == ["The", " Лена", " 🌊"]
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant", None, None]
    assert [chunk.finish_reason for chunk in chunks] == [None, None, "stop"]
    assert all(type(chunk) is ChatCompletionChunk for chunk in chunks)
    assert {(chunk.message_id, chunk.model, chunk.request_id) for chunk in chunks} == {
        ("m-1", "text-davinci-002-render-sha", "r-1")
    }
    assert chunks[1].raw["message"]["content"]["parts"] == ["The Лена"]
    completion = stream.completion
    assert (completion.text, completion.finish_reason) == ("The Лена 🌊", "stop")
    assert (completion.message.role, completion.message_id) == ("assistant", "m-1")
    assert completion.raw["conversation_id"] == "c-1"


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_cutting_the_bytes_anywhere_changes_nothing(places: list[int]) -> None:
    edges = [0, *sorted(places), len(WHOLE)]
    blocks = [WHOLE[start:end] for start, end in itertools.pairwise(edges)]
    assert [chunk.text for chunk in stream_of(*blocks)] == ["The", " Лена", " 🌊"]


SKIPPED = {
    "the echo of the prompt": event(message("prompt", "u", author={"role": "user"}, metadata={"message_type": None})),
    "an echo that says next": event(message("prompt", "u", author={"role": "user"})),
    "a system message": event(message("be brief", "s", author={"role": "system"}, metadata={})),
    "no metadata": event(message("x", "n", metadata=None)),
    "another message type": event(message("x", "v", metadata={"message_type": "variant"})),
    "a message to a tool": event(message("print()", "t", recipient="python")),
    "a part that is not text": event(message("x", "c", content={"content_type": "code", "text": "x"})),
    "no content": event(message("x", "c", content=None)),
    "no parts": event(message("x", content={"content_type": "text", "parts": []})),
    "parts that are null": event(message("x", content={"content_type": "text", "parts": None})),
    "a part that is no text": event(message({"asset": 1})),
    "the moderation": event(MODERATION),
    "a title": event({"type": "title_generation", "title": "Rivers", "conversation_id": "c-1"}),
    "an id alone": event({"conversation_id": "c-1"}),
    "a moment": event("2023-11-02 10:00:00.000000"),
    "some word": event("hello"),
    "nothing": b"data:\n\n",
    "JSON that is no object": event("[1, 2]") + event("17") + event('"x"') + event("null"),
    "a ping": b"event: ping\ndata: 2023-11-02 10:00:00.000000\n\n",
    "a comment": b": keep-alive\n\n",
    "empty lines": b"\n\n\n",
    "other fields": b"id: 7\nretry: 10\nwhatever\n\n",
    "an error that is null": event({"error": None, "detail": None}),
    "words that are no error": event({"message": "pong"}),
}


@pytest.mark.parametrize("case", SKIPPED)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_events_that_are_not_the_answer_are_ignored(case: str, position: int) -> None:
    events = [event(message("The")), event(message("The Lena", finished=True))]
    events.insert(position, SKIPPED[case])
    assert [chunk.text for chunk in stream_of(*events, DONE)] == ["The", " Lena"]


@pytest.mark.parametrize("case", SKIPPED)
def test_only_ignored_events_are_no_valid_response(case: str) -> None:
    with pytest.raises(InvalidResponseError, match="No valid response"):
        list(stream_of(SKIPPED[case], DONE))


@pytest.mark.parametrize("end", [DONE, b""])
def test_an_empty_stream_is_a_runtime_error(end: bytes) -> None:
    with pytest.raises(RuntimeError, match="No valid response"):
        list(stream_of(end))


@pytest.mark.parametrize("mark", [b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n", b"data: [DONE] \r\r", b"data: [DONE]"])
def test_the_end_marker_is_known_whatever_is_around_it(mark: bytes) -> None:
    stream = stream_of(event(message("a")), mark)
    assert stream.result().text == "a"


def test_nothing_is_read_after_the_end_marker() -> None:
    stream = stream_of(event(message("a")), DONE, event(message("a and more")))
    assert stream.result().text == "a"


def test_a_stream_without_the_marker_ends_well_when_the_message_said_so() -> None:
    assert stream_of(event(message("a")), event(message("ab", finished=True))).result().text == "ab"


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "finished_successfully"},
        {"end_turn": True},
        {"metadata": {"message_type": "next", "finish_details": {"type": "stop"}}},
    ],
)
def test_each_way_of_saying_that_it_is_finished_counts(fields: dict[str, Any]) -> None:
    stream = stream_of(event(message("a", **fields)))
    assert stream.result().finish_reason == "stop"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"metadata": {"message_type": "next", "finish_details": {"type": "max_tokens"}}}, "length"),
        ({"status": "finished_partial_completion"}, "length"),
        ({"metadata": {"message_type": "next", "finish_details": {"type": "interrupted"}}}, "interrupted"),
        ({"end_turn": False}, None),
    ],
)
def test_the_finish_reason_says_how_it_ended(fields: dict[str, Any], reason: str | None) -> None:
    assert stream_of(event(message("a", **fields)), DONE).result().finish_reason == reason


def test_a_finish_without_new_text_is_a_chunk_of_its_own_and_comes_once() -> None:
    last = event(message("a", finished=True))
    chunks = list(stream_of(event(message("a")), last, last, DONE))
    assert [(chunk.text, chunk.finish_reason) for chunk in chunks] == [("a", None), ("", "stop")]


def test_a_stream_that_just_ends_is_interrupted_and_keeps_its_text() -> None:
    stream = stream_of(event(message("The")), event(message("The Le")))
    with pytest.raises(StreamInterruptedError) as caught:
        stream.result()
    assert caught.value.text == stream.text == "The Le"
    assert caught.value.completion is not None
    assert caught.value.completion.text == "The Le"
    assert caught.value.request_id == "r-1"


def test_a_second_message_that_just_ends_is_not_excused_by_the_first_one() -> None:
    stream = stream_of(event(message("a", "m-1", finished=True)), event(message("b", "m-2")))
    with pytest.raises(StreamInterruptedError):
        stream.result()
    assert stream.text == "b"


@pytest.mark.parametrize(
    ("payload", "error_class", "words"),
    [
        ({"message": None, "conversation_id": "c-1", "error": "Something broke"}, ServerError, "Something broke"),
        ({"detail": "Hourly limit"}, ServerError, "Hourly limit"),
        (
            {"detail": {"message": "too long", "code": "message_length_exceeds_limit"}},
            RequestEntityTooLargeError,
            "too long",
        ),
        ({"code": 500, "message": "upstream"}, ServerError, "upstream"),
        ({**message("The Lena"), "error": "cut off"}, ServerError, "cut off"),
    ],
)
def test_an_error_in_the_stream_is_raised_with_the_text_so_far(
    payload: Any, error_class: type[APIStatusError], words: str
) -> None:
    stream = stream_of(event(message("The")), event(payload), DONE)
    assert next(stream).text == "The"
    with pytest.raises(error_class, match=words) as caught:
        next(stream)
    assert caught.value.text == "The"
    assert caught.value.body == payload
    assert next(stream, None) is None


BROKEN = {"half": event(message("The Le"))[:60] + b"\n\n", "not UTF-8": b'data: {"message": "\xff"}\n\n'}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_event_is_repaired_by_the_next_one(case: str) -> None:
    stream = stream_of(event(message("The")), BROKEN[case], event(message("The Lena")), DONE)
    assert [chunk.text for chunk in stream] == ["The", " Lena"]


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_event_without_a_later_one_is_an_error_at_the_end(case: str) -> None:
    stream = stream_of(event(message("The")), BROKEN[case], DONE)
    with pytest.raises(InvalidResponseError, match="may be cut") as caught:
        stream.result()
    assert caught.value.text == "The"


def test_a_message_of_an_unknown_shape_without_a_later_one_is_an_error_at_the_end() -> None:
    stream = stream_of(event(message("The")), event(message("The Lena", metadata="next")), DONE)
    with pytest.raises(InvalidResponseError, match="usual shape"):
        stream.result()


def test_a_broken_event_after_the_finished_answer_is_no_loss() -> None:
    assert stream_of(event(message("a", finished=True)), BROKEN["half"], DONE).result().text == "a"


def test_half_an_event_at_the_end_is_a_cut() -> None:
    with pytest.raises(StreamInterruptedError):
        list(stream_of(event(message("The")), event(message("The Lena", finished=True))[:-40]))


def test_the_last_event_counts_without_its_empty_line() -> None:
    assert stream_of(event(message("a", finished=True)).rstrip()).result().text == "a"


def test_a_rewrite_goes_on_from_the_common_beginning_and_is_flagged() -> None:
    chunks = list(stream_of(event(message("The cat")), event(message("The dog")), event(message("The dogs")), DONE))
    assert [chunk.text for chunk in chunks] == ["The cat", "dog", "s"]
    assert [chunk.additional_data for chunk in chunks] == [None, {"rewritten_from": 4}, None]


def test_a_new_message_begins_from_its_first_character() -> None:
    stream = stream_of(event(message("The cat")), event(message("The dog", "m-2", finished=True)), DONE)
    chunks = list(stream)
    assert [(chunk.text, chunk.message_id) for chunk in chunks] == [("The cat", "m-1"), ("The dog", "m-2")]
    assert [chunk.additional_data for chunk in chunks] == [None, None]


def test_text_that_is_taken_back_is_flagged_and_gone_from_the_stream() -> None:
    stream = stream_of(event(message("The cat sat")), event(message("The cat")), DONE)
    assert [(chunk.text, chunk.additional_data) for chunk in stream] == [
        ("The cat sat", None),
        ("", {"rewritten_from": 7}),
    ]
    assert stream.text == stream.completion.text == stream.result().text == "The cat"
    assert stream.result().raw["choices"][0]["message"]["content"] == "The cat"


def test_the_text_of_an_error_is_the_last_snapshot() -> None:
    stream = stream_of(event(message("The cat sat")), event(message("The dog")))
    with pytest.raises(StreamInterruptedError) as caught:
        stream.result()
    assert caught.value.text == caught.value.completion.text == "The dog"


@pytest.mark.parametrize(
    ("texts", "shown", "is_mended"),
    [
        (("wave \ud83c", "wave 🌊"), ["wave ", "🌊"], False),
        pytest.param(("wave \ufffd", "wave 🌊"), ["wave ", "🌊"], False, id="U+FFFD"),
        pytest.param(("wave \ufffd",), ["wave ", "\ufffd"], False, id="U+FFFD at the end"),
        (("wave \ud83c",), ["wave ", "\ufffd"], True),
        (("wave \ud83c!",), ["wave \ufffd!"], True),
    ],
)
def test_half_a_character_is_held_back_until_the_next_snapshot_or_the_end(
    texts: tuple[str, ...], shown: list[str], is_mended: bool
) -> None:
    stream = stream_of(*(event(message(text)) for text in texts), DONE)
    chunks = list(stream)
    assert [chunk.text for chunk in chunks] == shown
    assert [chunk.raw for chunk in chunks].count(None) == 0
    assert stream.text == stream.result().text == "".join(shown)
    assert bool(stream.result().repaired) is is_mended


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    broken = event(message("The Lena")).replace(b"Lena", b"L\xffna")
    response = stream_of(event(message("The")), broken, DONE).result()
    assert response.text == "The L\ufffdna"


def test_a_blocked_answer_says_so() -> None:
    blocked = {**MODERATION, "moderation_response": {"flagged": True, "blocked": True}}
    stream = stream_of(event(message("bad", finished=True)), event(blocked), DONE)
    last = list(stream)[-1]
    assert last.text == ""
    assert last.additional_data == {"moderation": {"flagged": True, "blocked": True}}
    assert stream.completion.additional_data == last.additional_data


def test_a_message_with_little_in_it_is_enough() -> None:
    bare = {"message": {"content": {"parts": ["x"]}, "metadata": {"message_type": "next"}}}
    assert stream_of(event(bare), DONE).result().text == "x"


def test_unknown_fields_never_fail_and_stay_reachable() -> None:
    chunk = next(stream_of(event({**message("x"), "brand": {"new": 1}}), DONE))
    assert chunk.raw["brand"] == {"new": 1}


def test_when_it_was_made_is_kept_in_seconds() -> None:
    assert next(stream_of(event(message("x", create_time=1700000000.75)), DONE)).created == 1700000000
