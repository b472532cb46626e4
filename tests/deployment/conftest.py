"""Tests of the recipes in docs/en/deployment.md. They run only with ``pytest --deployment tests/deployment``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.pages import CHECKOUT

from gigaclient.testing import GigaChatEmulator

BUILD_SECONDS = 300.0
"""The limit of a build, which takes half a minute, and several times as long on a busy machine."""

PAGE = "en/deployment"
PROGRAM = Path(__file__).with_name("program.py")
PRINTED = """\
the certificate was found
whole
second version
streamed
['one', 'two']
"""
_PROGRAM_SECONDS = 30.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deployment", action="store_true", help="run the tests in tests/deployment: servers, PyInstaller"
    )
    parser.addoption("--nuitka", action="store_true", help="with --deployment: run the test that builds with Nuitka")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.name == "test_nuitka.py" and not config.getoption("--nuitka", False):
        return True  # one build takes longer than all the other tests together
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the program and the wheel, as in a project."""
    shutil.copy(PROGRAM, tmp_path)
    (tmp_path / "dist").mkdir()
    for wheel in (CHECKOUT / "dist").glob("gigaclient-*.whl"):
        shutil.copy(wheel, tmp_path / "dist")
    return tmp_path


def build(folder: Path, commands: str, seconds: float = BUILD_SECONDS) -> None:
    """Run shell commands of the page in this environment."""
    variables = {**os.environ, "PATH": f"{Path(sys.prefix, 'bin')}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-e", "-c", commands], cwd=folder, env=variables, check=True, timeout=seconds)
