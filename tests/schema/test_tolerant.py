"""Documents in the text of a model: what is mended, what is not, and that the time is linear."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient.schema.tolerant import find_documents


def values(text: str) -> list[Any]:
    return [json.loads(document.data) for document in find_documents(text)]


@pytest.mark.parametrize(
    ("text", "value", "repair"),
    [
        ('{"a": "x\ny\tz\x01"}', {"a": "x\ny\tz\x01"}, "line breaks"),
        ('Sure! {"a": 1}', {"a": 1}, "around"),
        ('{"a": 1} Anything else?', {"a": 1}, "around"),
        ('```json\n{"a": 1}\n```', {"a": 1}, "around"),
        ('<think>{"a": 0}? No.</think>{"a": 1}', {"a": 1}, "<think>"),
        ('Let me think {"a": 0}</think>\n{"a": 1}', {"a": 1}, "<think>"),
        ('{"a": [1, 2,], "b": {"c": 1,},}', {"a": [1, 2], "b": {"c": 1}}, "commas"),
        ("{'a': 'it\\'s \"x\"'}", {"a": 'it\'s "x"'}, "single quotes"),
        ("{a: 1, имя: 2, $b-c: 3}", {"a": 1, "имя": 2, "$b-c": 3}, "names of fields"),
        ('{"a": NaN, "b": [-Infinity], "c": undefined}', {"a": None, "b": [None], "c": None}, "as null"),
        ('{"a": True, "b": False, "c": None}', {"a": True, "b": False, "c": None}, "Python"),
        (r'{"a": "C:\dir \(x\) \u12"}', {"a": r"C:\dir \(x\) \u12"}, "backslashes"),
        (r'{"a": "x\ud83d", "b": "\ude00", "c": "\ud83d\ude00"}', {"a": "x�", "b": "�", "c": "😀"}, "surrogate"),
        ('{"a": "\ud83d\ude00 \ud83d"}', {"a": "😀 �"}, "surrogate"),
        ('{"a":\u00a01}', {"a": 1}, "white space"),
    ],
)
def test_each_mistake_of_models_is_mended_and_told(text: str, value: Any, repair: str) -> None:
    (document,) = find_documents(text)
    assert json.loads(document.data) == value
    (sentence,) = document.repaired
    assert repair in sentence


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1} {"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\n[2]\n{}', [{"a": 1}, [2], {}]),
        ('{"a": 1}}', [{"a": 1}]),
        ('{x | x > 0} means [see above]: {"a": 1}', [{"a": 1}]),
        ('Like {"a": ..., "b": [...]}: {"a": 1}', [{"a": 1}]),
    ],
)
def test_all_documents_are_found_in_their_order(text: str, found: list[Any]) -> None:
    assert values(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The tide is high.",
        "12",
        '{"a": 1',
        '{"a": "x',
        '{"name": "a", "children": [{"name": "b", "children": []}]',
        '{"name": "a", "children": [{"name": "b", "children": []}], oops}',
        "[{}{}]",
        "[1 2]",
        "[1,,2]",
        "[,]",
        '{"a": [,1]}',
        '{"a": {,"b": 1}}',
        '{"a" 1}',
        '{"a": 01}',
        '{"a": yes}',
        '{"a": 1 "b": 2}',
        "[1}",
        "[" * 500 + "]" * 500,
    ],
)
def test_neither_an_incomplete_document_nor_a_part_of_one_is_found(text: str) -> None:
    assert values(text) == []


def test_a_valid_document_is_not_said_to_be_mended() -> None:
    (document,) = find_documents(' {"a": [1.5e3, -0, true, null, "\\n\\u00e9/"]}\n')
    assert document.repaired == ()
    assert document.data == b'{"a":[1.5e3,-0,true,null,"\\n\\u00e9/"]}'


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.lists(_JSON) | st.dictionaries(st.text(), _JSON))
def test_every_document_of_the_strict_kind_is_found_as_it_is(value: Any) -> None:
    assert values(f"Here: {json.dumps(value)}") == [value]
    assert values(json.dumps(value, indent=1, ensure_ascii=False).replace("\\n", "\n")) == [value]


@given(st.text(alphabet="{}[]\"'\\:,ab1 \n\ud83d-NTtrue"))
def test_whatever_the_text_each_document_is_json(text: str) -> None:
    values(text)


_HOSTILE: dict[str, Callable[[int], str]] = {
    "arrays": lambda size: "[" * size,
    "objects": lambda size: '{"a":' * (size // 5),
    "open objects": lambda size: "word { " * (size // 7),
    "quotes": lambda size: '{"a": "' + '"' * size,
    "open strings": lambda size: "{'{\"" * (size // 4),
    "string ends": lambda size: '{"a": ' + '"b, ' * (size // 4),
    "backslashes": lambda size: '{"a": "' + "\\" * size,
    "escaped quotes": lambda size: '{"a": "' + '\\"' * (size // 2),
    "line breaks": lambda size: '{"a": "' + "x\n" * (size // 2) + '"}',
    "spaces": lambda size: "{" + " " * size + "x" + " " * size,
    "words": lambda size: "{" + "a" * size,
    "digits": lambda size: "[1." + "1" * size + "x",
    "items": lambda size: "[1," * 150 + "1," * (size // 2),
    "documents": lambda size: "{}" * (size // 2),
    "thoughts": lambda size: "<think>" * (size // 7),
}


def calls_of(function: Callable[[], object]) -> int:
    """Return the number of calls of Python and C functions in ``function()``."""
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("make", _HOSTILE.values(), ids=_HOSTILE)
def test_the_work_grows_with_the_length_of_the_text(make: Callable[[int], str]) -> None:
    once, twice = (calls_of(lambda size=size: find_documents(make(size))) for size in (4000, 8000))  # type: ignore[misc]
    assert twice <= 2.2 * once + 100


@pytest.mark.parametrize("make", _HOSTILE.values(), ids=_HOSTILE)
def test_a_long_hostile_text_ends_soon(make: Callable[[int], str]) -> None:
    # The regular expressions are not counted above: if one were quadratic, this would take hours.
    find_documents(make(150_000))
