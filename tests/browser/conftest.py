"""These tests drive a real Chromium, so they run only when they are asked for: ``pytest --browser tests/browser``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # At run time only inside the fixtures: without --browser nobody needs selenium.
    from support.browser import Browser, ChatPage, PageServer


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
    """A Chromium, Russian and light; its page has had nothing to complain about at the end."""
    one_browser.complaints()
    yield one_browser
    complaints = one_browser.complaints()
    one_browser.driver.get("about:blank")
    one_browser.reset()
    assert complaints == []


@pytest.fixture
def server() -> Iterator[PageServer]:
    """Serves the page, and says what a test wants it to say."""
    from support.browser import PageServer

    with PageServer() as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: PageServer) -> ChatPage:
    """The page of ``server``, opened for the first time."""
    from support.browser import ChatPage

    return ChatPage(browser, server.url).open()
