"""Surrogates in strings."""

from __future__ import annotations

import pytest

from gigaclient._primitives.surrogates import well_formed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Привет 😀", "Привет 😀"),
        ("\ud83d\ude00!", "😀!"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00b", "\ufffdb"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
    ],
)
def test_pairs_are_joined_and_lone_halves_replaced(text: str, expected: str) -> None:
    assert well_formed(text) == expected
