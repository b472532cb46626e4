"""The same views under real servers: gunicorn (WSGI, preloaded, two workers) and uvicorn (ASGI)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import django
import pytest
from support.django_tools import SITE, clean_environment, uvicorn
from support.reliability_tools import question, wait_until
from support.web import Visit, gunicorn, names, text_of

from gigaclient.testing import Fault, GigaChatEmulator

WORKERS = 2
VIEWS = ("/chat", "/achat")
NOTICES_CLOSED_TABS_UNDER_ASGI = django.VERSION >= (5, 0)

only_under_asgi = pytest.mark.parametrize("running", ["uvicorn"], indirect=True)


class Site(NamedTuple):
    server: str
    port: int
    emulator: GigaChatEmulator
    folder: Path

    @property
    def notices_closed_tabs(self) -> bool:
        return self.server == "gunicorn" or NOTICES_CLOSED_TABS_UNDER_ASGI

    def stalled(self, after_events: int, times: int = 1) -> None:
        """Make the model silent: forever if a closed tab ends the call, otherwise for four seconds."""
        stall_s = None if self.notices_closed_tabs else 4.0
        self.emulator.inject(Fault(stall_after_events=after_events, stall_s=stall_s), times=times)

    def visit(self, path: str, **body: Any) -> Visit:
        return Visit(self.port, path, body or None)

    def ended(self) -> list[dict[str, Any]]:
        """Return the answers that ``on_end`` was called with, oldest first."""
        file = self.folder / "ended"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


@pytest.fixture(scope="module", params=["gunicorn", "uvicorn"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        emulator = stack.enter_context(GigaChatEmulator())
        environment = clean_environment(**emulator.environment, SITE_FOLDER=str(folder))
        if request.param == "gunicorn":
            options = ("--preload", "--worker-class", "gthread", "--threads", "8", "--timeout", "30")
            server = gunicorn(f"{SITE}.wsgi:application", folder, environment, *options, workers=WORKERS)
        else:
            server = uvicorn(f"{SITE}.asgi:application", folder, environment)
        served = stack.enter_context(server)
        yield Site(request.param, served.port, emulator, folder)
    log = served.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    assert "Warning" not in log, log[-3000:]


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    yield running
    running.emulator.clear()
    wait_until(lambda: running.emulator.open_streams == 0, seconds=15, what="the end of all streams")


def messages(visit: Visit, count: int) -> list[str]:
    """Return the texts of the next ``count`` events that have text."""
    found: list[str] = []
    while len(found) < count:
        event = visit.event()
        assert event is not None, f"the answer ended after {found}"
        if event.name == "message":
            found.append(event.json["text"])
    return found


@pytest.mark.parametrize("view", VIEWS)
def test_an_answer_streams_to_its_end(site: Site, view: str) -> None:
    before = len(site.ended())
    with site.visit(view, prompt="Посчитай от 1 до 5") as visit:
        assert visit.status == 200
        assert visit.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        found = list(visit.events())
    assert text_of(found) == "1, 2, 3, 4, 5"
    assert names(found)[-1] == "done"
    assert found[-1].json["finish_reason"] == "stop"
    wait_until(lambda: len(site.ended()) == before + 1, what="on_end")
    assert site.ended()[-1] == {"text": "1, 2, 3, 4, 5", "finish_reason": "stop"}


@pytest.mark.parametrize("path", [*VIEWS, "/chat?shout", "/achat?shout"])
def test_text_arrives_before_the_answer_is_complete_and_a_closed_tab_ends_the_call(site: Site, path: str) -> None:
    site.emulator.answer("раз два три четыре пять")
    site.stalled(3)
    with site.visit(path, ping_s=0.2) as visit:
        text = "".join(messages(visit, 2))
        assert text.startswith("РАЗ" if "shout" in path else "раз")
        wait_until(lambda: site.emulator.open_streams == 1, what="the call")
        assert any(event.name == "ping" for event in (visit.event() for _ in range(4)) if event)
        assert site.emulator.open_streams == 1
        before = len(site.ended())
    if not site.notices_closed_tabs:
        return
    wait_until(lambda: site.emulator.open_streams == 0, seconds=15, what="the end of the call")
    wait_until(lambda: len(site.ended()) == before + 1, what="on_end")
    assert site.ended()[-1]["finish_reason"] is None


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(status=400), 400),
        (Fault(unauthorized=True), 401),
        (Fault(status=402), 402),
        (Fault(status=500), 500),
        (Fault(hang_up=True), 502),
        (Fault(html=True), 502),
        (Fault(end_after_events=0), 502),
        (Fault(error_after_events=0, error={"status": 429, "message": "Too Many Requests"}), 429),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_a_refusal_before_the_first_chunk_is_a_status(site: Site, view: str, fault: Fault, status: int) -> None:
    # A refused token and a kept-alive connection that turns out closed are each worth another try.
    site.emulator.inject(fault, times=2 if fault.unauthorized or fault.hang_up else 1)
    with site.visit(view) as visit:
        assert visit.status == status
        assert visit.headers["Content-Type"] == "application/json"
        payload = visit.json()
    assert payload["status"] == status
    assert payload["message"]


@pytest.mark.parametrize("view", VIEWS)
def test_too_many_requests_say_when_to_come_back(site: Site, view: str) -> None:
    site.emulator.inject(Fault(status=429, retry_after=2.5))
    with site.visit(view) as visit:
        assert (visit.status, visit.headers["Retry-After"]) == (429, "3")
        assert visit.json()["retry_after"] == 2.5


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("alias", "status", "type_"),
    [
        ("hasty", 504, "APITimeoutError"),
        ("nowhere", 502, "APIConnectionError"),
        ("broken", 500, "ConfigError"),
        ("nobody", 500, "ConfigError"),
    ],
)
def test_what_comes_to_nothing_is_a_status(site: Site, view: str, alias: str, status: int, type_: str) -> None:
    site.emulator.inject(Fault(before_s=float("inf")))
    with site.visit(view, alias=alias) as visit:
        assert visit.status == status
        payload = visit.json()
    assert payload["type"] == type_
    assert "127.0.0.1" not in payload["message"]
    assert "soon" not in payload["message"]


@pytest.mark.parametrize("view", VIEWS)
def test_a_failure_in_the_middle_is_an_event_after_the_text(site: Site, view: str) -> None:
    site.emulator.inject(Fault(error_after_events=2, error={"status": 429, "message": "Too Many Requests"}))
    with site.visit(view) as visit:
        found = list(visit.events())
    assert visit.status == 200
    assert names(found)[-1] == "error"
    assert found[-1].json["status"] == 429
    assert text_of(found)


def test_answers_are_their_own_and_the_token_is_fetched_once(site: Site) -> None:
    """Under gunicorn two workers have inherited a client that had been in use; see its wsgi.py."""

    def ask(number: int) -> tuple[str, dict[str, Any]]:
        word, prompt = question()
        with site.visit("/whole", prompt=prompt) as visit:
            return word, visit.json()

    oauth_calls = site.emulator.oauth_calls
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(60), timeout=50))
    assert [answer["text"] for _, answer in answers] == [word for word, _ in answers]
    assert len({answer["worker"] for _, answer in answers}) == (WORKERS if site.server == "gunicorn" else 1)
    assert site.emulator.oauth_calls == oauth_calls


@only_under_asgi
def test_streams_are_read_side_by_side_without_a_thread_of_the_loop(site: Site) -> None:
    site.stalled(2, times=30)
    with ExitStack() as stack:
        visits = [stack.enter_context(site.visit(VIEWS[number % 2], alias="many")) for number in range(30)]
        assert [len(messages(visit, 1)) for visit in visits] == [1] * 30
        assert site.emulator.open_streams == 30
        with site.visit("/health") as visit:
            assert visit.json() == {"well": True}


@only_under_asgi
@pytest.mark.parametrize("view", VIEWS)
def test_no_thread_of_ours_leaves_a_database_connection_open(site: Site, view: str) -> None:
    with site.visit("/state") as visit:
        before = visit.json()["used"]
    with site.visit(view, database=True) as visit:
        assert text_of(list(visit.events())) == "1, 2, 3, 4, 5"

    def state() -> dict[str, int]:
        with site.visit("/state") as visit:
            found: dict[str, int] = visit.json()
            return found

    wait_until(lambda: state()["open"] == 0, what="the end of all connections")
    assert state()["used"] >= before + 6, "five chunks and on_end"


@only_under_asgi
def test_the_loop_goes_on_while_a_first_chunk_is_awaited_and_a_closed_tab_ends_the_wait(site: Site) -> None:
    site.stalled(0)
    aborted, prompt = site.emulator.api_aborted, len(site.emulator.requests)
    with ThreadPoolExecutor(1) as pool:
        visit = pool.submit(_leave_at, site, "/achat", lambda: len(site.emulator.requests) > prompt)
        wait_until(lambda: len(site.emulator.requests) > prompt, what="the call")
        with site.visit("/health") as other:
            assert other.json() == {"well": True}
        visit.result(20)
    if not site.notices_closed_tabs:
        return
    wait_until(lambda: site.emulator.api_aborted > aborted, seconds=15, what="the end of the call")


def _leave_at(site: Site, path: str, moment: Any) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as browser:
        browser.sendall(b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode())
        wait_until(moment, what="the call")
