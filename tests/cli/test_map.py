"""``gigaclient map``: a question for each line; results on standard output, or in a file for the next run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.reliability_tools import wait_until
from support.terminal import LIMIT, at_terminal, child, run

from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator

REVIEWS = [{"text": "Good", "stars": 5}, {"text": "Bad", "stars": 1}, {"text": "Привет", "stars": 3}]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(review) + "\n" for review in REVIEWS))
    return path


@pytest.fixture
def sent(emulator: GigaChatEmulator) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that reads the bodies of the chat requests since the start of the test."""
    before = len(emulator.requests)

    def bodies() -> list[dict[str, Any]]:
        return [json.loads(r.body) for r in emulator.requests[before:] if r.path.endswith("/chat/completions")]

    return bodies


def questions(bodies: list[dict[str, Any]]) -> list[str]:
    return [body["messages"][-1]["content"] for body in bodies]


def summary(err: str) -> str:
    return err.splitlines()[0]


# -- input -------------------------------------------------------------------------------------------------------------


def test_each_line_is_sent_and_results_keep_the_order(reviews: Path, sent: Callable[[], list[dict[str, Any]]]) -> None:
    ended = run("map", str(reviews), "--template", "{text}. Count from 1 to {stars}")
    assert ended.code == 0
    assert sorted(questions(sent())) == [
        "Bad. Count from 1 to 1", "Good. Count from 1 to 5", "Привет. Count from 1 to 3",
    ]  # fmt: skip
    lines = ended.json_lines
    assert [line["index"] for line in lines] == [0, 1, 2]
    assert [line["input"] for line in lines] == REVIEWS
    assert list(lines[0]) == ["index", "input", "text", "model", "finish_reason", "usage", "attempts", "seconds"]
    assert [line["text"] for line in lines] == ["1, 2, 3, 4, 5", "1", "1, 2, 3"]
    assert (lines[0]["finish_reason"], lines[0]["attempts"]) == ("stop", 1)
    tokens = sum(line["usage"]["total_tokens"] for line in lines)
    assert re.fullmatch(rf"3 answered, 0 failed; {tokens} tokens, \d+\.\d s\n", ended.err)


@pytest.mark.parametrize(
    ("name", "content", "arguments"),
    [
        ("reviews.txt", "Say Good\n\nSay Bad\n", ()),
        ("reviews.md", "\ufeffSay Good\r\nSay Bad", ("--lines",)),
        ("reviews.ndjson", '"Say Good"\n{"prompt": "Say Bad", "id": 7}\n', ()),
        ("reviews", '"Say Good"\n[{"role": "user", "content": "Say Bad"}]\n', ()),
        ("reviews.csv", "text,stars\nGood,5\nBad,1\n", ("--template", "Say {text}")),
        ("reviews.csv", "\ufeffstars;text\r\n4,5;Good\r\n1,5;Bad\r\n", ("--template", "Say {text}")),
        ("reviews.tsv", 'id\ttext\n1\t"Good"\n2\tBad\n', ("--template", "Say {text}")),
    ],
    ids=["text", "--lines", "JSON", "no ending", "a table", "a spreadsheet's table", "tabs"],
)
def test_all_file_formats_are_read(
    name: str, content: str, arguments: tuple[str, ...], tmp_path: Path, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    (tmp_path / name).write_bytes(content.encode())
    ended = run("map", str(tmp_path / name), *arguments)
    assert ended.code == 0
    assert sorted(questions(sent())) == ["Say Bad", "Say Good"]


@pytest.mark.parametrize(
    ("arguments", "stdin"), [((), '"Say Good"\n'), (("-",), '"Say Good"\n'), (("--lines",), "Say Good")]
)
def test_a_pipe_is_read(arguments: tuple[str, ...], stdin: str, sent: Callable[[], list[dict[str, Any]]]) -> None:
    assert run("map", *arguments, stdin=stdin).code == 0
    assert questions(sent()) == ["Say Good"]


def test_a_table_may_have_lines_within_cells_and_cells_without_a_value(
    tmp_path: Path, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    (tmp_path / "reviews.csv").write_text('id,text\n1,"Good,\nreally"\n2,\n')
    ended = run("map", str(tmp_path / "reviews.csv"), "--template", "Say {text}")
    assert ended.code == 1
    assert questions(sent()) == ["Say Good,\nreally"]
    assert ended.json_lines[1]["error"]["message"].startswith("the field text has no value")


def test_options_become_fields_of_each_request(
    reviews: Path, tmp_path: Path, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    (tmp_path / "template.txt").write_text("Sort:\n{text}\n")
    ended = run(
        *("map", str(reviews), "--template-file", str(tmp_path / "template.txt"), "-m", "GigaChat-2-Max"),
        *("-s", "Be brief.", "-t", "0.3", "--top-p", "0.5", "--max-tokens", "50", "--workers", "1"),
    )  # fmt: skip
    assert ended.code == 0
    bodies = sent()
    assert [body["messages"] for body in bodies] == [
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Sort:\n{review['text']}"}]
        for review in REVIEWS
    ]
    for body in bodies:
        assert (body["model"], body["temperature"], body["top_p"]) == ("GigaChat-2-Max", 0.3, 0.5)
        assert body["max_tokens"] == 50


def test_the_system_message_is_added_to_conversations_without_one(sent: Callable[[], list[dict[str, Any]]]) -> None:
    hello = {"role": "user", "content": "Hello"}
    own = {"role": "system", "content": "Be long."}
    stdin = [[hello], [own, hello], {"messages": [hello], "max_tokens": 7}]
    ended = run("map", "-s", "Be brief.", "--workers", "1", stdin="".join(json.dumps(one) + "\n" for one in stdin))
    assert ended.code == 0
    brief = {"role": "system", "content": "Be brief."}
    bodies = sent()
    assert [body["messages"] for body in bodies] == [[brief, hello], [own, hello], [brief, hello]]
    assert bodies[2]["max_tokens"] == 7


def test_answers_are_parsed_by_a_schema(
    reviews: Path, tmp_path: Path, emulator: GigaChatEmulator, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    schema = {"type": "object", "properties": {"good": {"type": "boolean"}}, "required": ["good"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    emulator.answer('{"good": true}', times=2)
    emulator.answer("I do not know.")
    ended = run(
        "map", str(reviews), "--template", "{text}", "--schema", str(tmp_path / "schema.json"), "--workers", "1"
    )
    assert ended.code == 1
    assert sent()[0]["response_format"]["schema"]["properties"] == schema["properties"]
    lines = ended.json_lines
    assert [line.get("value") for line in lines] == [{"good": True}, {"good": True}, None]
    assert lines[2]["text"] == "I do not know."
    assert lines[2]["error"]["type"] == "InvalidResponseError"


def test_fakegpt_works_as_well(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeGptEmulator() as fake:
        monkeypatch.setenv("FAKEGPT_CA_BUNDLE_FILE", fake.authority.ca_file)
        ended = run(
            *("map", str(reviews), "--template", "Count from 1 to {stars}"),
            *("--provider", "fakegpt", "--base-url", fake.base_url),
        )  # fmt: skip
    assert ended.code == 0
    assert [line["text"] for line in ended.json_lines] == ["1, 2, 3, 4, 5", "1", "1, 2, 3"]


def test_via_batches_uses_the_batch_api(
    reviews: Path, tmp_path: Path, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator.batches, "looks", 1)
    command = ("map", str(reviews), "--template", "Count from 1 to {stars}", "--via", "batches")
    ended = run(*command, "-o", str(tmp_path / "results.jsonl"), "--json")
    assert ended.code == 0
    assert ended.json["answered"] == 3
    assert [r.path for r in emulator.requests if r.path.endswith("/batches") and r.method == "POST"]
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert sorted(line["text"] for line in lines if "text" in line) == ["1", "1, 2, 3", "1, 2, 3, 4, 5"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("{reviews}", "--template", "Sort"), None, "--template names no field"),
        (("{reviews}", "--template", "{} {text}"), None, "--template has both {} and {text}"),
        (("{reviews}", "--template", "{text}", "--template-file", "x"), None, "leave one out"),
        (("{reviews}", "--template-file", "none.txt"), None, "none.txt: No such file"),
        (("{reviews}", "--schema", "none.json"), None, "none.json: No such file"),
        (("{reviews}", "--schema", "{reviews}"), None, "is not a JSON Schema"),
        (("{reviews}", "--workers", "0"), None, "--workers"),
        (("{reviews}", "--max-seconds", "0"), None, "--max-seconds"),
        (("{reviews}", "--provider", "fakegpt", "--via", "batches"), None, "are for GigaChat"),
        (("none.jsonl",), None, "none.jsonl does not exist"),
        (("none.csv",), None, "none.csv: No such file"),
        (("{folder}",), None, "Is a directory"),
        (("reviews.json",), None, "ends in .jsonl, .ndjson, .txt, .csv, .tsv; with --lines"),
        ((), None, "there are no prompts"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_command_line_is_code_2_and_sends_nothing(
    arguments: tuple[str, ...], stdin: str | None, message: str, reviews: Path, emulator: GigaChatEmulator
) -> None:
    before = len(emulator.requests)
    named = {"{reviews}": str(reviews), "{folder}": str(reviews.parent)}
    ended = run("map", *(named.get(argument, argument) for argument in arguments), stdin=stdin)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert len(emulator.requests) == before


# -- errors ------------------------------------------------------------------------------------------------------------


def test_failed_lines_are_reported_and_the_others_answered(tmp_path: Path, emulator: GigaChatEmulator) -> None:
    (tmp_path / "reviews.jsonl").write_text('{"text": "Good"}\n{"text": \n{"txt": "Bad"}\n{"text": "Fine"}\n')
    ended = run("map", str(tmp_path / "reviews.jsonl"), "--template", "Say {text}")
    assert ended.code == 1
    lines = ended.json_lines
    assert ["text" in line for line in lines] == [True, False, False, True]
    assert lines[1]["error"]["type"] == "ConfigError"
    assert f"{tmp_path / 'reviews.jsonl'}, line 2, is not JSON" in lines[1]["error"]["message"]
    assert (lines[1]["input"], lines[1]["attempts"], lines[1]["usage"]) == ('{"text": ', 0, None)
    assert lines[2]["error"]["message"].startswith("--template names {text}")
    first, *others = ended.err.splitlines()
    assert first.startswith("2 answered, 2 failed;")
    # Only the first error of each type is printed.
    assert len(others) == 1
    assert others[0].startswith("warning: input 1: ")


def test_lines_that_the_filter_blocked_are_counted_apart(
    reviews: Path, tmp_path: Path, emulator: GigaChatEmulator
) -> None:
    command = ("map", str(reviews), "-o", str(tmp_path / "results.jsonl"), "--template", "Say {text}")
    emulator.answer({"content": "Let us talk about something else.", "finish_reason": "blacklist"})
    ended = run(*command)
    assert ended.code == 1
    assert summary(ended.err).startswith("2 answered, 1 failed (1 blocked by the filter);")
    assert "run the same command again" not in ended.err
    again = run(*command, "--json")
    document = json.loads(again.out)
    assert (document["failed"], document["blocked"], document["restored"]) == (1, 1, 3)


def test_a_refused_line_has_its_status(reviews: Path, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=422), path="/chat/completions", times=1)
    ended = run("map", str(reviews), "--template", "{text}", "--workers", "1")
    assert ended.code == 1
    error = ended.json_lines[0]["error"]
    assert (error["type"], error["status_code"]) == ("UnprocessableEntityError", 422)


def test_a_refused_key_ends_the_run_with_code_3(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: GigaChatEmulator
) -> None:
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOndyb25n")
    ended = run("map", str(reviews), "--template", "{text}")
    assert ended.code == 3
    assert "AuthenticationError" in summary(ended.err)
    assert "error: " in ended.err
    assert "hint: gigaclient login" in ended.err
    assert "Traceback" not in ended.err


def test_a_line_in_another_encoding_ends_the_reading_of_a_table(tmp_path: Path, emulator: GigaChatEmulator) -> None:
    (tmp_path / "reviews.csv").write_bytes(b"text\nGood\n" + "Плохо\n".encode("cp1251"))
    ended = run("map", str(tmp_path / "reviews.csv"), "--template", "Say {text}")
    assert ended.code == 3
    assert [line["input"] for line in ended.json_lines] == [{"text": "Good"}]
    assert "line 3, is not text in UTF-8: save the file as that" in ended.err


def test_a_lone_surrogate_is_kept(emulator: GigaChatEmulator) -> None:
    ended = run("map", "--template", "{text}", stdin='{"text": "Good", "more": "\\ud800"}\n')
    assert ended.code == 0
    assert ended.json_lines[0]["input"] == {"text": "Good", "more": "\ud800"}


def test_a_limit_ends_the_run_and_is_named_by_its_option(reviews: Path, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=422), path="/chat/completions", times=3)
    ended = run("map", str(reviews), "--template", "{text}", "--workers", "1", "--stop-after-errors", "2")
    assert ended.code == 1
    assert len(ended.json_lines) == 2
    assert summary(ended.err).endswith("; stopped by --stop-after-errors")
    ended = run("map", str(reviews), "--template", "{text}", "--workers", "1", "--max-tokens-total", "1")
    assert ended.code == 1
    assert summary(ended.err).endswith("; stopped by --max-tokens-total")


# -- a file of results -------------------------------------------------------------------------------------------------


def test_saved_results_are_not_sent_again(
    reviews: Path, tmp_path: Path, emulator: GigaChatEmulator, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    output = tmp_path / "results.jsonl"
    command = ("map", str(reviews), "-o", str(output), "--template", "Say {text}", "--workers", "1")
    emulator.inject(Fault(status=422), path="/chat/completions", times=1)
    ended = run(*command)
    assert (ended.code, ended.out) == (1, "")
    assert summary(ended.err).startswith("2 answered, 1 failed;")
    assert summary(ended.err).endswith("; run the same command again to retry them")
    assert questions(sent()) == ["Say Good", "Say Bad", "Say Привет"]

    reviews.write_text("".join(json.dumps(review) + "\n" for review in [*REVIEWS[::-1], {"text": "New", "stars": 2}]))
    ended = run(*command, "--json")
    assert ended.code == 0
    assert questions(sent())[3:] == ["Say Good", "Say New"]
    document = ended.json
    assert {name: document[name] for name in document if name not in ("seconds", "tokens")} == {
        "answered": 4, "failed": 0, "restored": 2, "stopped": None, "output": str(output),
    }  # fmt: skip
    assert document["tokens"] > 0
    assert ended.err == ""
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert sorted(line["input"]["text"] for line in lines if "error" not in line) == ["Bad", "Good", "New", "Привет"]


def test_a_file_that_is_not_a_checkpoint_is_not_changed(reviews: Path, emulator: GigaChatEmulator) -> None:
    before = reviews.read_bytes()
    ended = run("map", str(reviews), "-o", str(reviews), "--template", "{text}")
    assert ended.code == 3
    assert "is not a checkpoint" in ended.err
    assert reviews.read_bytes() == before


def test_a_dash_as_output_is_standard_output(reviews: Path, emulator: GigaChatEmulator) -> None:
    assert len(run("map", str(reviews), "-o", "-", "--template", "{text}").json_lines) == 3


def test_json_has_the_summary_on_standard_error_and_quiet_has_none(reviews: Path, emulator: GigaChatEmulator) -> None:
    ended = run("map", str(reviews), "--template", "{text}", "--json")
    assert len(ended.json_lines) == 3
    document = json.loads(ended.err)["summary"]
    assert (document["answered"], document["output"]) == (3, None)
    for arguments in (("--quiet",), ("-q", "--json")):
        ended = run("map", str(reviews), "--template", "{text}", *arguments)
        assert (len(ended.json_lines), ended.err) == (3, "")


# -- as a process ------------------------------------------------------------------------------------------------------


def test_an_interrupt_keeps_the_results_and_the_same_command_continues(
    reviews: Path, tmp_path: Path, emulator: GigaChatEmulator, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    output = tmp_path / "results.jsonl"
    command = ("map", str(reviews), "-o", str(output), "--template", "Say {text}", "--workers", "1")
    emulator.inject(Fault(), path="/chat/completions")
    emulator.inject(Fault(before_s=float("inf")), path="/chat/completions")
    process = child(*command, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(sent()) == 2, what="the second question")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait(LIMIT)
    assert (process.returncode, out) == (130, b"")
    assert err.decode().startswith("1 answered, 0 failed; ")
    assert err.decode().endswith(f"; interrupted; run the same command again to continue {output}\n")
    ended = run(*command)
    assert ended.code == 0
    assert ended.err.startswith("3 answered (1 of them earlier), 0 failed; ")
    assert questions(sent()) == ["Say Good", "Say Bad", "Say Bad", "Say Привет"]


def test_a_closed_pipe_ends_it_quietly(tmp_path: Path, emulator: GigaChatEmulator) -> None:
    before = len(emulator.requests)
    (tmp_path / "many.txt").write_text("".join(f"Question {number}\n" for number in range(5000)))
    with child("map", str(tmp_path / "many.txt"), stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert process.stdout.read(1) == b"{"
            process.stdout.close()
            assert process.wait(LIMIT) == 141
            assert process.stderr.read() == b""
        finally:
            process.kill()
    assert len(emulator.requests) - before < 5000


def test_on_a_terminal_there_is_a_bar_above_the_summary(
    reviews: Path, tmp_path: Path, emulator: GigaChatEmulator
) -> None:
    command = ("map", str(reviews), "-o", str(tmp_path / "results.jsonl"), "--template", "Say {text}")
    with at_terminal(*command, columns=120) as terminal:
        assert terminal.end() == 0
        bar, last = terminal.text.splitlines()
        assert re.match(r"100%\|█+\| 3/3 \[", bar)
        assert "tokens]" in bar
        assert last.startswith("3 answered, 0 failed;")
    with at_terminal(*command, "--no-progress", columns=120) as terminal:
        assert terminal.end() == 0
        assert terminal.text.startswith("3 answered (3 of them earlier), 0 failed; 0 tokens, ")


def test_it_runs_without_tqdm(emulator: GigaChatEmulator) -> None:
    program = "import sys; sys.modules['tqdm'] = None; from gigaclient.__main__ import main; sys.exit(main())"
    process = child("map", "--lines", start=program)
    out = process.communicate(b"Count from 1 to 3\n", timeout=LIMIT)[0]
    assert (process.returncode, json.loads(out)["text"]) == (0, "1, 2, 3")
