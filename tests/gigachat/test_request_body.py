"""The body of a chat request: every field of the API is sent, and invalid values are refused."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import types
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient.errors import ConfigError
from gigaclient.gigachat.request_body import chat_body
from gigaclient.types import (
    Chat,
    ChatCompletion,
    Choice,
    Function,
    FunctionCall,
    FunctionFewShot,
    FunctionRanker,
    Message,
    NamedFunctionCall,
    ResponseFormat,
    Storage,
)

HI = [{"role": "user", "content": "hi"}]


def body(messages: Any = "hi", /, defaults: Any = None, *, streamed: bool = False, **options: Any) -> Any:
    return json.loads(chat_body(messages, options, defaults or {}, stream=streamed))


# -- fields ----------------------------------------------------------------------------------------

FIELDS: list[tuple[str, Any, Any]] = [
    ("model", "GigaChat-2-Pro", "GigaChat-2-Pro"),
    ("temperature", 0.4, 0.4),
    ("temperature", 1, 1),
    ("top_p", 0.0, 0.0),
    ("n", 2, 2),
    ("max_tokens", 120, 120),
    ("repetition_penalty", 1.1, 1.1),
    ("update_interval", 0, 0),
    ("update_interval", 0.5, 0.5),
    ("profanity_check", False, False),
    ("functions", [{"name": "f", "parameters": {"default": None}}], [{"name": "f", "parameters": {"default": None}}]),
    ("functions", [Function(name="f", description="d")], [{"name": "f", "description": "d"}]),
    (
        "functions",
        [
            Function(
                name="f",
                parameters={"type": "object"},
                few_shot_examples=[FunctionFewShot("say", {"a": 1})],
                return_parameters={"type": "object"},
            )
        ],
        [
            {
                "name": "f",
                "parameters": {"type": "object"},
                "few_shot_examples": [{"request": "say", "params": {"a": 1}}],
                "return_parameters": {"type": "object"},
            }
        ],
    ),
    ("functions", [], []),
    ("function_call", "auto", "auto"),
    ("function_call", "none", "none"),
    ("function_call", {"name": "f", "partial_arguments": {"a": None}}, {"name": "f", "partial_arguments": {"a": None}}),
    ("function_call", NamedFunctionCall("f"), {"name": "f"}),
    ("function_call", NamedFunctionCall("f", {"a": 1}), {"name": "f", "partial_arguments": {"a": 1}}),
    ("function_ranker", {"enabled": True, "top_n": 3}, {"enabled": True, "top_n": 3}),
    ("function_ranker", FunctionRanker(False), {"enabled": False}),
    ("response_format", {"type": "text"}, {"type": "text"}),
    (
        "response_format",
        ResponseFormat("json_schema", {"type": "object"}, True),
        {"type": "json_schema", "schema": {"type": "object"}, "strict": True},
    ),
    ("reasoning_effort", "high", "high"),
    ("reasoning_max_tokens", 100, 100),
    ("flags", ["a", "b"], ["a", "b"]),
    ("flags", ("a",), ["a"]),
    (
        "storage",
        {"is_stateful": True, "limit": 5, "metadata": {"x": "y"}},
        {"is_stateful": True, "limit": 5, "metadata": {"x": "y"}},
    ),
    ("storage", Storage(is_stateful=False), {"is_stateful": False}),
    ("assistant_id", "a-1", "a-1"),
    ("top_logprobs", 3, 3),
    ("unnormalized_history", True, True),
    ("additional_data", {"features": {"embedder_model": "e"}}, {"features": {"embedder_model": "e"}}),
    ("something_new", [{"x": None}], [{"x": None}]),
]


@pytest.mark.parametrize(("name", "value", "sent"), FIELDS, ids=[name for name, _, _ in FIELDS])
def test_every_field_reaches_the_body_by_every_way(name: str, value: Any, sent: Any) -> None:
    expected = {"messages": HI, name: sent}
    assert body("hi", **{name: value}) == expected
    assert body({"messages": HI, name: value}) == expected
    assert body(HI, additional_fields={name: value} if name != "response_format" else {name: sent}) == expected
    if name in Chat.__struct_fields__:
        assert body(Chat(messages=[Message(content="hi")], **{name: value})) == expected
    else:
        assert body(Chat(messages=[Message(content="hi")], additional_fields={name: value})) == expected


def test_the_table_has_every_field_of_a_request() -> None:
    assert {name for name, _, _ in FIELDS} >= set(Chat.__struct_fields__) - {"messages", "stream", "additional_fields"}


def test_none_is_left_out_wherever_it_stands() -> None:
    assert body("hi", temperature=None) == {"messages": HI}
    assert body({"messages": HI, "temperature": None}) == {"messages": HI}
    assert body([{"role": "user", "content": "hi", "name": None}]) == {"messages": HI}
    assert body("hi", additional_fields={"x": None}) == {"messages": HI}


def test_fields_of_the_call_override_the_request_and_the_defaults() -> None:
    request = {"messages": HI, "temperature": 1.0, "top_p": 0.5}
    defaults = {"temperature": 3.0, "top_p": 3.0, "model": "default", "flags": None}
    assert body(request, defaults, temperature=2.0) == {
        "messages": HI,
        "temperature": 2.0,
        "top_p": 0.5,
        "model": "default",
    }


def test_additional_fields_are_below_the_typed_ones() -> None:
    request = Chat(
        messages=[Message(content="hi")], temperature=1.0, additional_fields={"temperature": 9, "x": 1, "y": 1}
    )
    assert body(request, additional_fields={"y": 2, "z": 2, "temperature": 8}) == {
        "messages": HI,
        "temperature": 1.0,
        "x": 1,
        "y": 2,
        "z": 2,
    }
    assert body({"messages": HI, "additional_fields": {"x": 1}}) == {"messages": HI, "x": 1}


@pytest.mark.parametrize("value", [["x"], "x", 5])
@pytest.mark.parametrize("way", ["call", "chat", "dict"])
def test_additional_fields_that_are_no_mapping_are_refused(value: Any, way: str) -> None:
    with pytest.raises(ConfigError, match="additional_fields must be a mapping"):
        if way == "call":
            body("hi", additional_fields=value)
        elif way == "chat":
            body(Chat(messages=[Message(content="hi")], additional_fields=value))
        else:
            body({"messages": HI, "additional_fields": value})


def test_the_options_of_a_call_are_not_sent() -> None:
    options: dict[str, Any] = {
        "timeout": 5,
        "deadline": 5,
        "event_timeout": 5,
        "max_retries": 0,
        "headers": {"x": "y"},
        "request_id": "r",
        "session_id": "s",
        "client_id": "c",
        "service_id": "s",
        "operation_id": "o",
        "trace_id": "t",
        "agent_id": "a",
        "authorization": "Bearer x",
    }
    assert body("hi", **options) == {"messages": HI}


def test_the_method_decides_whether_it_streams() -> None:
    assert "stream" not in body("hi")
    assert body("hi", streamed=True)["stream"] is True
    assert "stream" not in body("hi", stream=False)
    assert body("hi", streamed=True, stream=True)["stream"] is True
    for stale in (Chat(messages=[Message(content="hi")], stream=True), {"messages": HI, "stream": True}):
        assert "stream" not in body(stale)
    assert "stream" not in body("hi", additional_fields={"stream": True})
    assert body({"messages": HI, "stream": False}, streamed=True)["stream"] is True
    for streamed in (True, False):
        with pytest.raises(ConfigError, match="decided by the method"):
            body("hi", streamed=streamed, stream=not streamed)


DEFAULTS = {"model": "GigaChat-2", "profanity_check": False, "flags": ["a"]}


def test_defaults_fill_missing_fields() -> None:
    assert body("hi", DEFAULTS) == {"messages": HI, **DEFAULTS}
    assert body("hi", DEFAULTS, model="m", profanity_check=True, flags=[]) == {
        "messages": HI,
        "model": "m",
        "profanity_check": True,
        "flags": [],
    }


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"assistant_id": "a"}, False),
        ({"storage": {"assistant_id": "a"}}, False),
        ({"storage": {"thread_id": "t"}}, False),
        ({"storage": Storage(thread_id="t")}, False),
        ({"storage": {"is_stateful": True}}, True),
        ({"storage": Storage(is_stateful=True)}, True),
        ({"storage": True}, True),
        ({}, True),
    ],
    ids=str,
)
def test_the_default_model_is_not_sent_where_an_assistant_or_a_thread_brings_its_own(options: Any, sent: bool) -> None:
    assert ("model" in body("hi", DEFAULTS, **options)) is sent
    assert body("hi", DEFAULTS, model="mine", **options)["model"] == "mine"


# -- messages --------------------------------------------------------------------------------------


class Role(str, enum.Enum):
    USER = "user"


class Text(str):
    """A subclass of str, as template engines create."""


@dataclasses.dataclass
class Tide:
    height_m: float


@pytest.mark.parametrize(
    "messages",
    [
        "hi",
        Text("hi"),
        Message(role="user", content="hi"),
        Message(content="hi"),
        [Message(role="user", content="hi")],
        [{"role": "user", "content": "hi"}],
        [{"role": Role.USER, "content": Text("hi")}],
        ({"role": "user", "content": "hi"},),
        [types.MappingProxyType({"role": "user", "content": "hi"})],
        [collections.UserDict({"role": "user", "content": "hi"})],
        collections.deque([{"role": "user", "content": "hi"}]),
        {"messages": "hi"},
        {"messages": [Message(content="hi")]},
        types.MappingProxyType({"messages": "hi"}),
        Chat(messages=[Message(content="hi")]),
        Chat(messages="hi"),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_have_many_accepted_forms(messages: Any) -> None:
    assert body(messages) == {"messages": HI}


def test_messages_may_come_from_a_generator() -> None:
    def history() -> Iterator[Any]:
        yield {"role": "system", "content": "Answer briefly."}
        yield Message(content="hi")

    assert body(history())["messages"] == [{"role": "system", "content": "Answer briefly."}, *HI]
    assert body({"messages": history()})["messages"] == [{"role": "system", "content": "Answer briefly."}, *HI]


def test_an_error_in_the_users_generator_is_the_users() -> None:
    def history() -> Iterator[Any]:
        yield {"role": "user", "content": "hi"}
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        body(history())


def test_every_field_of_a_message_reaches_the_body() -> None:
    message = {
        "role": "assistant",
        "content": "",
        "name": "n",
        "function_call": {"name": "f", "arguments": {"a": None}, "id": "c"},
        "functions_state_id": "s",
        "attachments": ["file-1"],
        "reasoning_content": "r",
        "inline_data": {"x": 1},
        "data_for_context": [1],
        "logprobs": [0.5],
        "created": 5,
        "id": "m",
        "brand_new": {"x": None},
    }
    assert body([message])["messages"] == [message]
    known = {name: value for name, value in message.items() if name not in ("brand_new", "function_call")}
    assert set(known) | {"function_call"} == set(Message.__struct_fields__)
    typed = Message(**known, function_call=FunctionCall("f", {"a": None}, "c"))  # type: ignore[arg-type]
    assert body([typed])["messages"] == [{name: value for name, value in message.items() if name != "brand_new"}]


def test_a_message_without_content_has_an_empty_text() -> None:
    sent = {"role": "assistant", "function_call": {"name": "get_tide", "arguments": {}}}
    for message in (sent, Message(**sent)):  # type: ignore[arg-type]
        assert body([*HI, message])["messages"][-1] == {**sent, "content": ""}


def test_a_property_without_a_description_has_an_empty_one() -> None:
    lake = {"type": "object", "properties": {"name": {"type": "string"}}}
    parameters = {
        "type": "object",
        "properties": {"lake": lake, "day": {"description": "d", "minimum": 1}, "any": True},
    }
    described = {
        "lake": {**lake, "description": "", "properties": {"name": {"type": "string", "description": ""}}},
        "day": {"description": "d", "minimum": 1},
        "any": True,
    }
    for function in ({"name": "f", "parameters": parameters}, Function(name="f", parameters=parameters)):
        sent = body(functions=[function])["functions"]
        assert sent == [{"name": "f", "parameters": {"type": "object", "properties": described}}]
    assert parameters["properties"]["lake"] is lake
    assert "description" not in lake


@pytest.mark.parametrize("content", ["", None, "calling"])
def test_the_answers_message_goes_back_unchanged(content: str | None) -> None:
    sent = {
        "role": "assistant",
        "content": content,
        "function_call": {"name": "get_tide", "arguments": {"port": "Murmansk", "at": None}},
        "functions_state_id": "2f0d3a7e",
    }
    answer = msgspec.json.decode(json.dumps({"choices": [{"message": sent}]}), type=ChatCompletion)
    result = {"role": "function", "name": "get_tide", "content": '{"height_m": 1.8}'}
    expected = {name: value for name, value in sent.items() if value is not None}
    assert body([*HI, answer.message, result])["messages"] == [*HI, expected, result]
    assert body([*HI, sent, result])["messages"] == [*HI, expected, result]


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ('{"height_m": 1.8}', '{"height_m": 1.8}'),
        ("", ""),
        ({"height_m": 1.8}, '{"height_m":1.8}'),
        ({"порт": None}, '{"порт":null}'),
        (Tide(1.8), '{"height_m":1.8}'),
        (5, '{"result":5}'),
        (True, '{"result":true}'),
        ([1, 2], '{"result":[1,2]}'),
    ],
)
def test_the_result_of_a_function_is_written_as_json(content: Any, sent: str) -> None:
    result = {"role": "function", "name": "f", "content": content}
    assert body([result])["messages"] == [{**result, "content": sent}]
    assert body([Message(role="function", name="f", content=content)])["messages"] == [{**result, "content": sent}]
    assert result["content"] is content


NOT_MESSAGES: list[tuple[Any, str]] = [
    ([], "at least one message"),
    ((), "at least one message"),
    (iter(()), "at least one message"),
    ({"messages": []}, "at least one message"),
    (Chat(messages=[]), "at least one message"),
    (None, "not NoneType"),
    (5, "not int"),
    (object(), "not object"),
    (b"hi", "decode"),
    (bytearray(b"hi"), "decode"),
    ({"role": "user", "content": "hi"}, 'needs "messages"'),
    ({"messages": None}, 'needs "messages"'),
    (Chat(messages=None), 'needs "messages"'),  # type: ignore[arg-type]
    ({}, 'needs "messages"'),
    ({"messages": {"role": "user", "content": "hi"}}, "not dict"),
    (["hi"], "messages[0] must be a dict or a Message, not str; a prompt alone"),
    ([*HI, None], "messages[1] must be"),
    ([HI], "messages[0] must be a dict or a Message, not list"),
    (ChatCompletion(choices=[Choice()]), "not ChatCompletion"),
    ([*HI, ChatCompletion(choices=[Choice()])], "append its .message"),
    ([{"content": "hi"}], "messages[0] needs a role"),
    ([{"role": None, "content": "hi"}], "messages[0] needs a role"),
    ([{"role": "", "content": "hi"}], "messages[0] needs a role"),
    ([{"role": 5, "content": "hi"}], "messages[0] needs a role"),
    ([Message(role=None)], "messages[0] needs a role"),  # type: ignore[arg-type]
    ([{"role": "user", "content": b"hi"}], "content must be a string, not bytes: decode"),
    ([{"role": "user", "content": 5}], "content must be a string, not int"),
    ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "only text is accepted here"),
    ([{"role": "function", "content": b"{}"}], "content must be a string, not bytes"),
    ([{"role": "function", "content": object()}], "messages[0].content.result"),
    ([{"role": "function", "content": {"x": float("nan")}}], "messages[0].content.x must be a finite number"),
]


@pytest.mark.parametrize(
    ("messages", "message"), NOT_MESSAGES, ids=[f"{type(m).__name__}-{message[:30]}" for m, message in NOT_MESSAGES]
)
def test_invalid_messages_are_refused_with_a_reason(messages: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        body(messages)
    assert message in str(caught.value)


def test_an_empty_prompt_is_the_servers_to_judge() -> None:
    assert body("") == {"messages": [{"role": "user", "content": ""}]}


# -- values outside JSON ---------------------------------------------------------------------------

_ring: list[Any] = []
_ring.append(_ring)

NOT_JSON: list[tuple[Any, str]] = [
    (float("nan"), "must be a finite number"),
    (float("inf"), "must be a finite number"),
    (-float("inf"), "must be a finite number"),
    (decimal.Decimal("NaN"), "must be a finite number"),
    (b"x", "is bytes: decode"),
    (bytearray(b"x"), "is bytes: decode"),
    (memoryview(b"x"), "is bytes: decode"),
    ("\ud800", "half of a surrogate pair"),
    (object(), "it is of type object"),
    ({1, 2}, "it is of type set"),
    (datetime.datetime(2026, 1, 1), "it is of type datetime"),
    (uuid.UUID(int=5), "it is of type UUID"),
    (lambda: 5, "it is of type function"),
    (int, "it is of type type"),
    (1j, "it is of type complex"),
    (iter([]), "it is of type list_iterator"),
    ({(1, 2): 3}, "a field whose name is not a string: tuple"),
    ({None: 3}, "a field whose name is not a string: NoneType"),
    (_ring, "holds itself"),
]


@pytest.mark.parametrize(("value", "message"), NOT_JSON, ids=[message for _, message in NOT_JSON])
@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("temperature", lambda value: {"temperature": value}),
        ("functions[0].parameters.x[1]", lambda value: {"functions": [{"name": "f", "parameters": {"x": [0, value]}}]}),
        ("functions[0].parameters.x", lambda value: {"functions": [Function(name="f", parameters={"x": value})]}),
        ("anything.new", lambda value: {"additional_fields": {"anything": {"new": value}}}),
    ],
)
def test_a_value_outside_json_is_refused_and_its_path_named(value: Any, message: str, path: str, inside: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        body("hi", **inside(value))
    assert message in str(caught.value)
    if "surrogate" not in message and "itself" not in message:
        assert str(caught.value).startswith(path)


def test_both_halves_of_a_surrogate_pair_are_joined_anywhere() -> None:
    pair = "a\ud83d\ude00b"
    assert body(pair) == body([{"role": "user", "content": pair}]) == body("a😀b")
    assert body([Message(role="user", content=pair)], stop=[{pair: pair}]) == {
        "messages": [{"role": "user", "content": "a😀b"}],
        "stop": [{"a😀b": "a😀b"}],
    }


@pytest.mark.parametrize("path", ["content", "key", "name"])
def test_half_a_surrogate_pair_is_refused_anywhere(path: str) -> None:
    half = "a\udc00b"
    with pytest.raises(ConfigError, match="surrogate"):
        if path == "content":
            body(half)
        elif path == "key":
            body("hi", x={half: 1})
        else:
            chat_body("hi", {half: 1}, {}, stream=False)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (decimal.Decimal("0.5"), 0.5),
        (fractions.Fraction(1, 2), 0.5),
        (Role.USER, "user"),
        (Text("x"), "x"),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (types.MappingProxyType({"a": None}), {"a": None}),
        (collections.deque([1]), [1]),
        (range(2), [0, 1]),
        ((1, (2,)), [1, [2]]),
        ({5: 1}, {"5": 1}),
        (Tide(1.5), {"height_m": 1.5}),
        (10**30, 10**30),
        (enum.IntEnum("N", "ONE").ONE, 1),  # type: ignore[attr-defined]
        ("\u2028\u0000🙂", "\u2028\u0000🙂"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_with_a_json_equivalent_is_converted(value: Any, sent: Any) -> None:
    assert body("hi", x=value)["x"] == sent
    assert body("hi", x=[{"y": value}])["x"] == [{"y": sent}]


def test_numbers_of_other_libraries_are_numbers() -> None:
    class Float(float):  # as numpy.float64 is
        pass

    class Int(int):
        pass

    assert chat_body("hi", {"x": Float(1.5), "y": Int(3)}, {}, stream=False).endswith(b'"x":1.5,"y":3}')


# -- response_format -------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "default": None}}}


@pytest.mark.parametrize(
    ("given_format", "sent"),
    [
        ({"type": "json_schema", "schema": SCHEMA}, {"type": "json_schema", "schema": SCHEMA}),
        (
            {"type": "json_schema", "schema": SCHEMA, "strict": True},
            {"type": "json_schema", "schema": SCHEMA, "strict": True},
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
            {"type": "json_schema", "schema": SCHEMA, "strict": True},
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
            {"type": "json_schema", "schema": SCHEMA},
        ),
        (
            {"type": "json_schema", "strict": True, "json_schema": {"schema": SCHEMA, "strict": None}},
            {"type": "json_schema", "strict": True, "schema": SCHEMA},
        ),
        ({"type": "regex", "regex": "a+"}, {"type": "regex", "regex": "a+"}),
        ({"type": "brand_new"}, {"type": "brand_new"}),
        (ResponseFormat("json_schema", SCHEMA), {"type": "json_schema", "schema": SCHEMA}),
    ],
    ids=str,
)
def test_a_format_is_sent_flat(given_format: Any, sent: Any) -> None:
    before = copy.deepcopy(given_format)
    assert body("hi", response_format=given_format)["response_format"] == sent
    assert given_format == before


@pytest.mark.parametrize("type_", ["json_object", "json", "xml"])
@pytest.mark.parametrize("make", [lambda type_: {"type": type_}, ResponseFormat])
def test_a_format_that_the_service_refuses_is_refused_with_advice(type_: str, make: Any) -> None:
    with pytest.raises(ConfigError, match="json_schema") as caught:
        body("hi", response_format=make(type_))
    assert type_ in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {"type": "json_schema"},
        {"type": "json_schema", "schema": {}},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        ResponseFormat("json_schema"),
    ],
    ids=str,
)
def test_a_schema_format_without_a_schema_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="needs a schema"):
        body("hi", response_format=value)


# -- the caller's objects stay unchanged -----------------------------------------------------------


def test_nothing_that_the_caller_passed_is_changed() -> None:
    messages = [{"role": "user", "content": "hi", "name": None}, {"role": "function", "content": {"a": 1}}]
    request = {"messages": messages, "model": None, "stream": True, "additional_fields": {"x": 1}}
    chat = Chat(messages=[Message(content="hi")], stream=True, additional_fields={"x": 1})
    options = {
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        "flags": ["a"],
    }
    defaults = {"model": "m", "flags": ["b"], "profanity_check": True}
    before = copy.deepcopy((messages, request, chat, options, defaults))
    for given_messages in (messages, request, chat):
        chat_body(given_messages, options, defaults, stream=True)
        chat_body(given_messages, options, defaults, stream=False)
    assert (messages, request, chat, options, defaults) == before


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_JSON)
def test_any_json_is_sent_unchanged(value: Any) -> None:
    assert body("hi", x=value) == ({"messages": HI, "x": value} if value is not None else {"messages": HI})


def test_cyrillic_is_sent_unescaped_in_utf_8() -> None:
    assert chat_body("Привет", {}, {}, stream=False) == '{"messages":[{"role":"user","content":"Привет"}]}'.encode()
