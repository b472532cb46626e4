"""The chat page in a real browser: change a question, choose a model, continue an answer, save a chat; and axe."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from support.browser import NODE_MODULES, Browser, ChatPage, until
from support.page_server import DONE, PageServer, event, texts
from support.page_texts import FORMULAS, MARKDOWN

from gigaclient.testing.fault_server import Pause

MODELS = {"models": ["GigaChat-2", "GigaChat-2-Pro", "GigaChat-2-Max"], "default": "GigaChat-2-Pro"}
CUT_BY_LIMIT = event({"finish_reason": "length", "model": "GigaChat-2", "usage": {"total_tokens": 12}}, "done")


def contents(server: PageServer) -> list[str]:
    """Return the texts of the last request."""
    return [message["content"] for message in server.asked[-1].json()["messages"]]


def ask(page: ChatPage, server: PageServer, question: str, answer: str) -> None:
    """Ask, and wait for the answer."""
    server.next(*texts(answer), DONE)
    page.ask(question)
    page.settled()


# --- change a question -----------------------------------------------------------------------------------------------


def edit(page: ChatPage, number: int, *keys: str) -> None:
    """Open the editor of a question and type into it."""
    page.browser.run("document.querySelectorAll('.message .edit')[arguments[0]].click()", 2 * number)
    page.one(".editor textarea").send_keys(*keys)


def test_a_changed_question_replaces_what_followed_it(page: ChatPage, server: PageServer, browser: Browser) -> None:
    ask(page, server, "Раз", "Первый")
    ask(page, server, "Два", "Второй")
    ask(page, server, "Три", "Третий")
    page.type("Ещё не отпра")
    edit(page, 1, "!")
    assert page.one(".editor .hint").text == "Сообщения ниже будут заменены."
    browser.picture("page-edit")
    server.next(*texts("Другой второй"), DONE)
    page.one(".editor textarea").send_keys(Keys.ENTER)
    until(lambda: len(server.asked) == 4 and page.state == "done", "the new answer")
    expected = [("user", "Раз"), ("assistant", "Первый"), ("user", "Два!"), ("assistant", "Другой второй")]
    assert page.messages == expected
    assert contents(server) == ["Раз", "Первый", "Два!"]
    assert page.one("#question").get_attribute("value") == "Ещё не отпра"
    assert page.reload().messages == expected


def test_escape_leaves_a_question_unchanged(page: ChatPage, server: PageServer, browser: Browser) -> None:
    ask(page, server, "Раз", "Первый")
    edit(page, 0, " и два", Keys.ESCAPE)
    assert page.all(".editor") == []
    assert page.messages == [("user", "Раз"), ("assistant", "Первый")]
    assert browser.run("return document.activeElement.className") == "edit tool"
    edit(page, 0, Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE, Keys.ENTER)
    assert len(server.asked) == 1, "an empty question is not sent"
    page.press(".editor .cancel")
    assert page.all(".editor") == []


def test_escape_in_the_editor_stops_no_answer(page: ChatPage, server: PageServer) -> None:
    ask(page, server, "Раз", "Первый")
    edit(page, 0)
    server.next(*texts("Второй"), Pause(None))
    page.ask("Два")
    until(lambda: page.text == "Второй", "the text")
    page.one(".editor textarea").send_keys(Keys.ESCAPE)
    assert page.all(".editor") == []
    assert page.state == "streaming"


def test_no_question_can_be_changed_while_an_answer_arrives(page: ChatPage, server: PageServer) -> None:
    ask(page, server, "Раз", "Первый")
    server.next(*texts("Второй"), Pause(None))
    page.ask("Два")
    until(lambda: page.text == "Второй", "the text")
    assert page.all(".edit:not([hidden])") == []
    page.press("#stop")
    page.settled("stopped")
    assert len(page.all(".edit:not([hidden])")) == 2


# --- continue an answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ((CUT_BY_LIMIT,), "done"),
        ((event({"status": 502, "type": "StreamInterruptedError"}, "error"),), "failed"),
        ((Pause(None),), "stopped"),
    ],
    ids=["limit", "error", "stop"],
)
def test_an_incomplete_answer_is_continued_and_keeps_its_text(
    page: ChatPage, server: PageServer, browser: Browser, end: tuple[bytes | Pause, ...], state: str
) -> None:
    server.next(*texts("Раз, два,"), *end)
    page.ask("Посчитай")
    until(lambda: page.text == "Раз, два,", "the text")
    if state == "stopped":
        page.press("#stop")
    page.settled(state)
    browser.picture(f"page-continue-{state}")
    server.next(*texts("три, четыре."), DONE)
    page.press(".message:last-child .continue")
    until(lambda: len(server.asked) == 2 and page.state == "done", "the rest")
    assert page.messages == [("user", "Посчитай"), ("assistant", "Раз, два, три, четыре.")]
    assert (page.note, page.failure) == ("", "")
    assert contents(server)[:2] == ["Посчитай", "Раз, два,"]
    assert contents(server)[2].startswith("Продолжи свой последний ответ")
    assert not page.one(".message:last-child .continue").is_displayed()


def test_a_continuation_that_fails_loses_no_text_and_can_be_tried_again(page: ChatPage, server: PageServer) -> None:
    server.next(*texts("пер"), CUT_BY_LIMIT)
    page.ask("Слово")
    page.settled()
    server.refuse(429, {"type": "RateLimitError"}, {"Retry-After": "30"})
    page.press(".message:last-child .continue")
    until(lambda: page.state == "failed", "the failure")
    assert page.text == "пер"
    assert not page.one(".message:last-child .continue").is_enabled(), "not before the service allows it"


# --- choose the model ------------------------------------------------------------------------------------------------


def test_the_chosen_model_is_sent_and_remembered(page: ChatPage, server: PageServer, browser: Browser) -> None:
    assert not page.one("#model-choice").is_displayed(), "this server offers no choice"
    server.models = MODELS
    page.reload()
    until(lambda: page.one("#model").is_displayed(), "the choice")
    assert [option.text for option in page.all("#model option")] == MODELS["models"]
    ask(page, server, "Раз", "Первый")
    assert "model" not in server.asked[-1].json(), "the server has the default itself"
    Select(page.one("#model")).select_by_visible_text("GigaChat-2-Max")
    ask(page, server, "Два", "Второй")
    assert server.asked[-1].json()["model"] == "GigaChat-2-Max"
    page.reload()
    until(lambda: page.one("#model").is_displayed(), "the choice")
    assert page.one("#model").get_attribute("value") == "GigaChat-2-Max"
    server.models = {"models": ["GigaChat-2", "GigaChat-3"], "default": "GigaChat-3"}
    page.reload()
    until(lambda: page.one("#model").is_displayed(), "the choice")
    assert page.one("#model").get_attribute("value") == "GigaChat-3", "the chosen one is not offered any more"


# --- save a chat -----------------------------------------------------------------------------------------------------


def test_a_chat_is_saved_as_markdown(page: ChatPage, server: PageServer, browser: Browser, tmp_path: Path) -> None:
    assert not page.one("#export").is_displayed(), "there is nothing to save"
    server.next(*texts(MARKDOWN), DONE)
    page.ask("Что такое поток: событий?")
    page.settled()
    server.next(*texts("Это уже"), Pause(None))
    page.ask("Ещё?")
    until(lambda: page.text == "Это уже", "the text")
    page.press("#stop")
    page.settled("stopped")
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.press("#export")
    saved = tmp_path / "Что такое поток событий.md"
    until(saved.is_file, f"the file; there is {list(tmp_path.iterdir())}")
    assert saved.read_text("utf-8") == (
        "# Что такое поток: событий?\n\n## Вы\n\nЧто такое поток: событий?\n\n"
        f"## Ответ · GigaChat-2:2.0.31.04\n\n{MARKDOWN.strip()}\n\n"
        "## Вы\n\nЕщё?\n\n## Ответ\n\nЭто уже\n\n*Остановлено*\n"
    )


# --- accessibility ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_axe_finds_no_violation(page: ChatPage, server: PageServer, browser: Browser, scheme: str, width: int) -> None:
    axe = (NODE_MODULES / "axe-core" / "axe.min.js").read_text("utf-8")

    def violations() -> list[object]:
        found = browser.run_async("return (await axe.run(document, {resultTypes: ['violations']})).violations")
        return [(one["id"], one["nodes"][0]["html"][:200]) for one in found]

    browser.colours(scheme)
    browser.resize(width, 740, scale=2, phone=width < 400)
    server.models = MODELS
    page.reload()
    until(lambda: page.one("#model").is_displayed(), "the choice")
    browser.run(axe)
    assert violations() == [], "an empty chat"
    ask(page, server, "Формулы", FORMULAS)
    ask(page, server, "Код", MARKDOWN)
    browser.run("document.querySelector('#log').scrollTop = 0")
    browser.picture(f"page-formulas-{width}-{scheme}")
    server.next(*texts("Раз, два,"), Pause(None))
    page.ask("Посчитай")
    until(lambda: page.text == "Раз, два,", "the text")
    assert violations() == [], "an answer arrives"
    page.press("#stop")
    page.settled("stopped")
    server.refuse(429, {"type": "RateLimitError", "message": "m"}, {"Retry-After": "30"})
    page.ask("Ещё?")
    page.settled("failed")
    browser.run("document.querySelector('.edit').click()")
    assert violations() == [], "a failure and an editor"
    browser.picture(f"page-editor-{width}-{scheme}")
