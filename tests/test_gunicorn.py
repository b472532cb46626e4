"""The real thing: gunicorn with ``--preload``, whose workers inherit a client that has been in use."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from support.rel_tools import SUPPORT, question, wait_until

from gigaclient.testing import GigaChatEmulator

REQUESTS = 500
WORKERS = 3

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


class Outcome(NamedTuple):
    word: str
    text: str
    worker: str


@pytest.fixture
def gunicorn(gigachat_emulator: GigaChatEmulator, tmp_path: Path) -> Iterator[int]:
    """The port of a gunicorn that serves ``support/wsgi_app.py``."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        log = tmp_path / "gunicorn.log"
        command = [
            sys.executable, "-m", "gunicorn", "wsgi_app:app", "--preload", "--worker-class", "gthread",
            "--workers", str(WORKERS), "--threads", "8", "--bind", f"fd://{listener.fileno()}", "--timeout", "30",
            "--error-logfile", str(log), "--no-control-socket",
        ]  # fmt: skip
        server = subprocess.Popen(
            command,
            cwd=SUPPORT,  # and not the checkout, which "python -m" would import gigaclient from
            pass_fds=[listener.fileno()],
            env={**os.environ, **gigachat_emulator.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            wait_until(
                lambda: (
                    server.poll() is not None or (log.is_file() and log.read_text().count("Booting worker") == WORKERS)
                ),
                seconds=30,
                what="the start of gunicorn",
            )
            assert server.poll() is None, log.read_text()[-3000:]
            yield listener.getsockname()[1]
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(15)
                raise AssertionError(f"gunicorn did not end: {log.read_text()[-3000:]}") from None
        # Nobody took exception to anything, in the master or in a worker.
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


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
    gunicorn: int, gigachat_emulator: GigaChatEmulator
) -> None:
    with ThreadPoolExecutor(24) as pool:
        outcomes = list(pool.map(lambda number: ask(gunicorn, number), range(REQUESTS), timeout=50))
    wrong = [outcome for outcome in outcomes if outcome.text != outcome.word]
    assert wrong == []
    assert len(outcomes) == REQUESTS
    assert len({outcome.worker for outcome in outcomes}) == WORKERS
    assert gigachat_emulator.oauth_calls == 1, "the workers have the master's token"
    # The master's two requests came first. What it left open is used by none of the workers.
    masters = {request.connection for request in gigachat_emulator.requests[:2]}
    assert masters & {request.connection for request in gigachat_emulator.requests[2:]} == set()
