"""Tests of the chat accumulator: which fields are joined, which are replaced, and what ``raw`` keeps."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stream_tools import payload

from gigaclient.streaming.accumulator import _MAX_UNDECODED_BYTES, ChatAccumulator
from gigaclient.types import ChatCompletion, ChatCompletionChunk, FunctionCall, Usage


def chunk(data: dict[str, Any]) -> tuple[ChatCompletionChunk, bytes]:
    """Return a chunk, and the data of its event."""
    body = msgspec.json.encode(data)
    return msgspec.json.decode(body, type=ChatCompletionChunk).attach(raw=body, request_id="r-1"), body


def accumulate(*chunks: dict[str, Any]) -> ChatCompletion:
    accumulator = ChatAccumulator()
    for data in chunks:
        accumulator.add(*chunk(data))
    return accumulator.completion()


def test_nothing_yet_is_an_empty_answer() -> None:
    accumulator = ChatAccumulator()
    assert accumulator.text == ""
    assert accumulator.finish_reason is None
    assert not accumulator.finished
    assert accumulator.completion() == ChatCompletion()
    assert accumulator.completion().raw == {"choices": []}


def test_texts_are_joined_and_other_fields_are_taken_from_their_chunks() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    answer = accumulate(
        payload("About ", delta={"role": "assistant"}),
        payload("62 metres."),
        payload("", finish="stop", usage=usage),
    )
    assert answer.text == "About 62 metres."
    assert answer.message.role == "assistant"
    assert answer.finish_reason == "stop"
    assert answer.usage == Usage(1, 2, 3)
    assert (answer.created, answer.model, answer.object) == (1790000002, "GigaChat-2:2.0.31.04", "chat.completion")
    assert answer.request_id == "r-1"


@given(st.lists(st.text()))
def test_the_text_is_the_chunks_texts_joined(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    accumulator = ChatAccumulator()
    for text in texts:
        accumulator.add(*chunk(payload(text)))
    assert accumulator.text == "".join(texts) == accumulator.completion().text


def test_empty_and_missing_content_add_nothing() -> None:
    answer = accumulate(
        payload("a"), payload(""), payload(), payload(delta={"content": None}), {"choices": []}, payload("b")
    )
    assert answer.text == "ab"


def call_piece(call: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return payload(delta={"function_call": call}, index=index)


@pytest.mark.parametrize("repeated", [{}, {"name": "get_tide"}], ids=["name once", "name each time"])
@pytest.mark.parametrize("first", [{}, {"arguments": ""}, {"arguments": {}}, {"arguments": None}], ids=str)
def test_a_function_call_in_pieces_is_put_together(first: dict[str, Any], repeated: dict[str, Any]) -> None:
    pieces = [{**repeated, "arguments": piece} for piece in ('{"po', 'rt": "Mur', 'mansk"', "}")]
    answer = accumulate(
        call_piece({"name": "get_tide", **first}), *map(call_piece, pieces), payload("", finish="function_call")
    )
    assert answer.function_call == FunctionCall("get_tide", {"port": "Murmansk"})


def test_calls_of_several_choices_in_pieces_are_kept_apart() -> None:
    answer = accumulate(
        call_piece({"name": "get_tide", "arguments": '{"port":'}, 0),
        call_piece({"name": "get_depth", "arguments": '{"at'}, 1),
        call_piece({"arguments": '"Kem"}'}, 0),
        call_piece({"arguments": '": 1}', "id": "c-1"}, 1),
    )
    calls = [choice.message.function_call for choice in answer.choices]
    assert calls == [FunctionCall("get_tide", {"port": "Kem"}), FunctionCall("get_depth", {"at": 1}, "c-1")]


def test_of_whole_calls_the_last_one_counts_and_incomplete_arguments_stay_text() -> None:
    for arguments in ({"port": "Kem"}, '{"port": "Kem"}', "Kem"):
        call = {"name": "get_tide", "arguments": arguments}
        assert accumulate(call_piece(call), call_piece(call)).function_call == FunctionCall("get_tide", arguments)
    answer = accumulate(call_piece({"name": "get_tide", "arguments": '{"po'}), call_piece({"arguments": 'rt": '}))
    assert answer.function_call == FunctionCall("get_tide", '{"port": ')


def test_a_function_call_comes_whole_with_its_state() -> None:
    call = {"name": "get_tide", "arguments": {"port": "Murmansk"}, "id": "c-1"}
    answer = accumulate(
        payload("", delta={"role": "assistant", "function_call": call, "functions_state_id": "s-1"}),
        payload("", finish="function_call"),
    )
    assert answer.function_call == FunctionCall("get_tide", {"port": "Murmansk"}, "c-1")
    assert answer.message.functions_state_id == "s-1"
    assert answer.message.content == ""


def test_a_progress_report_is_not_part_of_the_answer() -> None:
    answer = accumulate(
        payload(
            "10 seconds left", delta={"role": "function_in_progress", "name": "text2image", "functions_state_id": "s"}
        ),
        payload("Here.", delta={"role": "assistant"}),
        payload("1 second left", delta={"role": "function_in_progress"}),
        payload("", finish="stop"),
    )
    assert answer.text == "Here."
    assert answer.message.role == "assistant"
    assert answer.message.functions_state_id == "s"
    assert "name" not in answer.raw["choices"][0]["message"]


def test_a_role_that_never_came_is_the_assistants() -> None:
    assert accumulate(payload("a")).message.role == "assistant"


def test_reasoning_is_joined_apart_from_the_text() -> None:
    answer = accumulate(
        payload("", delta={"reasoning_content": "First "}),
        payload(delta={"reasoning_content": "this."}),
        payload("So."),
    )
    assert answer.message.reasoning_content == "First this."
    assert answer.text == "So."
    assert accumulate(payload("a")).message.reasoning_content is None


def test_sources_and_probabilities_are_kept() -> None:
    answer = accumulate(
        payload("a", delta={"inline_data": {"x": 1}, "logprobs": [1]}, choice={"logprobs": [0.5]}),
        payload("b", delta={"logprobs": [2]}, choice={"logprobs": [0.25]}),
    )
    assert answer.message.inline_data == {"x": 1}
    assert answer.message.logprobs == [1, 2]
    assert answer.choices[0].logprobs == [0.5, 0.25]
    assert accumulate(payload("a", choice={"logprobs": {"x": 1}})).choices[0].logprobs == {"x": 1}


def test_several_answers_are_kept_apart_and_in_order() -> None:
    accumulator = ChatAccumulator()
    for data in (payload("b", index=1), payload("a"), payload("B", index=1), payload("A"), payload("", finish="stop")):
        accumulator.add(*chunk(data))
    assert [choice.index for choice in accumulator.completion().choices] == [0, 1]
    assert [choice.message.content for choice in accumulator.completion().choices] == ["aA", "bB"]
    assert accumulator.text == "aA"
    assert accumulator.finish_reason == "stop"
    assert not accumulator.finished
    accumulator.add(*chunk(payload("", index=1, finish="length")))
    assert accumulator.finished
    assert [choice.finish_reason for choice in accumulator.completion().choices] == ["stop", "length"]


def test_two_answers_in_one_chunk_are_both_taken() -> None:
    both = payload("a")
    both["choices"].append(payload("b", index=1)["choices"][0])
    assert [choice.message.content for choice in accumulate(both).choices] == ["a", "b"]


def test_usage_counts_from_whichever_chunk_brings_it() -> None:
    assert accumulate(payload("a", usage={"total_tokens": 5}), payload("b")).usage == Usage(total_tokens=5)
    assert accumulate(payload("a"), {"choices": [], "usage": {"total_tokens": 7}}).usage == Usage(total_tokens=7)


def test_ids_of_a_stored_dialogue_are_kept_wherever_they_come() -> None:
    answer = accumulate(payload("a", thread_id="t"), payload("b", message_id="m"), payload("c"))
    assert (answer.thread_id, answer.message_id) == ("t", "m")


def test_the_raw_answer_has_the_unknown_fields_of_every_chunk() -> None:
    answer = accumulate(
        payload("a", first=1),
        payload("b", middle={"x": None}, delta={"mood": "good"}, choice={"weight": 2}, usage={"total_tokens": 5}),
        payload("", finish="stop", last=3, usage=None),
    )
    assert answer.raw == {
        "choices": [
            {
                "message": {"role": "assistant", "content": "ab", "mood": "good"},
                "index": 0,
                "weight": 2,
                "finish_reason": "stop",
            }
        ],
        "created": 1790000002,
        "model": "GigaChat-2:2.0.31.04",
        "object": "chat.completion",
        "first": 1,
        "middle": {"x": None},
        "last": 3,
        "usage": {"total_tokens": 5},
    }


def test_reading_the_completion_early_does_not_change_the_result() -> None:
    chunks = [payload("a", first=1), payload("b", second=2), payload("", finish="stop")]
    accumulator = ChatAccumulator()
    for data in chunks:
        accumulator.add(*chunk(data))
        before = accumulator.completion()
        assert before.raw["choices"][0]["message"]["content"] == before.text
    assert accumulator.completion() == accumulate(*chunks)
    assert accumulator.completion().raw == accumulate(*chunks).raw


def test_a_chunk_is_not_changed_by_what_follows() -> None:
    accumulator = ChatAccumulator()
    first, sent = chunk(payload("a", first=1))
    accumulator.add(first, sent)
    whole = accumulator.completion()
    accumulator.add(*chunk(payload("b", first=2)))
    accumulator.completion()
    assert first.raw["first"] == 1
    assert first.raw["choices"][0]["delta"] == {"content": "a"}
    assert (whole.text, whole.raw["first"]) == ("a", 1)


def test_a_stream_does_not_hold_its_chunks() -> None:
    accumulator = ChatAccumulator()
    one, sent = chunk(payload("a"))
    before = sys.getrefcount(one)
    for _ in range(100):
        accumulator.add(one, sent)
    assert sys.getrefcount(one) == before
    assert len(accumulator.text) == 100


def test_a_long_stream_does_not_hold_all_its_bytes() -> None:
    accumulator = ChatAccumulator()
    one, body = chunk(payload("a", padding="x" * 100_000))
    before = sys.getrefcount(body)
    for _ in range(_MAX_UNDECODED_BYTES // len(body) + 1):
        accumulator.add(one, body)
    assert sys.getrefcount(body) <= before + 1
    assert len(accumulator.completion().raw["padding"]) == 100_000
