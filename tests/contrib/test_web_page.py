"""The views of docs/en/web.md and docs/ru/web.md: Flask for EventSource and htmx, FastAPI, Starlette.

tests/browser/test_docs_pages.py drives the JavaScript and the form of the page; tests/apps runs Streamlit and Gradio.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import requests
import uvicorn
from support.pages import LANGUAGES, snippets
from support.reliability_tools import wait_until
from support.web import ASKED, events, names, text_of

from gigaclient.testing import Fault, GigaChatEmulator


@pytest.fixture(params=LANGUAGES)
def page(request: pytest.FixtureRequest, gigachat_env: GigaChatEmulator) -> Iterator[ModuleType]:
    """Run the Python of a page as one module, but for the two apps at its end."""
    made = ModuleType("page_about_the_web")
    code = "\n".join(snippets(f"{request.param}/web")[:-2])
    exec(compile(code, made.__name__, "exec", dont_inherit=True), made.__dict__)
    yield made
    made.giga.close()


@pytest.fixture(params=["api", "site"])
def address(request: pytest.FixtureRequest, page: ModuleType) -> Iterator[str]:
    """Serve the app of FastAPI, then that of Starlette, with uvicorn."""
    config = uvicorn.Config(getattr(page, request.param), host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn of the page")
    thread.start()
    try:
        wait_until(lambda: server.started, what="the start of uvicorn")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def test_the_view_streams_the_answer(address: str) -> None:
    answer = requests.post(f"{address}/chat", json=ASKED, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    found = [event for event in events(answer.content) if event.name != "ping"]
    assert names(found)[-1] == "done"
    assert "3" in text_of(found)


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": []}, {"messages": [5]}, []], ids=str)
def test_a_body_without_messages_is_refused_and_nothing_is_sent(
    address: str, body: Any, gigachat_env: GigaChatEmulator
) -> None:
    answer = requests.post(f"{address}/chat", json=body, timeout=30)
    assert answer.status_code in (400, 422), answer.text
    assert [call for call in gigachat_env.requests if call.path.endswith("/chat/completions")] == []


def test_an_error_before_the_first_chunk_has_its_status(address: str, gigachat_env: GigaChatEmulator) -> None:
    gigachat_env.inject(Fault(status=402))
    answer = requests.post(f"{address}/chat", json=ASKED, timeout=30)
    assert (answer.status_code, answer.json()["type"]) == (402, "PaymentRequiredError")


def test_the_flask_views_send_text_as_json_and_as_escaped_html(
    page: ModuleType, gigachat_env: GigaChatEmulator
) -> None:
    browser = page.app.test_client()
    assert "event: done" in browser.get("/answer?question=Hello").text
    assert browser.get("/answer").status_code == 400
    gigachat_env.answer("1 < 2 & <script>")
    html = browser.post("/answer.html", data={"question": "Hello"}).text
    assert "<script>" not in html
    assert "&lt;" in html
    assert "data: <span>" in html
    assert browser.post("/answer.html").status_code == 400
