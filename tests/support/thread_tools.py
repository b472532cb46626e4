"""Helpers of the tests of batches, assistants and threads: the received requests."""

from __future__ import annotations

import json
from typing import Any

from gigaclient.testing import GigaChatEmulator, RecordedRequest

WAIT_SECONDS = 20.0
"""The limit of every wait in seconds."""

SOON = 0.005
"""A short poll interval in seconds."""


def requests_to(emulator: GigaChatEmulator, method: str, end: str) -> list[RecordedRequest]:
    """Return the requests so far with this method and with a path that ends in ``end``."""
    return [request for request in emulator.requests if request.method == method and request.path.endswith(end)]


def rows_of(request: RecordedRequest) -> list[dict[str, Any]]:
    """Return the rows of an uploaded batch file."""
    lines = request.body.decode("utf-8").split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]
