"""The parts of the Jupyter integration that need no kernel: outputs, streams, options."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient import ConfigError, GigaChat, StreamInterruptedError
from gigaclient.contrib.jupyter.options import fill_in, parse_giga, parse_login
from gigaclient.contrib.jupyter.outputs import GrowingText
from gigaclient.contrib.jupyter.reading import read_in_notebook, read_in_terminal
from gigaclient.testing import GigaChatEmulator
from gigaclient.types import ChatCompletion, Choice, Message
from gigaclient.types.markdown import cut_point, with_note

# -- outputs -----------------------------------------------------------------------------------------------------------


class Screen:
    """The outputs of a cell, the characters sent, and a clock that does not run."""

    def __init__(self) -> None:
        self.outputs: dict[str, dict[str, str]] = {}
        self.now = 100.0
        self.sent: list[int] = []

    def __call__(self, name: str, data: dict[str, str], *, update: bool) -> None:
        assert (name in self.outputs) == update
        self.outputs[name] = data
        self.sent.append(len(data["text/markdown"]))

    def clock(self) -> float:
        return self.now

    def plain(self) -> list[str]:
        return [data.get("text/plain", "") for data in self.outputs.values()]


def grow(screen: Screen, text: str, step: int = 20, seconds: float = 0.02) -> None:
    """Show a text that grows by ``step`` characters every ``seconds``, whenever an update is due."""
    shown = GrowingText(screen, clock=screen.clock)
    for end in range(step, len(text) + step, step):
        if shown.wait_seconds == 0:
            shown.show(text[:end])
        screen.now += seconds
    shown.finish(text)


def test_it_is_shown_ten_times_a_second() -> None:
    screen = Screen()
    grow(screen, "word " * 400, step=5, seconds=0.005)  # two seconds
    assert 19 <= len(screen.sent) <= 23


def test_what_is_sent_grows_with_the_text_and_not_with_its_square() -> None:
    paragraph = "Some words of a paragraph that is as long as paragraphs are. " * 6 + "\n\n"
    costs = []
    for paragraphs in (50, 200):
        screen = Screen()
        text = paragraph * paragraphs
        grow(screen, text)
        assert "".join(plain + "\n\n" for plain in screen.plain()).split() == text.split()
        costs.append(sum(screen.sent) / len(text))
    assert costs[1] < 2.5 * costs[0], "four times the text, and each character sent far more often"
    assert len(screen.outputs) < 40, "front ends fold more outputs away"


def test_one_block_without_an_end_is_sent_less_often_the_longer_it_gets() -> None:
    screen = Screen()
    grow(screen, "```\n" + "line of code\n" * 20_000, step=100, seconds=0.02)
    assert sum(screen.sent) / (screen.now - 100) < 100_000
    assert len(screen.outputs) == 1


@given(
    st.lists(
        st.sampled_from(["word ", "\n\n", "\n", "```\n", "~~~\n", "- a ", "# h", "  ", "\\[", "\\]", "| c |", "$$"])
    )
)
def test_cutting_loses_nothing_and_cuts_no_code(pieces: list[str]) -> None:
    text = "".join(pieces)
    at = cut_point(text, 0, 4)
    assert 0 <= at <= len(text)
    if text[:at].strip():
        assert re.search(r"\n[ \t]*\n\Z", text[:at])
        assert not text[at].isspace()
        assert with_note(text[:at].rstrip(), "x") == text[:at].rstrip() + "\n\nx"


def test_a_cut_is_where_a_new_block_begins() -> None:
    assert cut_point("one\n\ntwo\n", 0, 1) == 5
    assert cut_point("one\n\ntwo", 0, 1) == 0  # the rest of the line may change its meaning
    assert cut_point("one\n\n  more of it\n", 0, 1) == 0
    assert cut_point("```\n\ntwo\n\nthree\n", 0, 1) == 0
    assert cut_point("\\[\n\ntwo\n", 0, 1) == 0
    assert cut_point("one\n\ntwo\n\nthree\n", 5, 1) == 10
    assert cut_point("one\n\ntwo\n", 0, 100) == 0


# -- reading -----------------------------------------------------------------------------------------------------------


class Pieces:
    """A stream of pieces; an exception among them is raised."""

    def __init__(self, *pieces: str | BaseException, finish_reason: str | None = "stop") -> None:
        self._pieces = pieces
        self._finish_reason = finish_reason
        self.text = ""
        self.closed = False

    @property
    def completion(self) -> Any:
        choice = Choice(message=Message(content=self.text), finish_reason=self._finish_reason)
        return ChatCompletion(choices=[choice])

    def __iter__(self) -> Iterator[Any]:
        for piece in self._pieces:
            if isinstance(piece, BaseException):
                raise piece
            self.text += piece
            yield SimpleNamespace(text=piece)

    def close(self) -> None:
        self.closed = True


def read(stream: Any) -> Screen:
    screen = Screen()
    read_in_notebook(stream, GrowingText(screen))
    return screen


def test_no_thread_is_left_when_a_stream_has_been_read() -> None:
    before = threading.active_count()
    assert read(Pieces("one ", "two")).plain() == ["one two"]
    with pytest.raises(StreamInterruptedError):
        read(Pieces("one", StreamInterruptedError("it broke")))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("length", "cut at the token limit"),
        ("blacklist", "held back by the service's filter"),
        ("request_whitelist", "held back by the service's filter"),
        ("stop", ""),
        (None, ""),
    ],
)
def test_an_unusual_end_of_an_answer_is_noted(reason: str | None, note: str) -> None:
    expected = f"text\n\n({note})" if note else "text"
    assert read(Pieces("text", finish_reason=reason)).plain() == [expected]
    out = io.StringIO()
    read_in_terminal(Pieces("text", finish_reason=reason), out)
    assert out.getvalue().strip() == expected.replace("\n\n", "\n")


def test_an_empty_answer_says_that_it_is_empty() -> None:
    assert read(Pieces()).plain() == ["(the answer is empty)"]


def test_a_terminal_gets_plain_text_and_no_tag_is_touched() -> None:
    out = io.StringIO()
    assert read_in_terminal(Pieces("\\(x\\) <b>", " $5"), out) == "ended"
    assert out.getvalue() == "\\(x\\) <b> $5\n"
    stream = Pieces("one", KeyboardInterrupt())
    out = io.StringIO()
    assert read_in_terminal(stream, out) == "interrupted"
    assert out.getvalue() == "one\n(interrupted)\n" and stream.closed
    out = io.StringIO()
    with pytest.raises(StreamInterruptedError):
        read_in_terminal(Pieces("one", StreamInterruptedError("it broke")), out)
    assert out.getvalue() == "one\n(incomplete)\n"


def test_a_fault_of_the_front_end_closes_the_call() -> None:
    stream = Pieces("one ", "two")

    def broken(name: str, data: dict[str, str], *, update: bool) -> None:
        raise OSError("the front end is gone")

    with pytest.raises(OSError, match="is gone"):
        read_in_notebook(stream, GrowingText(broken))
    assert stream.closed


def test_outside_ipython_show_prints(gigachat_emulator: GigaChatEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    from gigaclient.contrib import jupyter

    with GigaChat(**gigachat_emulator.client_options) as giga:
        answer = jupyter.show(giga.stream("Count from 1 to 3"))
    assert answer.text == "1, 2, 3" and capsys.readouterr().out == "1, 2, 3\n"


# -- options -----------------------------------------------------------------------------------------------------------


def fields(line: str) -> dict[str, Any]:
    options, text = parse_giga(line)
    values = {name: getattr(options, name) for name in options.__struct_fields__}
    return {name: value for name, value in values.items() if value not in (None, False)} | {"text": text}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("What's \"this\" -m?", {"text": "What's \"this\" -m?"}),
        ("-m GigaChat-2 what", {"model": "GigaChat-2", "text": "what"}),
        ("--model=GigaChat-2  -t=0.5 what ", {"model": "GigaChat-2", "temperature": "0.5", "text": "what"}),
        (r"""-s "Say \"no\", don't" x""", {"system": 'Say "no", don\'t', "text": "x"}),
        ("-s 'один два'три x", {"system": "один дватри", "text": "x"}),
        ("--into a --reset -f x", {"into": "a", "reset": True, "fill": True, "text": "x"}),
        ("--alone --auto x", {"alone": True, "auto": True, "text": "x"}),
        ("-- --reset", {"text": "--reset"}),
        ("-5 degrees", {"text": "-5 degrees"}),
        ("- milk", {"text": "- milk"}),
        ("— да", {"text": "— да"}),
        ('-m ""', {"model": "", "text": ""}),
        ("", {"text": ""}),
        ("-h", {"help": True, "text": ""}),
    ],
)  # fmt: skip
def test_options_come_first_and_the_text_is_left_as_it_is(line: str, expected: dict[str, Any]) -> None:
    assert fields(line) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--modle x", "is it --model"),
        ("-x", "no option -x"),
        ("-m", "-m needs a value"),
        ("-s 'never closed", "after -s is not closed"),
        ("--into if x", "'if' is not"),
        ("--into=a.b x", "'a.b' is not"),
        ("--resetall", "no option --resetall"),
        ("--reset=1 x", "takes no value"),
    ],
)
def test_wrong_options_are_refused(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_giga(line)


@pytest.mark.parametrize("line", ["-t x", "-t nan", "-t inf", "--max-tokens 0", "--max-tokens 1.5"])
def test_numbers_have_to_be_numbers(line: str) -> None:
    options, _ = parse_giga(line)
    with pytest.raises(ConfigError, match="takes a"):
        options.body()


@given(st.text())
def test_any_line_is_either_parsed_or_refused(line: str) -> None:
    for parse in (parse_giga, parse_login):
        with contextlib.suppress(ConfigError):
            parse(line)


def test_a_key_on_the_line_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="delete it here") as caught:
        parse_login("c2VjcmV0OnNlY3JldA==")
    assert "c2Vj" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name}", "Vera"),
        ("{{name}}", "{name}"),
        ("{data['a b'][1]} {data[\"n\"]} {thing.field}", "2 1 3"),
        ("{price:.2f} {price!r:>8} {name!r}", "1.50      1.5 'Vera'"),
        ('{"name": 1} {} { name } {0} {a-b} {a, b} {a: 1}', '{"name": 1} {} { name } {0} {a-b} {a, b} {a: 1}'),
        ("f(x) = {{x}} and {name", "f(x) = {x} and {name"),
    ],
)
def test_variables_are_filled_in_and_other_braces_stay(text: str, expected: str) -> None:
    variables = {"name": "Vera", "data": {"a b": [1, 2], "n": 1}, "thing": SimpleNamespace(field=3), "price": 1.5}
    assert fill_in(text, variables) == expected


@pytest.mark.parametrize("text", ["{nobody}", "{name.nothing}", "{name[99]}", "{name:d}", "{name['x']}"])
def test_a_variable_that_cannot_be_filled_in_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text[:5])):
        fill_in(text, {"name": "Vera"})
