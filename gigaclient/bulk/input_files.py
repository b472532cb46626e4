"""Files of prompts, read line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError

__all__ = ["BadLine", "PromptFile"]

_JSON_ENDINGS = (".jsonl", ".ndjson")
_TEXT_ENDING = ".txt"
_COMPRESSED_ENDINGS = (".gz", ".bz2", ".xz", ".lzma", ".zst")
_UTF_16 = 'is UTF-16: save it as UTF-8, or pass it opened with encoding="utf-16"'
_MAX_BYTES_COUNTED = 2**28
_NOT_UTF8 = {
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"\x1f\x8b": "is compressed: pass what gzip.open(…) gives",
}


class BadLine(str):
    """A line that could not be read, in place of its content.

    Attributes:
        problem: the file, the line, and the reason.
    """

    problem: str = ""


class PromptFile:
    """A file of prompts: JSON on each line, or a prompt on each line if the name ends in ``.txt``.

    Blank lines are skipped. Text is UTF-8, with or without a byte order mark.

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
        if self._path is None and ending in _COMPRESSED_ENDINGS:
            # An open compressed file is already being decompressed.
            ending = os.path.splitext(stem)[1]
        self._is_text = ending == _TEXT_ENDING
        problem = _problem_with_file(file) if self._path is None else _problem_with_path(self._path)
        if problem is None and ending not in (*_JSON_ENDINGS, _TEXT_ENDING) and (ending or self._path is not None):
            problem = (
                "is not read as prompts: a file is .jsonl or .ndjson (JSON on each line) or .txt (a prompt on each "
                "line); of another kind of file, pass the rows, such as csv.DictReader(file), with template="
            )
        if problem is not None:
            raise ConfigError(f"{self._name} {problem}")

    def read(self) -> Iterator[Any]:
        """Yield the content of each line; a :class:`BadLine` for one that cannot be read.

        A file that was opened here is closed at the end, or when the iterator is closed.

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
        """Return the number of lines; None if counting would consume them or take long."""
        if self._path is None:
            return None
        try:
            if not os.path.isfile(self._path) or os.path.getsize(self._path) > _MAX_BYTES_COUNTED:
                return None
            with open(self._path, "rb") as file:
                return sum(not line.isspace() for line in file)
        except OSError:
            return None

    def _inputs(self, file: IO[Any]) -> Iterator[Any]:
        for number, line in enumerate(self._lines(file), 1):
            if number == 1:
                line = self._without_bom(line)
            line = line.rstrip(b"\r\n" if isinstance(line, bytes) else "\r\n")
            if line.strip():
                yield self._text(line, number) if self._is_text else self._json(line, number)

    def _lines(self, file: IO[Any]) -> Iterator[Any]:
        # Not str.splitlines, which would split a text at U+2028.
        try:
            for line in file:  # noqa: UP028 - that would close the caller's file together with this
                yield line
        except UnicodeDecodeError as error:
            encoding = error.encoding
        else:
            return
        raise ConfigError(f'{self._name} is not text in {encoding}: open it with its encoding=, or with mode "rb"')

    def _without_bom(self, line: Any) -> Any:
        if isinstance(line, str):
            return line.removeprefix("\ufeff")
        for start, problem in _NOT_UTF8.items():
            if line.startswith(start):
                raise ConfigError(f"{self._name} {problem}")
        return line.removeprefix(b"\xef\xbb\xbf")

    def _text(self, line: Any, number: int) -> str:
        if isinstance(line, str):
            return line
        try:
            text: str = line.decode()
        except UnicodeDecodeError:
            return self._bad_line(line, number, "is not text in UTF-8")
        return text

    def _json(self, line: Any, number: int) -> Any:
        try:
            return msgspec.json.decode(line)
        except JSON_ERRORS as error:
            reason = str(error).removeprefix("JSON is malformed: ")
        # Python writes NaN and unpaired surrogates into its JSON.
        try:
            return json.loads(line)
        except UnicodeDecodeError:
            reason = "it is not text in UTF-8"
        except (ValueError, RecursionError):
            pass
        return self._bad_line(line, number, f"is not JSON: {reason}")

    def _bad_line(self, line: Any, number: int, problem: str) -> BadLine:
        bad = BadLine(line if isinstance(line, str) else line.decode("utf-8", "replace"))
        bad.problem = f"{self._name}, line {number}, {problem}"
        return bad


def _problem_with_file(file: Any) -> str | None:
    if getattr(file, "closed", False) is True:
        return "is closed: pass it open, or as a pathlib.Path"
    readable = getattr(file, "readable", None)
    if callable(readable) and not readable():
        return "was opened for writing: pass it as a pathlib.Path"
    return None


def _problem_with_path(path: str) -> str | None:
    if os.path.isdir(path):
        return "is a folder: pass one of its files"
    if not os.path.exists(path):
        return "does not exist"
    return None
