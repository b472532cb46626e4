"""Operations on the file of a checkpoint: its path, its type, its lock, complete writes."""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import stat
from typing import Any

from gigaclient.errors import ConfigError

__all__ = [
    "check_in_place",
    "check_path",
    "file_type_problem",
    "read_at",
    "read_line_at",
    "sync_folder",
    "try_lock",
    "unlock",
    "write_all",
]

_log = logging.getLogger("gigaclient")

_READ_BYTES = 64 * 1024

# On Windows a locked range cannot be read by others, and offsets have 31 bits: lock one byte that is hardly ever data.
_LOCKED_BYTE = 2**31 - 2


def check_path(path: str | os.PathLike[str]) -> str:
    """Return the path as text, with ``~`` replaced.

    Raises:
        ConfigError: it is not a path.
    """
    text: Any = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        shown = repr(path) if isinstance(path, str) else type(path).__name__
        raise ConfigError(f'the checkpoint must be the path of a file, such as "results.jsonl", not {shown}')
    return os.path.expanduser(text)


def file_type_problem(mode: int) -> str | None:
    """Return why ``st_mode`` is not that of a plain file; None if it is."""
    if stat.S_ISREG(mode):
        return None
    return "it is a folder: give the path of a file" if stat.S_ISDIR(mode) else "it is not a plain file: give one"


def check_in_place(descriptor: int, path: str) -> None:
    """Check that ``path`` still is the open file.

    Raises:
        OSError: it was removed, or another file is in its place.
    """
    try:
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return
    except FileNotFoundError:
        pass
    raise OSError(errno.ENOENT, "the checkpoint was removed, renamed or replaced while this run was writing to it")


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, in several writes if the system takes it in pieces."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


def sync_folder(path: str) -> None:
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


def try_lock(descriptor: int) -> bool | None:
    """Lock the file until it is closed; False if it is locked already, None where locks are not supported."""
    fcntl, msvcrt = _module("fcntl"), _module("msvcrt")
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            return None
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK):
            return False
        _log.info("the checkpoint is not locked, its file system has no locks (%s)", error.strerror)
        return None
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True


def unlock(descriptor: int) -> None:
    """Release the lock of :func:`try_lock`."""
    fcntl, msvcrt = _module("fcntl"), _module("msvcrt")
    with contextlib.suppress(OSError):  # on failure the system unlocks the file at close
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        elif msvcrt is not None:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


def read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Return up to ``size`` bytes at ``offset``."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    pieces = []
    while size and (piece := os.read(descriptor, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def read_line_at(descriptor: int, offset: int) -> bytes:
    """Return the line at ``offset`` without its newline; empty if it has none."""
    os.lseek(descriptor, offset, os.SEEK_SET)  # appending does not use this position
    pieces = []
    while piece := os.read(descriptor, _READ_BYTES):
        head, newline, _ = piece.partition(b"\n")
        pieces.append(head)
        if newline:
            return b"".join(pieces)
    return b""
