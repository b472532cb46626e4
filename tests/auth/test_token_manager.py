"""Tests of the token manager: one fetch for all threads, background refresh, refusals, errors, interrupts and forks."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import msgspec
import msgspec.structs
import pytest
from support.token_tools import (
    LONG,
    Clock,
    Source,
    ThreadGroup,
    credential,
    deadline_of,
    in_child,
    together,
    until,
    value_of,
)

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded, Latch, Timeouts
from gigaclient.auth import token_manager as tokens
from gigaclient.auth.token_manager import Credential, TokenManager
from gigaclient.errors import APIConnectionError, APITimeoutError, AuthenticationError, ServerError

THREADS = 32


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(clock: Clock) -> Source:
    return Source(clock)


@pytest.fixture
def manager(source: Source, clock: Clock) -> TokenManager:
    return TokenManager(source, timeouts=Timeouts(), clock=clock)


def get(manager: TokenManager) -> str:
    return value_of(manager.get(deadline_of()))


def wait_for_waiters(manager: TokenManager, count: int) -> None:
    """Wait until ``count`` threads wait for the fetch of another one."""
    until(lambda: manager._in_flight is not None and len(manager._in_flight.waiters) == count)


def wait_for_refreshes(manager: TokenManager) -> None:
    until(lambda: manager._in_flight is None)


# -- fetched once -----


def test_32_threads_without_a_token_cause_one_fetch(manager: TokenManager, source: Source) -> None:
    source.gate.clear()
    crowd = ThreadGroup(THREADS, lambda n: get(manager))
    wait_for_waiters(manager, THREADS - 1)
    source.gate.set()
    assert crowd.results() == ["token 1"] * THREADS
    assert source.calls == manager.fetched == 1


def test_a_good_credential_is_used_again(manager: TokenManager, source: Source) -> None:
    assert [get(manager) for _ in range(5)] == ["token 1"] * 5
    assert source.calls == 1


def test_a_valid_credential_is_returned_without_the_lock(manager: TokenManager) -> None:
    get(manager)
    with manager._lock:
        assert together(1, lambda n: get(manager)) == ["token 1"]


def test_a_thread_that_waited_for_the_lock_uses_the_credential_fetched_meanwhile(
    manager: TokenManager, source: Source
) -> None:
    with manager._lock:
        crowd = ThreadGroup(1, lambda n: get(manager))
        time.sleep(0.05)  # let it pass the check without the lock, and wait for the lock
        manager._credential = credential("of another thread")
    assert crowd.results() == ["of another thread"]
    assert source.calls == 0


# -- background refresh -------------


@pytest.mark.parametrize(
    ("left", "renewed"),
    [(1800.0, False), (60.5, False), (60.001, False), (60.0, True), (59.999, True), (30.0, True), (0.001, True)],
)
def test_it_is_refreshed_in_the_background_60_seconds_before_its_expiry(
    manager: TokenManager, source: Source, clock: Clock, left: float, renewed: bool
) -> None:
    get(manager)
    clock.now += 1800.0 - left
    source.gate.clear()
    assert get(manager) == "token 1", "no call waits for a refresh"
    source.gate.set()
    wait_for_refreshes(manager)
    assert source.calls == 1 + renewed
    assert get(manager) == ("token 2" if renewed else "token 1")


def test_32_threads_cause_one_refresh_and_none_waits_while_it_hangs(
    manager: TokenManager, source: Source, clock: Clock
) -> None:
    get(manager)
    clock.now += 1750.0
    source.gate.clear()  # from now on the endpoint hangs
    assert together(THREADS, lambda n: [get(manager) for _ in range(20)], 5.0) == [["token 1"] * 20] * THREADS
    source.gate.set()
    wait_for_refreshes(manager)
    assert source.calls == 2
    assert get(manager) == "token 2"


def test_the_refresh_thread_ends_after_the_refresh_and_is_a_daemon(
    manager: TokenManager, source: Source, clock: Clock
) -> None:
    get(manager)
    clock.now += 1750.0
    source.gate.clear()
    get(manager)
    renewing = [thread for thread in threading.enumerate() if thread.name == "gigaclient-token"]
    assert [thread.daemon for thread in renewing] == [True]
    source.gate.set()
    renewing[0].join(LONG)
    assert not renewing[0].is_alive()


def test_a_failed_refresh_keeps_the_old_token_logs_once_and_pauses(
    manager: TokenManager, source: Source, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    get(manager)
    clock.now += 1750.0
    source.script = [ServerError("down", status_code=503)] * 9
    for _ in range(50):
        assert get(manager) == "token 1"
        wait_for_refreshes(manager)
    assert source.calls == 2, "one refresh, not one for each call"
    until(lambda: caplog.records)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "503: down" in caplog.text
    clock.now += 4.9
    get(manager)
    wait_for_refreshes(manager)
    assert source.calls == 2
    clock.now += 0.2
    get(manager)
    wait_for_refreshes(manager)
    assert source.calls == 3


def test_the_pause_begins_before_the_next_refresh_could_start(
    manager: TokenManager, source: Source, clock: Clock
) -> None:
    get(manager)
    clock.now += 1750.0
    source.script = [ServerError("down", status_code=503)] * 200
    assert together(8, lambda n: [get(manager) for _ in range(500)]) == [["token 1"] * 500] * 8
    wait_for_refreshes(manager)
    assert source.calls == 2


def test_an_unexpected_error_of_a_refresh_is_logged_without_its_message(
    manager: TokenManager, source: Source, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    get(manager)
    clock.now += 1750.0
    source.script = [ZeroDivisionError("with the token in it")]
    get(manager)
    wait_for_refreshes(manager)
    until(lambda: caplog.records)
    assert "ZeroDivisionError" in caplog.text
    assert "with the token in it" not in caplog.text
    assert get(manager) == "token 1"


@pytest.mark.parametrize("problem", ["no more threads", "at interpreter shutdown"])
def test_when_no_thread_can_start_the_token_is_still_used_and_no_call_hangs(
    manager: TokenManager, source: Source, clock: Clock, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    get(manager)
    clock.now += 1750.0

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError(problem)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert get(manager) == "token 1"
    assert manager._in_flight is None
    clock.now += 51.0
    assert get(manager) == "token 2"


def test_an_interrupt_while_the_thread_is_started_leaves_no_fetch_behind(
    manager: TokenManager, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(manager)
    clock.now += 1750.0

    def interrupted(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            manager.get(deadline_of())
    assert manager._in_flight is None


def test_a_call_with_a_refused_token_waits_for_the_refresh_in_progress(
    manager: TokenManager, source: Source, clock: Clock
) -> None:
    first = manager.get(deadline_of())
    assert first is not None
    clock.now += 1750.0
    source.gate.clear()
    get(manager)
    manager.reject(first)
    crowd = ThreadGroup(4, lambda n: get(manager))
    wait_for_waiters(manager, 4)
    source.gate.set()
    assert crowd.results() == ["token 2"] * 4
    assert source.calls == 2


@pytest.mark.parametrize(
    ("life", "margin"), [(1800.0, 60.0), (61.0, 60.0), (60.001, 60.0), (60.0, 15.0), (30.0, 7.5), (0.4, 0.1)]
)
def test_the_margin_is_60_seconds_or_a_quarter_of_a_shorter_life(life: float, margin: float) -> None:
    assert Credential.margin_for(life) == margin


@pytest.mark.parametrize("life", [59.0, 10.0, 1.0])
def test_a_token_with_a_lifetime_below_the_margin_is_used(
    manager: TokenManager, source: Source, clock: Clock, life: float
) -> None:
    source.life = life
    get(manager)
    for _ in range(7):
        clock.now += life / 10
        get(manager)
        wait_for_refreshes(manager)
    assert source.calls == 1


# -- expired and refused tokens ----------------------------


@pytest.mark.parametrize("past", [0.0, 0.001, 10_000.0])
def test_an_expired_token_is_never_handed_out_and_32_threads_fetch_one_more(
    manager: TokenManager, source: Source, clock: Clock, past: float
) -> None:
    get(manager)
    clock.now += 1800.0 + past
    assert together(THREADS, lambda n: get(manager)) == ["token 2"] * THREADS
    assert source.calls == 2


def test_a_token_of_unknown_lifetime_is_used_until_it_is_refused(
    manager: TokenManager, source: Source, clock: Clock
) -> None:
    source.life = float("inf")
    first = manager.get(deadline_of())
    assert first is not None
    clock.now += 10.0**9
    assert get(manager) == "token 1"
    manager.reject(first)
    assert get(manager) == "token 2"


def test_32_threads_that_met_the_same_refused_token_cause_one_fetch(manager: TokenManager, source: Source) -> None:
    refused = manager.get(deadline_of())
    assert refused is not None

    def meet(n: int) -> str:
        manager.reject(refused)
        return get(manager)

    assert together(THREADS, meet) == ["token 2"] * THREADS
    assert source.calls == 2


def test_a_late_refusal_does_not_drop_the_new_credential(manager: TokenManager, source: Source) -> None:
    first = manager.get(deadline_of())
    assert first is not None
    manager.reject(first)
    assert get(manager) == "token 2"
    for _ in range(5):
        manager.reject(first)
        assert get(manager) == "token 2"
    assert source.calls == 2


def test_a_successor_with_the_same_text_is_another_credential(clock: Clock) -> None:
    manager = TokenManager(lambda deadline: credential("same"), timeouts=Timeouts(), clock=clock)
    first = manager.get(deadline_of())
    assert first is not None
    manager.reject(first)
    second = manager.get(deadline_of())
    manager.reject(first)
    assert manager._credential is second


def test_a_ready_token_that_nothing_can_replace_is_used_even_when_refused_or_past_its_time(clock: Clock) -> None:
    ready = credential("ready", expires_at=clock.now + 100)
    manager = TokenManager(None, timeouts=Timeouts(), initial=ready, clock=clock)
    assert not manager.renewable
    clock.now += 50
    assert get(manager) == "ready"
    clock.now += 100
    manager.reject(ready)
    assert get(manager) == "ready"
    assert manager.fetched == 0


def test_without_a_token_and_without_a_source_there_is_none(clock: Clock) -> None:
    assert TokenManager(None, timeouts=Timeouts(), clock=clock).get(deadline_of()) is None


def test_a_ready_token_with_a_source_is_used_first(source: Source, clock: Clock) -> None:
    ready = credential("ready")
    manager = TokenManager(source, timeouts=Timeouts(), initial=ready, clock=clock)
    assert (get(manager), source.calls) == ("ready", 0)
    manager.reject(ready)
    assert (get(manager), source.calls) == ("token 1", 1)


# -- failures -----


def test_every_thread_gets_its_own_error(manager: TokenManager, source: Source) -> None:
    failure = AuthenticationError("no", status_code=401, code=6, body={"code": 6}, headers={"x": "y"}, request_id="r")
    failure.attempts = ("401 after 0.01 s",)
    source.gate.clear()
    source.script = [failure]
    crowd = ThreadGroup(8, lambda n: get(manager))
    wait_for_waiters(manager, 7)
    source.gate.set()
    errors = crowd.results()
    assert source.calls == 1
    assert len({id(error) for error in errors}) == 8
    assert {type(error) for error in errors} == {AuthenticationError}
    assert {str(error) for error in errors} == {str(failure)}
    seen = [(error.code, error.body, error.headers, error.request_id, error.attempts) for error in errors]
    assert seen == [(6, {"code": 6}, {"x": "y"}, "r", ("401 after 0.01 s",))] * 8


def test_a_failure_is_not_remembered(manager: TokenManager, source: Source) -> None:
    source.script = [AuthenticationError("no", status_code=401)]
    with pytest.raises(AuthenticationError):
        get(manager)
    assert get(manager) == "token 2"


def _exceed_deadline(deadline: Deadline) -> None:
    deadline.expired = "deadline"
    raise APITimeoutError("the deadline passed", timeout_kind="deadline")


def _close_call(deadline: Deadline) -> None:
    deadline.cancel()
    raise APIConnectionError("ended by close()")


@pytest.mark.parametrize("how", [_exceed_deadline, _close_call, KeyboardInterrupt(), SystemExit(), MemoryError()])
def test_when_the_fetching_thread_gives_up_for_its_own_reasons_another_takes_over(
    manager: TokenManager, source: Source, how: Any
) -> None:
    source.gate.clear()
    go_on = threading.Event()

    def first(deadline: Deadline) -> None:
        assert go_on.wait(LONG)
        if isinstance(how, BaseException):
            raise how
        how(deadline)

    source.script = [first]
    leader = ThreadGroup(1, lambda n: get(manager))
    assert source.entered.wait(LONG)
    others = ThreadGroup(6, lambda n: get(manager))
    wait_for_waiters(manager, 6)
    source.gate.set()
    go_on.set()
    assert isinstance(leader.results()[0], BaseException)
    assert others.results() == ["token 2"] * 6
    assert source.calls == 2


def test_a_thread_with_a_longer_read_timeout_tries_again_after_a_timeout(manager: TokenManager, source: Source) -> None:
    go_on = threading.Event()

    def slow(deadline: Deadline) -> None:
        assert go_on.wait(LONG)
        raise APITimeoutError("silence")

    source.script = [slow]
    hasty = ThreadGroup(1, lambda n: value_of(manager.get(deadline_of(read=0.2))))
    assert source.entered.wait(LONG)
    others = ThreadGroup(4, lambda n: value_of(manager.get(deadline_of(read=0.2 if n < 2 else 5.0))))
    wait_for_waiters(manager, 4)
    go_on.set()
    assert isinstance(hasty.results()[0], APITimeoutError)
    results = others.results()
    assert [type(result) for result in results[:2]] == [APITimeoutError] * 2
    assert results[2:] == ["token 2"] * 2


def test_a_thread_that_waits_for_a_fetch_gets_an_error_within_its_own_timeouts(
    manager: TokenManager, source: Source
) -> None:
    source.gate.clear()
    leader = ThreadGroup(1, lambda n: get(manager))
    assert source.entered.wait(LONG)
    waiting = ThreadGroup(3, lambda n: manager.get(deadline_of(connect=0.1, read=0.2 + n / 2)))
    errors = waiting.results()
    source.gate.set()
    assert leader.results() == ["token 1"]
    assert [type(error) for error in errors] == [APITimeoutError] * 3
    assert [error.timeout_kind for error in errors] == ["read"] * 3
    assert not any(error.sent for error in errors)
    for seconds, bound in zip(waiting.seconds, (0.3, 0.8, 1.3), strict=True):
        assert bound <= seconds < bound + 0.4


def test_the_deadline_and_close_end_the_wait_for_another_threads_fetch(manager: TokenManager, source: Source) -> None:
    source.gate.clear()
    leader = ThreadGroup(1, lambda n: get(manager))
    assert source.entered.wait(LONG)
    closing = deadline_of()
    waiting = ThreadGroup(2, lambda n: manager.get(deadline_of(deadline=0.2) if n else closing))
    wait_for_waiters(manager, 2)
    closing.cancel()
    assert [type(error) for error in waiting.results(5.0)] == [Cancelled, DeadlineExceeded]
    source.gate.set()
    leader.results()


def test_waiters_missed_by_an_interrupted_thread_check_again(
    manager: TokenManager, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.gate.clear()
    crowd = ThreadGroup(4, lambda n: get(manager))
    wait_for_waiters(manager, 3)
    monkeypatch.setattr(tokens, "_RECHECK_SECONDS", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(Latch, "open", lambda latch: None)  # no waiter is ever woken
        source.gate.set()
        assert crowd.results(10.0) == ["token 1"] * 4


def test_an_interrupt_while_the_waiters_are_woken_leaves_none_asleep(
    manager: TokenManager, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_RECHECK_SECONDS", LONG)
    source.gate.clear()
    crowd = ThreadGroup(4, lambda n: get(manager))
    wait_for_waiters(manager, 3)
    plain_open = Latch.open
    interrupts = [KeyboardInterrupt()]

    def interrupted(latch: Latch) -> None:
        if interrupts:
            raise interrupts.pop()
        plain_open(latch)

    monkeypatch.setattr(Latch, "open", interrupted)
    source.gate.set()
    results = crowd.results(10.0)
    assert sorted(str(result) for result in results) == ["", "token 1", "token 1", "token 1"]
    assert get(manager) == "token 1"


# -- secrets, forks and logs -----


def test_a_credential_shows_no_secret() -> None:
    from gigaclient._primitives.secret import Secret

    held = Credential(Secret("the-token"), cookies=Secret("the-cookie"))
    assert "the-" not in repr(held) + str(held) + repr(msgspec.structs.asdict(held)) + repr(held.__rich_repr__())


def test_a_fork_in_the_midst_of_a_fetch_leaves_the_child_free_and_the_token_in_place(
    manager: TokenManager, source: Source, clock: Clock
) -> None:
    get(manager)
    clock.now += 1750.0
    source.gate.clear()
    get(manager)  # a refresh is running, in a thread that the child will not have
    assert manager._in_flight is not None

    def work() -> list[str]:
        before = get(manager)
        clock.now += 100.0
        source.gate.set()
        return [before, get(manager)]

    with manager._lock:  # and the lock is held at the moment of the fork
        assert in_child(work) == ["token 1", "token 3"]
    source.gate.set()
    wait_for_refreshes(manager)
    assert get(manager) == "token 2"


def test_nothing_is_logged_when_all_goes_well(
    manager: TokenManager, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        get(manager)
        clock.now += 1750.0
        get(manager)
        wait_for_refreshes(manager)
    assert caplog.records == []
