"""Share one token between processes: one login for fifty workers, in a file or in a cache like Django's.

It is off by default. It is placed between the :class:`~gigaclient.auth.token_manager.TokenManager` of a process and the
token endpoint: before a login it looks for the token of another process. The store is optional: when it is broken,
locked for too long or not trustworthy, that is logged once, and the process logs in by itself.

**The stored token is a secret.** Anyone who reads it can call the API in your name until the token expires. The key and
the password are not stored; an account is identified by a hash of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient._primitives.decoding import convert
from gigaclient._primitives.secret import Secret
from gigaclient.auth.token_manager import Credential
from gigaclient.errors import ConfigError

__all__ = [
    "FileTokenStore",
    "ObjectTokenStore",
    "SharedSource",
    "TokenStore",
    "account_name",
    "share",
    "token_cache_setting",
]

_MAX_LIFETIME_SECONDS = 24 * 3600.0
"""A token with a longer lifetime is shared for this time only, and a stored entry with a longer one is ignored."""

_MAX_WAIT_SECONDS = 10.0
"""The longest wait for the login of another process, before this process logs in by itself."""

_POLL_SECONDS = 0.05
_MAX_TOKEN_CHARACTERS = 64 * 1024
_MAX_FILE_BYTES = 4 * 1024 * 1024
_MAX_ENTRIES = 100
_MARK = b'{"gigaclient tokens":1'

_log = logging.getLogger("gigaclient")


class _Unusable(Exception):
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


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    until: float  # Unix seconds, because monotonic clocks differ between processes
    margin: float
    expires_at_ms: int

    def __repr__(self) -> str:
        return "<entry of the token cache>"


class SharedSource:
    """A source of credentials that looks in ``store`` first; called as ``source(deadline)``, like the one it wraps.

    Args:
        source: logs in.
        store: the store shared with other processes.
        account: returns the hash that identifies the account; called at the first use, because it is slow.
        wall: the Unix time, in seconds.
        monotonic: the clock of :class:`~gigaclient.auth.token_manager.Credential`.
    """

    def __init__(
        self,
        source: Callable[[Deadline], Credential],
        store: TokenStore,
        account: Callable[[], str],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._store = store
        self._account = account
        self._wall = wall
        self._monotonic = monotonic
        self._key = ""
        # A second request for a token means that this one was refused, so it is never returned again.
        self._last_returned: Secret | None = None
        self._warned: set[str] = set()

    def __call__(self, deadline: Deadline) -> Credential:
        """Return the stored credential of another process; otherwise log in and store the new one.

        Raises:
            GigaClientError: the login failed.
            Cancelled: the call was cancelled.
        """
        if not self._key:
            self._key = self._account()
        credential = self._load()
        if credential is None:
            credential = self._login(deadline)
        self._last_returned = credential.value
        return credential

    def _login(self, deadline: Deadline) -> Credential:
        with self._locked(deadline) as locked:
            if locked:
                credential = self._load()  # another process may have logged in while this one waited for the lock
                if credential is not None:
                    return credential
            credential = self._source(deadline)
            if locked:
                self._save(credential)
            return credential

    @contextlib.contextmanager
    def _locked(self, deadline: Deadline) -> Iterator[bool]:
        with contextlib.ExitStack() as stack:
            locked = False
            try:
                locked = stack.enter_context(self._store.lock(self._key, deadline))
            except DeadlineExceeded:
                locked = False  # the login that follows raises the right error
            except Cancelled:
                raise
            except Exception as error:
                self._warn("it cannot be locked", error)
            yield locked

    def _load(self) -> Credential | None:
        try:
            record = self._store.load(self._key)
        except Exception as error:  # a user's store may raise anything
            self._warn("it cannot be read", error)
            return None
        return None if record is None else self._validate(record)

    def _validate(self, record: Any) -> Credential | None:
        try:
            entry = convert(record, _Entry)
        except (msgspec.MsgspecError, RecursionError):
            self._warn("it holds something else than a token")
            return None
        left = entry.until - self._wall()
        if not left > 0:
            return None  # expired, or NaN
        if (
            left > _MAX_LIFETIME_SECONDS + 60
            or not 0 <= entry.margin <= _MAX_LIFETIME_SECONDS
            or not 0 <= entry.expires_at_ms < 10**15
        ):
            self._warn("it holds a token with an absurd expiry")
            return None
        token = Secret(entry.token)
        if not _is_token(token):
            self._warn("it holds a token that no header can carry")
            return None
        # A token that is due for a refresh is useless here: a refresh calls this source to get a new one.
        if token == self._last_returned or left <= entry.margin:
            return None
        return Credential(
            token,
            expires_at=self._monotonic() + left,
            margin=entry.margin,
            expires_at_ms=entry.expires_at_ms,
            from_store=True,
        )

    def _save(self, credential: Credential) -> None:
        lifetime = min(credential.expires_at - self._monotonic(), _MAX_LIFETIME_SECONDS)
        # A credential of unknown lifetime or with cookies is not shared.
        if credential.expires_at == math.inf or lifetime <= credential.margin or credential.cookies is not None:
            return
        record = {
            "token": Secret(credential.value),
            "until": self._wall() + lifetime,
            "margin": credential.margin,
            "expires_at_ms": credential.expires_at_ms,
        }
        try:
            self._store.save(self._key, record, lifetime)
        except Exception as error:
            self._warn("it cannot be written", error)

    def _warn(self, problem: str, error: Exception | None = None) -> None:
        reason = problem
        if isinstance(error, _Unusable):
            reason = str(error)
        elif error is not None:
            # Never str(error): the exception of a cache may quote the token.
            detail = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            reason = f"{problem} ({detail})"
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("the token cache %s is not used, each process logs in by itself: %s", self._store.name, reason)


def _is_token(token: Secret) -> bool:
    text = token.reveal()
    return 0 < len(text) <= _MAX_TOKEN_CHARACTERS and text.isascii() and text.isprintable() and " " not in text


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
        descriptor = os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            with open(descriptor, "wb") as file:
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
                raise _Unusable(f"the folder {folder} belongs to another user")
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _Unusable(f"others may write in the folder {folder}: chmod 700 it")

    def _read(self) -> bytes:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        if os.path.islink(self._path):
            raise _Unusable("it is a symbolic link")
        try:
            descriptor = os.open(self._path, flags)
        except FileNotFoundError:
            return b""
        with open(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _Unusable("it is not a plain file")
            data = file.read(_MAX_FILE_BYTES + 1)
        if hasattr(os, "geteuid"):
            if status.st_uid != os.geteuid():
                raise _Unusable("it belongs to another user")
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                problem = "others may read or write it: it must have mode 0600"
                raise _Replaceable(problem) if data.startswith(_MARK) else _Unusable(problem)
        return data

    @staticmethod
    def _entries(data: bytes) -> dict[str, Any]:
        if not data:
            return {}
        if not data.startswith(_MARK):
            raise _Unusable("it is something else than a token cache: delete it, or give another path")
        if len(data) > _MAX_FILE_BYTES:
            raise _Replaceable("it is too large")
        try:
            content = msgspec.json.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            content = None
        entries = content.get("entries") if isinstance(content, dict) else None
        if not isinstance(entries, dict):
            raise _Replaceable("it is damaged")
        return entries


class _Replaceable(_Unusable):
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
        if not isinstance(value, (str, bytes)) or len(value) > 2 * _MAX_TOKEN_CHARACTERS:
            raise _Unusable("it holds something else than a token")
        try:
            return msgspec.json.decode(value)
        except (msgspec.MsgspecError, ValueError, RecursionError):
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


def _cache_key(key: str) -> str:
    return f"gigaclient:token:{key}"


def _until(entry: Any) -> float:
    until = entry.get("until") if isinstance(entry, dict) else None
    return float(until) if isinstance(until, (int, float)) else 0.0


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
        deadline.pause(_POLL_SECONDS)


def account_name(secret: Secret, *parts: str) -> str:
    """Return a hash that identifies the account of ``secret`` and ``parts``, and does not reveal the secret.

    It is slow on purpose, because a password, unlike a key, can be guessed.
    """
    salt = "\0".join(parts).encode()
    return hashlib.pbkdf2_hmac("sha256", secret.reveal().encode(), b"gigaclient\0" + salt, 200_000).hex()


def share(
    source: Callable[[Deadline], Credential], cache: Any, secret: Secret, *parts: str
) -> Callable[[Deadline], Credential]:
    """Share ``source`` through ``cache``, a result of :func:`token_cache_setting`; None returns ``source`` itself."""
    if cache is None:
        return source
    store: TokenStore = FileTokenStore(cache) if isinstance(cache, str) else ObjectTokenStore(cache)
    return SharedSource(source, store, lambda: account_name(secret, *parts))


def token_cache_setting(value: Any) -> Any:
    """Validate the setting ``token_cache``; return an absolute path, or an object with ``get`` and ``set``.

    Raises:
        ConfigError: it is neither, or it is a path and the package ``filelock`` is missing.
    """
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(value))
        if not isinstance(path, str) or not path.strip():
            raise ConfigError("must be the path of a file")
        try:
            import filelock  # noqa: F401
        except ImportError:
            path = ""
        if not path:
            raise ConfigError('a path needs the package filelock: pip install "gigaclient[cache]"')
        return os.path.abspath(path)
    if callable(getattr(value, "get", None)) and callable(getattr(value, "set", None)):
        return value
    raise ConfigError(
        f"must be the path of a file, or an object with get(key) and set(key, value, timeout) as Django's cache has, "
        f"not {type(value).__name__}"
    )
