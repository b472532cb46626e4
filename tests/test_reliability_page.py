"""docs/reliability.md names an existing test for each promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))


def functions_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_exists() -> None:
    there = {file: functions_in(file) for file in {file for file, _ in NAMED}}
    assert len(NAMED) > 100
    assert [f"{file}::{name}" for file, name in NAMED if name not in there[file]] == []


def test_every_promise_names_a_test() -> None:
    promises = re.findall(r"^- .*?(?=^- |^$|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert len(promises) > 25
    assert [promise[:60] for promise in promises if "::test_" not in promise] == []


def test_no_name_of_a_test_is_written_in_a_way_that_would_not_be_found() -> None:
    assert len(re.findall(r"::", PAGE)) == len(re.findall(r"`[\w/]+\.py::\w+`", PAGE))


def test_the_numbers_on_the_page_are_those_of_the_code() -> None:
    from gigaclient._core import executor as core
    from gigaclient._core.retry import DEFAULT_STATUS_CODES, RetryPolicy
    from gigaclient._primitives.deadline import Timeouts
    from gigaclient.gigachat import oauth
    from gigaclient.streaming import sse

    timeouts, retry = Timeouts(), RetryPolicy()
    assert (timeouts.connect, timeouts.read, timeouts.event) == (10, 120, 4 * 120)
    assert (retry.max_retries, retry.backoff_factor, retry.max_wait) == (2, 0.5, 60)
    assert DEFAULT_STATUS_CODES == (429, 500, 502, 503, 504)
    assert core.MAX_RESPONSE_BYTES == 64 * 2**20
    assert sse.DEFAULT_MAX_EVENT_BYTES == 32 * 2**20
    assert (core._MAX_ERROR_BYTES, oauth._MAX_ANSWER_BYTES) == (64 * 2**10, 256 * 2**10)
