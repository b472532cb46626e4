"""The client of ``%giga`` when ``gigaclient login`` stored a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigaclient.cli import credentials
from gigaclient.contrib.jupyter.notebook import Notebook


@pytest.fixture(autouse=True)
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CREDENTIALS", "ACCESS_TOKEN", "USER", "PASSWORD", "CERT_FILE", "SCOPE"):
        monkeypatch.delenv(f"GIGACHAT_{name}", raising=False)
    monkeypatch.setattr(credentials, "_keyring", lambda: None)  # not the one of this machine
    credentials.store("MTpzZWNyZXQ=", "GIGACHAT_API_B2B", in_file=True)


def scope_of_the_client() -> str:
    notebook = Notebook()
    try:
        return notebook.client._settings.scope
    finally:
        notebook.close()


def test_the_stored_key_is_used_with_its_scope() -> None:
    assert scope_of_the_client() == "GIGACHAT_API_B2B"


def test_a_scope_in_the_environment_takes_precedence_as_in_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_SCOPE", "GIGACHAT_API_CORP")
    assert scope_of_the_client() == "GIGACHAT_API_CORP"


def test_a_key_in_the_environment_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", "MjpzZWNyZXQ=")
    notebook = Notebook()
    assert notebook.client._settings.credentials.reveal() == "MjpzZWNyZXQ="
    assert notebook.client._settings.scope == "GIGACHAT_API_PERS"
    notebook.close()
