"""The code of docs/en/django.md and docs/ru/django.md works: views, tests, and the table of checks."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
import unittest
from collections.abc import Awaitable, Iterator
from types import ModuleType
from typing import Any

import pytest
from support.django_tools import CHECKOUT, configured, site
from support.web import ASKED, NO_MESSAGES

configured()

from django.core.checks import run_checks  # noqa: E402
from django.core.exceptions import BadRequest  # noqa: E402
from django.test import Client, RequestFactory, override_settings  # noqa: E402

from gigaclient.contrib.django import clients as clients_module  # noqa: E402
from gigaclient.contrib.django.checks import MESSAGES, TAG  # noqa: E402
from gigaclient.testing import Authority, FakeGptEmulator, GigaChatEmulator  # noqa: E402

PAGES = ("docs/en/django.md", "docs/ru/django.md")


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    """Return the text of a page."""
    return (CHECKOUT / request.param).read_text("utf-8")


@pytest.fixture
def module(page: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Run all Python of the page as one module, with emulators in the environment, on a site with its URLs."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert "get_client" in code
    made = ModuleType("page_about_django")
    made.INSTALLED_APPS = []  # type: ignore[attr-defined]  # as the settings of a project have
    monkeypatch.setitem(sys.modules, made.__name__, made)
    clients_module._clients.reset()
    with Authority() as authority, GigaChatEmulator(authority=authority) as giga, FakeGptEmulator() as fake:
        for name, value in giga.environment.items():
            monkeypatch.setenv(name, value)
        exec(compile(code.replace("https://chat.example.org", fake.base_url), made.__name__, "exec"), made.__dict__)
        # Without django.contrib.auth, Django REST framework has no class of an unknown user.
        rest = {"UNAUTHENTICATED_USER": None}
        with (
            site(ROOT_URLCONF=made.__name__, MIDDLEWARE=[]),
            override_settings(GIGACLIENT=made.GIGACLIENT, REST_FRAMEWORK=rest),
        ):
            yield made
    made.giga.close()
    clients_module._clients.reset()


def test_the_view_answers_and_the_settings_are_good(module: ModuleType) -> None:
    with override_settings(ROOT_URLCONF=None):  # the page's part on scripts makes a client at import
        assert run_checks(tags=[TAG]) == []
    body = {"messages": [{"role": "user", "content": "Count from 1 to 3"}]}
    response = Client().post("/chat", body, content_type="application/json")
    assert response.status_code == 200
    assert b"event: done" in response.getvalue()


@pytest.mark.parametrize("body", NO_MESSAGES, ids=ascii)
@pytest.mark.parametrize("path", ["/chat", "/api/chat"])
def test_a_body_without_messages_gets_400(module: ModuleType, path: str, body: Any) -> None:
    response = Client().post(path, json.dumps(body), content_type="application/json")
    assert response.status_code == 400


def test_the_other_views_refuse_bad_requests_too(module: ModuleType) -> None:
    requests = RequestFactory()
    for view in (module.chat_and_keep, module.chat_in_loop, module.vector):
        arguments = {"number": 7} if view is module.chat_and_keep else {}
        request = requests.get("/") if view is module.vector else requests.post("/", {}, "application/json")
        with pytest.raises(BadRequest):  # Django makes a response with the status 400 of it
            answer = view(request, **arguments)
            if inspect.isawaitable(answer):
                asyncio.run(_wait_for(answer))


async def _wait_for(answer: Awaitable[object]) -> object:
    return await answer


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
    ],
)
def test_the_view_of_rest_framework_negotiates_the_content_type(
    module: ModuleType, accept: str, content_type: str
) -> None:
    response = Client().post("/api/chat", ASKED, content_type="application/json", headers={"Accept": accept})
    assert (response.status_code, response["Content-Type"]) == (200, content_type)
    body = response.getvalue().decode()
    assert ("event: done" in body) is (accept == "text/event-stream")
    assert "3" in body


def test_a_type_without_a_renderer_gets_406_and_an_error_of_a_stream_is_json(module: ModuleType) -> None:
    client = Client()
    refused = client.post("/api/chat", ASKED, content_type="application/json", headers={"Accept": "image/png"})
    assert refused.status_code == 406
    bad = client.post("/api/chat", {}, content_type="application/json", headers={"Accept": "text/event-stream"})
    assert bad.status_code == 400
    assert list(json.loads(bad.content)) == ["messages"]


def test_the_tests_on_the_page_pass(module: ModuleType) -> None:
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.ChatTest)
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 2
    assert result.errors + result.failures == []


def test_the_page_lists_the_checks(page: str) -> None:
    listed = re.findall(r"^\| `(gigaclient\.[EW]\d+)` \|", page, re.MULTILINE)
    assert listed == list(MESSAGES)
