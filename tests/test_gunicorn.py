"""gunicorn with ``--preload``, whose workers inherit a client that has been used."""

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


class Reply(NamedTuple):
    word: str
    text: str
    worker: str


@pytest.fixture
def port(gigachat_emulator: GigaChatEmulator, tmp_path: Path) -> Iterator[int]:
    """The port of a gunicorn that serves ``support/wsgi_app.py``."""
    options = ("--preload", "--worker-class", "gthread", "--threads", "8", "--timeout", "30")
    environment = gigachat_emulator.environment
    with gunicorn("wsgi_app:app", tmp_path, environment, *options, workers=WORKERS, directory=SUPPORT) as served:
        yield served.port
    # No exception was logged, neither by the master nor by a worker.
    assert "Traceback" not in served.log.read_text(), served.log.read_text()[-3000:]


def ask(port: int, number: int) -> Reply:
    word, prompt = question()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/?ask={quote(prompt)}" + ("&stream=1" if number % 3 == 0 else ""))
        answer = connection.getresponse()
        return Reply(word, answer.read().decode(), answer.headers.get("X-Worker", f"status {answer.status}"))
    finally:
        connection.close()


def test_five_hundred_requests_to_three_preloaded_workers_get_their_own_answers(
    port: int, gigachat_emulator: GigaChatEmulator
) -> None:
    with ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda number: ask(port, number), range(REQUESTS), timeout=50))
    wrong = [reply for reply in replies if reply.text != reply.word]
    assert wrong == []
    assert len(replies) == REQUESTS
    assert len({reply.worker for reply in replies}) == WORKERS
    assert gigachat_emulator.oauth_calls == 1, "the workers have the master's token"
    # The master's two requests came first. No worker uses a connection that the master left open.
    masters = {request.connection for request in gigachat_emulator.requests[:2]}
    assert masters & {request.connection for request in gigachat_emulator.requests[2:]} == set()
