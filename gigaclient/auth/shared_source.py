"""Share one token between processes: one login for fifty workers.

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
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient._primitives.decoding import convert
from gigaclient._primitives.extras import extra_is_missing
from gigaclient._primitives.foreign_errors import ForeignError, is_foreign
from gigaclient._primitives.secret import Secret
from gigaclient.auth.token_manager import Credential, fits_header
from gigaclient.auth.token_store import FileTokenStore, ObjectTokenStore, StoreUnusable, TokenStore
from gigaclient.errors import ConfigError

__all__ = ["SharedSource", "account_name", "share", "token_cache_setting"]

_MAX_LIFETIME_SECONDS = 24 * 3600.0
"""A token with a longer lifetime is shared for this time only, and a stored entry with a longer one is ignored."""

_log = logging.getLogger("gigaclient")


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
        # A second call means that this token was refused, expired or due for a refresh, so it is never returned again.
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
            except ForeignError as carrier:
                raise carrier.args[0] from None
            except Exception as error:
                self._check(error)
                self._warn("it cannot be locked", error)
            yield locked

    def _load(self) -> Credential | None:
        try:
            record = self._store.load(self._key)
        except Exception as error:  # a user's store may raise anything
            self._check(error)
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
        if not (token and fits_header(token)):
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
            self._check(error)
            self._warn("it cannot be written", error)

    def _check(self, error: Exception) -> None:
        """Raise an exception of a signal handler again; the code of a user's store may raise anything."""
        if isinstance(self._store, FileTokenStore) and is_foreign(error):
            raise error

    def _warn(self, problem: str, error: Exception | None = None) -> None:
        reason = problem
        if isinstance(error, StoreUnusable):
            reason = str(error)
        elif error is not None:
            # Never str(error): the exception of a cache may quote the token.
            detail = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            reason = f"{problem} ({detail})"
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("the token cache %s is not used, each process logs in by itself: %s", self._store.name, reason)


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
            raise ConfigError(extra_is_missing("a path", "filelock", "cache"))
        return os.path.abspath(path)
    if callable(getattr(value, "get", None)) and callable(getattr(value, "set", None)):
        return value
    raise ConfigError(
        f"must be the path of a file, or an object with get(key) and set(key, value, timeout) as Django's cache has, "
        f"not {type(value).__name__}"
    )
