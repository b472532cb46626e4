"""Tests that drive a real Chromium. They run only with ``pytest --browser tests/browser``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # At run time imported in the fixtures, because only --browser needs selenium.
    from support.browser import Browser, ChatPage
    from support.page_server import PageServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--browser", action="store_true", help="run the tests in tests/browser, which drive Chromium")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("--browser", False) else True


@pytest.fixture(scope="session")
def one_browser() -> Iterator[Browser]:
    from support.browser import Browser

    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """Yield a Russian Chromium in light mode; fail if its console has complaints in the end."""
    one_browser.complaints()
    yield one_browser
    complaints = one_browser.complaints()
    one_browser.driver.get("about:blank")
    one_browser.reset()
    assert complaints == []


@pytest.fixture
def server() -> Iterator[PageServer]:
    """Start a server of the page with scripted answers."""
    from support.page_server import PageServer

    with PageServer() as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: PageServer) -> ChatPage:
    """Open the page of ``server`` for the first time."""
    from support.browser import ChatPage

    return ChatPage(browser, server.url).open()
