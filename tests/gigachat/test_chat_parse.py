"""Structured output against the emulator: the sent schema, the returned value, and the errors."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pydantic
import pytest
from typing_extensions import TypedDict

from gigaclient import ChatCompletion, GigaChat
from gigaclient.errors import (
    BadRequestError,
    ConfigError,
    ContentFilterError,
    InvalidResponseError,
    LengthFinishReasonError,
)
from gigaclient.schema.json_schema import schema_of
from gigaclient.testing import GigaChatEmulator
from gigaclient.types import Chat, Message


@dataclasses.dataclass
class Tide:
    """The tide at a port."""

    port: str
    metres: float


class TideDict(TypedDict):
    port: str
    metres: float


class TideStruct(msgspec.Struct):
    port: str
    metres: float


@attrs.define
class TideAttrs:
    port: str
    metres: float


class TideModel(pydantic.BaseModel):
    port: str
    metres: Annotated[float, pydantic.Field(ge=0)]


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


def sent(emulator: GigaChatEmulator) -> Any:
    return emulator.requests[-1].json()


@pytest.mark.parametrize("type_", [Tide, TideDict, TideStruct, TideAttrs, TideModel])
def test_a_value_of_each_kind_of_class_comes_back(giga: GigaChat, emulator: GigaChatEmulator, type_: Any) -> None:
    completion, value = giga.chat_parse("In Murmansk the tide is 2.5 metres", response_format=type_)
    assert isinstance(completion, ChatCompletion)
    assert completion.request_id
    assert sent(emulator)["response_format"] == {"type": "json_schema", "schema": schema_of(type_), "strict": True}
    made = value if type_ is TideDict else {"port": value.port, "metres": value.metres}
    assert made == {"port": "Murmansk", "metres": 2.5}
    assert type_ is TideDict or type(value) is type_


@pytest.mark.parametrize(("type_", "expected"), [(list[int], [3, 4]), (Literal["low", "high"], "high"), (int, 3)])
def test_a_value_that_is_not_an_object_is_unwrapped(giga: GigaChat, type_: Any, expected: Any) -> None:
    assert giga.chat_parse("The tides are 3 and 4, so they are high", response_format=type_)[1] == expected


def test_a_custom_schema_gives_the_decoded_json(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    schema = {"type": "object", "properties": {"metres": {"type": "integer"}}, "required": ["metres"]}
    assert giga.chat_parse("It is 3", response_format=schema)[1] == {"metres": 3}
    assert sent(emulator)["response_format"]["schema"] == schema


def test_without_strict_the_json_may_have_line_breaks(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    completion, value = giga.chat_parse("In Kem it is 3", response_format=Tide, strict=False)
    assert sent(emulator)["response_format"]["strict"] is False
    assert "\n" in completion.text
    assert value == Tide("Kem", 3.0)


def test_whole_requests_and_options_go_the_usual_way(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    request = Chat(messages=[Message(role="user", content="In Kem it is 3")], temperature=0.5)
    before = msgspec.json.encode(request)
    _, value = giga.chat_parse(request, response_format=Tide, model="GigaChat-2-Pro", headers={"X-Trace-ID": "t"})
    assert value == Tide("Kem", 3.0)
    assert msgspec.json.encode(request) == before
    assert (sent(emulator)["temperature"], sent(emulator)["model"]) == (0.5, "GigaChat-2-Pro")
    assert emulator.requests[-1].headers["x-trace-id"] == "t"


def test_a_cut_answer_keeps_what_came(giga: GigaChat) -> None:
    with pytest.raises(LengthFinishReasonError) as caught:
        giga.chat_parse("In Murmansk it is 3", response_format=Tide, max_tokens=2)
    assert caught.value.completion.finish_reason == "length"
    assert caught.value.completion.truncated
    assert not caught.value.completion.blocked
    assert caught.value.text == caught.value.completion.text != ""
    assert caught.value.request_id == caught.value.completion.request_id


@pytest.fixture(params=["v1", "v2"])
def parse(request: pytest.FixtureRequest, giga: GigaChat) -> Any:
    return giga.chat_parse if request.param == "v1" else giga.chat.parse


def test_an_untidy_response_is_mended_unless_that_is_switched_off(parse: Any, emulator: GigaChatEmulator) -> None:
    text = "Here: {'port': 'Kem', 'metres': 3,}"
    emulator.answer(text, times=2)
    completion, value = parse("In Kem it is 3", response_format=Tide)
    assert value == Tide("Kem", 3.0)
    assert completion.repaired
    assert completion.text == text
    with pytest.raises(InvalidResponseError, match="not JSON"):
        parse("In Kem it is 3", response_format=Tide, repair=False)


def test_a_blocked_response_is_an_error_of_its_own(parse: Any, emulator: GigaChatEmulator) -> None:
    emulator.answer({"content": "No.", "finish_reason": "blacklist"}, place="v1")
    emulator.answer(
        {"messages": [{"role": "assistant", "content": "No."}], "finish_reason": "request_blacklist"}, place="v2"
    )
    with pytest.raises(ContentFilterError) as caught:
        parse("In Kem it is 3", response_format=Tide)
    assert caught.value.completion.blocked
    assert not caught.value.completion.truncated
    assert caught.value.text == "No."


@pytest.mark.parametrize(
    ("scripted", "reason"),
    [
        ("It is high.", "not JSON"),
        ('{"port": "Kem", "metres": "high"}', r"\$\.metres"),
        ({"content": "No.", "finish_reason": "blacklist"}, "filter"),
        ({"content": ""}, "empty"),
        ({"function_call": {"name": "get_tide", "arguments": {}}}, "called a function"),
    ],
)
def test_a_response_without_a_valid_value_is_kept_on_the_error(
    giga: GigaChat, emulator: GigaChatEmulator, scripted: Any, reason: str
) -> None:
    emulator.answer(scripted)
    with pytest.raises(InvalidResponseError, match=reason) as caught:
        giga.chat_parse("In Kem it is 3", response_format=Tide)
    assert isinstance(caught.value.completion, ChatCompletion)
    assert caught.value.text == caught.value.completion.text
    assert caught.value.request_id


def test_a_type_that_cannot_be_described_costs_no_request(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    before = len(emulator.requests)
    with pytest.raises(ConfigError, match="use a dataclass"):
        giga.chat_parse("Hello", response_format=complex)
    assert len(emulator.requests) == before


def test_a_refusal_of_the_service_is_raised_as_in_any_call(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    with pytest.raises(BadRequestError):
        giga.chat_parse([{"role": "nobody", "content": "x"}], response_format=Tide)


@pytest.mark.parametrize(
    ("before", "after"),
    [("\n" * 60_000, ""), ("", "\n" * 60_000), ("<think>" + "\n" * 60_000, "\n" * 60_000)],
    ids=["before", "after", "in a thought"],
)
def test_much_white_space_around_the_json_costs_little(before: str, after: str, emulator: GigaChatEmulator) -> None:
    emulator.answer(f'{before}{"</think>" if "think" in before else ""}{{"port": "Kem", "metres": 2}}{after}')
    with GigaChat(**emulator.client_options) as giga:
        giga.get_token()
        began = time.thread_time()  # of this thread, so that a busy machine does not count
        completion, tide = giga.chat_parse("The tide?", response_format=Tide)
        seconds = time.thread_time() - began
    assert tide == Tide("Kem", 2)
    assert len(completion.text) > 60_000
    assert seconds < 0.5
