"""The worker threads: when they are started, and which work must not wait for that."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gigaclient import GigaChat
from gigaclient.bulk.budget import Budget, Limits
from gigaclient.bulk.scheduler import Scheduler
from gigaclient.bulk.tasks import NO_KEY, Item, Task, TaskResult
from gigaclient.bulk.thread_pool import WorkerPool
from gigaclient.bulk.throttle import Throttle
from gigaclient.testing import GigaChatEmulator


@pytest.fixture
def giga(gigachat_emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with GigaChat(**gigachat_emulator.client_options) as client:
        yield client


def test_no_prompt_waits_while_its_thread_starts_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a worker starts no thread while it holds a task: a start may wait for the interpreter."""
    all_came = threading.Event()
    waits: list[bool] = []
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        start(thread)
        if threading.current_thread().name.startswith("giga.map"):
            waits.append(all_came.wait(20))

    monkeypatch.setattr(threading.Thread, "start", start_late)
    scheduler = Scheduler(Throttle(4, None), Budget(Limits()))
    for number in range(20):
        scheduler.offer(Task([Item(number, number, None, NO_KEY)]))
    pool = WorkerPool(scheduler, lambda task, cancel_group: [TaskResult()], scheduler.finish, 4)
    pool.grow()
    came = sorted(scheduler.done.get(timeout=10)[0].items[0].index for _ in range(20))
    all_came.set()
    scheduler.stop("closed")
    pool.join(10)
    assert came == list(range(20))
    assert waits == [True] * 3


def test_there_are_no_more_threads_than_wanted(giga: GigaChat, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def start_counted(thread: threading.Thread) -> None:
        if thread.name.startswith("giga.map"):
            started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_counted)
    assert len(list(giga.map([f"prompt {n}" for n in range(200)], max_workers=5))) == 200
    assert started == [f"giga.map-{n + 1}" for n in range(len(started))]
    assert 2 <= len(started) <= 5


def test_the_run_uses_the_threads_that_could_be_started(giga: GigaChat, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    started: list[str] = []

    def start_two(thread: threading.Thread) -> None:
        if thread.name.startswith("giga.map"):
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    assert [result.ok for result in giga.map([f"prompt {n}" for n in range(40)])] == [True] * 40
    assert started == ["giga.map-1", "giga.map-2"]


def test_a_system_that_can_start_no_thread_is_an_error(giga: GigaChat, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def start_none(thread: threading.Thread) -> None:
        if thread.name.startswith("giga.map"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_none)
    with pytest.raises(RuntimeError, match="new thread"):
        list(giga.map(["one"]))
