"""The concurrency limit: calls queue instead of getting 429, in order, within their deadline, and no permit is lost."""

from __future__ import annotations

import contextlib
import gc
import math
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from support.token_tools import LONG, ThreadGroup, deadline_of, in_child, together, until

from gigaclient import GigaChat, RateLimitError
from gigaclient._core import limiter as limiter_module
from gigaclient._core.limiter import Limiter, Permit, limiter_for
from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded, Latch
from gigaclient.errors import APITimeoutError
from gigaclient.testing import Fault, GigaChatEmulator


def acquire(limiter: Limiter, deadline: float = LONG) -> Permit:
    return limiter.acquire(deadline_of(deadline=deadline))


def queue_of(limiter: Limiter, count: int) -> list[ThreadGroup]:
    """Queue ``count`` calls one after the other; each returns the number of its turn and releases its permit."""
    turns: list[int] = []
    crowds = []
    for number in range(count):

        def turn(n: int, number: int = number) -> int:
            permit = acquire(limiter)
            turns.append(number)
            permit.release()
            return turns.index(number)

        crowds.append(ThreadGroup(1, turn))
        until(lambda number=number: limiter.waiting == number + 1)
    return crowds


# -- the queue -----


def test_first_come_is_first_served() -> None:
    limiter = Limiter(1)
    held = acquire(limiter)
    crowds = queue_of(limiter, 12)
    held.release()
    assert [crowd.results()[0] for crowd in crowds] == list(range(12))
    assert (limiter.under_way, limiter.waiting) == (0, 0)


def test_a_new_call_does_not_overtake_the_queue_even_when_a_permit_is_free() -> None:
    limiter = Limiter(1)
    earlier = limiter_module._Slot(Latch())
    limiter._queue.append(earlier)  # the state before the queue is advanced
    with pytest.raises(DeadlineExceeded):
        acquire(limiter, 0.05)
    assert limiter._held == {earlier}


def test_no_more_calls_than_the_limit_run_at_once() -> None:
    limiter = Limiter(3)
    permits = [acquire(limiter) for _ in range(3)]
    assert limiter.under_way == 3
    with pytest.raises(DeadlineExceeded):
        acquire(limiter, 0.05)
    permits[1].release()
    assert limiter.under_way == 2
    permits.append(acquire(limiter, 0.05))
    assert limiter.under_way == 3


def test_without_a_number_there_is_no_limit() -> None:
    limiter = Limiter()
    permits = [acquire(limiter) for _ in range(500)]
    assert limiter.limit == math.inf
    assert limiter.under_way == len(permits) == 500


def test_the_deadline_ends_the_wait_in_the_queue() -> None:
    limiter = Limiter(1)
    held = acquire(limiter)
    crowd = ThreadGroup(3, lambda n: acquire(limiter, 0.2))
    assert [type(error) for error in crowd.results()] == [DeadlineExceeded] * 3
    assert all(0.2 <= seconds < LONG for seconds in crowd.seconds)
    assert (limiter.under_way, limiter.waiting) == (1, 0)
    held.release()
    assert limiter.under_way == 0


def test_a_wait_that_ends_too_early_grants_no_permit(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = Limiter(1)
    _held = acquire(limiter)
    waits: list[object] = []

    def end_early(*arguments: object) -> bool:
        waits.append(arguments)
        time.sleep(0.01)
        return False

    monkeypatch.setattr(Deadline, "wait", end_early)
    crowd = ThreadGroup(1, lambda n: acquire(limiter, 0.2))
    until(lambda: len(waits) >= 10)
    assert limiter.under_way == 1
    monkeypatch.undo()
    assert isinstance(crowd.results()[0], DeadlineExceeded)


def test_cancel_ends_the_wait_in_the_queue_and_later_calls_keep_theirs() -> None:
    limiter = Limiter(1)
    held = acquire(limiter)
    cancelled = deadline_of()
    first = ThreadGroup(1, lambda n: limiter.acquire(cancelled))
    until(lambda: limiter.waiting == 1)
    second = ThreadGroup(1, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 2)
    cancelled.cancel()
    assert isinstance(first.results()[0], Cancelled)
    assert limiter.waiting == 1
    held.release()
    assert second.results() == [None]
    assert (limiter.under_way, limiter.waiting) == (0, 0)


def test_a_permit_granted_at_the_moment_of_a_cancel_goes_to_the_next_call() -> None:
    limiter = Limiter(1)
    held = acquire(limiter)
    leaving = deadline_of()
    first = ThreadGroup(1, lambda n: limiter.acquire(leaving))
    until(lambda: limiter.waiting == 1)
    second = ThreadGroup(1, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 2)
    leaving.cancelled = True  # the thread sees this when it wakes, and the permit wakes it
    held.release()
    assert isinstance(first.results()[0], Cancelled)
    assert second.results() == [None]
    assert limiter.under_way == 0


# -- permits are always released -----


@pytest.fixture
def no_queue_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting calls that do not check the queue at intervals, so that only a wake-up ends their wait."""
    monkeypatch.setattr(limiter_module, "_QUEUE_CHECK_SECONDS", 2 * LONG)


def test_a_permit_released_several_times_counts_once() -> None:
    limiter = Limiter(2)
    first, second = acquire(limiter), acquire(limiter)
    for _ in range(3):
        first.release()
    assert limiter.under_way == 1
    together(8, lambda n: second.release())
    assert limiter.under_way == 0


def test_a_permit_that_is_dropped_is_released() -> None:
    limiter = Limiter(1)
    acquire(limiter)
    assert limiter.under_way == 0


@pytest.mark.usefixtures("no_queue_checks")
def test_a_permit_in_a_reference_cycle_is_released_by_the_garbage_collector() -> None:
    limiter = Limiter(1)
    lost: list[Any] = [acquire(limiter)]
    lost.append(lost)
    crowd = ThreadGroup(1, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 1)
    del lost
    gc.collect()
    assert crowd.results() == [None]


@pytest.mark.usefixtures("no_queue_checks")
def test_a_finaliser_inside_our_own_use_of_the_lock_does_not_deadlock() -> None:
    limiter = Limiter(1)
    held = acquire(limiter)
    crowd = ThreadGroup(1, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 1)

    def release_inside(n: int) -> None:
        with limiter._lock:
            held.release()

    assert together(1, release_inside) == [None]
    assert crowd.results() == [None]


@pytest.mark.usefixtures("no_queue_checks")
@pytest.mark.parametrize("section", ["tighten", "refused late", "refused", "succeeded", "abandoned"])
def test_a_permit_released_while_the_lock_is_held_reaches_the_next_call(section: str) -> None:
    limiter = Limiter(1)
    held = acquire(limiter)
    stranger = Permit(limiter, limiter_module._Slot())
    stranger.generation = -1 if section == "refused late" else limiter._generation
    if section == "succeeded":
        limiter._maximum = 2
    crowd = ThreadGroup(1, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 1)

    class ReleasingLock:
        """The lock, with a release of the permit while it is held."""

        def __init__(self, lock: Any) -> None:
            self._lock = lock

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *exc_info: object) -> None:
            limiter._lock = self._lock
            held.release()  # as a finaliser would, in the same thread
            self._lock.release()

    limiter._lock = ReleasingLock(limiter._lock)  # type: ignore[assignment]
    actions = {
        "tighten": lambda: limiter.tighten(1),
        "refused late": lambda: limiter._refused(stranger),
        "refused": lambda: limiter._refused(stranger),
        "succeeded": lambda: limiter._succeeded(stranger),
        "abandoned": lambda: limiter._abandon(stranger, limiter_module._Slot()),
    }
    together(1, lambda n: actions[section]())
    assert crowd.results() == [None]


def test_a_waiting_call_that_was_not_woken_checks_the_queue_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter_module, "_QUEUE_CHECK_SECONDS", 0.1)
    limiter = Limiter(1)
    held = acquire(limiter)
    crowd = ThreadGroup(1, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 1)
    with monkeypatch.context() as patch:
        patch.setattr(Latch, "open", lambda latch: None)
        held.release()
        assert crowd.results() == [None]
    assert (limiter.under_way, limiter.waiting) == (0, 0)


@pytest.mark.parametrize("step", ["before", "after"])
def test_an_interrupt_between_granting_a_permit_and_waking_its_call_loses_neither(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(limiter_module, "_QUEUE_CHECK_SECONDS", 0.1)
    limiter = Limiter(1)
    held = acquire(limiter)
    crowd = ThreadGroup(3, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 3)
    plain_open = Latch.open
    interrupts = [KeyboardInterrupt()]

    def interrupted(latch: Latch) -> None:
        if step == "after":
            plain_open(latch)
        if interrupts:
            raise interrupts.pop()
        plain_open(latch)

    monkeypatch.setattr(Latch, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        held.release()
    assert crowd.results() == [None] * 3
    assert (limiter.under_way, limiter.waiting) == (0, 0)
    acquire(limiter, 0.1).release()


def test_a_permit_whose_constructor_was_interrupted_is_dropped_without_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    Permit.__new__(Permit)  # dropped at once
    assert errors == []


@contextlib.contextmanager
def interrupts() -> Iterator[list[bool]]:
    """Yield a list; while it is not empty, a SIGINT empties it and raises KeyboardInterrupt."""
    armed: list[bool] = []

    def handle(number: int, frame: object) -> None:
        if armed:
            armed.clear()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield armed
    finally:
        armed.clear()
        signal.signal(signal.SIGINT, before)


def send_interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_ctrl_c_while_queued_leaks_no_permit() -> None:
    limiter = Limiter(1)
    held = acquire(limiter)

    def interrupt() -> None:
        until(lambda: limiter.waiting == 1)
        send_interrupt()

    with interrupts() as armed:
        armed.append(True)
        helper = ThreadGroup(1, lambda n: interrupt())
        with pytest.raises(KeyboardInterrupt):
            acquire(limiter)
        armed.clear()
        helper.results()
    assert (limiter.under_way, limiter.waiting) == (1, 0)
    held.release()
    acquire(limiter, 0.5).release()
    assert limiter.under_way == 0


INTERRUPTS_SCRIPT = """
import gc, signal, sys, threading, time
from gigaclient._core.limiter import Limiter
from gigaclient._primitives.deadline import Deadline, Timeouts

sys.unraisablehook = lambda error: None  # some interrupts hit a finaliser
limiter, stop, armed, interrupted, used = Limiter(2), threading.Event(), [], 0, [0, 0]

def handle(number, frame):
    if armed:
        armed.clear()
        raise KeyboardInterrupt

def use(n):
    while not stop.is_set():
        limiter.acquire(Deadline(Timeouts(deadline=20))).release()
        used[n] += 1

def shoot():
    shots, ends = 0, time.monotonic() + 40
    while (shots < 400 or interrupted <= 20) and time.monotonic() < ends:
        shots += 1
        time.sleep(0.002)
        signal.pthread_kill(main, signal.SIGINT)
    stop.set()

# The loop is in a function: in Python 3.13.0 the jump back to a loop's start is outside the try block around the loop.
def be_interrupted():
    armed.append(True)
    while armed and not stop.is_set():  # an interrupt that hits a finaliser disarms, and raises nothing
        limiter.acquire(Deadline(Timeouts(deadline=20))).release()
    armed.clear()

signal.signal(signal.SIGINT, handle)
main = threading.main_thread().ident
threads = [threading.Thread(target=use, args=(n,)) for n in (0, 1)] + [threading.Thread(target=shoot)]
for thread in threads:
    thread.start()
while not stop.is_set():
    try:
        be_interrupted()
    except KeyboardInterrupt:
        interrupted += 1
for thread in threads:
    thread.join()
gc.collect()
print(interrupted > 20, used[0] > 0, used[1] > 0, limiter.under_way, limiter.waiting)
"""


def test_hundreds_of_interrupts_never_lose_a_permit() -> None:
    child = subprocess.run(
        [sys.executable, "-c", INTERRUPTS_SCRIPT], capture_output=True, text=True, timeout=50, check=False
    )
    assert (child.stdout, child.stderr) == ("True True True 0 0\n", "")


@pytest.mark.parametrize("most", [1, 3, None])
def test_a_thousand_operations_of_many_threads_lose_no_permit(most: int | None) -> None:
    limiter = Limiter(most)
    running, highest = [0], [0]
    guard = threading.Lock()

    def work(n: int) -> int:
        rng = random.Random(n)
        served = 0
        for _ in range(1000 // 25 * 2):
            deadline = deadline_of(deadline=rng.choice([0.001, 0.01, LONG]))
            if rng.random() < 0.1:
                threading.Timer(rng.random() / 200, deadline.cancel).start()
            try:
                permit = limiter.acquire(deadline)
            except (DeadlineExceeded, Cancelled):
                continue
            with guard:
                running[0] += 1
                highest[0] = max(highest[0], running[0])
            if rng.random() < 0.3:
                time.sleep(rng.random() / 2000)
            if rng.random() < 0.1:
                permit.refused() if most is None and rng.random() < 0.3 else permit.succeeded()
            with guard:
                running[0] -= 1
            if rng.random() < 0.8:
                permit.release()
            del permit
            served += 1
        return served

    results = together(25, work, 40.0)
    assert all(isinstance(result, int) for result in results), results
    assert sum(results) > 200
    gc.collect()
    assert (limiter.under_way, limiter.waiting) == (0, 0)
    if most is not None:
        assert highest[0] <= most


# -- finding the limit -----


def refuse(*permits: Permit) -> None:
    for permit in permits:
        permit.refused()
        permit.release()


def succeed(limiter: Limiter, times: int) -> None:
    permit = Permit(limiter, limiter_module._Slot())
    for _ in range(times):
        permit.succeeded()


def test_a_burst_of_refusals_halves_the_limit_once() -> None:
    limiter = Limiter()
    permits = [acquire(limiter) for _ in range(16)]
    refuse(*permits[:4])
    assert limiter.limit == 8


def test_the_next_burst_halves_it_again_down_to_one_and_no_further() -> None:
    limiter = Limiter(16)
    found = []
    for _ in range(6):
        permits = [acquire(limiter) for _ in range(int(limiter.limit))]
        refuse(permits[0])
        permits.clear()
        found.append(limiter.limit)
    assert found == [8, 4, 2, 1, 1, 1]


def test_the_number_of_running_calls_is_halved_and_not_a_limit_that_was_never_reached() -> None:
    limiter = Limiter(100)
    permits = [acquire(limiter) for _ in range(6)]
    permits[0].refused()
    assert limiter.limit == 3


@pytest.mark.parametrize("taken", [3, 1, 0])
def test_after_a_first_burst_the_limit_is_the_number_of_accepted_calls(taken: int) -> None:
    limiter = Limiter()
    permits = [acquire(limiter) for _ in range(32)]
    refuse(*permits[taken:])
    assert limiter.limit == max(1, taken)


def test_calls_that_succeed_within_a_burst_do_not_count_as_refused() -> None:
    limiter = Limiter()
    permits = [acquire(limiter) for _ in range(32)]
    refuse(permits[0])
    for permit in permits[1:20]:
        permit.succeeded()
        permit.release()
    refuse(*permits[20:])
    assert limiter.limit == 16


def test_a_refusal_does_not_lower_the_limit_below_the_calls_accepted_at_once() -> None:
    limiter = Limiter()
    permits = [acquire(limiter) for _ in range(10)]
    for permit in permits:
        permit.succeeded()
    refuse(*[acquire(limiter) for _ in range(3)])
    assert limiter.limit == 10
    for permit in permits:
        permit.release()
    # Calls accepted before a refusal do not count for the next one: other programs may use the account as well.
    permits = [acquire(limiter) for _ in range(10)]
    refuse(permits[0])
    assert limiter.limit == 5


def test_a_success_of_a_call_from_before_a_refusal_proves_nothing() -> None:
    limiter = Limiter()
    permits = [acquire(limiter) for _ in range(12)]
    refuse(permits.pop())
    assert limiter.limit == 6
    for permit in permits:
        permit.succeeded()
        permit.release()
    permits = [acquire(limiter) for _ in range(6)]
    refuse(permits[0])
    assert limiter.limit == 3


def test_a_refusal_never_raises_the_limit() -> None:
    limiter = Limiter()
    held = [acquire(limiter) for _ in range(20)]
    limiter.tighten(2)
    refuse(held[2])
    assert limiter.limit == 1


@pytest.mark.parametrize("most", [None, 5])
def test_after_a_run_of_successes_it_grows_by_one_up_to_what_was_configured(most: int | None) -> None:
    limiter = Limiter(most)
    permits = [acquire(limiter) for _ in range(4)]
    refuse(permits[0])
    permits.clear()
    assert limiter.limit == 2
    succeed(limiter, 7)
    assert limiter.limit == 2
    succeed(limiter, 1)
    assert limiter.limit == 3
    succeed(limiter, 4 * (3 + 4 + 5 + 6))
    assert limiter.limit == (most or 7)


def successes_per_growth(limiter: Limiter, runs: int) -> list[int]:
    """Return how many successes each growth of the limit takes, when the server refuses the additional call."""
    lengths = []
    for _ in range(runs):
        successes, found = 0, limiter.limit
        while limiter.limit == found:
            succeed(limiter, 1)
            successes += 1
        lengths.append(successes)
        permits = [acquire(limiter) for _ in range(int(limiter.limit))]
        refuse(permits[-1])
        permits.clear()
        assert limiter.limit == found
    return lengths


def test_each_growth_that_is_refused_makes_the_next_run_four_times_as_long() -> None:
    limiter = Limiter()
    permits = [acquire(limiter), acquire(limiter)]
    refuse(permits[1])
    permits.clear()
    lengths = successes_per_growth(limiter, 7)
    assert lengths[:5] == [4, 16, 64, 256, 1024]
    assert lengths[5:] == [4096, 4096]


def test_after_a_growth_that_is_accepted_the_next_one_comes_sooner() -> None:
    limiter = Limiter()
    permits = [acquire(limiter), acquire(limiter)]
    refuse(permits[1])
    permits.clear()
    successes_per_growth(limiter, 3)
    succeed(limiter, 256)
    assert limiter.limit == 2
    succeed(limiter, 2 * 256)  # the server accepted two at once all the time
    assert limiter.limit == 3
    succeed(limiter, 3 * 4 + 4 * 4)
    assert limiter.limit == 5


def test_a_refusal_begins_the_run_anew() -> None:
    limiter = Limiter()
    for permit in [acquire(limiter) for _ in range(4)]:
        permit.refused()
    succeed(limiter, 3)
    acquire(limiter).refused()
    succeed(limiter, 1)
    assert limiter.limit == 1


@pytest.mark.usefixtures("no_queue_checks")
def test_a_raised_limit_wakes_the_next_call_at_once() -> None:
    limiter = Limiter(4)
    held = [acquire(limiter) for _ in range(2)]
    refuse(held[1])
    assert limiter.limit == 1
    crowd = ThreadGroup(1, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 1)
    succeed(limiter, 4)
    assert crowd.results() == [None]


# -- shared by the clients of one account -----


def test_clients_of_one_account_share_a_limiter_and_the_smaller_number_holds() -> None:
    first = limiter_for("account a", 5)
    assert limiter_for("account a", None) is first
    assert limiter_for("account a", 3) is first
    assert first.limit == 3
    assert limiter_for("account a", 9) is first
    assert first.limit == 3
    assert limiter_for("account b", None) is not first


def test_a_limiter_lives_no_longer_than_its_clients() -> None:
    limiter = weakref.ref(limiter_for("account c", 1))
    gc.collect()
    assert limiter() is None
    assert "account c" not in limiter_module._limiters


def test_two_clients_of_one_key_queue_together_and_those_of_another_key_do_not(
    gigachat_emulator: GigaChatEmulator,
) -> None:
    options = {**gigachat_emulator.client_options, "max_connections": 1}
    other_key = gigachat_emulator.add_credentials()
    with (
        GigaChat(**options) as one,
        GigaChat(**options) as same,
        GigaChat(**{**options, "credentials": other_key}) as other,
    ):
        with one.stream("Count from 1 to 5"):
            with pytest.raises(APITimeoutError) as caught:
                same.chat("hi", deadline=0.3)
            assert caught.value.timeout_kind == "deadline"
            assert other.chat("hi", deadline=10).text
            assert (one.stats().in_flight, same.stats().limit) == (1, 1)
        assert same.chat("hi", deadline=10).text


# -- over real connections -----


def test_with_max_connections_1_eight_threads_never_show_the_server_two_calls_at_once(
    gigachat_emulator: GigaChatEmulator,
) -> None:
    gigachat_emulator.max_streams = 1
    gigachat_emulator.event_pause_s = 0.002
    with GigaChat(**gigachat_emulator.client_options, max_connections=1, max_retries=0) as giga:

        def work(n: int) -> list[str]:
            return [
                giga.chat(f"Repeat: word{n}").text if turn % 2 else "".join(giga.generate(f"Repeat: word{n}"))
                for turn in range(6)
            ]

        results = together(8, work, 40.0)
        assert [type(result) for result in results] == [list] * 8, results
        until(lambda: giga.stats().in_flight == 0)
        assert giga._executor.limiter.under_way == giga.stats().waiting == 0
        assert giga.stats().limit == 1


def test_without_the_queue_the_same_server_refuses(gigachat_emulator: GigaChatEmulator) -> None:
    gigachat_emulator.max_streams = 1
    gigachat_emulator.event_pause_s = 0.2
    with GigaChat(**gigachat_emulator.client_options, max_retries=0) as giga, giga.stream("Count from 1 to 5"):
        with pytest.raises(RateLimitError):
            giga.chat("hi")
        assert giga.stats().limit == 1, "and the limit is learnt from it"


@pytest.mark.parametrize("end", ["read to its end", "closed", "left with its block", "dropped", "broken"])
def test_a_stream_holds_its_permit_until_it_is(gigachat_emulator: GigaChatEmulator, end: str) -> None:
    if end == "broken":
        gigachat_emulator.inject(Fault(cut_after_events=1), path="/chat/completions")
    with GigaChat(**gigachat_emulator.client_options, max_connections=1) as giga:
        stream: Any = giga.stream("Count from 1 to 5")
        next(stream)
        assert giga._executor.limiter.under_way == 1
        with pytest.raises(APITimeoutError):
            giga.chat("hi", deadline=0.2)
        if end == "read to its end":
            stream.result()
        elif end == "closed":
            stream.close()
        elif end == "left with its block":
            with stream:
                next(stream)
        elif end == "broken":
            with pytest.raises(Exception, match="broke"):
                stream.result()
        else:
            cycle: list[Any] = [stream]
            cycle.append(cycle)
            del stream, cycle
            gc.collect()
        assert giga._executor.limiter.under_way == 0
        assert giga.chat("hi", deadline=10).text


# -- forks -----


def test_a_forked_child_has_its_own_permits_and_an_inherited_one_frees_nothing() -> None:
    limiter = Limiter(1)
    held = acquire(limiter)
    crowd = ThreadGroup(1, lambda n: acquire(limiter).release())
    until(lambda: limiter.waiting == 1)

    def work() -> list[int]:
        mine = acquire(limiter, 1.0)
        held.release()  # the parent's permit: it frees nothing in the child
        numbers = [limiter.under_way, limiter.waiting]
        mine.release()
        return [*numbers, limiter.under_way]

    with limiter._lock, limiter_module._limiters_lock:
        assert in_child(work) == [1, 0, 0]
    assert limiter.under_way == 1
    held.release()
    assert crowd.results() == [None]
