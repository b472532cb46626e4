"""Templates, and the fields of inputs."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import json
import sqlite3
import types
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from support.ids import stable_id
from support.prompt_tools import CONVERSATION, prompts_of, refusal, refusal_of

from gigaclient.bulk.prompts import Prompts


class Review(msgspec.Struct):
    text: str
    rating: int = 5


@dataclasses.dataclass
class Seen:
    text: str
    rating: int = 5


class Bought:
    def __init__(self) -> None:
        self.text, self.rating = "Good", 5

    @property
    def stars(self) -> str:
        return "*" * self.rating


Row = collections.namedtuple("Row", ["text", "rating"])


def row_of_a_database() -> Any:
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    row = database.execute("SELECT 'Good' AS text, 5 AS rating").fetchone()
    database.close()
    return row


@pytest.mark.parametrize(
    "input_",
    [
        {"text": "Good", "rating": 5},
        types.MappingProxyType({"text": "Good", "rating": 5}),
        Review("Good"),
        Seen("Good"),
        Row("Good", 5),
        row_of_a_database(),
        types.SimpleNamespace(text="Good", rating=5),
        Bought(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_template_takes_fields_of_rows_of_all_kinds(input_: Any) -> None:
    assert prompts_of([input_], "{rating}/5: {text} ({text})") == ["5/5: Good (Good)"]
    assert "template names {txt}, and the input has no such field" in refusal_of(input_, "{txt}")
    assert "text" in refusal_of(input_, "{txt}")


def test_what_is_computed_of_fields_is_a_field_and_a_method_is_none() -> None:
    assert prompts_of([Bought()], "{stars}") == ["*****"]
    assert "no such field" in refusal_of(Row("Good", 5), "{count}")


@pytest.mark.parametrize("placeholder", ["{}", "{0}", "{input}"])
def test_an_input_without_fields_is_put_in_as_a_whole(placeholder: str) -> None:
    assert prompts_of(["Good", 7, ["a", "b"], True], f"Sort: {placeholder}.") == [
        "Sort: Good.", "Sort: 7.", 'Sort: ["a","b"].', "Sort: true.",
    ]  # fmt: skip


def test_a_row_is_put_in_as_json_or_by_a_field_of_that_name() -> None:
    input_ = {"text": "Хорошо", "when": datetime.date(2024, 1, 2), "nan": float("nan"), "many": range(3)}
    assert prompts_of([input_], "Sum up: {}") == [
        'Sum up: {"text":"Хорошо","when":"2024-01-02","nan":null,"many":[0,1,2]}'
    ]  # fmt: skip
    assert prompts_of([{"input": "Good"}], "{input}") == ["Good"]
    assert "no such field: it has text" in refusal_of({"text": "Good"}, "{input}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Good", "Good"),
        ("", ""),
        (5, "5"),
        (0.1, "0.1"),
        (decimal.Decimal("1.10"), "1.10"),
        (True, "true"),
        (["a", 1, None], '["a",1,null]'),
        ({"ж": {"b": 2}}, '{"ж":{"b":2}}'),
        ({"b", "a"}, '["a","b"]'),
        (range(3), "[0,1,2]"),
        (Review("Good"), '{"text":"Good","rating":5}'),
        (Seen("Good"), '{"text":"Good","rating":5}'),
        (Row("Good", 5), '{"text":"Good","rating":5}'),
        (datetime.datetime(2024, 1, 2, 3, 4), "2024-01-02 03:04:00"),
        (datetime.timedelta(minutes=5), "0:05:00"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Path("a") / "b.txt", str(Path("a") / "b.txt")),
    ],
    ids=lambda value: f"{type(value).__name__} {stable_id(value)}"[:40],
)
def test_values_are_written_as_people_would(value: Any, text: str) -> None:
    assert prompts_of([{"value": value}], "<{value}>") == [f"<{text}>"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the field value has no value (None): leave such inputs out"),
        (float("nan"), "has no value (nan)"),
        (b"Good", "the field value is bytes: decode it"),
        (object(), "the field value cannot be written as JSON: there is a object in it"),
        ([object()], "the field value cannot be written as JSON: there is a object in it"),
        (["\ud800"], "half of a surrogate pair"),
        ({("a", "b"): 1}, "cannot be written as JSON"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_none_is_refused_by_the_name_of_its_field(value: Any, reason: str) -> None:
    problem = refusal_of({"text": "Good", "value": value}, "{text} {value}")
    assert reason in problem
    if "has no value" in reason:
        assert problem.endswith("its fields are text, value")


@pytest.mark.parametrize(
    ("value", "text"),
    [(["\ud83d\ude00"], '["😀"]'), ({"\ud83d\ude00": ("\ud83d\ude00", 1)}, '{"😀":["😀",1]}')],
)
def test_halves_of_a_pair_are_joined_inside_json(value: Any, text: str) -> None:
    assert prompts_of([{"value": value}], "<{value}>") == [f"<{text}>"]


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    assert "cannot be written as JSON" in refusal_of({"value": value}, "{value}")


def test_a_field_of_an_input_that_has_none_is_refused_with_what_to_write() -> None:
    assert "write {} for an input of type str" in refusal_of("Good", "Sort: {title}")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{"a": {"b": "{text}"}}', '{"a": {"b": "T"}}'),
        ('{{"a": {{"b": "{text}"}}}}', '{"a": {"b": "T"}}'),
        ('{{"a": "{text}"}}', '{"a": "T"}'),
        ('[{"a":{"b":{"c":"{text}"}}}]', '[{"a":{"b":{"c":"T"}}}]'),
        ("{{text}} is {text}", "{text} is T"),
        ("{{{text}}}", "{T}"),
        ("{{}} {text}", "{} T"),
        ("{text}}", "T}"),
        ("{text}}}", "T}"),
        ("{ text } {text}", "{ text } T"),
        ("{text!r} {text:>9} {text.a} {text[0]} {text}", "{text!r} {text:>9} {text.a} {text[0]} T"),
        (r"\d{3} \frac{1}{2} {text}", r"\d{3} \frac{1}{2} T"),
        ("if (x) { y } {text}", "if (x) { y } T"),
        ("{текст}{text_2}{_x}", "ЖT2_"),
        ("{text", None),
        ("text", None),
        ("", None),
        ("{{text}}", None),
    ],
)
def test_braces_that_are_around_something_else_stay(template: str, text: str | None) -> None:
    input_ = {"text": "T", "текст": "Ж", "text_2": "T2", "_x": "_"}
    if text is None:
        assert "template names no field" in refusal([], template)
    else:
        assert prompts_of([input_], template) == [text]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab c:"), inner, min_size=1),
)


@for_all(JSON)
def test_any_json_may_stand_around_a_field(value: Any) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        example = json.dumps(value, separators=separators)
        assert prompts_of([{"text": "T"}], f"Answer like {example}: {{text}}") == [f"Answer like {example}: T"]


@for_all(st.text("{}ab \n"))
def test_what_is_filled_in_is_not_looked_through_for_fields(value: str) -> None:
    assert prompts_of([{"a": value, "b": "B"}], "{a}|{b}") == [f"{value}|B"]


@for_all(st.text("{}ab0 "), st.text("{}ab0 "))
def test_doubled_braces_are_single_ones_as_in_str_format(before: str, after: str) -> None:
    def doubled(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    assert prompts_of(["T"], f"{doubled(before)} {{}} {doubled(after)}") == [f"{before} T {after}"]


def test_a_template_names_fields_or_the_whole_and_not_both() -> None:
    problem = refusal([], "Return {} where nothing fits: {text}")
    assert "both {} and {text}" in problem and "{{}}" in problem
    assert prompts_of([{"text": "T"}], "Return {{}} where nothing fits: {text}") == ["Return {} where nothing fits: T"]


def test_a_function_makes_whatever_a_prompt_may_be() -> None:
    rows = [(1, "Good"), (2, "Bad")]
    assert prompts_of(rows, lambda row: f"{row[0]}: {row[1]}") == ["1: Good", "2: Bad"]
    assert prompts_of(rows[:1], lambda row: CONVERSATION) == [CONVERSATION]
    assert prompts_of(rows[:1], lambda row: {"messages": CONVERSATION, "top_p": 0.1}) == [
        {"messages": CONVERSATION, "top_p": 0.1}
    ]


def test_what_a_function_raises_is_the_error_of_that_input_alone() -> None:
    found = Prompts([{}, {"text": "Good"}], lambda row: row["text"])
    with pytest.raises(KeyError):
        found.prompt_for({})
    assert found.prompt_for({"text": "Good"}) == "Good"


@pytest.mark.parametrize(("made", "advice"), [(None, "template returned None"), (7, "a prompt is text")])
def test_a_function_that_returns_no_prompt_is_refused(made: Any, advice: str) -> None:
    assert advice in refusal_of("Good", lambda _: made)


async def asynchronous(input_: Any) -> str:
    return str(input_)


@pytest.mark.parametrize(
    ("template", "advice"), [(7, "not int"), (["{}"], "not list"), (asynchronous, "asynchronous")], ids=stable_id
)
def test_what_is_no_template_is_refused_at_once(template: Any, advice: str) -> None:
    assert advice in refusal([], template)
