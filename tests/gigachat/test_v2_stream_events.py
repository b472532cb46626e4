"""Parsing the events of a v2 stream, and the accumulated response, for every split of the bytes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stream_tools import DONE, FakeResponse

from gigaclient.errors import (
    APIConnectionError,
    APIStatusError,
    InvalidResponseError,
    NotFoundError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient.gigachat.v2 import accumulator as assembly
from gigaclient.gigachat.v2.stream import ChatResponseStream
from gigaclient.streaming import accumulator as chunks
from gigaclient.testing.recordings import recording
from gigaclient.types import ChatFunctionCall, ChatToolExecution, ChatUsage

DELTA = "response.message.delta"
LAST = "response.message.done"
USAGE = {"input_tokens": 22, "output_tokens": 9, "total_tokens": 31}
CALL = {"name": "get_tide", "arguments": {"port": "Murmansk"}}


def event(name: str | None, data: Any) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def message(*parts: Any, role: str | None = "assistant", **fields: Any) -> dict[str, Any]:
    named = {} if role is None else {"role": role}
    return {**named, "content": [{"text": part} if isinstance(part, str) else part for part in parts], **fields}


def delta(*parts: Any, role: str | None = "assistant", name: str | None = DELTA, **fields: Any) -> bytes:
    head = {"model": "M", "created_at": 17}
    return event(name, {**head, "messages": [message(*parts, role=role, **fields)]})


def done(name: str | None = LAST, /, **fields: Any) -> bytes:
    return event(name, {"model": "M", "created_at": 18, "finish_reason": "stop", "usage": USAGE, **fields})


def stream(*blocks: bytes | BaseException) -> ChatResponseStream:
    return ChatResponseStream(FakeResponse(blocks), request_id="r-1")


def result(*blocks: bytes | BaseException) -> Any:
    return stream(*blocks).result()


# -- complete streams ------------------------------------------------------------------------------


def test_texts_are_joined_and_the_last_event_ends_the_answer() -> None:
    answer = result(delta("High "), delta("tide."), done())
    assert answer.text == "High tide."
    assert (answer.model, answer.created_at, answer.finish_reason) == ("M", 17, "stop")
    assert answer.usage == ChatUsage(22, 9, 31)
    assert answer.request_id == "r-1"
    assert len(answer.messages) == 1
    assert answer.raw == {
        "model": "M",
        "created_at": 18,
        "finish_reason": "stop",
        "usage": USAGE,
        "messages": [{"role": "assistant", "content": [{"text": "High tide."}]}],
    }


def test_chunks_have_their_event_and_their_text() -> None:
    chunks = list(stream(delta("a"), event("response.something.new", {"x": 1}), delta("b"), done()))
    assert [(chunk.event, chunk.text) for chunk in chunks] == [
        (DELTA, "a"),
        ("response.something.new", ""),
        (DELTA, "b"),
        (LAST, ""),
    ]
    assert chunks[1].raw == {"x": 1}
    assert all(chunk.request_id == "r-1" for chunk in chunks)


@pytest.mark.parametrize(
    "blocks",
    [
        [delta("High "), delta("tide."), done(messages=[message("High tide.")])],
        [delta("High "), delta("tide.", name=None), done(None, messages=[message("High tide.")])],
        [done(messages=[message("High tide.")])],
        [delta("High "), done(None, messages=[message("tide.")])],
        [delta("High "), delta("tide.", role=None), done()],
        [event(DELTA, {"messages": [{"role": "assistant", "content": "High tide."}]}), done()],
        [delta("hm", role="reasoning"), delta("High "), delta("so", role="reasoning"), delta("tide."), done()],
        [delta("High "), delta("tide."), done(), DONE],
        [delta("High "), delta("tide."), DONE],
        [delta("High "), delta("tide."), done()[:-2]],
        [b": hello\n\n", delta("High "), b"\n\n", delta("tide."), done()],
    ],
)
def test_the_text_is_the_assistants_and_comes_once(blocks: list[bytes]) -> None:
    opened = stream(*blocks)
    assert "".join([chunk.text for chunk in opened]) == "High tide."
    assert opened.text == opened.completion.text == opened.result().text == "High tide."


def test_reasoning_is_accumulated_separately() -> None:
    opened = stream(delta("h", role="reasoning"), delta("m", role="reasoning"), delta("Yes."), done())
    assert "".join([chunk.reasoning_text for chunk in opened]) == "hm"
    assert opened.completion.reasoning_text == "hm"
    assert [said.role for said in opened.completion.messages] == ["reasoning", "assistant"]


@pytest.mark.parametrize(
    "blocks",
    [
        [delta({"function_call": CALL}), done()],
        [done(messages=[message({"function_call": CALL})])],
        [delta({"function_call": CALL}), done(messages=[message({"function_call": CALL})])],
        [delta({"function_call": {**CALL, "arguments": json.dumps(CALL["arguments"])}}), done()],
        [event(DELTA, {"messages": [{"role": "assistant", "function_call": CALL}]}), done()],
    ],
)
def test_a_call_is_found_once_wherever_it_comes(blocks: list[bytes]) -> None:
    answer = result(*blocks)
    assert answer.function_calls == [ChatFunctionCall(name="get_tide", arguments={"port": "Murmansk"})]
    assert len(answer.message.content) == 1


def test_a_call_gets_the_id_that_comes_later() -> None:
    answer = result(delta({"function_call": CALL}), done(messages=[message({"function_call": {**CALL, "id": "1"}})]))
    assert [call.id for call in answer.function_calls] == ["1"]


def test_calls_with_different_ids_are_several() -> None:
    blocks = [delta({"function_call": {**CALL, "id": number}}) for number in ("1", "2", "1")]
    assert [call.id for call in result(*blocks, done()).function_calls] == ["1", "2"]


@pytest.mark.parametrize("name", ["tool_state_id", "tools_state_id", "functions_state_id"])
def test_the_last_state_id_counts_in_any_spelling(name: str) -> None:
    last = done(messages=[{"role": "assistant", name: "s-2"}])
    answer = result(delta({"function_call": CALL}, tool_state_id="s-1"), last)
    assert answer.tools_state_id == answer.message.tools_state_id == "s-2"
    assert len(answer.messages) == 1
    assert result(delta("a"), done(**{name: "s-3"})).message.tools_state_id == "s-3"


def test_calls_of_different_states_are_separate_messages() -> None:
    calls = [delta({"function_call": {**CALL, "id": number}}, tool_state_id=f"s-{number}") for number in ("1", "2")]
    answer = result(*calls, done())
    assert [said.tools_state_id for said in answer.turn] == ["s-1", "s-2"]
    assert len(answer.function_calls) == 2


def test_a_search_is_reported_and_its_sources_are_kept() -> None:
    begun = {"tool_execution": {"id": "", "name": "web_search", "seconds_left": 3}}
    ended = {"tool_execution": {"id": "", "name": "web_search", "status": "success", "censored": False}}
    opened = stream(
        delta(begun, name="response.tool.in_progress", role="reasoning"),
        delta(ended, name="response.tool.completed", role="reasoning"),
        delta({"inline_data": {"sources": {"1": {"url": "u", "title": "t"}}}}),
        delta("High tide."),
        delta(" [sources=[1]]"),
        done(messages=[{"role": "assistant", "tool_state_id": "s"}]),
    )
    chunks = list(opened)
    assert chunks[0].tool_executions == [ChatToolExecution(id="", name="web_search", seconds_left=3)]
    assert chunks[1].tool_executions[0].status == "success"
    answer = opened.completion
    assert answer.text == "High tide. [sources=[1]]"
    assert answer.sources["1"].url == "u"
    assert [run.status for run in answer.tool_executions] == ["success"]
    assert answer.tools_state_id == "s"


def test_files_are_kept_once() -> None:
    image = {"files": [{"id": "a", "target": "image", "mime": "image/jpeg"}]}
    answer = result(delta(image), delta(""), delta("Here."), done(messages=[message(image)]))
    assert [file.id for file in answer.images] == ["a"]
    assert len(answer.message.content) == 2


def test_unknown_fields_are_kept_in_raw() -> None:
    answer = result(delta("a", {"new": 1}, newer=2), done(newest=3))
    assert answer.raw["newest"] == 3
    assert answer.raw["messages"] == [{"role": "assistant", "newer": 2, "content": [{"text": "a"}, {"new": 1}]}]


def test_logprobs_add_up() -> None:
    chosen = [{"chosen": {"token": "a", "token_id": 1, "logprob": -0.5}}]
    opened = stream(event(DELTA, {"messages": [message("a")], "logprobs": chosen}), done(logprobs=chosen))
    assert len(opened.result().logprobs or ()) == 2


def test_the_answer_so_far_is_there_at_any_time() -> None:
    opened = stream(delta("High "), delta("tide."), done())
    assert opened.completion.messages == []
    next(opened)
    assert (opened.text, opened.completion.text, opened.completion.finish_reason) == ("High ", "High ", None)


def test_the_raw_form_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_MAX_UNDECODED_BYTES", 1000)
    accumulator = assembly.ResponseAccumulator()
    opened = ChatResponseStream(FakeResponse([*(delta("x" * 50) for _ in range(200)), done()]))
    for chunk in opened:
        accumulator.add(chunk, msgspec.json.encode(chunk.raw))
        assert sum(len(raw) for raw in accumulator._unread) < 2000
    assert accumulator.text == "x" * 50 * 200


# -- other ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [delta("High ")],
        [delta("High "), done()[:40]],
        [delta("High "), event(LAST, '{"finish_reason":')],
        [delta("High "), APIConnectionError("reset")],
    ],
)
def test_an_answer_without_an_end_is_cut(blocks: list[bytes]) -> None:
    opened = stream(*blocks)
    with pytest.raises((StreamInterruptedError, InvalidResponseError)) as caught:
        opened.result()
    assert caught.value.text == opened.text == ("High " if blocks else "")
    assert caught.value.completion.text == caught.value.text
    assert caught.value.request_id == "r-1"


def test_what_happens_after_the_last_event_does_not_matter() -> None:
    response = FakeResponse([delta("a"), done(), APIConnectionError("reset")])
    opened = ChatResponseStream(response)
    assert opened.result().text == "a"
    assert (response.drained, response.read) == (1, 2)


def test_without_names_the_stream_is_read_to_its_end() -> None:
    blocks = [delta("a", name=None), event(None, {"finish_reason": "stop"}), event(None, {"usage": USAGE})]
    assert result(*blocks).usage == ChatUsage(22, 9, 31)
    with pytest.raises(StreamInterruptedError):
        result(delta("a", name=None))


def test_the_last_event_needs_no_finish_reason() -> None:
    assert result(delta("a"), event(LAST, {})).text == "a"


@pytest.mark.parametrize(
    ("data", "error_type", "message"),
    [
        (event(None, {"status": 404, "message": "No such model"}), NotFoundError, "No such model"),
        (event(DELTA, {"status": 500, "message": "Internal Server Error"}), ServerError, "Internal Server Error"),
        (event("response.error", {"error_details": {"user_message": "Overloaded"}}), ServerError, "Overloaded"),
        (event("response.error", {"message": "Overloaded"}), ServerError, "Overloaded"),
        (event("response.error", {"error": {"code": 503, "message": "Overloaded"}}), ServerError, "Overloaded"),
        (event("response.error", {"status": 404, "message": "No such model"}), NotFoundError, "No such model"),
        (event("response.error", {}), InvalidResponseError, "reports something else"),
        (event("response.error", "oops"), InvalidResponseError, "reports something else"),
        (event("error", {"message": "Overloaded"}), ServerError, "Overloaded"),
        (event(None, {"error_details": {"user_message": "Overloaded"}}), ServerError, "Overloaded"),
        (event(None, {"message": "what"}), InvalidResponseError, "reports something else"),
        (done(finish_reason="error", error_details={"user_message": "Overloaded"}), ServerError, "Overloaded"),
        (done(finish_reason="error", error_details={"status": 404, "message": "No"}), NotFoundError, "No"),
        (done(finish_reason="error"), ServerError, "did not say why"),
        (event(DELTA, "{oops"), InvalidResponseError, "not JSON"),
        (event(DELTA, '{"messages": 5}'), InvalidResponseError, "not a chunk"),
    ],
)
def test_an_error_inside_keeps_what_came(data: bytes, error_type: type[Exception], message: str) -> None:
    opened = stream(delta("High "), data)
    with pytest.raises(error_type) as caught:
        opened.result()
    error: Any = caught.value
    assert message in error.message
    assert error.text == error.completion.text == opened.text == "High "
    assert error.request_id == "r-1"
    assert opened.closed


def call_part(**call: Any) -> dict[str, Any]:
    return {"function_call": call}


@pytest.mark.parametrize("ids", [True, False])
def test_calls_in_pieces_are_put_together(ids: bool) -> None:
    one, two = ({"id": "c-1"}, {"id": "c-2"}) if ids else ({}, {})
    first = [call_part(name="get_tide", **one), call_part(arguments='{"port": "K', **one)]
    second = [call_part(name="get_depth", arguments='{"at"', **two)]
    rest_of_first = [call_part(arguments='em"}', **one)]
    rest_of_second = [call_part(arguments=": 1}", **two)]
    # Without ids, only the last call can go on.
    order = (
        [*first, *second, *rest_of_first, *rest_of_second]
        if ids
        else [*first, *rest_of_first, *second, *rest_of_second]
    )
    response = stream(*(delta(part) for part in order), done(finish_reason="function_call")).result()
    assert [(call.name, call.arguments, call.id) for call in response.function_calls] == [
        ("get_tide", {"port": "Kem"}, one.get("id")),
        ("get_depth", {"at": 1}, two.get("id")),
    ]


# -- broken characters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ((r"High \ud83c", r"\udf0a tide"), "High 🌊 tide"),
        ((r"High \ud83c", "tide"), "High \ufffdtide"),
        ((r"High \ud83c", ""), "High \ufffd"),
        ((r"\udf0a tide",), "\ufffd tide"),
        ((r"High \ud83c\ud83c", r"\udf0a"), "High \ufffd🌊"),
    ],
)
def test_halves_of_a_character_are_joined_or_replaced(pieces: tuple[str, ...], text: str) -> None:
    events = [
        event(DELTA, f'{{"messages":[{{"role":"assistant","content":[{{"text":"{piece}"}}]}}]}}') for piece in pieces
    ]
    opened = stream(*events, done())
    assert "".join(chunk.text for chunk in opened) == text
    assert opened.result().text == opened.text == text
    assert "broken characters" in opened.completion.repaired[0]


def test_half_a_character_before_the_end_marker_is_replaced() -> None:
    half = event(DELTA, '{"messages":[{"role":"assistant","content":[{"text":"High \\ud83c"}]}]}')
    opened = stream(half, b"data: [DONE]\n\n")
    assert [chunk.text for chunk in opened] == ["High ", "\ufffd"]
    assert opened.result().text == "High \ufffd"


def test_bytes_that_are_not_utf8_are_replaced_and_the_stream_goes_on() -> None:
    broken = b'event: response.message.delta\ndata: {"messages":[{"content":[{"text":"High\xf0\x9f\xff"}]}]}\n\n'
    response = stream(broken, delta(" tide"), done()).result()
    assert response.text == "High\ufffd\ufffd tide"
    assert response.repaired
    assert stream(delta("High"), done()).result().repaired == ()


def test_an_answer_that_failed_has_its_details() -> None:
    opened = stream(done(finish_reason="error", error_details={"user_message": "Overloaded"}))
    with pytest.raises(APIStatusError) as caught:
        opened.result()
    assert caught.value.status_code == 500
    assert caught.value.completion.error_details == {"user_message": "Overloaded"}
    assert caught.value.completion.usage == ChatUsage(22, 9, 31)
    assert opened.completion.finish_reason == "error"


# -- bytes -----------------------------------------------------------------------------------------


def cut(data: bytes, positions: Iterable[int]) -> list[bytes]:
    borders = [0, *sorted(length % (len(data) + 1) for length in positions), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(borders)]


RECORDED = recording("v2-stream.sse").body
OWN = b"".join(
    [
        delta({"tool_execution": {"id": "", "name": "web_search"}}, name="response.tool.in_progress"),
        delta("Вода \u2028 "),
        delta("прибывает 🌊"),
        delta({"function_call": CALL}, tool_state_id="s"),
        done(),
    ]
)


@pytest.mark.parametrize("data", [RECORDED, OWN, OWN.replace(b"\n", b"\r\n"), OWN[:-2]])
def test_it_does_not_matter_where_the_bytes_are_cut(data: bytes) -> None:
    whole = result(data)
    assert whole.finish_reason == "stop"

    @given(st.lists(st.integers(min_value=0, max_value=10_000)))
    def check(positions: list[int]) -> None:
        opened = stream(*cut(data, positions))
        assert "".join([chunk.text for chunk in opened]) == whole.text
        answer = opened.result()
        assert answer == whole
        assert answer.raw == whole.raw

    check()
    assert result(*(data[index : index + 1] for index in range(len(data)))) == whole


def test_the_recorded_stream_is_read() -> None:
    answer = result(RECORDED)
    assert answer.text == "1, 2, 3"
    assert answer.model == "GigaChat-3-Ultra:32.3.18.5"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (19, 8, 27)
    assert answer.usage.input_tokens_details is not None
    assert answer.usage.input_tokens_details.cached_tokens == 0


@given(st.integers(min_value=0, max_value=len(RECORDED)))
def test_a_recorded_stream_that_is_cut_is_never_taken_for_whole(length: int) -> None:
    opened = stream(RECORDED[:length])
    # Only the empty line at the end may be missing.
    if length >= len(RECORDED.rstrip(b"\n")):
        assert opened.result().text == "1, 2, 3"
        return
    with pytest.raises(StreamInterruptedError) as caught:
        opened.result()
    assert caught.value.text in ("", "1, 2, 3")
