"""How many calls a run keeps under way, and what it may spend: found out step by step, without a burst."""

from __future__ import annotations

import math

import pytest

from gigaclient.bulk.budget import Budget, Limits
from gigaclient.bulk.throttle import Throttle


def throttle(most: int = 64, limit: float = math.inf) -> Throttle:
    return Throttle(most, lambda: limit)


# -- how many -----


def test_one_goes_first_and_each_success_allows_half_as_many_more() -> None:
    subject = throttle()
    allowed = [subject.allowed()]
    while allowed[-1] < 64:
        subject.succeeded(allowed[-1])
        allowed.append(subject.allowed())
    assert allowed == [1, 2, 4, 7, 11, 17, 26, 40, 61, 64]


def test_a_success_of_a_call_that_had_little_company_proves_little() -> None:
    subject = throttle()
    subject.succeeded(7)
    subject.succeeded(2)
    assert subject.allowed() == 11


def test_a_limit_that_is_known_holds_from_the_first_call_on() -> None:
    assert throttle(limit=10).allowed() == 10
    assert throttle(most=4, limit=10).allowed() == 4
    assert throttle(most=64, limit=1).allowed() == 1


def test_the_limit_that_a_refusal_told_takes_the_place_of_what_was_proven() -> None:
    limits = [math.inf]
    subject = Throttle(64, lambda: limits[0])
    subject.succeeded(40)
    assert subject.allowed() == 61
    limits[0] = 40
    assert subject.allowed() == 40


# -- when -----


def test_after_a_refusal_the_others_go_on_and_make_room() -> None:
    subject = throttle()
    assert subject.refused(100.0, None, 3, 0.0) is True
    assert subject.resumes_at < 100.0


def test_where_there_are_no_others_the_pauses_grow_up_to_a_minute() -> None:
    subject = throttle()
    pauses = []
    for _ in range(10):
        assert subject.refused(1000.0, None, 0, 0.0) is True
        pauses.append(subject.resumes_at - 1000.0)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert subject.refused(1000.0, None, 0, 0.0) is False


def test_chance_shortens_a_pause_by_half_at_the_most() -> None:
    subject = throttle()
    subject.refused(0.0, None, 0, 1.0)
    assert subject.resumes_at == 0.25


def test_retry_after_holds_for_all_and_chance_makes_it_longer() -> None:
    subject = throttle()
    assert subject.refused(10.0, 20.0, 3, 0.0) is True
    assert subject.resumes_at == 30.0
    assert subject.refused(10.0, 5.0, 3, 1.0) is True
    assert subject.resumes_at == 30.0
    assert subject.refused(20.0, 20.0, 3, 1.0) is True
    assert subject.resumes_at == 42.0


@pytest.mark.parametrize(("seconds", "waits"), [(600.0, True), (600.5, False)])
def test_nobody_waits_longer_than_ten_minutes(seconds: float, waits: bool) -> None:
    assert throttle().refused(0.0, seconds, 0, 0.0) is waits


def test_a_success_ends_the_row_of_refusals() -> None:
    subject = throttle()
    for _ in range(10):
        subject.refused(0.0, None, 0, 0.0)
    subject.succeeded(1)
    assert subject.refused(500.0, None, 0, 0.0) is True
    assert subject.resumes_at == 500.5


# -- what it may cost -----


def test_without_limits_there_is_always_room() -> None:
    budget = Budget(Limits())
    for _ in range(1000):
        budget.spend(10**9, True)
    assert budget.has_room(10**6)
    assert budget.exceeded(0) is None


def test_what_is_under_way_is_counted_as_what_came_before() -> None:
    budget = Budget(Limits(max_tokens_total=1000))
    assert budget.has_room(50)  # nothing is known yet
    budget.spend(100, False)
    budget.spend(300, False)
    # 400 are spent, and the next ones cost 200 each
    assert [budget.has_room(under_way) for under_way in (0, 1, 2, 3)] == [True, True, True, False]


def test_the_run_ends_when_one_more_would_be_too_much_and_nothing_is_under_way() -> None:
    budget = Budget(Limits(max_tokens_total=1000))
    for _ in range(4):
        budget.spend(225, False)
    assert not budget.has_room(0)
    assert budget.exceeded(1) is None
    assert budget.exceeded(0) == "max_tokens_total"


def test_an_answer_of_unknown_cost_is_taken_for_an_ordinary_one() -> None:
    budget = Budget(Limits(max_tokens_total=100))
    budget.spend(30, False)
    budget.spend(None, True)
    assert budget.has_room(1)
    assert not budget.has_room(2)


def test_errors_are_counted_in_a_row() -> None:
    budget = Budget(Limits(max_errors_in_row=3))
    for failed in (True, True, False, True, True):
        budget.spend(None, failed)
        assert budget.exceeded(5) is None
    budget.spend(None, True)
    assert budget.exceeded(5) == "max_errors_in_row"
