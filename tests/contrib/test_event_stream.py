"""The body of an event stream: its bytes, its end in each case, and slow or disconnected readers."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ids import stable_id
from support.reliability_tools import Task, wait_until
from support.stream_tools import DONE, FakeReply, event, payload, wire
from support.web import events, names, pumps, said

from gigaclient import ChatStream, Conversation, FakeGpt, GigaChat, errors
from gigaclient.contrib.event_stream import HEADERS, EventStream, error_headers, error_payload, status_of
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator

COUNT = "Count from 1 to 5"
FIVE = "1, 2, 3, 4, 5"


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    emulator.clear()
    with GigaChat(**emulator.client_options, max_retries=0) as client:
        yield client
    wait_until(lambda: emulator.open_streams == 0, what="the end of all streams")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: not pumps(), what="the end of the threads that read")


def stream_of(*blocks: Any) -> tuple[ChatStream, FakeReply]:
    """Return a stream of the blocks of a :class:`FakeReply`, without a network."""
    reply = FakeReply(blocks)
    return ChatStream(reply, ChunkParser(None)), reply


def answer_of(*texts: str) -> ChatStream:
    return stream_of(wire(*(payload(text) for text in texts), payload("", finish="stop")) + DONE)[0]


def body_of(stream: Any, **options: Any) -> bytes:
    return b"".join(EventStream(stream, **options))


# -- bytes -------------------------------------------------------------------------------------------------------------


def test_a_whole_answer_byte_by_byte() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    last = payload("", finish="stop", usage=usage)
    stream, _ = stream_of(wire(payload("Привет"), payload(', \n"мир"\u2028🌊'), last) + DONE)
    assert body_of(stream).decode() == (
        'data: {"text":"Привет"}\n\n'
        'data: {"text":", \\n\\"мир\\"\u2028🌊"}\n\n'
        "event: done\n"
        'data: {"finish_reason":"stop","model":"GigaChat-2:2.0.31.04",'
        '"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"request_id":null}\n\n'
    )


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
    stream, _ = stream_of(wire(payload(None, delta=call, finish="function_call")) + DONE)
    found = events(body_of(stream))
    assert names(found) == ["done"]
    assert found[-1].json["finish_reason"] == "function_call"


def test_the_first_piece_is_there_at_once_even_if_the_first_chunk_has_no_text() -> None:
    gate = threading.Event()

    def later() -> bytes:
        assert gate.wait(20)
        return wire(payload("a", finish="stop")) + DONE

    stream, _ = stream_of(wire(payload("")), later)
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
    assert said(found) == stream.completion.text != ""
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
    assert said(found) == FIVE
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
    stream, reply = stream_of(wire(payload("a", finish="stop")) + DONE)
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
    assert said(found) == body.text == "1, 2, 3,"
    reported = found[-1].json
    assert (reported["status"], reported["type"], reported["retry_after"]) == (429, "RateLimitError", None)
    assert reported["message"] == "too many requests at the moment: try again a little later"
    assert reported["request_id"] == body.completion.request_id
    assert isinstance(body.error, errors.RateLimitError)
    assert ["ended early" in record.getMessage() for record in caplog.records] == [True]


def test_a_cut_in_the_middle_is_an_error_event_and_never_done(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(cut_after_events=3))
    found = events(body_of(giga.stream(COUNT)))
    assert said(found) == "1, 2, 3,"
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


# -- silence and disconnected readers ----------------------------------------------------------------------------------


def test_silence_is_filled_with_pings_and_close_from_elsewhere_ends_it_at_once(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(stall_after_events=2))
    body = EventStream(giga.stream(COUNT), ping_s=0.05)
    found: list[bytes] = []
    reader = Task(lambda: found.extend(body))
    wait_until(lambda: found.count(b": ping\n\n") >= 3, what="three pings")
    body.close()
    reader.result()
    wait_until(lambda: emulator.open_streams == 0, what="the end of the upstream call")
    assert names(events(b"".join(found))) == ["message", "message"], "a closed body sends neither error nor done"
    assert body.text == "1, 2,"
    assert body.error is None


def test_closing_ends_a_blocked_read_without_pings(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=1))
    body = EventStream(giga.stream(COUNT), ping_s=math.inf)
    pieces = iter(body)
    next(pieces)
    reader = Task(lambda: list(pieces))
    wait_until(pumps, what="the thread that reads")
    body.close()
    assert reader.result() == []


@pytest.mark.parametrize("looped", [False, True], ids=["thread", "loop"])
def test_closing_does_not_wait_for_a_function_that_is_running(looped: bool, giga: GigaChat) -> None:
    called, goes_on = threading.Event(), threading.Event()

    def lookup(port: str) -> float:
        """The height of the tide at a port."""
        called.set()
        assert goes_on.wait(20)
        return 1.8

    stream = giga.run_stream("How high is the tide in Murmansk?", functions=[lookup])
    body = EventStream(stream, ping_s=math.inf)
    reader = Task(lambda: asyncio.run(collected(body)) if looped else b"".join(body))
    assert called.wait(20)
    body.close()
    assert b"event:" not in reader.result()
    assert len(pumps()) == 1, "the function is not interrupted"
    goes_on.set()


def test_chunks_without_text_do_not_keep_pings_away() -> None:
    over = threading.Event()

    def thinking() -> Iterator[bytes]:
        yield event(payload("a"))
        while not over.wait(0.02):
            yield event(payload(""))
        yield wire(payload("b", finish="stop")) + DONE

    stream = ChatStream(FakeReply(thinking()), ChunkParser(None))
    pieces = iter(EventStream(stream, ping_s=0.1))
    assert [next(pieces) for _ in range(3)] == [b'data: {"text":"a"}\n\n', b": ping\n\n", b": ping\n\n"]
    over.set()
    assert names(events(b"".join(pieces))) == ["message", "done"]


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_a_body_that_is_never_iterated_ends_the_upstream_call(
    leave: str, giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(stall_after_events=1))
    ended: list[Any] = []
    stream = giga.stream(COUNT)
    body = EventStream(stream, on_end=ended.append)
    assert emulator.open_streams == 1
    assert pumps() == [], "no thread before the first read"
    if leave == "close":
        body.close()
        assert [answer.text for answer in ended] == ["1,"]
        assert list(body) == []
    del body
    gc.collect()
    assert stream.closed
    wait_until(lambda: emulator.open_streams == 0, what="the end of the upstream call")


def test_a_body_that_is_dropped_half_read_ends_its_thread_and_the_upstream_call(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(stall_after_events=2))
    pieces = iter(EventStream(giga.stream(COUNT)))
    assert next(pieces).startswith(b"data")
    assert len(pumps()) == 1
    del pieces
    gc.collect()
    wait_until(lambda: not pumps() and emulator.open_streams == 0, what="the end of both")


def test_a_body_is_read_once(giga: GigaChat) -> None:
    body = EventStream(giga.stream(COUNT))
    first = iter(body)
    next(first)
    with pytest.raises(errors.ConfigError, match="once"):
        next(iter(body))
    assert names(events(b"".join(first)))[-1] == "done", "the first iteration is not disturbed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_in_a_forked_child_a_body_of_the_parent_says_so_and_the_parent_reads_on(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(stall_after_events=2, stall_s=1.0))
    body = EventStream(giga.stream(COUNT), ping_s=0.05)
    pieces = iter(body)
    found = [next(pieces), next(pieces)]
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(20)  # a hanging child must end
        try:
            list(pieces)
        except errors.ConfigError:
            body.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found += pieces
    assert said(events(b"".join(found))) == FIVE


# -- slow readers ------------------------------------------------------------------------------------------------------


def test_a_slow_reader_holds_the_upstream_back() -> None:
    size, count = 64 * 1024, 400
    blocks = (event(payload("x" * size)) for _ in range(count))
    reply = FakeReply([*blocks, wire(payload("", finish="stop")) + DONE])
    body = EventStream(ChatStream(reply, ChunkParser(None)))
    pieces = iter(body)
    next(pieces)
    wait_until(lambda: reply.read >= 8, what="a full queue")
    time.sleep(0.2)  # for a reader without a limit to read more
    ahead = reply.read
    assert ahead < 16
    next(pieces)
    assert sum(len(piece) for piece in pieces) > (count - 2) * size
    assert reply.read > count


def test_a_reader_that_reads_nothing_ends_the_upstream_call_and_loses_no_queued_event(
    giga: GigaChat, emulator: GigaChatEmulator
) -> None:
    body = EventStream(giga.stream("Count from 1 to 500"), reader_timeout_s=0.2)
    pieces = iter(body)
    found = [next(pieces)]
    wait_until(lambda: emulator.open_streams == 0 and not pumps(), what="the end of the upstream call")
    found += pieces
    assert said(events(b"".join(found))) == "1, 2, 3, 4, 5, 6, 7, 8, 9,"
    assert names(events(b"".join(found)))[-1] == "error"
    assert "took nothing" in str(body.error)


# -- where things run --------------------------------------------------------------------------------------------------


def test_functions_and_render_run_in_the_callers_context_manager_and_context(giga: GigaChat) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    seen: list[tuple[str, str, bool]] = []
    inside = threading.local()
    left = threading.Event()

    @contextlib.contextmanager
    def within() -> Iterator[None]:
        inside.open = True
        yield
        left.set()

    def lookup(port: str) -> float:
        """The height of the tide at a port."""
        seen.append((threading.current_thread().name, tenant.get("nobody"), getattr(inside, "open", False)))
        return 1.8

    def request() -> EventStream:
        tenant.set("acme")
        return EventStream(giga.run_stream("How high is the tide in Murmansk?", functions=[lookup]), within=within)

    body = contextvars.copy_context().run(request)
    assert names(events(b"".join(body)))[-1] == "done"
    assert seen == [("gigaclient-event-stream", "acme", True)]
    assert left.wait(10)


def test_on_end_is_called_by_the_thread_that_iterates_or_closes() -> None:
    callers: list[int] = []
    note = lambda answer: callers.append(threading.get_ident())  # noqa: E731
    body_of(answer_of("a"), on_end=note)
    body = EventStream(answer_of("a"), on_end=note)
    closer = Task(lambda: (body.close(), threading.get_ident())[1])
    assert callers == [threading.get_ident(), closer.result()]


# -- for an event loop -------------------------------------------------------------------------------------------------


async def collected(body: EventStream) -> bytes:
    return b"".join([piece async for piece in body])


def test_a_loop_gets_the_same_events(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    for fault in (Fault(), Fault(error_after_events=3), Fault(cut_after_events=2)):
        emulator.inject(fault, times=2)
        plain = events(body_of(giga.stream(COUNT, request_id="one")))
        looped = events(asyncio.run(collected(EventStream(giga.stream(COUNT, request_id="one")))))
        assert looped == plain


def test_a_loop_goes_on_while_the_model_is_silent_and_gets_pings(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=2, stall_s=0.6))

    async def main() -> tuple[bytes, int]:
        turns = 0
        reading = asyncio.create_task(collected(EventStream(giga.stream(COUNT), ping_s=0.05)))
        while not reading.done():
            turns += 1
            await asyncio.sleep(0.01)
        return await reading, turns

    found, turns = asyncio.run(main())
    assert said(events(found)) == FIVE
    assert 3 <= found.count(b": ping\n\n") <= 60
    assert turns > 5


def test_a_cancelled_task_ends_the_upstream_call_and_calls_on_end(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=2))
    ended: list[Any] = []
    body = EventStream(giga.stream(COUNT), ping_s=math.inf, on_end=ended.append)

    async def main() -> None:
        found = []

        async def answer() -> None:
            async for piece in body:
                found.append(piece)

        task = asyncio.create_task(answer())
        while len(found) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [(answer.text, answer.finish_reason) for answer in ended] == [("1, 2,", None)]
    wait_until(lambda: emulator.open_streams == 0 and not pumps(), what="the end of the upstream call")


def test_on_end_is_called_even_if_the_task_is_cancelled_twice(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=1))

    async def main() -> None:
        called, goes_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slowly(function: Callable[[], None]) -> None:
            called.set()
            await goes_on.wait()
            function()

        body = EventStream(giga.stream(COUNT), on_end=lambda answer: ended.set(), to_thread=slowly)
        pieces = body.__aiter__()
        await pieces.__anext__()
        task = asyncio.create_task(anext_of(pieces))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait_for(called.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        goes_on.set()
        await asyncio.wait_for(ended.wait(), 20)

    asyncio.run(main())


def test_closing_from_a_thread_ends_an_iteration_in_a_loop(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(stall_after_events=2))
    body = EventStream(giga.stream(COUNT), ping_s=math.inf)

    async def main() -> list[bytes]:
        found = []
        async for piece in body:
            found.append(piece)
            if len(found) == 2:
                threading.Thread(target=body.close).start()
        return found

    assert names(events(b"".join(asyncio.run(main())))) == ["message", "message"]


def test_a_loop_that_ends_in_the_middle_ends_the_thread(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.event_pause_s = 0.02
    try:
        body = EventStream(giga.stream("Count from 1 to 500"))
        loop = asyncio.new_event_loop()
        pieces = body.__aiter__()
        assert loop.run_until_complete(anext_of(pieces)).startswith(b"data")
        loop.close()  # while the body is still open
        wait_until(lambda: emulator.open_streams == 0 and not pumps(), what="the end of the upstream call")
        del pieces, body
        gc.collect()  # must print nothing to standard error
    finally:
        emulator.event_pause_s = 0.0


async def anext_of(pieces: AsyncIterator[bytes]) -> bytes:
    return await pieces.__anext__()


def test_on_end_runs_in_a_thread_outside_the_loop_or_through_to_thread(giga: GigaChat) -> None:
    callers: list[str] = []

    async def elsewhere(function: Callable[[], None]) -> None:
        callers.append("elsewhere")
        await asyncio.to_thread(function)

    def note(answer: Any) -> None:
        callers.append("loop" if threading.current_thread() is threading.main_thread() else "thread")

    asyncio.run(collected(EventStream(giga.stream(COUNT), on_end=note)))
    asyncio.run(collected(EventStream(giga.stream(COUNT), on_end=note, to_thread=elsewhere)))
    assert callers == ["thread", "elsewhere", "thread"]


# -- errors ------------------------------------------------------------------------------------------------------------

STATUSES: list[tuple[BaseException, int]] = [
    (errors.AuthenticationError("x", status_code=401), 401),
    (errors.PaymentRequiredError("x", status_code=402), 402),
    (errors.RateLimitError("x", status_code=429), 429),
    (errors.UnprocessableEntityError("x", status_code=422), 422),
    (errors.ServerError("x", status_code=503), 503),
    (errors.APIStatusError("x", status_code=302), 502),
    (errors.APIStatusError("x", status_code=0), 502),
    (errors.APITimeoutError("x"), 504),
    (errors.APIConnectionError("x"), 502),
    (errors.TLSError("x"), 502),
    (errors.StreamInterruptedError("x"), 502),
    (errors.InvalidResponseError("x"), 502),
    (errors.LengthFinishReasonError("x"), 502),
    (errors.TooManyStepsError("x"), 502),
    (errors.ConfigError("x"), 500),
    (errors.GigaClientError("x"), 502),
    (LookupError("x"), 500),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=lambda value: type(value).__name__)
def test_each_error_has_a_status_and_a_sentence_for_a_person(error: BaseException, status: int) -> None:
    assert status_of(error) == status
    reported = error_payload(error)
    assert set(reported) == {"status", "type", "message", "retry_after", "request_id"}
    assert reported["status"] == status
    assert len(reported["message"].split()) > 3 or status == 422
    json.dumps(reported, allow_nan=False)


def test_the_payload_of_an_error_has_no_hosts_paths_and_settings() -> None:
    inner = "proxy http://proxy.corp:3128, ca_bundle_file=/srv/ca.pem, check credentials and scope"
    for error, _ in STATUSES:
        if isinstance(error, errors.UnprocessableEntityError):
            continue  # the payload quotes the message of the service
        error.message = inner  # type: ignore[attr-defined]
        error.args = (inner,)
        reported = json.dumps(error_payload(error))
        assert not any(word in reported for word in ("proxy.corp", "ca.pem", "credentials")), reported


def test_an_invalid_request_is_reported_with_the_message_of_the_service() -> None:
    error = errors.BadRequestError("temperature must be\nin range", status_code=400, request_id="r-1")
    assert error_payload(error) == {
        "status": 400,
        "type": "BadRequestError",
        "message": "temperature must be in range",
        "retry_after": None,
        "request_id": "r-1",
    }


@pytest.mark.parametrize(("seconds", "header"), [(None, None), (0.0, "0"), (0.2, "1"), (3.0, "3"), (3.01, "4")])
def test_retry_after_is_passed_on_in_whole_seconds(seconds: float | None, header: str | None) -> None:
    error = errors.RateLimitError("x", status_code=429, retry_after=seconds)
    assert error_headers(error).get("Retry-After") == header
    assert error_payload(error)["retry_after"] == seconds
