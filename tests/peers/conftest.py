"""Tests with other libraries and tools for models, which run only with ``pytest --peers tests/peers``.

``make peers`` runs them in two environments: with the newest versions, and with the oldest that gigaclient supports.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gigaclient.testing import GigaChatEmulator

SECONDS = 50

# Otherwise litellm downloads a list of prices when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", action="store_true", help="run the tests in tests/peers: LangChain, llm, litellm …")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("--peers", False) else True


@pytest.fixture
def emulator(gigachat_env: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[GigaChatEmulator]:
    """A new emulator, to which the environment points. The variables are restored after the test."""
    # For httpx, with which other libraries send their requests.
    monkeypatch.setenv("SSL_CERT_FILE", str(gigachat_env.client_options["ca_bundle_file"]))
    yield gigachat_env
    litellm = sys.modules.get("litellm")
    if litellm is not None:  # its clients trust the authority of this emulator
        litellm.in_memory_llm_clients_cache.flush_cache()


class Done(NamedTuple):
    """The exit status and the output of a command."""

    status: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def llm_folder(emulator: GigaChatEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the files of ``llm``, which is the current one and the home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    return tmp_path


@pytest.fixture
def run_llm(llm_folder: Path) -> Command:
    """A function that runs the command ``llm`` in this process: starting it takes seconds."""
    from click.testing import CliRunner
    from llm.cli import cli

    def run(*arguments: str, stdin: str = "", **variables: str) -> Done:
        done = CliRunner().invoke(cli, arguments, input=stdin, env=variables)
        return Done(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def start_llm(llm_folder: Path) -> Command:
    """A function that runs ``llm`` in a new process."""

    def run(*arguments: str) -> Done:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("llm")), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
