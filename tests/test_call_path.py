"""The length of a call's way: how many modules and functions of ours run between a call and its bytes.

Every module more is one more file to read for whoever follows a call, and every function costs time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from support.clients import client_with_new_key

import gigaclient
from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator

PACKAGE = Path(gigaclient.__file__).parent
LIMITS = {"chat": (14, 90), "stream": (16, 110)}


def chat(giga: GigaChat) -> object:
    return giga.chat("Count from 1 to 3").text


def stream(giga: GigaChat) -> object:
    return [chunk.text for chunk in giga.stream("Count from 1 to 3")]


@pytest.fixture(scope="module")
def warm_client() -> Iterator[GigaChat]:
    """Yield a client that has a token and an idle connection, and has loaded what a call needs."""
    with GigaChatEmulator() as emulator, client_with_new_key(emulator) as client:
        chat(client)
        stream(client)
        yield client


def functions_run_by(call: Callable[[GigaChat], object], giga: GigaChat) -> set[CodeType]:
    """Return the functions of the package that ``call`` runs in this thread, except those of the emulator."""
    seen: set[CodeType] = set()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen.add(frame.f_code)

    earlier = sys.getprofile()
    sys.setprofile(profile)
    try:
        call(giga)
    finally:
        sys.setprofile(earlier)
    files = {code: Path(code.co_filename) for code in seen}
    ours = {code for code, file in files.items() if file.is_relative_to(PACKAGE)}
    return {code for code in ours if files[code].relative_to(PACKAGE).parts[0] != "testing"}


@pytest.mark.parametrize("call", [chat, stream])
def test_a_call_runs_few_modules_and_functions(call: Callable[[GigaChat], object], warm_client: GigaChat) -> None:
    functions = functions_run_by(call, warm_client)
    modules = {str(Path(code.co_filename).relative_to(PACKAGE)) for code in functions}
    most_modules, most_functions = LIMITS[call.__name__]
    assert "_core/executor.py" in {module.replace("\\", "/") for module in modules}
    assert len(modules) <= most_modules, sorted(modules)
    listed = sorted(f"{code.co_filename}:{code.co_firstlineno} {code.co_name}" for code in functions)
    assert len(functions) <= most_functions, "\n".join(listed)
