"""Attachments of messages: uploaded files, their ids, and local files that are uploaded once."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import pytest
from support.stream_tools import WAIT_SECONDS, Background

from gigaclient import ConfigError, GigaChat, GigaClientError, Message
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import UploadedFile

TEXT = b"High water at 14:20."


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


@pytest.fixture(params=["v1", "v2"])
def ask(request: pytest.FixtureRequest, giga: GigaChat) -> Any:
    return giga.chat if request.param == "v1" else giga.chat.create


@pytest.fixture
def uploaded(giga: GigaChat) -> UploadedFile:
    return giga.upload_file(("tides.txt", TEXT))


def sent_ids(emulator: GigaChatEmulator, index: int = -1) -> list[str]:
    """Return the ids of the files in a message of the last chat, in the form of either version."""
    message = [request for request in emulator.requests if "chat" in request.path][-1].json()["messages"][index]
    if "attachments" in message:
        ids: list[str] = message["attachments"]
        return ids
    parts = message["content"] if isinstance(message["content"], list) else []
    return [file["id"] for part in parts for file in part.get("files", [])]


def uploads(emulator: GigaChatEmulator) -> int:
    return sum(request.method == "POST" and request.path.endswith("/files") for request in emulator.requests)


@pytest.mark.parametrize("form", ["object", "id", "list"])
def test_uploaded_files_are_attached_by_their_ids(
    ask: Any, emulator: GigaChatEmulator, uploaded: UploadedFile, form: str
) -> None:
    attachments: Any = {"object": uploaded, "id": uploaded.id, "list": [uploaded, uploaded.id]}[form]
    expected = [uploaded.id] * (2 if form == "list" else 1)
    ask("When is high water?", attachments=attachments)
    assert sent_ids(emulator) == expected
    ask([{"role": "user", "content": "When is high water?", "attachments": attachments}])
    assert sent_ids(emulator) == expected
    ask([Message(role="user", content="When is high water?", attachments=attachments)])
    assert sent_ids(emulator) == expected


def test_the_option_belongs_to_the_last_message_of_the_user(
    ask: Any, emulator: GigaChatEmulator, uploaded: UploadedFile
) -> None:
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "When?", "attachments": [uploaded.id]},
    ]
    ask({"messages": messages}, attachments=uploaded)
    assert sent_ids(emulator) == [uploaded.id, uploaded.id]
    assert sent_ids(emulator, 0) == []
    assert messages[2]["attachments"] == [uploaded.id], "the caller's messages are not changed"
    with pytest.raises(ConfigError, match="message of the user"):
        ask([{"role": "system", "content": "x"}], attachments=uploaded)


def test_local_files_are_uploaded_once_for_all_copies_of_a_client(
    ask: Any, giga: GigaChat, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "tides.txt"
    path.write_bytes(TEXT)
    before = uploads(emulator)
    ask("When?", attachments=path, upload=True)
    (id_,) = sent_ids(emulator)
    ask("When?", attachments=[str(path)], upload=True)
    assert sent_ids(emulator) == [id_]
    ask([{"role": "user", "content": "When?", "attachments": path}], upload=True)
    assert sent_ids(emulator) == [id_]
    giga.with_options(timeout=30).chat("When?", attachments=path, upload=True)
    assert sent_ids(emulator) == [id_]
    assert uploads(emulator) == before + 1
    path.write_bytes(b"High water at 15:20.")
    ask("When?", attachments=[path, id_], upload=True)
    assert sent_ids(emulator)[1] == id_ != sent_ids(emulator)[0]
    assert uploads(emulator) == before + 2


def test_a_deleted_file_is_uploaded_again(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    giga.chat("When?", attachments=[("a.txt", TEXT)], upload=True)
    (first,) = sent_ids(emulator)
    giga.delete_file(first)
    giga.chat("When?", attachments=[("a.txt", io.BytesIO(TEXT))], upload=True)
    assert sent_ids(emulator) != [first]


def test_an_upload_that_failed_is_tried_again(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=400), path="/files")
    with pytest.raises(GigaClientError):
        giga.chat("When?", attachments=[("a.txt", b"once more")], upload=True)
    giga.chat("When?", attachments=[("a.txt", b"once more")], upload=True)
    assert len(sent_ids(emulator)) == 1


def test_threads_that_need_the_same_file_wait_for_one_upload(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    before = uploads(emulator)
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait(WAIT_SECONDS)
        giga.chat("When?", attachments=[("a.txt", b"for all threads")], upload=True)

    for thread in [Background(ask) for _ in range(4)]:
        assert thread.join().error is None
    assert uploads(emulator) == before + 1


@pytest.mark.parametrize("attachment", [Path("tides.txt"), b"text", 5, {"name": "x"}])
def test_what_is_no_uploaded_file_costs_no_request(giga: GigaChat, emulator: GigaChatEmulator, attachment: Any) -> None:
    before = len(emulator.requests)
    with pytest.raises(ConfigError, match="upload=True uploads local files"):
        giga.chat("When?", attachments=attachment)
    with pytest.raises(ConfigError, match=r"messages\[0\].attachments"):
        giga.chat([{"role": "user", "content": "When?", "attachments": attachment}])
    with pytest.raises(ConfigError, match=r"nowhere"):
        giga.chat("When?", attachments="nowhere.txt", upload=True)
    assert len(emulator.requests) == before


def test_runs_and_conversations_keep_the_attachments_in_their_history(
    giga: GigaChat, emulator: GigaChatEmulator, uploaded: UploadedFile
) -> None:
    def get_tide(port: str) -> float:
        """Return the height of the tide."""
        return 1.8

    run = giga.run("How high is the tide in Kem?", functions=[get_tide], attachments=uploaded)
    assert sent_ids(emulator, 0) == [uploaded.id]
    assert run.messages[0]["attachments"] == [uploaded.id]
    conversation = giga.conversation()
    conversation.ask("When is high water?", attachments=[("a.txt", TEXT)], upload=True)
    (id_,) = sent_ids(emulator)
    conversation.ask("And low water?")
    assert sent_ids(emulator, 0) == [id_]
    assert sent_ids(emulator) == []
