"""Accepted prompts, and the advice for inputs that are refused."""

from __future__ import annotations

import collections
import datetime
import decimal
import itertools
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from support.ids import stable_id
from support.prompt_tools import CONVERSATION, prompts_of, refusal, refusal_of

from gigaclient.bulk.prompts import Prompts
from gigaclient.types import Chat, Message


@pytest.mark.parametrize(
    ("prompts", "total"),
    [
        (["a", "b"], 2),
        (("a", "b"), 2),
        (dict.fromkeys("ab"), None),
        ({"x": "a", "y": "b"}.values(), 2),
        (collections.deque("ab"), 2),
        ((letter for letter in "ab"), None),
        (iter(["a", "b"]), None),
        (map(str.lower, "AB"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_can_be_iterated_is_a_list_of_prompts(prompts: Any, total: int | None) -> None:
    if isinstance(prompts, dict):
        prompts = prompts.keys()
        total = 2
    found = Prompts(prompts)
    assert found.total == total
    texts = [found.prompt_for(one) for one in found]
    assert texts == ["a", "b"]
    assert {type(text) for text in texts} == {str}


def test_a_set_gives_each_of_its_members() -> None:
    assert sorted(prompts_of({"a", "b"})) == ["a", "b"]


def test_inputs_come_as_they_were_passed_and_one_at_a_time() -> None:
    taken = []

    def endless() -> Iterator[dict[str, int]]:
        for number in itertools.count():
            taken.append(number)
            yield {"n": number}

    found = Prompts(endless(), "Number {n}")
    inputs = iter(found)
    assert taken == []
    assert [next(inputs), next(inputs)] == [{"n": 0}, {"n": 1}]
    assert taken == [0, 1]
    assert found.total is None


def test_closing_the_iterator_leaves_the_callers_own_generator_and_cursor_open() -> None:
    def numbers() -> Iterator[str]:
        yield from "abc"

    generator = numbers()
    inputs = iter(Prompts(generator))
    assert next(inputs) == "a"
    inputs.close()  # type: ignore[attr-defined]
    assert next(generator) == "b"

    database = sqlite3.connect(":memory:")
    cursor = database.execute("SELECT 'a' UNION SELECT 'b'")
    rows = iter(Prompts(cursor))
    assert next(rows) == ("a",)
    rows.close()  # type: ignore[attr-defined]
    assert cursor.fetchone() == ("b",)
    database.close()


def test_a_lazy_column_is_not_computed_for_its_length() -> None:
    class Lazy:
        def __dask_graph__(self) -> None: ...

        def __len__(self) -> int:
            raise AssertionError("the work was done for the bar")

        def __iter__(self) -> Iterator[str]:
            return iter("ab")

    found = Prompts(Lazy())
    assert found.total is None
    assert list(found) == ["a", "b"]


def test_prompts_are_strings_conversations_and_whole_requests() -> None:
    request = {"messages": CONVERSATION, "temperature": 0.1}
    chat = Chat(messages=[Message(role="user", content="Hello")])
    found = prompts_of(["Hello", CONVERSATION, tuple(CONVERSATION), request, chat, {"prompt": "Hello", "id": 7}])
    assert found == ["Hello", CONVERSATION, CONVERSATION, request, chat, "Hello"]
    assert found[3] is request
    assert found[4] is chat


def test_rows_of_one_value_are_that_value() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript("CREATE TABLE review (text); INSERT INTO review VALUES ('Good'), ('Bad')")
    assert prompts_of(database.execute("SELECT text FROM review")) == ["Good", "Bad"]
    assert prompts_of(database.execute("SELECT text FROM review"), "Sort: {}") == ["Sort: Good", "Sort: Bad"]
    database.close()


@pytest.mark.parametrize(
    ("prompts", "advice"),
    [
        ("Hello", "put it into a list"),
        ("reviews.jsonl", "pathlib.Path"),
        (b"Hello", "decode"),
        (bytearray(b"Hello"), "decode"),
        (Message(role="user", content="Hello"), "a Message is one prompt: put it into a list"),
        (Chat(messages=[]), "a Chat is one prompt: put it into a list"),
        ({"messages": CONVERSATION}, "put it into a list"),
        ({"prompt": "Hello"}, "put it into a list"),
        ({"1": "Hello", "2": "Bye"}, ".values()"),
        (CONVERSATION, "one prompt together: put their list into a list"),
        ([Message(role="user", content="Hello")], "put their list into a list"),
        (7, "must be a list, a file or anything else that can be iterated, not int"),
        (None, "not NoneType"),
        (print, "not builtin_function_or_method"),
    ],
    ids=stable_id,
)
def test_what_is_no_list_of_prompts_is_refused_at_once_with_advice(prompts: Any, advice: str) -> None:
    assert advice in refusal(prompts)


def test_an_asynchronous_generator_is_refused_at_once() -> None:
    async def prompts() -> Any:
        yield "Hello"

    assert "gather them into a list" in refusal(prompts())


def test_messages_with_a_template_are_rows_like_any_others() -> None:
    assert prompts_of(CONVERSATION, "Translate: {content}") == ["Translate: Be brief.", "Translate: Hello"]


@pytest.mark.parametrize(
    ("input_", "advice"),
    [
        (None, "the input is None; leave such inputs out"),
        (float("nan"), "the input is nan"),
        (decimal.Decimal("sNaN"), "the input is sNaN"),
        (7, 'of type int: template="… {} …"'),
        (1.5, "of type float"),
        (datetime.date(2024, 1, 1), "of type date"),
        (b"Hello", "bytes: decode it"),
        ({"id": 7, "text": "Good"}, "the fields id, text: pass template="),
        ({"prompt": 7}, "the fields prompt: pass template="),
        ({"role": "user", "content": "Hello"}, "a single message is not a prompt"),
        (Message(role="user", content="Hello"), "a single message is not a prompt"),
        ((7, "Good"), "a row of 2 values: a function as template="),
        ({"a", "b"}, "an input of type set is not a prompt"),
        (object(), "an input of type object is not a prompt"),
        ({str(n): n for n in range(30)}, "18, 19 and 10 more"),
    ],
    ids=stable_id,
)
def test_an_input_that_is_no_prompt_is_refused_alone_with_advice(input_: Any, advice: str) -> None:
    assert advice in refusal_of(input_)
