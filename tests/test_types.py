"""Types of requests and responses: additions of the API are tolerated, and nothing is lost."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import msgspec
import pytest

import gigaclient.types as types
from gigaclient.types import (
    AccessToken,
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    Function,
    FunctionCall,
    Message,
    Usage,
)
from gigaclient.types.coercion import coerce

ANSWER: dict[str, Any] = {
    "choices": [
        {
            "message": {"role": "assistant", "content": "About 62 metres.", "mood": "good"},
            "index": 0,
            "finish_reason": "stop",
        }
    ],
    "created": 1790000001,
    "model": "GigaChat-2-Pro:2.0.31.04",
    "object": "chat.completions",
    "usage": {"prompt_tokens": 31, "completion_tokens": 7, "total_tokens": 38, "precached_prompt_tokens": 4},
    "brand_new": {"a": [1, None]},
}


def read(data: Any, type_: Any = ChatCompletion) -> Any:
    body = data if isinstance(data, bytes) else msgspec.json.encode(data)
    try:
        answer = msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError:
        answer = coerce(msgspec.json.decode(body), type_)
    return answer.attach(raw=body, request_id="r-1", headers={"x-request-id": "r-1"})


def test_a_completion_has_the_fields_of_the_api_and_shortcuts() -> None:
    answer = read(ANSWER)
    assert answer.choices[0].message.content == answer.text == str(answer) == "About 62 metres."
    assert answer._repr_markdown_() == "About 62 metres."
    assert answer.choices[0].finish_reason == answer.finish_reason == "stop"
    assert answer.usage == Usage(prompt_tokens=31, completion_tokens=7, total_tokens=38, precached_prompt_tokens=4)
    assert answer.model == "GigaChat-2-Pro:2.0.31.04"
    assert answer.object == "chat.completions"
    assert answer.created == 1790000001
    assert answer.request_id == "r-1"
    assert answer.headers == {"x-request-id": "r-1"}
    assert answer.message is answer.choices[0].message
    assert answer.function_call is None


def test_unknown_fields_stay_reachable_as_raw() -> None:
    answer = read(ANSWER)
    assert answer.raw == ANSWER
    assert answer.raw["choices"][0]["message"]["mood"] == "good"


def test_an_answer_made_by_hand_has_a_raw_too() -> None:
    answer = ChatCompletion(choices=[Choice(message=Message(role="assistant", content="hi"))], model="m")
    assert answer.raw == {"choices": [{"message": {"role": "assistant", "content": "hi"}, "index": 0}], "model": "m"}
    assert answer.request_id is None
    assert answer.headers == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"choices":[],"x":"\xff"}', {"choices": [], "x": "\ufffd"}),
        (b'{"choices":[],"\xff":1}', {"choices": [], "\ufffd": 1}),
        (b'{"choices":[],"x":1e999}', {"choices": [], "x": float("inf")}),
    ],
)
def test_raw_never_fails_over_what_an_unknown_field_holds(body: bytes, expected: Any) -> None:
    assert read(body).raw == expected


def test_raw_never_fails_over_depth() -> None:
    answer = read(b'{"choices":[],"model":"m","x":' + b"[" * 400 + b"]" * 400 + b"}")

    def deeper(frames: int) -> Any:
        return deeper(frames - 1) if frames else answer.raw

    assert deeper(700)["model"] == "m"


@pytest.mark.parametrize("name", ["role", "finish_reason"])
def test_names_of_open_sets_may_be_anything(name: str) -> None:
    data = copy.deepcopy(ANSWER)
    target = data["choices"][0]["message"] if name == "role" else data["choices"][0]
    target[name] = "something_new"
    answer = read(data)
    assert getattr(answer.message if name == "role" else answer, name) == "something_new"


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [(17, 17), (17.0, 17), (17.9, 17), ("17", 17), (None, 0), ("many", 0), (10**30, 10**30)],
)
def test_counts_of_tokens_are_read_leniently(sent: Any, read_as: int) -> None:
    data = {**ANSWER, "usage": {"prompt_tokens": sent, "total_tokens": 5}}
    assert read(data).usage == Usage(prompt_tokens=read_as, total_tokens=5)
    assert type(read(data).usage.prompt_tokens) is int
    assert read(data).raw["usage"]["prompt_tokens"] == sent


def test_a_null_among_numbers_is_not_skipped() -> None:
    class Vector(types.Record):
        numbers: list[float]
        names: list[str] | None = None

    assert coerce({"numbers": ["1.5", 2], "names": ["a", None]}, Vector) == Vector([1.5, 2.0], ["a"])
    with pytest.raises(msgspec.ValidationError):
        coerce({"numbers": [1.5, None, 2]}, Vector)


def test_optional_counts_are_none_where_the_server_has_none() -> None:
    usage = read({**ANSWER, "usage": {"precached_prompt_tokens": None, "system_tokens": 3.0}}).usage
    assert (usage.precached_prompt_tokens, usage.system_tokens) == (None, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"created": None},
        {"created": 1790000001.0},
        {"created": "1790000001"},
        {"created": "yesterday"},
        {"usage": None},
        {"model": None},
        {"object": None},
        {"thread_id": None},
        {"additional_data": [1]},
        {"error_details": {"user_message": "x"}},
        {"choices": [{"message": {"content": "About 62 metres.", "role": None}, "index": None, "finish_reason": None}]},
        {"choices": [{"message": {"content": "About 62 metres.", "attachments": [{"id": 1}], "created": 1.0}}]},
        {"choices": [{"message": {"content": "About 62 metres.", "inline_data": [], "logprobs": {}, "id": 5}}]},
        {"choices": [{"message": {"content": "About 62 metres.", "data_for_context": "x", "name": None}}]},
    ],
    ids=str,
)
def test_nulls_and_numbers_as_strings_do_not_fail_the_response(change: dict[str, Any]) -> None:
    answer = read({**ANSWER, **change})
    assert answer.text == "About 62 metres."
    assert answer.created in (1790000001, None)
    assert answer.message.role == "assistant"
    assert answer.choices[0].index == 0


def test_an_answer_without_a_role_is_the_assistants() -> None:
    assert read({"choices": [{"message": {"content": "hi"}}]}).message.role == "assistant"
    assert read({"choices": [{}]}).message == Message(role="assistant")
    assert read({"choices": [{"message": None}]}).message == Message(role="assistant")


def test_making_a_choice_does_not_change_its_message() -> None:
    mine = Message(role="user", content="hi")
    assert Choice(message=mine).message.role == "assistant"
    assert mine.role == "user"


def test_a_message_without_a_role_is_the_users() -> None:
    assert Message(content="hi").role == "user"
    assert msgspec.json.encode(Message(content="hi")) == b'{"role":"user","content":"hi"}'


@pytest.mark.parametrize("arguments", [{"port": "Murmansk", "at": None}, '{"port": "Murmansk"}', None, [1]])
def test_arguments_come_as_the_server_sends_them(arguments: Any) -> None:
    data = {"choices": [{"message": {"content": "", "function_call": {"name": "get_tide", "arguments": arguments}}}]}
    call = read(data).function_call
    assert call == FunctionCall(name="get_tide", arguments=arguments)
    assert type(call.arguments) is type(arguments)


def test_a_call_has_a_name_even_when_the_server_has_none() -> None:
    assert read({"choices": [{"message": {"function_call": {"name": None}}}]}).function_call.name == ""


def test_the_text_of_an_answer_is_never_none() -> None:
    assert read({"choices": [{"message": {"content": None}}]}).text == ""
    assert ChatCompletion().text == ""
    assert ChatCompletion().finish_reason is None
    assert ChatCompletion().function_call is None
    assert ChatCompletion().message == Message(role="assistant", content="")
    assert ChatCompletionChunk().text == ""
    assert ChatCompletionChunk().finish_reason is None


def chunk_of(delta: Any, **choice: Any) -> Any:
    return read({"choices": [{"delta": delta, **choice}]}, ChatCompletionChunk)


def test_a_chunk_gives_the_text_it_adds() -> None:
    chunk = chunk_of({"content": "About "}, index=0)
    assert chunk.text == str(chunk) == chunk._repr_markdown_() == chunk.choices[0].delta.content == "About "
    assert chunk.request_id == "r-1"
    assert chunk_of({"content": "x", "role": "function_in_progress"}).text == ""
    assert chunk_of({"content": "x"}, index=1).text == ""
    assert chunk_of({"content": "x"}, index=None).text == "x"
    assert chunk_of({"content": "x"}, index=0.0).text == "x"
    assert chunk_of(None, finish_reason="stop").finish_reason == "stop"
    assert chunk_of({}, index=1, finish_reason="stop").finish_reason is None
    assert chunk_of({"created": 1.0}).choices[0].delta.created == 1


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda answer: pickle.loads(pickle.dumps(answer))])
def test_answers_can_be_copied_and_pickled_whole(again: Any) -> None:
    for type_ in (ChatCompletion, ChatCompletionChunk):
        answer = read(ANSWER, type_)
        for _ in range(2):  # before and after raw is first read
            other = again(answer)
            assert other == answer
            assert other is not answer
            assert other.raw == ANSWER
            assert other.request_id == "r-1"
            assert other.headers == {"x-request-id": "r-1"}


def test_a_struct_can_be_compared_and_shown() -> None:
    assert Function(name="f") == Function(name="f")
    assert "get_tide" in repr(FunctionCall(name="get_tide"))
    assert Chat(messages=[]).model is None


def test_only_fields_that_are_there_are_shown() -> None:
    assert repr(Message(content="hi")) == "Message(role='user', content='hi')"
    assert repr(Usage(prompt_tokens=1)) == "Usage(prompt_tokens=1, completion_tokens=0, total_tokens=0)"


def test_a_token_is_not_shown() -> None:
    token = AccessToken(access_token="very-secret", expires_at=5)
    assert "very-secret" not in repr(token)
    assert "very-secret" not in str(token)
    assert token.access_token == "very-secret"


def test_everything_public_is_listed_and_described() -> None:
    for name in types.__all__:
        assert getattr(types, name).__doc__, name
