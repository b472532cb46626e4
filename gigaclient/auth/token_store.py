"""Store tokens for other processes, in a file or in a cache like Django's."""

from __future__ import annotations

import contextlib
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient._primitives.foreign_errors import ForeignError
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.auth.token_manager import MAX_TOKEN_CHARACTERS

__all__ = ["FileTokenStore", "ObjectTokenStore", "StoreUnusable", "TokenStore"]

_MAX_WAIT_SECONDS = 10.0
"""The longest wait for the login of another process, before this process logs in by itself."""

_POLL_SECONDS = 0.05
_MAX_FILE_BYTES = 4 * 1024 * 1024
_MAX_ENTRIES = 100
_MARK = b'{"gigaclient tokens":1'


class StoreUnusable(Exception):
    """The store cannot be used now; the text says why and holds no secret."""


class TokenStore(Protocol):
    """Stores credentials for other processes. The loaded values are validated before use."""

    name: str

    def load(self, key: str) -> Any:
        """Return the value saved under ``key``, or None."""

    def save(self, key: str, record: Mapping[str, Any], lifetime: float) -> None:
        """Save ``record`` for ``lifetime`` seconds."""

    def lock(self, key: str, deadline: Deadline) -> contextlib.AbstractContextManager[bool]:
        """Lock out logins of other processes; yield False when the lock was not acquired in time."""


class FileTokenStore:
    """A store in a file that only this user can read, in a folder that only this user can change.

    Several accounts may share it. It is replaced atomically, under a lock on a second file (``<path>.lock``). A file
    with other content is never overwritten.

    Args:
        path: absolute.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        self._path = path

    def load(self, key: str) -> Any:
        """Return the value saved under ``key``, or None."""
        self._check_folder(create=False)
        return self._entries(self._read()).get(key)

    def save(self, key: str, record: Mapping[str, Any], lifetime: float) -> None:
        """Save ``record``, and drop expired entries."""
        now = time.time()
        try:
            entries = self._entries(self._read())
        except _Replaceable:
            entries = {}
        kept = {name: entry for name, entry in entries.items() if _until(entry) > now}
        newest = sorted(kept, key=lambda name: _until(kept[name]))[-(_MAX_ENTRIES - 1) :]
        content = {name: kept[name] for name in newest}
        content[key] = {**record, "token": Secret(record["token"]).reveal()}
        data = _MARK + b',"entries":' + msgspec.json.encode(content) + b"}\n"
        del content
        new_path = self._path + ".new"  # the lock admits one writer, so a file that a crash left may be removed
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new_path)
        try:
            with open(new_path, "wb", opener=_create) as file:
                file.write(data)
            os.replace(new_path, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new_path)
            raise

    @contextlib.contextmanager
    def lock(self, key: str, deadline: Deadline) -> Iterator[bool]:
        """Lock the file; yield False when the lock was not acquired in time."""
        self._check_folder(create=True)
        import filelock

        # A new lock object each time, because a forked child must not inherit one that the parent holds.
        lock = filelock.FileLock(self._path + ".lock", mode=0o600)

        def take() -> bool:
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                return False
            return True

        taken = _wait_for(take, deadline)
        try:
            yield taken
        finally:
            if taken:
                with contextlib.suppress(Exception):  # closing the descriptor releases it as well
                    lock.release()

    def _check_folder(self, *, create: bool) -> None:
        folder = os.path.dirname(self._path)
        if create:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        try:
            status = os.stat(folder)
        except FileNotFoundError:
            return
        if hasattr(os, "geteuid"):  # Windows protects the folders of users in another way
            if status.st_uid != os.geteuid():
                raise StoreUnusable(f"the folder {folder} belongs to another user")
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise StoreUnusable(f"others may write in the folder {folder}: chmod 700 it")

    def _read(self) -> bytes:
        if os.path.islink(self._path):
            raise StoreUnusable("it is a symbolic link")
        try:
            with open(self._path, "rb", opener=_open_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise StoreUnusable("it is not a plain file")
                data = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return b""
        if hasattr(os, "geteuid"):
            if status.st_uid != os.geteuid():
                raise StoreUnusable("it belongs to another user")
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                problem = "others may read or write it: it must have mode 0600"
                raise _Replaceable(problem) if data.startswith(_MARK) else StoreUnusable(problem)
        return data

    @staticmethod
    def _entries(data: bytes) -> dict[str, Any]:
        if not data:
            return {}
        if not data.startswith(_MARK):
            raise StoreUnusable("it is something else than a token cache: delete it, or give another path")
        if len(data) > _MAX_FILE_BYTES:
            raise _Replaceable("it is too large")
        try:
            content = msgspec.json.decode(data)
        except JSON_ERRORS:
            content = None
        entries = content.get("entries") if isinstance(content, dict) else None
        if not isinstance(entries, dict):
            raise _Replaceable("it is damaged")
        return entries


class _Replaceable(StoreUnusable):
    """The file is a token store but not trustworthy: the next login replaces it."""


class ObjectTokenStore:
    """A store in the user's cache, an object with ``get(key)`` and ``set(key, value, timeout)`` like Django's.

    If it has ``add`` and ``delete`` too, like Django's, they serve as a lock. Without them, processes that start
    together log in once each.
    """

    def __init__(self, cache: Any) -> None:
        self.name = type(cache).__name__
        self._cache = cache

    def load(self, key: str) -> Any:
        """Return the value saved under ``key``, or None."""
        value = self._cache.get(_cache_key(key))
        if value is None:
            return None
        if not isinstance(value, (str, bytes)) or len(value) > 2 * MAX_TOKEN_CHARACTERS:
            raise StoreUnusable("it holds something else than a token")
        try:
            return msgspec.json.decode(value)
        except JSON_ERRORS:
            return "junk"

    def save(self, key: str, record: Mapping[str, Any], lifetime: float) -> None:
        """Save ``record`` for ``lifetime`` seconds."""
        revealed = {**record, "token": Secret(record["token"]).reveal()}
        self._cache.set(_cache_key(key), msgspec.json.encode(revealed).decode("ascii"), max(1, int(lifetime)))

    @contextlib.contextmanager
    def lock(self, key: str, deadline: Deadline) -> Iterator[bool]:
        """Lock the key; yield False when the lock was not acquired in time."""
        add, delete = getattr(self._cache, "add", None), getattr(self._cache, "delete", None)
        name, owner = f"gigaclient:login:{key}", str(uuid.uuid4())
        if add is None or delete is None:
            yield True
            return
        missing = 0

        def take() -> bool | None:
            nonlocal missing
            if add(name, owner, int(3 * _MAX_WAIT_SECONDS)):
                return True
            # When the cache is down, `add` fails and the lock has no holder. Then waiting is useless.
            missing = missing + 1 if self._cache.get(name) is None else 0
            return None if missing > 3 else False

        taken = _wait_for(take, deadline)
        try:
            yield taken
        finally:
            if taken:
                with contextlib.suppress(Exception):  # the lock expires anyway
                    if self._cache.get(name) == owner:
                        delete(name)


# When open() fails, it closes a descriptor that its opener made. It does not close one that it was given.
def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _cache_key(key: str) -> str:
    return f"gigaclient:token:{key}"


def _until(entry: Any) -> float:
    until = entry.get("until") if isinstance(entry, dict) else None
    # A whole number may have too many digits for a float.
    return float(min(max(until, 0), 10**15)) if isinstance(until, (int, float)) else 0.0


def _wait_for(take: Callable[[], bool | None], deadline: Deadline) -> bool:
    """Retry ``take()`` until it returns True; stop on timeout or None."""
    # Half of the remaining time, so that the login that follows has time too.
    ends_at = deadline.now() + min(_MAX_WAIT_SECONDS, deadline.left() / 2)
    while True:
        taken = take()
        if taken is None or taken:
            return bool(taken)
        if deadline.now() + _POLL_SECONDS > ends_at:
            return False
        try:
            deadline.pause(_POLL_SECONDS)
        except (DeadlineExceeded, Cancelled):
            raise
        except Exception as error:  # of a signal handler, not of the store
            raise ForeignError(error) from None
