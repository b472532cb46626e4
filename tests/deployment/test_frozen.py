"""Programs that PyInstaller and zipapp make, and programs in containers, find the certificate and all modules."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from deployment.conftest import BUILD_SECONDS, PAGE, PRINTED, build
from support.pages import blocks

from gigaclient.testing import GigaChatEmulator

pytestmark = pytest.mark.timeout(2 * BUILD_SECONDS)
PUBLIC = """
from gigaclient.transport.tls import system_context
assert len(system_context().get_ca_certs()) > 50
print("public authorities")
"""
SYSTEM = """
import json, sys
from gigaclient import GigaChat, TLSError
options = json.loads(sys.argv[-1])
del options["ca_bundle_file"]
try:
    with GigaChat(**options, trust="system") as giga:
        print(giga.chat("Say: whole").text)
except TLSError:
    print("TLSError")
"""


@pytest.mark.parametrize("form", ["--onedir", "--onefile"])
def test_a_program_of_pyinstaller_works(form: str, folder: Path, run: Callable[..., str]) -> None:
    [command] = [block for block in blocks(PAGE, "shell") if block.startswith("pyinstaller")]
    build(folder, command.replace("--onefile", f"{form} --log-level ERROR"))
    program = folder / "dist" / "program"
    assert run(program / "program" if form == "--onedir" else program) == PRINTED


def test_a_program_of_zipapp_works(folder: Path, run: Callable[..., str]) -> None:
    [commands] = [block for block in blocks(PAGE, "shell") if "zipapp" in block]
    build(folder, commands)
    assert run(sys.executable, folder / "program.pyz") == PRINTED


# -- containers. There is no Docker here: the store of the system is empty, or has the authority of the emulator -------


def images() -> list[list[str]]:
    """Return the commands of the two images on the page."""
    lines = [line for block in blocks(PAGE, "dockerfile") for line in block.splitlines()]
    found = [json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    assert len(found) == 2
    return found


def store(monkeypatch: pytest.MonkeyPatch, folder: Path, authority: str | None) -> None:
    """Replace the store of the system, for the processes that the test starts."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSL_CERT_FILE", authority or str(folder / "missing.pem"))


def test_a_program_works_where_the_system_has_no_certificates(
    folder: Path, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(monkeypatch, folder, None)
    [program, script], _ = images()
    assert program == "python"
    assert run(sys.executable, folder / script) == PRINTED
    assert run(sys.executable, "-c", PUBLIC) == "public authorities\n"


def test_an_authority_in_the_store_of_the_system_is_trusted_on_request(
    folder: Path, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, emulator: GigaChatEmulator
) -> None:
    _, [_, script] = images()
    (folder / script).write_text(SYSTEM)
    store(monkeypatch, folder, str(emulator.ca_file))
    assert run(sys.executable, folder / script) == "whole\n"
    store(monkeypatch, folder, None)
    assert run(sys.executable, folder / script) == "TLSError\n"
