"""The browser's side on the pages of docs/: ``fetch`` for Flask and Django, ``EventSource`` and htmx of web.md."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from flask import Response
from support.browser import NODE_MODULES, until
from support.pages import LANGUAGES, blocks, snippets
from werkzeug.serving import make_server

from gigaclient.testing import Fault, GigaChatEmulator

if TYPE_CHECKING:
    from support.browser import Browser

EXTENSIONS = NODE_MODULES / "htmx.org" / "dist"
every_language = pytest.mark.parametrize("language", LANGUAGES)
MESSAGES = "[{role: 'user', content: 'Count from 1 to 3'}]"


@pytest.fixture
def serve() -> Iterator[Any]:
    """Yield a function that serves the Flask app in the first snippet of a page, with the page's HTML at ``/``."""
    running = []

    def start(page: str) -> str:
        made = ModuleType("page")
        exec(compile(snippets(page)[0], made.__name__, "exec", dont_inherit=True), made.__dict__)
        html = "".join(blocks(page, "html")) or "<p>"
        made.app.add_url_rule("/", "first", lambda: f"<!doctype html><link rel=icon href=data:,><body>{html}")
        names = {"htmx.min.js": EXTENSIONS / "htmx.min.js", "hx-sse.min.js": EXTENSIONS / "ext" / "hx-sse.min.js"}
        made.app.view_functions["static"] = lambda filename: Response(
            names[filename].read_bytes(), mimetype="text/javascript"
        )
        server = make_server("127.0.0.1", 0, made.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, name="the app of a page")
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join(10)
        server.server_close()


def asked(emulator: GigaChatEmulator) -> int:
    """Return how many questions the emulator got."""
    return sum(call.path.endswith("/chat/completions") for call in emulator.requests)


@every_language
@pytest.mark.parametrize("page", ["flask", "django"])
def test_fetch_reads_the_answer_and_raises_its_errors(
    browser: Browser, serve: Any, gigachat_env: GigaChatEmulator, language: str, page: str
) -> None:
    browser.driver.get(serve(f"{language}/flask"))
    ask = next(block for block in blocks(f"{language}/{page}", "javascript") if "function ask" in block)
    read = (
        f"{ask}; let text = ''; const done = await ask({MESSAGES}, (part) => {{ text += part; }}); return [text, done];"
    )
    text, done = browser.run_async(read)
    assert "3" in text
    assert done["finish_reason"] == "stop"

    failed = f"{ask}; try {{ await ask({MESSAGES}, () => 0); }} catch (error) {{ return error.message; }}"
    gigachat_env.inject(Fault(status=402))
    assert "402" not in browser.run_async(failed), "the sentence of the server"
    gigachat_env.inject(Fault(error_after_events=2))
    assert browser.run_async(failed)
    assert "400" in browser.run_async(failed.replace(MESSAGES, "null"))


@every_language
def test_event_source_reads_the_answer_once_and_closes_on_errors(
    browser: Browser, serve: Any, gigachat_env: GigaChatEmulator, language: str
) -> None:
    browser.driver.get(serve(f"{language}/web"))
    listen = blocks(f"{language}/web", "javascript")[0]
    read = (
        f"{listen}; let text = '';"
        "return await new Promise((end) => listen('Count from 1 to 3', (part) => { text += part; },"
        " (failure) => setTimeout(() => end([text, failure ?? null]), 4000)));"
    )
    text, failure = browser.run_async(read)
    assert ("3" in text, failure, asked(gigachat_env)) == (True, None, 1)
    gigachat_env.inject(Fault(error_after_events=2))
    text, failure = browser.run_async(read)
    assert failure, "the sentence of the server"
    assert asked(gigachat_env) == 2, "EventSource reconnects after three seconds unless it is closed"


@every_language
def test_the_form_of_htmx_shows_escaped_text_and_errors(
    browser: Browser, serve: Any, gigachat_env: GigaChatEmulator, language: str
) -> None:
    browser.driver.get(serve(f"{language}/web"))
    answer = "return document.querySelector('#answer').textContent"

    def send(question: str) -> None:
        browser.run(
            "document.querySelector('input').value = arguments[0]; document.querySelector('button').click()", question
        )

    gigachat_env.answer("1 < 2 & <b>no tag</b>")
    send("Hello")
    until(lambda: browser.run(answer) == "1 < 2 & <b>no tag</b>", "the whole answer")
    assert browser.run("return document.querySelectorAll('#answer b').length") == 0
    gigachat_env.answer("Second.")
    send("Hello again")
    until(lambda: browser.run(answer) == "Second.", "the second answer in place of the first")
    gigachat_env.inject(Fault(error_after_events=2))
    send("Count from 1 to 9")
    lost = {"en": "The connection was lost.", "ru": "Соединение потеряно."}[language]
    until(lambda: browser.run(answer).endswith(lost), "the failure is shown")
    assert asked(gigachat_env) == 3
