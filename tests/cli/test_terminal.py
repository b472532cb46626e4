"""The commands at a pseudo-terminal: the tests type keys and read the screen."""

from __future__ import annotations

import json
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dialogue_tools import name_of_the_user
from support.reliability_tools import wait_until
from support.terminal import LIMIT, Terminal, at_terminal, run

from gigaclient.cli.registry import COMMANDS
from gigaclient.gigachat.credentials import UUID
from gigaclient.testing import Fault, GigaChatEmulator

COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7])[;m]")
SPINNER = b"\xe2[\xa0-\xa3][\x80-\xbf]"  # a letter of the Braille block in UTF-8
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"

MARKDOWN = "# Title\n\nSome **bold** words.\n\n```python\nx = 1\n```\n\n1. one\n2. two\n"


def questions(emulator: GigaChatEmulator) -> list[list[dict[str, str]]]:
    """Return the messages of each chat request."""
    return [
        json.loads(request.body)["messages"]
        for request in emulator.requests
        if request.path.endswith("/chat/completions")
    ]


@pytest.fixture
def talk(emulator: GigaChatEmulator) -> Iterator[Terminal]:
    """Start ``gigaclient chat`` and wait for its prompt."""
    with at_terminal("chat") as terminal:
        terminal.wait_for("Ctrl-D leaves.\n>")
        yield terminal


# -- one question ------------------------------------------------------------------------------------------------------


def test_the_answer_is_rendered_as_markdown_while_it_streams(emulator: GigaChatEmulator) -> None:
    emulator.answer(MARKDOWN)
    emulator.inject(Fault(stall_after_events=6), path="/chat/completions")
    with at_terminal("chat", "Show me") as terminal:
        terminal.wait_for("bold")
        first = terminal.text
        assert first.startswith("Title\n\nSome bold")  # the rest never arrives
        assert "x = 1" not in first
        assert not terminal.echoes
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        assert terminal.text.startswith("Title\n\nSome bold")
        assert terminal.echoes


def test_the_whole_answer_is_on_the_screen_and_coloured(emulator: GigaChatEmulator) -> None:
    emulator.answer(MARKDOWN)
    with at_terminal("chat", "Show me") as terminal:
        assert terminal.end() == 0
        assert terminal.text == "Title\n\nSome bold words.\n\nx = 1\n\n 1 one\n 2 two"
        assert COLOUR.search(terminal.raw)


def test_no_color_keeps_only_emphasis(emulator: GigaChatEmulator) -> None:
    emulator.answer(MARKDOWN)
    with at_terminal("chat", "Show me", environment={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
        assert "Some bold words." in terminal.text
        assert b"\x1b[1mbold" in terminal.raw
        assert not COLOUR.search(terminal.raw)


@pytest.mark.parametrize(
    ("arguments", "environment"), [(("--plain",), {}), ((), {"TERM": "dumb"})], ids=["--plain", "a dumb terminal"]
)
def test_plain_text_is_unchanged_and_its_escapes_do_nothing(
    arguments: tuple[str, ...], environment: dict[str, str], emulator: GigaChatEmulator
) -> None:
    emulator.answer("**bold** \x1b]0;owned\x07\x1b[31m")
    with at_terminal("chat", "Show me", *arguments, environment=environment) as terminal:
        assert terminal.end() == 0
        assert terminal.text == "**bold** ␛]0;owned␇␛[31m"
        assert b"\x1b" not in terminal.raw


def test_a_spinner_is_shown_until_the_first_word_and_leaves_no_trace(emulator: GigaChatEmulator) -> None:
    go = threading.Event()
    emulator.answer(lambda messages: "Moscow" if go.wait(LIMIT) else "too late")
    with at_terminal("chat", "What is the capital?") as terminal:
        terminal.wait_for_output(SPINNER)
        go.set()
        assert terminal.end() == 0
        assert terminal.text == "Moscow"


@pytest.mark.parametrize("arguments", [(), ("--plain",)], ids=["Markdown", "--plain"])
def test_an_interrupt_removes_the_spinner(arguments: tuple[str, ...], emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(before_s=float("inf")), path="/chat/completions")
    with at_terminal("chat", "Hello", *arguments) as terminal:
        terminal.wait_for_output(SPINNER)
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        assert terminal.text == ""


@pytest.mark.parametrize(
    ("arguments", "environment"), [(("--debug",), {}), (("--json",), {}), ((), {"TERM": "dumb"})], ids=str
)
def test_a_log_json_and_a_dumb_terminal_have_no_spinner(
    arguments: tuple[str, ...], environment: dict[str, str], emulator: GigaChatEmulator
) -> None:
    with at_terminal("chat", "Hello", *arguments, environment=environment) as terminal:
        assert terminal.end() == 0
        assert re.search(SPINNER, terminal.raw) is None


def test_an_attached_file_is_deleted_after_ctrl_c(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Important")
    files = run("files", "list").out
    emulator.inject(Fault(stall_after_events=2), path="/chat/completions")
    with at_terminal("chat", "Count from 1 to 9", "-a", str(tmp_path / "notes.txt")) as terminal:
        terminal.wait_for("1, 2,")
        assert "it is deleted after the answer" in " ".join(terminal.text.split())
        terminal.type(CTRL_C)
        assert terminal.end() == 130
    assert run("files", "list").out == files


def test_an_id_is_attached_as_such(emulator: GigaChatEmulator) -> None:
    identifier = run("files", "upload", "-", "--name", "notes.txt", stdin="Important").out.strip()
    with at_terminal("chat", "Hello", "-a", identifier) as terminal:
        assert terminal.end() == 0
        assert terminal.text.startswith(f"attached by its id: {identifier}\n")
    assert identifier in run("files", "list").out


def test_a_saved_picture_is_named(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    with at_terminal("chat", "Draw a cat", "--image", str(tmp_path / "cat.jpg")) as terminal:
        assert terminal.end() == 0
        assert "saved:" in terminal.text
        assert "gigaclient files download" not in terminal.text
    assert (tmp_path / "cat.jpg").read_bytes()


def test_a_long_line_of_code_is_one_line_for_copying(emulator: GigaChatEmulator) -> None:
    code = 'pip install --upgrade --no-cache-dir "gigaclient[cli,progress]" --quiet'
    emulator.answer(f"So:\n\n```shell\n{code}\n```\n\nDone.")
    with at_terminal("chat", "How?", columns=40) as terminal:
        assert terminal.end() == 0
        # The terminal wraps the line: it has neither a line break nor a margin.
        assert terminal.text == f"So:\n\n{code[:40]}\n{code[40:]}\n\nDone."


# -- forty columns -----------------------------------------------------------------------------------------------------

HELP = [
    *((name,) for name, entry in COMMANDS.items() if name != "completion"),
    *(("files", name) for name in ("list", "upload", "get", "download", "delete")),
    *(("batch", name) for name in ("create", "list", "get", "wait", "results")),
    (),
]


def words(text: str) -> list[str]:
    return [word for word in text.split() if word != "\\"]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_the_help_is_wrapped_between_words(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    wide = run(*arguments, "--help").out
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run(*arguments, "--help").out
    too_long = [line for line in narrow.splitlines() if len(line) > 40]
    assert all(len(line.split()) == 1 for line in too_long)
    if arguments[:1] != ("emulator",):  # argparse fills its usage differently
        assert words(narrow) == words(wide)


@pytest.mark.parametrize(
    "arguments",
    [("chat", "--help"), ("--help",), ("models",), ("balance",), ("batch", "get", "none")],
    ids=" ".join,
)
def test_no_word_is_broken_in_forty_columns(arguments: tuple[str, ...], emulator: GigaChatEmulator) -> None:
    shown = []
    for columns in (40, 120):
        with at_terminal(*arguments, columns=columns, lines=100) as terminal:
            terminal.end()
            shown.append([word for word in words(terminal.text) if not UUID.search(word)])
    assert shown[0] == shown[1]


def test_the_report_of_the_doctor_has_titles_above_the_findings(emulator: GigaChatEmulator) -> None:
    with at_terminal("doctor", "--model", "GigaChat-2-Max", columns=40, lines=100) as terminal:
        assert terminal.end() == 0
        assert (
            "\n✓ Balance\n  tokens left: GigaChat 1 000 000,\n  GigaChat-2 1 000 000, GigaChat-2-Max\n" in terminal.text
        )
        assert "\n  model = GigaChat-2-Max (--model)\n" in terminal.text


def test_a_table_that_is_too_wide_becomes_fields(emulator: GigaChatEmulator) -> None:
    identifier = run("files", "upload", "-", "--name", "a long name.txt", stdin="text").out.strip()
    with at_terminal("files", "list", columns=40, lines=100) as terminal:
        assert terminal.end() == 0
        assert f"id: {identifier}\nbytes: 4\npurpose: general\ncreated: " in terminal.text
        assert "\nname: a long name.txt" in terminal.text
    with at_terminal("files", "list", lines=100) as terminal:
        assert terminal.end() == 0
        assert terminal.text.splitlines()[0].split() == ["id", "bytes", "purpose", "created", "name"]
        assert re.search(rf"^{identifier} +4  general", terminal.text, re.M)
        assert {"a", "long", "name.txt"} <= {*terminal.text.split()}


def test_a_picture_is_named_with_the_command_that_fetches_it(emulator: GigaChatEmulator) -> None:
    picture = "0b1c6a1e-8f0e-4c57-8d3c-1f4f4c1d2a3b"
    emulator.answer(f'<img src="{picture}" fuse="true"/>')
    with at_terminal("chat", "Draw") as terminal:
        assert terminal.end() == 0
        assert f"image: gigaclient files download {picture}" in terminal.text


def test_tables_have_headings_and_columns(emulator: GigaChatEmulator) -> None:
    with at_terminal("balance") as terminal:
        assert terminal.end() == 0
        lines = terminal.text.splitlines()
        assert lines[0].split() == ["for", "tokens", "left"]
        assert len({len(line) for line in lines}) == 1
        assert b"\x1b[1m" in terminal.raw


# -- a conversation ----------------------------------------------------------------------------------------------------


def test_ctrl_c_stops_the_answer_and_not_the_program(talk: Terminal, emulator: GigaChatEmulator) -> None:
    aborted = emulator.api_aborted
    emulator.inject(Fault(stall_after_events=2), path="/chat/completions")
    talk.type("Count from 1 to 9\r")
    talk.wait_for("1, 2,")
    talk.type(CTRL_C)
    talk.wait_for("stopped\n>")
    wait_until(lambda: emulator.api_aborted > aborted, what="the end of the answer upstream")

    talk.type("Say Murmansk and nothing else\r")
    talk.wait_for("\nMurmansk\n>")
    # The received part of the stopped answer belongs to the conversation.
    assert [(m["role"], m["content"]) for m in questions(emulator)[-1]] == [
        ("user", "Count from 1 to 9"),
        ("assistant", "1, 2,"),
        ("user", "Say Murmansk and nothing else"),
    ]

    talk.type("half a line" + CTRL_C)
    talk.wait_for("half a line\n>")
    talk.type(CTRL_D)
    assert talk.end() == 0
    assert "Traceback" not in talk.text


def test_an_interrupt_before_the_first_chunk_does_not_change_the_conversation(
    talk: Terminal, emulator: GigaChatEmulator
) -> None:
    before = len(emulator.requests)
    emulator.inject(Fault(before_s=float("inf")), path="/chat/completions")
    talk.type("Hello\r")
    wait_until(lambda: any("chat" in request.path for request in emulator.requests[before:]), what="the question")
    talk.type(CTRL_C)
    talk.wait_for("stopped\n>")
    talk.type("Say Murmansk and nothing else\r")
    talk.wait_for("\nMurmansk\n>")
    assert len(questions(emulator)[-1]) == 1


def test_an_error_is_one_sentence_and_the_conversation_goes_on(talk: Terminal, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=402), path="/chat/completions")
    talk.type("Hello\r")
    talk.wait_for("error: 402: ")
    talk.type("Say Murmansk and nothing else\r")
    talk.wait_for("\nMurmansk\n>")
    assert len(questions(emulator)[-1]) == 1
    assert "Traceback" not in talk.text


def test_commands_change_the_conversation(talk: Terminal, emulator: GigaChatEmulator, tmp_path: Path) -> None:
    emulator.answer(name_of_the_user, times=None)
    emulator.answer("Nice to meet you!")
    talk.type("My name is Bob\r")
    talk.wait_for("Nice to meet you")
    talk.type("/system Be brief.\r")
    talk.wait_for("\nBe brief.\n")
    talk.type("/model GigaChat-2-Max\r")
    talk.wait_for("\nGigaChat-2-Max\n")
    talk.type("/temperature 0,3\r")
    talk.wait_for("temperature: 0.3")
    talk.type("What is my name?\r")
    talk.wait_for("It is Bob.")
    body = json.loads([r for r in emulator.requests if r.path.endswith("/chat/completions")][-1].body)
    assert (body["model"], body["temperature"]) == ("GigaChat-2-Max", 0.3)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert len(body["messages"]) == 4

    for name in ("talk.json", "talk.md"):
        talk.type(f"/save {tmp_path / name}\r")
        talk.wait_for("saved:", count=1 + (name == "talk.md"))
    assert "**You:**\n\nMy name is Bob" in (tmp_path / "talk.md").read_text()

    talk.type("/reset\r")
    talk.wait_for("a new conversation")
    talk.type("What is my name?\r")
    talk.wait_for("You have not told me.")
    assert [message["role"] for message in questions(emulator)[-1]] == ["system", "user"]

    talk.type(f"/load {tmp_path / 'talk.json'}\r")
    talk.wait_for("2 questions and their answers")
    talk.type("/retry\r")
    talk.wait_for("It is Bob.", count=2)
    assert len(questions(emulator)[-1]) == 4

    (tmp_path / "other.json").write_text("somebody's")
    talk.type(f"/save {tmp_path / 'other.json'}\r")
    talk.wait_for("already exists")
    assert (tmp_path / "other.json").read_text() == "somebody's"
    talk.type(f"/load {tmp_path / 'other.json'}\r")
    talk.wait_for("saved conversation: ")
    talk.type("/nothing\r")
    talk.wait_for("no such command: /nothing")
    talk.type("/usage\r")
    talk.wait_for("since the start:")
    talk.type("/exit\r")
    assert talk.end() == 0


def test_the_history_is_kept_for_the_next_run_in_a_private_file(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    history = tmp_path / "state/gigaclient/history"
    history.parent.mkdir(parents=True, mode=0o700)
    history.touch(0o644)
    with at_terminal("chat") as terminal:
        terminal.wait_for("Ctrl-D leaves.\n>")
        terminal.type("Say Murmansk\x1b\rand nothing else\r")  # Alt+Enter starts a new line
        terminal.wait_for("\nMurmansk\n>")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    assert questions(emulator)[-1][-1]["content"] == "Say Murmansk\nand nothing else"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    with at_terminal("chat") as terminal:
        terminal.wait_for("Ctrl-D leaves.\n>")
        terminal.type(UP)
        terminal.wait_for("> Say Murmansk")
        terminal.type("\r")
        terminal.wait_for("\nMurmansk\n>")
        terminal.type(CTRL_D)
        assert terminal.end() == 0


# -- a key -------------------------------------------------------------------------------------------------------------


def test_login_hides_the_key(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    key = emulator.credentials
    monkeypatch.delenv("GIGACHAT_CREDENTIALS")
    with at_terminal("login") as terminal:
        terminal.wait_for("Authorization key (not shown):")
        wait_until(lambda: not terminal.echoes, what="hiding the input")
        terminal.type(key + "\r")
        assert terminal.end() == 0
        assert "Logged in with the key of client" in terminal.text
        assert key[:8].encode() not in terminal.raw
        assert terminal.echoes
