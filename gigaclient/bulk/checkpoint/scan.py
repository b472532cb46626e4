"""Reads an existing checkpoint: its finished items, its notes, and half a line at its end."""

from __future__ import annotations

import logging
from typing import Any

from gigaclient.bulk.checkpoint.lines import (
    BROKEN,
    KEY_BYTES,
    Head,
    decode_line,
    is_absent,
    may_be_checkpoint,
    parse_head,
    result_key,
)
from gigaclient.errors import ConfigError

__all__ = ["FinishedIndex", "Scan"]

_log = logging.getLogger("gigaclient")

_OFFSET_BYTES = 8
_RECORD_BYTES = KEY_BYTES + _OFFSET_BYTES

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SCAN_BYTES = 1024 * 1024

# A file of another kind is recognised by its beginning, so that a huge one is not read to its end.
_MAX_FIRST_LINE_BYTES = 64 * 1024 * 1024
_MAX_BROKEN_BEFORE_FIRST = 100


class Scan:
    """Reads the lines of a file that may be a checkpoint.

    Attributes:
        finished: the offsets of finished lines.
        notes: the lines with a ``"note"``, in order.
    """

    def __init__(self, path: str) -> None:
        self.finished = FinishedIndex()
        self.notes: list[dict[str, Any]] = []
        self._path = path
        self._is_checkpoint = False
        self._number = 0
        # Lines that cannot be read or are of another kind.
        self._foreign = self._first_foreign = 0

    def read(self, descriptor: int) -> tuple[int, bytes]:
        """Index each line; return the offset of the text after the last newline, and that text.

        Raises:
            ConfigError: the file is not a checkpoint.
        """
        tail = b""
        with open(descriptor, "rb", buffering=_SCAN_BYTES, closefd=False) as file:
            has_mark = file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK
            offset = file.seek(len(_BYTE_ORDER_MARK) if has_mark else 0)
            while line := file.readline(-1 if self._is_checkpoint else _MAX_FIRST_LINE_BYTES):
                self._number += 1
                if not line.endswith(b"\n"):
                    if len(line) == _MAX_FIRST_LINE_BYTES and not self._is_checkpoint:
                        raise self._not_a_checkpoint(self._number)
                    tail = line
                    break
                self.add(line, offset)
                offset += len(line)
        self._check(tail)
        return offset, tail

    def add(self, line: bytes, offset: int) -> None:
        """Index a line; the last one may have no newline."""
        head = parse_head(line)
        key = result_key(head)
        if key is not None:
            self._is_checkpoint = True
            if is_absent(head.error):
                self.finished.add(key, offset)
        elif not is_absent(head.note) and (self._is_checkpoint or head.is_marked()):
            self._is_checkpoint = True
            self._note(line)
        elif not line.isspace():
            self._count_foreign(head)

    def _count_foreign(self, head: Head) -> None:
        if not self._is_checkpoint and (head is not BROKEN or self._foreign >= _MAX_BROKEN_BEFORE_FIRST):
            raise self._not_a_checkpoint(self._first_foreign or self._number)
        self._foreign += 1
        self._first_foreign = self._first_foreign or self._number

    def _check(self, tail: bytes) -> None:
        is_checkpoint = self._is_checkpoint or may_be_checkpoint(tail)
        if not is_checkpoint and (self._foreign or tail.strip()):
            raise self._not_a_checkpoint(self._first_foreign or self._number)
        if self._foreign:
            _log.warning(
                "the checkpoint %s: %d of its lines cannot be read or are of another kind, and are ignored; "
                "the first is line %d",
                self._path,
                self._foreign,
                self._first_foreign,
            )

    def _note(self, data: bytes) -> None:
        line = decode_line(data)
        if line is not None:
            line.pop("by", None)
            self.notes.append(line)

    def _not_a_checkpoint(self, number: int) -> ConfigError:
        return ConfigError(
            f"{self._path} is not a checkpoint (see line {number}), and was not changed: give the path of a new file, "
            "or of one that an earlier run wrote"
        )


class FinishedIndex:
    """The offsets of the finished lines of each key, packed: a dict would take five times the memory.

    Records of a key and an offset lie in 4096 rows, chosen by the first bits of the key, which is a hash.
    """

    def __init__(self) -> None:
        self.count = 0
        self._rows: dict[int, bytearray] = {}

    def add(self, key: bytes, offset: int) -> None:
        """Add the offset of a finished line."""
        number = key[0] << 4 | key[1] >> 4
        record = key + offset.to_bytes(_OFFSET_BYTES, "big")
        row = self._rows.get(number)
        if row is None:
            self._rows[number] = bytearray(record)
        else:
            row += record
        self.count += 1

    def take(self, key: bytes) -> int | None:
        """Remove and return the first offset added for ``key``, or None."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        number = key[0] << 4 | key[1] >> 4
        row = self._rows.get(number)
        if row is None:
            return None
        at = row.find(key)
        while at % _RECORD_BYTES and at >= 0:  # the end of a record and the beginning of the next may look like the key
            at = row.find(key, at + 1)
        if at < 0:
            return None
        offset = int.from_bytes(row[at + KEY_BYTES : at + _RECORD_BYTES], "big")
        del row[at : at + _RECORD_BYTES]
        if not row:
            del self._rows[number]
        self.count -= 1
        return offset
