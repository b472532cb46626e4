"""Calls of Python functions by the model: conversion of arguments, and encoding of results."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import fractions
import json
import pathlib
import uuid
from decimal import Decimal
from typing import Any

import attrs
import pytest
from support.function_examples import Place, Point, Unit, convert, get_tide
from support.ids import stable_id

from gigaclient.errors import ConfigError
from gigaclient.functions import BadArguments, Tool, result_text
from gigaclient.types import Message

# -- arguments -------------------------------------------------------------------------------------


def test_arguments_are_converted_to_the_annotated_types() -> None:
    arguments = {"port": "Kem", "day": "2026-10-02", "unit": "ft", "ahead": "2", "place": {"name": "pier"}, "depth": 3}
    expected = {
        "port": "Kem",
        "day": datetime.date(2026, 10, 2),
        "unit": Unit.FEET,
        "ahead": 2,
        "place": Place("pier"),
        "depth": 3.0,
    }
    assert convert(get_tide, arguments) == expected
    assert convert(get_tide, json.dumps(arguments)) == expected


def test_a_pydantic_model_is_made_and_its_constraints_are_checked() -> None:
    def locate(point: Point, around: list[Point]) -> None: ...

    made = convert(locate, {"point": {"lat": "12.5"}, "around": [{"lat": 1, "lon": 2}]})
    assert made == {"point": Point(lat=12.5), "around": [Point(lat=1, lon=2)]}
    with pytest.raises(BadArguments, match=r"less than or equal to 90 .*point"):
        convert(locate, {"point": {"lat": 91}, "around": []})


def test_an_omitted_or_null_argument_gets_the_default() -> None:
    assert convert(get_tide, {"port": "Kem", "ahead": None, "day": None}) == {"port": "Kem", "day": None}

    def f(names: list[str] = ["a"], nothing: int | None = 3) -> list[str]:  # noqa: B006
        return names

    assert convert(f, None) == convert(f, "") == convert(f, {"names": None}) == {}
    assert convert(f, {"nothing": None}) == {"nothing": None}
    assert Tool.of(f).run({}) == '{"result":["a"]}'


@dataclasses.dataclass
class Todo:
    text: str
    done: bool = False


def plan(todos: list[Todo], by: dict[str, int] | None = None, note: str = "") -> None: ...


@pytest.mark.parametrize(
    "arguments",
    [
        {"todos": '[{"text": "tea", "done": true}]'},
        {"todos": ['{"text": "tea", "done": "true"}']},
        {"todos": "[{'text': 'tea', 'done': True,}]"},
        '{"todos": [{"text": "tea", "done": true},]}',
        json.dumps(json.dumps({"todos": [{"text": "tea", "done": True}]})),
        {"todos": [{"text": "tea", "done": True}], "by": '{"me": 1}', "note": "[1]"},
    ],
    ids=["list", "item", "python", "comma", "twice", "dict"],
)
def test_json_text_in_place_of_a_list_or_an_object_is_read(arguments: Any) -> None:
    repairs: list[str] = []
    converted = Tool.of(plan).arguments(arguments, repairs=repairs)
    assert converted["todos"] == [Todo("tea", done=True)]
    assert converted.get("by") in (None, {"me": 1})
    assert converted.get("note") in (None, "[1]")
    assert repairs
    with pytest.raises(BadArguments):
        Tool.of(plan).arguments(arguments, repair=False)


def test_nothing_is_mended_in_arguments_that_fit() -> None:
    repairs: list[str] = []
    assert Tool.of(plan).arguments({"todos": [], "note": "{}"}, repairs=repairs) == {"todos": [], "note": "{}"}
    assert repairs == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"todos": {}}, r"expected a JSON array, not a JSON object - at `\$\.todos`"),
        ({"todos": [], "note": 5}, "expected a string, not an integer"),
        ({"todos": "tea"}, "expected a JSON array, not a string"),
        ({}, "the required argument is missing: `todos`"),
        ({"todos": [], "when": 1}, "there is no argument `when`"),
    ],
)
def test_the_model_gets_the_reason_in_the_words_of_json(arguments: Any, words: str) -> None:
    with pytest.raises(BadArguments, match=words):
        convert(plan, arguments)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({}, "port"),
        ({"port": 1}, r"\$\.port"),
        ({"port": None}, r"\$\.port"),
        ({"port": "x", "ahead": 8}, r"\$\.ahead"),
        ({"port": "x", "day": "tomorrow"}, r"\$\.day"),
        ({"port": "x", "place": {"name": 1}}, r"\$\.place\.name"),
        ({"port": "x", "tide": 1}, "tide"),
        ([], "object"),
        ("[1]", "object"),
        ("{", "not JSON"),
        (7, "object"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_path(arguments: Any, path: str) -> None:
    with pytest.raises(BadArguments, match=path):
        convert(get_tide, arguments)


# -- results ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Measured:
    at: datetime.datetime
    by: set[str]
    point: Point


@attrs.define
class Seen:
    what: str


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"height": 1.5}, '{"height":1.5}'),
        (Place("pier"), '{"name":"pier","depth":null}'),
        (Seen("whale"), '{"what":"whale"}'),
        (Message(role="user", content="x"), '{"role":"user","content":"x"}'),
        (Point(lat=1), '{"lat":1.0,"lon":0.0}'),
        (
            Measured(datetime.datetime(2026, 10, 2, 12), {"b", "a"}, Point(lat=1)),
            '{"at":"2026-10-02T12:00:00","by":["a","b"],"point":{"lat":1.0,"lon":0.0}}',
        ),
        ('{"already": "an object"}', '{"already": "an object"}'),
        ("{not", '{"result":"{not"}'),
        ("сильный ветер", '{"result":"сильный ветер"}'),
        (5, '{"result":5}'),
        (None, '{"result":null}'),
        (True, '{"result":true}'),
        ([1, Point(lat=1)], '{"result":[1,{"lat":1.0,"lon":0.0}]}'),
        (Unit.FEET, '{"result":"ft"}'),
        (Decimal("1.5"), '{"result":1.5}'),
        (uuid.UUID(int=1), '{"result":"00000000-0000-0000-0000-000000000001"}'),
        (datetime.date(2026, 10, 2), '{"result":"2026-10-02"}'),
    ],
    ids=stable_id,
)
def test_results_become_json_objects(result: Any, text: str) -> None:
    assert result_text(result) == text


def endless() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


class Unprintable:
    def __str__(self) -> str:
        raise LookupError("no text")


@pytest.mark.parametrize(
    ("result", "message"),
    [(endless(), "result of get_it is nested too deep"), (Unprintable(), "LookupError: no text")],
    ids=["loop", "unprintable"],
)
def test_a_result_without_any_form_in_json_is_an_error_with_advice(result: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"{message}.*on_result"):
        result_text(result, "get_it")


class Series:
    """As pandas has them: with a method that says what they hold."""

    def __init__(self, values: dict[Any, Any]) -> None:
        self.values = values

    def to_dict(self) -> dict[Any, Any]:
        return self.values


class Array:
    """As numpy has them, also for single numbers."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def tolist(self) -> Any:
        return self.value


class NeedsArguments:
    def to_dict(self, orient: str) -> dict[str, Any]:
        return {}

    def __str__(self) -> str:
        return "a table"


class Proxy:
    """It has every attribute, as mocks and remote objects have."""

    def __getattr__(self, name: str) -> Any:
        return lambda: self

    def __str__(self) -> str:
        return "a proxy"


class Timestamp(datetime.datetime):
    """As in pandas: a subclass that msgspec does not know."""


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (b"\xff\x00", '{"result":"/wA="}'),
        (memoryview(b"x"), '{"result":"eA=="}'),
        (pathlib.PurePosixPath("out/invoice.pdf"), '{"result":"out/invoice.pdf"}'),
        ({(1, 2): 1, 3: 2, None: 3, True: 4, Unit.FEET: 5}, '{"(1, 2)":1,"3":2,"null":3,"true":4,"ft":5}'),
        (Decimal("0.1234567890123456789"), '{"result":"0.1234567890123456789"}'),
        (fractions.Fraction(1, 4), '{"result":0.25}'),
        (10**30, '{"result":1000000000000000000000000000000}'),
        (datetime.timedelta(hours=1), '{"result":"PT3600S"}'),
        (Timestamp(2026, 10, 2, 12), '{"result":"2026-10-02T12:00:00"}'),
        (Series({0: 1.5, 1: Array(2)}), '{"0":1.5,"1":2}'),
        (Array([[1, 2], [3, 4]]), '{"result":[[1,2],[3,4]]}'),
        ({3, 20, 100}, '{"result":[3,20,100]}'),
        ({"b": 1, "a": 2}.keys(), '{"result":["b","a"]}'),
        (map(str, [1, 2]), '{"result":["1","2"]}'),
        (collections.deque([1]), '{"result":[1]}'),
        (NeedsArguments(), '{"result":"a table"}'),
        (ValueError("no"), '{"result":"no"}'),
        (complex(1, 2), '{"result":"(1+2j)"}'),
        ("a \ud83d\ude00 b \ud83d", '{"result":"a \U0001f600 b \ufffd"}'),
        (Proxy(), '{"result":"a proxy"}'),
    ],
    ids=stable_id,
)
def test_a_result_of_any_type_becomes_json(result: Any, text: str) -> None:
    assert result_text(result) == text


@pytest.mark.parametrize("number", [float("nan"), float("-inf"), Decimal("NaN"), Array(float("nan"))], ids=stable_id)
def test_a_number_without_a_form_in_json_is_null_with_a_warning(number: Any) -> None:
    with pytest.warns(UserWarning, match="result of get_it has NaN"):
        assert result_text({"a": [number]}, "get_it") == '{"a":[null]}'


def test_a_function_that_returns_a_coroutine_is_refused_and_the_coroutine_closed() -> None:
    async def secretly() -> int:
        return 1

    def hides() -> Any:
        return secretly()

    with pytest.raises(ConfigError, match="asynchronous"):
        Tool.of(hides).run({})


def test_a_pydantic_result_is_written_as_its_serializers_for_json_say() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Tide(pydantic.BaseModel):
        port: str
        height: Decimal

        @pydantic.field_serializer("height", when_used="json")
        def in_metres(self, height: Decimal) -> str:
            return f"{height} m"

    assert result_text(Tide(port="Kem", height=Decimal("1.5"))) == '{"port":"Kem","height":"1.5 m"}'


def test_a_pydantic_result_that_pydantic_cannot_write_as_json_is_written_by_our_rules() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Photo(pydantic.BaseModel):
        data: bytes

    assert result_text(Photo(data=b"\xff")) == '{"data":"/w=="}'
