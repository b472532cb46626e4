"""Silent, slow and disconnected readers of an event stream, and the threads that its callbacks run in."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.event_stream_tools import COUNT, FIVE, answer_of, body_of, collected
from support.reliability_tools import Task, wait_until
from support.stream_tools import DONE, FakeResponse, event, payload, sse_bytes
from support.web import events, names, pumps, text_of

from gigaclient import ChatStream, GigaChat, errors
from gigaclient.contrib.event_stream import EventStream
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.testing import Fault, GigaChatEmulator

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
        yield sse_bytes(payload("b", finish="stop")) + DONE

    stream = ChatStream(FakeResponse(thinking()), ChunkParser(None))
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
    assert text_of(events(b"".join(found))) == FIVE


# -- slow readers ------------------------------------------------------------------------------------------------------


def test_a_slow_reader_holds_the_upstream_back() -> None:
    size, count = 64 * 1024, 400
    blocks = (event(payload("x" * size)) for _ in range(count))
    reply = FakeResponse([*blocks, sse_bytes(payload("", finish="stop")) + DONE])
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
    assert text_of(events(b"".join(found))) == "1, 2, 3, 4, 5, 6, 7, 8, 9,"
    assert names(events(b"".join(found)))[-1] == "error"
    assert "the browser read nothing" in str(body.error)


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
