"""Calls of Python functions by the model: conversion of arguments, and encoding of results."""

from __future__ import annotations

import dataclasses
import datetime
import json
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


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (b"x", r"result of get_it\.result is bytes"),
        ({"a": [float("nan")]}, r"result of get_it\.a\[0\]"),
        (object(), "object"),
        ({(1, 2): 3}, "name is not a string"),
        (endless(), "nested too deep"),
    ],
    ids=["bytes", "nan", "object", "key", "loop"],
)
def test_a_result_that_is_not_json_is_an_error_with_the_path(result: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        result_text(result, "get_it")


def test_a_function_that_returns_a_coroutine_is_refused_and_the_coroutine_closed() -> None:
    async def secretly() -> int:
        return 1

    def hides() -> Any:
        return secretly()

    with pytest.raises(ConfigError, match="asynchronous"):
        Tool.of(hides).run({})
