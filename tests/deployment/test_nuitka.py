"""A program that Nuitka compiles finds the certificate and all modules. One build takes minutes: ``make nuitka``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deployment.conftest import PAGE, PRINTED, build
from support.pages import blocks

LIMIT_S = 3600.0


@pytest.mark.timeout(LIMIT_S)
def test_a_program_of_nuitka_works(folder: Path, run: Callable[..., str]) -> None:
    [command] = [block for block in blocks(PAGE, "shell") if "nuitka" in block]
    build(folder, command, LIMIT_S)
    assert run(folder / "program.dist" / "program.bin") == PRINTED
