"""The command ``llm`` with the models of ``gigaclient.contrib.llm``."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigaclient import GigaChat
from gigaclient.testing import Fault, GigaChatEmulator

PROMPT, ANSWER = "Count from 1 to 5", "1, 2, 3, 4, 5"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
TOOL = """
def get_tide(port: str) -> str:
    "Return the height of the tide at a port"
    return "1.8"
"""

Command = Callable[..., Any]


def answer_of(done: Any) -> str:
    assert done.status == 0, done.stderr
    text: str = done.stdout.strip()
    return text


def body_of(emulator: GigaChatEmulator) -> Any:
    """Return the body of the last chat request."""
    chats = [request for request in emulator.requests if request.path.endswith("/chat/completions")]
    return chats[-1].json()


def test_the_command_finds_the_models(start_llm: Command, emulator: GigaChatEmulator) -> None:
    assert answer_of(start_llm("-m", "gigachat", PROMPT)) == ANSWER
    assert emulator.prompts == [PROMPT]


def test_an_answer_is_streamed_and_logged_with_its_tokens(run_llm: Command, emulator: GigaChatEmulator) -> None:
    assert answer_of(run_llm("-m", "gigachat", PROMPT)) == ANSWER
    assert body_of(emulator)["stream"] is True
    (logged,) = json.loads(answer_of(run_llm("logs", "--json")))
    assert (logged["model"], logged["response"], logged["prompt"]) == ("gigachat", ANSWER, PROMPT)
    shown = answer_of(run_llm("logs", "--usage"))
    assert "GigaChat-2:" in shown
    usage = re.search(r"(\d+) input, (\d+) output", shown)
    assert usage is not None
    assert int(usage[1]) > int(usage[2]) > 0


def test_without_a_stream_too(run_llm: Command, emulator: GigaChatEmulator) -> None:
    assert answer_of(run_llm("-m", "gigachat", "--no-stream", PROMPT)) == ANSWER
    assert "stream" not in body_of(emulator)


def test_a_conversation_is_continued(run_llm: Command, emulator: GigaChatEmulator) -> None:
    run_llm("-m", "gigachat-2-pro", "-s", "Be brief", PROMPT)
    answer_of(run_llm("--continue", "And back?"))
    body = body_of(emulator)
    assert body["model"] == "GigaChat-2-Pro"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": ANSWER},
        {"role": "user", "content": "And back?"},
    ]


def test_a_template_and_options(run_llm: Command, emulator: GigaChatEmulator) -> None:
    answer_of(run_llm("-m", "gigachat", "-s", "Count for me: $what", "-o", "temperature", "0.5", "--save", "count"))
    answer_of(run_llm("-t", "count", "-p", "what", "sheep", "-o", "max_tokens", "40", PROMPT))
    body = body_of(emulator)
    assert body["messages"][0] == {"role": "system", "content": "Count for me: sheep"}
    assert body["max_tokens"] == 40


def test_another_model_is_an_option(run_llm: Command, emulator: GigaChatEmulator) -> None:
    answer_of(run_llm("-m", "gigachat", "-o", "model", "GigaChat-2-Max", PROMPT))
    assert body_of(emulator)["model"] == "GigaChat-2-Max"
    refused = run_llm("-m", "gigachat", "-o", "temperatur", "1", PROMPT)
    assert refused.status == 1
    assert "temperatur" in refused.stderr


@pytest.mark.parametrize(("name", "content"), [("notes.txt", b"Buy milk"), ("dot.png", PIXEL)])
def test_attachments_are_uploaded_and_removed(
    run_llm: Command, emulator: GigaChatEmulator, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    answer_of(run_llm("-m", "gigachat", "-a", name, "What is it?"))
    (file_id,) = body_of(emulator)["messages"][0]["attachments"]
    upload = next(request for request in emulator.requests if request.path.endswith("/files"))
    assert f'filename="{name}"'.encode() in upload.body
    assert content in upload.body
    assert emulator.requests[-1].path.endswith(f"/files/{file_id}/delete")
    with GigaChat() as giga:
        assert giga.get_files().data == []


def test_attachments_are_removed_after_an_error_and_uploaded_again_when_it_goes_on(
    run_llm: Command, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("Buy milk", "utf-8")
    emulator.inject(Fault(status=400), path="/chat/completions")
    assert run_llm("-m", "gigachat", "-a", "notes.txt", "What is it?").status == 1
    answer_of(run_llm("-m", "gigachat", "-a", "notes.txt", "What is it?"))
    answer_of(run_llm("-c", "And what else?"))
    assert len(body_of(emulator)["messages"][0]["attachments"]) == 1
    with GigaChat() as giga:
        assert giga.get_files().data == []


@pytest.mark.parametrize("type_", ["application/pptx", "audio/mpeg"])
def test_a_type_may_have_the_name_of_the_service_or_of_llm(
    run_llm: Command, emulator: GigaChatEmulator, tmp_path: Path, type_: str
) -> None:
    (tmp_path / "talk").write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00")
    answer_of(run_llm("-m", "gigachat", "--at", "talk", type_, "What is it?"))
    upload = next(request for request in emulator.requests if request.path.endswith("/files"))
    name = {"application/pptx": b"talk.pptx", "audio/mpeg": b"talk.mp3"}[type_]
    assert b'filename="' + name + b'"' in upload.body


def test_broken_arguments_of_a_call_are_mended(run_llm: Command, emulator: GigaChatEmulator) -> None:
    emulator.answer({"content": "", "function_call": {"name": "get_tide", "arguments": "{'port': 'Murmansk'}"}})
    done = run_llm("-m", "gigachat", "--functions", TOOL, "How high is the tide in Murmansk?")
    assert answer_of(done) == "According to get_tide: result: 1.8."


def test_a_file_of_another_type_is_refused(run_llm: Command, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    (tmp_path / "page.gif").write_bytes(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")
    refused = run_llm("-m", "gigachat", "-a", "page.gif", "What is it?")
    assert refused.status == 1
    assert "image/gif" in refused.stderr
    assert emulator.prompts == []


def test_tools_run_until_the_model_answers(run_llm: Command, emulator: GigaChatEmulator) -> None:
    done = run_llm("-m", "gigachat", "--functions", TOOL, "How high is the tide in Murmansk?")
    assert answer_of(done) == "According to get_tide: result: 1.8."
    user, call, result = body_of(emulator)["messages"]
    assert user["role"] == "user"
    assert call["function_call"] == {"name": "get_tide", "arguments": {"port": "Murmansk"}}
    assert call["functions_state_id"]
    assert (result["role"], result["name"], json.loads(result["content"])) == ("function", "get_tide", {"result": 1.8})
    answer_of(run_llm("-c", "Thank you"))
    assert [message["role"] for message in body_of(emulator)["messages"]] == [
        "user", "assistant", "function", "assistant", "user",
    ]  # fmt: skip


def test_an_answer_by_a_schema(run_llm: Command, emulator: GigaChatEmulator) -> None:
    answer = json.loads(answer_of(run_llm("-m", "gigachat", "--schema", "name, age int", "Invent a person")))
    assert set(answer) == {"name", "age"}
    assert body_of(emulator)["response_format"]["type"] == "json_schema"


def test_reasoning_is_not_part_of_the_answer(run_llm: Command, emulator: GigaChatEmulator) -> None:
    emulator.answer({"role": "assistant", "content": "4", "reasoning_content": "2 and 2"})
    done = run_llm("-m", "gigachat", "--no-stream", "2+2?")
    assert answer_of(done) == "4"


def test_vectors_of_texts(run_llm: Command) -> None:
    vector = json.loads(answer_of(run_llm("embed", "-m", "gigachat-embeddings", "-c", "one")))
    with GigaChat() as giga:
        expected = giga.embeddings(["one"]).data[0].embedding
    assert vector == pytest.approx(expected)
    lines = "".join(json.dumps({"id": str(number), "content": f"text {number}"}) + "\n" for number in range(3))
    answer_of(run_llm("embed-multi", "texts", "-", "--format", "nl", "-m", "gigachat-embeddings", stdin=lines))
    assert len(answer_of(run_llm("similar", "texts", "-c", "text 1")).splitlines()) == 3


def test_a_chat_in_the_terminal_uses_one_token(run_llm: Command, emulator: GigaChatEmulator) -> None:
    before = len(emulator.oauth_server.requests)
    done = run_llm("chat", "-m", "gigachat", stdin=f"{PROMPT}\nAnd back?\nquit\n")
    assert ANSWER in answer_of(done)
    assert [message["role"] for message in body_of(emulator)["messages"]] == ["user", "assistant", "user"]
    assert len(emulator.oauth_server.requests) == before + 1


# -- keys --------------------------------------------------------------------------------------------------------------


def test_the_key_of_llm(run_llm: Command, emulator: GigaChatEmulator) -> None:
    nothing = {"GIGACHAT_CREDENTIALS": ""}
    refused = run_llm("-m", "gigachat", PROMPT, **nothing)
    assert refused.status == 1
    assert "llm keys set gigachat, or gigaclient login" in refused.stderr
    answer_of(run_llm("keys", "set", "gigachat", "--value", emulator.credentials))
    assert answer_of(run_llm("-m", "gigachat", PROMPT, **nothing)) == ANSWER
    assert len(json.loads(answer_of(run_llm("embed", "-m", "gigachat-embeddings", "-c", "one", **nothing)))) > 1


def test_the_stored_key_of_gigaclient(run_llm: Command, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    entry = {"place": "file", "scope": "GIGACHAT_API_PERS", "credentials": emulator.credentials}
    file = tmp_path / ".config" / "gigaclient" / "credentials.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(entry), "utf-8")
    file.chmod(0o600)
    assert answer_of(run_llm("-m", "gigachat", PROMPT, GIGACHAT_CREDENTIALS="", GIGACHAT_SCOPE="")) == ANSWER
    run_llm("-m", "gigachat", PROMPT, GIGACHAT_CREDENTIALS="", GIGACHAT_SCOPE="GIGACHAT_API_CORP")
    assert emulator.oauth_server.requests[-1].body == b"scope=GIGACHAT_API_CORP"


def test_a_refused_key_is_reported_without_the_key(run_llm: Command, emulator: GigaChatEmulator) -> None:
    wrong = base64.b64encode(b"11111111-2222-3333-4444-555555555555:66666666-7777-8888-9999-000000000000").decode()
    done = run_llm("-m", "gigachat", "--key", wrong, PROMPT)
    assert done.status == 1
    assert "401" in done.stderr or "credentials" in done.stderr
    assert wrong not in done.stdout + done.stderr
