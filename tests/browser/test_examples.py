"""The example servers, each with the chat page in a real browser and an emulator of the service."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium.webdriver.support.select import Select
from support.browser import EXAMPLES, Browser, ChatPage, serving, until
from support.dialogue_tools import name_of_the_user

from gigaclient.testing import Fault, GigaChatEmulator

DJANGO = EXAMPLES / "django_chat"
SERVERS: dict[str, tuple[list[str], Path]] = {
    "flask": ([str(EXAMPLES / "flask_chat" / "app.py"), "--port", "0"], EXAMPLES),
    "django": ([str(DJANGO / "manage.py"), "runserver", "--noreload", "127.0.0.1:0"], DJANGO),
    "django-asgi": (["-m", "uvicorn", "chat.asgi:application", "--port", "0", "--log-level", "info"], DJANGO),
}
DEMOS = {
    "flask": [str(EXAMPLES / "flask_chat" / "app.py"), "--emulator", "--port", "0"],
    "django": [str(DJANGO / "manage.py"), "demo", "--port", "0"],
}
COUNTED = ", ".join(str(number) for number in range(1, 31))


@dataclass
class Example:
    """A running example and its emulator."""

    name: str
    url: str
    emulator: GigaChatEmulator


# WSGI and ASGI differ only in the start and the end of a stream, so tests of the page itself run on one of them.
on_all = pytest.mark.parametrize("running", list(SERVERS), indirect=True, scope="module")
on_both = pytest.mark.parametrize("running", ["flask", "django"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Example]:
    command, folder = SERVERS[request.param]
    # No retries, so that a single fault is visible.
    with GigaChatEmulator(event_pause_s=0.05) as emulator:
        environment = {**emulator.environment, "GIGACHAT_MAX_RETRIES": "0"}
        with serving(command, folder=folder, environment=environment) as url:
            yield Example(request.param, url, emulator)


@pytest.fixture
def example(running: Example) -> Iterator[Example]:
    yield running
    running.emulator.clear()
    running.emulator.event_pause_s = 0.05
    until(lambda: running.emulator.open_streams == 0, "no call of the service is left open")


@pytest.fixture
def page(browser: Browser, example: Example) -> ChatPage:
    return opened(browser, example.url)


def opened(browser: Browser, url: str) -> ChatPage:
    """Open the page, and wait for the models, so that a fault of a test meets the next question."""
    page = ChatPage(browser, url).open()
    until(lambda: page.all("#model option"), "the models")
    return page


@on_all
def test_russian_text_goes_there_and_the_answer_comes_word_by_word(
    page: ChatPage, example: Example, browser: Browser
) -> None:
    page.watch()
    page.ask("Посчитай от 1 до 30")
    until(lambda: len(page.seen) >= 8, "the answer grows")
    browser.picture(f"{example.name}-streaming")
    page.settled()
    seen = page.seen
    assert len(seen) >= 10, seen
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen)), seen
    assert page.messages == [("user", "Посчитай от 1 до 30"), ("assistant", COUNTED)]
    assert example.emulator.requests[-1].json()["messages"] == [{"role": "user", "content": "Посчитай от 1 до 30"}]
    assert "GigaChat-2" in page.one(".message:last-child .meta").text
    assert browser.run(
        "return performance.getEntriesByType('resource').every(({name}) => name.startsWith(location.origin))"
    )


@on_all
def test_a_stop_keeps_the_text_and_ends_the_call_of_the_silent_service(
    page: ChatPage, example: Example, browser: Browser
) -> None:
    left = example.emulator.api_aborted
    example.emulator.inject(Fault(stall_after_events=6))
    page.ask("Посчитай от 1 до 30")
    until(lambda: page.text == "1, 2, 3, 4, 5, 6,", "the words before the silence")
    assert example.emulator.open_streams == 1
    page.press("#stop")
    page.settled("stopped")
    assert (page.text, page.note, page.failure) == ("1, 2, 3, 4, 5, 6,", "Остановлено", "")
    browser.picture(f"{example.name}-stopped")
    until(lambda: example.emulator.open_streams == 0, "the service's answer is ended", seconds=15)
    until(lambda: example.emulator.api_aborted == left + 1, "the service notices the closed connection", seconds=15)


@on_all
def test_a_tab_that_is_closed_ends_the_call_of_the_silent_service(
    page: ChatPage, example: Example, browser: Browser
) -> None:
    left = example.emulator.api_aborted
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    try:
        other = opened(browser, example.url)
        example.emulator.inject(Fault(stall_after_events=3))
        other.ask("Посчитай от 1 до 30")
        until(lambda: other.text == "1, 2, 3,", "the words before the silence")
        assert example.emulator.open_streams == 1
    finally:
        browser.driver.close()
        browser.driver.switch_to.window(first)
    until(lambda: example.emulator.open_streams == 0, "the service's answer is ended", seconds=15)
    assert example.emulator.api_aborted == left + 1
    assert page.reload().messages == [("user", "Посчитай от 1 до 30"), ("assistant", "1, 2, 3,")], "nothing is lost"


@on_both
def test_a_reload_brings_the_conversation_back_and_it_goes_on(page: ChatPage, example: Example) -> None:
    example.emulator.answer(name_of_the_user, times=None)
    page.ask("Меня зовут Анна")
    page.settled()
    before = page.messages
    page.reload()
    assert page.messages == before
    page.ask("Как меня зовут?")
    page.settled()
    assert page.text == "It is Анна."
    assert [message["role"] for message in example.emulator.requests[-1].json()["messages"]] == [
        "user", "assistant", "user",
    ]  # fmt: skip


@on_both
def test_an_error_in_the_middle_is_one_sentence_below_the_text(
    page: ChatPage, example: Example, browser: Browser
) -> None:
    example.emulator.inject(Fault(error_after_events=8))
    page.ask("Посчитай от 1 до 30")
    page.settled("failed")
    assert page.text.startswith("1, 2, 3"), page.text
    assert page.failure == "GigaChat сообщил об ошибке (статус 500)."
    browser.picture(f"{example.name}-error-in-the-middle")
    page.press(".message:last-child .retry")
    until(lambda: page.state == "done", "the second try")
    assert page.text == COUNTED
    assert page.failure == ""


@on_both
def test_a_cut_stream_is_distinguished_from_a_complete_one(page: ChatPage, example: Example) -> None:
    example.emulator.inject(Fault(cut_after_events=8))
    page.ask("Посчитай от 1 до 30")
    page.settled("failed")
    assert page.text.startswith("1, 2, 3"), page.text
    assert page.failure == "От GigaChat не пришёл полный ответ."


@on_all
def test_refusals_before_the_first_word_are_statuses(page: ChatPage, example: Example, browser: Browser) -> None:
    example.emulator.inject(Fault(status=429, retry_after=60))
    page.ask("Привет")
    page.settled("failed")
    assert page.failure == "Этот сайт достиг ограничения GigaChat на число запросов."
    retry = page.one(".message:last-child .retry")
    assert retry.text.startswith("Повторить через ") and not retry.is_enabled()
    browser.picture(f"{example.name}-429")
    for status, sentence in (
        (401, "не принимает запросы этого сайта"),
        (402, "закончились токены"),
        (500, "статус 500"),
    ):
        # After a 401 the request is sent once more with a new token.
        example.emulator.inject(Fault(status=status), times=2 if status == 401 else 1)
        page.ask("Привет")
        page.settled("failed")
        assert sentence in page.failure, (status, page.failure)
    secrets = [example.emulator.credentials, *(r.headers["authorization"][7:] for r in example.emulator.requests[-5:])]
    assert not [secret for secret in secrets if secret in browser.driver.page_source]


@on_both
def test_the_chosen_model_answers(page: ChatPage, example: Example, browser: Browser) -> None:
    offered = [option.text for option in page.all("#model option")]
    assert "GigaChat-2-Max" in offered
    assert not [name for name in offered if name.startswith("Embeddings")]
    assert page.one("#model").get_attribute("value") == "GigaChat-2"
    Select(page.one("#model")).select_by_visible_text("GigaChat-2-Max")
    page.ask("Сколько будет 12 × 12?")
    page.settled()
    assert example.emulator.requests[-1].json()["model"] == "GigaChat-2-Max"
    assert page.one(".message:last-child .meta").text.startswith("GigaChat-2-Max")


@on_both
def test_formulas_are_drawn_with_the_fonts_that_the_server_sends(
    page: ChatPage, example: Example, browser: Browser
) -> None:
    example.emulator.answer("Дано: $\\frac{a}{b}$.")
    page.ask("Формула")
    page.settled()
    assert len(page.all(".body .katex .mfrac")) == 1
    loaded = "return [...document.fonts].filter((font) => font.status === 'loaded').map(({family}) => family)"
    until(lambda: "KaTeX_Math" in browser.run(loaded), "the font of the letters")


@on_both
def test_markup_of_the_model_is_text(page: ChatPage, example: Example, browser: Browser) -> None:
    attack = "<img src=/x onerror='window.hacked=1'><script>window.hacked=2</script>"
    example.emulator.answer(attack + " **важно** [да](javascript:window.hacked=3)")
    page.ask("Покажи")
    page.settled()
    assert page.text.startswith(attack)
    assert page.one(".message:last-child strong").text == "важно"
    assert browser.run("return window.hacked ?? null") is None
    assert page.all(".body img, .body script, .body a") == []


@on_both
def test_it_fits_a_narrow_screen(page: ChatPage, example: Example, browser: Browser) -> None:
    browser.resize(360, 740, scale=2, phone=True)
    example.emulator.event_pause_s = 0.002
    example.emulator.answer("# Заголовок\n\n```python\n" + "x = 1  # " + "очень " * 60 + "\n```\n\n" + "слово " * 80)
    page.ask("Посчитай от 1 до 30")
    page.settled()
    assert browser.run("return document.documentElement.scrollWidth") == 360
    browser.picture(f"{example.name}-narrow")


@pytest.mark.parametrize("name", DEMOS)
def test_one_command_starts_it_with_an_emulator(browser: Browser, name: str) -> None:
    with serving(DEMOS[name], folder=EXAMPLES.parent, environment={"HOME": os.environ["HOME"]}) as url:
        page = ChatPage(browser, url).open()
        page.ask("Сколько будет 12 × 12?")
        page.settled()
        assert page.text == "12 * 12 = 144"
