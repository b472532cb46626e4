"""uWSGI forks its workers in C, so Python does not see it: they inherit a client that has been used."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from support.reliability_tools import SUPPORT, free_port, question, wait_until

from gigaclient.testing import GigaChatEmulator

PROCESSES, THREADS, REQUESTS = 4, 5, 500


@pytest.fixture
def port(emulator: GigaChatEmulator, tmp_path: Path) -> Iterator[int]:
    """The port of a uWSGI that serves ``support/wsgi_app.py``."""
    port = free_port()
    log = tmp_path / "uwsgi.log"
    command = [
        Path(sys.prefix, "bin", "uwsgi"),
        *("--http-socket", f"127.0.0.1:{port}", "--wsgi-file", Path(SUPPORT, "wsgi_app.py"), "--callable", "app"),
        *("--processes", str(PROCESSES), "--threads", str(THREADS), "--master", "--need-app", "--die-on-term"),
        *("--home", sys.prefix, "--buffer-size", "32768"),
    ]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*map(str, command)], stdout=output, stderr=output, env={**os.environ, **emulator.environment}
        )
        try:
            wait_until(lambda: b"spawned uWSGI worker 4" in log.read_bytes(), seconds=60, what="uWSGI")
            yield port
        finally:
            server.terminate()
            server.wait(30)
    assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


def ask(port: int) -> tuple[str, str, str | None]:
    """Return the word of a question, the answer, and the worker that answered."""
    word, prompt = question()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/?ask={quote(prompt)}")
        answer = connection.getresponse()
        return word, answer.read().decode(), answer.headers.get("X-Worker")
    finally:
        connection.close()


def test_five_hundred_requests_to_four_workers_get_their_own_answers(port: int) -> None:
    with ThreadPoolExecutor(PROCESSES * THREADS) as pool:
        replies = list(pool.map(lambda _: ask(port), range(REQUESTS), timeout=120))
    assert [reply for reply in replies if reply[0] != reply[1]] == []
    assert len({worker for _, _, worker in replies}) == PROCESSES
