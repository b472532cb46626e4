"""The real thing: gunicorn with ``--preload``, whose workers inherit a client that has been in use."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from support.reliability_tools import SUPPORT, question
from support.web import gunicorn

from gigaclient.testing import GigaChatEmulator

REQUESTS = 500
WORKERS = 3

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


class Outcome(NamedTuple):
    word: str
    text: str
    worker: str


@pytest.fixture
def port(gigachat_emulator: GigaChatEmulator, tmp_path: Path) -> Iterator[int]:
    """Of a gunicorn that serves ``support/wsgi_app.py``."""
    options = ("--preload", "--worker-class", "gthread", "--threads", "8", "--timeout", "30")
    environment = gigachat_emulator.environment
    with gunicorn("wsgi_app:app", tmp_path, environment, *options, workers=WORKERS, directory=SUPPORT) as served:
        yield served.port
    # Nobody took exception to anything, in the master or in a worker.
    assert "Traceback" not in served.log.read_text(), served.log.read_text()[-3000:]


def ask(port: int, number: int) -> Outcome:
    word, asked = question()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/?ask={quote(asked)}" + ("&stream=1" if number % 3 == 0 else ""))
        answer = connection.getresponse()
        return Outcome(word, answer.read().decode(), answer.headers.get("X-Worker", f"status {answer.status}"))
    finally:
        connection.close()


def test_five_hundred_requests_to_three_preloaded_workers_get_their_own_answers(
    port: int, gigachat_emulator: GigaChatEmulator
) -> None:
    with ThreadPoolExecutor(24) as pool:
        outcomes = list(pool.map(lambda number: ask(port, number), range(REQUESTS), timeout=50))
    wrong = [outcome for outcome in outcomes if outcome.text != outcome.word]
    assert wrong == []
    assert len(outcomes) == REQUESTS
    assert len({outcome.worker for outcome in outcomes}) == WORKERS
    assert gigachat_emulator.oauth_calls == 1, "the workers have the master's token"
    # The master's two requests came first. What it left open is used by none of the workers.
    masters = {request.connection for request in gigachat_emulator.requests[:2]}
    assert masters & {request.connection for request in gigachat_emulator.requests[2:]} == set()
