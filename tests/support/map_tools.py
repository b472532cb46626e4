"""Helpers for the tests of ``giga.map``."""

from __future__ import annotations

import threading
from typing import Any

from support.token_tools import LONG, until

from gigaclient.testing import GigaChatEmulator


def echo(emulator: GigaChatEmulator, **special: Any) -> None:
    """Have the model repeat each prompt; for some, return another text or call a function first."""

    def answer(request: Any) -> Any:
        prompt = request.json()["messages"][-1]["content"]
        found = special.get(prompt)
        if callable(found):
            found = found()
        return f"echo of {prompt}" if found is None else found

    emulator.answer(answer, times=100_000)


def no_threads_are_left() -> bool:
    """Wait until no worker thread is left."""
    until(lambda: not any(thread.name.startswith("giga.map") for thread in threading.enumerate()), LONG / 4)
    return True
