"""A file of prompts, read line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError

__all__ = ["BadLine", "Lines"]

_JSON = (".jsonl", ".ndjson")
_TEXT = ".txt"
_COMPRESSED = (".gz", ".bz2", ".xz", ".lzma", ".zst")
_UTF_16 = 'is UTF-16: save it as UTF-8, or pass it opened with encoding="utf-16"'
_MOST_BYTES_COUNTED = 2**28
_NO_TEXT = {
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"\x1f\x8b": "is compressed: pass what gzip.open(…) gives",
}


class BadLine(str):
    """A line that could not be read, in place of what it holds.

    Attributes:
        problem: which line of which file it is, and what is wrong with it.
    """

    problem: str = ""


class Lines:
    """A file of prompts: JSON on each line, or, where its name ends in ``.txt``, a prompt on each line.

    Blank lines are left out. Text is UTF-8, with a mark at its beginning or without.

    Args:
        file: a path, or a file that is open in text or binary mode.

    Raises:
        ConfigError: it cannot be read as prompts; the message says what to pass.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._path: str | None = None
        name: Any = getattr(file, "name", None)
        if isinstance(file, os.PathLike):
            name = self._path = os.path.expanduser(os.fsdecode(file))
        self._name = name if isinstance(name, str) else "the file of prompts"
        stem, ending = os.path.splitext(self._name.lower())
        if self._path is None and ending in _COMPRESSED:
            # Whoever opened it had it unpacked.
            ending = os.path.splitext(stem)[1]
        self._is_text = ending == _TEXT
        problem = _what_is_wrong(file) if self._path is None else _what_is_wrong_at(self._path)
        if problem is None and ending not in (*_JSON, _TEXT) and (ending or self._path is not None):
            problem = (
                "is not read as prompts: a file is .jsonl or .ndjson (JSON on each line) or .txt (a prompt on each "
                "line); of another, pass its rows with template=, as csv.DictReader(file) gives them"
            )
        if problem is not None:
            raise ConfigError(f"{self._name} {problem}")

    def read(self) -> Iterator[Any]:
        """What the lines hold, one at a time; a :class:`BadLine` for one that cannot be read.

        A file that was opened here is closed at the end, or when the iterator is.

        Raises:
            ConfigError: the file cannot be read.
        """
        if self._path is None:
            yield from self._inputs(self._file)
            return
        try:
            file = open(self._path, "rb")  # noqa: SIM115
        except OSError as error:
            reason = error.strerror
        else:
            with file:
                yield from self._inputs(file)
            return
        raise ConfigError(f"{self._path} cannot be read: {reason}")

    def count(self) -> int | None:
        """How many there are; None where finding out would take something away, or long."""
        if self._path is None:
            return None
        try:
            if not os.path.isfile(self._path) or os.path.getsize(self._path) > _MOST_BYTES_COUNTED:
                return None
            with open(self._path, "rb") as file:
                return sum(not line.isspace() for line in file)
        except OSError:
            return None

    def _inputs(self, file: IO[Any]) -> Iterator[Any]:
        for number, line in enumerate(self._lines(file), 1):
            if number == 1:
                line = self._without_mark(line)
            line = line.rstrip(b"\r\n" if isinstance(line, bytes) else "\r\n")
            if line.strip():
                yield self._text(line, number) if self._is_text else self._json(line, number)

    def _lines(self, file: IO[Any]) -> Iterator[Any]:
        # Not by str.splitlines, which would cut a text at U+2028.
        try:
            for line in file:  # noqa: UP028 - that would close the caller's file together with this
                yield line
        except UnicodeDecodeError as error:
            encoding = error.encoding
        else:
            return
        raise ConfigError(f'{self._name} is not text in {encoding}: open it with its encoding=, or with mode "rb"')

    def _without_mark(self, line: Any) -> Any:
        if isinstance(line, str):
            return line.removeprefix("\ufeff")
        for start, problem in _NO_TEXT.items():
            if line.startswith(start):
                raise ConfigError(f"{self._name} {problem}")
        return line.removeprefix(b"\xef\xbb\xbf")

    def _text(self, line: Any, number: int) -> str:
        if isinstance(line, str):
            return line
        try:
            text: str = line.decode()
        except UnicodeDecodeError:
            return self._bad(line, number, "is not text in UTF-8")
        return text

    def _json(self, line: Any, number: int) -> Any:
        try:
            return msgspec.json.decode(line)
        except JSON_ERRORS as error:
            reason = str(error).removeprefix("JSON is malformed: ")
        # Python writes NaN into what it calls JSON, and halves of surrogate pairs.
        try:
            return json.loads(line)
        except UnicodeDecodeError:
            reason = "it is not text in UTF-8"
        except (ValueError, RecursionError):
            pass
        return self._bad(line, number, f"is no JSON: {reason}")

    def _bad(self, line: Any, number: int, problem: str) -> BadLine:
        bad = BadLine(line if isinstance(line, str) else line.decode("utf-8", "replace"))
        bad.problem = f"{self._name}, line {number}, {problem}"
        return bad


def _what_is_wrong(file: Any) -> str | None:
    if getattr(file, "closed", False) is True:
        return "is closed: pass it open, or as a pathlib.Path"
    readable = getattr(file, "readable", None)
    if callable(readable) and not readable():
        return "was opened for writing: pass it as a pathlib.Path"
    return None


def _what_is_wrong_at(path: str) -> str | None:
    if os.path.isdir(path):
        return "is a folder: pass one of its files"
    if not os.path.exists(path):
        return "is not there"
    return None
