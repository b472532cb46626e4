"""The chat page in a real browser: typing, scrolling, screens and accessibility."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from support.browser import Browser, ChatPage, until
from support.page_server import DONE, PAGE, PageServer, event, texts
from support.page_texts import MARKDOWN

from gigaclient.testing.fault_server import Pause

LONG = " ".join(f"слово{number}" for number in range(900))


def test_shift_enter_breaks_the_line_and_the_composer_grows(page: ChatPage, server: PageServer) -> None:
    low = page.one("#question").size["height"]
    page.type("раз\nдва\nтри")
    assert page.one("#question").get_attribute("value") == "раз\nдва\nтри"
    assert page.one("#question").size["height"] > low * 2
    assert server.asked == []


def test_the_enter_that_ends_a_composition_sends_nothing(page: ChatPage, server: PageServer, browser: Browser) -> None:
    page.type("にほん")
    press = """
        const init = {key: "Enter", code: "Enter", bubbles: true, cancelable: true, ...arguments[0]};
        return document.querySelector("#question").dispatchEvent(new KeyboardEvent("keydown", init));
    """
    assert browser.run(press, {"isComposing": True}) is True
    assert browser.run(press, {"keyCode": 229}) is True
    assert server.asked == [] and page.messages == []
    server.next(*texts("Да"), DONE)
    assert browser.run(press, {}) is False  # the same key outside a composition sends
    page.settled()


def test_a_question_of_spaces_is_not_sent(page: ChatPage, server: PageServer) -> None:
    page.ask("  \n ")
    assert server.asked == [] and page.messages == []


def test_the_view_follows_the_text_but_not_against_the_reader(
    page: ChatPage, server: PageServer, browser: Browser
) -> None:
    words = LONG.split(" ")
    slow = [step for word in words[300:] for step in (event({"text": " " + word}), Pause(0.02))]
    server.next(event({"text": "\n\n".join(words[:300])}), *slow, DONE)
    page.ask("Много слов")
    where = "const log = document.querySelector('#log'); return [log.scrollTop, log.scrollHeight - log.clientHeight]"
    until(lambda: "слово320" in page.text and browser.run(where)[1] > 1000, "a long text")
    until(lambda: browser.run(where)[1] - browser.run(where)[0] < 100, "the view is at the end")
    assert not page.one("#jump").is_displayed()

    ActionChains(browser.driver).scroll_from_origin(_middle_of(page), 0, -700).perform()
    until(lambda: browser.run(where)[1] - browser.run(where)[0] > 300, "the reader has gone up")
    place, (_, before) = browser.run(where)[0], browser.run(where)
    until(lambda: browser.run(where)[1] > before + 30, "more text has come below")
    assert abs(browser.run(where)[0] - place) <= 1, "the text stays where it is read"
    browser.picture("page-reading-above")
    page.press("#jump")
    until(lambda: browser.run(where)[1] - browser.run(where)[0] < 100, "back at the end")
    before = browser.run(where)[1]
    until(lambda: browser.run(where)[1] > before + 30, "and it grows")
    until(lambda: browser.run(where)[1] - browser.run(where)[0] < 100, "the view follows again")
    page.press("#stop")
    page.settled("stopped")


def _middle_of(page: ChatPage):  # type: ignore[no-untyped-def]
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    return ScrollOrigin.from_element(page.one("#log"))


def test_a_selection_survives_the_growth_of_the_text(page: ChatPage, server: PageServer, browser: Browser) -> None:
    server.next(*texts("Первый абзац\n\nвторой"), Pause(1.0), *texts(" растёт и растёт"), DONE)
    page.ask("Два абзаца")
    until(lambda: page.text.endswith("второй"), "two paragraphs")
    browser.run("getSelection().selectAllChildren(document.querySelector('.message:last-child .body p'))")
    page.settled()
    assert page.text.endswith("второй растёт и растёт")
    assert browser.run("return getSelection().toString()") == "Первый абзац"


@pytest.mark.parametrize("width", [360, 320])
def test_a_narrow_screen_has_no_sideways_scroll(
    page: ChatPage, server: PageServer, browser: Browser, width: int
) -> None:
    browser.resize(width, 740, scale=2, phone=True)
    wide = (
        "```\n"
        + "x" * 300
        + "\n```\n\n| "
        + " | ".join(["столбец"] * 12)
        + " |\n|"
        + " --- |" * 12
        + "\n\n`"
        + "y" * 200
        + "`\n"
    )
    server.next(
        *texts(MARKDOWN + "\n\n" + wide + "\n" + "длинноеслово" * 30 + " https://example.org/" + "a" * 200), DONE
    )
    page.ask("Ш" * 150)
    page.settled()
    server.refuse(429, {"type": "RateLimitError", "message": "z" * 300}, {"Retry-After": "30"})
    page.ask("Ещё?")
    page.settled("failed")
    page.one(".message:last-child .failure summary").click()
    sizes = browser.run("""
        const log = document.querySelector("#log");
        return [document.documentElement.scrollWidth, log.scrollWidth - log.clientWidth];
    """)
    assert sizes == [width, 0]
    # No element may overflow its parent, except those with their own scroll bar.
    out = browser.run("""
        return [...document.querySelectorAll("main *:not(.visually-hidden)")]
            .filter((one) => !one.closest("pre, .table, #jump") && one.getBoundingClientRect().right > innerWidth + 1)
            .map((one) => one.outerHTML.slice(0, 80));
    """)
    assert out == []
    browser.picture(f"page-narrow-{width}")


def test_on_a_narrow_screen_the_chats_are_in_a_drawer(page: ChatPage, server: PageServer, browser: Browser) -> None:
    server.next(*texts("О море"), DONE)
    page.ask("Море")
    page.settled()
    browser.resize(360, 740, scale=2, phone=True)
    until(lambda: not page.one("#chats").is_displayed(), "the drawer is shut")
    assert browser.run("return document.querySelector('#chats').inert") is True
    page.press("#menu")
    until(lambda: page.one("#new-chat").is_displayed(), "the drawer is open")
    assert page.one("#menu").get_attribute("aria-expanded") == "true"
    assert browser.run("return document.activeElement.id") == "new-chat"
    until(lambda: page.one("#chats").rect["x"] == 0, "it has come to rest")
    browser.picture("page-drawer")
    ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
    until(lambda: not page.one("#chats").is_displayed(), "Escape shuts it")
    assert browser.run("return document.activeElement.id") == "menu"
    page.press("#menu")
    page.press("#new-chat")
    assert page.messages == []
    until(lambda: not page.one("#chats").is_displayed(), "a choice shuts it")


def test_a_screen_reader_hears_the_beginning_and_the_whole_answer(
    page: ChatPage, server: PageServer, browser: Browser
) -> None:
    server.next(*texts("Столица России — **Москва**."), Pause(1.0), DONE)
    page.ask("Какая?")
    announced = "return document.querySelector('[role=status][aria-live=polite]').textContent"
    until(lambda: browser.run(announced) == "Ответ готовится.", "the beginning")
    assert page.one(".message:last-child").get_attribute("aria-busy") == "true"
    page.settled()
    until(lambda: browser.run(announced) == "Ответ: Столица России — Москва.", "the answer")
    assert page.one(".message:last-child").get_attribute("aria-busy") == "false"
    nameless = browser.run("""
        return [...document.querySelectorAll("button, textarea, nav, section, aside")]
            .filter((one) => one.checkVisibility() && one.localName !== "nav")
            .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim()))
            .map((one) => one.outerHTML.slice(0, 80));
    """)
    assert nameless == [], "each control has a name"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_can_be_read_in_both_colours(
    page: ChatPage, server: PageServer, browser: Browser, scheme: str
) -> None:
    browser.colours(scheme)
    server.next(*texts("Ответ с `кодом` и [ссылкой](https://example.org).\n\n> цитата\n"), DONE)
    page.ask("Вопрос")
    page.settled()
    server.refuse(401, {"message": "m"})
    page.ask("Вопрос")
    page.settled("failed")
    low = browser.run("""
        const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => {
            const part = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
            return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
        };
        const behind = (element) => {
            for (; element; element = element.parentElement) {
                const colour = channels(getComputedStyle(element).backgroundColor);
                if (colour.length === 3 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
        };
        const found = {};
        const written = "h1, .body, .body *, .sentence, summary, .retry, .meta, .hint, #chat-list .open, #new-chat";
        for (const one of document.querySelectorAll(written)) {
            if (!one.checkVisibility() || one.disabled) continue;
            const [text, page] = [light(channels(getComputedStyle(one).color)), light(behind(one))];
            const contrast = (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
            if (contrast < 4.5) found[one.className || one.localName] = contrast.toFixed(2);
        }
        return found;
    """)
    assert low == {}, "WCAG AA wants 4.5 : 1"
    dark = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")


def test_vendored_libraries_are_byte_for_byte_what_the_readme_says() -> None:
    listed = re.findall(r"^([0-9a-f]{64})  (vendor/\S+)$", (PAGE / "README.md").read_text("utf-8"), re.MULTILINE)
    found = [
        (hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(PAGE).as_posix())
        for path in PAGE.glob("vendor/**/*")
        if path.suffix in {".js", ".css", ".woff2"}
    ]
    assert sorted(listed) == sorted(found)
    assert len(found) == 26


def test_the_page_needs_nothing_but_its_own_server(page: ChatPage, browser: Browser, server: PageServer) -> None:
    loaded = browser.run("return performance.getEntriesByType('resource').map(({name}) => name)")
    assert loaded and all(address.startswith(server.url) for address in loaded), loaded
    assert json.dumps(sorted(server.fetched)).count("vendor/") == 6, "fonts are loaded with the first formula"
