"""The body of a v2 request: every accepted form is converted to that of the API, and invalid ones are refused."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaclient.errors import ConfigError
from gigaclient.gigachat.v2.request_body import chat_v2_body
from gigaclient.types import (
    Chat,
    ChatCompletion,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatContentFile,
    ChatContentPart,
    ChatFunctionCall,
    ChatFunctionResult,
    ChatFunctionSpecification,
    ChatFunctionsTool,
    ChatMessage,
    ChatModelOptions,
    ChatReasoning,
    ChatResponseFormat,
    ChatStorage,
    ChatTool,
    ChatToolConfig,
    ChatWebSearchTool,
    Function,
    FunctionCall,
    FunctionRanker,
    Message,
    NamedFunctionCall,
    Storage,
)
from gigaclient.types.files import GeneratedFile

HI = [{"role": "user", "content": [{"text": "hi"}]}]
SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}}
CALL = {"id": "c-1", "name": "get_tide", "arguments": {"port": "Murmansk"}}


def body(messages: Any = "hi", /, defaults: Any = None, *, streamed: bool = False, **options: Any) -> Any:
    return json.loads(chat_v2_body(messages, options, defaults or {}, stream=streamed))


def refused(messages: Any = "hi", /, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        body(messages, **options)
    return caught.value.message


# -- the request -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        "hi",
        [{"role": "user", "content": "hi"}],
        [{"role": "user", "content": ["hi"]}],
        [{"role": "user", "content": {"text": "hi"}}],
        [{"role": "user", "content": [{"text": "hi"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "user", "content": [ChatContentPart(text="hi")], "name": None}],
        [Message(role="user", content="hi")],
        [ChatMessage(role="user", content="hi")],
        ChatMessage(role="user", content="hi"),
        Message(content="hi"),
        ({"role": "user", "content": "hi"} for _ in range(1)),
        ChatCompletionRequest(messages="hi"),
        ChatCompletionRequest(messages=[{"role": "user", "content": "hi"}]),
        {"messages": "hi"},
        {"messages": [{"role": "user", "content": "hi"}]},
        Chat(messages=[Message(content="hi")]),
    ],
)
def test_messages_of_every_form_become_parts(messages: Any) -> None:
    assert body(messages) == {"messages": HI}


@pytest.mark.parametrize("name", ["temperature", "top_p", "max_tokens", "repetition_penalty", "update_interval"])
def test_model_options_need_no_nesting(name: str) -> None:
    expected = {"messages": HI, "model_options": {name: 0.5}}
    assert body(**{name: 0.5}) == expected
    assert body(model_options={name: 0.5}) == expected
    assert body(model_options=ChatModelOptions(**{name: 0.5})) == expected
    assert body({"messages": "hi", name: 0.5}) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
        ({"reasoning": ChatReasoning(effort="low", max_tokens=9)}, {"reasoning": {"effort": "low", "max_tokens": 9}}),
        ({"reasoning": "low"}, {"reasoning": {"effort": "low"}}),
        ({"reasoning_effort": "low", "reasoning_max_tokens": 9}, {"reasoning": {"effort": "low", "max_tokens": 9}}),
        ({"parallel_tool_calls": True}, {"parallel_tool_calls": True}),
        ({"unnormalized_history": True, "top_logprobs": 3}, {"unnormalized_history": True, "top_logprobs": 3}),
        ({"preset": "p"}, {"preset": "p"}),
        ({"response_format": {"type": "text"}}, {"response_format": {"type": "text"}}),
        ({"response_format": ChatResponseFormat()}, {"response_format": {"type": "text"}}),
        (
            {"response_format": ChatResponseFormat(type="regex", regex="[A-Z]")},
            {"response_format": {"type": "regex", "regex": "[A-Z]"}},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
            {"response_format": {"type": "json_schema", "schema": SCHEMA, "strict": True}},
        ),
    ],
)
def test_model_options_are_nested(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert body(**options) == {"messages": HI, "model_options": expected}


def test_options_of_the_call_are_laid_over_those_of_the_request() -> None:
    request = ChatCompletionRequest(
        messages="hi", model="A", model_options={"temperature": 0.1, "top_p": 0.2}, reasoning={"effort": "low"}
    )
    assert body(request, model="B", temperature=0.9, reasoning={"effort": "high"}) == {
        "messages": HI,
        "model": "B",
        "model_options": {"temperature": 0.9, "top_p": 0.2, "reasoning": {"effort": "high"}},
    }


def test_defaults_fill_missing_fields_and_are_translated() -> None:
    defaults = {"model": "M", "profanity_check": False, "flags": ["preprocess"]}
    assert body(defaults=defaults) == {"messages": HI, "model": "M", "disable_filter": True, "flags": ["preprocess"]}
    assert body(defaults=defaults, disable_filter=False, model="N")["disable_filter"] is False
    assert body(defaults={"model": "M", "profanity_check": None, "flags": None}) == {"messages": HI, "model": "M"}


@pytest.mark.parametrize(
    "options",
    [{"assistant_id": "a"}, {"storage": {"thread_id": "t"}}, {"storage": ChatStorage(thread_id="t")}],
)
def test_the_default_model_is_left_out_if_a_stored_object_has_one(options: dict[str, Any]) -> None:
    assert "model" not in body(defaults={"model": "M"}, **options)
    assert body(defaults={"model": "M"}, **options, model="N")["model"] == "N"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (True, {}),
        ({}, {}),
        (ChatStorage(), {}),
        (ChatStorage(thread_id="t", limit=20), {"thread_id": "t", "limit": 20}),
        ({"thread_id": "t", "metadata": None}, {"thread_id": "t"}),
        (Storage(is_stateful=True, thread_id="t"), {"thread_id": "t"}),
    ],
)
def test_a_storage_is_an_object(value: Any, sent: Any) -> None:
    assert body(storage=value)["storage"] == sent


@pytest.mark.parametrize("value", [False, None, {"is_stateful": False}])
def test_no_storage_is_no_field(value: Any) -> None:
    assert "storage" not in body(storage=value)


def test_names_of_v1_are_translated() -> None:
    chat = Chat(
        messages=[Message(content="hi")],
        model="M",
        temperature=0.5,
        profanity_check=False,
        function_ranker=FunctionRanker(enabled=True, top_n=3),
        functions=[Function(name="f", parameters=SCHEMA)],
        function_call=NamedFunctionCall(name="f"),
        storage=Storage(assistant_id="a"),
    )
    assert body(chat) == {
        "messages": HI,
        "model": "M",
        "model_options": {"temperature": 0.5},
        "disable_filter": True,
        "ranker_options": {"enabled": True, "top_n": 3},
        "tools": [{"functions": {"specifications": [{"name": "f", "parameters": SCHEMA}]}}],
        "tool_config": {"mode": "forced", "function_name": "f"},
        "assistant_id": "a",
        "storage": {},
    }


@pytest.mark.parametrize("name", ["tools_state_id", "tool_state_id", "functions_state_id"])
def test_the_state_id_has_one_name_in_requests(name: str) -> None:
    assert body(**{name: "s"}) == {"messages": HI, "tools_state_id": "s"}
    sent = body([{"role": "assistant", "content": "a", name: "s"}])["messages"][0]
    assert sent == {"role": "assistant", "content": [{"text": "a"}], "tools_state_id": "s"}


def test_unknown_fields_are_sent_unchanged() -> None:
    assert body(brand_new={"a": [1]}) == {"messages": HI, "brand_new": {"a": [1]}}
    assert body({"messages": "hi", "brand_new": 1})["brand_new"] == 1
    sent = body([{"role": "user", "content": [{"brand_new": 1}], "other": 2}])["messages"][0]
    assert sent == {"role": "user", "content": [{"brand_new": 1}], "other": 2}


def test_additional_fields_go_below_the_others() -> None:
    request = ChatCompletionRequest(messages="hi", model="M", additional_fields={"model": "X", "a": 1, "b": 1})
    assert body(request, additional_fields={"b": 2}) == {"messages": HI, "model": "M", "a": 1, "b": 2}


def test_options_of_the_call_itself_are_not_sent() -> None:
    assert body(timeout=3, request_id="r", headers={}, max_retries=0) == {"messages": HI}


def test_a_stream_says_so() -> None:
    assert body(streamed=True) == {"messages": HI, "stream": True}
    assert body(streamed=True, stream=True)["stream"] is True
    assert body(ChatCompletionRequest(messages="hi", stream=True)) == {"messages": HI}
    assert "decided by the method" in refused(stream=True)


# -- tools -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tools", "sent"),
    [
        (["image_generate"], [{"image_generate": {}}]),
        ("web_search", [{"web_search": {}}]),
        ([{"web_search": {"type": "safe_search"}}], [{"web_search": {"type": "safe_search"}}]),
        ([ChatTool(web_search=ChatWebSearchTool(flags=["a"]))], [{"web_search": {"flags": ["a"]}}]),
        ([ChatTool(code_interpreter={})], [{"code_interpreter": {}}]),
        ([{"code_interpreter": True}], [{"code_interpreter": {}}]),
        ([{"brand_new": {"a": None}}], [{"brand_new": {"a": None}}]),
        ([{"web_search": {}, "image_generate": {}}], [{"web_search": {}}, {"image_generate": {}}]),
    ],
)
def test_a_tool_is_an_object_with_one_field(tools: Any, sent: Any) -> None:
    assert body(tools=tools)["tools"] == sent


SPECIFICATION = {"name": "f", "description": "d", "parameters": SCHEMA}


@pytest.mark.parametrize(
    "options",
    [
        {"functions": [SPECIFICATION]},
        {"functions": [Function(name="f", description="d", parameters=SCHEMA)]},
        {"functions": [ChatFunctionSpecification(name="f", description="d", parameters=SCHEMA)]},
        {"functions": [{"title": "f", "description": "d", "type": "object", "properties": SCHEMA["properties"]}]},
        {"tools": [{"functions": {"specifications": [SPECIFICATION]}}]},
        {"tools": [ChatTool(functions=ChatFunctionsTool(specifications=[SPECIFICATION]))]},  # type: ignore[list-item]
        {"tools": [ChatFunctionSpecification(name="f", description="d", parameters=SCHEMA)]},
        {"tools": [SPECIFICATION]},
        {"tools": [{"type": "function", "function": SPECIFICATION}]},
        {"tools": [{"functions": {"specifications": []}}], "functions": [SPECIFICATION]},
    ],
)
def test_functions_of_every_form_become_one_tool(options: dict[str, Any]) -> None:
    assert body(**options)["tools"] == [{"functions": {"specifications": [SPECIFICATION]}}]


def test_all_functions_are_in_one_tool_and_each_name_once() -> None:
    sent = body(
        tools=["web_search", {"name": "a"}, "image_generate", {"functions": {"specifications": [{"name": "b"}]}}],
        functions=[{"name": "a", "description": "new"}],
    )["tools"]
    assert [list(tool) for tool in sent] == [["web_search"], ["functions"], ["image_generate"]]
    specifications = sent[1]["functions"]["specifications"]
    assert [(one["name"], one.get("description")) for one in specifications] == [("a", "new"), ("b", None)]


def test_a_schema_is_sent_unchanged() -> None:
    schema = {"type": "object", "properties": {"a": {"default": None, "enum": ["x", None], "$ref": "#/$defs/A"}}}
    sent = body(functions=[{"name": "f", "parameters": schema, "description": None}])
    assert sent["tools"][0]["functions"]["specifications"] == [{"name": "f", "parameters": schema}]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("auto", {"mode": "auto"}),
        ("none", {"mode": "none"}),
        ("any", {"mode": "any"}),
        ("required", {"mode": "any"}),
        ("f", {"mode": "forced", "function_name": "f"}),
        ("web_search", {"mode": "forced", "tool_name": "web_search"}),
        ("brand_new", {"mode": "forced", "tool_name": "brand_new"}),
        ("elsewhere", {"mode": "forced", "function_name": "elsewhere"}),
        ({"name": "f"}, {"mode": "forced", "function_name": "f"}),
        ({"function_name": "f"}, {"mode": "forced", "function_name": "f"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "forced", "function_name": "f"}),
        (ChatToolConfig(mode="any", functions_names_any=["f"]), {"mode": "any", "functions_names_any": ["f"]}),
        ({"mode": "auto", "tool_name": "x"}, {"mode": "auto", "tool_name": "x"}),
    ],
)
def test_a_tool_config_may_be_a_word_or_a_name(value: Any, sent: Any) -> None:
    tools = [{"name": "f"}, {"brand_new": {}}]
    assert body(tools=tools, tool_config=value)["tool_config"] == sent
    assert body(tools=tools, function_call=value)["tool_config"] == sent


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"response_format": {"type": "json_object"}}, 'use {"type": "json_schema", "schema": {…}}'),
        ({"response_format": {"type": "json_schema"}}, "needs a schema"),
        ({"response_format": {"type": "regex"}}, "needs a "),
        ({"response_format": int}, "giga.chat.parse(messages, response_format=int)"),
        ({"response_format": 5}, "must be a dict"),
        ({"tools": ["imagegenerate"]}, "image_generate"),
        ({"tools": [{}]}, "one field"),
        ({"tools": [print]}, "run() takes functions of Python"),
        ({"functions": [print]}, "run() takes functions of Python"),
        ({"functions": [{"description": "d"}]}, "needs a name"),
        ({"tool_config": "forced"}, "needs a name"),
        ({"tool_config": {"mode": "forced"}}, "exactly one of"),
        ({"tool_config": {"mode": "forced", "tool_name": "a", "function_name": "b"}}, "exactly one of"),
        ({"function_call": {"name": "f", "partial_arguments": {"a": 1}}}, "partial_arguments"),
        ({"model_options": 3}, "model_options must be a dict"),
        ({"storage": "t"}, "storage must be a dict"),
        ({"n": 2}, "n has no counterpart"),
        ({"model": " "}, "model is empty"),
        ({"additional_fields": 3}, "additional_fields must be a mapping"),
        ({"temperature": float("nan")}, "model_options.temperature must be a finite number"),
    ],
)
def test_what_cannot_work_is_refused_with_advice(options: dict[str, Any], message: str) -> None:
    assert message in refused(**options)


# -- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages is empty"),
        (5, "must be a string, a list of messages or a request"),
        (b"hi", "messages are bytes"),
        (["hi"], "messages[0] must be a dict or a ChatMessage, not str; a prompt alone"),
        ([ChatCompletionResponse(messages=[])], "append its .message"),
        ([ChatCompletion()], "append its .message"),
        ([{"content": "hi"}], "messages[0] needs a role"),
        ([{"role": "user", "content": [5]}], "messages[0].content[0] must be a string"),
        ([{"role": "user", "content": [b"x"]}], "decode it to a string"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "upload_file"),
        ([{"role": "user", "content": [{"files": [{}]}]}], "needs the id that upload_file() gives"),
        ([{"role": "assistant", "content": [{"function_call": {}}]}], "needs the function's name"),
        (
            [{"role": "assistant", "content": [{"function_call": {"name": "f", "arguments": "[1]"}}]}],
            "must be a JSON object, not '[1]'",
        ),
        ([{"role": "tool", "content": "{}"}], "needs the function's name"),
        ({"model": "M"}, 'a request needs "messages"'),
    ],
)
def test_invalid_messages_are_refused_with_their_path(messages: Any, message: str) -> None:
    assert message in refused(messages)


def test_files_are_passed_by_id_or_object() -> None:
    expected = [{"files": [{"id": "a"}]}, {"text": "look"}]
    for file in ("a", {"id": "a"}, ChatContentFile(id="a")):
        assert body([{"role": "user", "content": [{"files": [file]}, "look"]}])["messages"][0]["content"] == expected
    made = GeneratedFile(id="a", kind="image")
    assert body([{"role": "user", "content": [made, "look"]}])["messages"][0]["content"] == expected
    attached = body([Message(content="look", attachments=["a"])])["messages"][0]["content"]
    assert attached == [{"text": "look"}, {"files": [{"id": "a"}]}]


def test_a_round_of_v1_is_translated() -> None:
    history = [
        Message(content="tide?"),
        Message(
            role="assistant",
            content="",
            function_call=FunctionCall(name="get_tide", arguments={"port": "Murmansk"}),
            functions_state_id="s",
            reasoning_content="hm",
        ),
        Message(role="function", name="get_tide", content='{"height_m":1.8}'),
    ]
    call = {"name": "get_tide", "arguments": {"port": "Murmansk"}}
    result = {"name": "get_tide", "result": {"height_m": 1.8}}
    assert body(history)["messages"] == [
        {"role": "user", "content": [{"text": "tide?"}]},
        {"role": "assistant", "content": [{"function_call": call}], "tools_state_id": "s"},
        {"role": "tool", "content": [{"function_result": result}], "tools_state_id": "s"},
    ]


def test_an_answer_and_its_result_make_the_next_request() -> None:
    answer = ChatCompletionResponse(
        messages=[
            ChatMessage(role="reasoning", content="hm"),
            ChatMessage(
                role="assistant",
                content=[{"function_call": CALL}, {"tool_execution": {"name": "x", "status": "success"}}],
                tool_state_id="s",
                finish_reason="function_call",
            ),
        ],
        finish_reason="function_call",
    )
    assert answer.function_call is not None
    result = ChatMessage.function_result(answer.function_call, {"height_m": 1.8})
    expected = [
        {"role": "user", "content": [{"text": "tide?"}]},
        {"role": "assistant", "content": [{"function_call": CALL}], "tools_state_id": "s"},
        {
            "role": "tool",
            "content": [{"function_result": {"id": "c-1", "name": "get_tide", "result": {"height_m": 1.8}}}],
            "tools_state_id": "s",
        },
    ]
    question = {"role": "user", "content": "tide?"}
    assert body([question, answer.message, result])["messages"] == expected
    # The received messages work too: fields that only responses have are left out.
    assert body([question, *answer.messages, result])["messages"] == expected


def test_results_get_the_ids_and_names_of_their_calls() -> None:
    calls = [{**CALL, "id": f"c-{number}", "name": name} for number, name in ((1, "a"), (2, "b"), (3, "a"))]
    results = [{"name": "b", "result": {}}, {"name": "a", "result": {}}, {"result": {}}]
    sent = body(
        [
            {"role": "assistant", "content": [{"function_call": call} for call in calls], "tool_state_id": "s"},
            {"role": "tool", "content": [{"function_result": result} for result in results]},
        ]
    )["messages"][1]
    found = [(part["function_result"]["name"], part["function_result"]["id"]) for part in sent["content"]]
    assert found == [("b", "c-2"), ("a", "c-1"), ("a", "c-3")]
    assert sent["tools_state_id"] == "s"


@pytest.mark.parametrize(
    ("result", "sent"),
    [
        ({"a": 1}, {"a": 1}),
        ('{"a":1}', '{"a":1}'),
        ("sunny", {"result": "sunny"}),
        ("[1]", {"result": "[1]"}),
        (5, {"result": 5}),
        (None, {"result": None}),
        ([1, 2], {"result": [1, 2]}),
    ],
)
def test_a_result_is_an_object(result: Any, sent: Any) -> None:
    part = ChatContentPart(function_result=ChatFunctionResult("f", result))
    message = body([{"role": "tool", "content": [part]}])["messages"][0]
    assert message["content"][0]["function_result"]["result"] == sent


@pytest.mark.parametrize("content", ["sunny", ["sunny"], {"result": "sunny"}, '{"result":"sunny"}'])
def test_the_whole_content_of_a_result_may_be_the_result(content: Any) -> None:
    for role in ("tool", "function"):
        sent = body([{"role": role, "name": "f", "content": content}])["messages"][0]
        expected = {"result": "sunny"} if content != ["sunny"] else {"result": ["sunny"]}
        assert sent == {"role": "tool", "content": [{"function_result": {"name": "f", "result": expected}}]}


def test_the_role_function_is_sent_where_it_is_requested() -> None:
    call = ChatFunctionCall(name="f", arguments={}, id="c")
    message = ChatMessage.function_result(call, {"a": 1}, role="function", as_text=True)
    assert body([message])["messages"] == [
        {"role": "function", "content": [{"function_result": {"id": "c", "name": "f", "result": '{"a":1}'}}]}
    ]


@pytest.mark.parametrize("arguments", [{}, None, "{}", ""])
def test_arguments_are_an_object(arguments: Any) -> None:
    for call in ({"name": "f", "arguments": arguments}, ChatFunctionCall(name="f", arguments=arguments)):
        sent = body([{"role": "assistant", "content": [{"function_call": call}]}])["messages"][0]
        assert sent["content"] == [{"function_call": {"name": "f", "arguments": {}}}]


def test_a_message_without_parts_is_an_empty_text() -> None:
    for message in ({"role": "assistant"}, ChatMessage(role="assistant"), ChatMessage(role="assistant", content=[])):
        assert body([message])["messages"] == [{"role": "assistant", "content": [{"text": ""}]}]


@dataclasses.dataclass
class Tide:
    height_m: float


def test_results_may_be_dataclasses_and_structs() -> None:
    struct = msgspec.defstruct("Tide", [("height_m", float)])
    for result in (Tide(1.8), struct(1.8)):
        message = ChatMessage.function_result(CALL, result)
        sent = body([message])["messages"][0]["content"][0]["function_result"]
        assert sent["result"] == {"height_m": 1.8}


def test_nothing_that_was_passed_is_changed() -> None:
    history = [
        {"role": "user", "content": ["a", {"files": ["x"], "text": None}]},
        {
            "role": "assistant",
            "content": [{"function_call": {"name": "f", "arguments": '{"a":1}'}}],
            "tool_state_id": "s",
        },
        {"role": "tool", "content": [{"function_result": {"result": 5}}]},
    ]
    options = {
        "tools": [{"functions": {"specifications": [{"title": "f"}]}}],
        "model_options": {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        "storage": {"is_stateful": True},
        "tool_config": {"function_name": "f"},
    }
    request = ChatCompletionRequest(messages=history, **options)  # type: ignore[arg-type]
    before = copy.deepcopy((history, options, msgspec.to_builtins(request)))
    body(history, **options, functions=[{"name": "g"}])
    body({"messages": history, **options})
    body(request, temperature=1.0, reasoning="low", profanity_check=False)
    assert (history, options, msgspec.to_builtins(request)) == before


TEXT = st.text().map(lambda text: text.encode("utf-8", "replace").decode())


@given(st.lists(TEXT, min_size=1), TEXT)
def test_texts_are_sent_unchanged(parts: list[str], result: str) -> None:
    message = ChatMessage.function_result(CALL, {"said": result})
    sent = body([{"role": "user", "content": parts}, message])["messages"]
    assert [part["text"] for part in sent[0]["content"]] == parts
    assert sent[1]["content"][0]["function_result"]["result"] == {"said": result}
