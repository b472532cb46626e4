"""``manage.py`` as a separate process: the development server with its reloader, and the example site."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.django_tools import CHECKOUT, SITE, TESTS, clean_environment, command
from support.reliability_tools import wait_until
from support.web import Visit, events, names, text_of

from gigaclient.testing import Fault, GigaChatEmulator

EXAMPLE = CHECKOUT / "examples" / "django_chat"


def test_runserver_streams_and_a_closed_tab_ends_the_call(gigachat_emulator: GigaChatEmulator, tmp_path: Path) -> None:
    environment = clean_environment(**gigachat_emulator.environment, DJANGO_SETTINGS_MODULE=f"{SITE}.settings")
    words = ("-m", "django", "runserver", "127.0.0.1:0")
    with command(
        *words, folder=tmp_path, environment={**environment, "PYTHONPATH": str(TESTS)}, directory=tmp_path
    ) as it:
        assert "System check identified no issues" in it.log.read_text()
        gigachat_emulator.inject(Fault(stall_after_events=2))
        with Visit(it.port, "/chat", {"ping_s": 0.2}) as visit:
            assert visit.status == 200
            assert visit.event().name == "message"  # type: ignore[union-attr]
            wait_until(lambda: gigachat_emulator.open_streams == 1, what="the call")
        wait_until(lambda: gigachat_emulator.open_streams == 0, seconds=15, what="the end of the call")


class Response(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Browser:
    """An HTTP client that keeps cookies, as the page needs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: SimpleCookie = SimpleCookie()

    def request(self, method: str, path: str, body: Any = None, *, with_token: bool = True, **headers: str) -> Response:
        headers |= {"Cookie": "; ".join(f"{name}={morsel.value}" for name, morsel in self.cookies.items())}
        if with_token and "csrftoken" in self.cookies:
            headers["X-CSRFToken"] = self.cookies["csrftoken"].value
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie") or ():
                self.cookies.load(cookie)
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def say(self, text: str, **others: Any) -> Response:
        return self.request("POST", "/chat", {"messages": [{"role": "user", "content": text}], **others})


@pytest.fixture(scope="module", params=[(), ("--asgi",)], ids=["wsgi", "asgi"])
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("example")
    words = (str(EXAMPLE / "manage.py"), "demo", "--port", "0", "--pause", "0", *request.param)
    with command(*words, folder=folder, environment=clean_environment(), directory=folder) as served:
        yield Browser(served.port)
    log = served.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    assert "WARNINGS" not in log, log[-3000:]
    assert "Warning:" not in log, log[-3000:]


def test_the_example_serves_the_page_and_sets_the_cookie_for_its_script(browser: Browser) -> None:
    page = browser.request("GET", "/")
    assert page.status == 200
    assert b"app.js" in page.body
    assert browser.cookies["csrftoken"].value
    script = browser.request("GET", "/app.js")
    assert (script.status, script.headers.get_content_subtype()) == (200, "javascript")
    for elsewhere in (
        "/../django_chat/manage.py",
        "/%2e%2e/django_chat/manage.py",
        "//etc/hostname",
        "/nowhere",
        "/vendor",
        "/%00",
        "/app.js%00",
        "/%ED%A0%BC",
    ):
        assert browser.request("GET", elsewhere).status == 404, elsewhere


def test_the_example_answers_under_its_own_names_alone(browser: Browser) -> None:
    assert browser.request("GET", "/", Host=f"localhost:{browser.port}").status == 200
    for host in ("evil.example", f"evil.example:{browser.port}", "localhost.evil.example"):
        assert browser.request("GET", "/", Host=host).status == 400, host


def test_the_example_answers_what_is_typed(browser: Browser) -> None:
    browser.request("GET", "/")
    answer = browser.say("Посчитай от 1 до 5", model="GigaChat-2-Max")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    found = events(answer.body)
    assert text_of(found) == "1, 2, 3, 4, 5"
    assert found[-1].name == "done"
    assert found[-1].json["model"].startswith("GigaChat-2-Max")
    assert names(found).count("message") > 1


def test_the_example_refuses_other_sites_and_what_is_no_question(browser: Browser) -> None:
    browser.request("GET", "/")
    refused = browser.request("POST", "/chat", {"messages": [{"role": "user", "content": "Hi"}]}, with_token=False)
    assert refused.status == 403
    for wrong in (
        b"{",
        [],
        {"messages": []},
        {"messages": "Hi"},
        {"messages": ["Hi"]},
        {"messages": [{"role": "root", "content": "Hi"}]},
        {"messages": [{"role": ["user"], "content": "Hi"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": "Hi"}], "model": ""},
        {"messages": [{"role": "user", "content": "Hi"}], "model": 5},
        {"messages": [{"role": "user", "content": "half \ud83c"}]},
        {"messages": [{"role": "user", "content": "Hi"}], "model": "half \ud83c"},
        b"[" * 200_000,
    ):
        answer = browser.request("POST", "/chat", wrong)
        assert answer.status == 400, wrong
        assert json.loads(answer.body)["message"]
    assert browser.request("GET", "/chat").status == 405
    answer = browser.say("x" * 600_000)
    assert (answer.status, json.loads(answer.body)["status"]) == (413, 413)


def test_the_example_lists_the_models_to_choose_from(browser: Browser) -> None:
    answer = browser.request("GET", "/models")
    listed = json.loads(answer.body)
    assert (answer.status, listed["default"]) == (200, "GigaChat-2")
    assert "GigaChat-2-Max" in listed["models"]
    assert not [name for name in listed["models"] if name.startswith("Embeddings")]


def test_the_example_sends_the_files_of_the_page_with_their_types(browser: Browser) -> None:
    for path, type_ in (
        ("/style.css", "text/css; charset=utf-8"),
        ("/vendor/fonts/KaTeX_Main-Regular.woff2", "font/woff2"),
    ):
        answer = browser.request("GET", path)
        assert (answer.status, answer.headers["Content-Type"]) == (200, type_)


def test_the_example_reports_an_error_of_the_model(browser: Browser) -> None:
    browser.request("GET", "/")
    answer = browser.say("Hi", model="GigaChat-99")
    assert answer.status == 404
    assert json.loads(answer.body)["type"] == "NotFoundError"
