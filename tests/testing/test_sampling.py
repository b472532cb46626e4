"""Tests of sample values of JSON Schemas and regular expressions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gigaclient.testing.sampling import instance, matching_text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 6}, "text.."),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "date"}, "2026-10-02"),
        ({"type": "string", "format": "date-time"}, "2026-10-02T12:00:00Z"),
        ({"type": "string", "enum": ["a", "b"]}, "a"),
        ({"const": 7}, 7),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"type": "integer", "minimum": 4, "multipleOf": 3}, 6),
        ({"type": "integer", "minimum": 5, "maximum": 7, "multipleOf": 3}, 6),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "array", "items": {"type": "integer"}}, [1, 1]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 3}, ["text", "text", "text"]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 1}, [1]),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "items": False}, [1, True]),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 1),
        (
            {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"const": 2}}}]},
            {"a": 1, "b": 2},
        ),
        ({"type": "object"}, {}),
        ({}, "text"),
        (None, "text"),
    ],
)
def test_a_value_matches_its_schema(schema: Any, value: Any) -> None:
    assert instance(schema) == value


def test_a_recursive_schema_has_a_finite_value() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["value"],
    }
    value = instance({"$ref": "#/$defs/node", "$defs": {"node": node}})
    assert value["children"][0]["value"] == 1
    endless = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert instance(endless) == "text"


@pytest.mark.parametrize(
    "pattern",
    [
        r"[A-Z]{2}-\d{3}", r"(yes|no)", r"(?:a|b)+c*", r"[^abc]x", r"\w+@\w+\.ru", r".{3}", r"^\d+$", r"(a)\1",
        r"\S\s\D\W", r"[\d.]+?", "", r"(?i:abc)", r"[\]\-]", "[0-9]{4}-(0[1-9]|1[0-2])", r"да|нет",
    ],
)  # fmt: skip
def test_a_generated_text_matches(pattern: str) -> None:
    text = matching_text(pattern)
    assert text is not None
    assert re.fullmatch(pattern, text)
    assert text == matching_text(pattern)


@pytest.mark.parametrize("pattern", [r"a(?!.*)b", r"(?=x)x"])
def test_a_pattern_without_a_generated_text_has_none(pattern: str) -> None:
    assert matching_text(pattern) is None


@given(st.from_regex(r"[a-c|()*+?\[\]0-9]{0,8}", fullmatch=True))
def test_any_generated_text_matches(pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, FutureWarning):
        assume(False)
    text = matching_text(pattern)
    assert text is None or re.fullmatch(pattern, text) is not None
