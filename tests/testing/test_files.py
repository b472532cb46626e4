"""Tests of the emulator's files: formats, owners, and the pictures in its answers."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

import pytest

from gigaclient.testing import GigaChatEmulator
from gigaclient.testing.files import PICTURE, EmulatedFiles, form
from gigaclient.testing.routing import Refusal

CONTENT_TYPE = "multipart/form-data; boundary=b"


def section(disposition: str, content: bytes, *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}", *headers, "", ""]
    return b"--b\r\n" + "\r\n".join(lines).encode() + content + b"\r\n"


def body_of(filename: str, content: bytes, mime: str | None = None, purpose: str | None = "general") -> bytes:
    parts = b"" if purpose is None else section('name="purpose"', purpose.encode())
    headers = () if mime is None else (f"Content-Type: {mime}",)
    return parts + section(f'name="file"; filename="{filename}"', content, *headers) + b"--b--\r\n"


def ask(
    emulator: GigaChatEmulator, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, Any, Any]:
    request = urllib.request.Request(f"{emulator.base_url}{path}", data=body, method=method)
    sent = {
        "authorization": f"Bearer {emulator.issue_token()}",
        "user-agent": "tests",
        "content-type": CONTENT_TYPE,
        **headers,
    }
    for name, value in sent.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(
            request, timeout=20, context=ssl.create_default_context(cafile=emulator.ca_file)
        ) as answer:
            content, status, received = answer.read(), answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            content, status, received = error.read(), error.code, error.headers
    is_json = received["Content-Type"].startswith("application/json")
    return status, json.loads(content) if is_json else content, received


def test_an_upload_is_described_as_the_service_does(gigachat: GigaChatEmulator) -> None:
    status, file, _ = ask(gigachat, "POST", "/files", body_of("tides.pdf", b"%PDF-1.4"))
    assert status == 200
    assert set(file) == {
        "id", "object", "bytes", "created_at", "filename", "purpose", "access_policy", "modalities",
    }  # fmt: skip
    assert (file["object"], file["bytes"], file["filename"], file["modalities"]) == ("file", 8, "tides.pdf", ["text"])
    assert ask(gigachat, "GET", f"/files/{file['id']}")[1] == file
    assert ask(gigachat, "GET", "/files")[1] == {"data": [file]}
    status, content, headers = ask(gigachat, "GET", f"/files/{file['id']}/content")
    assert (status, content, headers["Content-Type"]) == (200, b"%PDF-1.4", "application/octet-stream")


def test_a_file_is_deleted_once_by_post(gigachat: GigaChatEmulator) -> None:
    file = ask(gigachat, "POST", "/files", body_of("a.txt", b"x"))[1]["id"]
    assert ask(gigachat, "DELETE", f"/files/{file}")[0] == 405
    gone = {"id": file, "deleted": True, "object": "file", "access_policy": "private"}
    assert ask(gigachat, "POST", f"/files/{file}/delete", b"")[:2] == (200, gone)
    for method, path in (("POST", "/delete"), ("GET", ""), ("GET", "/content")):
        assert ask(gigachat, method, f"/files/{file}{path}")[0] == 404


@pytest.mark.parametrize(
    ("filename", "mime", "modality"),
    [
        ("a.txt", None, "text"),
        ("a.PNG", "application/octet-stream", "image"),
        ("a", "image/jpeg", "image"),
        ("a.wav", "audio/wave", "audio"),
        ("a.txt", "text/plain; charset=utf-8", "text"),
    ],
)
def test_the_type_is_taken_from_the_part_or_else_from_the_name(
    gigachat: GigaChatEmulator, filename: str, mime: str | None, modality: str
) -> None:
    assert ask(gigachat, "POST", "/files", body_of(filename, b"x", mime))[1]["modalities"] == [modality]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (body_of("a.exe", b"MZ"), 400),
        (body_of("a.txt", b"x", "text/html"), 400),
        (body_of("a.txt", b""), 400),
        (body_of("a.txt", b"x", purpose=None), 400),
        (body_of("a.txt", b"x", purpose="training"), 400),
        (body_of("a.pdf", b"x", purpose="assistant"), 400),
        (section('name="purpose"', b"general") + b"--b--\r\n", 400),
        (section('name="purpose"', b"general") + section('name="file"', b"x") + b"--b--\r\n", 400),
        (b"--b\r\nno header", 400),
        (b"", 400),
        (body_of("a.png", bytes(15 * 2**20 + 1)), 413),
    ],
    ids=range(11),
)
def test_an_invalid_upload_is_refused(gigachat: GigaChatEmulator, body: bytes, status: int) -> None:
    refused, answer, _ = ask(gigachat, "POST", "/files", body)
    assert (refused, answer["status"]) == (status, status)
    assert ask(gigachat, "GET", "/files")[1] == {"data": []}


def test_files_belong_to_their_key_and_user(gigachat: GigaChatEmulator) -> None:
    file = ask(gigachat, "POST", "/files", body_of("a.txt", b"x"), x_client_id="user-7")[1]["id"]
    assert ask(gigachat, "GET", f"/files/{file}/content", x_client_id="user-7")[1] == b"x"
    assert len(ask(gigachat, "GET", "/files", x_client_id="user-7")[1]["data"]) == 1
    assert ask(gigachat, "GET", f"/files/{file}/content")[0] == 404
    assert ask(gigachat, "GET", f"/files/{file}", x_client_id="user-8")[0] == 404
    assert ask(gigachat, "POST", f"/files/{file}/delete", b"", x_client_id="user-8")[0] == 404
    assert ask(gigachat, "GET", "/files")[1] == {"data": []}
    everybodys = ask(gigachat, "POST", "/files", body_of("b.txt", b"y"))[1]["id"]
    assert ask(gigachat, "GET", f"/files/{everybodys}/content", x_client_id="user-8")[1] == b"y"


@pytest.mark.parametrize("stream", [False, True])
def test_the_picture_of_an_answer_exists(gigachat: GigaChatEmulator, stream: bool) -> None:
    body = {
        "model": "GigaChat-2", "messages": [{"role": "user", "content": "Draw a river"}], "function_call": "auto",
        "stream": stream,
    }  # fmt: skip
    content = ask(gigachat, "POST", "/chat/completions", json.dumps(body).encode(), x_client_id="u")[1]
    text = content.decode() if stream else content["choices"][0]["message"]["content"]
    file = text.partition('src="' if not stream else 'src=\\"')[2][:36]
    status, picture, headers = ask(gigachat, "GET", f"/files/{file}/content", x_client_id="u")
    assert (status, picture, headers["Content-Type"]) == (200, PICTURE, "image/jpeg")
    assert ask(gigachat, "GET", f"/files/{file}/content")[0] == 404
    assert ask(gigachat, "GET", f"/files/{file}", x_client_id="u")[1]["modalities"] == ["image"]


def test_other_endpoints_can_store_files(gigachat: GigaChatEmulator) -> None:
    store = EmulatedFiles(gigachat)
    file = store.add("me", b"rows", "output.jsonl", purpose="batch")
    assert store.read("me", file) == b"rows"
    assert store.read("me", store.create_image("me", end_user="u"), end_user="u") == PICTURE
    for client, identifier in (("you", file), ("me", "other")):
        with pytest.raises(Refusal):
            store.read(client, identifier)


def test_forms_of_browsers_and_libraries_are_parsed() -> None:
    body = (
        b"preamble\r\n"
        + section('name="a"; filename="\xd0\xb0 %22b%22.txt"'.encode("latin-1").decode(), b"1\r\n--not b\r\n2")
        + section("name=bare; filename=plain.txt", b"", "Content-Type: Text/Plain; charset=utf-8")
        + b"--b--\r\nepilogue"
    )
    parts = form('multipart/form-data; boundary="b"', body)
    assert parts["a"].filename == 'а "b".txt'
    assert parts["a"].content == b"1\r\n--not b\r\n2"
    assert (parts["bare"].filename, parts["bare"].mime, parts["bare"].content) == ("plain.txt", "text/plain", b"")
    for content_type in ("application/json", "multipart/form-data", ""):
        with pytest.raises(Refusal):
            form(content_type, body)
