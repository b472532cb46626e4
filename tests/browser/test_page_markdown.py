"""The chat page in a real browser: Markdown, and attacks by markup."""

from __future__ import annotations

import re

import pytest
from support.browser import Browser, ChatPage, until
from support.page_server import DONE, PageServer, event, texts
from support.page_texts import FORMULAS, MARKDOWN

from gigaclient.testing.fault_server import Pause

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


def test_formulas_are_drawn_and_prices_stay_text(page: ChatPage, server: PageServer, browser: Browser) -> None:
    server.next(*texts(FORMULAS), DONE)
    page.ask("Формулы")
    page.settled()
    sources = [one.get_attribute("textContent") or "" for one in page.all(".body annotation")]
    assert [source.strip()[:12] for source in sources] == [
        "a^2 + b^2 = ", "E = mc^2", "\\alpha_i", "\\int_0^\\inft", "\\frac{1}{2}",
    ]  # fmt: skip
    assert len(page.all(".body .katex-display")) == 2
    assert "Билет стоит от $5 до $6." in page.text
    assert [code.text for code in page.all(".body code")] == ["\\unknown{x}", "$x$"]
    announced = "return document.querySelector('[role=status][aria-live=polite]').textContent"
    assert "Теорема Пифагора: a^2 + b^2 = c^2. Билет" in browser.run(announced), "a screen reader hears it once"


def test_no_formula_of_a_model_makes_links_loads_or_hangs(page: ChatPage, server: PageServer, browser: Browser) -> None:
    expected_paths = server.fetched | {"/chat"}
    attacks = [
        r"\href{javascript:window.hacked=1}{x}", r"\url{https://example.org}", r"\includegraphics{/stolen?tex}",
        r"\htmlStyle{position: fixed}{x}", r"\htmlId{messages}{x}", r"\htmlData{x=1}{x}",
        r"\def\a{\a\a}\a", r"\gdef\b#1{\b{#1#1}}\b{x}", r"\rule{9999em}{9999em}", "</span><img src=/stolen?span>",
    ]  # fmt: skip
    server.next(*texts("\n\n".join(f"${attack}$" for attack in attacks)), DONE)
    page.ask("Привет")
    page.settled()
    found = browser.run("""
        const inside = [...document.querySelectorAll("#messages .body *")];
        return {
            hacked: window.hacked ?? null,
            links: inside.filter((one) => one.matches("a, img, [id], [data-x], [style*=fixed]")).length,
            tallest: Math.max(...inside.map((one) => one.getBoundingClientRect().height)),
        };
    """)
    assert (found["hacked"], found["links"]) == (None, 0)
    assert found["tallest"] < 2000
    fonts = {path for path in server.fetched if path.startswith("/vendor/fonts/")}
    assert server.fetched - fonts == expected_paths


def test_code_is_coloured_by_its_language(page: ChatPage, server: PageServer, browser: Browser) -> None:
    code = "```python\ndef f():\n    return '<b>'  # да\n```\n\n```json\n{\"a\": 1}\n```\n\n```nonsense\ndef f()\n```\n"
    server.next(*texts(code), DONE)
    page.ask("Код")
    page.settled()
    parts = browser.run("""
        return [...document.querySelectorAll(".code code")].map(
            (code) => [...code.querySelectorAll("span")].map((one) => [one.className, one.textContent]));
    """)
    assert ["hljs-keyword", "def"] in parts[0] and ["hljs-string", "'<b>'"] in parts[0]
    assert ["hljs-comment", "# да"] in parts[0]
    assert ["hljs-attr", '"a"'] in parts[1] and ["hljs-number", "1"] in parts[1]
    assert parts[2] == []
    assert page.one(".code code").text == "def f():\n    return '<b>'  # да"


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
            new MarkdownView(place).draw(args[0]);
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
