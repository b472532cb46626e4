"""LangChain's standard tests pass with our classes wherever they do with those of langchain-gigachat on its own SDK.

Both run against one emulator, in a separate pytest. Some tests fail with both: the emulator is no model, and
langchain-gigachat lacks a few things.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gigaclient.testing import GigaChatEmulator

SECONDS = 500  # half a minute, on an idle machine
MIN_PASSED = 30
STANDARD = """
import os

import pytest
from langchain_gigachat import GigaChat, GigaChatEmbeddings
from langchain_tests import integration_tests, unit_tests

from gigaclient.contrib.langchain import ChatGigaClient, GigaClientEmbeddings

SETTINGS = {name: os.environ["GIGACHAT_" + name.upper()] for name in (
    "base_url", "auth_url", "credentials", "ca_bundle_file",
)}


class Chat:
    @property
    def chat_model_params(self):
        return {**SETTINGS, "model": "GigaChat-2", "allow_any_tool_choice_fallback": True}


class Embeddings:
    @property
    def embedding_model_params(self):
        return {**SETTINGS, "model": "Embeddings"}


class OursChat(Chat):
    chat_model_class = ChatGigaClient


class TheirsChat(Chat):
    chat_model_class = GigaChat


class OursEmbeddings(Embeddings):
    embeddings_class = GigaClientEmbeddings


class TheirsEmbeddings(Embeddings):
    embeddings_class = GigaChatEmbeddings


class TestOursChat(OursChat, unit_tests.ChatModelUnitTests): ...
class TestTheirsChat(TheirsChat, unit_tests.ChatModelUnitTests): ...
class TestOursChatIntegration(OursChat, integration_tests.ChatModelIntegrationTests): ...
class TestTheirsChatIntegration(TheirsChat, integration_tests.ChatModelIntegrationTests): ...
class TestOursEmbeddings(OursEmbeddings, unit_tests.EmbeddingsUnitTests): ...
class TestTheirsEmbeddings(TheirsEmbeddings, unit_tests.EmbeddingsUnitTests): ...
class TestOursEmbeddingsIntegration(OursEmbeddings, integration_tests.EmbeddingsIntegrationTests): ...
class TestTheirsEmbeddingsIntegration(TheirsEmbeddings, integration_tests.EmbeddingsIntegrationTests): ...
"""


@pytest.mark.timeout(SECONDS + 10)
def test_what_passes_with_the_official_sdk_passes_with_ours(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    (tmp_path / "test_standard.py").write_text(STANDARD, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "--junitxml=outcomes.xml"],
        env={**os.environ, **emulator.environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    outcomes = outcomes_in(tmp_path / "outcomes.xml")
    ours = {name.replace("Ours", ""): outcome for name, outcome in outcomes.items() if "Ours" in name}
    theirs = {name.replace("Theirs", ""): outcome for name, outcome in outcomes.items() if "Theirs" in name}
    assert Counter(ours.values())["passed"] >= MIN_PASSED, done.stdout
    assert ours.keys() == theirs.keys()
    worse = {name for name, outcome in theirs.items() if outcome == "passed" and ours[name] != "passed"}
    assert worse == set(), done.stdout
    assert {name.rpartition(".")[2] for name in ours if "test_stream[" in name and ours[name] != "passed"} == set()


def outcomes_in(report: Path) -> dict[str, str]:
    """Return the outcome of each test in a report of pytest."""
    return {
        f"{case.get('classname')}.{case.get('name')}": next((each.tag for each in case), "passed")
        for case in ElementTree.parse(report).iter("testcase")
    }
