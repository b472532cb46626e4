"""Tests that after a fork the child has new locks, new connections and the token, and its own responses only."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from support.token_tools import LONG, in_child, together, until

from gigaclient import GigaChat
from gigaclient._core.limiter import limiter_for
from gigaclient._primitives import fork_safety as forks
from gigaclient.gigachat import client as client_module
from gigaclient.testing import GigaChatEmulator


class Member:
    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.calls = 0

    def after_fork_in_child(self) -> None:
        self.calls += 1
        if self.fails:
            raise RuntimeError("this one cannot")


def test_every_member_is_called_in_the_child_and_none_in_the_parent() -> None:
    members = [Member() for _ in range(5)]
    for member in members:
        forks.register(member)
    assert in_child(lambda: [member.calls for member in members]) == [1] * 5
    assert [member.calls for member in members] == [0] * 5


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Python reports the exception so in the child
def test_a_member_that_fails_does_not_stop_the_others() -> None:
    members = [Member(fails=n % 2 == 0) for n in range(6)]
    for member in members:
        forks.register(member)
    assert in_child(lambda: [member.calls for member in members]) == [1] * 6
    with pytest.raises(RuntimeError, match="this one cannot"):
        forks._after_fork_in_child()


def test_being_registered_keeps_nothing_alive() -> None:
    member = Member()
    forks.register(member)
    gone = weakref.ref(member)
    del member
    gc.collect()
    assert gone() is None


def test_members_are_called_in_a_grandchild_too() -> None:
    member = Member()
    forks.register(member)
    assert in_child(lambda: in_child(lambda: member.calls)) == 2


# -- a client over a fork -----


@pytest.fixture
def giga(gigachat_emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with GigaChat(**gigachat_emulator.client_options, deadline=LONG) as giga:
        yield giga


def ask(giga: GigaChat, prefix: str, times: int) -> list[str]:
    """Ask several questions, and return those with a wrong answer."""
    wrong = []
    for number in range(times):
        question = f"{prefix}-{number}"
        answer = giga.chat(f"Repeat: {question}").text
        if question not in answer:
            wrong.append(f"{question}: {answer}")
    return wrong


def test_parent_and_child_get_their_own_answers_alone(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    assert ask(giga, "warm", 3) == []
    children: list[Any] = []
    helper = threading.Thread(target=lambda: children.append(in_child(lambda: ask(giga, "child", 50))))
    helper.start()
    assert ask(giga, "parent", 50) == []
    helper.join(LONG)
    assert children == [[]]
    assert gigachat_emulator.oauth_calls == 1, "the child has the token"


def test_the_child_opens_its_own_connections(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    ask(giga, "warm", 1)
    before = gigachat_emulator.connections
    assert in_child(lambda: ask(giga, "child", 2)) == []
    assert gigachat_emulator.connections == before + 1
    assert ask(giga, "parent", 2) == []
    assert gigachat_emulator.connections == before + 1, "and the parent's still works"


def test_a_fork_while_another_thread_renews_the_token_does_not_lock_the_child(
    giga: GigaChat, gigachat_emulator: GigaChatEmulator
) -> None:
    gigachat_emulator.token_life_s = 60.4
    ask(giga, "warm", 1)
    time.sleep(0.5)
    gigachat_emulator.oauth_pause_s = 3.0
    ask(giga, "warm", 1)
    until(lambda: gigachat_emulator.oauth_calls == 2)
    assert giga._executor.tokens is not None
    assert giga._executor.tokens._in_flight is not None
    assert in_child(lambda: ask(giga, "child", 3)) == []


def test_a_fork_while_another_thread_fetches_the_first_token_does_not_lock_the_child(
    giga: GigaChat, gigachat_emulator: GigaChatEmulator
) -> None:
    gigachat_emulator.oauth_pause_s = 0.5
    cold = threading.Thread(target=ask, args=(giga, "parent", 1))
    cold.start()
    until(lambda: gigachat_emulator.oauth_calls == 1)
    assert in_child(lambda: ask(giga, "child", 2)) == []
    assert gigachat_emulator.oauth_calls == 2, "the child has to ask for itself"
    cold.join(LONG)
    assert ask(giga, "parent", 1) == []
    assert gigachat_emulator.oauth_calls == 2


def test_a_fork_with_every_lock_held_does_not_lock_the_child(giga: GigaChat) -> None:
    ask(giga, "warm", 1)
    core = giga._executor
    assert core.tokens is not None
    held = threading.Event()
    let_go = threading.Event()

    def hold() -> None:
        assert core.tokens is not None
        with core.tokens._lock, core.limiter._lock, core.transport._lock, client_module._shared._lock:
            held.set()
            let_go.wait(LONG)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(LONG)
    try:

        def work() -> list[str]:
            limiter_for("an account", 1)
            giga.stats()
            return ask(giga, "child", 3)

        assert in_child(work) == []
    finally:
        let_go.set()
        holder.join(LONG)
    assert ask(giga, "parent", 1) == []


def test_threads_in_parent_and_children_at_once(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    ask(giga, "warm", 1)
    results: list[Any] = []

    def fork(name: str) -> None:
        results.append(in_child(lambda: together(3, lambda n: ask(giga, f"{name}-{n}", 8))))

    children = [threading.Thread(target=fork, args=(f"child{n}",)) for n in range(2)]
    for child in children:
        child.start()
    assert together(3, lambda n: ask(giga, f"parent-{n}", 8)) == [[]] * 3
    for child in children:
        child.join(LONG)
    assert results == [[[]] * 3] * 2
    assert gigachat_emulator.oauth_calls == 1


def test_the_child_of_a_stream_does_not_disturb_it(giga: GigaChat, gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.event_pause_s = 0.02
    with giga.stream("Count from 1 to 8") as stream:
        first = next(stream).text

        def work() -> str:
            stream.close()  # as its finaliser would; the connection is the parent's
            return giga.chat("Repeat: child").text

        assert "child" in in_child(work)
        assert first + "".join(chunk.text for chunk in stream) == stream.text
        assert "8" in stream.text
        assert stream.result().choices[0].finish_reason == "stop"


def test_one_line_calls_work_in_a_child_and_share_the_parents_token(gigachat_emulator: GigaChatEmulator) -> None:
    options = gigachat_emulator.client_options
    options["api_key"] = options.pop("credentials")

    def line(word: str) -> str:
        return "".join(GigaChat.create_generator("GigaChat-2", f"Repeat: {word}", **options))

    assert "parent" in line("parent")
    with client_module._shared._lock:
        assert "child" in in_child(lambda: line("child"))
    assert gigachat_emulator.oauth_calls == 1


def test_where_nothing_forks_the_module_still_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.delattr(os, "register_at_fork")
    spec = importlib.util.find_spec("gigaclient._primitives.fork_safety")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.register(Member())
