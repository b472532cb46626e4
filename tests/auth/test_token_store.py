"""Tests of token stores: one login for several processes, and validation of everything that is stored."""

from __future__ import annotations

import json
import logging
import os
import pickle
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.reliability_tools import descriptors, finish, python, run_python, together, wait_until

from gigaclient import ConfigError, GigaChat
from gigaclient._primitives.deadline import Cancelled, Deadline, Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient.auth.shared_source import SharedSource
from gigaclient.auth.token_manager import Credential
from gigaclient.auth.token_store import FileTokenStore, ObjectTokenStore
from gigaclient.errors import AuthenticationError
from gigaclient.testing import Fault, GigaChatEmulator

ACCOUNT = "a" * 64
WALL = 1_800_000_000.0

WORKER = """
from gigaclient import GigaChat
with GigaChat(**parameters["options"]) as giga:
    print("ready", flush=True)
    sys.stdin.readline()
    print(giga.chat(f"Say {parameters['word']} and nothing else").text)
"""


class Cache:
    """A cache with the interface of Django's, without expiry."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}
        self.lives: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.content.get(key)

    def set(self, key: str, value: Any, timeout: Any) -> None:
        self.content[key] = value
        self.lives[key] = timeout


class LockingCache(Cache):
    def add(self, key: str, value: Any, timeout: Any) -> bool:
        return self.content.setdefault(key, value) is value

    def delete(self, key: str) -> None:
        del self.content[key]


@pytest.fixture
def path(tmp_path: Path) -> str:
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    return str(folder / "token")


def deadline(**timeouts: float) -> Deadline:
    return Deadline(Timeouts(**timeouts))


def logins(life: float = 1800.0) -> Callable[[Deadline], Credential]:
    """Return a source with numbered tokens."""
    made: list[int] = []

    def source(_: Deadline) -> Credential:
        made.append(1)
        return Credential(Secret(f"token-{len(made)}"), expires_at=time.monotonic() + life, expires_at_ms=1)

    return source


def reader(store: Any) -> SharedSource:
    """Return the source of another process, whose own logins have another token."""
    return SharedSource(
        lambda _: Credential(Secret("its-own"), expires_at=time.monotonic() + 1800), store, lambda: ACCOUNT
    )


def token_of(source: SharedSource) -> str:
    return source(deadline()).value.reveal()


def write_entry(path: str, **changes: Any) -> dict[str, Any]:
    """Write an entry to the file as another process would, with ``changes``."""
    SharedSource(logins(), FileTokenStore(path), lambda: ACCOUNT)(deadline())
    content: dict[str, Any] = json.loads(Path(path).read_text())
    content["entries"][ACCOUNT].update(changes)
    mode = stat.S_IMODE(os.stat(path).st_mode)
    text = json.dumps(content, separators=(",", ":"))
    Path(path).write_text(text)
    os.chmod(path, mode)
    return content


# -- many processes ----------------------------------------------------------------------------------


def test_eight_processes_that_start_together_make_one_login(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    gigachat_emulator.oauth_pause_s = 0.3  # long enough for all processes to find the cache empty
    options = {**gigachat_emulator.client_options, "token_cache": path}
    children = [python(WORKER, {"options": options, "word": f"word{number}"}) for number in range(8)]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    assert [finish(child)[0].strip() for child in children] == [f"word{number}" for number in range(8)]
    assert gigachat_emulator.oauth_calls == 1


def test_without_the_setting_each_process_logs_in(gigachat_emulator: GigaChatEmulator) -> None:
    script = WORKER.replace("sys.stdin.readline()", "")
    for _ in range(2):
        run_python(script, {"options": gigachat_emulator.client_options, "word": "word"})
    assert gigachat_emulator.oauth_calls == 2


def test_the_environment_may_name_the_file(
    gigachat_emulator: GigaChatEmulator, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGACHAT_TOKEN_CACHE", path)
    for _ in range(2):
        with GigaChat(**gigachat_emulator.client_options) as giga:
            giga.chat("Hello")
    assert gigachat_emulator.oauth_calls == 1


def test_a_token_from_the_cache_is_not_counted_as_fetched(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    fetched = []
    for _ in range(2):
        with GigaChat(**gigachat_emulator.client_options, token_cache=path) as giga:
            giga.chat("Hello")
            fetched.append(giga.stats().tokens_fetched)
    assert fetched == [1, 0]


def test_a_cache_object_is_shared_by_clients(gigachat_emulator: GigaChatEmulator) -> None:
    cache = LockingCache()
    gigachat_emulator.oauth_pause_s = 0.2

    def ask(number: int) -> str:
        with GigaChat(**gigachat_emulator.client_options, token_cache=cache) as giga:
            return giga.chat(f"Say word{number} and nothing else").text

    assert together(ask, 8) == [f"word{number}" for number in range(8)]
    assert gigachat_emulator.oauth_calls == 1
    assert len(cache.content) == 1, "the lock was left behind"
    assert 1700 < next(iter(cache.lives.values())) <= 1800


def test_accounts_in_one_file_do_not_meet(path: str) -> None:
    first = SharedSource(logins(), FileTokenStore(path), lambda: "a")
    second = SharedSource(
        lambda _: Credential(Secret("other"), expires_at=time.monotonic() + 90), FileTokenStore(path), lambda: "b"
    )
    assert (token_of(first), token_of(second)) == ("token-1", "other")
    assert token_of(SharedSource(logins(), FileTokenStore(path), lambda: "b")) == "other"
    assert token_of(SharedSource(logins(), FileTokenStore(path), lambda: "a")) == "token-1"


def test_another_key_or_scope_is_another_account(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    other = gigachat_emulator.add_credentials("GIGACHAT_API_B2B")
    with GigaChat(**gigachat_emulator.client_options, token_cache=path) as giga:
        giga.chat("Hello")
    options = {**gigachat_emulator.client_options, "credentials": other, "scope": "GIGACHAT_API_B2B"}
    with GigaChat(**options, token_cache=path) as giga:
        giga.chat("Hello")
    assert gigachat_emulator.oauth_calls == 2
    assert len(json.loads(Path(path).read_text())["entries"]) == 2


# -- refused tokens --------------------------------------------------------------------------------------


def test_a_refused_token_is_replaced_once_for_all(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    clients = [GigaChat(**gigachat_emulator.client_options, token_cache=path) for _ in range(4)]
    for giga in clients:
        giga.chat("Hello")
    gigachat_emulator.revoke_tokens()
    for giga in clients:
        giga.chat("Hello")
        giga.close()
    assert gigachat_emulator.oauth_calls == 2


def test_a_token_that_was_refused_unnoticed_does_not_fail_the_call(
    gigachat_emulator: GigaChatEmulator, path: str
) -> None:
    options = {**gigachat_emulator.client_options, "token_cache": path, "max_retries": 0}
    with GigaChat(**options) as idle, GigaChat(**options) as busy:
        idle.chat("Hello")
        busy.chat("Hello")
        gigachat_emulator.revoke_tokens()
        busy.chat("Hello")
        gigachat_emulator.revoke_tokens()
        # The server refuses its own token, and then the one that it finds in the cache.
        assert idle.chat("Say yes and nothing else").text == "yes"
    assert gigachat_emulator.oauth_calls == 3


def test_a_server_that_refuses_every_token_gets_at_most_three_requests(
    gigachat_emulator: GigaChatEmulator, path: str
) -> None:
    gigachat_emulator.inject(Fault(unauthorized=True), times=None)
    with GigaChat(**gigachat_emulator.client_options, token_cache=path) as giga:
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                giga.chat("Hello")
    assert len(gigachat_emulator.requests) == 4


def test_a_token_is_never_returned_twice(path: str) -> None:
    source = SharedSource(logins(), FileTokenStore(path), lambda: ACCOUNT)
    assert [token_of(source), token_of(source)] == ["token-1", "token-2"]
    assert token_of(reader(FileTokenStore(path))) == "token-2"


def test_near_its_end_a_token_is_replaced_and_not_taken_over(path: str) -> None:
    source = SharedSource(logins(life=50.0), FileTokenStore(path), lambda: ACCOUNT)
    token_of(source)
    assert not os.path.exists(path), "a token within its margin is useless to others"
    write_entry(path, until=time.time() + 50)
    assert token_of(reader(FileTokenStore(path))) == "its-own"


# -- untrusted stores ------------------------------------------------------------------------------------


def expect_ignored(path: str, caplog: pytest.LogCaptureFixture, message: str, *, healed: bool) -> None:
    """Check that a reader logs in by itself and warns once, without showing a token."""
    with caplog.at_level(logging.WARNING, "gigaclient"):
        source = reader(FileTokenStore(path))
        assert token_of(source) == "its-own"
        token_of(source)
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("gigaclient")]
    assert len(warnings) == 1, warnings
    assert message in warnings[0]
    assert "token-1" not in warnings[0]
    assert (token_of(SharedSource(logins(), FileTokenStore(path), lambda: ACCOUNT)) == "its-own") is healed


def test_a_valid_entry_is_used(path: str) -> None:
    write_entry(path)
    assert token_of(reader(FileTokenStore(path))) == "token-1"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_with_permissions_for_others_is_not_trusted(
    path: str, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    write_entry(path)
    os.chmod(path, mode)
    expect_ignored(path, caplog, "0600", healed=True)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_symbolic_link_is_not_followed(path: str, caplog: pytest.LogCaptureFixture) -> None:
    write_entry(path)
    target = path + ".elsewhere"
    os.rename(path, target)
    os.symlink(target, path)
    before = Path(target).read_bytes()
    expect_ignored(path, caplog, "symbolic link", healed=False)
    assert Path(target).read_bytes() == before


def test_a_file_of_another_user_is_not_trusted(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry(path)
    real = os.fstat

    def foreign(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[4] = os.geteuid() + 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", foreign)
    expect_ignored(path, caplog, "another user", healed=False)


def test_a_folder_of_another_user_is_not_used(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry(path)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    expect_ignored(path, caplog, "belongs to another user", healed=False)


def test_a_folder_that_others_may_write_in_is_not_used(path: str, caplog: pytest.LogCaptureFixture) -> None:
    write_entry(path)
    os.chmod(os.path.dirname(path), 0o777)
    expect_ignored(path, caplog, "chmod 700", healed=False)


@pytest.mark.parametrize(
    "content", [b"my diary\n", b"\x00\xff" * 100, b"{}", b"[" * 100_000], ids=["text", "bytes", "json", "deep"]
)
def test_a_file_of_something_else_is_left_alone(path: str, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    Path(path).write_bytes(content)
    os.chmod(path, 0o600)
    expect_ignored(path, caplog, "something else", healed=False)
    assert Path(path).read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text + "x",
        lambda text: text.split(",", 1)[0] + ',"entries":[]}',
    ],
    ids=["half", "more", "shape"],
)
def test_a_damaged_file_is_written_anew(
    path: str, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    write_entry(path)
    Path(path).write_text(damage(Path(path).read_text()))
    expect_ignored(path, caplog, "damaged", healed=True)


def test_a_file_without_end_is_not_read_to_its_end(path: str, caplog: pytest.LogCaptureFixture) -> None:
    write_entry(path)
    os.truncate(path, 2**36)  # a sparse file of 64 GB that uses no disk space
    expect_ignored(path, caplog, "too large", healed=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": "a\r\nX-Evil: 1"}, "no header"),
        ({"token": "т0кен"}, "no header"),
        ({"token": "two words"}, "no header"),
        ({"token": ""}, "no header"),
        ({"token": "x" * 70_000}, "no header"),
        ({"token": 7}, "something else"),
        ({"token": None}, "something else"),
        ({"until": "tomorrow"}, "something else"),
        ({"until": 10**399}, "something else"),
        ({"until": 9e15}, "absurd"),
        ({"until": time.time() + 40 * 86400}, "absurd"),
        ({"margin": -1.0}, "absurd"),
        ({"margin": 1e300}, "absurd"),
        ({"expires_at_ms": -5}, "absurd"),
        ({"expires_at_ms": 10**17}, "absurd"),
        ({"surprise": 1}, "something else"),
    ],
)
def test_an_entry_that_cannot_be_right_is_ignored(
    path: str, changes: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_entry(path, **changes)
    expect_ignored(path, caplog, message, healed=True)


@pytest.mark.parametrize("until", [0.0, -1e300, 1.0])
def test_an_expired_entry_is_passed_over_in_silence(path: str, until: float, caplog: pytest.LogCaptureFixture) -> None:
    write_entry(path, until=until)
    assert token_of(reader(FileTokenStore(path))) == "its-own"
    assert caplog.records == []


def test_an_expired_entry_leaves_the_file_with_the_next_login(path: str) -> None:
    write_entry(path, until=1.0)
    token_of(SharedSource(logins(), FileTokenStore(path), lambda: "other"))
    assert list(json.loads(Path(path).read_text())["entries"]) == ["other"]


@pytest.mark.parametrize("junk", [b"\xff", "junk", 7, ["token"], "[" * 100_000, "x" * 10**6, {"token": "t"}])
def test_junk_in_a_cache_object_is_ignored(junk: Any, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache()
    source = reader(ObjectTokenStore(cache))
    cache.content[f"gigaclient:token:{ACCOUNT}"] = junk
    assert token_of(source) == "its-own"
    assert len(caplog.records) == 1


# -- failures of the store ---------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["get", "set", "add", "delete"])
def test_a_cache_that_raises_does_not_fail_the_call(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> Any:
        raise ConnectionError("redis://user:hunter2@cache is down")

    cache = LockingCache()
    setattr(cache, broken, fail)
    assert token_of(reader(ObjectTokenStore(cache))) == "its-own"
    assert "hunter2" not in caplog.text


def test_a_cache_that_stores_nothing_causes_no_wait() -> None:
    cache = LockingCache()
    cache.add = lambda *_: False  # type: ignore[method-assign, assignment]
    started_at = time.monotonic()
    assert token_of(reader(ObjectTokenStore(cache))) == "its-own"
    assert time.monotonic() - started_at < 8


def test_a_file_that_cannot_be_written_does_not_fail_the_call(path: str, caplog: pytest.LogCaptureFixture) -> None:
    os.mkdir(path)
    before = descriptors()
    assert token_of(reader(FileTokenStore(path))) == "its-own"
    assert len(caplog.records) >= 1
    assert descriptors() == before


def test_a_lock_that_is_never_released_costs_at_most_half_the_deadline(path: str) -> None:
    import filelock

    with filelock.FileLock(path + ".lock"):
        started_at = time.monotonic()
        source = reader(FileTokenStore(path))
        assert source(deadline(deadline=3.0)).value.reveal() == "its-own"
        assert time.monotonic() - started_at < 2.9
    assert not os.path.exists(path), "without the lock nothing is written"


def test_waiting_for_the_lock_ends_when_the_call_is_cancelled(path: str) -> None:
    import filelock

    waiting = deadline()
    with filelock.FileLock(path + ".lock"):
        waiting.cancel()
        with pytest.raises(Cancelled):
            reader(FileTokenStore(path))(waiting)


def test_the_lock_of_a_process_that_was_killed_is_free(path: str) -> None:
    script = """
import filelock, time
filelock.FileLock(parameters + ".lock").acquire()
print("locked", flush=True)
time.sleep(60)
"""
    child = python(script, path)
    assert child.stdout is not None and child.stdout.readline() == "locked\n"
    child.kill()
    finish(child)
    started_at = time.monotonic()
    assert token_of(reader(FileTokenStore(path))) == "its-own"
    assert time.monotonic() - started_at < 8
    assert os.path.exists(path)


def test_a_failed_login_releases_the_lock(path: str) -> None:
    def fail(_: Deadline) -> Credential:
        raise AuthenticationError("no", status_code=401)

    source = SharedSource(fail, FileTokenStore(path), lambda: ACCOUNT)
    for _ in range(2):
        with pytest.raises(AuthenticationError):
            source(deadline())
    assert token_of(reader(FileTokenStore(path))) == "its-own"
    assert os.path.exists(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_forked_during_a_login_does_not_keep_the_lock(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    script = """
import os, threading, time
from gigaclient import GigaChat
giga = GigaChat(**parameters)
login = threading.Thread(target=giga.get_token)
login.start()
while not os.path.exists(parameters["token_cache"] + ".lock"):
    time.sleep(0.01)
time.sleep(0.1)
child = os.fork()
if not child:
    started = time.monotonic()
    giga.get_token()
    os._exit(0 if time.monotonic() - started < 5 else 1)
login.join(10)
assert os.waitpid(child, 0)[1] == 0
print(giga.chat("Say yes and nothing else").text)
"""
    gigachat_emulator.oauth_pause_s = 0.6
    options = {**gigachat_emulator.client_options, "token_cache": path}
    assert run_python(script, options, flags=("-W", "ignore::DeprecationWarning")).strip() == "yes"
    assert gigachat_emulator.oauth_calls == 1


# -- secrets and settings --------------------------------------------------------------------------------


def test_the_file_holds_neither_key_nor_scope(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    with GigaChat(**gigachat_emulator.client_options, token_cache=path) as giga:
        token = giga.get_token().access_token
        content = Path(path).read_text()
        assert token in content
        assert gigachat_emulator.credentials not in content
        assert "GIGACHAT_API" not in content
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert {stat.S_IMODE(os.stat(path + ".lock").st_mode)} == {0o600}
        assert sorted(os.listdir(os.path.dirname(path))) == ["token", "token.lock"]


def test_a_missing_folder_is_made_for_this_user_alone(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    below = os.path.join(os.path.dirname(path), "new", "token")
    with GigaChat(**gigachat_emulator.client_options, token_cache=below) as giga:
        giga.chat("Hello")
    assert stat.S_IMODE(os.stat(os.path.dirname(below)).st_mode) == 0o700
    assert os.path.exists(below)


def test_no_repr_of_what_is_involved_shows_the_token(path: str) -> None:
    source = SharedSource(logins(), FileTokenStore(path), lambda: ACCOUNT)
    source(deadline())
    from_store = reader(FileTokenStore(path))(deadline())
    assert from_store.from_store
    assert "token-1" not in f"{source!r}{vars(source)!r}{from_store!r}"


@pytest.mark.parametrize("value", [7, b"path", {"get": 1}, object(), "", "  "])
def test_an_invalid_cache_setting_is_refused_at_once(gigachat_emulator: GigaChatEmulator, value: Any) -> None:
    with pytest.raises(ConfigError, match="token_cache"):
        GigaChat(**gigachat_emulator.client_options, token_cache=value)


def test_a_path_without_filelock_names_the_extra(
    gigachat_emulator: GigaChatEmulator, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(ConfigError, match='needs filelock, which is not installed: pip install "filelock>='):
        GigaChat(**gigachat_emulator.client_options, token_cache=path)
    with GigaChat(**gigachat_emulator.client_options, token_cache=Cache()) as giga:
        assert giga.chat("Say yes and nothing else").text == "yes"


def test_a_client_with_a_path_can_be_pickled_and_one_with_an_object_cannot(
    gigachat_emulator: GigaChatEmulator, path: str
) -> None:
    with GigaChat(**gigachat_emulator.client_options, token_cache=path) as giga:
        giga.chat("Hello")
        with pickle.loads(pickle.dumps(giga)) as copy:
            copy.chat("Hello")
    assert gigachat_emulator.oauth_calls == 1
    with (
        GigaChat(**gigachat_emulator.client_options, token_cache=Cache()) as giga,
        pytest.raises(ConfigError, match="token_cache"),
    ):
        pickle.dumps(giga)


def test_users_with_passwords_share_as_well(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    gigachat_emulator.users = {"anna": "word", "boris": "word"}
    options = {
        name: value
        for name, value in gigachat_emulator.client_options.items()
        if name in ("base_url", "auth_url", "ca_bundle_file")
    }
    for user in ("anna", "anna", "boris"):
        with GigaChat(**options, user=user, password="word", token_cache=path) as giga:
            giga.chat("Hello")
    assert gigachat_emulator.password_calls == 2


def test_a_renewal_ahead_of_the_end_is_made_by_one_process(gigachat_emulator: GigaChatEmulator, path: str) -> None:
    gigachat_emulator.token_life_s = 4.0  # the margin begins after three seconds
    clients = [GigaChat(**gigachat_emulator.client_options, token_cache=path) for _ in range(3)]
    for giga in clients:
        giga.chat("Hello")
    assert gigachat_emulator.oauth_calls == 1
    gigachat_emulator.token_life_s = 1800.0
    first = clients[0].get_token().access_token

    def renewed() -> bool:
        return all(giga.get_token().access_token != first for giga in clients)

    wait_until(renewed, seconds=15, what="the refresh")
    assert len({giga.get_token().access_token for giga in clients}) == 1
    assert gigachat_emulator.oauth_calls == 2
    for giga in clients:
        giga.close()
