"""Markdown and tables for notebooks."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gigaclient.types import ChatCompletion, Choice, FunctionCall, Message
from gigaclient.types.markdown import cut_point, for_notebook, with_note
from gigaclient.types.tables import moment, number, size, table

# -- Markdown ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (r"an area of \( \pi r^2 \), see", r"an area of $\pi r^2$, see"),
        ("\\[\nE = mc^2\n\\]", "$$\nE = mc^2\n$$"),
        ("\\[\na\n\nb \\\\[2pt] c\n\\]", "$$\na\nb \\\\[2pt] c\n$$"),
        (r"\(a<b\) and $a<b$", "$a< b$ and $a< b$"),
        (r"\(a = \text{of $x$}\)", r"\\(a = \text{of $x$}\\)"),
        (r"\(\text{for } \$5\)", r"$\text{for } \$5$"),
        ("from $5 to $10, and $x$", r"from <span>\$</span>5 to <span>\$</span>10, and $x$"),
        ("<span>$</span>", r"&lt;span><span>\$</span>&lt;/span>"),
        (r"from \$5, `$5`", r"from <span>\$</span>5, `$5`"),
        ("[a](https://a.example/?$b=1) for $5", r"[a](https://a.example/?%24b=1) for <span>\$</span>5"),
        (r"not closed \( x", r"not closed \( x"),
        (r"`\(x\)`, ``a`\(y\)``, \(z\)", r"`\(x\)`, ``a`\(y\)``, $z$"),
        ("```\n\\(x\\) $5 <b>\n```\n\\(y\\)", "```\n\\(x\\) $5 <b>\n```\n$y$"),
        ("~~~~\n~~~\n\\(x\\)\n~~~~", "~~~~\n~~~\n\\(x\\)\n~~~~"),
        ("```py\n\\(x\\)", "```py\n\\(x\\)"),
        ("1. so:\n   ```\n   \\(x\\) vector<int>\n   ```", "1. so:\n   ```\n   \\(x\\) vector<int>\n   ```"),
        ("just *text*, 1 < 2 & 3", "just *text*, 1 < 2 & 3"),
        ("see <https://example.org/a?b=c>", "see <https://example.org/a?b=c>"),
        ("one<br>two | H<sub>2</sub>O", "one<br>two | H<sub>2</sub>O"),
        (
            '<img src="0-1" fuse="true"/> there',
            "*(a picture that the model made: `giga.get_images(answer)` fetches it)* there",
        ),
    ],
)
def test_a_notebook_shows_what_the_model_meant(written: str, shown: str) -> None:
    assert for_notebook(written) == shown


@pytest.mark.parametrize(
    "written",
    [
        "<script>alert(1)</script>",
        "text <img src=x onerror=alert(1)>",
        "](<img src=x onerror=alert(1)>)",
        "`a\n\n<img src=x onerror=alert(1)>`",
        "| a ` b | <img src=x onerror=alert(1)> ` |",
        "$ {<img src=x onerror=alert(1)>$",
        "\\(<img src=x onerror=alert(1)>\\)",
        "<br>\n<img src=x onerror=alert(1)>",
        "   ```\ntext\n```\n<img src=x onerror=alert(1)>\n```",
        "- a\n  ```\n<img src=x onerror=alert(1)>",
        "    ```\n```\n```\n<img src=x onerror=alert(1)>\n```\n",
        "<!-- --><svg/onload=alert(1)>",
        "\\`<img src=x onerror=alert(1)>\\`",
        "[x]<br>\n```| <script>",
        "~~~\n    ~~~\n<b>\n~~~\n<script>1</script>",
        "x `` y\nz``<img src=x onerror=alert(1)>``",
        "***| ``<img src=x onerror=alert(1)>***``1. _",
        "[a](<b`)x <img src=x onerror=alert(1)>` y",
        "\u2028~~~\n<script>",
        "- a\n  ```\n  b\n<img src=x onerror=alert(1)>\n  ```",
        "> ```\n<img src=x onerror=alert(1)>",
    ],
)
def test_no_html_of_a_model_is_alive(written: str) -> None:
    assert re.search(r"<(?:script|img|svg|!)", for_notebook(written), re.IGNORECASE) is None


@pytest.mark.parametrize(
    "written",
    [
        "[x](javascript:alert(1))",
        "[x]( java&#115;cript:alert(1))",
        "[x](<java\\script:alert(1)>)",
        "[x](" + " " * 60 + "javascript:alert(1))",
        "[x](" + "&#9;" * 200 + "javascript:alert(1))",
        "[x](data:text/html,1)",
        "[x]: javascript:alert(1)",
        "![x](https://example.org/picture?text=secret)",
        "\\[[x](javascript:alert(1)\\]",
        "$![x](https://example.org/)$",
    ],
)
def test_no_link_of_a_model_does_something_and_no_picture_is_fetched(written: str) -> None:
    shown = for_notebook(written)
    assert "[x](" not in shown.replace("\\![x](https:", "") and "[x]:" not in shown
    assert "![" not in shown.replace("\\![", "")


@pytest.mark.parametrize(
    "written", ["[x](https://example.org/a_(b))", "[x](/page)", "[x]: http://example.org", "[1]: x"]
)
def test_other_links_stay(written: str) -> None:
    assert for_notebook(written) == written


PICTURE = "![p](https://picture.example/?q=secret)"


@pytest.mark.parametrize(
    "written",
    [
        f"- a\n  ```\n  code\n{PICTURE}",
        f"- ```\n{PICTURE}\n```",
        f"1. a\n\n   ```py\n   b\n\n{PICTURE}\n\n   ```\n",
        f"> ```\n{PICTURE}\n```\n",
        f"   ```\ncode\n```\n{PICTURE}\n```",
        f"a\n    {PICTURE}",
        f"    ```\n{PICTURE}\n```",
        "![p][1]\n\n[1]: https://picture.example/",
        "![p]\n\n[p]: https://picture.example/",
        "- ![p][]\n\n  [p]: <https://picture.example/>",
        f"`a\n\n{PICTURE}`",
        f"\\`{PICTURE}\\`",
        f"[a](javascript:`x) `{PICTURE} y`",
        f"| `a \\| b | {PICTURE} ` |\n|---|---|\n| `a` \\| ` | {PICTURE}` |",
        f"<div>\n```\n{PICTURE}\n```\n",
        f"<!--\n```\n-->\n{PICTURE}\n```\n",
        '<a title="`">' + PICTURE + "`",
        f"~~~\n```\n~~~\n{PICTURE}\n```",
        '<img src="https://picture.example/">',
        "- <img\n  src=https://picture.example/>",
        "[![p](https://picture.example/)](https://page.example/)",
        "!\\[p](https://picture.example/) !" + PICTURE,
        "`` a\n<div> ``\n`<img src=https://picture.example/>`",
        f"`a\n<div>`\n`{PICTURE}`",
        f"[a](foo:`x) `{PICTURE} y`",
    ],
)
def test_a_remote_picture_stays_an_address(written: str) -> None:
    assert alive_in(for_notebook(written)) == []


# Pieces of Markdown that open and close each other.
FRAGMENTS = [
    PICTURE, "![p][r]", "[r]: https://picture.example/\n", "<img src=x>", "<div>", "<!--", "-->", "<script>", "<br>",
    "\n<div>", "](foo:", "<a b='", "`", "``", "```", "~~~", "```py\n", "\n", "\n\n", "\n    ", "\t", "   ", "- ",
    "1. ", "> ", "# ", "| ",
    "|---|---|\n", "[", "](", ")", "](javascript:", "](https://page.example/)", "\\", "\\(", "\\)", "\\[", "\\]", "$",
    "$$", "*", "a", "\r\n", "\\|", "https://a.example/", "<https://a.example/>", "&lt;", "\x00",
]  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=24).map("".join), st.booleans())
def test_nothing_is_alive_however_the_text_is_dressed(written: str, unfinished: bool) -> None:
    assert alive_in(for_notebook(written, unfinished=unfinished)) == []


def alive_in(shown: str) -> list[str]:
    """Return the pictures and active tags that a CommonMark reader finds in ``shown``."""
    found = []
    for block in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(shown):
        for token in [block, *(block.children or [])]:
            if token.type in ("image", "html_block", "html_inline") and not HARMLESS.fullmatch(token.content):
                found.append(f"{token.type}: {token.content}")
    return found


HARMLESS = re.compile(r"</?(?:br|sub|sup)\s*/?>|</?span>", re.IGNORECASE)
DOLLAR = r"<span>\$</span>"  # in an element, because JupyterLab finds formulas in the text between elements


@pytest.mark.parametrize("dress", ["```\n{}\n```", "- a\n\n  ```\n  {}\n  ```", "> ~~~\n> {}", "a\n\n    {}", "> `{}`"])
def test_code_stays_as_it_is_wherever_a_commonmark_reader_sees_it(dress: str) -> None:
    written = dress.replace("{}", "a[0] = $x; b <= \\(c\\); vector<int>")
    assert for_notebook(written) == written


@pytest.mark.parametrize(
    "written", ["<div>\n```\na<b $x\n```", "![`b $x`](u) and `c $y`", "<!-- `a $x` -->", "a `b $x`\n`c $y` d"]
)
def test_tags_and_pictures_do_not_decide_what_is_code(written: str) -> None:
    assert "\\$" not in for_notebook(written)


@pytest.mark.parametrize(
    "dress", ["- a\n  ```\n  {}\n  ```", "> ```\n> {}\n", "   ```\n{}\n   ```", "- ```\n  x\n\n~~~\n{}\n~~~"]
)
def test_in_code_that_some_readers_take_for_text_nothing_is_alive(dress: str) -> None:
    assert "<script" not in for_notebook(dress.replace("{}", "<script>1</script>"))
    assert PICTURE not in for_notebook(dress.replace("{}", PICTURE)).replace("\\!", "")


def test_without_the_parser_the_text_is_shown_as_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gigaclient.types.markdown_code", None)
    shown = for_notebook(f"``` {PICTURE}")
    assert shown == f"````\n``` {PICTURE}\n````"
    assert for_notebook(" ") == ""


@given(st.text(alphabet="ai \n$\\()[]<>!:|{}_-#1&;/=", max_size=200))
def test_no_text_without_code_has_a_tag_in_the_end(text: str) -> None:
    assert re.search(r"<[A-Za-z/!?]", for_notebook(text).replace(DOLLAR, "")) is None


@given(st.text(alphabet="a \n`~$\\()[]<>", max_size=200))
def test_code_or_not_nothing_that_begins_by_itself_is_alive(text: str) -> None:
    # Code may contain tags. Outside code they are escaped, for every possible split of the text into code and text.
    shown = for_notebook(text.replace("<", "<script>"), unfinished=True)
    if "`" not in text and "~" not in text:
        assert "<script" not in shown
    assert shown.count("script>") == text.count("<")


@pytest.mark.parametrize(
    "written",
    [
        "\\[ $x <img ", "](<", "[a](", "`", "` `` ``` ", "\\( \\(", "$x", "<img ", "```\n~~~\n", "<!", "\n", "[",
        "![", "*a", "_", "> ", "- ", "a\n\n", "<br>", "<a b=", "$$", "\\[", "`<!", "`\n\n",
        "    a\n\n", "|`|\n", "\\`", "[`](",
        "&#96;", " ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("ends", ["", "$$", "`"])
def test_odd_texts_take_no_longer_than_others(written: str, ends: str) -> None:
    text = written * (100_000 // len(written)) + ends
    for convert in (for_notebook, lambda text: cut_point(text, 0, 1), lambda text: with_note(text, "x")):
        began = time.process_time()
        convert(text)
        assert time.process_time() - began < 2.0


def test_800_kilobytes_of_half_a_comment_take_less_than_half_a_second() -> None:
    began = time.process_time()
    for_notebook("<!" * 400_000)
    assert time.process_time() - began < 2.0  # 0.3 s on an idle machine


def test_one_open_formula_in_200_kilobytes_takes_less_than_half_a_second() -> None:
    text = "$$ x\n\n" + "word word word\n\n" * 12_500
    began = time.process_time()
    for_notebook(text)
    assert cut_point(text, 0, 1) == 0
    assert time.process_time() - began < 2.0  # 0.1 s on an idle machine


def test_a_note_stands_outside_the_code_that_was_broken_off() -> None:
    assert with_note("text", "*(x)*") == "text\n\n*(x)*"
    assert with_note("- a\n  ~~~~py\n  code", "*(x)*") == "- a\n  ~~~~py\n  code\n  ~~~~\n\n*(x)*"
    assert with_note("```\na\n```", "*(x)*") == "```\na\n```\n\n*(x)*"
    assert with_note("", "*(x)*") == "*(x)*"


def test_an_answer_without_text_shows_the_function_it_wants() -> None:
    call = FunctionCall(name="tide", arguments={"port": "```"})
    shown = ChatCompletion(choices=[Choice(message=Message(role="assistant", function_call=call))])._repr_markdown_()
    assert shown.endswith('````\ntide {\n  "port": "```"\n}\n````')
    assert ChatCompletion(choices=[])._repr_markdown_() == ""


# -- tables ------------------------------------------------------------------------------------------------------------


def test_tables_escape_whatever_is_in_them() -> None:
    made = table(("<a>", "b"), [("<script>", 1234567.5), (None, None)], "<i>")
    assert "<script>" not in made and "&lt;script&gt;" in made and "<i>" not in made and "<a>" not in made
    assert "1\u202f234\u202f567.5" in made


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: number(1000), "1\u202f000"),
        (lambda: number(0.25), "0.25"),
        (lambda: number(float("inf")), "inf"),
        (lambda: size(999), "999 B"),
        (lambda: size(1500), "1.5 KB"),
        (lambda: size(250_000_000), "250 MB"),
        (lambda: moment(0), "1970-01-01 00:00 UTC"),
        (lambda: moment(1e30), ""),
        (lambda: number(None) + size(None) + moment(None), ""),
    ],
)
def test_numbers_are_written_for_people(call: Callable[[], str], expected: str) -> None:
    assert call() == expected
