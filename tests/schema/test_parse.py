"""Values of types from answers."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import pickle
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pytest
from support.schema_types import (
    CLASSES,
    Kind,
    Row,
    Tide,
    TideAttrs,
    TideDict,
    TideModel,
    Voyage,
    answer,
    read,
)

from gigaclient.errors import ContentFilterError, InvalidResponseError, LengthFinishReasonError
from gigaclient.schema.parse import parse_completion
from gigaclient.testing import sampling as sampling
from gigaclient.types import ChatCompletion, FunctionCall
from gigaclient.types.chat_v2 import ChatCompletionResponse


@pytest.mark.parametrize("type_", CLASSES)
def test_each_class_library_is_made_from_the_answer(type_: Any) -> None:
    made = read({"port": "Мурманск", "metres": 1.5, "kind": "high"}, type_)
    if type_ is TideDict:
        assert made == {"port": "Мурманск", "metres": 1.5, "kind": Kind.HIGH}
    else:
        assert (made.port, made.metres, made.kind) == ("Мурманск", 1.5, Kind.HIGH)
        assert type(made) is type_
        assert read({"port": "x", "metres": 1}, type_).kind is Kind.LOW


@pytest.mark.parametrize(
    "text",
    [
        '{"port": "Kem", "metres": 2}',
        '\ufeff {\n  "port": "Kem",\n  "metres": 2\n}\n',
        '```json\n{"port": "Kem", "metres": 2}\n```',
        '```\n{"port": "Kem", "metres": 2}```',
        'Here it is:\n\n```json\n{"port": "Kem", "metres": 2}\n```\nAnything else?',
        '<think>{"port"?}</think>\n{"port": "Kem", "metres": 2}',
        '{"port": "Kem", "metres": "2", "unknown": [1]}',
        '{"port": "Kem", "metres": 2, "note": null}',
    ],
)
def test_the_json_may_have_a_fence_thoughts_and_strings_for_numbers(text: str) -> None:
    assert read(text, Tide) == Tide("Kem", 2.0)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (list[int], {"value": [1, 2]}, [1, 2]),
        (list[int], [1, 2], [1, 2]),
        (int, {"value": 17.0}, 17),
        (int, {"value": "17"}, 17),
        (Kind, {"value": "low"}, Kind.LOW),
        (Literal["yes", "no"], {"value": "yes"}, "yes"),
        (tuple[int, str], {"value": [1, "a"]}, (1, "a")),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (Row, {"value": ["Kem", 1.5]}, Row("Kem", 1.5)),
        (Decimal, {"value": "1.5"}, Decimal("1.5")),
        (datetime.datetime, {"value": "2026-10-02T12:00:00"}, datetime.datetime(2026, 10, 2, 12)),
    ],
    ids=str,
)
def test_other_types_are_read_as_themselves(type_: Any, value: Any, expected: Any) -> None:
    made = read(value, type_)
    assert made == expected
    assert type(made) is type(expected)


TIDE = '{"port": "Kem", "metres": 2}'


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{TIDE}\n```",
        f"Here it is: {TIDE} Anything else?",
        f"<think>{TIDE.replace('2', '9')}</think>{TIDE}",
        "{'port': 'Kem', 'metres': 2,}",
        f"{TIDE.replace('2', '9')}\n{TIDE}",
        f'{TIDE}\n{{"note": "that was all"}}',
        f"{TIDE} [1]",
        json.dumps(TIDE),
    ],
    ids=["fence", "prose", "thoughts", "quotes", "two", "other", "array", "string"],
)
def test_an_untidy_answer_is_mended_and_says_so(text: str) -> None:
    completion = answer(text)
    assert parse_completion(completion, Tide) == Tide("Kem", 2.0)
    assert completion.repaired
    assert completion.text == text
    assert pickle.loads(pickle.dumps(completion)).repaired == completion.repaired
    with pytest.raises(InvalidResponseError):
        parse_completion(answer(text), Tide, repair=False)


def test_a_tidy_answer_is_read_strictly() -> None:
    for repair in (True, False):
        completion = answer(f"\n {TIDE}\n")
        assert parse_completion(completion, Tide, repair=repair) == Tide("Kem", 2.0)
        assert completion.repaired == ()


def test_json_text_inside_an_answer_is_read_where_the_type_has_a_list_or_an_object() -> None:
    completion = answer('{"tides": "[{\\"port\\": \\"Kem\\", \\"metres\\": 1}]", "start": "2026-10-02", "by": "{}"}')
    voyage = parse_completion(completion, Voyage)
    assert [tide.port for tide in voyage.tides] == ["Kem"]
    assert completion.repaired == ("read the JSON text at `$.tides`", "read the JSON text at `$.by`")


def test_an_array_in_the_text_is_no_value_of_a_schema_of_objects() -> None:
    schema = {"type": "object", "properties": {"metres": {"type": "integer"}}}
    assert read('As in [1], it is {"metres": 2} [3].', schema) == {"metres": 2}


def test_numbers_that_json_lacks_are_null_or_numbers_as_the_type_wants() -> None:
    text = '{"port": "Kem", "metres": NaN}'
    assert math.isnan(read(text, Tide).metres)
    completion = answer(text)
    assert parse_completion(completion, {"type": "object", "properties": {}}) == {"port": "Kem", "metres": None}
    assert "null" in completion.repaired[0]


def test_the_error_is_that_of_the_json_and_not_of_the_text_around_it() -> None:
    with pytest.raises(InvalidResponseError, match=r"at `\$.metres`"):
        read('Here: {"port": "Kem", "metres": "high"}', Tide)


def test_half_a_pair_of_surrogates_is_one_broken_character() -> None:
    made = read('{"port": "Kem \\ud83d", "metres": 2}', Tide)
    assert made.port == "Kem \ufffd"


@pytest.mark.parametrize(
    ("text", "finish_reason", "error", "message"),
    [
        ("Let us talk about something else", "blacklist", ContentFilterError, "blacklist"),
        ('{"port": "Mur', "length", LengthFinishReasonError, "max_tokens"),
    ],
    ids=["blocked", "cut"],
)
def test_a_blocked_or_cut_answer_is_a_separate_error_with_the_answer(
    text: str, finish_reason: str, error: type[InvalidResponseError], message: str
) -> None:
    completion = answer(text, finish_reason=finish_reason)
    with pytest.raises(error, match=message) as caught:
        parse_completion(completion, Tide)
    assert caught.value.completion is completion
    assert (caught.value.text, caught.value.request_id) == (text, "r-1")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.text, again.request_id) == (text, "r-1")


def test_a_cut_answer_is_never_mended() -> None:
    cut = answer(f"{TIDE},", finish_reason="length")
    with pytest.raises(LengthFinishReasonError):
        parse_completion(cut, Tide)
    assert cut.repaired == ()


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (answer("Let us talk about something else", finish_reason="blacklist"), "filter"),
        (answer("", finish_reason="function_call", function_call=FunctionCall("get_tide")), "called a function"),
        (answer(" \n"), "empty"),
        (answer("The tide is high."), "not JSON"),
        (answer('{"port": "Kem",\n "metres": }'), "line 2, column 12"),
        (answer('{"port": "Kem", "metres": nil}'), "not JSON"),
        (answer("[" * 100_000), "nested too deep|not JSON"),
        (answer('{"port": "Kem", "metres": "high"}'), r"at `\$.metres`"),
        (answer('{"port": "Kem"}'), "metres"),
        (answer("[]"), r"at `\$`"),
    ],
    ids=["filter", "call", "empty", "words", "comma", "nil", "deep", "type", "missing", "array"],
)
def test_an_answer_without_a_value_is_an_error_with_the_path_and_the_answer(
    completion: ChatCompletion, reason: str
) -> None:
    with pytest.raises(InvalidResponseError, match=reason) as caught:
        parse_completion(completion, Tide)
    assert caught.value.completion is completion
    assert caught.value.text == completion.text
    assert caught.value.request_id == "r-1"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.completion) == (str(caught.value), completion)


def test_errors_of_pydantic_are_not_chained_and_no_value_is_quoted() -> None:
    with pytest.raises(InvalidResponseError, match=r"less than 20 - at `\$\.metres`") as caught:
        read({"port": "Kem", "metres": 987654}, TideModel)
    error: BaseException | None = caught.value
    while error is not None:
        assert type(error).__module__.partition(".")[0] != "pydantic_core"
        assert "987654" not in str(error)
        error = error.__cause__ or error.__context__


def test_many_validation_errors_are_counted_and_not_listed() -> None:
    with pytest.raises(InvalidResponseError, match="and 95 more"):
        read({"value": [{}] * 50}, list[TideModel])


def test_an_error_of_a_validator_is_in_the_message() -> None:
    with pytest.raises(InvalidResponseError, match="'metres' must be < 20"):
        read({"port": "Kem", "metres": 21}, TideAttrs)


def test_an_unexpected_exception_of_a_class_is_the_cause() -> None:
    @dataclasses.dataclass
    class Broken:
        port: str

        def __post_init__(self) -> None:
            raise KeyError(self.port)

    with pytest.raises(InvalidResponseError, match="KeyError") as caught:
        read({"port": "Kem"}, Broken)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.text == '{"port": "Kem"}'


def test_an_answer_of_api_v2_is_read_as_well() -> None:
    complete = msgspec.convert(
        {
            "messages": [{"role": "assistant", "content": [{"text": '{"port": "Kem", '}, {"text": '"metres": 2}'}]}],
            "finish_reason": "stop",
        },
        ChatCompletionResponse,
    )
    assert parse_completion(complete, Tide) == Tide("Kem", 2.0)
    calling = msgspec.convert(
        {"messages": [{"role": "assistant", "content": [{"function_call": {"name": "f", "arguments": {}}}]}]},
        ChatCompletionResponse,
    )
    with pytest.raises(InvalidResponseError, match="called a function"):
        parse_completion(calling, Tide)
