"""The throttle finds the number of concurrent calls step by step; the budget limits their cost."""

from __future__ import annotations

import math

import pytest

from gigaclient.bulk.budget import Budget, Limits
from gigaclient.bulk.throttle import Throttle


def throttle(max_running: int = 64, limit: float = math.inf) -> Throttle:
    return Throttle(max_running, lambda: limit)


# -- how many -----


def test_one_goes_first_and_each_success_allows_half_as_many_more() -> None:
    subject = throttle()
    allowed = [subject.allowed()]
    while allowed[-1] < 64:
        subject.succeeded(allowed[-1])
        allowed.append(subject.allowed())
    assert allowed == [1, 2, 4, 7, 11, 17, 26, 40, 61, 64]


def test_a_success_with_few_running_calls_proves_little() -> None:
    subject = throttle()
    subject.succeeded(7)
    subject.succeeded(2)
    assert subject.allowed() == 11


def test_a_limit_that_is_known_holds_from_the_first_call_on() -> None:
    assert throttle(limit=10).allowed() == 10
    assert throttle(max_running=4, limit=10).allowed() == 4
    assert throttle(max_running=64, limit=1).allowed() == 1


def test_the_limit_known_from_a_429_replaces_the_proven_number() -> None:
    limits = [math.inf]
    subject = Throttle(64, lambda: limits[0])
    subject.succeeded(40)
    assert subject.allowed() == 61
    limits[0] = 40
    assert subject.allowed() == 40


# -- when -----


def test_after_a_429_the_other_calls_continue_without_a_pause() -> None:
    subject = throttle()
    assert subject.refused(100.0, None, 3, 0.0) is True
    assert subject.resumes_at < 100.0


def test_without_other_calls_the_pauses_grow_up_to_a_minute() -> None:
    subject = throttle()
    pauses = []
    for _ in range(10):
        assert subject.refused(1000.0, None, 0, 0.0) is True
        pauses.append(subject.resumes_at - 1000.0)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert subject.refused(1000.0, None, 0, 0.0) is False


def test_jitter_shortens_a_pause_by_at_most_half() -> None:
    subject = throttle()
    subject.refused(0.0, None, 0, 1.0)
    assert subject.resumes_at == 0.25


def test_retry_after_applies_to_all_and_jitter_makes_it_longer() -> None:
    subject = throttle()
    assert subject.refused(10.0, 20.0, 3, 0.0) is True
    assert subject.resumes_at == 30.0
    assert subject.refused(10.0, 5.0, 3, 1.0) is True
    assert subject.resumes_at == 30.0
    assert subject.refused(20.0, 20.0, 3, 1.0) is True
    assert subject.resumes_at == 42.0


@pytest.mark.parametrize(("seconds", "waits"), [(600.0, True), (600.5, False)])
def test_no_wait_is_longer_than_ten_minutes(seconds: float, waits: bool) -> None:
    assert throttle().refused(0.0, seconds, 0, 0.0) is waits


def test_a_success_ends_the_series_of_429s() -> None:
    subject = throttle()
    for _ in range(10):
        subject.refused(0.0, None, 0, 0.0)
    subject.succeeded(1)
    assert subject.refused(500.0, None, 0, 0.0) is True
    assert subject.resumes_at == 500.5


# -- what it may cost -----


def test_without_limits_every_item_is_allowed() -> None:
    budget = Budget(Limits())
    for _ in range(1000):
        budget.spend(10**9, True)
    assert budget.allows(10**6)
    assert budget.exceeded(0) is None


def test_running_items_count_at_the_average_cost() -> None:
    budget = Budget(Limits(max_tokens_total=1000))
    assert budget.allows(50)  # no cost is known yet
    budget.spend(100, False)
    budget.spend(300, False)
    # 400 are spent, and the next ones cost 200 each
    assert [budget.allows(running) for running in (0, 1, 2, 3)] == [True, True, True, False]


def test_the_run_ends_when_one_more_would_be_too_much_and_nothing_runs() -> None:
    budget = Budget(Limits(max_tokens_total=1000))
    for _ in range(4):
        budget.spend(225, False)
    assert not budget.allows(0)
    assert budget.exceeded(1) is None
    assert budget.exceeded(0) == "max_tokens_total"


def test_an_answer_of_unknown_cost_counts_as_an_average_one() -> None:
    budget = Budget(Limits(max_tokens_total=100))
    budget.spend(30, False)
    budget.spend(None, True)
    assert budget.allows(1)
    assert not budget.allows(2)


def test_errors_are_counted_in_a_row() -> None:
    budget = Budget(Limits(max_errors_in_row=3))
    for failed in (True, True, False, True, True):
        budget.spend(None, failed)
        assert budget.exceeded(5) is None
    budget.spend(None, True)
    assert budget.exceeded(5) == "max_errors_in_row"
