"""What the tests of batches, assistants and threads share: an emulator for each test, and what it was asked."""

from __future__ import annotations

import json
from typing import Any

from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator, RecordedRequest

WAIT_SECONDS = 20.0
"""No wait in these tests may be longer; it is a hang then."""

SOON = 0.005
"""A poll interval that costs a test no time."""


def client_of(emulator: GigaChatEmulator, **options: Any) -> GigaChat:
    given = {"timeout": WAIT_SECONDS, "retry_backoff_factor": 0.0, **emulator.client_options, **options}
    return GigaChat(**given)


def asked(emulator: GigaChatEmulator, method: str, end: str) -> list[RecordedRequest]:
    """The requests so far with this method, to a path that ends so."""
    return [one for one in emulator.requests if one.method == method and one.path.endswith(end)]


def rows_of(request: RecordedRequest) -> list[dict[str, Any]]:
    """The rows of a batch file that was sent."""
    lines = request.body.decode("utf-8").split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]
