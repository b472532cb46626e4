"""Downloads: as bytes or to a file; complete or an error, and never a partial file at a path."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clients import client_without_retries
from support.platform_tools import WAIT_SECONDS, answer_with
from support.reliability_tools import Task, at_most, wait_until

from gigaclient import GigaChat
from gigaclient.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigError,
    GigaClientError,
    InvalidResponseError,
    NotFoundError,
    ServerError,
)
from gigaclient.gigachat.resources import _downloads
from gigaclient.testing import Answer, Authority, Fault, GigaChatEmulator, Pause, Server
from gigaclient.testing.fault_server import Cut, Step

CONTENT = bytes(range(256)) * 1024


@pytest.fixture
def file_id(emulator: GigaChatEmulator, giga: GigaChat) -> str:
    return giga.upload_file(("a.txt", CONTENT)).id


@contextlib.contextmanager
def served(steps: Any, **options: Any) -> Iterator[tuple[Server, GigaChat]]:
    """Start a server whose every response has the body ``steps()``, and a client of it."""
    with Authority() as authority:
        answers = Server(lambda request: Answer(body=steps(), headers={"Content-Type": "video/mp4"}), tls=authority)
        with answers as server, GigaChat(
            base_url=f"{server.url}/v1", access_token="token", ca_bundle_file=authority.ca_file, max_retries=0,
            **{"timeout": WAIT_SECONDS, **options},
        ) as giga:  # fmt: skip
            yield server, giga


# -- whole -----------------------------------------------------------------------------------------


def test_the_bytes_come_back(emulator: GigaChatEmulator, giga: GigaChat, file_id: str) -> None:
    assert giga.get_file_content(file_id) == CONTENT
    request = emulator.requests[-1]
    assert (request.method, request.path, request.headers["accept"]) == ("GET", f"/v1/files/{file_id}/content", "*/*")
    assert giga.get_file_content(file_id=giga.get_file(file_id)) == CONTENT


def test_the_bytes_are_written_to_a_path(giga: GigaChat, file_id: str, tmp_path: Path) -> None:
    for target in (tmp_path / "one.bin", str(tmp_path / "two.bin")):
        assert giga.get_file_content(file_id, target) == len(CONTENT)
        assert Path(target).read_bytes() == CONTENT
    assert sorted(os.listdir(tmp_path)) == ["one.bin", "two.bin"]


def test_a_relative_path_is_accepted(
    giga: GigaChat, file_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    giga.get_file_content(file_id, to="here.bin")
    assert (tmp_path / "here.bin").read_bytes() == CONTENT


def test_a_new_file_has_default_permissions_and_an_old_one_is_replaced(
    giga: GigaChat, file_id: str, tmp_path: Path
) -> None:
    (tmp_path / "usual").touch()
    giga.get_file_content(file_id, tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    old = tmp_path / "old"
    old.write_bytes(b"x" * 10)
    old.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(old)
    giga.get_file_content(file_id, link)
    assert link.is_symlink()
    assert old.read_bytes() == CONTENT
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


def test_the_bytes_are_written_to_an_open_file(giga: GigaChat, file_id: str, tmp_path: Path) -> None:
    memory = io.BytesIO(b"before")
    memory.seek(0, io.SEEK_END)
    assert giga.get_file_content(file_id, to=memory) == len(CONTENT)
    assert memory.getvalue() == b"before" + CONTENT
    with (tmp_path / "raw.bin").open("wb", buffering=0) as raw:
        giga.get_file_content(file_id, raw)
    assert (tmp_path / "raw.bin").read_bytes() == CONTENT


class _Slow:
    """A file that writes three bytes at a time, as an unbuffered one may."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: bytes) -> int:
        self.taken += data[:3]
        return len(data[:3])


class _Full:
    def write(self, data: bytes) -> int:
        return 0


def test_partial_writes_are_completed(giga: GigaChat) -> None:
    file = giga.upload_file(("a.txt", b"0123456789"))
    slow = _Slow()
    assert giga.get_file_content(file, slow) == 10
    assert slow.taken == b"0123456789"
    with pytest.raises(OSError, match="any more"):
        giga.get_file_content(file, _Full())


def test_the_connection_is_used_again_after_a_download(
    emulator: GigaChatEmulator, giga: GigaChat, file_id: str
) -> None:
    before = emulator.connections
    for to in (None, io.BytesIO(), None):
        giga.get_file_content(file_id, to)
    assert emulator.connections == before
    assert giga.stats().in_flight == 0


@pytest.mark.parametrize("fault", [Fault(gzip=True), Fault(close_delimited=True), Fault(write_size=1000)])
def test_every_framing_is_read(emulator: GigaChatEmulator, giga: GigaChat, file_id: str, fault: Fault) -> None:
    emulator.inject(fault, path="/content", times=2)
    memory = io.BytesIO()
    giga.get_file_content(file_id, memory)
    assert giga.get_file_content(file_id) == memory.getvalue() == CONTENT


def test_a_file_of_json_is_a_file(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    rows = b'{"id":"row-1","error":{"status":404,"message":"No such model"}}\n'
    one = b'{"status":200,"message":"fine"}'
    large = b'{"status":404,"message":"' + b"x" * 100_000 + b'"}'
    other = b'{"status":404,"message":"Not Found","path":"/a"}'
    for body in (rows, one, large, other, b"{}", b"[1", b""):
        answer_with(emulator, "/content", body)
        assert giga.get_file_content("f") == body
        memory = io.BytesIO()
        answer_with(emulator, "/content", body)
        assert giga.get_file_content("f", memory) == len(body)
        assert memory.getvalue() == body


# -- broken ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 100_000, len(CONTENT) - 1])
def test_a_cut_download_is_an_error_and_leaves_no_file(
    emulator: GigaChatEmulator, giga: GigaChat, file_id: str, tmp_path: Path, after: int
) -> None:
    (tmp_path / "old.bin").write_bytes(b"old")
    for name in ("old.bin", "new.bin"):
        emulator.inject(Fault(cut_after_bytes=after), path="/content")
        with pytest.raises(APIConnectionError, match="cut short") as caught:
            giga.get_file_content(file_id, tmp_path / name)
        assert caught.value.request_id == emulator.requests[-1].headers["x-request-id"]
    assert os.listdir(tmp_path) == ["old.bin"]
    assert (tmp_path / "old.bin").read_bytes() == b"old"
    emulator.inject(Fault(cut_after_bytes=after), path="/content")
    with pytest.raises(APIConnectionError):
        giga.get_file_content(file_id)
    assert giga.stats().in_flight == 0


def test_a_cut_download_is_not_retried(emulator: GigaChatEmulator, file_id: str) -> None:
    emulator.inject(Fault(cut_after_bytes=10), path="/content")
    memory = io.BytesIO()
    with client_without_retries(emulator, max_retries=2) as giga, pytest.raises(APIConnectionError):
        giga.get_file_content(file_id, memory)
    assert memory.getvalue() == CONTENT[:10]
    assert len([request for request in emulator.requests if request.path.endswith("/content")]) == 1


def test_a_download_is_retried_before_the_first_byte(emulator: GigaChatEmulator, file_id: str, tmp_path: Path) -> None:
    emulator.inject(Fault(status=503), path="/content")
    emulator.inject(Fault(reset=True), path="/content")
    with client_without_retries(emulator, max_retries=2) as giga:
        assert giga.get_file_content(file_id, tmp_path / "a.bin") == len(CONTENT)


def test_an_error_object_instead_of_the_file_is_raised(
    emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path
) -> None:
    for to in (None, tmp_path / "a.bin", io.BytesIO()):
        answer_with(emulator, "/content", {"status": 500, "message": "Internal Server Error"})
        with pytest.raises(ServerError) as caught:
            giga.get_file_content("f", to)
        assert caught.value.request_id
        with pytest.raises(NotFoundError):
            giga.get_file_content("f", to)
    assert os.listdir(tmp_path) == []


def test_a_write_error_is_raised_and_leaves_no_file(emulator: GigaChatEmulator, giga: GigaChat, file_id: str) -> None:
    class _Disk:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        giga.get_file_content(file_id, _Disk())
    assert giga.stats().in_flight == 0
    assert giga.get_file_content(file_id) == CONTENT


def test_invalid_targets_are_refused_before_sending(
    emulator: GigaChatEmulator, giga: GigaChat, file_id: str, tmp_path: Path
) -> None:
    before = len(emulator.requests)
    os.mkfifo(tmp_path / "pipe")
    wrong: list[tuple[Any, str]] = [
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "such" / "a.bin", "cannot be written: No such file"),
        (tmp_path / "pipe", "not a regular file"),
        (io.StringIO(), "binary mode"),
        (7, "must be a path"),
        (b"path", "must be a path"),
    ]
    for to, says in wrong:
        with pytest.raises(ConfigError, match=says):
            giga.get_file_content(file_id, to)
    with pytest.raises(TypeError, match="no_such"):
        giga.get_file_content(file_id, tmp_path / "a.bin", no_such=1)  # type: ignore[call-overload]
    assert len(emulator.requests) == before
    assert os.listdir(tmp_path) == ["pipe"]


# -- large -----------------------------------------------------------------------------------------

BLOCK = os.urandom(64 * 1024)
BLOCKS = 1600


def test_a_huge_file_takes_little_memory(tmp_path: Path) -> None:
    with served(lambda: (BLOCK for _ in range(BLOCKS))) as (server, giga):
        with at_most(seconds=40, megabytes=8):
            assert giga.get_file_content("f", tmp_path / "huge.bin") == BLOCKS * len(BLOCK)
        assert (tmp_path / "huge.bin").stat().st_size == 100 * 2**20
        assert server.aborted == 0


def test_a_file_too_large_for_memory_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_downloads, "_MAX_BYTES_IN_MEMORY", 2 * 2**20)
    with served(lambda: (BLOCK for _ in range(BLOCKS))) as (_, giga):
        with pytest.raises(InvalidResponseError, match="larger than 2 MB: pass to=") as caught:
            giga.get_file_content("f")
        assert caught.value.request_id
        assert giga.stats().in_flight == 0


# -- slow ------------------------------------------------------------------------------------------


def drip(blocks: int, pause_s: float, block: bytes = b"x" * 1000) -> Iterator[Step]:
    for _ in range(blocks):
        yield block
        yield Pause(pause_s)


def test_a_download_may_take_longer_than_the_read_timeout(tmp_path: Path) -> None:
    with served(lambda: drip(12, 0.1), timeout=0.7) as (_, giga):
        assert giga.get_file_content("f", tmp_path / "a.bin") == 12_000
        assert len(giga.get_file_content("f")) == 12_000


def test_a_silent_download_times_out(tmp_path: Path) -> None:
    with served(lambda: drip(2, 30.0), timeout=0.4) as (_, giga):
        for to in (None, tmp_path / "a.bin"):
            with pytest.raises(APITimeoutError) as caught:
                giga.get_file_content("f", to)
            assert caught.value.timeout_kind == "read"
        assert os.listdir(tmp_path) == []


def test_the_deadline_ends_a_dripping_download(tmp_path: Path) -> None:
    with served(lambda: drip(10_000, 0.02)) as (_, giga):
        for to in (None, tmp_path / "a.bin"):
            started_at = time.monotonic()
            with pytest.raises(APITimeoutError) as caught:
                giga.get_file_content("f", to, deadline=0.6)
            assert caught.value.timeout_kind == "deadline"
            assert time.monotonic() - started_at < WAIT_SECONDS
        assert os.listdir(tmp_path) == []


def test_closing_the_client_ends_a_download_at_once(tmp_path: Path) -> None:
    with served(lambda: drip(2, 60.0)) as (_, giga):
        task = Task(lambda: giga.get_file_content("f", tmp_path / "a.bin"))
        wait_until(lambda: any(tmp_path.iterdir()), what="the file of the download")
        wait_until(lambda: giga.stats().in_flight == 1, what="the request")
        giga.close()
        assert isinstance(task.error(seconds=5), GigaClientError)
        assert os.listdir(tmp_path) == []


def test_an_interrupt_closes_the_connection() -> None:
    with served(lambda: (BLOCK for _ in range(BLOCKS))) as (server, giga):

        class _Interrupted(io.BytesIO):
            def write(self, data: Any) -> int:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            giga.get_file_content("f", _Interrupted())
        assert giga.stats().in_flight == 0
        wait_until(lambda: server.open_connections == 0, what="the end of the connection")


def test_a_cut_in_chunked_framing_is_noticed(tmp_path: Path) -> None:
    with served(lambda: iter([BLOCK, Cut(close_notify=True)])) as (_, giga):
        with pytest.raises(APIConnectionError):
            giga.get_file_content("f", tmp_path / "a.bin")
        assert os.listdir(tmp_path) == []
