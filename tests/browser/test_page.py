"""The chat page in a real browser, against a server with scripted answers."""

from __future__ import annotations

import hashlib
import itertools
import json
import re

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from support.browser import DONE, PAGE, Browser, ChatPage, PageServer, event, texts, until

from gigaclient.testing.fault_server import Answer, Cut, Pause

SENTENCES = {
    401: ("GigaChat не принял ключ сервера: проверьте GIGACHAT_CREDENTIALS.", "did not accept the server's key"),
    402: ("На счёте не осталось токенов для этой модели.", "no tokens left"),
    403: ("В запросе отказано: обновите страницу и повторите.", "reload the page"),
    413: ("Разговор стал слишком длинным для модели: начните новый чат.", "begin a new chat"),
    429: ("Сейчас слишком много запросов.", "Too many requests"),
    502: ("От GigaChat не пришёл целый ответ.", "No whole answer came"),
    504: ("GigaChat не ответил вовремя.", "did not answer in time"),
    418: ("Ответ не удался (статус 418).", "The answer failed (status 418)."),
}
LONG = " ".join(f"слово{number}" for number in range(900))
MARKDOWN = """Поток событий — это **обычный** ответ HTTP, который *не спешит* заканчиваться: [описание](https://example.org/sse).

### Что в нём есть

3. Заголовок `text/event-stream`.
4. События: строки `data:` и пустая строка.
   - одно событие — один кусок текста;
   - последнее называется `done`.

```python
from gigaclient import GigaChat

with GigaChat() as giga:
    for text in giga.generate("Привет!"):
        print(text, end="", flush=True)
```

| Событие | Что оно значит |
| --- | ---: |
| `done` | ответ пришёл целиком |
| `error` | ответ оборвался |

> Текст модели никогда не становится разметкой страницы.
"""


ENGLISH = """Ask for a stream and print each piece **as it comes**:

```python
from gigaclient import GigaChat

with GigaChat() as giga, giga.stream("Tell me about Baikal") as stream:
    for chunk in stream:
        print(chunk.text, end="", flush=True)
```

| What you want | Where it is |
| --- | --- |
| the text so far | `stream.text` |
| the whole answer | `stream.result()` |
| an early end | `stream.close()`, from any thread |

Nothing is retried once text has come, so no piece is ever seen twice. While they are read"""


# --- an answer -------------------------------------------------------------------------------------------------------


def test_a_first_visit_greets_and_offers_questions(page: ChatPage, server: PageServer, browser: Browser) -> None:
    assert page.one("#welcome .greeting").text == "О чём поговорим?"
    assert not page.one("#send").is_enabled(), "there is nothing to send"
    browser.picture("page-welcome")
    server.next_text("Москва.")
    page.all("#welcome li button")[-1].click()
    page.settled()
    assert page.messages == [("user", "Какая столица у России?"), ("assistant", "Москва.")]
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
def test_each_status_has_its_sentence(browser: Browser, server: PageServer, language: str) -> None:
    browser.speak(language)
    page = ChatPage(browser, server.url).open()
    assert browser.run("return document.documentElement.lang") == language[:2]
    for status, (russian, english) in SENTENCES.items():
        server.refuse(status, {"error": {"status": status, "type": "T", "message": "m"}} if status % 2 else {})
        page.ask("Привет")
        page.settled("failed")
        assert (page.failure == russian) if language == "ru-RU" else (english in page.failure), (status, page.failure)


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
    assert (page.text, page.failure) == ("Первая половина", "От GigaChat не пришёл целый ответ.")
    browser.picture("page-error-in-the-middle")

    server.refuse(504)
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
        (Answer(502, {"Content-Type": "text/html"}, "<h1>Bad gateway"), "", "не пришёл целый ответ"),
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


# --- history ---------------------------------------------------------------------------------------------------------


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
        for (let number = 0; number < 9; number += 1) {
            const messages = [{role: "user", content: "я".repeat(700000)}];
            const chat = {...history.newChat(), updated: number, messages};
            saved.push([chat.id, history.save(chat)]);
        }
        const kept = new Set(history.allChats().map(({id}) => id));
        const tooLong = {...history.newChat(), messages: [{role: "user", content: "я".repeat(6000000)}]};
        const refused = history.save(tooLong);
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


# --- Markdown, and nothing but Markdown ------------------------------------------------------------------------------


def test_markdown_is_drawn(page: ChatPage, server: PageServer, browser: Browser) -> None:
    server.next(*texts(MARKDOWN), DONE)
    page.ask("Что такое поток событий?")
    page.settled()
    answer = page.one(".message:last-child .body")
    shown = {
        tag: len(answer.find_elements("css selector", tag)) for tag in ("strong", "em", "h3", "ol > li", "ul > li")
    }
    assert shown == {"strong": 1, "em": 1, "h3": 1, "ol > li": 2, "ul > li": 2}
    assert len(answer.find_elements("css selector", "table td")) == 4
    aligned = [cell.get_attribute("align") for cell in answer.find_elements("css selector", "tr:first-child > *")]
    assert aligned == ["", "right"] * 2
    assert answer.find_element("css selector", "ol").get_attribute("start") == "3"
    link = page.one(".body a")
    assert link.get_attribute("href") == "https://example.org/sse"
    assert link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert link.get_attribute("target") == "_blank"
    browser.picture("page-markdown")
    browser.colours("dark")
    browser.picture("page-markdown-dark")


def test_the_page_speaks_the_language_of_the_browser(browser: Browser, server: PageServer) -> None:
    browser.speak("de-DE,en-GB,ru-RU")
    browser.resize(1080, 700)
    page = ChatPage(browser, server.url).open()
    assert page.one("#question").get_attribute("placeholder") == "Ask anything"
    for question in ("A poem about the sea, please", "What is the capital of Russia?"):
        server.next(*texts("Moscow."), DONE)
        page.ask(question)
        page.settled()
        page.press("#new-chat")
    server.next(*texts(ENGLISH), Pause(None))
    page.ask("How do I stream an answer?")
    until(lambda: page.text.endswith("are read"), "the text")
    browser.picture("page-english")
    page.press("#stop")
    page.settled("stopped")
    assert page.note == "Stopped"


def test_code_and_answers_can_be_copied(page: ChatPage, server: PageServer, browser: Browser) -> None:
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    server.next(*texts("Вот:\n\n```python\nprint('<да>')\n```\n"), DONE)
    page.ask("Код")
    page.settled()
    assert page.one(".code .language").text == "python"
    page.press(".code .tool")
    until(lambda: page.one(".code .tool").get_attribute("title") == "Скопировано", "it says so")
    assert browser.run_async("return await navigator.clipboard.readText()") == "print('<да>')\n"
    page.press(".message:last-child .copy")
    until(lambda: page.one(".message:last-child .copy").get_attribute("title") == "Скопировано", "it says so")
    assert browser.run_async("return await navigator.clipboard.readText()") == "Вот:\n\n```python\nprint('<да>')\n```\n"


ATTACKS = [
    "<script>window.hacked = 1</script>",
    '<img src="/stolen?history" onerror="window.hacked = 2">',
    "![picture](/stolen?picture)",
    "![picture](https://127.0.0.1:1/stolen)",
    "[a link](javascript:window.hacked=3)",
    "<javascript:window.hacked=4>",
    "[a link](data:text/html,<script>window.hacked=5</script>)",
    "[a link](vbscript:x)",
    '[a link](https://example.org "title\\" onclick=\\"window.hacked=6")',
    '```html" onmouseover="window.hacked=7\n</code></pre><script>window.hacked=8</script>\n```',
    "<iframe src=/stolen?frame></iframe>",
    "<svg><style><img src=/stolen?svg onerror=window.hacked=9></style></svg>",
    "<form action=/stolen><button>Press</button></form>",
    "| a | b |\n| --- | --- |\n| <b onmouseover=window.hacked=10>c</b> | d |",
    '<a id="messages" href="/stolen">x</a><style>body { display: none }</style>',
]


DANGEROUS = {"script", "img", "iframe", "style", "form", "object", "embed", "input"}


def test_nothing_that_a_model_writes_runs_or_loads(page: ChatPage, server: PageServer, browser: Browser) -> None:
    expected_paths = server.fetched | {"/chat"}
    for attack in ["\n\n".join(ATTACKS), *ATTACKS]:
        # In pieces of one letter, so that each intermediate state is drawn as well.
        server.next(*(event({"text": letter}) for letter in attack), DONE)
        page.ask("Привет")
        page.settled()
    found = browser.run("""
        const inside = [...document.querySelectorAll("#messages .body *")];
        const odd = (element) => [...element.attributes].filter(({name}) => name.startsWith("on") || name === "style");
        return {
            hacked: window.hacked ?? null,
            tags: [...new Set(inside.map(({localName}) => localName))],
            odd: inside.flatMap(odd).map(({name}) => name),
            ids: inside.filter(({id}) => id !== "").length,
            addresses: inside.filter((one) => one.matches("[href]:not(use)")).map((one) => one.getAttribute("href")),
        };
    """)
    assert found["hacked"] is None
    assert not DANGEROUS & set(found["tags"]), found
    assert (found["odd"], found["ids"]) == ([], 0)
    allowed = re.compile(r"https?://|mailto:")
    assert found["addresses"] and all(allowed.match(address) for address in found["addresses"]), found["addresses"]
    assert server.fetched == expected_paths, "nothing was loaded that a model had named"
    assert "<script>window.hacked = 1</script>" in page.messages[1][1], "tags are shown as the text they are"


def test_the_sanitizer_does_not_rely_on_the_parser(page: ChatPage, browser: Browser) -> None:
    # The parser is patched to let everything through.
    made = browser.run_async(
        """
            const { MarkdownView } = await import("/markdown.js");
            const kind = Object.getPrototypeOf(markdownit());
            const original = kind.parse;
            kind.parse = function (text, environment) {
                this.options.html = true;
                this.validateLink = () => true;
                return original.call(this, text, environment);
            };
            const place = document.createElement("div");
            new MarkdownView(place).draw(given[0]);
            const inside = [...place.querySelectorAll("*")];
            return {
                tags: inside.map(({localName}) => localName),
                attributes: inside.flatMap((element) => [...element.attributes].map(({name, value}) => [name, value])),
                text: place.textContent,
            };
        """,
        "\n\n".join(ATTACKS),
    )
    assert "window.hacked = 1" not in made["text"], "the tag has got through the parser"
    assert not DANGEROUS & set(made["tags"]), made["tags"]
    assert not [name for name, _ in made["attributes"] if name.startswith("on") or name in ("id", "style", "src")]
    addresses = [value for name, value in made["attributes"] if name == "href"]
    assert addresses and all(address.startswith("https://") for address in addresses), addresses
    browser.complaints()  # discards the reports of the security policy, which blocks them as well


def test_the_security_policy_is_in_force(page: ChatPage, browser: Browser) -> None:
    outcome = browser.run("""
        const script = document.createElement("script");
        try { script.text = "window.hacked = 1"; } catch (error) { return error.name; }
        document.body.append(script);
        return window.hacked ?? "refused";
    """)
    assert outcome in ("TypeError", "refused")
    assert any("Trusted" in text or "Content Security Policy" in text for text in browser.complaints())
    with pytest.raises(Exception, match=r"Trusted|TypeError"):
        browser.run("document.body.innerHTML = '<b>x</b>'")
    browser.complaints()


# --- typing, reading, looking ----------------------------------------------------------------------------------------


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
        (hashlib.sha256(path.read_bytes()).hexdigest(), f"vendor/{path.name}") for path in PAGE.glob("vendor/*.js")
    ]
    assert sorted(listed) == sorted(found)
    assert len(found) == 2


def test_the_page_needs_nothing_but_its_own_server(page: ChatPage, browser: Browser, server: PageServer) -> None:
    loaded = browser.run("return performance.getEntriesByType('resource').map(({name}) => name)")
    assert loaded and all(address.startswith(server.url) for address in loaded), loaded
    assert json.dumps(sorted(server.fetched)).count("vendor/") == 2
