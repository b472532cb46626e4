"""The checkpoint of a run over many prompts: an append-only file of JSON lines, one for each finished item.

A line is written as soon as its item is finished, so a killed process loses no finished item. :meth:`Checkpoint.sync`
protects lines against a power failure as well, many lines at once. Opening the file repairs its end.
:meth:`Checkpoint.claim` returns the lines of earlier runs, so that their items are not sent again.

The file has two kinds of lines. A result, ``{"key":"<32 hexadecimal digits>","index":17,…}``, is finished unless it has
an ``"error"``. A note, ``{"by":"gigaclient","note":…}``, is data that a job stores for itself. Any other line is kept
and ignored.

Values that JSON cannot hold are written in a form that any JSON reader accepts: NaN and infinities as null, bytes in
base64, sets as arrays, an unpaired surrogate as U+FFFD, numbers of other types as numbers. Any other object, a circular
one and one nested too deeply become the beginning of their ``str()``.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import operator
import os
import stat
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._primitives import fork_safety as forks
from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError

__all__ = ["Checkpoint"]

_log = logging.getLogger("gigaclient")

_KEY_BYTES = 16
_OFFSET_BYTES = 8
_RECORD_BYTES = _KEY_BYTES + _OFFSET_BYTES

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_RESULT_PREFIX = b'{"key":"'
_NOTE_PREFIX = b'{"by":"gigaclient","note":'
_HEXADECIMAL = frozenset("0123456789abcdef")

_READ_BYTES = 64 * 1024
_SCAN_BYTES = 1024 * 1024

# A file of another kind is recognised by its beginning, so that a huge one is not read to its end.
_MAX_FIRST_LINE_BYTES = 64 * 1024 * 1024
_MAX_BROKEN_BEFORE_FIRST = 100

# On Windows a locked range cannot be read by others, and offsets have 31 bits: lock one byte that is hardly ever data.
_LOCKED_BYTE = 2**31 - 2

_MAX_EXCERPT_CHARACTERS = 200


class Checkpoint:
    """An open checkpoint. All methods may be called from any thread. Also a context manager.

    The file is locked while it is open, so that two runs never send the same prompts. A child of a fork cannot use it:
    the lock is the parent's, and in the child :meth:`claim`, :meth:`append` and :meth:`sync` raise a ConfigError.

    In memory it takes about 27 bytes for each finished item found, and fewer as they are claimed. Opening takes some
    microseconds a line: a million results take some seconds.

    Args:
        path: the file. ``~`` is the home folder; a symbolic link is followed. A missing file is created with the user's
            default permissions: it holds prompts and answers in plain text.

    Attributes:
        path: the path as passed, with ``~`` replaced.

    Raises:
        ConfigError: the file cannot be opened or written to, another run uses it, or it is not a checkpoint. The file
            is unchanged.
        OSError: the file could not be repaired; the disk may be full.
    """

    path: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = -1
        self._renew_locks()
        self._in_child = False
        self._holds_lock = False
        self._failure: OSError | None = None
        self._partial_line = False
        self._end = 0
        self._synced = 0
        self._finished = _FinishedIndex()
        self._notes: list[dict[str, Any]] = []
        self.path = _check_path(path)
        # Registered before there is a descriptor, so that no fork can come between.
        forks.register(self)
        try:
            self._open()
            self._load()
        except BaseException:
            self._close_descriptor()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # no caller could handle it; a file object does the same
            self.close()

    def __repr__(self) -> str:
        return f"<Checkpoint {self.path!r}: {self.found} to claim>"

    @property
    def found(self) -> int:
        """The number of finished items that can still be claimed."""
        return self._finished.count

    def notes(self) -> list[dict[str, Any]]:
        """Return the lines with a ``"note"`` that existed at opening, in order, as they were appended."""
        return [dict(note) for note in self._notes]

    def claim(self, key: bytes) -> dict[str, Any] | None:
        """Return the oldest unclaimed finished line for ``key``, or None. Each line is returned once.

        Lines appended since the file was opened are not returned. A line that cannot be read any more is skipped, with
        a warning in the log.

        Args:
            key: 16 bytes.

        Raises:
            ConfigError: the checkpoint is closed.
        """
        while True:
            with self._lock:
                descriptor = self._open_descriptor()
                offset = self._finished.take(key)
                if offset is None:
                    return None
                try:
                    data = _read_line_at(descriptor, offset)
                except OSError:
                    data = b""
            line = _decode_line(data)
            if line is not None and _parse_key(str(line.get("key"))) == key:
                return line
            _log.warning(
                "the checkpoint %s: the line at byte %d cannot be read, and its item is sent again", self.path, offset
            )

    def append(self, line: Mapping[str, Any]) -> int:
        """Write a line, so that it survives the process, and return its end position for :meth:`sync`.

        The content of the line never makes it fail: see the module's docstring. An interrupt (Ctrl-C reaches only the
        main thread) comes before anything is written, or leaves the whole line.

        Args:
            line: a result, with ``"key"`` (32 hexadecimal digits) and ``"index"``; or a mapping with a ``"note"``.

        Raises:
            ValueError: it is neither.
            ConfigError: the checkpoint is closed.
            OSError: it cannot be written, with the file's path. Nothing of the line stays in the file, and the call may
                be repeated.
        """
        data = _encode_line(line)
        with self._lock:
            descriptor = self._open_descriptor()
            end = self._end + len(data)
            try:
                if self._partial_line:
                    self._remove_partial_line(descriptor)
                _write(descriptor, data)
                self._end = end
            except BaseException as error:
                with contextlib.suppress(OSError):  # if it fails, it is tried again before the next line
                    if not isinstance(error, OSError) and os.fstat(descriptor).st_size == end:
                        self._end = end  # interrupted after the last byte: keep the finished item
                    else:
                        self._partial_line = True
                        self._remove_partial_line(descriptor)
                if isinstance(error, OSError):
                    raise self._with_path(error) from error
                raise
            return end

    def sync(self, position: int) -> None:
        """Wait until the line that ends at ``position``, and all lines before it, are on the disk.

        This is as reliable as the disk's ``fsync``. One call covers all lines written before it, so most calls return
        at once. Lines can be appended meanwhile.

        Args:
            position: the return value of :meth:`append`.

        Raises:
            ConfigError: this is a child of a fork.
            OSError: the disk failed, with the file's path. Every later call raises it again, because the missing lines
                are unknown.
        """
        if self._in_child:
            self._open_descriptor()
        if position <= self._synced:
            return
        with self._disk:  # the descriptor stays open while this lock is held
            if position <= self._synced:
                return
            if self._failure is not None:
                raise self._with_path(self._failure)
            self._sync(self._open_descriptor())

    def close(self) -> None:
        """Sync, unlock and close. Calling it again does nothing.

        Raises:
            OSError: the last lines could not be synced. The file is closed all the same.
        """
        with self._disk, self._lock:
            try:
                if self._descriptor >= 0 and self._synced < self._end and self._failure is None:
                    self._sync(self._descriptor)
            finally:
                self._close_descriptor()

    def after_fork_in_child(self) -> None:
        """Leave the file to the parent. See :mod:`gigaclient._primitives.fork_safety`."""
        descriptor, self._descriptor = self._descriptor, -1
        self._renew_locks()
        self._in_child = True
        self._finished = _FinishedIndex()
        if descriptor >= 0:
            # Closed without unlocking: parent and child share the lock, which must end with the parent's descriptor.
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # -- the descriptor -----

    def _renew_locks(self) -> None:
        self._lock = threading.Lock()
        self._disk = threading.Lock()  # taken before the other when both are needed

    def _open_descriptor(self) -> int:
        if self._in_child:
            raise ConfigError(f"the checkpoint {self.path} was opened before a fork and is the parent process's alone")
        if self._descriptor < 0:
            raise ConfigError(f"the checkpoint {self.path} is closed")
        return self._descriptor

    def _open(self) -> None:
        problem = None
        try:
            with contextlib.suppress(FileNotFoundError):
                # Checked before opening, because opening some devices already has an effect.
                problem = _file_type_problem(os.stat(self.path).st_mode)
            if problem is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
                with forks.steps:
                    self._descriptor = os.open(self.path, flags, 0o666)
                problem = _file_type_problem(os.fstat(self._descriptor).st_mode)
        except FileNotFoundError:
            problem = f"the folder {os.path.dirname(self.path)} does not exist: make it first"
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                problem = f"it cannot be written to ({error.strerror}): give a path where this program may write"
            else:
                problem = f"it cannot be opened ({error.strerror or error}): give another path"
        if problem is None:
            self._holds_lock = _try_lock(self._descriptor)
            if not self._holds_lock:
                problem = (
                    "another run is using it: wait for that run to end, or give each run a file of its own "
                    "(in this program, a run that was not read to its end goes on until it is closed)"
                )
        if problem is not None:
            raise ConfigError(f"the checkpoint {self.path}: {problem}")

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if self._holds_lock:
                # Unlocked explicitly: a child that bypassed the fork hooks may have the file open as well.
                _unlock(descriptor)
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _sync(self, descriptor: int) -> None:
        end = self._end
        try:
            os.fsync(descriptor)
        except OSError as error:
            # The system may drop what it could not write, and then a second fsync would wrongly succeed.
            self._failure = error
            raise self._with_path(error) from error
        self._synced = max(self._synced, end)

    def _remove_partial_line(self, descriptor: int) -> None:
        os.ftruncate(descriptor, self._end)
        self._partial_line = False

    def _with_path(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror or str(error), self.path)

    # -- what is there already -----

    def _load(self) -> None:
        """Index the finished lines, repair the end, and sync what a killed run left."""
        try:
            tail_begins, tail = self._scan()
            self._repair(tail_begins, tail)
            if self._end:
                self._sync(self._descriptor)
            else:
                _sync_folder(self.path)
        except OSError as error:
            raise self._with_path(error) from error

    def _scan(self) -> tuple[int, bytes]:
        """Index each line; return the text after the last newline and its offset, for :meth:`_repair`."""
        head_of = decoder(_Head).decode
        finished = self._finished
        is_checkpoint = False
        number = foreign = first_foreign = 0
        tail = b""
        with open(self._descriptor, "rb", buffering=_SCAN_BYTES, closefd=False) as file:
            has_mark = file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK
            offset = file.seek(len(_BYTE_ORDER_MARK) if has_mark else 0)
            while line := file.readline(-1 if is_checkpoint else _MAX_FIRST_LINE_BYTES):
                number += 1
                if not line.endswith(b"\n"):
                    if len(line) == _MAX_FIRST_LINE_BYTES and not is_checkpoint:
                        raise self._not_a_checkpoint(number)
                    tail = line
                    break
                try:
                    head = head_of(line)
                except msgspec.ValidationError:
                    head = _FOREIGN
                except JSON_ERRORS:
                    head = _BROKEN
                key = _result_key(head)
                if key is not None:
                    is_checkpoint = True
                    if _is_absent(head.error):
                        finished.add(key, offset)
                elif not _is_absent(head.note) and (is_checkpoint or head.is_marked()):
                    is_checkpoint = True
                    self._note(line)
                elif not line.isspace():
                    if not is_checkpoint and (head is not _BROKEN or foreign >= _MAX_BROKEN_BEFORE_FIRST):
                        raise self._not_a_checkpoint(first_foreign or number)
                    foreign += 1
                    first_foreign = first_foreign or number
                offset += len(line)
        if tail and not is_checkpoint:
            is_checkpoint = _may_be_checkpoint(tail)
        if not is_checkpoint and (foreign or tail.strip()):
            raise self._not_a_checkpoint(first_foreign or number)
        if foreign:
            _log.warning(
                "the checkpoint %s: %d of its lines cannot be read or are of another kind, and are ignored; "
                "the first is line %d",
                self.path,
                foreign,
                first_foreign,
            )
        return offset, tail

    def _repair(self, begin: int, tail: bytes) -> None:
        self._end = begin
        if not tail:
            return
        text = tail.rstrip(b"\0")
        line = _decode_line(text)
        if line is None:
            os.ftruncate(self._descriptor, begin)
            _log.info("the checkpoint %s: half a line at its end was cut off", self.path)
            return
        if len(text) < len(tail):
            os.ftruncate(self._descriptor, begin + len(text))
        _write(self._descriptor, b"\n")
        self._end = begin + len(text) + 1
        try:
            head = decoder(_Head).decode(text)
        except JSON_ERRORS:
            head = _FOREIGN
        key = _result_key(head)
        if key is not None:
            if _is_absent(head.error):
                self._finished.add(key, begin)
        elif not _is_absent(head.note):
            self._note(text)

    def _note(self, data: bytes) -> None:
        line = _decode_line(data)
        if line is not None:
            line.pop("by", None)
            self._notes.append(line)

    def _not_a_checkpoint(self, number: int) -> ConfigError:
        return ConfigError(
            f"{self.path} is no checkpoint (see line {number}), and was left as it is: give the path of a new file, or "
            "of one that an earlier run wrote"
        )


class _FinishedIndex:
    """The offsets of the finished lines of each key, packed: a dict would take five times the memory.

    Records of a key and an offset lie in 4096 rows, chosen by the first bits of the key, which is a hash.
    """

    def __init__(self) -> None:
        self.count = 0
        self._rows: dict[int, bytearray] = {}

    def add(self, key: bytes, offset: int) -> None:
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
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a key has {_KEY_BYTES} bytes, not {len(key)}")
        number = key[0] << 4 | key[1] >> 4
        row = self._rows.get(number)
        if row is None:
            return None
        at = row.find(key)
        while at % _RECORD_BYTES and at >= 0:  # the end of a record and the beginning of the next may look like the key
            at = row.find(key, at + 1)
        if at < 0:
            return None
        offset = int.from_bytes(row[at + _KEY_BYTES : at + _RECORD_BYTES], "big")
        del row[at : at + _RECORD_BYTES]
        if not row:
            del self._rows[number]
        self.count -= 1
        return offset


# -- lines that are there -----


class _Head(msgspec.Struct):
    """The fields that identify a line and say if it is finished. All others are skipped without being decoded."""

    key: str | None = None
    index: int | None = None
    error: msgspec.Raw = msgspec.Raw()
    note: msgspec.Raw = msgspec.Raw()
    by: msgspec.Raw = msgspec.Raw()

    def is_marked(self) -> bool:
        return bytes(self.by) == b'"gigaclient"'


_FOREIGN, _BROKEN = _Head(), _Head()


def _is_absent(field: msgspec.Raw) -> bool:
    # A table that was written back has null where a line had no such field.
    return bytes(field) in (b"", b"null")


def _result_key(head: _Head) -> bytes | None:
    return _parse_key(head.key) if head.key is not None and head.index is not None else None


def _parse_key(text: str) -> bytes | None:
    if len(text) != 2 * _KEY_BYTES:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    return key if len(key) == _KEY_BYTES else None  # bytes.fromhex allows blanks between digits


def _may_be_checkpoint(tail: bytes) -> bool:
    """Return True if a file's only content is one of our lines, or the beginning of one."""
    text = tail.rstrip(b"\0")
    line = _decode_line(text)
    if line is not None:
        with contextlib.suppress(*JSON_ERRORS):
            head = decoder(_Head).decode(text)
            return _result_key(head) is not None or (head.is_marked() and not _is_absent(head.note))
        return False
    if not text:
        return False
    digits = len(_RESULT_PREFIX)
    after = digits + 2 * _KEY_BYTES
    is_half_a_result = (
        _RESULT_PREFIX.startswith(text[:digits])
        and _HEXADECIMAL.issuperset(text[digits:after].decode("latin-1"))
        and b'",'.startswith(text[after : after + 2])
    )
    return is_half_a_result or _NOTE_PREFIX.startswith(text[: len(_NOTE_PREFIX)])


def _decode_line(data: bytes) -> dict[str, Any] | None:
    try:
        line = msgspec.json.decode(data)
    except JSON_ERRORS:
        return None
    return line if isinstance(line, dict) else None


def _read_line_at(descriptor: int, offset: int) -> bytes:
    os.lseek(descriptor, offset, os.SEEK_SET)  # appending does not use this position
    pieces = []
    while piece := os.read(descriptor, _READ_BYTES):
        head, newline, _ = piece.partition(b"\n")
        pieces.append(head)
        if newline:
            return b"".join(pieces)
    return b""


# -- lines to write -----


def _encode_line(line: Mapping[str, Any]) -> bytes:
    key = line.get("key")
    # The fields that identify half a line come first.
    if key is None and line.get("note") is not None:
        fields = {"by": None, "note": None, **line}
        fields["by"] = "gigaclient"
    elif isinstance(key, str) and _parse_key(key) and isinstance(line.get("index"), int):
        fields = {"key": key, "index": None, **line}
    else:
        raise ValueError('a line needs a "key" of 32 hexadecimal digits and an "index", or a "note" and no key')
    try:
        data = _encoder.encode(fields)
    except Exception:  # an object of the user may raise anything
        data = b""
    if not data or b"\n" in data:
        data = b"{%b}" % b",".join(
            b"%b:%b" % (_encode_leniently(name), _encode_leniently(value)) for name, value in fields.items()
        )
    return data + b"\n"


def _encode_leniently(value: Any) -> bytes:
    """Encode ``value`` as readable JSON: unchanged, with unpaired surrogates replaced, or as an excerpt."""
    with contextlib.suppress(Exception):
        data = _encoder.encode(value)
        if b"\n" not in data:
            return data
    with contextlib.suppress(Exception):
        builtins_ = _replace_surrogates(msgspec.to_builtins(value, str_keys=True, enc_hook=_substitute))
        return _encoder.encode(builtins_)
    return _encoder.encode(_replace_surrogates(_excerpt(value)))


def _substitute(value: Any) -> Any:
    """Return a replacement for an object that msgspec cannot encode."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return dict(value)
    with contextlib.suppress(Exception):
        return operator.index(value)
    import numbers

    if isinstance(value, numbers.Real):
        return float(value)
    return _excerpt(value)


def _excerpt(value: Any) -> str:
    try:
        text = str(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_EXCERPT_CHARACTERS else text[: _MAX_EXCERPT_CHARACTERS - 1] + "…"


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        # Surrogates come from UTF-16: decoding joins a pair to one character again.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_replace_surrogates(name): _replace_surrogates(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_surrogates(inner) for inner in value]
    return value


_encoder = msgspec.json.Encoder(enc_hook=_substitute)


# -- the file -----


def _check_path(path: str | os.PathLike[str]) -> str:
    text: Any = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        shown = repr(path) if isinstance(path, str) else type(path).__name__
        raise ConfigError(f'the checkpoint must be the path of a file, such as "results.jsonl", not {shown}')
    return os.path.expanduser(text)


def _file_type_problem(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return "it is a folder: give the path of a file" if stat.S_ISDIR(mode) else "it is not a plain file: give one"


def _write(descriptor: int, data: bytes) -> None:
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


def _sync_folder(path: str) -> None:
    """Sync the name of a new file to the disk, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.dirname(path) or os.curdir, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _module(name: str) -> Any:
    """Import a module that only some systems have; return None where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _try_lock(descriptor: int) -> bool:
    """Lock the file until it is closed; False if it is locked already. True where locks are not supported."""
    fcntl, msvcrt = _module("fcntl"), _module("msvcrt")
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK):
            return False
        _log.info("the checkpoint is not locked, its file system has no locks (%s)", error.strerror)
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True


def _unlock(descriptor: int) -> None:
    fcntl, msvcrt = _module("fcntl"), _module("msvcrt")
    with contextlib.suppress(OSError):  # on failure the system unlocks the file at close
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        elif msvcrt is not None:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
