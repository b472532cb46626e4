"""The site that ``make docs`` has built: search, accessibility, dark mode, copy buttons, a phone's width."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from support.browser import CHECKOUT, NODE_MODULES, until

import gigaclient

if TYPE_CHECKING:
    from support.browser import Browser

SITE = CHECKOUT / "build" / "docs"
PAGES = (
    "index.html",
    "en/index.html",
    "ru/index.html",
    "en/troubleshooting.html",
    "ru/flask.html",
    "en/many.html",
    "en/configuration.html",
    "reference/gigachat.html",
    "changelog.html",
)
FOUND = {
    "en": {
        "429": "Troubleshooting",
        "401": "Troubleshooting",
        "402": "Troubleshooting",
        "CERTIFICATE_VERIFY_FAILED": "Troubleshooting",
        "timeout": "Troubleshooting",
        "proxy": "Troubleshooting",
        "PDF": "Cookbook",
        "FAQ": "FAQ",
        "asyncio": "FAQ",
    },
    "ru": {
        "429": "Решение проблем",
        "401": "Решение проблем",
        "402": "Решение проблем",
        "CERTIFICATE_VERIFY_FAILED": "Решение проблем",
        "timeout": "Решение проблем",
        "таймаут": "Решение проблем",
        "прокси": "Решение проблем",
        "стрим": "Решение проблем",
        "PDF": "Рецепты",
        "FAQ": "Частые вопросы (FAQ)",
    },
}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Serve the site, and yield its address."""
    assert (SITE / "index.html").is_file(), "there is no site: run make docs"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever, name="the site")
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.mark.parametrize(("language", "query"), [(name, query) for name in FOUND for query in FOUND[name]])
def test_the_search_finds_what_people_type(browser: Browser, site: str, language: str, query: str) -> None:
    folder = "ru/" if language == "ru" else ""
    browser.driver.get(f"{site}{folder}search.html?{urlencode({'q': query})}")
    titles = "return [...document.querySelectorAll('#search-results li > a')].map((link) => link.textContent)"
    until(lambda: FOUND[language][query] in browser.run(titles)[:12], f"{query} leads to {FOUND[language][query]}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, site: str, scheme: str) -> None:
    axe = (NODE_MODULES / "axe-core" / "axe.min.js").read_text("utf-8")
    browser.colours(scheme)
    found = []
    for page in PAGES:
        browser.driver.get(site + page)
        browser.run(axe)
        report = browser.run_async("return (await axe.run(document, {resultTypes: ['violations']})).violations")
        found += [
            (page, violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
            for violation in report
            if violation["impact"] in ("serious", "critical")
        ]
    assert found == []


def test_no_page_is_wider_than_a_phone(browser: Browser, site: str) -> None:
    browser.resize(390, 844, phone=True)
    for page in PAGES:
        browser.driver.get(site + page)
        assert browser.run("return document.documentElement.scrollWidth") <= 390, page
        browser.picture(f"docs-phone-{page.replace('/', '-').removesuffix('.html')}")


def _brightness(browser: Browser) -> int:
    """Return the brightness of the page's background, from 0 to 255."""
    colour = "return getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    values: list[int] = browser.run(colour)
    return sum(values) // 3


def test_the_first_page_has_the_theme_of_the_system_or_the_one_that_was_chosen(browser: Browser, site: str) -> None:
    for scheme, chosen, is_dark in (
        ("light", None, False),
        ("dark", None, True),
        ("dark", "light", False),
        ("light", "dark", True),
        ("dark", "auto", True),
    ):
        browser.colours(scheme)
        browser.driver.get(f"{site}index.html")
        browser.run("arguments[0] ? localStorage.setItem('theme', arguments[0]) : localStorage.clear()", chosen)
        browser.driver.refresh()
        assert (_brightness(browser) < 64) is is_dark, (scheme, chosen)
    browser.run("localStorage.clear()")
    browser.colours("dark")
    browser.driver.get(f"{site}index.html")
    browser.picture("docs-first-page-dark")


def test_a_button_copies_code_without_prompts(browser: Browser, site: str) -> None:
    browser.driver.get(f"{site}en/quickstart.html")
    count = "return [document.querySelectorAll('div.highlight').length, document.querySelectorAll('.copybtn').length]"
    blocks, buttons = until(lambda: browser.run(count), "the page is there")
    until(lambda: browser.run(count)[1] == blocks, "each block has a button")
    assert buttons <= blocks
    copied = browser.run(
        "const button = document.querySelector('.copybtn');"
        "return document.querySelector(button.dataset.clipboardTarget).textContent"
    )
    assert copied.startswith("from gigaclient import GigaChat")


@pytest.mark.parametrize(("page", "source"), [("en/flask.html", "docs/en/flask.md"), ("ru/faq.html", "docs/ru/faq.md")])
def test_a_page_shows_the_version_and_its_source(browser: Browser, site: str, page: str, source: str) -> None:
    browser.driver.get(site + page)
    parts = "['.sidebar-brand', '.left-details', '.right-details']"
    shown = browser.run(f"return {parts}.map((one) => document.querySelector(one).innerHTML)")
    assert gigaclient.__version__ in shown[0]
    assert gigaclient.__version__ in shown[1]
    assert source in shown[2]


def test_the_reference_shows_defaults_and_several_names_as_they_are_written(site: str) -> None:
    for page in sorted((SITE / "reference").glob("*.html")):
        text = page.read_text("utf-8")
        assert "&lt;factory&gt;" not in text, page.name
        assert "\N{ZERO WIDTH SPACE}" not in text, page.name
    several = (SITE / "reference" / "options.html").read_text("utf-8")
    assert "<strong>request_id, session_id, client_id, service_id, operation_id, trace_id, agent_id</strong>" in several
