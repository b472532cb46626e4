"""The file from which a run over many prompts goes on: JSON lines, one for each finished item, only ever appended to.

A line is written as soon as its item is finished, so a process that is killed loses none. What has to outlive the
machine's power as well is handed to the disk by :meth:`Checkpoint.sync`, once for many lines. Opened again, the file is
repaired at its end, and its lines are given out by :meth:`Checkpoint.claim` in place of asking anew.

Two kinds of lines are ours. A result, ``{"key":"<32 hexadecimal digits>","index":17,…}``, is finished unless it has an
``"error"``. A note, ``{"by":"gigaclient","note":…}``, is what a job wants to remember. Any other line is left where it
is and passed over.

What JSON does not have is written in a form that any reader of JSON takes: NaN and infinities as null, bytes in base64,
sets as arrays, half of a surrogate pair as U+FFFD, numbers of other types as numbers; any other object, and what holds
itself or is nested deeper than JSON can be read, as the beginning of its ``str()``.
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
_RESULT_BEGINS = b'{"key":"'
_NOTE_BEGINS = b'{"by":"gigaclient","note":'
_HEXADECIMAL = frozenset("0123456789abcdef")

_READ_BYTES = 64 * 1024
_SCAN_BYTES = 1024 * 1024

# A file that is not ours is told by its beginning: nobody waits until ten gigabytes of another kind are read.
_LONGEST_FIRST_LINE = 64 * 1024 * 1024
_MOST_BROKEN_AT_FIRST = 100

# Windows keeps others from reading what is locked, and counts in 31 bits: a byte where there hardly ever is one.
_LOCKED_BYTE = 2**31 - 2

_MOST_CHARACTERS = 200


class Checkpoint:
    """A checkpoint that is open. All methods may be called from any thread. Also a context manager.

    It is locked for as long as it is open, so that two runs never ask the same. A child of a fork has no part in it:
    the lock is the parent's alone, and in the child :meth:`claim`, :meth:`append` and :meth:`sync` raise a ConfigError.

    In memory it takes about 27 bytes for each finished item that was found, fewer as they are claimed. Opening looks at
    each line, for some microseconds: a million results take some seconds.

    Args:
        path: the file. ``~`` is the home folder; a symbolic link is followed. Made when it is missing, with the rights
            that any new file of the user gets: it holds prompts and answers in the clear.

    Attributes:
        path: as it was given, with ``~`` replaced.

    Raises:
        ConfigError: it cannot be opened or written to, another run has it, or it is not a checkpoint. Nothing in it
            was changed then.
        OSError: it could not be repaired; the disk may be full.
    """

    path: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = -1
        self._renew_locks()
        self._in_child = False
        self._holds_lock = False
        self._failure: OSError | None = None
        self._torn = False
        self._end = 0
        self._synced = 0
        self._finished = _Finished()
        self._notes: list[dict[str, Any]] = []
        self.path = _path_of(path)
        # Before there is a descriptor, so that no fork can come between.
        forks.register(self)
        try:
            self._open()
            self._begin()
        except BaseException:
            self._let_go()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # as for any file that nobody closed: there is nobody to be told
            self.close()

    def __repr__(self) -> str:
        return f"<Checkpoint {self.path!r}: {self.found} to claim>"

    @property
    def found(self) -> int:
        """Finished items that can still be claimed."""
        return self._finished.count

    def notes(self) -> list[dict[str, Any]]:
        """The lines with a ``"note"`` that were there at opening, in their order, as they were appended."""
        return [dict(note) for note in self._notes]

    def claim(self, key: bytes) -> dict[str, Any] | None:
        """A finished line for ``key``, oldest first, and each only once; None when there is none, or none is left.

        What was appended since the file was opened is not among them. A line that cannot be read any more is passed
        over with a warning in the log.

        Args:
            key: 16 bytes.

        Raises:
            ConfigError: the checkpoint is closed.
        """
        while True:
            with self._lock:
                descriptor = self._usable()
                offset = self._finished.take(key)
                if offset is None:
                    return None
                try:
                    data = _line_at(descriptor, offset)
                except OSError:
                    data = b""
            line = _decoded(data)
            if line is not None and _key_of(str(line.get("key"))) == key:
                return line
            _log.warning(
                "the checkpoint %s: the line at byte %d cannot be read, and its item is asked again", self.path, offset
            )

    def append(self, line: Mapping[str, Any]) -> int:
        """Write a line, so that it outlives this process; its position, for :meth:`sync`.

        Never fails for what the line holds: see the top of this module. An interrupt (Ctrl-C reaches the main thread
        only) either comes before anything is written or leaves the whole line.

        Args:
            line: a result, with ``"key"`` (32 hexadecimal digits) and ``"index"``; or anything with a ``"note"``.

        Raises:
            ValueError: it is neither.
            ConfigError: the checkpoint is closed.
            OSError: it cannot be written, with the file's path. Nothing of the line stays in the file, and it may be
                tried again.
        """
        data = _encoded(line)
        with self._lock:
            descriptor = self._usable()
            end = self._end + len(data)
            try:
                if self._torn:
                    self._take_back(descriptor)
                _write(descriptor, data)
                self._end = end
            except BaseException as error:
                with contextlib.suppress(OSError):  # then it is tried again before the next line
                    if not isinstance(error, OSError) and os.fstat(descriptor).st_size == end:
                        self._end = end  # interrupted when all was done: finished work is kept
                    else:
                        self._torn = True
                        self._take_back(descriptor)
                if isinstance(error, OSError):
                    raise self._named(error) from error
                raise
            return end

    def sync(self, position: int) -> None:
        """Wait until the line that ends at ``position``, and all before it, are on the disk itself.

        As far as the disk keeps its word to ``fsync``. One call covers all lines that were written before it, so that
        most calls find nothing to do. Lines can be appended meanwhile.

        Args:
            position: what :meth:`append` returned.

        Raises:
            ConfigError: this is a child of a fork.
            OSError: the disk did not take them, with the file's path. It is raised again each time from then on: nobody
                knows which lines are missing.
        """
        if self._in_child:
            self._usable()
        if position <= self._synced:
            return
        with self._disk:  # while it is held, the descriptor stays open
            if position <= self._synced:
                return
            if self._failure is not None:
                raise self._named(self._failure)
            self._sync(self._usable())

    def close(self) -> None:
        """Sync, unlock and close; more than once is no harm.

        Raises:
            OSError: the last lines could not be synced. It is closed all the same.
        """
        with self._disk, self._lock:
            try:
                if self._descriptor >= 0 and self._synced < self._end and self._failure is None:
                    self._sync(self._descriptor)
            finally:
                self._let_go()

    def after_fork_in_child(self) -> None:
        """Leave the file to the parent. See :mod:`gigaclient._primitives.fork_safety`."""
        descriptor, self._descriptor = self._descriptor, -1
        self._renew_locks()
        self._in_child = True
        self._finished = _Finished()
        if descriptor >= 0:
            # Closed, and not unlocked: the lock is the same for both, and must end with the parent's descriptor.
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # -- the descriptor -----

    def _renew_locks(self) -> None:
        self._lock = threading.Lock()
        self._disk = threading.Lock()  # taken before the other, where both are

    def _usable(self) -> int:
        if self._in_child:
            raise ConfigError(f"the checkpoint {self.path} was opened before a fork and is the parent process's alone")
        if self._descriptor < 0:
            raise ConfigError(f"the checkpoint {self.path} is closed")
        return self._descriptor

    def _open(self) -> None:
        problem = None
        try:
            with contextlib.suppress(FileNotFoundError):
                # Before it is opened, because that alone makes some devices do things.
                problem = _no_file(os.stat(self.path).st_mode)
            if problem is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
                with forks.steps:
                    self._descriptor = os.open(self.path, flags, 0o666)
                problem = _no_file(os.fstat(self._descriptor).st_mode)
        except FileNotFoundError:
            problem = f"the folder {os.path.dirname(self.path)} does not exist: make it first"
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                problem = f"it cannot be written to ({error.strerror}): give a path where this program may write"
            else:
                problem = f"it cannot be opened ({error.strerror or error}): give another path"
        if problem is None:
            self._holds_lock = _locked(self._descriptor)
            if not self._holds_lock:
                problem = (
                    "another run is using it: wait for that run to end, or give each run a file of its own "
                    "(in this program, a run that was not read to its end goes on until it is closed)"
                )
        if problem is not None:
            raise ConfigError(f"the checkpoint {self.path}: {problem}")

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if self._holds_lock:
                # Not left to os.close: a child that was started past all hooks may have the file open as well.
                _unlock(descriptor)
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _sync(self, descriptor: int) -> None:
        end = self._end
        try:
            os.fsync(descriptor)
        except OSError as error:
            # The system may forget what it could not write, and a second try would then succeed without it.
            self._failure = error
            raise self._named(error) from error
        self._synced = max(self._synced, end)

    def _take_back(self, descriptor: int) -> None:
        os.ftruncate(descriptor, self._end)
        self._torn = False

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror or str(error), self.path)

    # -- what is there already -----

    def _begin(self) -> None:
        """Find what is finished, repair the end, and have what a killed run left safe on the disk."""
        try:
            begin_of_tail, tail = self._scan()
            self._repair(begin_of_tail, tail)
            if self._end:
                self._sync(self._descriptor)
            else:
                _sync_folder(self.path)
        except OSError as error:
            raise self._named(error) from error

    def _scan(self) -> tuple[int, bytes]:
        """Note each line. What follows the last newline, and where it begins, is for :meth:`_repair`."""
        head_of = decoder(_Head).decode
        finished = self._finished
        ours = False
        number = strange = first_strange = 0
        tail = b""
        with open(self._descriptor, "rb", buffering=_SCAN_BYTES, closefd=False) as file:
            marked = file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK
            offset = file.seek(len(_BYTE_ORDER_MARK) if marked else 0)
            while line := file.readline(-1 if ours else _LONGEST_FIRST_LINE):
                number += 1
                if not line.endswith(b"\n"):
                    if len(line) == _LONGEST_FIRST_LINE and not ours:
                        raise self._not_ours(number)
                    tail = line
                    break
                try:
                    head = head_of(line)
                except msgspec.ValidationError:
                    head = _FOREIGN
                except JSON_ERRORS:
                    head = _BROKEN
                key = _key_in(head)
                if key is not None:
                    ours = True
                    if _absent(head.error):
                        finished.add(key, offset)
                elif not _absent(head.note) and (ours or head.is_marked()):
                    ours = True
                    self._note(line)
                elif not line.isspace():
                    if not ours and (head is not _BROKEN or strange >= _MOST_BROKEN_AT_FIRST):
                        raise self._not_ours(first_strange or number)
                    strange += 1
                    first_strange = first_strange or number
                offset += len(line)
        if tail and not ours:
            ours = _may_be_ours(tail)
        if not ours and (strange or tail.strip()):
            raise self._not_ours(first_strange or number)
        if strange:
            _log.warning(
                "the checkpoint %s: %d of its lines cannot be read or are of another kind, and are passed over; "
                "the first is line %d",
                self.path,
                strange,
                first_strange,
            )
        return offset, tail

    def _repair(self, begin: int, tail: bytes) -> None:
        self._end = begin
        if not tail:
            return
        kept = tail.rstrip(b"\0")
        line = _decoded(kept)
        if line is None:
            os.ftruncate(self._descriptor, begin)
            _log.info("the checkpoint %s: half a line at its end was cut off", self.path)
            return
        if len(kept) < len(tail):
            os.ftruncate(self._descriptor, begin + len(kept))
        _write(self._descriptor, b"\n")
        self._end = begin + len(kept) + 1
        try:
            head = decoder(_Head).decode(kept)
        except JSON_ERRORS:
            head = _FOREIGN
        key = _key_in(head)
        if key is not None:
            if _absent(head.error):
                self._finished.add(key, begin)
        elif not _absent(head.note):
            self._note(kept)

    def _note(self, data: bytes) -> None:
        line = _decoded(data)
        if line is not None:
            line.pop("by", None)
            self._notes.append(line)

    def _not_ours(self, number: int) -> ConfigError:
        return ConfigError(
            f"{self.path} is no checkpoint (see line {number}), and was left as it is: give the path of a new file, or "
            "of one that an earlier run wrote"
        )


class _Finished:
    """Where the finished lines of each key begin, packed: a dict would take five times as much.

    Records of a key and an offset lie in one of 4096 rows each, by the first bits of the key, which is a hash.
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
        """The first offset that was added for ``key`` and not taken yet."""
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a key has {_KEY_BYTES} bytes, not {len(key)}")
        number = key[0] << 4 | key[1] >> 4
        row = self._rows.get(number)
        if row is None:
            return None
        at = row.find(key)
        while at % _RECORD_BYTES and at >= 0:  # the end of one record and the beginning of the next may look like it
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
    """What tells whether a line is ours and finished. The rest is passed over without being looked into."""

    key: str | None = None
    index: int | None = None
    error: msgspec.Raw = msgspec.Raw()
    note: msgspec.Raw = msgspec.Raw()
    by: msgspec.Raw = msgspec.Raw()

    def is_marked(self) -> bool:
        return bytes(self.by) == b'"gigaclient"'


_FOREIGN, _BROKEN = _Head(), _Head()


def _absent(field: msgspec.Raw) -> bool:
    # A table of lines that was written anew has null where a line had no such field.
    return bytes(field) in (b"", b"null")


def _key_in(head: _Head) -> bytes | None:
    return _key_of(head.key) if head.key is not None and head.index is not None else None


def _key_of(text: str) -> bytes | None:
    if len(text) != 2 * _KEY_BYTES:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    return key if len(key) == _KEY_BYTES else None  # blanks between digits are allowed there


def _may_be_ours(tail: bytes) -> bool:
    """Whether all that a file has is a line of ours, or the half of one."""
    kept = tail.rstrip(b"\0")
    line = _decoded(kept)
    if line is not None:
        with contextlib.suppress(*JSON_ERRORS):
            head = decoder(_Head).decode(kept)
            return _key_in(head) is not None or (head.is_marked() and not _absent(head.note))
        return False
    if not kept:
        return False
    digits = len(_RESULT_BEGINS)
    after = digits + 2 * _KEY_BYTES
    half_a_result = (
        _RESULT_BEGINS.startswith(kept[:digits])
        and _HEXADECIMAL.issuperset(kept[digits:after].decode("latin-1"))
        and b'",'.startswith(kept[after : after + 2])
    )
    return half_a_result or _NOTE_BEGINS.startswith(kept[: len(_NOTE_BEGINS)])


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        line = msgspec.json.decode(data)
    except JSON_ERRORS:
        return None
    return line if isinstance(line, dict) else None


def _line_at(descriptor: int, offset: int) -> bytes:
    os.lseek(descriptor, offset, os.SEEK_SET)  # where lines are appended is another matter
    pieces = []
    while piece := os.read(descriptor, _READ_BYTES):
        head, newline, _ = piece.partition(b"\n")
        pieces.append(head)
        if newline:
            return b"".join(pieces)
    return b""


# -- lines to write -----


def _encoded(line: Mapping[str, Any]) -> bytes:
    key = line.get("key")
    # What half a line is known by comes first.
    if key is None and line.get("note") is not None:
        fields = {"by": None, "note": None, **line}
        fields["by"] = "gigaclient"
    elif isinstance(key, str) and _key_of(key) and isinstance(line.get("index"), int):
        fields = {"key": key, "index": None, **line}
    else:
        raise ValueError('a line needs a "key" of 32 hexadecimal digits and an "index", or a "note" and no key')
    try:
        data = _encoder.encode(fields)
    except Exception:  # whatever an object of the user's own raises
        data = b""
    if not data or b"\n" in data:
        data = b"{%b}" % b",".join(b"%b:%b" % (_harmless(name), _harmless(value)) for name, value in fields.items())
    return data + b"\n"


def _harmless(value: Any) -> bytes:
    """``value`` in JSON that can be read again: as it is, or with what is no text replaced, or as an excerpt."""
    with contextlib.suppress(Exception):
        data = _encoder.encode(value)
        if b"\n" not in data:
            return data
    with contextlib.suppress(Exception):
        plain = _coerce_value(msgspec.to_builtins(value, str_keys=True, enc_hook=_substitute))
        return _encoder.encode(plain)
    return _encoder.encode(_coerce_value(_excerpt(value)))


def _substitute(value: Any) -> Any:
    """What to write in place of an object that msgspec does not know."""
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
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def _coerce_value(value: Any) -> Any:
    if isinstance(value, str):
        # UTF-16 is where surrogates come from: two that belong together are a character again.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_coerce_value(name): _coerce_value(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_coerce_value(inner) for inner in value]
    return value


_encoder = msgspec.json.Encoder(enc_hook=_substitute)


# -- the file -----


def _path_of(path: str | os.PathLike[str]) -> str:
    text: Any = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        shown = repr(path) if isinstance(path, str) else type(path).__name__
        raise ConfigError(f'the checkpoint must be the path of a file, such as "results.jsonl", not {shown}')
    return os.path.expanduser(text)


def _no_file(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return "it is a folder: give the path of a file" if stat.S_ISDIR(mode) else "it is not a plain file: give one"


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_folder(path: str) -> None:
    """Have the name of a new file on the disk, too, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.dirname(path) or os.curdir, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _module(name: str) -> Any:
    """A module that only some systems have."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _locked(descriptor: int) -> bool:
    """Lock the file until it is closed; False when another has it. True where there are no locks."""
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
    with contextlib.suppress(OSError):  # then the system unlocks it when it is closed
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        elif msvcrt is not None:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
