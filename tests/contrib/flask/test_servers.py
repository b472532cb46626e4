"""The Flask integration under gunicorn, and the example app."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.flask_tools import COUNT
from support.reliability_tools import together, wait_until
from support.web import Served, Visit, end, gunicorn, names, text_of

from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.testing.fault_server import Answer

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "flask_chat"
FIVE = "1, 2, 3, 4, 5"


# -- under gunicorn ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def threads(shared_emulator: GigaChatEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start gunicorn with two threaded workers, forked from a master that has made the app."""
    options = ("--preload", "--worker-class", "gthread", "--threads", "8")
    folder = tmp_path_factory.mktemp("gthread")
    with gunicorn("support.web:flask_app()", folder, shared_emulator.environment, *options, workers=2) as served:
        yield served
    assert "Traceback" not in served.log.read_text(), served.log.read_text()[-3000:]


def workers(served: Served) -> dict[int, dict[str, Any]]:
    """Return the state of both workers."""
    found: dict[int, dict[str, Any]] = {}

    def ask() -> bool:
        with Visit(served.port, "/state") as visit:
            state = visit.json()
        found[state["worker"]] = state
        return len(found) == 2

    wait_until(ask, what="an answer of each worker")
    return found


def test_chunks_arrive_one_by_one_and_a_closed_tab_ends_the_call_while_the_model_is_silent(
    threads: Served, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(stall_after_events=2))
    with Visit(threads.port, "/chat", {"prompt": "Посчитай от 1 до 9", "ping_s": 0.2}) as visit:
        assert (visit.status, visit.headers["Transfer-Encoding"]) == (200, "chunked")
        assert [visit.event(), visit.event()] == [("message", '{"text":"1,"}'), ("message", '{"text":" 2,"}')]
        assert visit.event() == ("ping", ""), "the answer is not over, so none of it was held back"
        assert emulator.open_streams == 1
    wait_until(lambda: emulator.open_streams == 0, what="the end of the upstream call")
    assert emulator.api_aborted >= 1

    def settled() -> bool:
        states = workers(threads).values()
        kept = [answer for state in states for answer in state["ended"]]
        return {"text": "1, 2,", "finish_reason": None} in kept and not any(state["threads"] for state in states)

    wait_until(settled, what="the end of the thread, and on_end")


def test_a_whole_answer_comes_through_and_both_workers_give_it(threads: Served, emulator: GigaChatEmulator) -> None:
    def chat(number: int) -> str:
        with Visit(threads.port, "/chat", {"prompt": f"Say fish{number} and nothing else"}) as visit:
            found = list(visit.events())
        assert names(found)[-1] == "done"
        return text_of(found)

    assert together(chat, 12) == [f"fish{number}" for number in range(12)]
    served_by = set()

    def both() -> bool:
        with Visit(threads.port, "/whole", {"prompt": "Hello"}) as visit:
            served_by.add(visit.json()["worker"])
        return len(served_by) == 2

    wait_until(both, what="an answer of each worker")


def test_refusals_are_statuses(threads: Served, emulator: GigaChatEmulator) -> None:
    for fault, status in (
        (Fault(status=401), 401),
        (Fault(status=429, retry_after=7), 429),
        (Fault(stall_after_events=0), 504),
    ):
        emulator.inject(fault, times=None)
        options = {"timeout": [10, 1], "max_retries": 0}
        with Visit(threads.port, "/chat", {**COUNT, "options": options}) as visit:
            assert visit.status == status
            assert visit.headers["Content-Type"] == "application/json"
            assert visit.headers["Retry-After"] == ("7" if status == 429 else None)
            assert visit.json()["status"] == status
        emulator.clear()


def test_an_error_in_the_middle_is_an_event_and_the_response_ends_normally(
    threads: Served, emulator: GigaChatEmulator
) -> None:
    emulator.inject(Fault(cut_after_events=3))
    with Visit(threads.port, "/chat", COUNT) as visit:
        found = list(visit.events())
    assert text_of(found) == "1, 2, 3,"
    assert names(found)[-1] == "error"
    assert found[-1].json["type"] == "StreamInterruptedError"


def test_a_browser_that_does_not_read_holds_the_model_back_and_costs_no_memory(
    threads: Served, emulator: GigaChatEmulator
) -> None:
    size = 64 * 1024
    sent = 0

    def flood() -> Iterator[bytes]:
        nonlocal sent
        chunk = {"choices": [{"delta": {"content": "x" * size}, "index": 0}], "model": "GigaChat-2"}
        event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        while True:
            sent += 1
            yield event

    before = max(state["peak_kib"] for state in workers(threads).values())
    emulator.answer(lambda prompt: Answer(200, {"Content-Type": "text/event-stream"}, flood()))
    with Visit(threads.port, "/chat", COUNT) as visit:
        assert visit.event() is not None
        seen, since = -1, time.monotonic()

        def at_rest() -> bool:
            nonlocal seen, since
            if sent != seen:
                seen, since = sent, time.monotonic()
            return time.monotonic() - since > 1.5

        # The buffers of two connections may be full on both sides: some megabytes each.
        wait_until(at_rest, seconds=30, what="the upstream's being held back")
        assert sent * size < 64 * 2**20
    after = max(state["peak_kib"] for state in workers(threads).values())
    assert after - before < 160 * 1024, "kibibytes"

    def none_reads() -> bool:
        return not any(state["threads"] for state in workers(threads).values())

    wait_until(none_reads, what="the end of the call after the browser left")


# -- the example -------------------------------------------------------------------------------------------------------


def ask_of(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


def check_page(port: int) -> None:
    with Visit(port, "/") as visit:
        assert visit.status == 200
        assert visit.headers["Content-Type"].startswith("text/html")
    with Visit(port, "/app.js") as visit:
        assert visit.status == 200
        assert "javascript" in visit.headers["Content-Type"]


def test_the_example_under_gunicorns_sync_worker(
    shared_emulator: GigaChatEmulator, emulator: GigaChatEmulator, tmp_path: Path
) -> None:
    with gunicorn("app:create_app()", tmp_path, shared_emulator.environment, directory=EXAMPLE) as served:
        check_page(served.port)
        with Visit(served.port, "/chat", ask_of("Скажи: Привет")) as visit:
            found = list(visit.events())
        assert (text_of(found), names(found)[-1]) == ("Привет", "done")
        emulator.inject(Fault(stall_after_events=2))
        with Visit(served.port, "/chat", ask_of("Count from 1 to 5")) as visit:
            assert [visit.event(), visit.event()] == [("message", '{"text":"1,"}'), ("message", '{"text":" 2,"}')]
        wait_until(lambda: emulator.open_streams == 0, seconds=20, what="the end of the upstream call")


@pytest.fixture
def development() -> Iterator[int]:
    """Start the example in the way that its README describes; yield its port."""
    command = [sys.executable, str(EXAMPLE / "app.py"), "--emulator", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        try:
            yield int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        finally:
            end(server, lambda: "")
        log = server.stderr.read()
        assert "Traceback" not in log, log[-3000:]
        assert server.returncode == 0


def test_the_example_with_its_emulator(development: int) -> None:
    check_page(development)
    with Visit(development, "/chat", ask_of("Посчитай от 1 до 5")) as visit:
        found = list(visit.events())
    assert (text_of(found), names(found)[-1]) == (FIVE, "done")
    wrong: list[tuple[Any, int]] = [
        ({"messages": []}, 400),
        ({"messages": ["Hello"]}, 400),
        ({"messages": [{"role": "user", "content": 7}]}, 400),
        ({"messages": [{"role": "function", "content": "{}"}]}, 400),
        ([], 400),
        ({**ask_of("Hello"), "model": ["GigaChat-2"]}, 400),
        ({**ask_of("Hello"), "model": "NoSuchModel"}, 404),
        (ask_of("x" * 600_000), 413),
    ]
    for body, status in wrong:
        with Visit(development, "/chat", body) as visit:
            payload = visit.json()
            assert (visit.status, payload["status"]) == (status, status)
            assert payload["message"]
    with Visit(development, "/nowhere") as visit:
        assert visit.status == 404
        assert visit.json()["message"]


def test_the_example_answers_odd_requests_with_4xx(shared_emulator: GigaChatEmulator) -> None:
    client = loaded_example().create_app({"GIGACLIENT": shared_emulator.client_options}).test_client()
    with client.get("/", headers={"Host": "localhost:5000"}) as page:
        assert page.status_code == 200
    for host in ("evil.example", "evil.example:5000", "localhost.evil.example"):
        for answer in (client.get("/", headers={"Host": host}), client.post("/chat", headers={"Host": host}, json={})):
            assert answer.status_code == answer.json["status"] == 400, host
    for path in ("/%00", "/app.js%00", "/%ED%A0%BC"):
        assert client.get(path).status_code == 404, path
    half = "half \ud83c"
    bodies = [json.dumps(ask_of(half)), json.dumps({**ask_of("Hello"), "model": half}), "[" * 200_000]
    for body in bodies:
        answer = client.post("/chat", data=body, content_type="application/json")
        assert answer.status_code == answer.json["status"] == 400, body[:50]


def test_the_example_lists_the_models_to_choose_from(
    shared_emulator: GigaChatEmulator, emulator: GigaChatEmulator
) -> None:
    options = {**shared_emulator.client_options, "model": "GigaChat-2-Pro", "max_retries": 0}
    client = loaded_example().create_app({"GIGACLIENT": options}).test_client()
    listed = client.get("/models").json
    assert listed["default"] == "GigaChat-2-Pro"
    assert "GigaChat-2-Max" in listed["models"]
    assert not [name for name in listed["models"] if name.startswith("Embeddings")]
    emulator.inject(Fault(status=429))
    assert client.get("/models").status_code == 429


def test_the_example_without_a_key_says_what_to_do(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    example = loaded_example()
    with caplog.at_level(logging.ERROR):
        assert example.main([]) == 2
    assert "GIGACHAT_CREDENTIALS" in capsys.readouterr().err


def loaded_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flask_chat_app", EXAMPLE / "app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
