"""The code of docs/en/django.md and docs/ru/django.md works: views, tests, and the table of checks."""

from __future__ import annotations

import re
import sys
import unittest
from collections.abc import Iterator
from types import ModuleType

import pytest
from support.django_tools import CHECKOUT, configured, site

configured()

from django.core.checks import run_checks  # noqa: E402
from django.test import Client, override_settings  # noqa: E402

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
    monkeypatch.setitem(sys.modules, made.__name__, made)
    clients_module._clients.reset()
    with Authority() as authority, GigaChatEmulator(authority=authority) as giga, FakeGptEmulator() as fake:
        for name, value in giga.environment.items():
            monkeypatch.setenv(name, value)
        exec(compile(code.replace("https://chat.example.org", fake.base_url), made.__name__, "exec"), made.__dict__)
        with site(ROOT_URLCONF=made.__name__, MIDDLEWARE=[]), override_settings(GIGACLIENT=made.GIGACLIENT):
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


def test_the_tests_on_the_page_pass(module: ModuleType) -> None:
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.ChatTest)
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 2
    assert result.errors + result.failures == []


def test_the_page_lists_the_checks(page: str) -> None:
    listed = re.findall(r"^\| `(gigaclient\.[EW]\d+)` \|", page, re.MULTILINE)
    assert listed == list(MESSAGES)
