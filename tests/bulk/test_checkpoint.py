"""The checkpoint: no finished item is lost or sent twice, and no other file is damaged."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoint_tools import claimed, failed, key, line, lines_in, written

from gigaclient.bulk.checkpoint import Checkpoint, scan
from gigaclient.errors import ConfigError

# -- finished items come back -----


def test_a_finished_item_is_restored_unchanged(path: Path) -> None:
    written(path, line(1), line(2))
    with Checkpoint(path) as checkpoint:
        assert checkpoint.found == 2
        assert checkpoint.claim(key(2)) == line(2)
        assert checkpoint.claim(key(1)) == line(1)
        assert checkpoint.found == 0


def test_an_item_that_was_not_sent_is_not_in_the_checkpoint(path: Path) -> None:
    written(path, line(1))
    with Checkpoint(path) as checkpoint:
        assert checkpoint.claim(key(2)) is None
        assert checkpoint.found == 1


def test_a_line_is_claimed_once(path: Path) -> None:
    written(path, line(1))
    with Checkpoint(path) as checkpoint:
        assert checkpoint.claim(key(1)) is not None
        assert checkpoint.claim(key(1)) is None


def test_answers_to_the_same_prompt_come_back_one_by_one_in_their_order(path: Path) -> None:
    written(path, line(1, text="a"), line(2), line(1, text="b"), line(1, text="c"))
    assert [one["text"] for one in claimed(path, 1)] == ["a", "b", "c"]


def test_claiming_changes_nothing_for_the_run_after(path: Path) -> None:
    written(path, line(1))
    assert [claimed(path, 1), claimed(path, 1)] == [[line(1)], [line(1)]]


def test_what_was_appended_in_this_run_cannot_be_claimed_in_it(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        assert checkpoint.found == 0
        assert checkpoint.claim(key(1)) is None
    assert claimed(path, 1) == [line(1)]


def test_a_failed_item_is_not_finished(path: Path) -> None:
    written(path, failed(1), line(2))
    with Checkpoint(path) as checkpoint:
        assert checkpoint.found == 1
        assert checkpoint.claim(key(1)) is None


def test_an_item_that_failed_and_was_answered_later_is_finished(path: Path) -> None:
    written(path, failed(1))
    written(path, line(1))
    written(path, failed(1))
    assert claimed(path, 1) == [line(1)]


def test_a_table_that_was_written_anew_with_null_in_each_empty_field_is_read_as_before(path: Path) -> None:
    written(path, line(1, error=None, note=None, by=None))
    assert [one["index"] for one in claimed(path, 1)] == [1]


def test_appended_lines_are_in_the_file_at_once(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        positions = []
        for number in range(3):
            positions.append(checkpoint.append(line(number)))
            assert path.stat().st_size == positions[-1]
            assert [one["index"] for one in lines_in(path)] == list(range(number + 1))
    assert positions == sorted(set(positions))


def test_a_key_of_another_length_is_a_mistake(path: Path) -> None:
    with Checkpoint(path) as checkpoint, pytest.raises(ValueError, match="16 bytes, not 3"):
        checkpoint.claim(b"abc")


def test_a_line_that_no_later_run_would_find_is_a_mistake(path: Path) -> None:
    useless: list[dict[str, Any]] = [
        {}, {"index": 1}, {"key": key(1).hex()}, {"key": "abc", "index": 1}, {"key": "x" * 32, "index": 1},
        {"key": key(1), "index": 1}, {"note": None}, {"key": "ab " * 10 + "ab", "index": 1},
    ]  # fmt: skip
    with Checkpoint(path) as checkpoint:
        for one in useless:
            with pytest.raises(ValueError, match="needs"):
                checkpoint.append(one)
    assert path.read_bytes() == b""


def test_a_line_far_longer_than_what_is_read_at_once_comes_back_whole(path: Path) -> None:
    long = [line(number, text="ж" * size) for number, size in enumerate((31_000, 32_768, 2_000_000, 3))]
    written(path, *long)
    with Checkpoint(path) as checkpoint:
        for number in (2, 0, 3, 1):
            assert checkpoint.claim(key(number)) == long[number]


# -- notes -----


def test_notes_come_back_in_their_order_and_are_no_results(path: Path) -> None:
    notes: list[dict[str, Any]] = [{"note": "batch", "id": "b-1"}, {"note": {"id": "b-2", "rows": [1, 2]}}]
    written(path, notes[0], line(1), notes[1])
    with Checkpoint(path) as checkpoint:
        assert checkpoint.notes() == notes
        assert checkpoint.found == 1
        checkpoint.append({"note": "of this run"})
        assert checkpoint.notes() == notes


def test_a_file_with_nothing_but_a_note_is_a_checkpoint(path: Path) -> None:
    written(path, {"note": "batch", "id": "b-1"})
    with Checkpoint(path) as checkpoint:
        assert checkpoint.notes() == [{"note": "batch", "id": "b-1"}]


def test_a_note_of_a_person_in_a_checkpoint_is_a_note_too(path: Path) -> None:
    content = written(path, line(1))
    path.write_bytes(content + b'{"note": "checked by Anna"}\n')
    with Checkpoint(path) as checkpoint:
        assert checkpoint.notes() == [{"note": "checked by Anna"}]


# -- closing -----


def test_after_closing_nothing_is_read_or_written(path: Path) -> None:
    content = written(path, line(1))
    checkpoint = Checkpoint(path)
    checkpoint.close()
    checkpoint.close()
    for call in (lambda: checkpoint.append(line(2)), lambda: checkpoint.claim(key(1))):
        with pytest.raises(ConfigError, match="is closed"):
            call()
    assert path.read_bytes() == content


def test_the_context_manager_closes_it_after_an_error_too(path: Path) -> None:
    with contextlib.suppress(RuntimeError), Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        raise RuntimeError
    assert claimed(path, 1) == [line(1)]


def test_its_repr_names_the_file_and_what_is_left(path: Path) -> None:
    written(path, line(1), line(2))
    with Checkpoint(path) as checkpoint:
        checkpoint.claim(key(1))
        assert repr(checkpoint) == f"<Checkpoint {str(path)!r}: 1 to claim>"


# -- memory -----


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def test_an_item_takes_few_bytes_and_gives_them_back_when_it_is_claimed(path: Path, traced: Callable[[], int]) -> None:
    count = 12_000
    with path.open("wb") as file:
        file.writelines(b'{"key":"%b","index":%d,"text":"some"}\n' % (key(n).hex().encode(), n) for n in range(count))
    before = traced()
    with Checkpoint(path) as checkpoint:
        assert checkpoint.found == count
        gc.collect()
        full = traced() - before
        assert full < 100 * count
        for number in range(count):
            assert checkpoint.claim(key(number)) is not None
        gc.collect()
        assert traced() - before < full / 3


# The worst case of the index: unlike hashes, the keys share their first bytes, and match bytes across two records.
_KEYS = st.integers(0, 3).map(lambda number: bytes(16) if number == 0 else bytes(14) + bytes([number // 2, number % 2]))


@given(st.lists(st.tuples(_KEYS, st.integers(0, 300)), max_size=12), st.lists(_KEYS, max_size=16))
def test_the_index_gives_what_a_dict_of_lists_would(added: list[tuple[bytes, int]], taken: list[bytes]) -> None:
    index = scan.FinishedIndex()
    model: dict[bytes, list[int]] = {}
    for one, offset in added:
        index.add(one, offset)
        model.setdefault(one, []).append(offset)
    for one in taken:
        expected = model[one].pop(0) if model.get(one) else None
        assert index.take(one) == expected
    assert index.count == sum(map(len, model.values()))
