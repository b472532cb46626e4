"""The key that ``gigaclient login`` keeps: in the system's keyring, or where there is none, in a file of its owner's.

A small file says where the key is, so that nobody who never logged in has a keyring opened on every call. Needs no
optional package: without ``keyring`` the file is all there is.
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
from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError

__all__ = [
    "Credentials",
    "Place",
    "config_folder",
    "credentials_file",
    "forget",
    "has_keyring",
    "state_folder",
    "store",
    "stored",
    "variable_in_use",
]

Place: TypeAlias = Literal["keyring", "file"]

_SERVICE, _USER = "gigaclient", "GigaChat"
_LOG_IN_AGAIN = "log in again with gigaclient login, or set GIGACHAT_CREDENTIALS"

# Any of them answers the question who we are, and the stored key is left aside.
_VARIABLES = tuple(f"GIGACHAT_{name}" for name in ("CREDENTIALS", "ACCESS_TOKEN", "USER", "PASSWORD", "CERT_FILE"))


@dataclass(frozen=True)
class Credentials:
    """A stored key.

    Attributes:
        credentials: the authorization key, which does not show itself.
        scope: the scope that it was accepted with.
        place: where it is kept.
        description: the same for people: ``the system's keyring (…)``, or the file's path.
    """

    credentials: Secret
    scope: str
    place: Place
    description: str


class _Note(msgspec.Struct, omit_defaults=True):
    """What the file holds; the key itself only when there is no keyring."""

    place: Literal["keyring", "file"]
    scope: str
    credentials: str | None = None


def variable_in_use() -> str | None:
    """The environment variable that says who we are; None when a stored key may."""
    return next((name for name in _VARIABLES if os.environ.get(name, "").strip()), None)


def config_folder() -> Path:
    """Where this system keeps settings of programs for this user; the folder itself may not be there yet."""
    if sys.platform == "win32":
        return _absolute("APPDATA", "AppData/Roaming") / "gigaclient"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/gigaclient"
    return _absolute("XDG_CONFIG_HOME", ".config") / "gigaclient"


def state_folder() -> Path:
    """Where it keeps what they remember between runs, such as a history."""
    if sys.platform in ("win32", "darwin"):
        return config_folder()
    return _absolute("XDG_STATE_HOME", ".local/state") / "gigaclient"


def _absolute(variable: str, under_home: str) -> Path:
    # The XDG specification wants relative paths ignored.
    given = Path(os.environ.get(variable, ""))
    return given if given.is_absolute() else Path.home() / under_home


def credentials_file() -> Path:
    """The file that ``login`` writes."""
    return config_folder() / "credentials.json"


def stored() -> Credentials | None:
    """The key that ``gigaclient login`` stored; None when there is none.

    Raises:
        ConfigError: there is one, and it cannot be had: others may read the file, it is damaged, the keyring is locked.
    """
    path = credentials_file()
    note = _read(path)
    if note is None:
        return None
    if note.place == "file":
        if not note.credentials:
            raise ConfigError(f"{_shown(path)} holds no key: {_LOG_IN_AGAIN}")
        return Credentials(Secret(note.credentials), note.scope, "file", _shown(path))
    try:
        import keyring
    except ImportError:
        raise ConfigError(
            'the key is in the system\'s keyring, and keyring is not installed: pip install "gigaclient[cli]"'
        ) from None
    reason = None
    key: Secret | None = None
    try:
        found = keyring.get_password(_SERVICE, _USER)
        key = Secret(found) if found else None
        del found
    except Exception as error:  # each backend has its own
        reason = f"{type(error).__name__}"
    if key is None:
        raise ConfigError(f"the system's keyring does not give the key ({reason or 'it has none'}): {_LOG_IN_AGAIN}")
    return Credentials(key, note.scope, "keyring", _keyring_name(keyring.get_keyring()))


def store(credentials: str, scope: str, *, in_file: bool = False) -> Credentials:
    """Keep the key: in the keyring if there is one and ``in_file`` is false, else in the file.

    Returns:
        What :func:`stored` will give from now on.

    Raises:
        ConfigError: neither takes it.
    """
    key = Secret(credentials)
    backend = None if in_file else _keyring()
    note = _Note("file", scope, key.reveal())
    if backend is not None:
        try:
            backend.set_password(_SERVICE, _USER, key.reveal())
            note = _Note("keyring", scope)
        except Exception as error:  # each backend has its own
            reason = type(error).__name__
            del note
            raise ConfigError(
                f"the system's keyring does not take the key ({reason}): unlock it, or store the key in a file with "
                "gigaclient login --file"
            ) from None
    elif (kept_elsewhere := _keyring()) is not None:
        with contextlib.suppress(Exception):  # there was none
            kept_elsewhere.delete_password(_SERVICE, _USER)
    path = credentials_file()
    _write(path, note)
    description = _shown(path) if backend is None else _keyring_name(backend)
    return Credentials(key, scope, note.place, description)


def forget() -> str | None:
    """Remove the stored key; where it was, or None when there was none.

    Raises:
        ConfigError: it cannot be removed.
    """
    path = credentials_file()
    if not path.exists():
        return None
    try:
        note = _read(path, guarded=False)
    except ConfigError:  # damaged: away with it
        note = None
    where = _shown(path)
    if note is not None and note.place == "keyring":
        backend = _keyring()
        if backend is None:
            raise ConfigError("the key is in the system's keyring, which is not there now: log out when it is")
        where = _keyring_name(backend)
        with contextlib.suppress(Exception):  # somebody removed it by hand
            backend.delete_password(_SERVICE, _USER)
        left = None
        with contextlib.suppress(Exception):
            left = backend.get_password(_SERVICE, _USER) is not None
        if left:
            raise ConfigError("the system's keyring keeps the key: unlock it, or remove its entry «gigaclient» by hand")
    try:
        path.unlink()
    except OSError as error:
        reason = error.strerror
        raise ConfigError(f"{where} cannot be removed: {reason}") from None
    return where


def has_keyring() -> bool:
    """Whether there is a keyring to store a key in."""
    return _keyring() is not None


def _keyring() -> Any:
    try:
        import keyring
        from keyring.backends import fail, null
    except ImportError:
        return None
    try:
        backend = keyring.get_keyring()
    except Exception:  # a broken configuration of it is as good as none
        return None
    # keyrings.alt has backends that keep passwords in plain files; ours is at least closed to others.
    nobody = isinstance(backend, (fail.Keyring, null.Keyring)) or type(backend).__module__.startswith("keyrings.alt")
    return None if nobody else backend


def _keyring_name(backend: Any) -> str:
    return f"the system's keyring ({getattr(backend, 'name', type(backend).__name__)})"


def _shown(path: Path) -> str:
    """``path`` without the name of its owner: such lines are pasted into issues."""
    with contextlib.suppress(ValueError, RuntimeError):
        return str(Path("~") / path.relative_to(Path.home()))
    return str(path)


def _read(path: Path, *, guarded: bool = True) -> _Note | None:
    try:
        with open(path, "rb") as file:
            if guarded:
                _check_owner(path, os.fstat(file.fileno()))
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror
        raise ConfigError(f"{_shown(path)} cannot be read: {reason}") from None
    try:
        return decoder(_Note).decode(content)
    except msgspec.MsgspecError:
        damaged = True
    assert damaged
    raise ConfigError(f"{_shown(path)} is damaged: {_LOG_IN_AGAIN}")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if sys.platform == "win32":  # no modes there; the folder is the user's own
        return
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"other users of this machine may read {_shown(path)}, which holds a key: chmod 600 {_shown(path)}, and "
            "make a new key in Studio if they may have read it"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{_shown(path)} belongs to another user: {_LOG_IN_AGAIN}")


def _write(path: Path, note: _Note) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    reason = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another program may have made the folder, for everybody.
        if sys.platform != "win32" and path.parent.stat().st_uid == os.geteuid():
            path.parent.chmod(0o700)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror
        with contextlib.suppress(OSError):
            temporary.unlink()
    if reason is not None:
        raise ConfigError(f"{_shown(path)} cannot be written: {reason}")
