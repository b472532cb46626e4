"""Accepted prompts, the templates that make them, and the advice for inputs that are refused."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import gzip
import io
import itertools
import json
import os
import pickle
import sqlite3
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from support.ids import stable_id

from gigaclient.bulk.prompts import Prompts
from gigaclient.errors import ConfigError
from gigaclient.types import Chat, Message

CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def prompts_of(prompts: Any, template: Any = None) -> list[Any]:
    """Return the prompt of each input."""
    found = Prompts(prompts, template)
    return [found.ask(one) for one in found]


def refusal(prompts: Any, template: Any = None) -> str:
    """Return the error for ``prompts`` that are refused before any of them is read."""
    with pytest.raises(ConfigError) as caught:
        Prompts(prompts, template)
    return str(caught.value)


def refusal_of(input_: Any, template: Any = None) -> str:
    """Return the error for one input."""
    with pytest.raises(ConfigError) as caught:
        Prompts([], template).ask(input_)
    return str(caught.value)


# -- collections -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompts", "total"),
    [
        (["a", "b"], 2),
        (("a", "b"), 2),
        (dict.fromkeys("ab"), None),
        ({"x": "a", "y": "b"}.values(), 2),
        (collections.deque("ab"), 2),
        ((letter for letter in "ab"), None),
        (iter(["a", "b"]), None),
        (map(str.lower, "AB"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_can_be_iterated_is_a_list_of_prompts(prompts: Any, total: int | None) -> None:
    if isinstance(prompts, dict):
        prompts = prompts.keys()
        total = 2
    found = Prompts(prompts)
    assert found.total == total
    texts = [found.ask(one) for one in found]
    assert texts == ["a", "b"]
    assert {type(text) for text in texts} == {str}


def test_a_set_gives_each_of_its_members() -> None:
    assert sorted(prompts_of({"a", "b"})) == ["a", "b"]


def test_inputs_come_as_they_were_passed_and_one_at_a_time() -> None:
    taken = []

    def endless() -> Iterator[dict[str, int]]:
        for number in itertools.count():
            taken.append(number)
            yield {"n": number}

    found = Prompts(endless(), "Number {n}")
    inputs = iter(found)
    assert taken == []
    assert [next(inputs), next(inputs)] == [{"n": 0}, {"n": 1}]
    assert taken == [0, 1]
    assert found.total is None


def test_closing_the_iterator_leaves_the_callers_own_generator_and_cursor_open() -> None:
    def numbers() -> Iterator[str]:
        yield from "abc"

    generator = numbers()
    inputs = iter(Prompts(generator))
    assert next(inputs) == "a"
    inputs.close()  # type: ignore[attr-defined]
    assert next(generator) == "b"

    database = sqlite3.connect(":memory:")
    cursor = database.execute("SELECT 'a' UNION SELECT 'b'")
    rows = iter(Prompts(cursor))
    assert next(rows) == ("a",)
    rows.close()  # type: ignore[attr-defined]
    assert cursor.fetchone() == ("b",)
    database.close()


def test_a_lazy_column_is_not_computed_for_its_length() -> None:
    class Lazy:
        def __dask_graph__(self) -> None: ...

        def __len__(self) -> int:
            raise AssertionError("the work was done for the bar")

        def __iter__(self) -> Iterator[str]:
            return iter("ab")

    found = Prompts(Lazy())
    assert found.total is None
    assert list(found) == ["a", "b"]


def test_prompts_are_strings_conversations_and_whole_requests() -> None:
    request = {"messages": CONVERSATION, "temperature": 0.1}
    chat = Chat(messages=[Message(role="user", content="Hello")])
    found = prompts_of(["Hello", CONVERSATION, tuple(CONVERSATION), request, chat, {"prompt": "Hello", "id": 7}])
    assert found == ["Hello", CONVERSATION, CONVERSATION, request, chat, "Hello"]
    assert found[3] is request
    assert found[4] is chat


def test_rows_of_one_value_are_that_value() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript("CREATE TABLE review (text); INSERT INTO review VALUES ('Good'), ('Bad')")
    assert prompts_of(database.execute("SELECT text FROM review")) == ["Good", "Bad"]
    assert prompts_of(database.execute("SELECT text FROM review"), "Sort: {}") == ["Sort: Good", "Sort: Bad"]
    database.close()


@pytest.mark.parametrize(
    ("prompts", "advice"),
    [
        ("Hello", "put it into a list"),
        ("reviews.jsonl", "pathlib.Path"),
        (b"Hello", "decode"),
        (bytearray(b"Hello"), "decode"),
        (Message(role="user", content="Hello"), "a Message is one prompt: put it into a list"),
        (Chat(messages=[]), "a Chat is one prompt: put it into a list"),
        ({"messages": CONVERSATION}, "put it into a list"),
        ({"prompt": "Hello"}, "put it into a list"),
        ({"1": "Hello", "2": "Bye"}, ".values()"),
        (CONVERSATION, "one prompt together: put their list into a list"),
        ([Message(role="user", content="Hello")], "put their list into a list"),
        (7, "must be a list, a file or anything else that can be iterated, not int"),
        (None, "not NoneType"),
        (print, "not builtin_function_or_method"),
    ],
    ids=stable_id,
)
def test_what_is_no_list_of_prompts_is_refused_at_once_with_advice(prompts: Any, advice: str) -> None:
    assert advice in refusal(prompts)


def test_an_asynchronous_generator_is_refused_at_once() -> None:
    async def prompts() -> Any:
        yield "Hello"

    assert "gather them into a list" in refusal(prompts())


def test_messages_with_a_template_are_rows_like_any_others() -> None:
    assert prompts_of(CONVERSATION, "Translate: {content}") == ["Translate: Be brief.", "Translate: Hello"]


@pytest.mark.parametrize(
    ("input_", "advice"),
    [
        (None, "the input is None; leave such inputs out"),
        (float("nan"), "the input is nan"),
        (decimal.Decimal("sNaN"), "the input is sNaN"),
        (7, 'of type int: template="… {} …"'),
        (1.5, "of type float"),
        (datetime.date(2024, 1, 1), "of type date"),
        (b"Hello", "bytes: decode it"),
        ({"id": 7, "text": "Good"}, "the fields id, text: template="),
        ({"prompt": 7}, "the fields prompt: template="),
        ({"role": "user", "content": "Hello"}, "a message is no prompt of its own"),
        (Message(role="user", content="Hello"), "a message is no prompt of its own"),
        ((7, "Good"), "a row of 2 values: a function as template="),
        ({"a", "b"}, "an input of type set is no prompt"),
        (object(), "an input of type object is no prompt"),
        ({str(n): n for n in range(30)}, "18, 19 and 10 more"),
    ],
    ids=stable_id,
)
def test_an_input_that_is_no_prompt_is_refused_alone_with_advice(input_: Any, advice: str) -> None:
    assert advice in refusal_of(input_)


# -- files -------------------------------------------------------------------------------------------------------------

LINES = [{"text": "Good"}, "Hello", CONVERSATION, {"text": "a\u2028b\x85c"}]


def written(lines: list[Any], ending: str = "\n") -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + ending for line in lines).encode()


@pytest.mark.parametrize("name", ["reviews.jsonl", "reviews.ndjson", "REVIEWS.JSONL"])
@pytest.mark.parametrize(
    "content",
    [
        written(LINES),
        written(LINES, "\r\n"),
        written(LINES).rstrip(b"\n"),
        b"\xef\xbb\xbf" + written(LINES),
        b"\n  \n" + written(LINES, "\n\n\r\n"),
    ],
    ids=["lines", "CRLF", "no last line end", "a mark", "blank lines"],
)
def test_a_file_of_json_lines_is_read_by_its_path(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = Prompts(tmp_path / name, "{}")
    assert list(found) == LINES
    assert found.total == len(LINES)
    assert list(found) == LINES  # a path can be read again


def test_lines_that_would_take_long_to_count_or_be_lost_by_it_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert Prompts(tmp_path / "pipe.jsonl").total is None
    (tmp_path / "big.jsonl").write_text("1\n")
    monkeypatch.setattr("gigaclient.bulk.input_files._MAX_BYTES_COUNTED", 1)
    assert Prompts(tmp_path / "big.jsonl").total is None


def test_a_text_file_has_a_prompt_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes('\ufeffПривет\r\n\r\n  {"a": 1}\n12\u2028\n'.encode())
    assert prompts_of(path) == ["Привет", '  {"a": 1}', "12\u2028"]


def test_open_files_are_read_in_both_modes_and_stay_open(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(written(LINES))
    for mode in ("rb", "r"):
        with open(path, mode, encoding=None if mode == "rb" else "utf-8") as file:
            found = Prompts(file, "{}")
            assert found.total is None
            inputs = iter(found)
            assert next(inputs) == LINES[0]
            inputs.close()  # type: ignore[attr-defined]
            assert not file.closed
            assert [json.loads(line) for line in file] == LINES[1:]


@pytest.mark.parametrize(
    "file",
    [
        io.StringIO('\ufeff"a"\r\n"b"\n'),
        io.BytesIO(b'"a"\r\n"b"\n'),
        io.TextIOWrapper(io.BytesIO(b'"a"\n"b"\n'), "utf-8"),
    ],
    ids=["text", "bytes", "a wrapped pipe"],
)
def test_a_file_without_a_name_has_json_lines(file: Any) -> None:
    assert prompts_of(file) == ["a", "b"]


def test_a_compressed_file_is_read_as_what_it_was_opened_from(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt.gz"
    path.write_bytes(gzip.compress(b"Good\nBad\n"))
    with gzip.open(path) as file:
        assert prompts_of(file) == ["Good", "Bad"]
    assert ".jsonl or .ndjson" in refusal(path)
    with open(path, "rb") as raw, pytest.raises(ConfigError, match=r"is compressed: pass what gzip\.open"):
        list(Prompts(raw))


def test_a_file_that_was_opened_for_the_run_is_closed_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b'"a"\n"b"\n')
    opened: list[Any] = []
    real = open

    def noted(*arguments: Any, **options: Any) -> Any:
        opened.append(real(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr("builtins.open", noted)
    found = Prompts(path)
    assert opened == []
    assert list(found) == ["a", "b"]
    assert opened[0].closed
    inputs = iter(found)
    assert next(inputs) == "a"
    assert not opened[1].closed
    inputs.close()  # type: ignore[attr-defined]
    assert opened[1].closed


def test_a_line_without_json_is_one_failed_input(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b'"a"\n\n{"text": \n' + '{"text": "Привет"}\n'.encode("cp1251") + b'"b"\n')
    found = Prompts(path, "{}")
    inputs = list(found)
    assert inputs[0] == "a" and inputs[-1] == "b"
    assert inputs[1] == '{"text": '
    problems = []
    for bad in inputs[1:3]:
        with pytest.raises(ConfigError) as caught:
            found.ask(pickle.loads(pickle.dumps(bad)))
        problems.append(str(caught.value))
    assert problems[0].startswith(f"{path}, line 3, is no JSON: ")
    assert problems[1].startswith(f"{path}, line 4, is no JSON: ")
    assert "UTF-8" in problems[1]


def test_a_line_of_text_without_utf8_is_one_failed_input(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"a\n" + "Привет\n".encode("cp1251") + b"b\n")
    found = Prompts(path)
    inputs = list(found)
    assert [inputs[0], inputs[2]] == ["a", "b"]
    with pytest.raises(ConfigError, match="line 2, is not text in UTF-8"):
        found.ask(inputs[1])


def test_python_wrote_nan_into_a_line_and_the_others_of_its_fields_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"text": "Good", "rating": NaN}\n')
    assert prompts_of(path, "{text}") == ["Good"]
    with pytest.raises(ConfigError, match="the field rating has no value"):
        prompts_of(path, "{rating}")


def test_files_that_are_no_prompts_are_refused_with_advice(tmp_path: Path) -> None:
    for name in ("reviews.csv", "reviews.json", "reviews"):
        (tmp_path / name).write_text('"a"\n')
        assert "csv.DictReader(file)" in refusal(tmp_path / name)
    with open(tmp_path / "reviews.csv") as file:
        assert "csv.DictReader(file)" in refusal(file)
    assert refusal(tmp_path / "none.jsonl") == f"{tmp_path / 'none.jsonl'} is not there"
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "folder.jsonl").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.jsonl")
    with open(tmp_path / "out.jsonl", "w") as file:
        assert "was opened for writing" in refusal(file)
    assert "is closed" in refusal(file)


def test_a_file_that_goes_away_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('"a"\n')
    found = Prompts(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"reviews\.jsonl cannot be read: ") as caught:
        list(found)
    assert caught.value.__context__ is None


def test_text_in_another_encoding_is_said_to_be_that(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('"Привет"\n', "utf-16")
    with pytest.raises(ConfigError, match="is UTF-16"):
        list(Prompts(path))
    with open(path, encoding="utf-16") as file:
        assert prompts_of(file) == ["Привет"]
    with open(path, encoding="ascii") as file, pytest.raises(ConfigError, match="is not text in ascii: open it with"):
        list(Prompts(file))


def test_the_home_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("Hello\n")
    assert prompts_of(Path("~/a.txt")) == ["Hello"]


# -- templates ---------------------------------------------------------------------------------------------------------


class Review(msgspec.Struct):
    text: str
    rating: int = 5


@dataclasses.dataclass
class Seen:
    text: str
    rating: int = 5


class Bought:
    def __init__(self) -> None:
        self.text, self.rating = "Good", 5

    @property
    def stars(self) -> str:
        return "*" * self.rating


Row = collections.namedtuple("Row", ["text", "rating"])


def row_of_a_database() -> Any:
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    row = database.execute("SELECT 'Good' AS text, 5 AS rating").fetchone()
    database.close()
    return row


@pytest.mark.parametrize(
    "input_",
    [
        {"text": "Good", "rating": 5},
        types.MappingProxyType({"text": "Good", "rating": 5}),
        Review("Good"),
        Seen("Good"),
        Row("Good", 5),
        row_of_a_database(),
        types.SimpleNamespace(text="Good", rating=5),
        Bought(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_template_takes_fields_of_rows_of_all_kinds(input_: Any) -> None:
    assert prompts_of([input_], "{rating}/5: {text} ({text})") == ["5/5: Good (Good)"]
    assert "template names {txt}, and the input has no such field" in refusal_of(input_, "{txt}")
    assert "text" in refusal_of(input_, "{txt}")


def test_what_is_computed_of_fields_is_a_field_and_a_method_is_none() -> None:
    assert prompts_of([Bought()], "{stars}") == ["*****"]
    assert "no such field" in refusal_of(Row("Good", 5), "{count}")


@pytest.mark.parametrize("placeholder", ["{}", "{0}", "{input}"])
def test_an_input_without_fields_is_put_in_as_a_whole(placeholder: str) -> None:
    assert prompts_of(["Good", 7, ["a", "b"], True], f"Sort: {placeholder}.") == [
        "Sort: Good.", "Sort: 7.", 'Sort: ["a","b"].', "Sort: true.",
    ]  # fmt: skip


def test_a_row_is_put_in_as_json_or_by_a_field_of_that_name() -> None:
    input_ = {"text": "Хорошо", "when": datetime.date(2024, 1, 2), "nan": float("nan"), "many": range(3)}
    assert prompts_of([input_], "Sum up: {}") == [
        'Sum up: {"text":"Хорошо","when":"2024-01-02","nan":null,"many":[0,1,2]}'
    ]  # fmt: skip
    assert prompts_of([{"input": "Good"}], "{input}") == ["Good"]
    assert "no such field: it has text" in refusal_of({"text": "Good"}, "{input}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Good", "Good"),
        ("", ""),
        (5, "5"),
        (0.1, "0.1"),
        (decimal.Decimal("1.10"), "1.10"),
        (True, "true"),
        (["a", 1, None], '["a",1,null]'),
        ({"ж": {"b": 2}}, '{"ж":{"b":2}}'),
        ({"b", "a"}, '["a","b"]'),
        (range(3), "[0,1,2]"),
        (Review("Good"), '{"text":"Good","rating":5}'),
        (Seen("Good"), '{"text":"Good","rating":5}'),
        (Row("Good", 5), '{"text":"Good","rating":5}'),
        (datetime.datetime(2024, 1, 2, 3, 4), "2024-01-02 03:04:00"),
        (datetime.timedelta(minutes=5), "0:05:00"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Path("a") / "b.txt", str(Path("a") / "b.txt")),
    ],
    ids=lambda value: f"{type(value).__name__} {stable_id(value)}"[:40],
)
def test_values_are_written_as_people_would(value: Any, text: str) -> None:
    assert prompts_of([{"value": value}], "<{value}>") == [f"<{text}>"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the field value has no value (None): leave such inputs out"),
        (float("nan"), "has no value (nan)"),
        (b"Good", "the field value is bytes: decode it"),
        (object(), "the field value cannot be written as JSON: there is a object in it"),
        ([object()], "the field value cannot be written as JSON: there is a object in it"),
        (["\ud800"], "half of a surrogate pair"),
        ({("a", "b"): 1}, "cannot be written as JSON"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_none_is_refused_by_the_name_of_its_field(value: Any, reason: str) -> None:
    problem = refusal_of({"text": "Good", "value": value}, "{text} {value}")
    assert reason in problem
    if "has no value" in reason:
        assert problem.endswith("its fields are text, value")


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    assert "cannot be written as JSON" in refusal_of({"value": value}, "{value}")


def test_a_field_of_an_input_that_has_none_is_refused_with_what_to_write() -> None:
    assert "it is of type str, for which {} stands" in refusal_of("Good", "Sort: {title}")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{"a": {"b": "{text}"}}', '{"a": {"b": "T"}}'),
        ('{{"a": {{"b": "{text}"}}}}', '{"a": {"b": "T"}}'),
        ('{{"a": "{text}"}}', '{"a": "T"}'),
        ('[{"a":{"b":{"c":"{text}"}}}]', '[{"a":{"b":{"c":"T"}}}]'),
        ("{{text}} is {text}", "{text} is T"),
        ("{{{text}}}", "{T}"),
        ("{{}} {text}", "{} T"),
        ("{text}}", "T}"),
        ("{text}}}", "T}"),
        ("{ text } {text}", "{ text } T"),
        ("{text!r} {text:>9} {text.a} {text[0]} {text}", "{text!r} {text:>9} {text.a} {text[0]} T"),
        (r"\d{3} \frac{1}{2} {text}", r"\d{3} \frac{1}{2} T"),
        ("if (x) { y } {text}", "if (x) { y } T"),
        ("{текст}{text_2}{_x}", "ЖT2_"),
        ("{text", None),
        ("text", None),
        ("", None),
        ("{{text}}", None),
    ],
)
def test_braces_that_are_around_something_else_stay(template: str, text: str | None) -> None:
    input_ = {"text": "T", "текст": "Ж", "text_2": "T2", "_x": "_"}
    if text is None:
        assert "template names no field" in refusal([], template)
    else:
        assert prompts_of([input_], template) == [text]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab c:"), inner, min_size=1),
)


@for_all(JSON)
def test_any_json_may_stand_around_a_field(value: Any) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        example = json.dumps(value, separators=separators)
        assert prompts_of([{"text": "T"}], f"Answer like {example}: {{text}}") == [f"Answer like {example}: T"]


@for_all(st.text("{}ab \n"))
def test_what_is_filled_in_is_not_looked_through_for_fields(value: str) -> None:
    assert prompts_of([{"a": value, "b": "B"}], "{a}|{b}") == [f"{value}|B"]


@for_all(st.text("{}ab0 "), st.text("{}ab0 "))
def test_doubled_braces_are_single_ones_as_in_str_format(before: str, after: str) -> None:
    def doubled(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    assert prompts_of(["T"], f"{doubled(before)} {{}} {doubled(after)}") == [f"{before} T {after}"]


def test_a_template_names_fields_or_the_whole_and_not_both() -> None:
    problem = refusal([], "Return {} where nothing fits: {text}")
    assert "both {} and {text}" in problem and "{{}}" in problem
    assert prompts_of([{"text": "T"}], "Return {{}} where nothing fits: {text}") == ["Return {} where nothing fits: T"]


def test_a_function_makes_whatever_a_prompt_may_be() -> None:
    rows = [(1, "Good"), (2, "Bad")]
    assert prompts_of(rows, lambda row: f"{row[0]}: {row[1]}") == ["1: Good", "2: Bad"]
    assert prompts_of(rows[:1], lambda row: CONVERSATION) == [CONVERSATION]
    assert prompts_of(rows[:1], lambda row: {"messages": CONVERSATION, "top_p": 0.1}) == [
        {"messages": CONVERSATION, "top_p": 0.1}
    ]


def test_what_a_function_raises_is_the_error_of_that_input_alone() -> None:
    found = Prompts([{}, {"text": "Good"}], lambda row: row["text"])
    with pytest.raises(KeyError):
        found.ask({})
    assert found.ask({"text": "Good"}) == "Good"


@pytest.mark.parametrize(("made", "advice"), [(None, "template returned None"), (7, "a prompt is text")])
def test_a_function_that_returns_no_prompt_is_refused(made: Any, advice: str) -> None:
    assert advice in refusal_of("Good", lambda _: made)


async def asynchronous(input_: Any) -> str:
    return str(input_)


@pytest.mark.parametrize(
    ("template", "advice"), [(7, "not int"), (["{}"], "not list"), (asynchronous, "asynchronous")], ids=stable_id
)
def test_what_is_no_template_is_refused_at_once(template: Any, advice: str) -> None:
    assert advice in refusal([], template)
