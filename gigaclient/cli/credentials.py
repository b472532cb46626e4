"""The key that ``gigaclient login`` stores: in the system's keyring, or in a private file if there is no keyring.

A small file records where the key is, so that the keyring is opened only after a login. The module needs no optional
package: without ``keyring`` it uses the file.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.extras import extra_is_missing
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError

__all__ = [
    "MAX_KEY_CHARACTERS",
    "Credentials",
    "Place",
    "config_folder",
    "credentials_file",
    "forget",
    "in_use",
    "read_key_file",
    "state_folder",
    "store",
    "stored",
    "variable_in_use",
]

Place: TypeAlias = Literal["keyring", "file"]

_SERVICE, _USER = "gigaclient", "GigaChat"
MAX_KEY_CHARACTERS = 64 * 1024
_MAX_FILE_BYTES = 2 * MAX_KEY_CHARACTERS
_LOG_IN_AGAIN = "log in again with gigaclient login, or set GIGACHAT_CREDENTIALS"

# If one of them is set, the stored key is not used.
_VARIABLES = tuple(f"GIGACHAT_{name}" for name in ("CREDENTIALS", "ACCESS_TOKEN", "USER", "PASSWORD", "CERT_FILE"))


@dataclass(frozen=True)
class Credentials:
    """A stored key.

    Attributes:
        credentials: the authorization key, which is masked in output.
        scope: the scope that the service accepted it with.
        place: where it is stored.
        description: the place in words: ``the system's keyring (…)``, or the path of the file.
    """

    credentials: Secret
    scope: str
    place: Place
    description: str

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a client with this key. A scope in the environment takes precedence."""
        has_scope = bool(os.environ.get("GIGACHAT_SCOPE", "").strip())
        return {"credentials": self.credentials, **({} if has_scope else {"scope": self.scope})}


class _Entry(msgspec.Struct, omit_defaults=True):
    """The content of the file; it has the key itself only if there is no keyring."""

    place: Place
    scope: str
    credentials: str | None = None


def variable_in_use() -> str | None:
    """Return the environment variable that replaces the stored key; None when there is none."""
    return next((name for name in _VARIABLES if os.environ.get(name, "").strip()), None)


def config_folder() -> Path:
    """Return the folder for settings on this system; it may not exist yet."""
    if sys.platform == "win32":
        return _absolute("APPDATA", "AppData/Roaming") / "gigaclient"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/gigaclient"
    return _absolute("XDG_CONFIG_HOME", ".config") / "gigaclient"


def state_folder() -> Path:
    """Return the folder for state that is kept between runs, such as a history."""
    if sys.platform in ("win32", "darwin"):
        return config_folder()
    return _absolute("XDG_STATE_HOME", ".local/state") / "gigaclient"


def _absolute(variable: str, under_home: str) -> Path:
    # The XDG specification says to ignore relative paths.
    path = Path(os.environ.get(variable, ""))
    return path if path.is_absolute() else Path.home() / under_home


def credentials_file() -> Path:
    """Return the path of the file that ``login`` writes."""
    return config_folder() / "credentials.json"


def stored() -> Credentials | None:
    """Return the key that ``gigaclient login`` stored; None when there is none.

    Raises:
        ConfigError: the key cannot be read: others may read the file, it is damaged, or the keyring is locked.
    """
    path = credentials_file()
    entry = _read(path)
    if entry is None:
        return None
    if entry.place == "file":
        if not entry.credentials:
            raise ConfigError(f"{_short_path(path)} holds no key: {_LOG_IN_AGAIN}")
        return Credentials(Secret(entry.credentials), entry.scope, "file", _short_path(path))
    try:
        import keyring
    except ImportError:
        raise ConfigError(extra_is_missing("the key stored in the system's keyring", "keyring", "cli")) from None
    reason = None
    key: Secret | None = None
    try:
        found = keyring.get_password(_SERVICE, _USER)
        key = Secret(found) if found else None
        del found
    except Exception as error:  # backends raise various exceptions
        reason = f"{type(error).__name__}"
    if key is None:
        raise ConfigError(f"the system's keyring does not return the key ({reason or 'it has none'}): {_LOG_IN_AGAIN}")
    return Credentials(key, entry.scope, "keyring", _keyring_name(keyring.get_keyring()))


def in_use() -> Credentials | None:
    """Return the stored key, unless an environment variable replaces it; None when there is none.

    Raises:
        ConfigError: as in :func:`stored`.
    """
    return stored() if variable_in_use() is None else None


def store(credentials: str, scope: str, *, in_file: bool = False) -> Credentials:
    """Store the key: in the keyring if there is one and ``in_file`` is false, else in the file.

    Returns:
        The value that :func:`stored` returns from now on.

    Raises:
        ConfigError: the key cannot be stored.
    """
    key = Secret(credentials)
    backend = None if in_file else _keyring()
    entry = _Entry("file", scope, key.reveal())
    if backend is not None:
        try:
            backend.set_password(_SERVICE, _USER, key.reveal())
            entry = _Entry("keyring", scope)
        except Exception as error:  # backends raise various exceptions
            reason = type(error).__name__
            del entry
            raise ConfigError(
                f"the system's keyring does not accept the key ({reason}): unlock it, or store the key in a file with "
                "gigaclient login --file"
            ) from None
    elif (other_backend := _keyring()) is not None:
        with contextlib.suppress(Exception):  # it held no key
            other_backend.delete_password(_SERVICE, _USER)
    path = credentials_file()
    _write(path, entry)
    description = _short_path(path) if backend is None else _keyring_name(backend)
    return Credentials(key, scope, entry.place, description)


def forget() -> str | None:
    """Remove the stored key; return where it was, or None when there was none.

    Raises:
        ConfigError: the key cannot be removed.
    """
    path = credentials_file()
    if not path.exists():
        return None
    try:
        entry = _read(path, check_owner=False)
    except ConfigError:  # a damaged file is removed
        entry = None
    place = _short_path(path)
    if entry is not None and entry.place == "keyring":
        backend = _keyring()
        if backend is None:
            raise ConfigError("the key is in the system's keyring, which is not available now: log out when it is")
        place = _keyring_name(backend)
        with contextlib.suppress(Exception):  # the entry was removed by hand
            backend.delete_password(_SERVICE, _USER)
        remains = None
        with contextlib.suppress(Exception):
            remains = backend.get_password(_SERVICE, _USER) is not None
        if remains:
            raise ConfigError("the system's keyring keeps the key: unlock it, or remove its entry «gigaclient» by hand")
    try:
        path.unlink()
    except OSError as error:
        reason = error.strerror
        raise ConfigError(f"{place} cannot be removed: {reason}") from None
    return place


def read_key_file(path: str) -> Secret:
    """Read the key from the file of ``--credentials-file``; ``~`` is the home folder.

    Raises:
        ConfigError: the file cannot be read, or is not text.
    """
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            return Secret(file.read(MAX_KEY_CHARACTERS).strip())
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
    except UnicodeDecodeError:
        reason = "it is not text"
    raise ConfigError(f"--credentials-file {path} cannot be read: {reason}")


def _keyring() -> Any:
    try:
        import keyring
        from keyring.backends import fail, null
    except ImportError:
        return None
    try:
        backend = keyring.get_keyring()
    except Exception:  # treat a broken configuration like no keyring
        return None
    # keyrings.alt stores passwords in plain files; our file is at least private.
    unusable = isinstance(backend, (fail.Keyring, null.Keyring)) or type(backend).__module__.startswith("keyrings.alt")
    return None if unusable else backend


def _keyring_name(backend: Any) -> str:
    return f"the system's keyring ({getattr(backend, 'name', type(backend).__name__)})"


def _short_path(path: Path) -> str:
    """Shorten a path under the home folder: messages are pasted into issues and should not name the user."""
    with contextlib.suppress(ValueError, RuntimeError):
        return str(Path("~") / path.relative_to(Path.home()))
    return str(path)


def _read(path: Path, *, check_owner: bool = True) -> _Entry | None:
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if check_owner:
                _check_owner(path, status)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
                raise ConfigError(f"{_short_path(path)} is not what gigaclient login writes: {_LOG_IN_AGAIN}")
            content = file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror
        raise ConfigError(f"{_short_path(path)} cannot be read: {reason}") from None
    try:
        return decoder(_Entry).decode(content)
    except JSON_ERRORS:
        damaged = True
    assert damaged
    raise ConfigError(f"{_short_path(path)} is damaged: {_LOG_IN_AGAIN}")


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a pipe would block until another program writes to it.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_owner(path: Path, status: os.stat_result) -> None:
    if sys.platform == "win32":  # Windows has no modes; the folder belongs to the user
        return
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"other users of this machine may read {_short_path(path)}, which contains a key: chmod 600 "
            f"{_short_path(path)}, and make a new key in Studio if they may have read it"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{_short_path(path)} belongs to another user: {_LOG_IN_AGAIN}")


def _write(path: Path, entry: _Entry) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    reason = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another program may have created the folder with wider permissions.
        if sys.platform != "win32" and path.parent.stat().st_uid == os.geteuid():
            path.parent.chmod(0o700)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(entry), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror
        with contextlib.suppress(OSError):
            temporary.unlink()
    if reason is not None:
        raise ConfigError(f"{_short_path(path)} cannot be written: {reason}")
