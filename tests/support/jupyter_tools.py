"""Helpers for cells that run in a kernel."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from support.kernel import TIMEOUT_S, Ran

from gigaclient.testing import GigaChatEmulator


def shows(text: str) -> Callable[[str, dict[str, Any]], bool]:
    """Return a predicate for messages that show a Markdown text with ``text`` in it."""
    return lambda kind, content: text in content.get("data", {}).get("text/markdown", "")


def eventually(condition: Callable[[], bool]) -> bool:
    ends_at = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.02)
    return True


def last_body(emulator: GigaChatEmulator) -> dict[str, Any]:
    """Return the body of the last request."""
    found: dict[str, Any] = emulator.requests[-1].json()
    return found


def one_sentence(ran: Ran) -> str:
    """Return the error of a failed cell, which must be a single line."""
    assert ran.status == "error"
    (error,) = ran.of("error")
    (line,) = error["traceback"]
    assert "\n" not in line
    assert error["ename"] == line.partition(":")[0]
    return str(line)
