"""Streamed Markdown: for any chunks, the final screen is the same as for the whole text."""

from __future__ import annotations

import io
import re
import threading

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reliability_tools import wait_until

from gigaclient.cli.live_markdown import LiveMarkdown
from gigaclient.cli.markdown import Renderer, rows_of

COLUMNS, LINES = 40, 8

BLOCKS = (
    "# A heading",
    "A paragraph with **bold** words and `code`, long enough for three lines of the screen at least, I think.",
    "Стихи стоят\nпо строкам,\nи так же показаны.",
    "1. one\n2. two\n3. three",
    "- a\n- b\n  - c\n\n- d",
    "1. first\n\n2. second\n\n3. third",
    "```python\n" + "\n".join(f"print({number})  # a line" for number in range(12)) + "\n```",
    "    indented = 1\n    code = 2",
    "| a | b |\n|---|--:|\n| 1 | 2 |\n| 33333 | 4 |",
    "```\n" + "a line of code that the terminal itself has to wrap, twice in fact: " * 2 + "\n```",
    "- a list\n  ```\n  " + "one long line of code in it " * 12 + "\n  short\n  ```\n- ends",
    "| name | meaning |\n|---|---|\n| a word | a cell that is wrapped, because it is long |",
    "| first | second |\n|---|---|\n| a-word-of-twenty-letters | another-of-twenty-letters |",
    "> a quotation\n> of two lines",
    "---",
    "Setext\n======",
    "<b>HTML</b> is shown as it is",
    "A formula: \\(a_1 * b_2 * c\\) and $$\\{x\\}_1$$",
    "\n".join(f"{number}. item number {number}" for number in range(1, 15)),
    "1) unfinished",
    "```\nnever closed",
)


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7])[;m]")


class Display(io.StringIO):
    """A terminal of 40 by 8 characters with its scrollback."""

    def __init__(self) -> None:
        super().__init__()
        self._screen = pyte.HistoryScreen(COLUMNS, LINES, history=10_000, ratio=0.5)
        self._screen.set_mode(pyte.modes.LNM)  # like a terminal, which returns the carriage at a line feed
        self._stream = pyte.Stream(self._screen)
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        self._stream.feed(text)
        return len(text)

    @property
    def text(self) -> str:
        above = ["".join(row[column].data for column in range(COLUMNS)) for row in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display]).rstrip()

    @property
    def cursor(self) -> int:
        return int(self._screen.cursor.x)


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.fixture(autouse=True)
def _size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("LINES", str(LINES))


def rendered_at_once(source: str) -> str:
    renderer = Renderer(colour=True)
    blocks = renderer.split(source)
    lines = renderer.lines([*blocks.finished, *blocks.growing], COLUMNS - 1)
    rows = [row for line in lines for row in as_rows(without_escapes(line))]
    return "\n".join(row.rstrip() for row in rows).rstrip()


def as_rows(line: str) -> list[str]:
    """Wrap a line as a terminal does."""
    return [line[start : start + COLUMNS] for start in range(0, len(line), COLUMNS)] or [""]


def draw(chunks: list[str]) -> Display:
    """Draw each chunk separately, independent of the clock."""
    display = Display()
    live = LiveMarkdown(display, colour=True)
    for chunk in chunks:
        live._update(chunk)
    live.close()
    return display


@settings(max_examples=50)
@given(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5), st.lists(st.integers(1, 25), max_size=60))
def test_the_final_screen_is_the_same_as_for_the_whole_text(blocks: list[str], cuts: list[int]) -> None:
    source = "\n\n".join(blocks)
    chunks, index = [], 0
    for cut in cuts:
        chunks.append(source[index : index + cut])
        index += cut
    display = draw([*chunks, source[index:]])
    assert display.text == rendered_at_once(source)
    assert display.cursor == 0


def test_code_that_is_taller_than_the_screen_scrolls_away_while_it_streams() -> None:
    display = Display()
    live = LiveMarkdown(display, colour=False)
    live._update("```\n")
    for number in range(30):
        live._update(f"line {number}\n")
        assert f"line {number}" in display.text
    assert [f"line {number}" in display.text for number in range(30)] == [True] * 30
    assert sum("line 0\n" in without_escapes(write) for write in display.writes) <= 2
    live.close()


def test_unchanged_lines_are_not_written_again() -> None:
    display = Display()
    live = LiveMarkdown(display, colour=False)
    live._update("first line\nsecond line\nthird")
    live._update(" line")
    assert "third line" in display.writes[-1]
    assert "first" not in display.writes[-1]
    live._update("")
    assert len(display.writes) == 2
    live.close()


def test_when_a_block_gets_shorter_the_next_lines_follow_it() -> None:
    display = Display()
    live = LiveMarkdown(display, colour=False)
    live._width = COLUMNS - 1
    live._write(["one", "two", "three"], 0)
    live._write(["one", "two"], 0)
    assert display.text == "one\ntwo"
    live._write(["one", "two", "four"], 3)
    assert display.text == "one\ntwo\nfour"
    live._write([], 0)
    live._write(["five"], 1)
    assert display.text == "one\ntwo\nfour\nfive"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("before \\(a_1 * b_2 * c\\) after", ["before \\(a_1 * b_2 * c\\) after"]),
        ("$$\\{x\\}_1$$ and \\*no emphasis\\*", ["$$\\{x\\}_1$$ and *no emphasis*"]),
        ("not closed \\(a", ["not closed (a"]),
        ("a verse\nand another", ["a verse", "and another"]),
        ("<b>HTML</b>", ["<b>HTML</b>"]),
        ("<div>\n\nblock", ["<div>", "", "block"]),
        ("[text](https://example.org)", ["text (https://example.org)"]),
        ("# One\n## Two", ["One", "", "Two"]),
        ("1. first\n\n2. second", [" 1 first", " 2 second"]),
        ("```python\nx = 1\n\n\ny = 2\n```", ["x = 1", "", "", "y = 2"]),
        ("one\n\n---\n\ntwo", ["one", "", "-" * 39, "", "two"]),
        ("", []),
    ],
)
def test_markdown_is_rendered(source: str, lines: list[str]) -> None:
    renderer = Renderer(colour=True)
    blocks = renderer.split(source)
    rendered = renderer.lines([*blocks.finished, *blocks.growing], COLUMNS - 1)
    assert [without_escapes(line).rstrip() for line in rendered] == lines


LONG = 'connect("https://service.example.org/api", timeout=10)  # long'


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (f"```python\n{LONG}\n\n  indented  \n```", [LONG, "", "  indented  "]),
        (f"1. one\n   ```\n   {LONG}\n   ```\n2. two", [" 1 one", "", LONG, "", " 2 two"]),
        (f"> quoted\n> ```\n> {LONG}\n> ```", ["▌ quoted", "", LONG]),
        ("```make\nall:\n\tcc\n```", ["all:", "\tcc"]),
        ("```\n```", []),
    ],
    ids=["alone", "in a list", "in a quote", "tabs", "empty"],
)
def test_code_can_be_copied_as_it_is_drawn(source: str, lines: list[str]) -> None:
    renderer = Renderer(colour=True)
    blocks = renderer.split(source)
    rendered = renderer.lines([*blocks.finished, *blocks.growing], COLUMNS - 1)
    assert [without_escapes(line) for line in rendered] == lines


@pytest.mark.parametrize(
    ("line", "columns", "rows"),
    [
        ("", 8, 1),
        ("12345678", 8, 1),
        ("123456789", 8, 2),
        ("\x1b[1m12345678\x1b[0m", 8, 1),
        ("словацело", 8, 2),
        ("你好你好", 8, 1),
        ("\t\t1", 8, 1),
        ("1\t2", 20, 1),
        ("\t\t12345", 20, 2),
    ],
)
def test_the_rows_of_a_line_are_those_of_a_terminal(line: str, columns: int, rows: int) -> None:
    assert rows_of(line, columns) == rows
    screen = pyte.Screen(columns, 5)
    pyte.Stream(screen).feed(line)
    assert screen.cursor.y + 1 == rows


def test_a_wide_letter_is_not_divided_at_the_margin() -> None:
    assert rows_of("1你好你", 8) == 1
    assert rows_of("1你好你好", 8) == 2  # pyte draws half of it


TABLE = """
| Setting | Meaning |
|---|--:|
| `timeout` | Seconds without data after which the call fails |
| **Достопримечательности** | слова |
"""


def test_the_cells_of_a_table_are_wrapped_between_words() -> None:
    renderer = Renderer(colour=False)
    lines = [without_escapes(line) for line in renderer.lines(renderer.split(TABLE).growing, COLUMNS - 1)]
    assert max(map(len, lines)) <= COLUMNS - 1
    shown = " ".join(lines).split()
    assert not [word for word in TABLE.translate(dict.fromkeys(map(ord, "|`*:-"), " ")).split() if word not in shown]
    assert lines[0].split() == ["Setting", "Meaning"]


def test_a_table_that_is_too_narrow_for_its_words_becomes_rows_of_fields() -> None:
    renderer = Renderer(colour=False)
    lines = [without_escapes(line) for line in renderer.lines(renderer.split(TABLE).growing, 24)]
    assert lines == [
        *("Setting: timeout", "Meaning: Seconds without", "data after which the", "call fails", ""),
        *("Setting:", "Достопримечательности", "Meaning: слова"),
    ]


def test_a_number_that_may_become_an_item_is_waited_for() -> None:
    display = draw(["1. first\n\n2", ". second\n\n", "3", ". third"])
    assert display.text == " 1 first\n 2 second\n 3 third"


def test_each_drawing_is_one_write_between_the_marks_of_a_synchronous_update() -> None:
    display = draw(["# One\n\nTwo", " three\n\nfour"])
    assert all(write.startswith("\x1b[?2026h") and write.endswith("\x1b[?2026l") for write in display.writes)


def test_escapes_in_the_answer_are_shown_and_not_executed() -> None:
    display = draw(["before \x1b]0;owned\x07\x1b[2J after\x9b1m"])
    assert "before ␛]0;owned␇␛[2J after" in display.text


def test_text_that_cannot_be_rendered_is_shown_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display()
    live = LiveMarkdown(display, colour=True)
    live._update("**first**")

    def broken(*arguments: object) -> None:
        raise RecursionError("nested too deep")

    monkeypatch.setattr(Renderer, "split", broken)
    live._update(" second")
    live._update(" third")
    live.close()
    assert display.text.endswith("**first** second third")


def test_the_last_chunk_is_shown_before_the_next_arrives() -> None:
    display = Display()
    with LiveMarkdown(display, colour=True) as live:
        for word in ("one ", "two ", "three"):
            live.feed(word)
        wait_until(lambda: "one two three" in display.text, what="drawing the last chunk")
        assert any(thread.name == "gigaclient-markdown" for thread in threading.enumerate())
    assert not any(thread.name == "gigaclient-markdown" for thread in threading.enumerate())


def test_a_closed_terminal_ends_the_answer() -> None:
    class Gone(Display):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    live = LiveMarkdown(Gone(), colour=True)
    live.feed("text")
    wait_until(lambda: live._failure is not None, what="the error of the closed terminal")
    with pytest.raises(OSError, match="Input/output"):
        live.feed("more")
    with pytest.raises(OSError, match="Input/output"):
        live.close()


def test_without_colour_emphasis_stays() -> None:
    renderer = Renderer(colour=False)
    source = "**bold** and `code`\n\n```python\nx = 1\n```\n\n| a |\n|---|\n| 1 |"
    text = "\n".join(renderer.lines([*(blocks := renderer.split(source)).finished, *blocks.growing], 40))
    assert "\x1b[1m" in text
    assert not COLOUR.search(text)
    coloured = Renderer(colour=True)
    assert COLOUR.search("\n".join(coloured.lines(coloured.split(source).finished, 40)))
