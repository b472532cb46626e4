"""The checkpoint: no finished item is lost or sent twice, and no other file is damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import errno
import gc
import itertools
import json
import logging
import os
import resource
import signal
import stat
import sys
import tempfile
import threading
import tracemalloc
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoint_tools import failed, key, line, lines_in, parent_with_child, writer
from support.token_tools import LONG, in_child, together

from gigaclient.bulk.checkpoint import Checkpoint, scan
from gigaclient.bulk.checkpoint.lines import encode_line
from gigaclient.errors import ConfigError
from gigaclient.types import ChatCompletion


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def written(path: Path, *lines: dict[str, Any]) -> bytes:
    """Write a checkpoint with these lines; return its path."""
    with Checkpoint(path) as checkpoint:
        for one in lines:
            checkpoint.append(one)
    return path.read_bytes()


def claimed(path: Path, number: int) -> list[dict[str, Any]]:
    """Return all finished lines for this number, claimed by a new run."""
    with Checkpoint(path) as checkpoint:
        return list(iter(lambda: checkpoint.claim(key(number)), None))


def without_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync in tests with hundreds of files that need no protection against a power failure."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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


# -- what JSON does not have -----


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


# -- the end of a run that was killed -----


def _whole_lines(content: bytes, cut: int) -> list[bytes]:
    """Return the lines that are whole when the file ends at ``cut``, with or without their newline."""
    ends = [offset for offset, byte in enumerate(content) if byte == ord("\n")]
    begins = [0, *(end + 1 for end in ends)]
    return [content[begin:end] for begin, end in zip(begins, ends, strict=False) if end <= cut]


@pytest.mark.parametrize(
    ("first", "after"),
    [("note", b""), ("result", b""), ("error", b""), ("note", b"\0"), ("result", b"\0" * 5000)],
    ids=["note", "result", "error", "note and a NUL", "result and NULs"],
)
def test_a_file_that_ends_anywhere_is_repaired_and_no_whole_line_is_lost(
    first: str, after: bytes, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_disk(monkeypatch)
    short = {"key": key(1).hex(), "index": 1, "input": "\\ж\u2028"}
    begin = {"note": {"note": {"id": "b-1"}}, "result": line(0), "error": failed(0)}[first]
    content = written(path, begin, short, {"note": "n"}, {**short, "text": "}"})
    for cut in range(1 if after else 0, len(content) + 1):
        path.write_bytes(content[:cut] + after)
        whole = _whole_lines(content, cut)
        finished = [one for one in map(json.loads, whole) if "key" in one and "error" not in one]
        with Checkpoint(path) as checkpoint:
            assert checkpoint.found == len(finished)
            for one in finished:
                assert checkpoint.claim(bytes.fromhex(one["key"])) == one
            assert len(checkpoint.notes()) == sum(b'"note"' in one for one in whole)
            checkpoint.append(short)
        assert path.read_bytes().split(b"\n")[:-2] == whole, cut
        assert lines_in(path)[-1] == short


def test_a_whole_line_without_its_newline_gets_it_and_can_be_claimed(path: Path) -> None:
    content = written(path, line(1), line(2))
    path.write_bytes(content[:-1])
    with Checkpoint(path) as checkpoint:
        assert path.read_bytes() == content
        assert checkpoint.claim(key(2)) == line(2)


def test_cutting_half_a_line_off_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = written(path, line(1), line(2))
    path.write_bytes(content[:-5])
    with caplog.at_level(logging.INFO, "gigaclient"):
        Checkpoint(path).close()
    assert [(record.levelname, "half a line" in record.message) for record in caplog.records] == [("INFO", True)]


def test_what_a_killed_process_appended_is_all_there(path: Path) -> None:
    acknowledged = 0
    for _ in range(3):
        with writer(path, first=acknowledged) as process:
            while int(process.next_line()) < acknowledged + 15:
                pass
            rest = process.kill()
        acknowledged += 16 + len(rest)
        with Checkpoint(path) as checkpoint:
            # One more may have been written before the process was killed, and not reported.
            assert acknowledged <= checkpoint.found <= acknowledged + 1
            acknowledged = checkpoint.found
            for number in range(acknowledged):
                found = checkpoint.claim(key(number))
                assert found is not None and len(found["text"]) == 300_000
    assert [one["index"] for one in lines_in(path)] == list(range(acknowledged))


# -- lines that are broken in the middle -----


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0\0\0", b"{", b'{"key": 5}', b"[1, 2]", b"5", b"# by hand", b'{"key":"zz"}', b'"\xff"', b'{"a":1e999}'],
)
def test_a_broken_line_in_the_middle_is_passed_over_and_stays(
    damage: bytes, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, last = written(path, line(1), line(2)).splitlines(keepends=True)
    path.write_bytes(content := first + damage + b"\n" + damage + b"\n" + last)
    with Checkpoint(path) as checkpoint:
        assert checkpoint.found == 2
        assert checkpoint.claim(key(1)) == line(1)
        assert checkpoint.claim(key(2)) == line(2)
    assert path.read_bytes() == content
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    if damage:
        [message] = messages
        assert "2 of its lines" in message and "the first is line 2" in message and str(path) in message
    else:  # an empty line is no loss
        assert messages == []


def test_a_broken_first_line_does_not_make_it_another_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = written(path, line(1), line(2))
    path.write_bytes(b"#" + content)
    assert claimed(path, 2) == [line(2)]
    assert "line 1" in caplog.text
    assert path.read_bytes() == b"#" + content


def test_a_line_that_proves_broken_when_it_is_claimed_gives_way_to_the_next_of_its_key(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = written(path, line(1, text="first!"), line(1, text="second"))
    path.write_bytes(content.replace(b"first!", b"first\xff"))  # ignored at opening, where texts are not decoded
    with Checkpoint(path) as checkpoint:
        assert checkpoint.found == 2
        found = checkpoint.claim(key(1))
        assert found is not None and found["text"] == "second"
        assert checkpoint.claim(key(1)) is None
    assert "line at byte 0 cannot be read" in caplog.text


def test_a_line_that_was_replaced_meanwhile_is_not_claimed_for_another_key(path: Path) -> None:
    content = written(path, line(1), line(2))
    with Checkpoint(path) as checkpoint:
        path.write_bytes(content.replace(key(1).hex().encode(), key(3).hex().encode()))
        assert checkpoint.claim(key(1)) is None
        assert checkpoint.claim(key(2)) == line(2)


# -- files of other kinds, and of other forms -----

OTHERS: dict[str, bytes] = {
    "prompts": b'{"prompt": "a"}\n{"prompt": "b"}\n',
    "prompts without a newline": b'{"prompt": "a"}',
    "prompts with keys": b'{"key": "0123456789abcdef0123456789abcdef", "prompt": "a"}\n',
    "prompts with numbers": b'{"key": "a", "index": 1}\n',
    "notes of a doctor": b'{"note": "well"}\n{"note": "ill"}\n',
    "one note without a newline": b'{"note":"well"}',
    "half a prompt": b'{"prompt": "a',
    "half a prompt with a key": b'{"key":"Moscow is',
    "CSV": "отзыв,оценка\nхорошо,5\n".encode(),
    "text": b"hello",
    "JSON": b'[\n{"key": "0123456789abcdef0123456789abcdef", "index": 1}\n]\n',
    "a number": b"5\n",
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)),
    "NULs": b"\0" * 5000,
    "UTF-16": '{"key":"'.encode("utf-16"),
    "empty lines and a prompt": b'\n\n{"prompt": "a"}\n',
    "a prompt before a result": b'{"prompt":"a"}\n{"key":"0123456789abcdef0123456789abcdef","index":1}\n',
    "lines of nothing": b"#\n" * 200 + b'{"key":"0123456789abcdef0123456789abcdef","index":1}\n',
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_file_that_is_no_checkpoint_is_refused_and_left_as_it_is(case: str, path: Path) -> None:
    path.write_bytes(OTHERS[case])
    before = path.stat()
    with pytest.raises(ConfigError, match=r"no checkpoint .*give the path of a new file") as caught:
        Checkpoint(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == OTHERS[case]
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    with path.open("rb+") as file:  # and it is not locked any more
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_huge_file_of_another_kind_is_refused_after_its_beginning(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)  # has no blocks on the disk
    with pytest.raises(ConfigError, match="no checkpoint"):
        Checkpoint(path)
    assert path.stat().st_size == 10**12


def test_a_first_line_that_is_too_long_to_be_read_is_not_taken_for_half_a_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = written(path, line(1, text="x" * 5000), line(2))
    monkeypatch.setattr(scan, "_MAX_FIRST_LINE_BYTES", 1000)
    with pytest.raises(ConfigError, match="no checkpoint"):
        Checkpoint(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n", b"\r\n\n", b"  "])
def test_a_file_with_nothing_in_it_is_a_new_checkpoint(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    written(path, line(1))
    assert claimed(path, 1) == [line(1)]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(path: Path) -> None:
    content = written(path, line(1), {"note": "n"}, line(2))
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")[:-2])
    written(path, line(3))
    with Checkpoint(path) as checkpoint:
        assert checkpoint.notes() == [{"note": "n"}]
        assert [checkpoint.claim(key(number)) for number in (1, 2, 3)] == [line(1), line(2), line(3)]
    assert path.read_bytes().startswith(b"\xef\xbb\xbf{")


def test_blanks_and_another_order_of_the_fields_are_accepted(path: Path) -> None:
    reordered = dict(reversed(line(1).items()))
    path.write_text(json.dumps(reordered) + "\n\n")
    assert claimed(path, 1) == [line(1)]


# -- the path -----


@pytest.mark.parametrize("input_", ["", "a\0b", 5, None, b"results.jsonl", True])
def test_a_path_that_is_none_is_refused(input_: Any) -> None:
    with pytest.raises(ConfigError, match="must be the path of a file"):
        Checkpoint(input_)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is a folder"):
        Checkpoint(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="not a plain file"):
        Checkpoint(path)


def test_a_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a plain file"):
        Checkpoint(os.devnull)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the folder .*nowhere does not exist: make it first"):
        Checkpoint(tmp_path / "nowhere" / "results.jsonl")


def test_a_folder_that_is_a_file_is_refused(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Checkpoint(path / "results.jsonl")


def test_a_file_that_cannot_be_written_is_refused_and_left_as_it_is() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which other users may not enter
        os.chmod(folder, 0o755)
        path = Path(folder) / "results.jsonl"
        content = written(path, line(1))
        path.chmod(0o444)

        def refused() -> str:
            if os.geteuid() == 0:
                os.seteuid(65534)
            with pytest.raises(ConfigError) as caught:
                Checkpoint(path)
            return str(caught.value)

        assert "give a path where this program may write" in in_child(refused)
        assert path.read_bytes() == content


def test_the_home_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Checkpoint("~/results.jsonl") as checkpoint:
        checkpoint.append(line(1))
        assert checkpoint.path == str(tmp_path / "results.jsonl")
    assert len(lines_in(tmp_path / "results.jsonl")) == 1


def test_a_path_without_a_folder_is_in_the_current_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("results.jsonl"), line(1))
    assert claimed(tmp_path / "results.jsonl", 1) == [line(1)]


def test_a_symbolic_link_is_followed(tmp_path: Path, path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    written(link, line(1))
    assert link.is_symlink() and claimed(path, 1) == [line(1)]


def test_a_new_file_has_the_rights_of_any_new_file(path: Path, tmp_path: Path) -> None:
    Checkpoint(path).close()
    other = tmp_path / "other"
    other.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


# -- one run at a time -----


def test_a_second_run_in_this_program_is_refused_at_once(path: Path) -> None:
    with Checkpoint(path) as first:
        with pytest.raises(ConfigError, match=r"another run is using it.*until it is closed"):
            Checkpoint(path)
        first.append(line(1))
    assert claimed(path, 1) == [line(1)]


def test_a_second_process_is_refused_until_the_first_has_ended_however_it_ends(path: Path) -> None:
    with writer(path, goes_on=False) as process:
        with pytest.raises(ConfigError, match="another run is using it"):
            Checkpoint(path)
        process.kill()
        Checkpoint(path).close()


def test_an_open_checkpoint_is_closed_when_it_is_dropped(path: Path) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.append(line(1))
    del checkpoint
    gc.collect()
    assert claimed(path, 1) == [line(1)]


def test_a_child_that_outlives_a_killed_parent_does_not_keep_the_lock(path: Path) -> None:
    with parent_with_child(path) as process:
        with pytest.raises(ConfigError, match="another run is using it"):
            Checkpoint(path)
        process.popen.kill()
        process.popen.wait(LONG)
        Checkpoint(path).close()


def test_a_forked_child_has_no_part_in_it(path: Path) -> None:
    written(path, line(1))
    with Checkpoint(path) as checkpoint:
        position = checkpoint.append(line(2))

        def refusals() -> list[str]:
            messages = []
            calls: list[Callable[[], Any]] = [
                lambda: checkpoint.claim(key(1)),
                lambda: checkpoint.append(line(3)),
                lambda: checkpoint.sync(position),
            ]
            for call in calls:
                with pytest.raises(ConfigError) as caught:
                    call()
                messages.append(str(caught.value))
            checkpoint.close()
            return messages

        assert ["before a fork" in one for one in in_child(refusals)] == [True] * 3
        # Still the parent's, and still locked.
        with pytest.raises(ConfigError, match="another run"):
            Checkpoint(path)
        assert checkpoint.claim(key(1)) == line(1)
        checkpoint.append(line(4))
    assert [one["index"] for one in lines_in(path)] == [1, 2, 4]


def test_a_fork_while_another_thread_appends_does_not_hang_the_child(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    write = os.write

    def slow(descriptor: int, data: Any) -> int:
        if threading.current_thread() is appending:
            entered.set()
            assert leave.wait(LONG)
        return write(descriptor, data)

    with Checkpoint(path) as checkpoint:
        appending = threading.Thread(target=checkpoint.append, args=(line(1),))
        monkeypatch.setattr(os, "write", slow)
        appending.start()
        assert entered.wait(LONG)

        def closed() -> bool:
            with pytest.raises(ConfigError):
                checkpoint.append(line(2))
            checkpoint.close()
            return True

        assert in_child(closed) is True
        leave.set()
        appending.join(LONG)
    assert claimed(path, 1) == [line(1)]


class _Msvcrt(types.ModuleType):
    """The ``msvcrt`` of Windows: locks a range from the current position of a descriptor."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.held: set[tuple[int, int]] = set()
        self.sizes: set[int] = set()

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        offset = (os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR))
        self.sizes.add(count)
        if mode == self.LK_UNLCK:
            self.held.remove(offset)
        elif offset in self.held:
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            self.held.add(offset)


def test_where_files_are_locked_the_windows_way_it_does_so_beyond_all_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(path, line(1))
    windows = _Msvcrt()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    with Checkpoint(path) as checkpoint:
        [(_, offset)] = windows.held
        assert 10**9 < offset < 2**31 and windows.sizes == {1}
        assert checkpoint.claim(key(1)) == line(1)
        with pytest.raises(ConfigError, match="another run is using it"):
            Checkpoint(path)
        checkpoint.append(line(2))
    assert windows.held == set()
    assert [one["index"] for one in lines_in(path)] == [1, 2]


def test_where_there_are_no_locks_there_is_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", None)
    written(path, line(1))
    assert claimed(path, 1) == [line(1)]


def test_a_file_system_without_locks_is_used_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    written(path, line(1))
    assert claimed(path, 1) == [line(1)]


# -- many threads -----


def test_lines_of_many_threads_are_all_whole_and_each_position_is_the_end_of_its_line(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        appended = together(8, lambda part: [checkpoint.append(line(n)) for n in range(part * 100, part * 100 + 100)])
    ends = [offset + 1 for offset, byte in enumerate(path.read_bytes()) if byte == ord("\n")]
    assert sorted(itertools.chain.from_iterable(appended)) == ends
    assert sorted(one["index"] for one in lines_in(path)) == list(range(800))


def test_claims_and_appends_at_the_same_time_do_not_disturb_each_other(path: Path) -> None:
    written(path, *(line(number) for number in range(300)))
    with Checkpoint(path) as checkpoint:

        def work(part: int) -> list[Any]:
            if part < 2:
                return [checkpoint.claim(key(number)) for number in range(part, 300, 2)]
            return [checkpoint.append(line(1000 * part + number)) for number in range(150)]

        even, odd, *_ = together(4, work)
    assert even == [line(number) for number in range(0, 300, 2)]
    assert odd == [line(number) for number in range(1, 300, 2)]
    assert len(lines_in(path)) == 600


# -- on the disk itself -----


class Disk:
    """An ``os.fsync`` that counts its calls, and blocks or fails on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: OSError | None = None
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        self.entered.set()
        assert self.gate.wait(LONG)
        if self.error is not None:
            raise self.error
        self._fsync(descriptor)

    def running_sync(self, checkpoint: Checkpoint, position: int) -> threading.Thread:
        """Return the thread of a sync that has reached the disk and blocks there until the gate is set."""
        self.calls.clear()
        self.entered.clear()
        self.gate.clear()
        syncing = threading.Thread(target=checkpoint.sync, args=(position,))
        syncing.start()
        assert self.entered.wait(LONG)
        return syncing


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_one_sync_covers_all_lines_before_it(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        disk.calls.clear()
        positions = [checkpoint.append(line(number)) for number in range(100)]
        assert disk.calls == []
        checkpoint.sync(positions[40])
        for position in positions:
            checkpoint.sync(position)
        assert disk.calls == ["file"]
        checkpoint.sync(checkpoint.append(line(100)))
        assert disk.calls == ["file"] * 2
    assert disk.calls == ["file"] * 2, "closing had nothing left to sync"


def test_nothing_is_synced_for_the_position_before_all_lines(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        disk.calls.clear()
        checkpoint.append(line(1))
        checkpoint.sync(0)
        assert disk.calls == []


def test_closing_syncs_what_is_left_once(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint(path)
    disk.calls.clear()
    position = checkpoint.append(line(1))
    checkpoint.close()
    checkpoint.close()
    checkpoint.sync(position)
    assert disk.calls == ["file"]


def test_the_name_of_a_new_file_is_synced_as_well(path: Path, disk: Disk) -> None:
    Checkpoint(path).close()
    assert disk.calls == ["folder"]


def test_lines_of_a_killed_run_are_synced_before_any_is_claimed(path: Path, disk: Disk) -> None:
    written(path, line(1))
    disk.calls.clear()
    with Checkpoint(path):
        assert disk.calls == ["file"]


def test_lines_can_be_appended_during_a_sync_and_are_not_covered_by_it(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        first = checkpoint.append(line(1))
        syncing = disk.running_sync(checkpoint, first)
        [second] = together(1, lambda _: checkpoint.append(line(2)))
        assert checkpoint.claim(key(1)) is None  # does not wait either
        disk.gate.set()
        syncing.join(LONG)
        assert disk.calls == ["file"]
        checkpoint.sync(first)
        assert disk.calls == ["file"]
        checkpoint.sync(second)
        assert disk.calls == ["file"] * 2


def test_threads_that_wait_for_the_disk_together_share_the_next_sync(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        first = checkpoint.append(line(0))
        syncing = disk.running_sync(checkpoint, first)
        positions = [checkpoint.append(line(number)) for number in range(1, 6)]
        waiting = [threading.Thread(target=checkpoint.sync, args=(position,)) for position in positions]
        for thread in waiting:
            thread.start()
        disk.gate.set()
        for thread in [syncing, *waiting]:
            thread.join(LONG)
            assert not thread.is_alive()
        assert disk.calls == ["file"] * 2


def test_closing_waits_for_a_running_sync(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint(path)
    position = checkpoint.append(line(1))
    syncing = disk.running_sync(checkpoint, position)
    closing = threading.Thread(target=checkpoint.close)
    closing.start()
    closing.join(0.5)  # time for a wrong close to end; a right one does not depend on it
    assert closing.is_alive()
    disk.gate.set()
    syncing.join(LONG)
    closing.join(LONG)
    assert disk.calls == ["file"], "nothing was left to sync"
    Checkpoint(path).close()


def test_a_synced_position_does_not_wait_for_a_running_sync(path: Path, disk: Disk) -> None:
    with Checkpoint(path) as checkpoint:
        first = checkpoint.append(line(1))
        checkpoint.sync(first)
        second = checkpoint.append(line(2))
        syncing = disk.running_sync(checkpoint, second)
        try:
            together(1, lambda _: checkpoint.sync(first))
            assert syncing.is_alive()
        finally:
            disk.gate.set()
            syncing.join(LONG)


def test_a_failed_sync_fails_for_ever(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint(path)
    position = checkpoint.append(line(1))
    disk.error = OSError(errno.EIO, "Input/output error")
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error") as caught:
            checkpoint.sync(position)
        assert caught.value.filename == str(path) and caught.value.errno == errno.EIO
        disk.error = None  # the system has dropped what it could not write
    later = checkpoint.append(line(2))
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.sync(later)
    checkpoint.close()  # does not raise the reported error again
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.sync(position)
    assert claimed(path, 2) == [line(2)]


def test_a_sync_that_fails_at_the_end_is_raised_and_the_file_is_closed(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.append(line(1))
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left on device"):
        checkpoint.close()
    disk.error = None
    assert claimed(path, 1) == [line(1)]


# -- a full disk -----


class FullDisk:
    """An ``os.write`` with space for so many bytes. After them it fails, with a part written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, space: int, error: BaseException | None = None) -> None:
        self.space = space
        self.error = error or OSError(errno.ENOSPC, "No space left on device")
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: Any) -> int:
        count = min(len(data), self.space)
        if count == 0:
            raise self.error
        self.space -= count
        return self._write(descriptor, data[:count])


@pytest.mark.parametrize("space", [0, 1, 40, 41])
def test_half_a_line_does_not_stay_when_the_disk_is_full(
    space: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        content = path.read_bytes()
        full = FullDisk(monkeypatch, space)
        with pytest.raises(OSError, match="No space left on device") as caught:
            checkpoint.append(line(2))
        assert caught.value.filename == str(path) and caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == content
        full.space = 10**6
        checkpoint.append(line(3))
    assert lines_in(path) == [line(1), line(3)]


def test_a_line_that_the_system_takes_in_pieces_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    written(path, line(1), line(2))
    assert lines_in(path) == [line(1), line(2)]


def test_half_a_line_that_could_not_be_removed_is_removed_before_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        with monkeypatch.context() as broken:

            def stuck(descriptor: int, length: int) -> None:
                raise OSError(errno.EIO, "Input/output error")

            FullDisk(broken, 10)
            broken.setattr(os, "ftruncate", stuck)
            for problem in ("No space left", "Input/output error"):
                with pytest.raises(OSError, match=problem):
                    checkpoint.append(line(2))
        assert not path.read_bytes().endswith(b"\n")
        checkpoint.append(line(3))
    assert lines_in(path) == [line(1), line(3)]


@pytest.mark.parametrize("space", [10, 10**6])
def test_an_interrupt_leaves_a_whole_line_or_nothing(space: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.append(line(1))
        with monkeypatch.context() as interrupted:
            disk = FullDisk(interrupted, space, KeyboardInterrupt())

            def then_interrupt(descriptor: int, data: Any) -> int:
                disk(descriptor, data)
                raise KeyboardInterrupt

            interrupted.setattr(os, "write", then_interrupt)
            with pytest.raises(KeyboardInterrupt):
                checkpoint.append(line(2))
        checkpoint.sync(checkpoint.append(line(3)))
    assert [one["index"] for one in lines_in(path)] == ([1, 3] if space == 10 else [1, 2, 3])


def test_the_limit_of_a_real_system_leaves_no_half_line(path: Path) -> None:
    def work() -> list[Any]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Checkpoint(path) as checkpoint:
            end = checkpoint.append(line(1))
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (end + 50, hard))
            with pytest.raises(OSError) as caught:
                checkpoint.append(line(2))
            size = path.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            checkpoint.append(line(3))
            return [caught.value.errno, caught.value.filename, size == end]

    assert in_child(work) == [errno.EFBIG, str(path), True]
    assert lines_in(path) == [line(1), line(3)]


def test_a_repair_on_a_full_disk_is_raised_and_damages_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(path, line(1))
    path.write_bytes(content[:-1])
    with monkeypatch.context() as broken:
        FullDisk(broken, 0)
        with pytest.raises(OSError, match="No space left on device") as caught:
            Checkpoint(path)
    assert caught.value.filename == str(path)
    assert claimed(path, 1) == [line(1)]


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


# Unlike hashes: all keys in one row, and equal to bytes across the border of two records.
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
