"""Fixtures for the tests of runs over many prompts."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.executor_tools import WORKERS, warm

from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a checkpoint that does not exist yet."""
    return tmp_path / "results.jsonl"


@pytest.fixture
def refusals() -> list[Any]:
    """Return the list to which ``giga`` adds each 429."""
    return []


@pytest.fixture
def giga(emulator: GigaChatEmulator, refusals: list[Any]) -> Iterator[GigaChat]:
    """Yield a client that retries quickly and notes each 429."""

    def watch(event: Any) -> None:
        if event.status == 429:
            refusals.append(event)

    with GigaChat(**emulator.client_options, on_response=watch, retry_backoff_factor=0.01) as client:
        yield client


@pytest.fixture
def only_pythons_pickler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide cloudpickle, which an earlier test may have loaded: it can pickle objects that pickle cannot."""
    monkeypatch.delitem(sys.modules, "cloudpickle", raising=False)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """Start two processes."""
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        warm(pool, WORKERS, tmp_path_factory.mktemp("processes"))
        yield pool
