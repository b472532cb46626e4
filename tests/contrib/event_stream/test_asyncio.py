"""Event streams that are iterated by an event loop."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.event_stream_tools import COUNT, FIVE, body_of, collected
from support.reliability_tools import wait_until
from support.web import events, names, pumps, text_of

from gigaclient import GigaChat
from gigaclient.contrib.event_stream import EventStream
from gigaclient.testing import Fault, GigaChatEmulator


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
    assert text_of(events(found)) == FIVE
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
