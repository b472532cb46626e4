"""The output of each command: text for people, lines for pipes, and the documented JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.terminal import run

from gigaclient.cli.registry import COMMANDS
from gigaclient.testing import GigaChatEmulator

# -- help --------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_a_line_each() -> None:
    ended = run("--help")
    assert ended.code == 0
    for name, entry in COMMANDS.items():
        assert f"  {name} " in ended.out
        assert entry.help in ended.out


def test_without_a_command_the_help_goes_to_standard_error() -> None:
    ended = run()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == run("--help").out


def test_every_command_of_the_extra_explains_itself() -> None:
    for name, entry in COMMANDS.items():
        if not entry.standalone:
            ended = run(name, "--help")
            assert ended.code == 0, name
            assert ended.out.startswith(f"Usage: gigaclient {name}"), name
            assert run("help", name).out == ended.out


def test_an_unknown_command_suggests_a_similar_one() -> None:
    ended = run("modles")
    assert (ended.code, ended.out) == (2, "")
    assert "did you mean models?" in ended.err


def test_an_option_before_the_command_is_an_error() -> None:
    assert "options follow the command" in run("--json", "models").err


def test_the_version_is_printed() -> None:
    from gigaclient import __version__

    assert run("--version").out == __version__ + "\n"


# -- models and balance ------------------------------------------------------------------------------------------------


def test_models_in_a_pipe_are_lines_of_two_columns(emulator: GigaChatEmulator) -> None:
    lines = run("models").out.splitlines()
    assert "GigaChat-2\tchat" in lines
    assert "Embeddings\tembedder" in lines


def test_models_can_be_narrowed_to_a_type(emulator: GigaChatEmulator) -> None:
    found = run("models", "--type", "embedder", "--json").json["models"]
    assert {model["type"] for model in found} == {"embedder"}
    assert list(found[0]) == ["id", "type", "owned_by"]


def test_the_balance_lists_each_package(emulator: GigaChatEmulator) -> None:
    assert "GigaChat-2\t1000000\n" in run("balance").out
    packages = run("balance", "--json").json["balance"]
    assert {"usage": "GigaChat-2", "value": 1000000.0} in packages


def test_a_plan_without_packages_is_code_4(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", emulator.add_credentials("GIGACHAT_API_CORP"))
    monkeypatch.setenv("GIGACHAT_SCOPE", "GIGACHAT_API_CORP")
    ended = run("balance")
    assert ended.code == 4
    assert "has none, which is normal" in ended.err


# -- texts -------------------------------------------------------------------------------------------------------------


def test_tokens_in_a_pipe_are_numbers_alone(emulator: GigaChatEmulator) -> None:
    assert run("tokens", "Hello, world", "a").out == "4\n1\n"
    assert run("tokens", stdin="Hello, world").out == "4\n"


def test_tokens_as_json_have_a_sum(emulator: GigaChatEmulator) -> None:
    assert run("tokens", "Hello, world", "мир", "--json").json == {
        "model": "GigaChat-2",
        "tokens": 5,
        "counts": [{"tokens": 4, "characters": 12}, {"tokens": 1, "characters": 3}],
    }


def test_vectors_in_a_pipe_are_a_json_array_on_each_line(emulator: GigaChatEmulator) -> None:
    lines = run("embed", "one", "two").out.splitlines()
    assert [len(json.loads(line)) for line in lines] == [1024, 1024]


def test_vectors_as_json_have_their_index(emulator: GigaChatEmulator) -> None:
    document = run("embed", "--lines", "--json", stdin="one\n\ntwo\n").json
    assert [item["index"] for item in document["embeddings"]] == [0, 1]
    assert document["model"] == "Embeddings"
    assert document["usage"]["prompt_tokens"] > 0


# -- files -------------------------------------------------------------------------------------------------------------


def uploaded(path: Path, *options: str) -> str:
    ended = run("files", "upload", str(path), *options)
    assert ended.code == 0, ended.err
    return ended.out.strip()


def test_a_file_goes_up_is_listed_comes_back_and_is_deleted(
    emulator: GigaChatEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_bytes("Заметки\n".encode())
    identifier = uploaded(tmp_path / "notes.txt")

    listed = [line.split("\t") for line in run("files", "list").out.splitlines()]
    assert [identifier, "15", "general"] in [row[:3] for row in listed]
    assert run("files", "get", identifier, "--json").json["filename"] == "notes.txt"

    (tmp_path / "notes.txt").unlink()
    assert run("files", "download", identifier).out == "notes.txt\n"
    assert (tmp_path / "notes.txt").read_bytes() == "Заметки\n".encode()

    refused = run("files", "download", identifier)
    assert (refused.code, "already exists" in refused.err) == (2, True)
    assert run("files", "download", identifier, "--force", "--json").json["bytes"] == 15
    assert run("files", "download", identifier, "-o", "-").out == "Заметки\n"

    assert run("files", "delete", identifier, "--json").json == {"files": [{"id": identifier, "deleted": True}]}
    assert run("files", "get", identifier).code == 4


def test_standard_input_goes_up_under_a_name(emulator: GigaChatEmulator) -> None:
    ended = run("files", "upload", "-", "--name", "from a pipe.txt", stdin="text")
    assert run("files", "get", ended.out.strip(), "--json").json["filename"] == "from a pipe.txt"


def test_a_download_stays_in_its_folder_for_any_file_name(
    emulator: GigaChatEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    monkeypatch.chdir(folder)
    identifier = run("files", "upload", "-", "--name", "../.profile\x1b.txt", stdin="text").out.strip()
    written = run("files", "download", identifier).out.strip()
    assert "/" not in written
    assert not written.startswith(".")
    assert [path.name for path in folder.iterdir()] == [written]
    assert [path.name for path in tmp_path.glob("*.txt")] == []


def test_a_missing_file_is_reported_before_anything_is_sent(emulator: GigaChatEmulator) -> None:
    before = len(emulator.requests)
    ended = run("files", "upload", "missing.txt")
    assert ended.code == 3
    assert "missing.txt" in ended.err
    assert len(emulator.requests) == before


# -- batches -----------------------------------------------------------------------------------------------------------


def created(emulator: GigaChatEmulator, *arguments: str, stdin: str) -> str:
    ended = run("batch", "create", "-", *arguments, stdin=stdin)
    assert ended.code == 0, ended.err
    return ended.out.strip()


def test_a_batch_of_questions_is_answered_line_by_line(emulator: GigaChatEmulator) -> None:
    identifier = created(
        emulator, "--lines", "-s", "Be brief.", "-m", "GigaChat-2", stdin="Count from 1 to 3\n\nCount from 1 to 2\n"
    )
    assert identifier in run("batch", "list").out
    waited = run("batch", "wait", identifier, "--poll", "0.01", "--json")
    assert waited.json["status"] == "completed"
    assert run("batch", "get", identifier).out == f"{identifier}: completed, 2 of 2 rows answered\n"
    # The results have the order of the service's file, not of the questions.
    assert sorted(run("batch", "results", identifier).out.split("\n\n")) == ["", "# row-1\n1, 2, 3", "# row-2\n1, 2"]
    rows = run("batch", "results", identifier, "--json").json_lines
    assert sorted((row["id"], row["text"], row["finish_reason"]) for row in rows) == [
        ("row-1", "1, 2, 3", "stop"),
        ("row-2", "1, 2", "stop"),
    ]


QUESTIONS = ["Count from 1 to 3", "Count from 1 to 2"]


@pytest.mark.parametrize(
    ("name", "content", "options", "ids"),
    [
        ("questions.txt", "Count from 1 to 3\nCount from 1 to 2\n", (), ["row-1", "row-2"]),
        ("rows.csv", "id,last\na,3\nb,2\n", ("--template", "Count from 1 to {last}"), ["a", "b"]),
        ("rows.tsv", "last\n3\n2\n", ("--template", "Count from 1 to {last}"), ["row-1", "row-2"]),
        ("rows.jsonl", '"Count from 1 to 3"\n{"prompt": "Count from 1 to 2", "id": 7}\n', (), ["row-1", "7"]),
        (
            "rows.ndjson",
            '[{"role": "user", "content": "Count from 1 to 3"}]\n'
            '{"id": "b", "messages": [{"role": "user", "content": "Count from 1 to 2"}]}\n',
            (),
            ["row-1", "b"],
        ),
        ("rows", '{"last": 3}\n{"last": 2}\n', ("--template", "Count from 1 to {last}"), ["row-1", "row-2"]),
    ],
)
def test_a_batch_takes_the_lines_that_map_takes(
    name: str, content: str, options: tuple[str, ...], ids: list[str], emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    common = ("-s", "Be brief.", "-m", "GigaChat-2-Max", "--top-p", "0.5", *options)
    identifier = run("batch", "create", str(tmp_path / name), *common).out.strip()
    rows = [json.loads(line) for line in emulator.requests[-1].body.splitlines()]
    assert [row["id"] for row in rows] == ids
    for row, question in zip(rows, QUESTIONS, strict=True):
        assert row["request"]["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": question},
        ]
        assert (row["request"]["model"], row["request"]["top_p"]) == ("GigaChat-2-Max", 0.5)
    assert identifier in run("batch", "list").out


def test_a_template_may_come_from_a_file_and_the_lines_from_a_pipe(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    (tmp_path / "template.txt").write_text("Sort: {text}\n")
    created(emulator, "--template-file", str(tmp_path / "template.txt"), stdin='{"text": "Good"}\n')
    (row,) = [json.loads(line) for line in emulator.requests[-1].body.splitlines()]
    assert row["request"]["messages"] == [{"role": "user", "content": "Sort: Good"}]


def test_a_batch_of_embeddings_takes_texts_and_their_objects(emulator: GigaChatEmulator) -> None:
    identifier = created(emulator, "--method", "embedder", stdin='"one"\n{"id": "b", "input": ["two"]}\n')
    rows = run("batch", "results", identifier, "--wait", "--json").json_lines
    assert sorted(row["id"] for row in rows) == ["b", "row-1"]
    assert {len(row["embeddings"]) for row in rows} == {1}


def test_a_batch_of_rows_is_sent_unchanged_and_a_failed_row_is_code_1(
    emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    request = {"model": "GigaChat-2", "messages": [{"role": "user", "content": "Count from 1 to 3"}]}
    rows = [json.dumps({"id": name, "request": request}) for name in ("good", "bad")]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    emulator.batches.failing = {"bad"}
    try:
        identifier = run("batch", "create", str(tmp_path / "rows.jsonl"), "--json").json["id"]
        ended = run("batch", "results", identifier, "--wait", "--json")
    finally:
        emulator.batches.failing = set()
    assert ended.code == 1
    bad, good = sorted(ended.json_lines, key=lambda row: str(row["id"]))
    assert good["text"] == "1, 2, 3"
    assert bad["id"] == "bad"
    assert bad["error"]["status_code"] == 500


@pytest.mark.parametrize(
    ("name", "options", "content"),
    [
        ("rows.jsonl", (), json.dumps({"id": "1", "request": {"messages": [{"role": "user", "content": "Hello"}]}})),
        ("questions.txt", ("--lines",), "Hello"),
    ],
    ids=["rows", "questions"],
)
def test_the_file_of_a_batch_may_be_under_home(
    name: str,
    options: tuple[str, ...],
    content: str,
    emulator: GigaChatEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / name).write_text(f"{content}\n")
    ended = run("batch", "create", f"~/{name}", *options, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["request_counts"]["total"] == 1


def test_a_wait_that_is_too_short_is_code_6(emulator: GigaChatEmulator) -> None:
    emulator.batches.seconds = 600
    try:
        identifier = created(emulator, "--lines", stdin="Hello\n")
        ended = run("batch", "wait", identifier, "--poll", "0.05", "--within", "0.2")
    finally:
        emulator.batches.seconds = None
    assert ended.code == 6
    assert "still" in ended.err


# -- all commands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("chat", ""), None, "empty"),
        (("chat",), " \n", "empty"),
        (("chat", "-", "-"), "x", "read once"),
        (("chat", "Hello", "--stream"), None, "--stream is for --json"),
        (("chat", "Hello", "--temperature", "hot"), None, "--temperature"),
        (("chat", "Hello", "--timeout", "0"), None, "--timeout"),
        (("chat", "Hello", "--provider", "fakegpt", "--attach", "x"), None, "--attach is for GigaChat"),
        (("chat",), b"\xff\xfe\xff", "not text"),
        (("embed", ""), None, "empty text"),
        (("embed",), None, "there is no text"),
        (("files", "upload", "-"), b"x", "--name is needed"),
        (("files", "nothing"), None, "nothing"),
        (
            ("batch", "create", "-", "--model", "x"),
            b'{"id": "1", "request": {}}',
            "set the model and other fields in its rows",
        ),
        (("batch", "create", "-"), b'{"text": "Good"}', "line 1: the input has the fields text: pass --template"),
        (("batch", "create", "-"), b"Hello", "line 1: "),
        (("batch", "create", "-", "--lines"), b"\n", "no questions"),
        (("batch", "create", "missing.csv"), None, "missing.csv: No such file"),
        (("batch", "create", "-", "--method", "embedder", "-s", "x"), b"x", "are for chats"),
        (("chat", "Hello", "--attach", "missing.pdf"), None, "missing.pdf: there is no such file"),
        (("chat", "Hello", "--attach", "."), None, "--attach . is not a file"),
        (("chat", "Hello", "--schema", "missing.json"), None, "missing.json"),
        (("chat", "Hello", "--schema", "/dev/null"), None, "is not a JSON Schema"),
        (("chat", "Hello", "--json", "--stream", "--schema", "x"), None, "--stream is for --json, without --schema"),
        (("chat", "Hello", "--image", "."), None, "already exists"),
        (("chat", "Hello", "--image", "nowhere/cat.jpg"), None, "there is no folder nowhere"),
        (("completion", "tcsh"), None, "tcsh"),
    ],
)
def test_a_wrong_command_line_is_code_2_and_sends_nothing(
    arguments: tuple[str, ...], stdin: str | bytes | None, message: str, emulator: GigaChatEmulator
) -> None:
    before = len(emulator.requests)
    ended = run(*arguments, stdin=stdin)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert len(emulator.requests) == before


def test_debug_logs_requests_without_secrets_and_texts(emulator: GigaChatEmulator) -> None:
    ended = run("chat", "Say Murmansk and nothing else", "--debug")
    assert ended.out == "Murmansk\n"
    assert "POST" in ended.err
    assert "/chat/completions" in ended.err
    assert "Murmansk" not in ended.err
    assert emulator.credentials not in ended.err
    assert "Bearer" not in ended.err


def test_the_key_may_come_from_a_file(
    emulator: GigaChatEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(emulator.credentials + "\n")
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", "wrong")
    assert run("tokens", "Hello", "--credentials-file", str(tmp_path / "key")).code == 0
    missing = run("tokens", "Hello", "--credentials-file", str(tmp_path / "none"))
    assert missing.code == 3
    assert "cannot be read" in missing.err


def test_without_a_key_the_error_names_the_next_step() -> None:
    ended = run("chat", "Hello")
    assert ended.code == 3
    assert "gigaclient login" in ended.err
    assert "GIGACHAT_CREDENTIALS" in ended.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_completion_script(shell: str) -> None:
    ended = run("completion", shell)
    assert ended.code == 0
    assert f"_GIGACLIENT_COMPLETE={shell}_complete" in ended.out


def test_in_a_pipe_there_are_no_escapes_unless_they_are_forced(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in run("chat", "-m", "none", "Hello").err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run("chat", "-m", "none", "Hello").err.startswith("\x1b[1;31merror: \x1b[0m")
    emulator.answer("**bold**")
    assert run("chat", "Hello").out == "**bold**\n"
    assert "\x1b" not in run("chat", "-m", "none", "Hello", "--no-color").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("chat", "-m", "none", "Hello").err
