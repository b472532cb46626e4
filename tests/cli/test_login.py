"""``login`` and ``logout``: where the key is stored, its permissions, and that it is never shown."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest
from support.terminal import run, write_private

from gigaclient import ConfigError
from gigaclient.cli import credentials
from gigaclient.testing import Fault, GigaChatEmulator


class Keyring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1  # type: ignore[assignment]
    name = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.passwords: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked("the password is hunter2")
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise keyring.errors.PasswordSetError("locked")
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.passwords:
            raise keyring.errors.PasswordDeleteError("none")
        del self.passwords[service, username]


@pytest.fixture
def no_keyring() -> Iterator[None]:
    from keyring.backends import fail

    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


@pytest.fixture
def ring() -> Iterator[Keyring]:
    before, memory = keyring.get_keyring(), Keyring()
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(before)


@pytest.fixture
def key(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a valid key that is not in the environment."""
    monkeypatch.delenv("GIGACHAT_CREDENTIALS")
    monkeypatch.delenv("GIGACHAT_SCOPE")
    return emulator.credentials


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- a keyring ---------------------------------------------------------------------------------------------------------


def test_the_key_goes_into_the_keyring_and_is_used(ring: Keyring, key: str, folders: Path) -> None:
    ended = run("login", stdin=key + "\n")
    assert ended.code == 0, ended.err
    assert "the system's keyring (memory)" in ended.out
    assert list(ring.passwords.values()) == [key]
    assert key not in (folders / "credentials.json").read_text()
    assert run("tokens", "Hello").out == "2\n"


def test_logout_empties_the_keyring(ring: Keyring, key: str, folders: Path) -> None:
    run("login", stdin=key)
    assert "keyring" in run("logout").out
    assert ring.passwords == {}
    assert not (folders / "credentials.json").exists()
    assert run("tokens", "Hello").code == 3
    assert run("logout").out == "There was no stored key.\n"


def test_a_file_can_be_chosen_and_then_the_keyring_holds_no_older_key(ring: Keyring, key: str, folders: Path) -> None:
    run("login", stdin=key)
    assert run("login", "--file", stdin=key).code == 0
    assert ring.passwords == {}
    assert key in (folders / "credentials.json").read_text()
    assert run("tokens", "Hello").code == 0


def test_a_keyring_that_refuses_the_key_is_reported(ring: Keyring, key: str, folders: Path) -> None:
    ring.locked = True
    ended = run("login", stdin=key)
    assert ended.code == 3
    assert "--file" in ended.err
    assert not folders.exists()


def test_a_locked_keyring_is_reported_without_its_message(ring: Keyring, key: str) -> None:
    run("login", stdin=key)
    ring.locked = True
    ended = run("tokens", "Hello")
    assert ended.code == 3
    assert "KeyringLocked" in ended.err
    assert "hunter2" not in ended.err


def test_without_a_login_no_keyring_is_opened(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)  # makes its import fail
    assert credentials.stored() is None
    ended = run("tokens", "Hello")
    assert ended.code == 3
    assert "there is no key" in ended.err


def test_without_the_package_keyring_the_error_names_the_extra(
    ring: Keyring, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("login", stdin=key)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError, match='needs keyring, which is not installed: pip install "click'):
        credentials.stored()


# -- a file ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_keyring")
def test_without_a_keyring_the_key_is_in_a_private_file(key: str, folders: Path) -> None:
    folders.parent.mkdir()
    folders.mkdir(mode=0o755)
    ended = run("login", stdin=key)
    assert ended.code == 0, ended.err
    path = folders / "credentials.json"
    assert str(path) in ended.out
    assert (mode(path), mode(folders)) == (0o600, 0o700)
    assert [child.name for child in folders.iterdir()] == ["credentials.json"]
    stored = credentials.stored()
    assert stored is not None
    assert (stored.credentials.reveal(), stored.scope, stored.place) == (key, "GIGACHAT_API_PERS", "file")
    assert key not in repr(stored)
    assert run("logout", "--json").json == {"removed": True, "place": str(path)}
    assert not path.exists()


@pytest.mark.usefixtures("no_keyring")
@pytest.mark.parametrize("others", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_read_is_refused_with_advice(others: int, key: str, folders: Path) -> None:
    run("login", stdin=key)
    (folders / "credentials.json").chmod(others)
    ended = run("tokens", "Hello")
    assert ended.code == 3
    assert "chmod 600" in ended.err
    assert "new key" in ended.err
    assert key not in ended.err
    assert run("login", stdin=key).code == 0
    assert run("tokens", "Hello").code == 0


@pytest.mark.usefixtures("no_keyring")
@pytest.mark.parametrize("content", ["", "{", "[]", '{"place": "file"}', '{"place": "file", "scope": "x"}'])
def test_a_damaged_file_is_reported_and_can_be_removed(content: str, key: str, folders: Path) -> None:
    write_private(folders / "credentials.json", content)
    ended = run("tokens", "Hello")
    assert ended.code == 3
    assert "log in again" in ended.err
    assert run("logout").code == 0
    assert credentials.stored() is None


@pytest.mark.usefixtures("no_keyring")
def test_a_file_that_is_a_pipe_or_endless_is_reported_at_once(folders: Path) -> None:
    path = folders / "credentials.json"
    write_private(path, "{}")
    os.truncate(path, 3 * 2**30)  # a sparse file that uses no disk space
    assert "not what gigaclient login writes" in run("tokens", "Hello").err
    path.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path, 0o600)  # nobody writes to it
        assert "not what gigaclient login writes" in run("tokens", "Hello").err
    path.unlink()


@pytest.mark.usefixtures("no_keyring")
def test_a_path_under_home_is_shown_without_the_name_of_its_owner(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative/paths/are/ignored")
    ended = run("login", stdin=key)
    assert "~/.config/gigaclient/credentials.json" in ended.out
    assert credentials.credentials_file() == Path.home() / ".config/gigaclient/credentials.json"


APPLICATION_SUPPORT = "home/Library/Application Support"


@pytest.mark.parametrize(
    ("system", "variables", "config", "state"),
    [
        ("linux", {}, "home/.config", "home/.local/state"),
        ("linux", {"XDG_CONFIG_HOME": "xdg/c", "XDG_STATE_HOME": "xdg/s"}, "xdg/c", "xdg/s"),
        ("darwin", {}, APPLICATION_SUPPORT, APPLICATION_SUPPORT),
        ("darwin", {"XDG_CONFIG_HOME": "xdg/c"}, APPLICATION_SUPPORT, APPLICATION_SUPPORT),
        ("win32", {}, "home/AppData/Roaming", "home/AppData/Roaming"),
        ("win32", {"APPDATA": "roaming"}, "roaming", "roaming"),
    ],
    ids=["Linux", "Linux with XDG", "macOS", "macOS with XDG", "Windows", "Windows with APPDATA"],
)
def test_each_system_has_its_folders(
    system: str, variables: dict[str, str], config: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in variables.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr(sys, "platform", system)
    assert credentials.config_folder() == tmp_path / config / "gigaclient"
    assert credentials.state_folder() == tmp_path / state / "gigaclient"


@pytest.mark.usefixtures("no_keyring")
def test_a_folder_that_cannot_be_written_is_reported(key: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where a folder should be")
    ended = run("login", stdin=key)
    assert ended.code == 3
    assert "cannot be" in ended.err
    assert key not in ended.err


# -- validation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["GIGACHAT_API_B2B", "GIGACHAT_API_CORP"])
def test_the_scope_is_detected_and_used(scope: str, ring: Keyring, key: str, emulator: GigaChatEmulator) -> None:
    company = emulator.add_credentials(scope)
    assert run("login", "--json", stdin=company).json["scope"] == scope
    assert run("tokens", "Hello").code == 0


def test_a_scope_that_does_not_fit_is_refused(ring: Keyring, key: str) -> None:
    ended = run("login", "--scope", "GIGACHAT_API_CORP", stdin=key)
    assert ended.code == 3
    assert "another plan" in ended.err
    assert ring.passwords == {}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", ""])
def test_spaces_and_the_scheme_around_the_key_are_removed(line_end: str, ring: Keyring, key: str) -> None:
    assert run("login", stdin=f"\ufeff  Basic {key} {line_end}").code == 0
    assert list(ring.passwords.values()) == [key]


def test_a_refused_key_is_not_stored(ring: Keyring, key: str, folders: Path) -> None:
    with GigaChatEmulator() as other:
        unknown = other.credentials
    ended = run("login", stdin=unknown)
    assert ended.code == 3
    assert unknown not in ended.err
    assert ring.passwords == {}
    assert not folders.exists()


def test_an_unverified_key_is_not_stored(
    ring: Keyring, key: str, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_MAX_RETRIES", "0")
    emulator.inject(Fault(status=503), path="/oauth")
    assert run("login", stdin=key).code == 8
    assert ring.passwords == {}


@pytest.mark.parametrize("text", ["", "\n", "4f8c0a52-6a6e-4c93-9d0c-0d1b7a1f2e3d", "not base64!"])
def test_an_invalid_key_is_refused_before_anything_is_sent(
    text: str, ring: Keyring, key: str, emulator: GigaChatEmulator
) -> None:
    before = emulator.oauth_calls
    ended = run("login", stdin=text)
    assert (ended.code, ended.out) == (3, "")
    assert not text.strip() or text.strip() not in ended.err
    assert emulator.oauth_calls == before


def test_the_key_is_never_an_argument(ring: Keyring, key: str) -> None:
    ended = run("login", key)
    assert ended.code == 2
    assert ring.passwords == {}


# -- precedence --------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default:credentials is")
def test_the_environment_overrides_the_stored_key(
    ring: Keyring, key: str, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("login", stdin=key)
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", "not-base64!")
    assert run("tokens", "Hello").code == 3
    warned = run("login", stdin=key)
    assert "GIGACHAT_CREDENTIALS is set, and is used instead" in warned.err
    monkeypatch.delenv("GIGACHAT_CREDENTIALS")
    monkeypatch.setenv("GIGACHAT_ACCESS_TOKEN", emulator.issue_token())
    ring.locked = True
    assert run("tokens", "Hello").code == 0


def test_status_names_the_source_and_not_the_key(
    ring: Keyring, key: str, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (run("login", "--status").code, run("login", "--status", "--json").json) == (3, {"logged_in": False})
    run("login", stdin=key)
    calls = emulator.oauth_calls
    stored = run("login", "--status", "--json").json
    assert (stored["place"], stored["scope"]) == ("keyring", "GIGACHAT_API_PERS")
    assert "keyring (memory)" in run("login", "--status").out
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", key)
    from_variable = run("login", "--status", "--json").json
    assert (from_variable["place"], from_variable["description"]) == ("environment", "GIGACHAT_CREDENTIALS")
    assert emulator.oauth_calls == calls
    assert key not in json.dumps([stored, from_variable])


def test_no_output_shows_the_key_or_its_secret_half(ring: Keyring, key: str) -> None:
    import base64

    secret = base64.b64decode(key).decode().partition(":")[2]
    commands = (("login",), ("login", "--json"), ("login", "--status"), ("models", "--debug"), ("logout",))
    for command in commands:
        ended = run(*command, stdin=key)
        assert ended.code == 0, ended.err
        assert key not in ended.out + ended.err
        assert key[:12] not in ended.out + ended.err
        assert secret not in ended.out + ended.err
