"""``gigaclient chat`` with one question: text for people, and the documented JSON."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.reliability_tools import wait_until
from support.terminal import LIMIT, child, run

from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator


def last_request(emulator: GigaChatEmulator) -> dict[str, object]:
    """Return the body of the last chat request."""
    body: dict[str, object] = json.loads(
        [r for r in emulator.requests if r.path.endswith("/chat/completions")][-1].body
    )
    return body


def question(emulator: GigaChatEmulator) -> str:
    messages = last_request(emulator)["messages"]
    assert isinstance(messages, list)
    return str(messages[-1]["content"])


def test_words_are_the_question_and_the_answer_is_plain_text(emulator: GigaChatEmulator) -> None:
    emulator.answer("**Moscow**, `of course`\n\n- yes")
    ended = run("chat", "What", "is", "the capital?")
    assert (ended.code, ended.out, ended.err) == (0, "**Moscow**, `of course`\n\n- yes\n", "")
    assert question(emulator) == "What is the capital?"
    assert last_request(emulator)["stream"] is True


def test_piped_text_is_the_question(emulator: GigaChatEmulator) -> None:
    assert run("chat", stdin="Count from 1 to 3\n").out == "1, 2, 3\n"
    assert question(emulator) == "Count from 1 to 3"


def test_a_dash_reads_standard_input(emulator: GigaChatEmulator) -> None:
    assert run("chat", "-", stdin="Count from 1 to 3\n").out == "1, 2, 3\n"


@pytest.mark.parametrize("words", [("Explain this:",), ("Explain", "this:", "-")])
def test_words_and_a_pipe_are_combined(words: tuple[str, ...], emulator: GigaChatEmulator) -> None:
    run("chat", *words, stdin="Traceback\n  of many lines\n")
    assert question(emulator) == "Explain this:\n\nTraceback\n  of many lines"


def test_a_dash_after_two_dashes_begins_a_question_that_looks_like_an_option(emulator: GigaChatEmulator) -> None:
    run("chat", "--", "--what is that?")
    assert question(emulator) == "--what is that?"


def test_options_become_fields_of_the_request(emulator: GigaChatEmulator) -> None:
    ended = run(
        *("chat", "Hello", "-m", "GigaChat-2-Max", "-s", "Be brief.", "-t", "0.3", "--top-p", "0.5"),
        *("--max-tokens", "50"),
    )  # fmt: skip
    assert ended.code == 0
    body = last_request(emulator)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("GigaChat-2-Max", 0.3, 0.5, 50)


def test_a_file_is_attached_by_its_id(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Important")
    uploaded = run("files", "upload", str(tmp_path / "notes.txt")).out.strip()
    assert run("chat", "Sum up", "--attach", uploaded).code == 0
    messages = last_request(emulator)["messages"]
    assert isinstance(messages, list)
    assert messages[-1]["attachments"] == [uploaded]


@pytest.fixture
def calls(emulator: GigaChatEmulator) -> Callable[[], list[str]]:
    """Return a function that names the POST requests since the start of the test."""
    before = len(emulator.requests)

    def names() -> list[str]:
        return [request.path.rpartition("/")[2] for request in emulator.requests[before:] if request.method == "POST"]

    return names


@pytest.mark.parametrize("option", ["-a", "--attach"])
def test_a_path_is_uploaded_and_deleted_after_the_answer(
    option: str,
    calls: Callable[[], list[str]],
    emulator: GigaChatEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(name)
    ended = run("chat", "Sum up", option, "~/one.txt", option, str(tmp_path / "two.txt"))
    assert (ended.code, ended.err) == (0, "")
    messages = last_request(emulator)["messages"]
    assert isinstance(messages, list)
    assert len(messages[-1]["attachments"]) == 2
    assert calls() == ["files", "files", "completions", "delete", "delete"]


@pytest.mark.parametrize("options", [(), ("--json",), ("--json", "--stream")], ids=" ".join)
def test_an_attached_file_is_deleted_after_an_error(
    options: tuple[str, ...], calls: Callable[[], list[str]], emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("Important")
    emulator.inject(Fault(status=400), path="/chat/completions")
    assert run("chat", "Sum up", "-a", str(tmp_path / "notes.txt"), *options).code == 4
    assert calls() == ["files", "completions", "delete"]


def test_an_uploaded_file_is_deleted_if_the_next_one_is_refused(calls: Callable[[], list[str]], tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("Important")
    (tmp_path / "empty.txt").write_text("")
    assert run("chat", "Sum up", "-a", str(tmp_path / "good.txt"), "-a", str(tmp_path / "empty.txt")).code == 3
    assert calls() == ["files", "delete"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal there")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_an_attached_file_is_deleted_after_a_kill(
    name: str, calls: Callable[[], list[str]], emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("Important")
    emulator.inject(Fault(before_s=float("inf")), path="/chat/completions")
    process = child("chat", "Sum up", "-a", str(tmp_path / "notes.txt"), stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: "completions" in calls(), what="the question")
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait(LIMIT)
    assert process.returncode == 128 + getattr(signal, name)
    assert calls()[-1] == "delete"


def test_a_file_that_cannot_be_deleted_is_named(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Important")
    emulator.inject(Fault(status=403), path="/delete")
    ended = run("chat", "Count from 1 to 3", "-a", str(tmp_path / "notes.txt"))
    assert (ended.code, ended.out) == (0, "1, 2, 3\n")
    assert ended.err.startswith("warning: an uploaded file remains; delete it with gigaclient files delete ")
    assert run("files", "delete", ended.err.split()[-1]).code == 0


# -- answers of another form -------------------------------------------------------------------------------------------

CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["name", "population"],
}


@pytest.fixture
def schema(tmp_path: Path) -> str:
    path = tmp_path / "city.json"
    path.write_text(json.dumps(CITY))
    return str(path)


def test_with_a_schema_the_answer_is_json(schema: str, emulator: GigaChatEmulator) -> None:
    emulator.answer('```json\n{"name": "Мурманск", "population": 267000}\n```', times=2)
    ended = run("chat", "Invent a city", "--schema", schema)
    assert (ended.code, ended.out) == (0, '{"name":"Мурманск","population":267000}\n')
    format_ = last_request(emulator)["response_format"]
    assert isinstance(format_, dict)
    assert format_["schema"]["properties"] == CITY["properties"]
    document = run("chat", "Invent a city", "--schema", schema, "--json").json
    assert document["value"] == {"name": "Мурманск", "population": 267000}
    assert document["finish_reason"] == "stop"


def test_an_answer_that_does_not_fit_the_schema_is_an_error_that_keeps_it(
    schema: str, emulator: GigaChatEmulator
) -> None:
    emulator.answer("I do not know.", times=2)
    ended = run("chat", "Invent a city", "--schema", schema)
    assert (ended.code, ended.out) == (8, "")
    assert run("chat", "Invent a city", "--schema", schema, "--json").error["text"] == "I do not know."


def uploaded_picture(content: bytes) -> str:
    return run("files", "upload", "-", "--name", "cat.jpg", stdin=content).out.strip()


def test_the_pictures_of_an_answer_are_saved(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    first, second = uploaded_picture(b"\xff\xd8\xff\xe0one"), uploaded_picture(b"\xff\xd8\xff\xe0two")
    emulator.answer(f'<img src="{first}" fuse="true"/> <img src="{second}" fuse="true"/>')
    ended = run("chat", "Draw cats", "--image", str(tmp_path / "cat.jpg"), "--json")
    assert ended.json["files"] == [
        {"id": first, "kind": "image", "path": str(tmp_path / "cat.jpg")},
        {"id": second, "kind": "image", "path": str(tmp_path / "cat-2.jpg")},
    ]
    assert (tmp_path / "cat.jpg").read_bytes() == b"\xff\xd8\xff\xe0one"
    assert (tmp_path / "cat-2.jpg").read_bytes() == b"\xff\xd8\xff\xe0two"
    assert last_request(emulator)["function_call"] == "auto"


def test_an_answer_without_a_picture_is_code_1(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    emulator.answer("I cannot draw.")
    ended = run("chat", "Draw a cat", "--image", str(tmp_path / "cat.jpg"))
    assert (ended.code, ended.out) == (1, "I cannot draw.\n")
    assert "the answer has no picture" in ended.err
    assert not (tmp_path / "cat.jpg").exists()


# -- JSON --------------------------------------------------------------------------------------------------------------


def test_json_is_one_document(emulator: GigaChatEmulator) -> None:
    ended = run("chat", "Count from 1 to 3", "--json")
    assert ended.out.count("\n") == 1
    document = ended.json
    assert list(document) == ["text", "model", "finish_reason", "usage", "request_id"]
    assert (document["text"], document["finish_reason"]) == ("1, 2, 3", "stop")
    assert document["usage"]["total_tokens"] > 0
    assert last_request(emulator).get("stream") is not True


def test_json_does_not_escape_letters(emulator: GigaChatEmulator) -> None:
    emulator.answer("Привет \u2028 <b>")
    assert '"text":"Привет \u2028 <b>"' in run("chat", "Hello", "--json").out


def test_json_names_the_files_that_a_model_made(emulator: GigaChatEmulator) -> None:
    picture = "0b1c6a1e-8f0e-4c57-8d3c-1f4f4c1d2a3b"
    emulator.answer(f'Here: <img src="{picture}" fuse="true"/>')
    assert run("chat", "Draw", "--json").json["files"] == [{"id": picture, "kind": "image"}]


def test_json_stream_is_a_line_for_each_chunk_and_the_answer_last(emulator: GigaChatEmulator) -> None:
    *chunks, answer = run("chat", "Count from 1 to 5", "--json", "--stream").json_lines
    assert len(chunks) > 1
    assert {chunk["event"] for chunk in chunks} == {"text"}
    assert "".join(chunk["text"] for chunk in chunks) == "1, 2, 3, 4, 5"
    assert (answer["event"], answer["text"], answer["finish_reason"]) == ("answer", "1, 2, 3, 4, 5", "stop")


def test_usage_goes_to_standard_error(emulator: GigaChatEmulator) -> None:
    ended = run("chat", "Count from 1 to 3", "--usage")
    assert ended.out == "1, 2, 3\n"
    assert ended.err.split(" tokens")[0].count("+") == 1


def test_input_in_utf16_is_read_as_powershell_writes_it(emulator: GigaChatEmulator) -> None:
    run("chat", stdin="Привет\r\nмир".encode("utf-16"))
    assert question(emulator) == "Привет\nмир"


def test_fakegpt_answers_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeGptEmulator() as fake:
        monkeypatch.setenv("FAKEGPT_CA_BUNDLE_FILE", fake.authority.ca_file)
        ended = run("chat", "--provider", "fakegpt", "--base-url", fake.base_url, "Count from 1 to 3")
    assert (ended.code, ended.out) == (0, "1, 2, 3\n")


def test_the_text_before_a_broken_stream_is_printed(emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(cut_after_events=3), path="/chat/completions", times=2)
    ended = run("chat", "Count from 1 to 9")
    assert (ended.code, ended.out) == (5, "1, 2, 3,\n")
    assert ended.err.startswith("error: the stream broke")
    as_json = run("chat", "Count from 1 to 9", "--json", "--stream")
    assert as_json.error["text"] == "1, 2, 3,"
    assert as_json.error["type"] == "StreamInterruptedError"
