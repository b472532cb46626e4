"""The recipes of the pages work, each page as one script in a separate process.

``tests/test_readme.py`` runs the recipes too, except those that change the whole process. Here all of them run, and
their output is compared with the pages.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.pages import LANGUAGES, run, snippets

from gigaclient.testing import GigaChatEmulator


def output_of(page: str, emulator: GigaChatEmulator, folder: Path) -> str:
    (folder / "page.py").write_text("\n\n".join(snippets(page)), encoding="utf-8")
    done = run(folder, "-W", "error::ResourceWarning", "page.py", variables=emulator.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_recipes_of_the_ecosystem_work_one_after_the_other(
    gigachat_emulator: GigaChatEmulator, tmp_path: Path, language: str
) -> None:
    printed = output_of(f"{language}/ecosystem", gigachat_emulator, tmp_path)
    assert printed.startswith("Moscow.\nMoscow.\n" if language == "en" else "Москва.\nМосква.\n")
    assert printed.count("1, 2, 3, 4, 5") == 3  # recorded, played back, traced
    # OpenTelemetry: the attempt and the call, in one trace with the caller's own span.
    spans = [json.loads(span) for span in re.findall(r"^\{$.*?^\}$", printed, re.M | re.S)]
    mine = [span for span in spans if span["name"].startswith(("a request", "запрос"))]
    assert len(mine) == 1
    inner = [span["name"] for span in spans if span["parent_id"] == mine[0]["context"]["span_id"]]
    assert sorted(inner) == [
        "POST", "chat GigaChat-2",
    ]  # fmt: skip
    chat = next(span for span in spans if span["name"].startswith("chat"))
    assert [span["name"] for span in spans if span["parent_id"] == chat["context"]["span_id"]] == ["POST"]
    # Prometheus.
    chats = 'llm_call_seconds_count{endpoint="/v1/chat/completions",outcome="ok",provider="GigaChat"} 2.0'
    assert chats in printed
    assert 'llm_tokens_total{kind="completion",model="GigaChat-2"}' in printed
    assert "llm_first_text_seconds_count" in printed
    # structlog: our own lines and those of the hook, both JSON.
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{") and '"logger"' in line]
    assert {line["logger"] for line in lines} == {"gigaclient", "my.app"}
    assert [line["outcome"] for line in lines if line["logger"] == "my.app"] == ["ok", "ok"]
    assert any(line["level"] == "debug" and "attempt 1" in line["event"] for line in lines)
    assert gigachat_emulator.credentials not in printed


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_snippets_of_the_page_on_hooks_work_one_after_the_other(
    gigachat_emulator: GigaChatEmulator, tmp_path: Path, language: str
) -> None:
    printed = output_of(f"{language}/hooks", gigachat_emulator, tmp_path)
    assert re.search(r"^/api/v2/oauth ok ", printed)
    assert re.search(r"^<- 200 ", printed, re.M)
    assert "1, 2, 3, 4, 5" in printed
    assert len(gigachat_emulator.prompts) == 6
