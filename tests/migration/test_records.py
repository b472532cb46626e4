"""The pydantic methods of the official SDK's types: validate, dump and copy."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import msgspec
import pytest
from support.ids import stable_id

from gigaclient import ConfigError, GigaChat
from gigaclient.models import (
    AccessToken,
    Chat,
    ChatCompletion,
    ChatCompletionRequest,
    ChatFunctionCall,
    FewShotExample,
    Function,
    FunctionCall,
    FunctionParameters,
    FunctionParametersProperty,
    FunctionRanker,
    JsonSchemaResponseFormat,
    Messages,
    MessagesRole,
    Model,
    Models,
    Storage,
    Thread,
    ThreadMessages,
    Token,
    UploadedFile,
    Usage,
)
from gigaclient.testing import GigaChatEmulator
from gigaclient.types import Record

ANSWER = {
    "choices": [
        {"message": {"role": "assistant", "content": "Да", "id": 7}, "index": 0, "finish_reason": "stop"},
        {"message": {"role": "assistant", "content": "Нет"}, "index": 1},
    ],
    "created": 1790000001,
    "model": "GigaChat-2",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    "brand_new": [1],
}


class Tide:
    """The part of a pydantic model that we use."""

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return {"title": "Tide", "type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}


def answer() -> ChatCompletion:
    decoded = msgspec.json.decode(msgspec.json.encode(ANSWER), type=ChatCompletion)
    headers = {"x-request-id": "r-1", "x-session-id": "s-1", "server": "nginx"}
    return decoded.attach(raw=msgspec.json.encode(ANSWER), request_id="r-1", headers=headers)


# -- names with an underscore ----------------------------------------------------------------------


def test_fields_are_read_by_the_names_that_the_official_sdk_has_for_them() -> None:
    file = UploadedFile(id="f-1", object="file", bytes=5, created_at=1, filename="a.txt", purpose="general")
    assert (file.id_, file.object_, file.bytes_) == ("f-1", "file", 5)
    assert answer().object_ == "chat.completion"
    assert answer().choices[0].message.id_ == 7
    assert JsonSchemaResponseFormat(schema={"type": "object"}).schema_ == {"type": "object"}
    assert FunctionParametersProperty(type="string").type_ == "string"


@pytest.mark.parametrize("name", ["id_", "object_", "bytes_", "schema_", "type_"])
def test_a_record_without_such_a_field_has_no_such_name(name: str) -> None:
    usage = Usage()
    assert not hasattr(usage, name)
    with pytest.raises(AttributeError, match=f"'Usage' object has no attribute '{name}'"):
        getattr(usage, name)


def test_the_schema_of_a_model_leaves_nothing_in_its_function_but_the_parameters() -> None:
    function = Function.model_validate(Tide.model_json_schema())
    assert function == Function(name="Tide", parameters=function.parameters)
    assert sorted(function.model_dump(exclude_none=True)) == ["name", "parameters"]
    chat = Chat.model_validate({"messages": [], "functions": [Tide.model_json_schema()]})
    assert sorted(dict(chat.functions[0])) == sorted(dict(function))  # type: ignore[index]


def test_the_ids_of_a_call_are_its_x_headers() -> None:
    assert answer().x_headers == {"x-request-id": "r-1", "x-session-id": "s-1", "x-client-id": None}
    assert ChatCompletion().attach(request_id="r-2").x_headers == {
        "x-request-id": "r-2",
        "x-session-id": None,
        "x-client-id": None,
    }
    assert ChatCompletion().x_headers is None


def test_the_chunks_of_a_stream_have_the_id_too(gigachat_emulator: GigaChatEmulator) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        chunk = next(giga.stream("Count from 1 to 3", request_id="r-3"))
    assert chunk.x_headers is not None
    assert chunk.x_headers["x-request-id"] == "r-3"


# -- dump -------------------------------------------------------------------------------------------


def test_a_dump_has_every_field_under_the_official_names() -> None:
    dumped = answer().model_dump()
    assert dumped["object_"] == "chat.completion"
    assert dumped["thread_id"] is None
    assert dumped["choices"][0]["message"]["id_"] == 7
    assert dumped["usage"]["total_tokens"] == 4
    assert dumped["brand_new"] == [1]
    assert answer().model_dump(by_alias=True)["object"] == "chat.completion"
    assert FunctionParameters(properties={"a": {"type": "string"}}).model_dump(exclude_none=True) == {
        "type_": "object",
        "properties": {"a": {"type_": "string", "description": ""}},
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"exclude_none": True}, {"role": "user", "content": "Hi"}),
        ({"exclude_defaults": True}, {"content": "Hi"}),
        ({"exclude_unset": True}, {"content": "Hi"}),
        ({"include": {"content"}}, {"content": "Hi"}),
        ({"include": {"id"}}, {"id_": None}),
        ({"include": {"id_"}, "by_alias": True}, {"id": None}),
        ({"include": {"content": True, "role": False}}, {"content": "Hi"}),
        ({"include": {"content", "role"}, "exclude": {"role"}}, {"content": "Hi"}),
        ({"include": set()}, {}),
        ({"exclude": {"role": True, "content": ...}, "exclude_none": True}, {}),
    ],
    ids=stable_id,
)
def test_a_dump_omits_fields_on_request(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Messages(content="Hi").model_dump(**options) == expected


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"include": {"choices": {0: {"message": {"content"}}}}}, {"choices": [{"message": {"content": "Да"}}]}),
        ({"include": {"choices": {-1: {"index"}}}}, {"choices": [{"index": 1}]}),
        ({"include": {"choices": {"__all__": {"index"}}}}, {"choices": [{"index": 0}, {"index": 1}]}),
        (
            {"include": {"choices"}, "exclude": {"choices": {"__all__": {"message", "logprobs"}, 0: True}}},
            {"choices": [{"index": 1, "finish_reason": None}]},
        ),
    ],
    ids=stable_id,
)
def test_a_dump_can_be_selected_in_depth(selection: dict[str, Any], expected: dict[str, Any]) -> None:
    assert answer().model_dump(**selection) == expected


def test_json_is_on_one_line_or_indented_and_keeps_cyrillic() -> None:
    message = Messages(role=MessagesRole.USER, content="Да")
    assert message.model_dump_json(exclude_none=True) == '{"role":"user","content":"Да"}'
    assert message.model_dump_json(exclude_none=True, indent=2) == '{\n  "role": "user",\n  "content": "Да"\n}'
    assert json.loads(answer().model_dump_json()) == answer().model_dump(mode="json")
    assert message.json(include={"content"}) == '{"content":"Да"}'
    assert message.dict(include={"content"}) == {"content": "Да"}


def test_a_role_is_dumped_and_printed_as_its_text() -> None:
    dumped = Messages(role=MessagesRole.USER).model_dump()
    assert type(dumped["role"]) is str
    assert f"{MessagesRole.USER} {MessagesRole.USER!s} {MessagesRole.USER:>5}" == "user user  user"


def test_in_json_mode_everything_is_what_json_has() -> None:
    class Odd(Record):
        one: Any
        two: Any = None

    import datetime

    moment = datetime.datetime(2026, 1, 2, 3, 4, 5)
    odd = Odd({MessagesRole.USER: (1, 2), 3: {4}}, moment)
    assert odd.model_dump(mode="json") == {"one": {"user": [1, 2], "3": [4]}, "two": "2026-01-02T03:04:05"}
    assert odd.model_dump()["two"] == moment


# -- validation --------------------------------------------------------------------------------------------


def test_a_dict_becomes_a_record_whichever_names_it_has() -> None:
    for data in (ANSWER, answer().model_dump(), answer().model_dump(by_alias=True)):
        validated = ChatCompletion.model_validate(data)
        assert validated == answer()
        assert validated.object == "chat.completion"
        assert validated.choices[0].message.id == 7
    assert ChatCompletion.model_validate(ANSWER).raw == ANSWER
    assert ChatCompletion.model_validate_json(json.dumps(ANSWER)) == answer()
    assert Models.model_validate({"data": [{"id_": "m"}]}).data == [Model(id="m")]
    assert ChatCompletion.parse_obj(ANSWER) == answer()


def test_a_record_is_returned_unchanged() -> None:
    mine = answer()
    assert ChatCompletion.model_validate(mine) is mine


def test_numbers_as_strings_are_accepted() -> None:
    assert Chat.model_validate({"messages": [], "temperature": "0.5", "n": "2"}).temperature == 0.5
    assert (
        ChatCompletion.model_validate({"choices": [], "created": 17.0, "usage": {"total_tokens": None}}).created == 17
    )


def test_names_inside_of_free_data_are_left_alone() -> None:
    call = FunctionCall.model_validate({"name": "f", "arguments": {"id_": 1, "type_": 2}})
    assert call.arguments == {"id_": 1, "type_": 2}


def test_a_request_of_dicts_and_records_is_validated_in_depth() -> None:
    chat = Chat.model_validate(
        {
            "messages": [{"role": MessagesRole.SYSTEM, "content": "a"}, Messages(content="b")],
            "functions": [Tide.model_json_schema()],
            "function_call": {"name": "Tide"},
        }
    )
    assert chat.messages == [Messages(role="system", content="a"), Messages(content="b")]
    assert chat.functions is not None
    assert chat.functions[0].name == "Tide"
    assert chat.functions[0].parameters == {
        "type": "object",
        "properties": {"port": {"type": "string"}},
        "required": ["port"],
    }
    assert chat.function_call == ChatFunctionCall(name="Tide")


@pytest.mark.parametrize(
    ("type_", "data", "message"),
    [
        (Chat, {"messages": "Hi"}, r"not a Chat: .*messages"),
        (Chat, {}, r"not a Chat: .*messages"),
        (Chat, {"messages": [], "temperature": "hot"}, r"not a Chat: .*temperature"),
        (Chat, [1], "Chat is made of a dict, not of list"),
        (Chat, None, "Chat is made of a dict, not of NoneType"),
        (Model, {}, r"not a Model: .*id"),
    ],
)
def test_invalid_data_is_a_value_error_with_its_path(type_: Any, data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        type_.model_validate(data)


@pytest.mark.parametrize("text", ["{", b"\xff", ""])
def test_what_is_not_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        Chat.model_validate_json(text)


def test_a_type_describes_itself() -> None:
    schema = Function.model_json_schema()
    assert schema["properties"]["name"] == {"type": "string"}
    assert schema["required"] == ["name"]
    assert list(schema["$defs"]) == ["FunctionFewShot"]
    assert "$defs" not in Usage.model_json_schema()
    nested = FunctionParametersProperty.model_json_schema()  # a recursive type
    assert nested["$ref"] == "#/$defs/FunctionParametersProperty"


def test_a_copy_is_changed_by_field_and_keeps_its_metadata() -> None:
    first = answer()
    second = first.model_copy(update={"object_": "other", "model": "m"})
    assert (second.object, second.model, first.object) == ("other", "m", "chat.completion")
    assert second.request_id == "r-1"
    assert second.choices is first.choices
    assert first.model_copy(deep=True).choices is not first.choices
    assert first.copy() == first
    with pytest.raises(ConfigError, match="has no field 'nonsense'"):
        first.model_copy(update={"nonsense": 1})


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_requests_travel_too(again: Any) -> None:
    chat = Chat(messages=[{"role": "user", "content": "Hi"}], functions=[Function(name="f")], storage={"limit": 1})
    assert again(chat) == chat


# -- pairs of name and value, unknown fields -----------------------------------------------------------------


def test_a_record_is_a_series_of_pairs_and_its_variables_are_its_fields() -> None:
    first = answer()
    for fields in (dict(first), vars(first), dict(iter(first))):
        assert fields["object_"] == "chat.completion"
        assert fields["choices"] is first.choices
        assert fields["brand_new"] == [1]
        assert fields.keys() == first.model_dump().keys()
        assert {"_raw", "raw", "headers", "request_id", "x_headers", "_hidden"}.isdisjoint(fields)
    assert json.loads(json.dumps(first, default=vars)) == first.model_dump(mode="json")


@pytest.mark.parametrize(
    "record",
    [
        answer(),
        Chat(
            messages=[{"role": "user", "content": "Hi", "function_call": {"name": "f", "arguments": {"a": 1}}}],
            functions=[{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}],
            function_call={"name": "f"},
            storage={"limit": 1},
            brand_new={"a": 1},
        ),
        FunctionParameters(properties={"a": {"type": "object", "properties": {"b": {"type": "string"}}}}),
        Models(data=[{"id": "m", "brand_new": 1}]),
        ChatCompletionRequest(messages="Hi", tools=["web_search"], model_options={"temperature": 0.5}),
        ThreadMessages(thread_id="t", messages=[{"message_id": "m", "role": "user", "content": "Hi"}]),
        AccessToken(access_token="a", expires_at=1),
    ],
    ids=lambda record: type(record).__name__,
)
@pytest.mark.parametrize("by_alias", [False, True])
def test_a_record_is_made_again_from_its_dump(record: Any, by_alias: bool) -> None:
    made = type(record)(**record.model_dump(by_alias=by_alias))
    assert made == record
    assert made.model_dump() == record.model_dump()
    assert type(record).model_validate(record.model_dump(by_alias=by_alias)).model_dump() == record.model_dump()
    for again in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        assert again(record).model_dump() == record.model_dump()


def test_nested_dicts_become_records_of_any_depth() -> None:
    made = ChatCompletion(**ANSWER)
    assert made == answer()
    assert type(made.choices[0].message) is Messages
    message: Any = Messages(role="assistant", content="", function_call={"name": "f", "arguments": {"a": 1}})
    assert message.function_call == FunctionCall(name="f", arguments={"a": 1})
    assert Thread(id_="t").id == "t"


def test_the_callers_list_is_not_that_of_the_record() -> None:
    messages = [Messages(content="Hi")]
    Chat(messages=messages).messages.append(Messages(content="there"))
    assert messages == [Messages(content="Hi")]


def test_unknown_fields_of_an_answer_are_attributes_and_in_its_dump() -> None:
    sent = {**ANSWER, "choices": [{**ANSWER["choices"][0], "grade": 5}], "usage": {**ANSWER["usage"], "spared": 1}}
    first: Any = msgspec.json.decode(msgspec.json.encode(sent), type=ChatCompletion)
    first.attach(raw=msgspec.json.encode(sent))
    dumped = first.model_dump()
    assert (dumped["brand_new"], dumped["choices"][0]["grade"], dumped["usage"]["spared"]) == ([1], 5, 1)
    assert (first.brand_new, first.choices[0].grade) == ([1], 5)
    assert first.model_dump(exclude={"brand_new"}).keys() == answer().model_dump(exclude={"brand_new"}).keys()
    first.brand_new = 2
    assert (first.brand_new, first.model_dump()["brand_new"], first.raw["brand_new"]) == (2, 2, [1])


def test_unknown_fields_of_an_answer_are_not_sent_back(gigachat_emulator: GigaChatEmulator) -> None:
    sent = {**ANSWER, "choices": [{"message": {"role": "assistant", "content": "Да", "grade": 5}, "index": 0}]}
    first = ChatCompletion.model_validate(sent)
    assert first.model_dump()["choices"][0]["message"]["grade"] == 5
    with GigaChat(**gigachat_emulator.client_options) as giga:
        giga.chat([Messages(content="Hi"), first.message, Messages(content="there")])
    assert json.loads(gigachat_emulator.requests[0].body)["messages"][1] == {"role": "assistant", "content": "Да"}


def test_a_misspelt_attribute_is_an_error() -> None:
    usage = Usage()
    with pytest.raises(AttributeError, match="'Usage' object has no attribute 'total'"):
        usage.total = 1  # type: ignore[attr-defined]
    model: Any = Model(id="m")
    model.id_ = "n"
    assert model.id == "n"


def test_the_ids_that_the_official_sdk_keeps_in_a_field_are_accepted() -> None:
    made: Any = ChatCompletion(choices=[], x_headers={"x-request-id": "r-1", "x-session-id": None})
    assert made.x_headers == {"x-request-id": "r-1", "x-session-id": None, "x-client-id": None}
    assert made.request_id == "r-1"
    assert "x_headers" not in made.model_dump()


def test_a_token_has_both_names_of_its_fields() -> None:
    token = Token(tok="very-secret", exp=1790000000000)
    assert (token.tok, token.exp) == (token.access_token, token.expires_at) == ("very-secret", 1790000000000)
    assert token == AccessToken(access_token="very-secret", expires_at=1790000000000)
    assert "very-secret" not in repr(token)
    assert token.x_headers is None


# -- constructors of requests -----------------------------------------------------


def test_dicts_become_the_types_they_stand_for() -> None:
    chat = Chat(
        messages=[{"role": "user", "content": "Hi"}, Messages(role=MessagesRole.USER, content="there")],
        functions=[{"name": "f", "few_shot_examples": [{"request": "r", "params": {"a": 1}}]}],
        function_call={"name": "f"},
        function_ranker={"enabled": True},
        storage={"is_stateful": True},
    )
    assert chat.messages[0] == Messages(role="user", content="Hi")
    assert chat.functions == [Function(name="f", few_shot_examples=[FewShotExample(request="r", params={"a": 1})])]
    assert chat.function_call == ChatFunctionCall(name="f")
    assert chat.function_ranker == FunctionRanker(enabled=True)
    assert chat.storage == Storage(is_stateful=True)


def test_unknown_fields_of_nested_dicts_are_attributes_and_are_sent(gigachat_emulator: GigaChatEmulator) -> None:
    message = {"role": "user", "content": "Hi", "brand_new": 1}
    function = {"name": "f", "brand_new": 2}
    chat: Any = Chat(messages=[message], functions=[function], storage={"brand_new": 3}, brand_new={"a": 4})
    assert (chat.messages[0].content, chat.messages[0].brand_new) == ("Hi", 1)
    assert (chat.functions[0].brand_new, chat.storage.brand_new, chat.brand_new) == (2, 3, {"a": 4})
    assert repr(chat.messages[0]) == "Message(role='user', content='Hi', brand_new=1)"
    with GigaChat(**gigachat_emulator.client_options) as giga:
        giga.chat(chat)
    sent = json.loads(gigachat_emulator.requests[0].body)
    assert (sent["messages"], sent["functions"]) == ([message], [function])
    assert (sent["storage"], sent["brand_new"]) == ({"brand_new": 3}, {"a": 4})


@pytest.mark.parametrize("messages", [[{"content": "Hi"}], [{}], [{5: 6}], "Hi", None, [None]], ids=stable_id)
def test_invalid_messages_are_reported_by_the_call(messages: Any) -> None:
    assert Chat(messages=messages).messages == messages


def test_the_callers_lists_are_not_changed() -> None:
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    Chat(messages=messages).messages.append(Messages(content="there"))
    assert messages == [{"role": "user", "content": "Hi"}]


def test_a_schema_may_be_written_in_classes_or_come_from_a_model(gigachat_emulator: GigaChatEmulator) -> None:
    in_classes = FunctionParameters(
        properties={
            "port": FunctionParametersProperty(type="string", description="which", enum=["N", "S"]),
            "at": {"type": "array", "items": {"type": "integer"}},
            "where": FunctionParametersProperty(properties={"lake": {"type": "string"}}),
        },
        required=["port"],
    )
    with GigaChat(**gigachat_emulator.client_options) as giga:
        giga.chat(
            Chat(
                messages=[{"role": "user", "content": "Hi"}],
                functions=[
                    Function(name="one", parameters=in_classes),
                    Function(name="two", parameters=Tide, return_parameters=Tide),
                    Function(name="three", parameters=None),
                ],
                function_call="none",
            )
        )
        giga.chat("Hi", response_format=JsonSchemaResponseFormat(schema=Tide, strict=True))
        giga.chat("Hi", response_format={"type": "json_schema", "schema": Tide})
        giga.chat({"messages": [{"role": "user", "content": "Hi"}], "functions": [Tide.model_json_schema()]})
    functions, typed, plain, adapted = (json.loads(request.body) for request in gigachat_emulator.requests)
    described = {**Tide.model_json_schema(), "properties": {"port": {"type": "string", "description": ""}}}
    assert functions["functions"] == [
        {
            "name": "one",
            "parameters": {
                "type": "object",
                "properties": {
                    "port": {"type": "string", "description": "which", "enum": ["N", "S"]},
                    "at": {"type": "array", "description": "", "items": {"type": "integer"}},
                    "where": {
                        "type": "object",
                        "description": "",
                        "properties": {"lake": {"type": "string", "description": ""}},
                    },
                },
                "required": ["port"],
            },
        },
        {"name": "two", "parameters": described, "return_parameters": Tide.model_json_schema()},
        {"name": "three"},
    ]
    expected = {"type": "json_schema", "schema": Tide.model_json_schema()}
    assert typed["response_format"] == {**expected, "strict": True}
    assert plain["response_format"] == expected
    assert adapted["functions"][0]["name"] == "Tide"
    assert adapted["functions"][0]["parameters"]["required"] == ["port"]
