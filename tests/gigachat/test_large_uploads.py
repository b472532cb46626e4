"""Uploads of large files: read while they are sent, again for each attempt, with every promise of other calls."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import requests
import responses
from responses import matchers
from support.clients import client_without_retries
from support.platform_tools import bodies_sent_to
from support.reliability_tools import Task, at_most, descriptors, wait_until
from support.socket_tools import Peer, Stopwatch

from gigaclient import APITimeoutError, GigaChat
from gigaclient.errors import APIConnectionError, ConfigError, RequestEntityTooLargeError
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.testing.files import form
from gigaclient.transport.multipart import form_with_file

CONTENT = b"".join(b"line %d\r\n--\r\n" % number for number in range(200_000))
BIG = 32 * 2**20
STORED = b'{"id": "7", "object": "file", "bytes": 1, "created_at": 1, "filename": "a", "purpose": "general"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.txt"
    with path.open("wb") as file:
        file.truncate(BIG)
    return path


def content_sent_to(emulator: GigaChatEmulator) -> bytes:
    """Return the content of the last file that was sent."""
    request = [request for request in bodies_sent_to(emulator, "/files") if request.method == "POST"][-1]
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    return form(request.headers["content-type"], request.body)["file"].content


class Unbuffered(io.RawIOBase):
    """An open file whose reads return less than was asked for."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._content.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(memoryview(buffer)[:10_007])


@pytest.mark.parametrize("kind", ["path", "open", "in memory", "unbuffered", "tuple"])
def test_a_large_file_is_sent_whole(emulator: GigaChatEmulator, giga: GigaChat, path: Path, kind: str) -> None:
    with path.open("rb") as opened:
        opened.seek(1_000_000)
        sources: dict[str, Any] = {
            "path": path,
            "open": opened,
            "in memory": io.BytesIO(CONTENT),
            "unbuffered": Unbuffered(CONTENT),
            "tuple": ("a.txt", opened, "text/plain"),
        }
        file = giga.upload_file(sources[kind], filename="a.txt")
        assert not opened.closed
    assert (file.filename, file.bytes) == ("a.txt", len(CONTENT))
    assert content_sent_to(emulator) == CONTENT


def test_the_type_of_a_large_file_is_detected(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    picture = b"\xff\xd8\xff\xe0" + bytes(2_000_000)
    assert giga.upload_file(io.BytesIO(picture)).filename == "upload.jpg"
    assert content_sent_to(emulator) == picture


def test_a_large_text_file_is_refused_before_sending(emulator: GigaChatEmulator, giga: GigaChat, path: Path) -> None:
    with path.open() as opened, pytest.raises(ConfigError, match="text mode"):
        giga.upload_file(opened)  # type: ignore[arg-type]
    assert emulator.requests == []


def answer_at_the_end(sock: Any) -> None:
    """Read a request without keeping it, and answer."""
    buffer = bytearray(65536)
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1000)
    head, _, begun = head.partition(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(begun)
    while left:
        left -= sock.recv_into(buffer)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(STORED))
    sock.sendall(STORED)


@pytest.mark.parametrize("is_open", [False, True], ids=["path", "open file"])
def test_a_large_file_takes_little_memory(emulator: GigaChatEmulator, big: Path, is_open: bool) -> None:
    with (
        Peer(answer_at_the_end) as peer,
        client_without_retries(emulator, base_url=peer.url + "/v1", access_token="token") as giga,
        big.open("rb") as opened,
    ):
        giga.upload_file(("a.txt", b"small"))  # imports modules
        with at_most(seconds=30, megabytes=4):
            assert giga.upload_file(opened if is_open else big).id == "7"


# -- further attempts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_open", [False, True], ids=["path", "open file"])
@pytest.mark.parametrize("fault", [Fault(status=503), Fault(early=True, status=429)], ids=["503", "early 429"])
def test_a_repeated_upload_sends_the_file_again(
    emulator: GigaChatEmulator, path: Path, is_open: bool, fault: Fault
) -> None:
    emulator.inject(fault, path="/files")
    with client_without_retries(emulator, max_retries=1) as giga, path.open("rb") as opened:
        file = giga.upload_file(opened if is_open else path)
        assert giga.get_file_content(file) == CONTENT
    assert content_sent_to(emulator) == CONTENT


def test_a_large_upload_is_repeated_with_a_new_token(emulator: GigaChatEmulator, giga: GigaChat, path: Path) -> None:
    giga.get_files()
    emulator.revoke_tokens()
    giga.upload_file(path)
    assert content_sent_to(emulator) == CONTENT
    assert len(giga.get_files().data) == 1


def test_an_answer_before_the_end_of_a_large_file_is_read(emulator: GigaChatEmulator, big: Path) -> None:
    emulator.inject(Fault(early=True, status=413), path="/files")
    with client_without_retries(emulator) as giga:
        with pytest.raises(RequestEntityTooLargeError):
            giga.upload_file(big)
        assert giga.chat("hello").text


# -- ends before the end ---------------------------------------------------------------------------------------------


@pytest.fixture
def stalled(emulator: GigaChatEmulator) -> Iterator[Callable[..., Any]]:
    """Return a function that makes clients of a server which never reads."""
    over = threading.Event()
    with Peer(lambda sock: over.wait(30)) as peer:
        yield lambda **options: client_without_retries(
            emulator, base_url=peer.url + "/v1", access_token="token", **options
        )
        over.set()


def test_a_server_that_does_not_read_a_large_file_cannot_hold_the_call(stalled: Any, big: Path) -> None:
    with stalled(deadline=0.5) as giga, Stopwatch() as took, pytest.raises(APITimeoutError):
        giga.upload_file(big)
    assert took.seconds < 10


def test_closing_the_client_ends_a_large_upload(stalled: Any, big: Path) -> None:
    with stalled() as giga:
        task = Task(lambda: giga.upload_file(big))
        wait_until(lambda: giga.stats().in_flight, what="the upload")
        giga.close()
        assert isinstance(task.error(), APIConnectionError)


def test_an_upload_closes_the_file_that_it_opened(emulator: GigaChatEmulator, giga: GigaChat, path: Path) -> None:
    giga.upload_file(path)
    before = descriptors()
    failures = []  # a traceback keeps what its frames refer to
    for _ in range(3):
        giga.upload_file(path)
        emulator.inject(Fault(status=400), path="/files")
        with pytest.raises(Exception, match="400") as caught:
            giga.upload_file(path)
        failures.append(caught)
    assert descriptors() <= before


class Failing(io.BytesIO):
    """A file whose reads fail once half of it was read."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__(CONTENT)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() < len(CONTENT) // 2:
            return super().read(size)
        if self._error is not None:
            raise self._error
        return b""


class Removed(Exception):
    """An exception of the program's own file."""


@pytest.mark.parametrize(
    ("file", "error", "message"),
    [
        (Failing(None), ConfigError, "became shorter"),
        (Failing(Removed("it is gone")), Removed, "it is gone"),
    ],
)
def test_a_file_that_fails_while_it_is_sent_ends_the_call(
    emulator: GigaChatEmulator, file: IO[bytes], error: type[Exception], message: str
) -> None:
    with client_without_retries(emulator, max_retries=2) as giga:
        with pytest.raises(error, match=message):
            giga.upload_file(file, filename="a.txt")
        assert giga.get_files().data == []
        assert giga.stats().in_flight == 0


def test_a_path_that_is_cut_while_it_is_sent_ends_the_call(emulator: GigaChatEmulator, big: Path) -> None:
    def talk(sock: Any) -> None:
        sock.recv(1000)
        os.truncate(big, 0)
        while sock.recv(65536):
            continue

    with (
        Peer(talk) as peer,
        client_without_retries(emulator, base_url=peer.url + "/v1", access_token="token") as giga,
        pytest.raises(ConfigError, match="became shorter"),
    ):
        giga.upload_file(big)


def test_what_is_appended_meanwhile_is_not_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    class Growing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            block = super().read(size)
            position = self.tell()
            if position > 16:  # not while its type is detected
                self.seek(0, io.SEEK_END)
                self.write(b"more")
                self.seek(position)
            return block

    giga.upload_file(Growing(CONTENT), filename="a.txt")
    assert content_sent_to(emulator) == CONTENT


# -- sessions, mocks and recorders -----------------------------------------------------------------------------------


def test_a_plain_session_sends_a_large_file(emulator: GigaChatEmulator, path: Path) -> None:
    with requests.Session() as session:
        session.verify = str(emulator.client_options["ca_bundle_file"])
        session.mount("https://", requests.adapters.HTTPAdapter())
        with client_without_retries(emulator, session=session) as giga:
            giga.upload_file(path)
    assert content_sent_to(emulator) == CONTENT


def test_mocks_see_a_large_body() -> None:
    matcher = matchers.multipart_matcher({"file": ("a.txt", CONTENT, "text/plain", {})}, data={"purpose": "general"})
    with GigaChat(access_token="token", base_url="https://localhost/v1") as giga, responses.RequestsMock() as mock:
        mock.post("https://localhost/v1/files", STORED, match=[matcher])
        assert giga.upload_file(io.BytesIO(CONTENT), filename="a.txt").id == "7"
        sent = mock.calls[0].request
        assert sent.headers["Content-Length"] == str(len(sent.body))
        assert CONTENT in sent.body


def test_a_large_body_reads_like_a_file() -> None:
    body: Any = form_with_file(
        "file", io.BytesIO(CONTENT), size=len(CONTENT), filename="a", content_type="a/b", headers={}, fields={}
    )[0]
    whole = body.read()
    assert CONTENT in whole
    assert (len(body), body.tell(), body.read(5)) == (len(whole), len(whole), b"")
    assert b"".join(body) == whole
    for place in (0, 5, 1_000_000, len(whole) - 3, len(whole)):
        assert (body.seek(place), body.tell()) == (place, place)
        assert body.read(1) == whole[place : place + 1]
    assert body.seek(-2, io.SEEK_END) == len(whole) - 2
    assert body.seek(1, io.SEEK_CUR) == len(whole) - 1
    assert body.read() == whole[-1:]
