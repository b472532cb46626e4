"""Markdown and tables for notebooks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient.types import ChatCompletion, Choice, FunctionCall, Message
from gigaclient.types.markdown import for_notebook, with_note
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
        ("from $5 to $10, and $x$", r"from \$5 to \$10, and $x$"),
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


@given(st.text(alphabet="ai \n$\\()[]<>!:|{}_-#1&;/=", max_size=200))
def test_no_text_without_code_has_a_tag_in_the_end(text: str) -> None:
    assert re.search(r"<[A-Za-z/!?]", for_notebook(text)) is None


@given(st.text(alphabet="a \n`~$\\()[]<>", max_size=200))
def test_code_or_not_nothing_that_begins_by_itself_is_alive(text: str) -> None:
    # Code may contain tags. Outside code they are escaped, for every possible split of the text into code and text.
    shown = for_notebook(text.replace("<", "<script>"), unfinished=True)
    if "`" not in text and "~" not in text:
        assert "<script" not in shown
    assert shown.count("script>") == text.count("<")


@pytest.mark.parametrize(
    "written", ["\\[ $x <img ", "](<", "[a](", "`", "` `` ``` ", "\\( \\(", "$x", "<img ", "```\n~~~\n"]
)
def test_odd_texts_take_no_longer_than_others(written: str) -> None:
    began = time.process_time()
    for_notebook(written * 20_000 + " " * 20_000)
    assert time.process_time() - began < 5


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
