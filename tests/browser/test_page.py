"""The chat page in a real browser: answers, errors, and stopping."""

from __future__ import annotations

import itertools
import re

import pytest
from selenium.webdriver.common.keys import Keys
from support.browser import Browser, ChatPage, until
from support.page_server import DONE, PageServer, event, texts

from gigaclient.testing.fault_server import Answer, Cut, Pause

# (status, type of the error) -> the sentence in Russian, and a part of the English one
SENTENCES = {
    (401, "AuthenticationError"): (
        "GigaChat сейчас не принимает запросы этого сайта. Сообщите об этом владельцу сайта.",
        "inform the owner of the site",
    ),
    (401, None): ("Сайт просит войти заново.", "This site asks you to sign in"),
    (402, "PaymentRequiredError"): (
        "У этого сайта закончились токены GigaChat для этой модели.", "This site has used up its GigaChat tokens",
    ),
    (403, None): ("Сайт отклонил запрос: обновите страницу и повторите.", "reload the page"),
    (403, "ForbiddenError"): ("GigaChat не разрешает этого сайту.", "GigaChat does not allow this to the site."),
    (413, "RequestEntityTooLargeError"): (
        "Чат длиннее, чем допускает GigaChat. Начните новый чат.", "longer than GigaChat's limit",
    ),
    (413, "Request Entity Too Large"): (
        "Чат длиннее, чем допускает этот сайт. Начните новый чат.", "longer than this site's limit",
    ),
    (429, "RateLimitError"): (
        "Этот сайт достиг ограничения GigaChat на число запросов.", "This site has reached GigaChat's limit",
    ),
    (429, "Too Many Requests"): (
        "Вы достигли ограничения этого сайта на число запросов.", "You have reached this site's limit",
    ),
    (500, "InternalError"): ("На сервере этого сайта произошла ошибка (статус 500).", "The server of this site"),
    (500, "ConfigError"): ("На сервере этого сайта произошла ошибка (статус 500).", "The server of this site"),
    (500, "ServerError"): ("GigaChat сообщил об ошибке (статус 500).", "GigaChat reported an error (status 500)."),
    (502, "APIConnectionError"): ("От GigaChat не пришёл полный ответ.", "No complete answer came from GigaChat."),
    (502, None): ("Сервер этого сайта сейчас недоступен.", "The server of this site is not available"),
    (504, "APITimeoutError"): ("GigaChat не ответил вовремя.", "GigaChat did not answer in time."),
    (418, None): ("На сервере этого сайта произошла ошибка (статус 418).", "reported an error (status 418)."),
}  # fmt: skip
ADVICE_FOR_DEVELOPERS = re.compile(r"GIGACHAT_|credentials|\bключ|\bkey\b|pip |gigaclient|=")


# --- an answer -------------------------------------------------------------------------------------------------------


def test_a_first_visit_greets_and_offers_questions(page: ChatPage, server: PageServer, browser: Browser) -> None:
    assert page.one("#welcome .greeting").text == "О чём поговорим?"
    assert not page.one("#send").is_enabled(), "there is nothing to send"
    browser.picture("page-welcome")
    server.next_text("Москва.")
    page.all("#welcome li button")[-1].click()
    page.settled()
    assert page.messages == [("user", "Сколько будет 12 × 12?"), ("assistant", "Москва.")]
    assert not page.one("#welcome").is_displayed()


def test_letters_that_are_cut_between_two_pieces_come_out_whole(page: ChatPage, server: PageServer) -> None:
    server.next(event({"text": "Ёжик 🦔 и 語"}), b": ping\n\n", event({"text": " — всё"}), DONE, write_size=1)
    page.ask("Привет")
    page.settled()
    assert page.text == "Ёжик 🦔 и 語 — всё"


def test_the_text_grows_as_it_comes(page: ChatPage, server: PageServer) -> None:
    page.watch()
    server.next_text("один два три четыре пять шесть семь восемь", pause_s=0.15)
    page.ask("Посчитай")
    page.settled()
    seen = page.seen
    assert len(seen) >= 5, seen
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen)), seen
    assert seen[-1] == "один два три четыре пять шесть семь восемь"


def test_what_the_server_said_at_the_end_stands_below(page: ChatPage, server: PageServer) -> None:
    server.next(*texts("Да."), DONE)
    page.ask("Да?")
    page.settled()
    assert re.fullmatch(r"GigaChat-2:2\.0\.31\.04 · Токенов: 1\s234", page.one(".message:last-child .meta").text)
    server.next(*texts("Много, но не"), event({"finish_reason": "length", "model": "GigaChat-2"}, "done"))
    page.ask("Много?")
    page.settled()
    assert page.note == "Ответ достиг предела длины, заданного для модели."
    server.next(*texts("Нет."), event({"blocked": True, "finish_reason": "blacklist", "model": "GigaChat-2"}, "done"))
    page.ask("Плохо?")
    page.settled()
    assert page.note == "Фильтр сервиса заблокировал этот ответ."


def test_the_conversation_so_far_goes_along_and_a_csrf_token_where_there_is_one(
    page: ChatPage, server: PageServer, browser: Browser
) -> None:
    server.next(*texts("Первый ответ"), DONE)
    page.ask("Первый вопрос")
    page.settled()
    assert "x-csrftoken" not in server.asked[0].headers
    browser.run("document.cookie = 'other=1'; document.cookie = 'csrftoken=t%3Doken'")
    server.next(*texts("Второй ответ"), DONE)
    page.ask("Второй вопрос\nв две строки")
    page.settled()
    assert server.asked[1].headers["x-csrftoken"] == "t=oken"
    assert server.asked[1].json() == {
        "messages": [
            {"role": "user", "content": "Первый вопрос"},
            {"role": "assistant", "content": "Первый ответ"},
            {"role": "user", "content": "Второй вопрос\nв две строки"},
        ]
    }


def test_answering_again_replaces_the_last_answer(page: ChatPage, server: PageServer) -> None:
    server.next(*texts("Один ответ"), DONE)
    page.ask("Вопрос")
    page.settled()
    server.next(*texts("Другой ответ"), DONE)
    page.press(".message:last-child .again")
    until(lambda: len(server.asked) == 2 and page.state == "done", "the second answer")
    assert page.messages == [("user", "Вопрос"), ("assistant", "Другой ответ")]
    assert server.asked[1].json() == server.asked[0].json()


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["ru-RU", "en-US"])
def test_each_error_is_a_sentence_for_visitors_that_says_whose_error_or_limit_it_is(
    browser: Browser, server: PageServer, language: str
) -> None:
    browser.speak(language)
    page = ChatPage(browser, server.url).open()
    assert browser.run("return document.documentElement.lang") == language[:2]
    for (status, type_), (russian, english) in SENTENCES.items():
        error = {"status": status, "type": type_, "message": "m"}
        server.refuse(status, {"error": error} if status % 2 else error)
        page.ask("Привет")
        page.settled("failed")
        assert (page.failure == russian) if language == "ru-RU" else (english in page.failure), (status, page.failure)
        assert not ADVICE_FOR_DEVELOPERS.search(page.failure)


def test_a_refusal_counts_down_and_can_then_be_tried_again(
    page: ChatPage, server: PageServer, browser: Browser
) -> None:
    server.refuse(
        429, {"status": 429, "type": "RateLimitError", "message": "m", "request_id": "r-9"}, {"Retry-After": "40"}
    )
    page.ask("Привет")
    page.settled("failed")
    retry = page.one(".message:last-child .retry")
    countdown = re.fullmatch(r"Повторить через (\d+) с", retry.text)
    assert countdown is not None and 10 <= int(countdown[1]) <= 40, retry.text
    assert not retry.is_enabled()
    until(lambda: retry.text not in ("", countdown[0]), "the count goes down")
    browser.picture("page-429")
    page.one(".message:last-child .failure summary").click()
    assert page.one(".message:last-child .failure details p").text == "RateLimitError · m · Запрос r-9"

    page.reload()
    assert not page.one(".message:last-child .retry").is_enabled(), "a reload does not shorten the wait"
    browser.run("const past = Date.now() - 1000; Date.now = () => past + 41000")  # advances the clock past the delay
    server.next(*texts("Теперь можно."), DONE)
    until(lambda: page.one(".message:last-child .retry").text == "Повторить", "the wait is over")
    page.press(".message:last-child .retry")
    until(lambda: page.state == "done", "the answer")
    assert page.messages == [("user", "Привет"), ("assistant", "Теперь можно.")]
    assert page.failure == ""


def test_an_error_in_the_middle_keeps_the_text_until_another_try_has_brought_some(
    page: ChatPage, server: PageServer, browser: Browser
) -> None:
    broken = {"status": 502, "type": "StreamInterruptedError", "message": "the stream broke", "retry_after": None}
    server.next(*texts("Первая половина"), event(broken, "error"))
    page.ask("Расскажи")
    page.settled("failed")
    assert (page.text, page.failure) == ("Первая половина", "От GigaChat не пришёл полный ответ.")
    browser.picture("page-error-in-the-middle")

    server.refuse(504, {"type": "APITimeoutError"})
    page.press(".message:last-child .retry")
    until(lambda: page.failure == "GigaChat не ответил вовремя.", "the second failure")
    assert page.text == "Первая половина"

    server.next(*texts("Весь ответ"), DONE)
    page.press(".message:last-child .retry")
    until(lambda: page.state == "done", "the answer")
    assert (page.text, page.failure) == ("Весь ответ", "")


@pytest.mark.parametrize(
    ("answer", "text", "sentence"),
    [
        (Answer(200, {"Content-Type": "text/event-stream"}, iter(texts("Половина"))), "Половина", "оборвалось"),
        (
            Answer(200, {"Content-Type": "text/event-stream"}, iter([*texts("Половина"), Pause(0.5), Cut()])),
            "Половина",
            "оборвалось",
        ),
        (Answer(200, {"Content-Type": "text/html"}, "<p>Hello"), "", "не является ответом"),
        (Answer(502, {"Content-Type": "text/html"}, "<h1>Bad gateway"), "", "Сервер этого сайта"),
        (Answer(200, {"Content-Type": "text/event-stream"}, iter([b"data: {{{\n\n"])), "", "не является ответом"),
        (Answer(200, {"Content-Type": "text/event-stream"}, iter([b"data: null\n\n"])), "", "не является ответом"),
    ],
    ids=["no-end", "cut", "a-page", "a-page-of-a-gateway", "no-json", "null"],
)
def test_whatever_comes_instead_of_an_answer_is_one_sentence(
    page: ChatPage, server: PageServer, answer: Answer, text: str, sentence: str
) -> None:
    server.next_raw(answer)
    page.ask("Привет")
    page.settled("failed")
    assert page.text == text
    assert sentence in page.failure
    assert page.one(".message:last-child .retry").is_enabled()


def test_a_server_that_is_gone_is_one_sentence_too(page: ChatPage, server: PageServer) -> None:
    server.close()
    page.ask("Привет")
    page.settled("failed")
    assert page.failure == "Нет соединения с сервером."


def test_a_connection_that_died_in_silence_is_given_up(page: ChatPage, server: PageServer, browser: Browser) -> None:
    server.next(*texts("Половина"), Pause(None))
    outcome = browser.run_async("""
        const { ask } = await import("/chat.js");
        const pieces = [];
        const question = [{role: "user", content: "?"}];
        const options = {signal: new AbortController().signal, onText: (text) => pieces.push(text), silenceMs: 400};
        const kind = await ask(question, options).then(() => "answered", (error) => error.kind);
        return [kind, ...pieces];
    """)
    assert outcome == ["cut", "Половина"]
    until(lambda: server.aborted == 1, "the server sees that nobody listens")


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", ["button", "Escape"])
def test_stopping_keeps_the_text_marks_it_and_ends_the_answer(
    page: ChatPage, server: PageServer, browser: Browser, control: str
) -> None:
    server.next(*texts("Это уже пришло"), Pause(None))
    page.ask("Расскажи")
    until(lambda: page.text == "Это уже пришло", "the text")
    assert not page.one("#send").is_displayed()
    if control == "button":
        page.press("#stop")
    else:
        page.one("#question").send_keys(Keys.ESCAPE)
    page.settled("stopped")
    assert (page.text, page.note, page.failure) == ("Это уже пришло", "Остановлено", "")
    until(lambda: server.aborted == 1, "the server sees that nobody listens")
    assert page.one("#send").is_displayed()
    browser.picture("page-stopped")

    server.next(*texts("Дальше"), DONE)
    page.ask("Дальше?")
    page.settled()
    assert server.asked[1].json()["messages"][1] == {"role": "assistant", "content": "Это уже пришло"}


def test_stopping_before_the_first_word_leaves_nothing_but_the_mark(page: ChatPage, server: PageServer) -> None:
    server.next_raw(Answer(200, before_s=None))
    page.ask("Расскажи")
    until(lambda: len(server.asked) == 1, "the question is there")
    page.press("#stop")
    page.settled("stopped")
    assert (page.text, page.note) == ("", "Остановлено")
    server.next(*texts("Да"), DONE)
    page.ask("Ну?")
    page.settled()
    assert [message["role"] for message in server.asked[1].json()["messages"]] == ["user", "user"]
