"""The lines of a checkpoint: values that JSON cannot hold."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoint_tools import claimed, line, lines_in, written

from gigaclient.bulk.checkpoint.lines import encode_line
from gigaclient.types import ChatCompletion


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("no")


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Broken(float):
    pass


@dataclasses.dataclass
class Review:
    stars: int
    text: str


def _contains_itself() -> list[Any]:
    value: list[Any] = [1]
    value += [value, value]
    return value


def _nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


ODD: dict[str, tuple[Any, Any]] = {
    "NaN": ({"price": float("nan"), "more": [float("inf"), 1.5]}, {"price": None, "more": [None, 1.5]}),
    "bytes": (b"ab", "YWI="),
    "set": ({7}, [7]),
    "tuple": ((1, "a"), [1, "a"]),
    "half of a pair": ("a\ud800b", "a�b"),
    "both halves of a pair": ("\ud83d\ude00", "😀"),
    "half of a pair in a name": ({"\udc80": ["\udc80"]}, {"�": ["�"]}),
    "long integer": (2**100, 2**100),
    "integer that Python itself does not write": (10**5000, "<int>"),
    "names that are no strings": ({1: 2, None: 3, (4, 5): 6}, {"1": 2, "None": 3, "(4, 5)": 6}),
    "subclasses": ([Text("x" * 500), Whole(5), Broken(1.5)], ["x" * 500, 5, 1.5]),
    "mapping": (types.MappingProxyType({"a": {1}}), {"a": [1]}),
    "dataclass": (Review(5, "хорошо"), {"stars": 5, "text": "хорошо"}),
    "date": (datetime.date(2026, 1, 2), "2026-01-02"),
    "decimal": (decimal.Decimal("1.50"), "1.50"),
    "object": (["a", 1j], ["a", "1j"]),
    "object without a text": (Silent(), "<Silent>"),
    "long text of an object": (range(10**300), "range(0, 1" + "0" * 189 + "…"),
    "JSON with a newline": (msgspec.Raw(b'{"a":\n1}'), None),
    "a list that contains itself": (_contains_itself(), "[1, [...], [...]]"),
    "deep": (_nested(100_000), "<list>"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_values_that_json_cannot_hold_are_written_in_a_readable_form(case: str, path: Path) -> None:
    input_, expected = ODD[case]
    written(path, line(1, input=input_), line(2))
    if expected is not None:
        assert lines_in(path)[0]["input"] == expected
    assert len(lines_in(path)) == 2
    [back] = claimed(path, 1)
    assert {**back, "input": None} == line(1, input=None)
    assert claimed(path, 2) == [line(2)]


def test_an_odd_input_does_not_spoil_the_answer(path: Path) -> None:
    answer = {"choices": [{"message": {"content": "half \ud800, and \n more"}}], "created": 5}
    written(path, line(1, input=_contains_itself(), completion=answer))
    [back] = claimed(path, 1)
    assert back["completion"] == {"choices": [{"message": {"content": "half �, and \n more"}}], "created": 5}


def test_an_answer_of_one_of_our_types_is_written_by_its_fields(path: Path) -> None:
    completion = msgspec.convert(
        {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "\ud800"}}]},
        ChatCompletion,
    )
    written(path, line(1, completion=completion))
    [back] = claimed(path, 1)
    assert back["completion"]["choices"][0]["message"] == {"role": "assistant", "content": "�"}


_TEXT = st.text(st.characters(exclude_categories=()))  # unpaired surrogates as well
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT | st.integers(), inner),
    max_leaves=8,
)


@given(_JSON)
def test_any_input_is_one_line_of_json(value: Any) -> None:
    data = encode_line(line(1, input=value))
    assert data.endswith(b"\n") and data.count(b"\n") == 1
    assert json.loads(data, parse_constant=lambda name: pytest.fail(name))["text"] == line(1)["text"]
    assert msgspec.json.decode(data)["index"] == 1
