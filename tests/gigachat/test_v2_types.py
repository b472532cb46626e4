"""The types of API v2: the accepted values of request fields, and the properties of responses."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import msgspec
import pytest

from gigaclient import types
from gigaclient.errors import ConfigError
from gigaclient.gigachat.v2.request_body import chat_v2_body
from gigaclient.types import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionResponseChunk,
    ChatContentFile,
    ChatContentPart,
    ChatFilterConfig,
    ChatFilterContentConfig,
    ChatFunctionCall,
    ChatFunctionExample,
    ChatFunctionResult,
    ChatFunctionSpecification,
    ChatFunctionsTool,
    ChatInlineData,
    ChatMessage,
    ChatModelOptions,
    ChatReasoning,
    ChatResponseFormat,
    ChatSource,
    ChatStorage,
    ChatTool,
    ChatToolConfig,
    ChatUserInfo,
    ChatWebSearchTool,
)
from gigaclient.types.coercion import coerce
from gigaclient.types.files import GeneratedFile


def answer(*messages: Any, **fields: Any) -> ChatCompletionResponse:
    body = msgspec.json.encode({"messages": list(messages), **fields})
    return msgspec.json.decode(body, type=ChatCompletionResponse).attach(raw=body)


def assistant_message(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(parts), **fields}


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("hi", [ChatContentPart(text="hi")]),
        ({"text": "hi"}, [ChatContentPart(text="hi")]),
        (["hi", {"files": [{"id": "a"}]}], [ChatContentPart(text="hi"), ChatContentPart(files=[ChatContentFile("a")])]),
        (ChatContentPart(text="hi"), [ChatContentPart(text="hi")]),
        ([], []),
        (None, None),
    ],
)
def test_content_becomes_parts(content: Any, parts: Any) -> None:
    assert ChatMessage(role="user", content=content).content == parts
    assert ChatMessage.model_validate({"role": "user", "content": msgspec.to_builtins(content)}).content == parts


def test_a_request_takes_what_the_official_one_takes() -> None:
    request = ChatCompletionRequest(
        messages=[{"role": "user", "content": "hi"}],
        tools=["image_generate", {"web_search": {"flags": ["a"]}}, {"functions": {"specifications": [{"name": "f"}]}}],
        storage=True,
        reasoning={"effort": "low"},
        response_format={"type": "regex", "regex": "a"},
        model_options={"temperature": 1},
        tool_config={"mode": "auto"},
        user_info={"timezone": "Europe/Moscow"},
        filter_config={"request_content": {"neuro": False}},
        profanity_check=False,
        functions_state_id="s",
    )
    assert request.messages == [ChatMessage(role="user", content=[ChatContentPart(text="hi")])]
    assert request.tools == [
        ChatTool(image_generate={}),
        ChatTool(web_search=ChatWebSearchTool(flags=["a"])),
        ChatTool(functions=ChatFunctionsTool(specifications=[ChatFunctionSpecification(name="f")])),
    ]
    assert request.storage == ChatStorage()
    assert request.model_options == ChatModelOptions(
        temperature=1,
        reasoning=ChatReasoning(effort="low"),
        response_format=ChatResponseFormat(type="regex", regex="a"),
    )
    assert request.reasoning == ChatReasoning(effort="low")
    assert request.response_format == ChatResponseFormat(type="regex", regex="a")
    assert request.tool_config == ChatToolConfig(mode="auto")
    assert request.user_info == ChatUserInfo(timezone="Europe/Moscow")
    assert request.filter_config == ChatFilterConfig(request_content=ChatFilterContentConfig(neuro=False))
    assert request.disable_filter is True
    assert request.tools_state_id == "s"


def test_options_of_the_request_can_be_assigned() -> None:
    request = ChatCompletionRequest(messages="hi")
    assert request.reasoning is None
    assert request.response_format is None
    request.reasoning = ChatReasoning(effort="high")
    request.response_format = ChatResponseFormat(type="text")
    assert request.model_options == ChatModelOptions(
        reasoning=ChatReasoning(effort="high"), response_format=ChatResponseFormat(type="text")
    )
    assert "effort='high'" in repr(request)


def test_model_options_override_top_level_fields() -> None:
    request = ChatCompletionRequest(
        messages="hi", reasoning={"effort": "low"}, model_options={"reasoning": {"effort": "high"}}
    )
    assert request.reasoning == ChatReasoning(effort="high")


def test_a_request_survives_copies_pickles_and_dumps() -> None:
    request = ChatCompletionRequest(messages="hi", reasoning={"effort": "low"}, tools=["web_search"], storage=True)
    for made in (
        copy.copy(request),
        copy.deepcopy(request),
        pickle.loads(pickle.dumps(request)),
        msgspec.structs.replace(request),
        ChatCompletionRequest.model_validate(request.model_dump(exclude_none=True)),
    ):
        assert made == request
        assert made.reasoning == ChatReasoning(effort="low")


def test_storage_may_be_switched_off() -> None:
    assert ChatCompletionRequest(messages="hi", storage=False).storage is None


def test_unknown_fields_are_not_lost() -> None:
    request = ChatCompletionRequest.model_validate(
        {"messages": [{"role": "user", "content": [{"text": "a", "new": 1}]}], "tools": [{"new": {}}], "new": 2}
    )
    assert request.additional_fields == {"new": 2}
    sent = json.loads(chat_v2_body(request, {}, {}, stream=False))
    assert sent["new"] == 2
    assert sent["tools"] == [{"new": {}}]
    assert sent["messages"] == [{"role": "user", "content": [{"text": "a", "new": 1}]}]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChatCompletionRequest(messages="hi", tools=["websearch"]),
        lambda: ChatCompletionRequest.model_validate({"model": "M"}),
        lambda: ChatCompletionRequest.model_validate([]),
        lambda: ChatTool.model_validate("websearch"),
        lambda: ChatMessage.function_result({"arguments": {}}, 1),
        lambda: ChatMessage.function_result({"name": "f"}, 1, role="user"),
        lambda: ChatMessage.function_results([]),
        lambda: ChatMessage.function_result({"name": "f"}, object(), as_text=True),
    ],
)
def test_an_invalid_value_is_a_config_error(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_a_tool_is_validated_by_name() -> None:
    assert ChatTool.model_validate("image_generate") == ChatTool(image_generate={})


def test_a_schema_with_a_title_is_a_function() -> None:
    schema = {"title": "f", "description": "d", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    tool = ChatFunctionsTool(specifications=[schema])  # type: ignore[list-item]
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert tool.specifications == [ChatFunctionSpecification(name="f", description="d", parameters=parameters)]


def test_examples_become_their_type() -> None:
    examples: Any = [{"request": "r", "params": {"a": 1}}]
    specification = ChatFunctionSpecification(name="f", few_shot_examples=examples)
    assert specification.few_shot_examples == [ChatFunctionExample(request="r", params={"a": 1})]


@pytest.mark.parametrize(
    ("result", "as_text", "sent"),
    [
        ({"a": 1}, False, {"a": 1}),
        ({"a": 1}, True, '{"a":1}'),
        ('{"a":1}', False, {"a": 1}),
        ("sunny", False, {"result": "sunny"}),
        ("sunny", True, '{"result":"sunny"}'),
        (7, False, {"result": 7}),
    ],
)
def test_a_result_is_made_of_its_call(result: Any, as_text: bool, sent: Any) -> None:
    call = ChatFunctionCall(name="f", id="c")
    message = ChatMessage.function_result(call, result, as_text=as_text, tools_state_id="s")
    part = ChatContentPart(function_result=ChatFunctionResult("f", sent, "c"))
    assert message == ChatMessage(role="tool", content=[part], tools_state_id="s")


def test_arguments_that_came_as_text_are_read() -> None:
    assert ChatFunctionCall(name="f", arguments='{"a":1}').arguments == {"a": 1}
    assert ChatFunctionCall(name="f", arguments="{oops").arguments == "{oops"


# -- responses -------------------------------------------------------------------------------------


def test_the_text_is_what_the_assistant_says() -> None:
    found = answer(
        {"role": "reasoning", "content": [{"text": "hm"}]},
        assistant_message({"text": "High "}, {"files": [{"id": "a"}]}, {"text": "tide."}),
        assistant_message({"text": " Soon."}),
        finish_reason="stop",
    )
    assert found.text == str(found) == found._repr_markdown_() == "High tide. Soon."
    assert found.reasoning_text == "hm"
    assert found.finish_reason == "stop"


def test_an_answer_without_text_has_an_empty_one() -> None:
    for found in (
        answer(),
        answer(assistant_message()),
        answer({"role": "assistant"}),
        answer(assistant_message({"function_call": {"name": "f"}})),
    ):
        assert found.text == ""


@pytest.mark.parametrize("name", ["tool_state_id", "tools_state_id", "functions_state_id"])
def test_every_spelling_of_the_state_id_is_read(name: str) -> None:
    found = answer(assistant_message({"text": "a"}, **{name: "s"}))
    assert found.tools_state_id == found.message.tools_state_id == "s"
    assert answer(assistant_message({"text": "a"}), **{name: "s"}).message.tools_state_id == "s"
    chunk = msgspec.json.decode(
        msgspec.json.encode({"messages": [{"role": "assistant", name: "s"}]}), type=ChatCompletionResponseChunk
    )
    assert chunk.tools_state_id == "s"


@pytest.mark.parametrize("fields", [{"created_at": 17}, {"created": 17}, {"created_at": "17"}, {"created_at": 17.0}])
def test_every_spelling_of_the_time_is_read(fields: dict[str, Any]) -> None:
    assert coerce({"messages": [], **fields}, ChatCompletionResponse).created_at == 17


def test_content_may_be_a_string() -> None:
    assert answer({"role": "assistant", "content": "hi"}).text == "hi"


def test_nulls_and_odd_numbers_cost_no_answer() -> None:
    sent: dict[str, Any] = {
        "messages": [
            {"role": None, "content": [None, {"text": "a", "files": [None, {"id": None}], "inline_data": None}]},
            None,
        ],
        "usage": {"input_tokens": 17.0, "output_tokens": None, "total_tokens": "20"},
        "additional_data": {"execution_steps": []},
        "error_details": None,
    }
    found = coerce(sent, ChatCompletionResponse)
    assert found.text == "a"
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (17, 0, 20)


@pytest.mark.parametrize("sources", [{"1": {"url": "u", "title": "t", "new": 1}}, {"1": {"url": "u", "title": "t"}}])
def test_sources_are_found(sources: Any) -> None:
    found = answer(assistant_message({"text": "a", "inline_data": {"sources": sources, "images": [], "widgets": []}}))
    assert found.sources == {"1": ChatSource(url="u", title="t")}


@pytest.mark.parametrize("sources", [[], ["u"], None, "u"])
def test_odd_sources_cost_no_answer(sources: Any) -> None:
    found = answer(assistant_message({"text": "a", "inline_data": {"sources": sources}}))
    assert (found.text, found.sources) == ("a", {})
    assert ChatInlineData(sources=sources).sources == sources


def test_files_are_found_once_and_pictures_apart() -> None:
    image = {"id": "a", "target": "image", "mime": "image/jpeg"}
    found = answer(
        assistant_message({"files": [image, {"id": "b", "target": "3dmodel"}]}, {"text": ""}, {"files": [image]})
    )
    assert found.files == [GeneratedFile("a", "image", "image/jpeg"), GeneratedFile("b", "3dmodel")]
    assert found.images == [GeneratedFile("a", "image", "image/jpeg")]
    assert answer(assistant_message({"files": [{"id": "c", "mime": "audio/mp3"}]})).files[0].kind == "audio"


def test_each_call_is_found_once() -> None:
    one = {"id": "1", "name": "f", "arguments": {"a": 1}}
    found = answer(
        assistant_message(
            {"function_call": one},
            {"function_call": {"name": "f", "arguments": {"a": 1}}},
            {"function_call": {**one, "id": "2"}},
            {"function_call": {"name": "f", "arguments": '{"a":2}'}},
            function_call=one,
        )
    )
    assert [(call.id, call.arguments) for call in found.function_calls] == [
        ("1", {"a": 1}),
        ("2", {"a": 1}),
        (None, {"a": 2}),
    ]
    assert found.function_call == found.function_calls[0]
    assert answer(assistant_message({"text": "a"})).function_call is None


def test_the_message_for_the_next_turn_has_what_a_request_may_have() -> None:
    found = answer(
        {"role": "reasoning", "content": [{"text": "hm"}]},
        assistant_message(
            {"tool_execution": {"name": "web_search", "status": "success"}},
            {"text": "a", "inline_data": {"sources": {}}, "logprobs": []},
            {"function_call": {"name": "f", "arguments": {}}},
            tool_state_id="s",
            finish_reason="function_call",
        ),
    )
    assert found.message == ChatMessage(
        role="assistant",
        content=[ChatContentPart(text="a"), ChatContentPart(function_call=ChatFunctionCall(name="f", arguments={}))],
        tools_state_id="s",
    )
    assert found.turn == [found.message]


def test_messages_with_different_state_ids_stay_apart() -> None:
    call = {"function_call": {"name": "f", "arguments": {}}}
    found = answer(
        assistant_message(call, tool_state_id="s"),
        assistant_message({"text": "b"}),
        assistant_message(call, tool_state_id="t"),
    )
    assert [(message.text, message.tools_state_id) for message in found.turn] == [("b", "s"), ("", "t")]
    assert found.message.tools_state_id == "t"
    assert len(found.message.content or []) == 3


def test_the_finish_reason_may_stand_on_the_message() -> None:
    assert answer(assistant_message({"text": "a"}, finish_reason="length")).finish_reason == "length"


def test_an_answer_needs_messages() -> None:
    with pytest.raises(msgspec.ValidationError):
        coerce({"status": 500, "message": "oops"}, ChatCompletionResponse)


def test_the_raw_answer_keeps_what_is_not_known() -> None:
    found = answer(assistant_message({"text": "a", "new": 1}), newer=2)
    assert found.raw["newer"] == 2
    assert found.raw["messages"][0]["content"][0]["new"] == 1


def test_the_types_are_loaded_when_they_are_needed() -> None:
    assert types.ChatMessage is ChatMessage
    defined = {name for name, value in vars(types.chat_v2).items() if isinstance(value, type)}
    assert set(types._NAMES[".chat_v2"].split()) == defined
