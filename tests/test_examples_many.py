"""Tests of programs with ``giga.map``: the example that sorts reviews, and the Django command of ``docs/*/many.md``."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.pages import CHECKOUT, LANGUAGES, files, run
from support.reliability_tools import wait_until

from gigaclient.testing import Fault, GigaChatEmulator

EXAMPLE = CHECKOUT / "examples" / "reviews"
SCRIPT = EXAMPLE / "classify.py"
SECONDS = 40


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """Import the script as a module."""
    specification = importlib.util.spec_from_file_location("classify_reviews", SCRIPT)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module  # type hints of its dataclass are resolved there
    specification.loader.exec_module(module)
    yield module
    del sys.modules[module.__name__]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory of the script, with a file of three reviews."""
    monkeypatch.chdir(tmp_path)
    texts = ("Доставка — хорошо", "Качество — плохо", "Пылесос как пылесос")
    lines = [json.dumps({"text": text, "phone": "+7 900 000-00-00"}, ensure_ascii=False) for text in texts]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), "utf-8")
    return tmp_path


def complete_lines(checkpoint: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a checkpoint."""
    if not checkpoint.exists():
        return []
    return [json.loads(line) for line in checkpoint.read_bytes().split(b"\n")[:-1]]


def without_numbers(text: str) -> str:
    """Return the output of a run without tokens and seconds."""
    return re.sub(r"\d+ tokens, [\d.]+ s", "", text)


# -- the example -------------------------------------------------------------------------------------------------------


def test_the_example_prints_the_output_of_its_page_and_sends_nothing_twice(tmp_path: Path) -> None:
    first, second = [run(tmp_path, str(SCRIPT), "--emulator") for _ in range(2)]
    assert (first.returncode, first.stderr, second.returncode, second.stderr) == (0, "", 0, "")
    shown = re.findall(r"^```text\n(.*?)^```$", (EXAMPLE / "README.md").read_text("utf-8"), re.M | re.S)
    assert [without_numbers(first.stdout)] == [without_numbers(text) for text in shown]
    assert second.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
    assert "20 sorted (20 were in verdicts-emulator.jsonl), 0 failed, 0 tokens" in second.stdout
    reviews = [json.loads(line) for line in (EXAMPLE / "reviews.jsonl").read_text("utf-8").splitlines()]
    lines = complete_lines(tmp_path / "verdicts-emulator.jsonl")
    assert sorted(line["input"]["id"] for line in lines) == [review["id"] for review in reviews] == [*range(1, 21)]


def test_with_a_key_the_service_gets_only_the_text_of_each_review(
    example: ModuleType, folder: Path, gigachat_env: GigaChatEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main(["mine.jsonl"]) == 0
    assert "3 sorted (0 were in verdicts.jsonl), 0 failed" in capsys.readouterr().out
    assert sorted(gigachat_env.prompts) == [
        "Отзыв покупателя: Доставка — хорошо",
        "Отзыв покупателя: Качество — плохо",
        "Отзыв покупателя: Пылесос как пылесос",
    ]
    body = gigachat_env.chats[0]
    assert "900" not in json.dumps(body)
    moods = body["response_format"]["schema"]["properties"]["mood"]["enum"]
    assert sorted(moods) == ["нейтрально", "плохо", "хорошо"]
    values = {line["input"]["text"]: line["value"] for line in complete_lines(folder / "verdicts.jsonl")}
    assert values["Качество — плохо"] == {"mood": "плохо", "topic": "качество"}


def test_failures_are_reported_and_only_they_are_sent_again(
    example: ModuleType, folder: Path, gigachat_env: GigaChatEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    gigachat_env.inject(Fault(status=422))
    assert example.main(["mine.jsonl", "--checkpoint", "kept.jsonl"]) == 1
    output = capsys.readouterr()
    assert re.match(r"review 1: 422: .+\n\Z", output.err)
    assert "2 sorted (0 were in kept.jsonl), 1 failed" in output.out

    sent_before = len(gigachat_env.prompts)
    assert example.main(["mine.jsonl", "--checkpoint", "kept.jsonl"]) == 0
    assert "3 sorted (2 were in kept.jsonl), 0 failed" in capsys.readouterr().out
    assert gigachat_env.prompts[sent_before:] == ["Отзыв покупателя: Доставка — хорошо"]


def test_without_a_key_the_error_says_what_to_do(
    example: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CREDENTIALS", "ACCESS_TOKEN", "USER"):
        monkeypatch.delenv(f"GIGACHAT_{name}", raising=False)
    assert example.main([]) == 2
    assert "set GIGACHAT_CREDENTIALS, or start with --emulator" in capsys.readouterr().err
    assert not (folder / "verdicts.jsonl").exists()


def test_a_wrong_file_is_an_error_message(
    example: ModuleType, folder: Path, gigachat_env: GigaChatEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main(["nothing-here.jsonl"]) == 2
    assert example.main(["mine.jsonl", "--checkpoint", str(EXAMPLE / "README.md")]) == 2
    missing, no_checkpoint = capsys.readouterr().err.splitlines()
    assert "nothing-here.jsonl does not exist" in missing
    assert "not a checkpoint" in no_checkpoint
    assert gigachat_env.prompts == []


def test_a_wrong_key_ends_the_run_at_once(
    example: ModuleType,
    folder: Path,
    gigachat_env: GigaChatEmulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", "bm9ib2R5OmtleQ==")
    assert example.main(["mine.jsonl"]) == 1
    errors = capsys.readouterr().err
    assert "401" in errors and "the same command goes on" in errors and "Traceback" not in errors
    assert gigachat_env.prompts == []


def test_ctrl_c_keeps_results_and_the_same_command_continues(
    example: ModuleType, folder: Path, gigachat_env: GigaChatEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = folder / "verdicts.jsonl"
    gigachat_env.max_streams = 1
    gigachat_env.answer_pause_s = 0.3
    with subprocess.Popen([sys.executable, str(SCRIPT)], cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: len(complete_lines(checkpoint)) >= 2, seconds=SECONDS, what="two reviews")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Interrupted" in errors and "Traceback" not in errors

    finished = {line["input"]["id"] for line in complete_lines(checkpoint)}
    assert 2 <= len(finished) < 20
    gigachat_env.answer_pause_s = 0
    gigachat_env.max_streams = None
    sent_before = len(gigachat_env.prompts)
    assert example.main([]) == 0
    assert f"20 sorted ({len(finished)} were in verdicts.jsonl), 0 failed" in capsys.readouterr().out
    assert len(gigachat_env.prompts) - sent_before == 20 - len(finished)
    assert Counter(line["input"]["id"] for line in complete_lines(checkpoint)) == Counter(range(1, 21))


# -- the command of Django ---------------------------------------------------------------------------------------------

MODELS = """
from django.db import models


class Review(models.Model):
    text = models.TextField()
    mood = models.TextField(default="")
"""
SITE = """
import django
from django.conf import settings
from django.core.management import call_command

database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "reviews.sqlite3"}
settings.configure(
    INSTALLED_APPS=["gigaclient.contrib.django", "reviews"],
    DATABASES={"default": database},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from reviews.models import Review

call_command("migrate", run_syncdb=True, verbosity=0)
Review.objects.bulk_create([Review(text=f"Count from 1 to {n}") for n in (2, 3, 4)])
Review.objects.create(text="seen", mood="good")
call_command("classify")
call_command("classify")
print([*Review.objects.order_by("pk").values_list("mood", flat=True)])
"""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_command_of_the_page_sorts_new_reviews(
    language: str, tmp_path: Path, gigachat_emulator: GigaChatEmulator
) -> None:
    commands = tmp_path / "reviews" / "management" / "commands"
    commands.mkdir(parents=True)
    for package in (commands, commands.parent, commands.parent.parent):
        (package / "__init__.py").touch()
    (tmp_path / "reviews" / "models.py").write_text(MODELS, "utf-8")
    (commands / "classify.py").write_text(files(f"{language}/many")["classify.py"], "utf-8")
    (tmp_path / "site_with_reviews.py").write_text(SITE, "utf-8")
    gigachat_emulator.answer(lambda request: f"mood {request.json()['messages'][-1]['content'][-1]}", times=3)

    ended = run(tmp_path, "site_with_reviews.py", variables=gigachat_emulator.environment)
    assert ended.returncode == 0, ended.stderr
    first, second, moods = ended.stdout.splitlines()
    assert [re.findall(r"\d+", line) for line in (first, second)] == [["3", "0"], ["0", "0"]]
    assert moods == "['mood 2', 'mood 3', 'mood 4', 'good']"
    assert len(gigachat_emulator.prompts) == 3
    assert all("seen" not in prompt for prompt in gigachat_emulator.prompts)
