"""The views of docs/en/flask.md and docs/ru/flask.md answer a question, and answer 400 to a body without messages."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from support.pages import LANGUAGES, snippets
from support.web import ASKED, NO_MESSAGES

from gigaclient.testing import GigaChatEmulator


@pytest.fixture(params=LANGUAGES)
def page(request: pytest.FixtureRequest, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run all Python of a page as one module, with the emulator in the environment."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    made = ModuleType("page_about_flask")
    exec(compile("\n".join(snippets(f"{request.param}/flask")), made.__name__, "exec"), made.__dict__)
    return made


@pytest.mark.parametrize("path", ["/chat", "/chat/7"])
def test_a_view_streams_the_answer(page: ModuleType, path: str) -> None:
    answer = page.app.test_client().post(path, json=ASKED)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    assert "event: done" in answer.text


@pytest.mark.parametrize("body", NO_MESSAGES, ids=ascii)
@pytest.mark.parametrize("path", ["/chat", "/chat/7"])
def test_a_body_without_messages_gets_400(page: ModuleType, path: str, body: Any) -> None:
    assert page.app.test_client().post(path, json=body).status_code == 400


def test_the_app_of_the_factory_answers_by_alias_and_refuses_bad_bodies(
    page: ModuleType, emulator: GigaChatEmulator
) -> None:
    options = {**emulator.client_options}
    app: Flask = page.create_app({"GIGACLIENT": {"default": options, "thorough": {**options, "deadline": 300}}})
    browser = app.test_client()
    for path in ("/chat", "/chat/thorough"):
        assert "event: done" in browser.post(path, json=ASKED).text
        assert browser.post(path, json={}).status_code == 400
    assert browser.post("/chat/unknown", json=ASKED).status_code == 404
    assert len(browser.get("/vector?text=tide").json["vector"]) > 1
    assert browser.get("/vector").status_code == browser.get("/vector?text=").status_code == 400
