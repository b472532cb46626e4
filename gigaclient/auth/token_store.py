"""A token that several processes share: one login for fifty workers, kept in a file or in a cache like Django's.

Off unless asked for. It stands between the :class:`~gigaclient.auth.token_manager.TokenManager` of a process and the
endpoint that
gives tokens: before a login it looks whether another process has made one. The cache helps and is never needed: when
it is broken, locked for too long or not to be trusted, that is logged once, and the process logs in by itself.

**What is stored is a secret.** Whoever reads it can call the API in your name until the token expires. The key and the
password are not stored; an account is named by a hash of them.
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

_LONGEST_LIFE = 24 * 3600.0
"""A token that claims to live longer is shared for this long, and an entry that claims more is not believed."""

_LONGEST_WAIT = 10.0
"""Seconds to wait for another process's login before logging in all the same."""

_POLL_SECONDS = 0.05
_MAX_TOKEN_CHARACTERS = 64 * 1024
_MAX_FILE_BYTES = 4 * 1024 * 1024
_MAX_ENTRIES = 100
_MARK = b'{"gigaclient tokens":1'

_log = logging.getLogger("gigaclient")


class _Unusable(Exception):
    """The cache cannot be used now; the text says why and holds no secret."""


class TokenStore(Protocol):
    """Where credentials are kept for other processes. What it gives back is not trusted."""

    name: str

    def load(self, key: str) -> Any:
        """What was saved under ``key``, or None."""

    def save(self, key: str, record: Mapping[str, Any], life: float) -> None:
        """Keep ``record`` for ``life`` seconds."""

    def lock(self, key: str, deadline: Deadline) -> contextlib.AbstractContextManager[bool]:
        """Keep other processes from logging in meanwhile; False when that did not work out in time."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    until: float  # Unix seconds: the monotonic clock of one process means nothing to another
    margin: float
    expires_at_ms: int

    def __repr__(self) -> str:
        return "<entry of the token cache>"


class SharedSource:
    """A source of credentials that asks ``store`` first: ``source(deadline) -> Credential``, as the one it wraps.

    Args:
        source: logs in.
        store: where other processes look.
        account: the hash that tells this account from others; computed at the first use, since it costs time.
        wall: Unix seconds.
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
        # Asked again for what was handed out already means: it was refused. So it is never served twice.
        self._handed_out: Secret | None = None
        self._warned: set[str] = set()

    def __call__(self, deadline: Deadline) -> Credential:
        """The credential that another process fetched, or a new one, which others then find.

        Raises:
            GigaClientError: logging in failed.
            patience.Cancelled: the call was cancelled.
        """
        if not self._key:
            self._key = self._account()
        credential = self._load()
        if credential is None:
            credential = self._login(deadline)
        self._handed_out = credential.value
        return credential

    def _login(self, deadline: Deadline) -> Credential:
        with self._locked(deadline) as locked:
            if locked:
                credential = self._load()  # somebody else may just have been here
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
                locked = False  # the login itself finds out, and says what it says
            except Cancelled:
                raise
            except Exception as error:
                self._warn("it cannot be locked", error)
            yield locked

    def _load(self) -> Credential | None:
        try:
            found = self._store.load(self._key)
        except Exception as error:  # a store of the user's own may raise anything
            self._warn("it cannot be read", error)
            return None
        return None if found is None else self._believed(found)

    def _believed(self, found: Any) -> Credential | None:
        try:
            entry = convert(found, _Entry)
        except (msgspec.MsgspecError, RecursionError):
            self._warn("it holds something else than a token")
            return None
        left = entry.until - self._wall()
        if not left > 0:
            return None  # also NaN; everything ends
        if left > _LONGEST_LIFE + 60 or not 0 <= entry.margin <= _LONGEST_LIFE or not 0 <= entry.expires_at_ms < 10**15:
            self._warn("it holds a token with an absurd expiry")
            return None
        token = Secret(entry.token)
        if not _can_be_a_token(token):
            self._warn("it holds a token that no header can carry")
            return None
        # One that is due for renewal is not worth taking over: whoever asks near the end wants a new one.
        if token == self._handed_out or left <= entry.margin:
            return None
        return Credential(
            token,
            expires_at=self._monotonic() + left,
            margin=entry.margin,
            expires_at_ms=entry.expires_at_ms,
            from_store=True,
        )

    def _save(self, credential: Credential) -> None:
        life = min(credential.expires_at - self._monotonic(), _LONGEST_LIFE)
        # One of unknown life, or with cookies, stays in this process.
        if credential.expires_at == math.inf or life <= credential.margin or credential.cookies is not None:
            return
        record = {
            "token": Secret(credential.value),
            "until": self._wall() + life,
            "margin": credential.margin,
            "expires_at_ms": credential.expires_at_ms,
        }
        try:
            self._store.save(self._key, record, life)
        except Exception as error:
            self._warn("it cannot be written", error)

    def _warn(self, what: str, error: Exception | None = None) -> None:
        reason = what
        if isinstance(error, _Unusable):
            reason = str(error)
        elif error is not None:
            # Not str(): what a cache raises may quote the value.
            told = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            reason = f"{what} ({told})"
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("the token cache %s is not used, each process logs in by itself: %s", self._store.name, reason)


def _can_be_a_token(token: Secret) -> bool:
    text = token.reveal()
    return 0 < len(text) <= _MAX_TOKEN_CHARACTERS and text.isascii() and text.isprintable() and " " not in text


class FileTokenStore:
    """A file that this user alone can read, inside a folder that this user alone can change.

    Several accounts may share it. It is written whole and put in place in one step, under a lock held by means of a
    second file beside it (``<path>.lock``). A file that is not ours by content is left alone.

    Args:
        path: absolute.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        self._path = path

    def load(self, key: str) -> Any:
        self._check_folder(make=False)
        return self._entries(self._read()).get(key)

    def save(self, key: str, record: Mapping[str, Any], life: float) -> None:
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
        fresh = self._path + ".new"  # under the lock there is one writer, so a name that a crash left is free again
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(fresh, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise

    @contextlib.contextmanager
    def lock(self, key: str, deadline: Deadline) -> Iterator[bool]:
        self._check_folder(make=True)
        import filelock

        # A new one each time: a fork must not inherit a lock that the parent holds.
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
                with contextlib.suppress(Exception):  # the system lets go of it with the descriptor
                    lock.release()

    def _check_folder(self, *, make: bool) -> None:
        folder = os.path.dirname(self._path)
        if make:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        try:
            found = os.stat(folder)
        except FileNotFoundError:
            return
        if hasattr(os, "geteuid"):  # elsewhere the folders of users are protected otherwise
            if found.st_uid != os.geteuid():
                raise _Unusable(f"the folder {folder} belongs to another user")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
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
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _Unusable("it is not a plain file")
            data = file.read(_MAX_FILE_BYTES + 1)
        if hasattr(os, "geteuid"):
            if found.st_uid != os.geteuid():
                raise _Unusable("it belongs to another user")
            if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
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
    """The file is ours and not to be trusted: the next login writes it anew."""


class ObjectTokenStore:
    """A cache of the user's own: ``get(key)`` and ``set(key, value, timeout)``, as Django's has them.

    Where it has ``add`` and ``delete`` as well, as Django's has, they serve as a lock; without them, processes that
    start together log in once each.
    """

    def __init__(self, cache: Any) -> None:
        self.name = type(cache).__name__
        self._cache = cache

    def load(self, key: str) -> Any:
        found = self._cache.get(_name(key))
        if found is None:
            return None
        if not isinstance(found, (str, bytes)) or len(found) > 2 * _MAX_TOKEN_CHARACTERS:
            raise _Unusable("it holds something else than a token")
        try:
            return msgspec.json.decode(found)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return "junk"

    def save(self, key: str, record: Mapping[str, Any], life: float) -> None:
        plain = {**record, "token": Secret(record["token"]).reveal()}
        self._cache.set(_name(key), msgspec.json.encode(plain).decode("ascii"), max(1, int(life)))

    @contextlib.contextmanager
    def lock(self, key: str, deadline: Deadline) -> Iterator[bool]:
        add, delete = getattr(self._cache, "add", None), getattr(self._cache, "delete", None)
        name, owner = f"gigaclient:login:{key}", str(uuid.uuid4())
        if add is None or delete is None:
            yield True
            return
        missing = 0

        def take() -> bool | None:
            nonlocal missing
            if add(name, owner, int(3 * _LONGEST_WAIT)):
                return True
            # A cache that is down refuses to add and has no holder either: nobody is worth waiting for.
            missing = missing + 1 if self._cache.get(name) is None else 0
            return None if missing > 3 else False

        taken = _wait_for(take, deadline)
        try:
            yield taken
        finally:
            if taken:
                with contextlib.suppress(Exception):  # it ends by itself
                    if self._cache.get(name) == owner:
                        delete(name)


def _name(key: str) -> str:
    return f"gigaclient:token:{key}"


def _until(entry: Any) -> float:
    until = entry.get("until") if isinstance(entry, dict) else None
    return float(until) if isinstance(until, (int, float)) else 0.0


def _wait_for(take: Callable[[], bool | None], deadline: Deadline) -> bool:
    """Try until it works or the time is up; None from ``take`` gives up at once."""
    # Half of what is left, so that the login that follows has a chance.
    until = deadline.now() + min(_LONGEST_WAIT, deadline.left() / 2)
    while True:
        taken = take()
        if taken is None or taken:
            return bool(taken)
        if deadline.now() + _POLL_SECONDS > until:
            return False
        deadline.pause(_POLL_SECONDS)


def account_name(secret: Secret, *parts: str) -> str:
    """A name for the account that ``secret`` and ``parts`` belong to, from which nobody finds the secret.

    Slow on purpose: a password, unlike a key, can be guessed.
    """
    salt = "\0".join(parts).encode()
    return hashlib.pbkdf2_hmac("sha256", secret.reveal().encode(), b"gigaclient\0" + salt, 200_000).hex()


def share(
    source: Callable[[Deadline], Credential], cache: Any, secret: Secret, *parts: str
) -> Callable[[Deadline], Credential]:
    """``source``, shared through ``cache``: what :func:`token_cache_setting` gave, or None for not at all."""
    if cache is None:
        return source
    store: TokenStore = FileTokenStore(cache) if isinstance(cache, str) else ObjectTokenStore(cache)
    return SharedSource(source, store, lambda: account_name(secret, *parts))


def token_cache_setting(value: Any) -> Any:
    """The setting ``token_cache``: an absolute path, or an object with ``get`` and ``set``.

    Raises:
        ConfigError: it is neither, or a path and the package ``filelock`` is missing.
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
