"""Docstrings of three styles, and malformed ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient.schema.docstrings import Docstring, parse_docstring

FRAGMENTS = [
    "Args:", "Returns:", "Raises:", "Parameters\n-----", "Returns\n-----", "\n", "\n", "    ", "x", "a, b", ": text",
    "name : int", ":param x:", ":param", ":returns:", "::", ":class:`A`", "(int)", "[", "**args", "-",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sum.\n\n    Args:\n        x (:class:`A`, optional): the x\n", {"x": "the x"}),
        ("Sum.\n\n    Args:\n        x: the x\n    Raises:\n        like ``open``\n", {"x": "the x"}),
        ("Sum.\n\n    Keyword Args:\n        a, **b: both\n", {"a": "both", "b": "both"}),
        ("Sum.\n\n    :ivar x: the x of\n        :class:`A`\n    :type x: int\n", {"x": "the x of :class:`A`"}),
        ("Sum.\n\n    Other Parameters\n    ----------------\n    x : int\n        the x\n", {"x": "the x"}),
    ],
    ids=["type with a colon", "section without colons", "two names", "attribute and role", "NumPy section"],
)
def test_parameters_are_read_from_the_forms_in_use(text: str, expected: dict[str, str]) -> None:
    docstring = parse_docstring(text)
    assert (docstring.summary, docstring.parameters) == ("Sum.", expected)


def test_a_line_that_begins_with_a_role_belongs_to_the_prose() -> None:
    docstring = parse_docstring("Like\n    :class:`A`.\n\n    More.\n\n    :param x: the x\n")
    assert docstring == Docstring("Like :class:`A`.", "Like :class:`A`.\nMore.", {"x": "the x"}, "")


def test_a_result_in_numpy_style_may_have_no_type() -> None:
    assert parse_docstring("Sum.\n\n    Returns\n    -------\n    The height.\n").returns == "The height."


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
def test_a_malformed_docstring_is_no_error(text: str) -> None:
    assert isinstance(parse_docstring(text), Docstring)
