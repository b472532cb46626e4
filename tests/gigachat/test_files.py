"""Files: uploads from every accepted form with name and type, never repeated; lists and deletion."""

from __future__ import annotations

import contextlib
import io
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from support.clients import client_without_retries
from support.ids import stable_id
from support.platform_tools import answer_with, bodies_sent_to
from support.reliability_tools import at_most

from gigaclient import GigaChat
from gigaclient.errors import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    ConfigError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
)
from gigaclient.gigachat.resources.uploads import as_upload
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.testing.files import PICTURE, form
from gigaclient.types import UploadedFile

TEXT = "Прилив в полдень.\r\n--\r\n".encode()


def uploaded(emulator: GigaChatEmulator) -> tuple[str | None, str | None, bytes]:
    """Return the name, type and content of the last uploaded file."""
    request = bodies_sent_to(emulator, "/files")[-1]
    part = form(request.headers["content-type"], request.body)["file"]
    return part.filename, part.mime, part.content


# -- accepted forms ----------------------------------------------------------------------------


def test_a_file_is_sent_from_its_path(emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path) -> None:
    path = tmp_path / "tides.txt"
    path.write_bytes(TEXT)
    for source in (path, str(path)):
        file = giga.upload_file(source)
        assert isinstance(file, UploadedFile)
        assert (file.filename, file.bytes, file.purpose) == ("tides.txt", len(TEXT), "general")
        assert file.modalities == ["text"]
        assert file.raw["access_policy"] == "private"
        assert file.request_id == bodies_sent_to(emulator, "/files")[-1].headers["x-request-id"]
        assert uploaded(emulator) == ("tides.txt", "text/plain", TEXT)
        assert giga.get_file_content(file.id) == TEXT


def test_a_tilde_in_a_path_is_expanded(
    emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tides.txt").write_bytes(TEXT)
    file = giga.upload_file("~/tides.txt")
    assert file.filename == "tides.txt"
    assert giga.get_file_content(file.id, "~/copy.txt") == len(TEXT)
    assert (tmp_path / "copy.txt").read_bytes() == TEXT
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "request": {"messages": [{"role": "user", "content": "Hello"}]}}')
    batch = giga.create_batch(Path("~/rows.jsonl"))
    assert batch.request_counts is not None
    assert batch.request_counts.total == 1
    (picture,) = giga.get_images(giga.chat("Draw a cat", function_call="auto"))
    assert picture.save("~/cat.jpg") == tmp_path / "cat.jpg"
    assert (tmp_path / "cat.jpg").read_bytes() == picture.data


class _Shaky(io.RawIOBase):
    """A pipe: it cannot seek, and its name is a number."""

    name = 7

    def __init__(self, content: bytes) -> None:
        self._left = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


@pytest.mark.parametrize(
    ("source", "name", "content_type"),
    [
        (PICTURE, "upload.jpg", "image/jpeg"),
        (bytearray(PICTURE), "upload.jpg", "image/jpeg"),
        (memoryview(PICTURE), "upload.jpg", "image/jpeg"),
        (io.BytesIO(PICTURE), "upload.jpg", "image/jpeg"),
        (_Shaky(PICTURE), "upload.jpg", "image/jpeg"),
        (("photo.png", PICTURE), "photo.png", "image/png"),
        (("photo", PICTURE), "photo", "image/jpeg"),
        (("photo.PNG", io.BytesIO(PICTURE)), "photo.PNG", "image/png"),
        (("photo", PICTURE, "image/bmp"), "photo", "image/bmp"),
        ((None, PICTURE, None), "upload.jpg", "image/jpeg"),
        (("photo.png", PICTURE, None, {"Content-Type": "image/tiff"}), "photo.png", "image/tiff"),
    ],
    ids=stable_id,
)
def test_a_file_is_sent_from_memory(
    emulator: GigaChatEmulator, giga: GigaChat, source: Any, name: str, content_type: str
) -> None:
    giga.upload_file(file=source, purpose="assistant")
    assert uploaded(emulator) == (name, content_type, PICTURE)
    assert giga.get_files().data[-1].purpose == "assistant"


def test_the_headers_of_a_tuple_go_into_the_part(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.upload_file(("photo.png", PICTURE, None, {"X-Kept": "yes"}))
    assert b"\r\nX-Kept: yes\r\n" in bodies_sent_to(emulator, "/files")[-1].body


def test_a_string_in_a_tuple_is_the_text_itself(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.upload_file(("note.txt", "Прилив"))
    assert uploaded(emulator) == ("note.txt", "text/plain", "Прилив".encode())


def test_an_open_file_is_sent_from_its_beginning(emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path) -> None:
    path = tmp_path / "tides.txt"
    path.write_bytes(TEXT)
    with path.open("rb") as file:
        assert file.read(5)
        giga.upload_file(file)
        assert uploaded(emulator) == ("tides.txt", "text/plain", TEXT)
    written = io.BytesIO()
    written.write(TEXT)
    giga.upload_file(written, filename="tides.txt")
    assert uploaded(emulator) == ("tides.txt", "text/plain", TEXT)


def test_a_temporary_file_has_no_name(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(PICTURE)
        giga.upload_file(file)
    assert uploaded(emulator)[0] == "upload.jpg"


def test_name_and_type_may_be_arguments(emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(TEXT)
    giga.upload_file(path, filename="b.pdf", content_type="text/plain")
    assert uploaded(emulator) == ("b.pdf", "text/plain", TEXT)


@pytest.mark.parametrize(
    "name",
    ["Отчёт «о реке» №5.txt", 'with "quotes".txt', "潮.txt", "back\\slash.txt", "100%25.txt", "spa ce;semi=colon.txt"],
)
def test_a_name_is_sent_unchanged(emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(TEXT)
    file = giga.upload_file(path)
    assert file.filename == name
    assert giga.get_file(file.id).filename == name


def test_a_name_cannot_break_the_header(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.upload_file(('a"\r\nX-Evil: 1\r\n\r\n.txt', TEXT))
    assert uploaded(emulator) == ('a"__X-Evil: 1____.txt', "text/plain", TEXT)


def test_a_name_that_is_not_utf_8_is_sent_with_question_marks(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.upload_file(("caf\udce9.txt", TEXT))
    assert uploaded(emulator)[0] == "caf?.txt"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.txt", "text/plain"),
        ("a.doc", "application/msword"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.pdf", "application/pdf"),
        ("a.epub", "application/epub"),
        ("a.ppt", "application/ppt"),
        ("a.pptx", "application/pptx"),
        ("a.xlsx", "application/vnd.ms-excel"),
        ("a.jpeg", "image/jpeg"),
        ("a.JPG", "image/jpeg"),
        ("a.png", "image/png"),
        ("a.tiff", "image/tiff"),
        ("a.tif", "image/tiff"),
        ("a.bmp", "image/bmp"),
        ("a.mp4", "audio/mp4"),
        ("a.mp3", "audio/mp3"),
        ("a.m4a", "audio/x-m4a"),
        ("a.wav", "audio/x-wav"),
        ("a.weba", "audio/webm"),
        ("a.ogg", "audio/x-ogg"),
        ("a.opus", "audio/opus"),
        ("a.b.html", "text/html"),
        ("a", "application/octet-stream"),
        ("a.unused-knows", "application/octet-stream"),
        ("pdf", "application/octet-stream"),
    ],
)
def test_the_type_is_the_one_that_the_api_has_for_the_ending(name: str, content_type: str) -> None:
    assert as_upload((name, b"\0\1\2")).content_type == content_type


def test_every_type_of_the_table_is_taken(giga: GigaChat) -> None:
    for ending in [
        "txt",
        "doc",
        "docx",
        "pdf",
        "epub",
        "ppt",
        "pptx",
        "xlsx",
        "jpeg",
        "jpg",
        "png",
        "tiff",
        "bmp",
        "mp4",
        "mp3",
        "m4a",
        "wav",
        "weba",
        "ogg",
        "opus",
    ]:
        assert giga.upload_file((f"a.{ending}", b"\0\1\2")).modalities


# -- the request -----------------------------------------------------------------------------------


def test_an_upload_is_a_form_of_two_fields(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.upload_file(("a.txt", TEXT), client_id="user-7")
    request = bodies_sent_to(emulator, "/files")[-1]
    assert request.method == "POST"
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["x-client-id"] == "user-7"
    parts = form(request.headers["content-type"], request.body)
    assert list(parts) == ["purpose", "file"]
    assert parts["purpose"].content == b"general"


def test_large_bytes_are_in_memory_twice_and_no_more() -> None:
    from gigaclient.gigachat.resources.files import _form

    content = b"0123456789abcdef" * (2 * 2**20)
    with at_most(seconds=20, megabytes=48), contextlib.ExitStack() as opened:
        body, _ = _form(content, "general", None, None, opened)
    assert len(body) > 32 * 2**20


# -- retries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault(status=500), ServerError), (Fault(status=502), ServerError), (Fault(status=504), ServerError),
        (Fault(reset=True), APIConnectionError), (Fault(hang_up=True), APIConnectionError),
        (Fault(before_s=float("inf")), APITimeoutError),
    ],
)  # fmt: skip
def test_an_upload_that_may_have_arrived_is_not_repeated(
    emulator: GigaChatEmulator, fault: Fault, error_type: type[Exception]
) -> None:
    emulator.inject(fault, path="/files", times=None)
    options = {"timeout": 0.5} if error_type is APITimeoutError else {}
    with client_without_retries(emulator, max_retries=2, **options) as giga:
        with pytest.raises(error_type) as caught:
            giga.upload_file(("a.txt", TEXT))
        assert getattr(caught.value, "sent", True)
        assert len(bodies_sent_to(emulator, "/files")) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_rejected_upload_is_retried(emulator: GigaChatEmulator, status: int) -> None:
    emulator.inject(Fault(status=status), path="/files")
    with client_without_retries(emulator, max_retries=1) as giga:
        file = giga.upload_file(io.BytesIO(TEXT), filename="a.txt")
        assert len(giga.get_files().data) == 1
        assert giga.get_file_content(file) == TEXT
    first, second = [request for request in bodies_sent_to(emulator, "/files") if request.method == "POST"]
    assert first.body == second.body


def test_an_upload_that_was_certainly_not_sent_is_retried() -> None:
    with socket.socket() as unused:  # bound but not listening
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}/v1"
        with (
            GigaChat(base_url=url, access_token="token", max_retries=2, retry_backoff_factor=0.0) as giga,
            pytest.raises(APIConnectionError) as caught,
        ):
            giga.upload_file(("a.txt", TEXT))
    assert not caught.value.sent
    assert len(caught.value.attempts) == 3


def test_an_upload_is_repeated_with_a_new_token(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    giga.get_files()
    emulator.revoke_tokens()
    giga.upload_file(io.BytesIO(TEXT), filename="a.txt")
    assert uploaded(emulator)[2] == TEXT
    assert len(giga.get_files().data) == 1


# -- invalid files ---------------------------------------------------------------------------


def test_invalid_files_are_refused_before_sending(emulator: GigaChatEmulator, giga: GigaChat, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    text_file = tmp_path / "text.txt"
    text_file.write_text("text")
    closed = io.BytesIO(b"x")
    closed.close()
    wrong: list[tuple[Any, str]] = [
        (tmp_path / "missing.txt", r"no file '.*missing\.txt'.*\(\"name\.txt\", text\)"),
        ("x" * 5000, "cannot be read .*File name too long"),
        ("null\0byte", "null character"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.txt", r"'empty\.txt' is empty"),
        (b"", "the file is empty"),
        (io.BytesIO(), "the file is empty"),
        (closed, "closed"),
        (io.StringIO("text"), 'open it with open\\(path, "rb"\\)'),
        (("a.txt", io.StringIO("text")), "text mode"),
        (("a.txt",), "a tuple as file"),
        (("a", b"b", "c", {}, "e"), "a tuple as file"),
        (("a.txt", 7), "not int"),
        (("a.txt", b"x", "bad\r\nX-Evil: 1"), "Content-Type"),
        (("a.txt", b"x", None, {"X-Evil": "1\r\n"}), "X-Evil"),
        (("a.txt", "half \ud83d"), "surrogate"),
        ((7, b"x"), "filename must be a string"),
        (7, "file must be a path, bytes"),
        (None, "not NoneType"),
        ({"a": 1}, "not dict"),
    ]
    for source, message in wrong:
        with pytest.raises(ConfigError, match=message):
            giga.upload_file(source)
    with text_file.open() as opened, pytest.raises(ConfigError, match="text mode"):
        giga.upload_file(opened)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="purpose"):
        giga.upload_file(b"x", purpose="")
    with pytest.raises(TypeError, match="no_such"):
        giga.upload_file(b"x", no_such=1)  # type: ignore[call-arg]
    assert emulator.requests == []


def test_a_file_that_cannot_be_read_is_refused_by_name(giga: GigaChat, tmp_path: Path) -> None:
    path = tmp_path / "loop.txt"
    path.symlink_to(path)
    with pytest.raises(ConfigError, match=r"loop\.txt' cannot be read \(Too many levels"):
        giga.upload_file(path)


def test_the_services_refusals_have_their_classes(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(BadRequestError, match="not supported"):
        giga.upload_file(("a.exe", b"MZ"))
    with pytest.raises(BadRequestError, match=r"application/pdf"):
        giga.upload_file(("a.pdf", b"%PDF-"), purpose="assistant")
    with pytest.raises(RequestEntityTooLargeError):
        giga.upload_file(("a.png", bytes(15 * 2**20 + 1)))
    emulator.inject(Fault(status=429, retry_after=7), path="/files")
    with pytest.raises(RateLimitError) as caught:
        giga.upload_file(("a.txt", TEXT))
    assert caught.value.retry_after == 7
    assert giga.get_files().data == []


# -- list, get, delete -----------------------------------------------------------------------------


def test_files_are_listed_looked_up_and_deleted(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    first, second = giga.upload_file(("a.txt", b"a")), giga.upload_file(("b.txt", b"bb"))
    listed = giga.get_files()
    assert [(file.id, file.filename, file.bytes) for file in listed.data] == [
        (first.id, "a.txt", 1),
        (second.id, "b.txt", 2),
    ]
    assert giga.get_file(second.id) == second
    assert giga.get_file(file=second).filename == "b.txt"
    gone = giga.delete_file(file=first.id)
    assert (gone.id, gone.deleted) == (first.id, True)
    request = emulator.requests[-1]
    assert (request.method, request.path, request.body) == ("POST", f"/v1/files/{first.id}/delete", b"")
    assert [file.id for file in giga.get_files().data] == [second.id]
    for call in (giga.get_file, giga.delete_file, giga.get_file_content, giga.get_image):
        with pytest.raises(NotFoundError, match="get_files"):
            call(first.id)


def test_a_file_belongs_to_its_key_and_its_user(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    file = giga.upload_file(("a.txt", TEXT), client_id="user-7")
    assert giga.get_file_content(file.id, client_id="user-7") == TEXT
    assert giga.get_file(file.id, headers={"X-Client-ID": "user-7"}) == file
    assert [found.id for found in giga.get_files(client_id="user-7").data] == [file.id]
    assert giga.get_files().data == []
    for user in (None, "user-8"):
        with pytest.raises(NotFoundError, match="client_id"):
            giga.get_file_content(file.id, client_id=user)
    with (
        client_without_retries(emulator, credentials=emulator.add_credentials()) as other,
        pytest.raises(NotFoundError),
    ):
        other.get_file_content(file.id, client_id="user-7")


@pytest.mark.parametrize(
    "hostile", ["../models", "a/../../v2", "a/b", "a?b=c#d", "%2e%2e", "ид", "a b\r\nX: 1", "..%2f"]
)
def test_an_id_is_quoted_in_the_path(emulator: GigaChatEmulator, giga: GigaChat, hostile: str) -> None:
    for call in (giga.get_file, giga.delete_file, giga.get_file_content, giga.get_image):
        with pytest.raises(NotFoundError, match="No such file"):
            call(hostile)
        request = emulator.requests[-1]
        assert request.path.startswith("/v1/files/")
        assert request.path.removeprefix("/v1/files/").partition("/")[2] in ("", "delete", "content")
        assert request.query == ""


def test_an_upload_is_not_sent_twice_on_a_connection_that_was_in_use(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    giga.get_files()
    emulator.inject(Fault(reset=True), path="/files")
    with pytest.raises(APIConnectionError):
        giga.upload_file(("a.txt", TEXT))
    assert [request.method for request in bodies_sent_to(emulator, "/files")] == ["GET", "POST"]


@pytest.mark.parametrize("wrong", ["", ".", "..", None, 7, b"id", ["id"]])
def test_invalid_ids_are_refused(emulator: GigaChatEmulator, giga: GigaChat, wrong: Any) -> None:
    for call in (giga.get_file, giga.delete_file, giga.get_file_content, giga.get_image):
        with pytest.raises(ConfigError, match="id"):
            call(wrong)
    assert emulator.requests == []


def test_nulls_and_numbers_as_strings_are_accepted(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    odd = {"id": "f-1", "bytes": 17.0, "created_at": "1790000200", "purpose": None, "modalities": None, "new": {}}
    answer_with(emulator, "/files", {"data": [odd, None]})
    (file,) = giga.get_files().data
    assert (file.id, file.bytes, file.created_at, file.purpose, file.modalities) == ("f-1", 17, 1790000200, None, None)
    answer_with(emulator, "/files/f-1", odd)
    assert giga.get_file("f-1").raw["new"] == {}
    answer_with(emulator, "/files/f-1/delete", {"id": "f-1", "deleted": True})
    assert giga.delete_file("f-1").access_policy is None


def test_invalid_responses_are_refused(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for path, call in (("/files", giga.get_files), ("/files/f", lambda: giga.get_file("f"))):
        bodies: list[Any] = [{}, [], b"", {"data": "x"}, {"id": None}]
        for body in bodies:
            answer_with(emulator, path, body)
            with pytest.raises(InvalidResponseError):
                call()
        answer_with(emulator, path, {"status": 404, "message": "No such file"})
        with pytest.raises(NotFoundError):
            call()
