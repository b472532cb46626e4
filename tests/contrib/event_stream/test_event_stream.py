"""The body of an event stream: its bytes, errors before the first chunk, and its end."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.event_stream_tools import COUNT, FIVE, answer_of, body_of, stream_of
from support.ids import stable_id
from support.reliability_tools import wait_until
from support.stream_tools import DONE, payload, sse_bytes
from support.web import events, names, text_of

from gigaclient import Conversation, FakeGpt, GigaChat, errors
from gigaclient.contrib.event_stream import HEADERS, EventStream, status_of
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator

# -- bytes -------------------------------------------------------------------------------------------------------------


def test_a_whole_answer_byte_by_byte() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    last = payload("", finish="stop", usage=usage)
    stream, _ = stream_of(sse_bytes(payload("Привет"), payload(', \n"мир"\u2028🌊'), last) + DONE)
    assert body_of(stream).decode() == (
        'data: {"text":"Привет"}\n\n'
        'data: {"text":", \\n\\"мир\\"\u2028🌊"}\n\n'
        "event: done\n"
        'data: {"finish_reason":"stop","model":"GigaChat-2:2.0.31.04",'
        '"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"request_id":null}\n\n'
    )


def test_a_blocked_answer_is_said_to_be_blocked() -> None:
    stream, _ = stream_of(
        sse_bytes(payload("Let us talk about something else."), payload("", finish="blacklist")) + DONE
    )
    done = events(body_of(stream))[-1].json
    assert (done["blocked"], done["finish_reason"]) == (True, "blacklist")


def test_the_headers_forbid_collecting_and_compressing() -> None:
    body = EventStream(answer_of("a"))
    assert dict(body.headers) == {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
        "Content-Encoding": "identity",
    }
    with pytest.raises(TypeError):
        HEADERS["Content-Type"] = "text/html"  # type: ignore[index]
    body.close()


def test_an_answer_without_text_is_done_without_text() -> None:
    call = {"function_call": {"name": "tide", "arguments": {"port": "Murmansk"}}}
    stream, _ = stream_of(sse_bytes(payload(None, delta=call, finish="function_call")) + DONE)
    found = events(body_of(stream))
    assert names(found) == ["done"]
    assert found[-1].json["finish_reason"] == "function_call"


def test_the_first_piece_is_there_at_once_even_if_the_first_chunk_has_no_text() -> None:
    gate = threading.Event()

    def later() -> bytes:
        assert gate.wait(20)
        return sse_bytes(payload("a", finish="stop")) + DONE

    stream, _ = stream_of(sse_bytes(payload("")), later)
    pieces = iter(EventStream(stream, ping_s=math.inf))
    assert next(pieces) == b": ping\n\n"  # so that the headers are sent at once
    gate.set()
    assert names(events(b"".join(pieces))) == ["message", "done"]


def _lookup(port: str) -> dict[str, float]:
    """The height of the tide at a port."""
    return {"metres": 1.8}


def _threads(giga: GigaChat) -> Any:
    pilot = giga.assistants.create("GigaChat-2", "Pilot")
    return giga.threads.run_messages_stream(COUNT, assistant_id=pilot.assistant_id)


STREAMS: dict[str, Callable[[GigaChat], Any]] = {
    "chat": lambda giga: giga.stream(COUNT),
    "chat of API v2": lambda giga: giga.chat.stream(COUNT),
    "a run of functions": lambda giga: giga.run_stream("How high is the tide in Murmansk?", functions=[_lookup]),
    "a conversation": lambda giga: giga.conversation().stream(COUNT),
    "a run of a thread": _threads,
}


@pytest.mark.parametrize("stream_type", STREAMS)
def test_every_kind_of_stream_becomes_events(stream_type: str, giga: GigaChat) -> None:
    stream = STREAMS[stream_type](giga)
    found = events(body_of(stream))
    assert text_of(found) == stream.completion.text != ""
    assert names(found)[-1] == "done"
    done = found[-1].json
    assert done["finish_reason"] == "stop"
    assert done["model"].startswith("GigaChat-2")
    assert done["usage"]
    assert done["request_id"] == stream.request_id


def test_the_usage_of_a_run_is_that_of_all_its_turns(giga: GigaChat) -> None:
    stream = giga.run_stream("How high is the tide in Murmansk?", functions=[_lookup])
    done = events(body_of(stream))[-1].json
    assert len(stream.steps) == 1
    assert done["usage"]["total_tokens"] == stream.run.usage.total_tokens > stream.completion.usage.total_tokens


def test_a_conversation_has_the_turn_once_its_events_have_ended(giga: GigaChat) -> None:
    talk: Conversation = giga.conversation()
    body_of(talk.stream(COUNT))
    assert [message.role for message in talk.messages] == ["user", "assistant"]


def test_a_stream_of_fakegpt_becomes_events(fakegpt_emulator: FakeGptEmulator) -> None:
    with FakeGpt(**fakegpt_emulator.client_options) as fake:
        found = events(body_of(fake.stream(COUNT)))
    assert text_of(found) == FIVE
    assert names(found)[-1] == "done"


def test_render_makes_the_data() -> None:
    shown = {"b": None, "c": "1\r\n2\n\n3\r4", "d": {"html": "<b>д</b>"}}
    found = body_of(
        answer_of("a", "b", "c", "d"), render=lambda chunk: shown.get(chunk.text, chunk.text or None)
    ).decode()
    assert found.startswith(
        'data: a\n\ndata: 1\ndata: 2\ndata: \ndata: 3\ndata: 4\n\ndata: {"html":"<b>д</b>"}\n\nevent: done\n'
    )


@given(st.text())
def test_any_text_that_render_returns_arrives_with_its_lines(text: str) -> None:
    stream = answer_of("a")
    found = body_of(stream, render=lambda chunk: text if chunk.text else None)
    expected = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    head = found[: found.index(b"event: done\n")]
    lines = head.removesuffix(b"\n\n").split(b"\n")
    assert all(line.startswith(b"data: ") for line in lines)
    assert b"\n".join(line.removeprefix(b"data: ") for line in lines) == expected


# -- before the first chunk --------------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[Fault, type[errors.GigaClientError], int]] = {
    "401": (Fault(status=401), errors.AuthenticationError, 401),
    "402": (Fault(status=402), errors.PaymentRequiredError, 402),
    "429": (Fault(status=429, retry_after=2), errors.RateLimitError, 429),
    "500": (Fault(status=500), errors.ServerError, 500),
    "reset": (Fault(reset=True), errors.APIConnectionError, 502),
    "HTML": (Fault(html=True), errors.InvalidResponseError, 502),
    "an error as the first event": (Fault(error_after_events=0), errors.APIStatusError, 500),
    "a cut before the first event": (Fault(cut_after_events=0), errors.StreamInterruptedError, 502),
    "silence before the head": (Fault(before_s=math.inf), errors.APITimeoutError, 504),
    "silence before the first event": (Fault(stall_after_events=0), errors.APITimeoutError, 504),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_before_the_first_chunk_is_an_exception_with_a_status(
    failure: str, giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    fault, error_type, status = FAILURES[failure]
    emulator.inject(fault, times=None)
    ended: list[Any] = []
    with pytest.raises(error_type) as raised:
        EventStream(giga.stream(COUNT, timeout=(10, 1), max_retries=0), on_end=ended.append)
    emulator.clear()
    assert status_of(raised.value) == status
    assert ended == []
    assert giga.stats().in_flight == 0


def test_an_interrupt_while_the_first_chunk_is_awaited_closes_the_stream() -> None:
    stream, reply = stream_of(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        EventStream(stream)
    assert reply.closed


def test_a_stream_that_was_closed_before_is_an_error() -> None:
    stream = answer_of("a")
    stream.close()
    with pytest.raises(errors.StreamInterruptedError):
        EventStream(stream)


@pytest.mark.parametrize(
    "options",
    [{"ping_s": 0}, {"ping_s": True}, {"ping_s": "2"}, {"ping_s": math.nan}, {"reader_timeout_s": -1}, {"render": "x"},
     {"on_end": []}, {"within": contextlib.nullcontext()}, {"to_thread": 1}],
    ids=stable_id,
)  # fmt: skip
def test_wrong_options_are_refused_by_name_and_close_the_stream(options: dict[str, Any]) -> None:
    stream, reply = stream_of(sse_bytes(payload("a", finish="stop")) + DONE)
    with pytest.raises(errors.ConfigError, match=next(iter(options))):
        EventStream(stream, **options)
    assert reply.closed
    assert reply.read == 0


def test_an_argument_that_is_no_stream_is_refused_with_what_to_pass(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    with pytest.raises(errors.ConfigError, match=r"pass giga\.stream"):
        EventStream(giga.chat("Hello"))
    with pytest.raises(errors.ConfigError, match=r"pass giga\.stream"):
        EventStream(giga)  # type: ignore[arg-type]
    assert not giga.closed
    pieces = giga.generate("Say 5000 words")
    next(pieces)
    with pytest.raises(errors.ConfigError, match="generator"):
        EventStream(pieces)
    wait_until(lambda: emulator.open_streams == 0, what="the end of the call behind the generator")


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_failure_in_the_middle_is_an_event_after_the_text(
    giga: GigaChat, emulator: GigaChatEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = {"status": 429, "message": "Too many requests"}
    emulator.inject(Fault(error_after_events=3, error=refusal))
    body = EventStream(giga.stream(COUNT))
    with caplog.at_level(logging.WARNING, "gigaclient"):
        found = events(b"".join(body))
    assert names(found) == ["message"] * 3 + ["error"]
    assert text_of(found) == body.text == "1, 2, 3,"
    reported = found[-1].json
    assert (reported["status"], reported["type"], reported["retry_after"]) == (429, "RateLimitError", None)
    assert reported["message"] == "too many requests at the moment: try again a little later"
    assert reported["request_id"] == body.completion.request_id
    assert isinstance(body.error, errors.RateLimitError)
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("gigaclient")]
    assert ["ended early" in message for message in logged] == [True]


def test_a_cut_in_the_middle_is_an_error_event_and_never_done(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(cut_after_events=3))
    found = events(body_of(giga.stream(COUNT)))
    assert text_of(found) == "1, 2, 3,"
    assert names(found)[-1] == "error"
    assert found[-1].json["status"] == 502


def test_a_stream_that_its_owner_closes_in_the_middle_is_not_done(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=3))
    stream = giga.stream(COUNT)
    pieces = iter(EventStream(stream, ping_s=0.05))
    found = [next(pieces) for _ in range(5)]
    stream.close()
    found += pieces
    assert names(events(b"".join(found)))[-1] == "error"


def test_an_exception_of_a_function_is_reported_without_its_message(
    giga: GigaChat, caplog: pytest.LogCaptureFixture
) -> None:
    def lookup(port: str) -> float:
        """The height of the tide at a port."""
        raise RuntimeError("postgresql://user:hunter2@db")

    stream = giga.run_stream("How high is the tide in Murmansk?", functions=[lookup], on_error="raise")
    body = body_of(stream)
    last = events(body)[-1]
    assert (last.name, last.json["status"], last.json["type"]) == ("error", 500, "InternalError")
    assert b"hunter2" not in body
    assert "RuntimeError" in caplog.text, "the log has the traceback"


def test_an_exception_of_render_ends_the_upstream_call(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    def render(chunk: Any) -> str:
        return str(int(chunk.text.strip(" ,")) * 10) if "4" not in chunk.text else str(1 // 0)

    emulator.event_pause_s = 0.02
    try:
        found = events(body_of(giga.stream("Count from 1 to 500"), render=render))
    finally:
        emulator.event_pause_s = 0.0
    assert [event.data for event in found[:-1] if event.name == "message"] == ["10", "20", "30"]
    assert (found[-1].name, found[-1].json["type"]) == ("error", "InternalError")
    wait_until(lambda: emulator.open_streams == 0, what="the end of the upstream call")


@pytest.mark.parametrize("wrong", [7, b"text", ["a"], {"a": math.nan}, {"a": object()}], ids=stable_id)
def test_an_invalid_result_of_render_is_an_error_of_the_application(wrong: Any) -> None:
    values = {"a": "fine"}
    found = events(body_of(answer_of("a", "b"), render=lambda chunk: values.get(chunk.text, wrong)))
    assert [event.name for event in found] == ["message", "error"]
    assert found[-1].json["type"] == "InternalError"


def test_on_end_gets_the_answer_once_and_before_the_last_event() -> None:
    ended: list[Any] = []
    body = EventStream(answer_of("a", "b"), on_end=ended.append)
    pieces = iter(body)
    while (piece := next(pieces)) and not piece.startswith(b"event: done"):
        assert ended == []
    assert [answer.text for answer in ended] == ["ab"]
    assert ended[0].finish_reason == "stop"
    assert list(pieces) == []
    body.close()
    body.close()
    assert len(ended) == 1


def test_on_end_gets_the_incomplete_answer_of_a_stream_that_failed_or_was_closed(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    ended: list[Any] = []
    emulator.inject(Fault(error_after_events=3))
    body_of(giga.stream(COUNT), on_end=ended.append)
    emulator.inject(Fault(stall_after_events=2))
    body = EventStream(giga.stream(COUNT), on_end=ended.append)
    pieces = iter(body)
    next(pieces), next(pieces)
    body.close()
    assert [(answer.text, answer.finish_reason) for answer in ended] == [("1, 2, 3,", None), ("1, 2,", None)]


def test_an_exception_of_on_end_is_logged_and_the_answer_is_done_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def fails(answer: Any) -> None:
        raise LookupError("no such row")

    assert names(events(body_of(answer_of("a"), on_end=fails))) == ["message", "done"]
    assert "no such row" in caplog.text
