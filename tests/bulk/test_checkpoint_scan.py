"""Opening a file: half a line, broken lines, other files, and paths."""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from support.checkpoint_tools import claimed, failed, key, line, lines_in, writer, written
from support.token_tools import in_child

from gigaclient.bulk.checkpoint import Checkpoint, scan
from gigaclient.errors import ConfigError


def without_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync in tests with hundreds of files that need no protection against a power failure."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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
    with pytest.raises(ConfigError, match=r"not a checkpoint .*give the path of a new file") as caught:
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
    with pytest.raises(ConfigError, match="not a checkpoint"):
        Checkpoint(path)
    assert path.stat().st_size == 10**12


def test_a_first_line_that_is_too_long_to_be_read_is_not_taken_for_half_a_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = written(path, line(1, text="x" * 5000), line(2))
    monkeypatch.setattr(scan, "_MAX_FIRST_LINE_BYTES", 1000)
    with pytest.raises(ConfigError, match="not a checkpoint"):
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
