"""The file of a checkpoint, open for one run."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from gigaclient._primitives import fork_safety as forks
from gigaclient.bulk.checkpoint.lines import decode_line, encode_line, parse_key
from gigaclient.bulk.checkpoint.os_file import (
    check_in_place,
    check_path,
    file_type_problem,
    read_at,
    read_line_at,
    sync_folder,
    try_lock,
    unlock,
    write_all,
)
from gigaclient.bulk.checkpoint.scan import FinishedIndex, Scan
from gigaclient.errors import ConfigError

__all__ = ["Checkpoint"]

_log = logging.getLogger("gigaclient")


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
        self._process = os.getpid()
        self._holds_lock = False
        self._failure: OSError | None = None
        self._partial_line = b""  # the line that is being written
        self._end = 0
        self._synced = 0
        self._finished = FinishedIndex()
        self._notes: list[dict[str, Any]] = []
        self.path = check_path(path)
        self._absolute_path = os.path.abspath(self.path)  # the program may change its folder
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
                    data = read_line_at(descriptor, offset)
                except OSError:
                    data = b""
            line = decode_line(data)
            if line is not None and parse_key(str(line.get("key"))) == key:
                return line
            _log.warning(
                "the checkpoint %s: the line at byte %d cannot be read, and its item is sent again", self.path, offset
            )

    def append(self, line: Mapping[str, Any]) -> int:
        """Write a line, so that it survives the process, and return its end position for :meth:`sync`.

        The content of the line never makes it fail: see :mod:`gigaclient.bulk.checkpoint`. An interrupt (Ctrl-C
        reaches only the main thread) comes before anything is written, or leaves the whole line.

        Args:
            line: a result, with ``"key"`` (32 hexadecimal digits) and ``"index"``; or a mapping with a ``"note"``.

        Raises:
            ValueError: it is neither.
            ConfigError: the checkpoint is closed.
            OSError: it cannot be written, with the file's path. Nothing of the line stays in the file, and the call may
                be repeated. Where others write to the file at the same time nothing is cut off: half of the line may
                stay, and readers ignore it.
        """
        data = encode_line(line)
        with self._lock:
            descriptor = self._open_descriptor()
            try:
                self._end_partial_line(descriptor)
                size = self._size(descriptor)
                # Each system call lets other threads run, and the next thread waits for the lock meanwhile.
                if size > self._end and read_at(descriptor, size - 1, 1) != b"\n":
                    data = b"\n" + data  # after half a line of another program
                self._end = size
                self._partial_line = data
                write_all(descriptor, data)
                self._end, self._partial_line = self._end + len(data), b""
            except BaseException as error:
                with contextlib.suppress(OSError):  # if it fails, it is tried again before the next line
                    self._end_partial_line(descriptor)
                if isinstance(error, OSError):
                    raise self._with_path(error) from error
                raise
            return self._end

    def sync(self, position: int) -> None:
        """Wait until the line that ends at ``position``, and all lines before it, are on the disk.

        This is as reliable as the disk's ``fsync``. One call covers all lines written before it, so most calls return
        at once. Lines can be appended meanwhile.

        Args:
            position: the return value of :meth:`append`.

        Raises:
            ConfigError: this is a child of a fork.
            OSError: the disk failed, or the file was removed or replaced, with the file's path. Every later call raises
                it again, because the missing lines are unknown.
        """
        self._check_process()
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
        self._finished = FinishedIndex()
        if descriptor >= 0:
            # Closed without unlocking: parent and child share the lock, which must end with the parent's descriptor.
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # -- the descriptor -----

    def _renew_locks(self) -> None:
        self._lock = threading.Lock()
        self._disk = threading.Lock()  # taken before the other when both are needed

    def _check_process(self) -> None:
        # Compared each time, because a fork in C code calls no hooks of Python.
        if self._process != os.getpid():
            raise ConfigError(f"the checkpoint {self.path} was opened before a fork and is the parent process's alone")

    def _open_descriptor(self) -> int:
        self._check_process()
        if self._descriptor < 0:
            raise ConfigError(f"the checkpoint {self.path} is closed")
        return self._descriptor

    def _open(self) -> None:
        problem = None
        try:
            with contextlib.suppress(FileNotFoundError):
                # Checked before opening, because opening some devices already has an effect.
                problem = file_type_problem(os.stat(self.path).st_mode)
            if problem is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
                with forks.steps:
                    self._descriptor = os.open(self.path, flags, 0o666)
                problem = file_type_problem(os.fstat(self._descriptor).st_mode)
        except FileNotFoundError:
            problem = f"the folder {os.path.dirname(self.path)} does not exist: make it first"
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                problem = f"it cannot be written to ({error.strerror}): give a path where this program may write"
            else:
                problem = f"it cannot be opened ({error.strerror or error}): give another path"
        if problem is None:
            locked = try_lock(self._descriptor)
            self._holds_lock = locked is True
            if locked is False:
                problem = (
                    "another run is using it: wait until that run ends, or give each run a different file "
                    "(a run of this program that was not read to its end continues until it is closed)"
                )
        if problem is not None:
            raise ConfigError(f"the checkpoint {self.path}: {problem}")

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if self._holds_lock and self._process == os.getpid():
                # Unlocked explicitly: a child that bypassed the fork hooks may have the file open as well.
                unlock(descriptor)
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _sync(self, descriptor: int) -> None:
        end = self._end
        try:
            check_in_place(descriptor, self._absolute_path)
            os.fsync(descriptor)
        except OSError as error:
            # The system may drop what it could not write, and then a second fsync would wrongly succeed.
            self._failure = error
            raise self._with_path(error) from error
        self._synced = max(self._synced, end)

    def _end_partial_line(self, descriptor: int) -> None:
        """Remove half a line that was not written to its end; leave it where others write to the file as well."""
        line = self._partial_line
        if not line:
            return
        written = read_at(descriptor, self._end, len(line) + 1)
        if written == line:
            self._end += len(line)  # interrupted after the last byte: keep the finished item
        elif self._holds_lock and line.startswith(written):
            os.ftruncate(descriptor, self._end)
        self._partial_line = b""

    def _size(self, descriptor: int) -> int:
        size = os.fstat(descriptor).st_size
        if size < self._end:
            raise OSError(errno.EIO, "another program has shortened the checkpoint while this run was writing to it")
        return size

    def _with_path(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror or str(error), self.path)

    # -- opening -----

    def _load(self) -> None:
        """Index the finished lines, repair the end, and sync what a killed run left."""
        scan = Scan(self.path)
        try:
            offset, tail = scan.read(self._descriptor)
            self._repair(scan, offset, tail)
            if self._end:
                self._sync(self._descriptor)
            else:
                sync_folder(self.path)
        except OSError as error:
            raise self._with_path(error) from error
        self._finished, self._notes = scan.finished, scan.notes

    def _repair(self, scan: Scan, offset: int, tail: bytes) -> None:
        self._end = offset
        if not tail:
            return
        text = tail.rstrip(b"\0")
        if decode_line(text) is None:
            os.ftruncate(self._descriptor, offset)
            _log.info("the checkpoint %s: half a line at its end was cut off", self.path)
            return
        if len(text) < len(tail):
            os.ftruncate(self._descriptor, offset + len(text))
        write_all(self._descriptor, b"\n")
        self._end = offset + len(text) + 1
        scan.add(text, offset)
