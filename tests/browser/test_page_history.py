"""The chat page in a real browser: stored conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from support.browser import Browser, ChatPage, until
from support.page_server import DONE, PageServer, texts

from gigaclient.testing.fault_server import Pause


def test_a_reload_brings_the_conversation_and_what_was_typed_back(page: ChatPage, server: PageServer) -> None:
    server.next(*texts("**Важный** ответ"), DONE)
    page.ask("Вопрос")
    page.settled()
    page.type("Ещё не отпра")
    before = page.messages
    page.reload()
    assert page.messages == before == [("user", "Вопрос"), ("assistant", "Важный ответ")]
    assert page.one(".message:last-child strong").text == "Важный"
    assert page.one("#question").get_attribute("value") == "Ещё не отпра"


def test_a_reload_in_the_middle_keeps_what_had_come(page: ChatPage, server: PageServer) -> None:
    server.next(*texts("Это уже пришло"), Pause(None))
    page.ask("Расскажи")
    until(lambda: page.text == "Это уже пришло", "the text")
    page.reload()
    assert (page.state, page.text, page.note) == ("stopped", "Это уже пришло", "Остановлено")


def test_an_answer_that_a_crash_has_ended_is_marked_as_stopped(
    page: ChatPage, server: PageServer, browser: Browser
) -> None:
    server.next(*texts("Это уже пришло"), DONE)
    page.ask("Расскажи")
    page.settled()
    # The stored state during an answer: a crashed browser writes no other.
    changed = browser.run("""
        const key = Object.keys(localStorage).find((one) => localStorage[one].includes("Это уже пришло"));
        localStorage[key] = localStorage[key].replace('"state":"done"', '"state":"streaming"');
        return localStorage[key].includes('"streaming"');
    """)
    assert changed
    page.reload()
    assert (page.state, page.text, page.note) == ("stopped", "Это уже пришло", "Остановлено")
    assert page.one("#send").is_displayed()


def test_chats_are_kept_side_by_side_and_can_be_deleted(page: ChatPage, server: PageServer, browser: Browser) -> None:
    server.next(*texts("О море"), DONE)
    page.ask("Море")
    page.settled()
    page.press("#new-chat")
    assert page.messages == []
    server.next(*texts("О горах"), Pause(None))
    page.ask("Горы")
    until(lambda: page.text == "О горах", "the text")
    assert page.chats == ["Горы", "Море"]

    page.all("#chat-list .open")[1].click()  # while the other chat receives its answer
    assert page.messages == [("user", "Море"), ("assistant", "О море")]
    until(lambda: server.aborted == 1, "the answer that nobody looks at is ended")
    assert page.one("#chat-list [aria-current]").text == "Море"
    server.next(*texts("Солёное"), DONE)
    page.ask("Какое оно?")
    page.settled()
    assert [message["content"] for message in server.asked[-1].json()["messages"]] == ["Море", "О море", "Какое оно?"]

    page.all("#chat-list .open")[1].click()
    assert (page.text, page.note) == ("О горах", "Остановлено")
    browser.run("window.confirm = () => true")
    ActionChains(browser.driver).move_to_element(page.all("#chat-list li")[1]).perform()
    page.all("#chat-list .delete")[1].click()
    assert page.chats == ["Море"]
    page.reload()
    assert page.chats == ["Море"]


def test_a_full_browser_forgets_the_oldest_chats_first(page: ChatPage, browser: Browser) -> None:
    kept = browser.run_async("""
        const history = await import("/history.js");
        const saved = [];
        let now = 0;
        Date.now = () => now += 1;
        for (let number = 0; number < 9; number += 1) {
            const chat = history.newChat();
            const [question] = history.addTurn(chat, "я".repeat(700000));
            saved.push([chat.id, history.save(chat.id, question)]);
        }
        const kept = new Set(history.allChats().map(({id}) => id));
        const [tooLong] = history.addTurn(history.newChat(), "я".repeat(6000000));
        const refused = history.save("another", tooLong);
        localStorage.clear();
        return {saved: saved.map(([id, done]) => [done, kept.has(id)]), refused};
    """)
    there = [stays for _, stays in kept["saved"]]
    assert all(done for done, _ in kept["saved"])
    assert there == sorted(there) and not there[0] and there[-1], there
    assert kept["refused"] is False


def test_another_tab_shows_what_this_one_has_changed(page: ChatPage, server: PageServer, browser: Browser) -> None:
    server.next(*texts("Первый"), DONE)
    page.ask("Раз")
    page.settled()
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    try:
        other = ChatPage(browser, server.url).open(fresh=False)
        assert other.messages == [("user", "Раз"), ("assistant", "Первый")]
        server.next(*texts("Второй"), DONE)
        other.ask("Два")
        other.settled()
    finally:
        browser.driver.close()
        browser.driver.switch_to.window(first)
    until(lambda: [text for _, text in page.messages] == ["Раз", "Первый", "Два", "Второй"], "the first tab shows it")


@pytest.fixture
def two_tabs(page: ChatPage, server: PageServer, browser: Browser) -> Iterator[Callable[[int], ChatPage]]:
    """Show one chat in two tabs, and yield a function that switches to one of them."""
    server.next(*texts("Первый"), DONE)
    page.ask("Раз")
    page.settled()
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    second = browser.driver.current_window_handle
    other = ChatPage(browser, server.url).open(fresh=False)

    def switch(number: int) -> ChatPage:
        browser.driver.switch_to.window((first, second)[number])
        return (page, other)[number]

    yield switch
    if second in browser.driver.window_handles:
        browser.driver.switch_to.window(second)
        browser.driver.close()
    browser.driver.switch_to.window(first)


def begin_an_answer(page: ChatPage, server: PageServer, *more: bytes) -> None:
    """Ask a question; its answer has a text and ``more``, and does not end."""
    server.next(*texts("Это уже пришло"), *more, Pause(None))
    page.ask("Ещё")
    until(lambda: page.text == "Это уже пришло", "the text")


def test_two_tabs_that_ask_in_one_chat_at_the_same_time_lose_nothing(
    two_tabs: Callable[[int], ChatPage], server: PageServer, browser: Browser
) -> None:
    server.next(*texts("Ответ для первой"), Pause(3.0), *texts(" вкладки"), DONE)
    page = two_tabs(0)
    page.ask("Из первой")
    until(lambda: page.text == "Ответ для первой", "the answer in the first tab begins")
    other = two_tabs(1)
    server.next(*texts("Ответ для второй"), Pause(3.0), *texts(" вкладки"), DONE)
    other.ask("Из второй")
    expected = [
        "Раз", "Первый", "Из первой", "Ответ для первой вкладки", "Из второй", "Ответ для второй вкладки",
    ]  # fmt: skip
    for number in (0, 1):
        tab = two_tabs(number)
        until(lambda tab=tab: [text for _, text in tab.messages] == expected, f"tab {number} shows all messages")
        until(lambda: browser.run("return document.querySelectorAll('[data-state=streaming]').length") == 0, "the end")
    assert [text for _, text in tab.reload().messages] == expected


def test_a_tab_shows_the_answer_that_another_one_receives(
    two_tabs: Callable[[int], ChatPage], server: PageServer
) -> None:
    begin_an_answer(two_tabs(1), server, b": ping\n\n")
    watching = two_tabs(0)
    until(lambda: watching.text == "Это уже пришло" and watching.state == "streaming", "the text in the other tab")
    assert not watching.one(".message:last-child .again").is_displayed()
    two_tabs(1).press("#stop")
    until(lambda: two_tabs(0).state == "stopped", "the end in the other tab")


def test_closing_a_tab_ends_its_answer_in_the_other_tab(
    two_tabs: Callable[[int], ChatPage], server: PageServer, browser: Browser
) -> None:
    begin_an_answer(two_tabs(1), server)
    browser.driver.close()
    watching = two_tabs(0)
    # Sooner than an answer whose tab crashed counts as dead.
    until(lambda: watching.state == "stopped" and watching.text == "Это уже пришло", "the end", seconds=10)


def test_deleting_a_chat_ends_its_answer_in_another_tab(
    two_tabs: Callable[[int], ChatPage], server: PageServer, browser: Browser
) -> None:
    page = two_tabs(0)
    begin_an_answer(page, server)
    two_tabs(1)
    browser.run("window.confirm = () => true; document.querySelector('#chat-list .delete').click()")
    until(lambda: server.aborted == 1, "the server sees that nobody listens")
    until(lambda: two_tabs(0).messages == [], "the chat is gone")
    assert page.one("#send").is_displayed()
    assert browser.run("return Object.keys(localStorage).filter((key) => key.startsWith('gigaclient-chat:'))") == []


def test_an_answer_whose_tab_is_gone_is_marked_as_stopped(
    two_tabs: Callable[[int], ChatPage], server: PageServer, browser: Browser
) -> None:
    two_tabs(1)
    changed = browser.run("""
        const key = Object.keys(localStorage).find((one) => localStorage[one].includes("Первый"));
        const message = JSON.parse(localStorage[key]);
        // The last save of a tab that has crashed since. It counts as dead after 15 seconds.
        localStorage[key] = JSON.stringify({...message, state: "streaming", tab: "gone", updated: Date.now() - 10000});
        return message.tab;
    """)
    assert changed
    until(lambda: two_tabs(0).state == "streaming", "the first tab believes it")
    until(lambda: two_tabs(0).state == "stopped", "the first tab marks it")
    assert two_tabs(1).reload().state == "stopped"
