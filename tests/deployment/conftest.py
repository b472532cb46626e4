"""Tests of the recipes in docs/en/deployment.md. They run only with ``pytest --deployment tests/deployment``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gigaclient.testing import GigaChatEmulator

BUILD_SECONDS = 300.0
"""The limit of a build, which takes half a minute, and several times as long on a busy machine."""

_PROGRAM_SECONDS = 30.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deployment", action="store_true", help="run the tests in tests/deployment: servers, PyInstaller"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("--deployment", False) else True


@pytest.fixture(scope="session")
def emulator() -> Iterator[GigaChatEmulator]:
    with GigaChatEmulator() as emulator:
        yield emulator


@pytest.fixture
def run(emulator: GigaChatEmulator) -> Callable[..., str]:
    """A function that runs a command, with the options of a client as JSON, and returns what it prints."""
    options = json.dumps(emulator.client_options, default=str)

    def run(*command: object) -> str:
        arguments = [*map(str, command), options]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, cwd=Path(sys.prefix))
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    return run
