"""Programs that PyInstaller and zipapp make find the certificate and all modules without options."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest
from deployment.conftest import BUILD_SECONDS

import gigaclient

PROGRAM = Path(__file__).with_name("program.py")
PRINTED = """\
the certificate was found
whole
second version
streamed
['one', 'two']
"""


@pytest.mark.timeout(2 * BUILD_SECONDS)
@pytest.mark.parametrize("form", ["--onedir", "--onefile"])
def test_a_program_of_pyinstaller_works(form: str, tmp_path: Path, run: Callable[..., str]) -> None:
    command = [
        sys.executable,
        "-m",
        "PyInstaller",
        "--noconfirm",
        "--log-level",
        "ERROR",
        form,
        "--name",
        "program",
        PROGRAM,
    ]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=BUILD_SECONDS)
    program = tmp_path / "dist" / "program"
    assert run(program / "program" if form == "--onedir" else program) == PRINTED


def test_a_program_of_zipapp_works(tmp_path: Path, run: Callable[..., str]) -> None:
    source = tmp_path / "source"
    shutil.copytree(Path(gigaclient.__file__).parent, source / "gigaclient")
    shutil.copy(PROGRAM, source / "__main__.py")
    zipapp.create_archive(source, tmp_path / "program.pyz")
    assert run(sys.executable, tmp_path / "program.pyz") == PRINTED
