"""Cumulative snapshots to deltas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient.fakegpt.snapshots import Increment, Snapshots


def increments(*snapshots: tuple[str | None, str]) -> list[Increment]:
    taker = Snapshots()
    return [taker.take(message_id, text) for message_id, text in snapshots]


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        pytest.param([("m", "The"), ("m", "The Lena")], [("The", None), (" Lena", None)], id="grows"),
        pytest.param([("m", "The"), ("m", "The")], [("The", None), ("", None)], id="repeats"),
        pytest.param([("m", ""), ("m", "a")], [("", None), ("a", None)], id="begins empty"),
        pytest.param(
            [("m", "abcd"), ("m", "ab"), ("m", "abX")], [("abcd", None), ("", 2), ("X", None)], id="takes text back"
        ),
        pytest.param(
            [("m", "abc"), ("m", ""), ("m", "abcd")], [("abc", None), ("", None), ("d", None)], id="says nothing"
        ),
        pytest.param(
            [("m", "wave \ufffd\ufffd"), ("m", "wave 🌊")], [("wave ", None), ("🌊", None)], id="half of UTF-8"
        ),
        pytest.param(
            [("m", "wave \ud83c"), ("m", "wave \ud83c\udf0a")], [("wave ", None), ("🌊", None)], id="half a pair"
        ),
        pytest.param([("m", "a\ufffd"), ("m", "a\ufffdb")], [("a", None), ("\ufffdb", None)], id="a real U+FFFD"),
        pytest.param([("m", "a\ud83cb"), ("m", "a\ud83cbc")], [("a\ufffdb", None), ("c", None)], id="a lone half"),
        pytest.param([("m", "The cat"), ("m", "The dog")], [("The cat", None), ("dog", 4)], id="rewritten"),
        pytest.param([("m", "abcdef"), ("m", "abX")], [("abcdef", None), ("X", 2)], id="rewritten and shorter"),
        pytest.param([("m", "yes"), ("m", "no")], [("yes", None), ("no", 0)], id="rewritten from the start"),
        pytest.param(
            [("m", "ab"), ("m", "aX"), ("m", "aXY")],
            [("ab", None), ("X", 1), ("Y", None)],
            id="goes on after a rewrite",
        ),
        pytest.param([("m", "abc"), ("n", "abcd")], [("abc", None), ("abcd", None)], id="new message, same beginning"),
        pytest.param([("m", "abc"), ("n", "xy")], [("abc", None), ("xy", None)], id="new message"),
        pytest.param([("m", "abc"), ("n", "")], [("abc", None), ("", None)], id="new message without text yet"),
        pytest.param([("m", "ab"), (None, "abc")], [("ab", None), ("c", None)], id="no id: the same message"),
        pytest.param([(None, "ab"), ("m", "abc")], [("ab", None), ("c", None)], id="the id comes later"),
        pytest.param([("m", "при"), ("m", "прилив")], [("при", None), ("лив", None)], id="other letters"),
    ],
)
def test_a_snapshot_becomes_what_it_adds(
    snapshots: list[tuple[str | None, str]], expected: list[tuple[str, int | None]]
) -> None:
    assert [tuple(increment) for increment in increments(*snapshots)] == expected


@given(st.lists(st.text(max_size=5), min_size=1, max_size=20))
def test_deltas_of_a_growing_text_join_to_its_end(pieces: list[str]) -> None:
    states = ["".join(pieces[: count + 1]) for count in range(len(pieces))]
    found = increments(*(("m", state) for state in states))
    assert "".join(increment.text for increment in found) == states[-1]
    assert all(increment.rewritten_from is None for increment in found)


few_letters = st.text(alphabet="ab", max_size=6)


@given(st.lists(few_letters, max_size=20))
def test_a_program_that_follows_the_flags_shows_the_servers_last_text(states: list[str]) -> None:
    taker, shown = Snapshots(), ""
    for state in states:
        increment = taker.take("m", state)
        if increment.rewritten_from is not None:
            assert increment.rewritten_from < len(shown)
            shown = shown[: increment.rewritten_from]
        shown += increment.text
        assert shown == taker.text == (state or taker.text)


def test_nothing_is_held_back_at_the_end() -> None:
    taker = Snapshots()
    assert taker.take("m", "a\ufffd", is_last=True).text == "a\ufffd"
    assert taker.take("m", "ab\ufffd\ud83c") == Increment("b", 1)
    assert taker.rest() == Increment("\ufffd\ufffd")
    assert taker.rest() == Increment("")


def test_a_text_is_mended_only_if_its_last_snapshot_was() -> None:
    taker = Snapshots()
    taker.take("m", "a\ud83cb")
    assert taker.mended
    taker.take("m", "a🌊b")
    assert not taker.mended


@given(st.lists(st.tuples(st.sampled_from("mn"), few_letters), max_size=20))
def test_a_new_message_is_handed_out_whole(snapshots: list[tuple[str, str]]) -> None:
    taker = Snapshots()
    last = None
    for message_id, text in snapshots:
        starts_message = last is not None and message_id != last
        assert taker.starts_message(message_id) is starts_message
        increment = taker.take(message_id, text)
        if starts_message:
            assert increment == Increment(text)
        last = message_id if text else last
