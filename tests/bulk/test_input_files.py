"""Files of prompts."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from support.prompt_tools import CONVERSATION, prompts_of, refusal

from gigaclient.bulk.prompts import Prompts
from gigaclient.errors import ConfigError

LINES = [{"text": "Good"}, "Hello", CONVERSATION, {"text": "a\u2028b\x85c"}]


def written(lines: list[Any], ending: str = "\n") -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + ending for line in lines).encode()


@pytest.mark.parametrize("name", ["reviews.jsonl", "reviews.ndjson", "REVIEWS.JSONL"])
@pytest.mark.parametrize(
    "content",
    [
        written(LINES),
        written(LINES, "\r\n"),
        written(LINES).rstrip(b"\n"),
        b"\xef\xbb\xbf" + written(LINES),
        b"\n  \n" + written(LINES, "\n\n\r\n"),
    ],
    ids=["lines", "CRLF", "no last line end", "a mark", "blank lines"],
)
def test_a_file_of_json_lines_is_read_by_its_path(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = Prompts(tmp_path / name, "{}")
    assert list(found) == LINES
    assert found.total == len(LINES)
    assert list(found) == LINES  # a path can be read again


def test_lines_that_would_take_long_to_count_or_be_lost_by_it_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert Prompts(tmp_path / "pipe.jsonl").total is None
    (tmp_path / "big.jsonl").write_text("1\n")
    monkeypatch.setattr("gigaclient.bulk.input_files._MAX_BYTES_COUNTED", 1)
    assert Prompts(tmp_path / "big.jsonl").total is None


def test_a_text_file_has_a_prompt_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes('\ufeffПривет\r\n\r\n  {"a": 1}\n12\u2028\n'.encode())
    assert prompts_of(path) == ["Привет", '  {"a": 1}', "12\u2028"]


def test_open_files_are_read_in_both_modes_and_stay_open(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(written(LINES))
    for mode in ("rb", "r"):
        with open(path, mode, encoding=None if mode == "rb" else "utf-8") as file:
            found = Prompts(file, "{}")
            assert found.total is None
            inputs = iter(found)
            assert next(inputs) == LINES[0]
            inputs.close()  # type: ignore[attr-defined]
            assert not file.closed
            assert [json.loads(line) for line in file] == LINES[1:]


@pytest.mark.parametrize(
    "file",
    [
        io.StringIO('\ufeff"a"\r\n"b"\n'),
        io.BytesIO(b'"a"\r\n"b"\n'),
        io.TextIOWrapper(io.BytesIO(b'"a"\n"b"\n'), "utf-8"),
    ],
    ids=["text", "bytes", "a wrapped pipe"],
)
def test_a_file_without_a_name_has_json_lines(file: Any) -> None:
    assert prompts_of(file) == ["a", "b"]


def test_a_compressed_file_is_read_as_what_it_was_opened_from(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt.gz"
    path.write_bytes(gzip.compress(b"Good\nBad\n"))
    with gzip.open(path) as file:
        assert prompts_of(file) == ["Good", "Bad"]
    assert ".jsonl or .ndjson" in refusal(path)
    with open(path, "rb") as raw, pytest.raises(ConfigError, match=r"is compressed: pass what gzip\.open"):
        list(Prompts(raw))


def test_a_file_that_was_opened_for_the_run_is_closed_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b'"a"\n"b"\n')
    opened: list[Any] = []
    real = open

    def noted(*arguments: Any, **options: Any) -> Any:
        opened.append(real(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr("builtins.open", noted)
    found = Prompts(path)
    assert opened == []
    assert list(found) == ["a", "b"]
    assert opened[0].closed
    inputs = iter(found)
    assert next(inputs) == "a"
    assert not opened[1].closed
    inputs.close()  # type: ignore[attr-defined]
    assert opened[1].closed


def test_a_line_without_json_is_one_failed_input(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b'"a"\n\n{"text": \n' + '{"text": "Привет"}\n'.encode("cp1251") + b'"b"\n')
    found = Prompts(path, "{}")
    inputs = list(found)
    assert inputs[0] == "a" and inputs[-1] == "b"
    assert inputs[1] == '{"text": '
    problems = []
    for bad in inputs[1:3]:
        with pytest.raises(ConfigError) as caught:
            found.prompt_for(pickle.loads(pickle.dumps(bad)))
        problems.append(str(caught.value))
    assert problems[0].startswith(f"{path}, line 3, is not JSON: ")
    assert problems[1].startswith(f"{path}, line 4, is not JSON: ")
    assert "UTF-8" in problems[1]


def test_a_line_of_text_without_utf8_is_one_failed_input(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"a\n" + "Привет\n".encode("cp1251") + b"b\n")
    found = Prompts(path)
    inputs = list(found)
    assert [inputs[0], inputs[2]] == ["a", "b"]
    with pytest.raises(ConfigError, match="line 2, is not text in UTF-8"):
        found.prompt_for(inputs[1])


def test_python_wrote_nan_into_a_line_and_the_others_of_its_fields_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"text": "Good", "rating": NaN}\n')
    assert prompts_of(path, "{text}") == ["Good"]
    with pytest.raises(ConfigError, match="the field rating has no value"):
        prompts_of(path, "{rating}")


def test_files_that_are_no_prompts_are_refused_with_advice(tmp_path: Path) -> None:
    for name in ("reviews.csv", "reviews.json", "reviews"):
        (tmp_path / name).write_text('"a"\n')
        assert "csv.DictReader(file)" in refusal(tmp_path / name)
    with open(tmp_path / "reviews.csv") as file:
        assert "csv.DictReader(file)" in refusal(file)
    assert refusal(tmp_path / "none.jsonl") == f"{tmp_path / 'none.jsonl'} does not exist"
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "folder.jsonl").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.jsonl")
    with open(tmp_path / "out.jsonl", "w") as file:
        assert "was opened for writing" in refusal(file)
    assert "is closed" in refusal(file)


def test_a_file_that_goes_away_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('"a"\n')
    found = Prompts(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"reviews\.jsonl cannot be read: ") as caught:
        list(found)
    assert caught.value.__context__ is None


def test_text_in_another_encoding_is_said_to_be_that(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('"Привет"\n', "utf-16")
    with pytest.raises(ConfigError, match="is UTF-16"):
        list(Prompts(path))
    with open(path, encoding="utf-16") as file:
        assert prompts_of(file) == ["Привет"]
    with open(path, encoding="ascii") as file, pytest.raises(ConfigError, match="is not text in ascii: open it with"):
        list(Prompts(file))


def test_the_home_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("Hello\n")
    assert prompts_of(Path("~/a.txt")) == ["Hello"]
