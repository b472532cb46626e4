"""Prompts and answers are recorded only on request, in the JSON of the conventions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.telemetry import Telemetry, get_tide

from gigaclient import GigaChat
from gigaclient.contrib.opentelemetry import instrument
from gigaclient.contrib.opentelemetry.content import output_messages
from gigaclient.errors import ConfigError
from gigaclient.testing import GigaChatEmulator

PROMPT = "Count from 1 to 5"
ANSWER = "1, 2, 3, 4, 5"
VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def content_of(span: Any, name: str) -> Any:
    return json.loads(span.attributes[f"gen_ai.{name}"])


def test_nothing_that_leaves_the_process_holds_content_or_secrets(
    giga: GigaChat, emulator: GigaChatEmulator, telemetry: Telemetry
) -> None:
    giga.chat([{"role": "system", "content": "Be brief"}, {"role": "user", "content": PROMPT}])
    giga.stream(PROMPT).result()
    giga.chat.create(PROMPT)
    giga.embeddings([PROMPT])
    exported = telemetry.exported
    assert exported.count('"chat GigaChat-2"') == 3
    for secret in (PROMPT, ANSWER, "Be brief", emulator.credentials, giga.get_token().access_token):
        assert secret not in exported


@pytest.mark.parametrize("streamed", [False, True])
def test_messages_of_api_v1(talkative: GigaChat, telemetry: Telemetry, streamed: bool) -> None:
    messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": PROMPT}]
    if streamed:
        talkative.stream(messages).result()
    else:
        talkative.chat(messages)
    assert content_of(telemetry.span, "input.messages") == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief"}]},
        {"role": "user", "parts": [{"type": "text", "content": PROMPT}]},
    ]
    assert content_of(telemetry.span, "output.messages") == [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    ]


@pytest.mark.parametrize("streamed", [False, True])
def test_messages_of_api_v2(talkative: GigaChat, telemetry: Telemetry, streamed: bool) -> None:
    if streamed:
        talkative.chat.stream(PROMPT).result()
    else:
        talkative.chat.create(PROMPT)
    assert content_of(telemetry.span, "input.messages") == [
        {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}
    ]
    (answer,) = content_of(telemetry.span, "output.messages")
    assert answer["parts"] == [{"type": "text", "content": ANSWER}]
    assert answer["finish_reason"] == "stop"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_functions_their_calls_and_results(talkative: GigaChat, telemetry: Telemetry, version: str) -> None:
    methods: Any = talkative if version == "v1" else talkative.chat
    methods.run("How high is the tide in Murmansk?", functions=[get_tide])
    first, tool, second = telemetry.spans
    (definition,) = content_of(first, "tool.definitions")
    assert (definition["type"], definition["name"]) == ("function", "get_tide")
    (answer,) = content_of(first, "output.messages")
    call = next(part for part in answer["parts"] if part["type"] == "tool_call")
    assert (call["name"], call["arguments"]["port"]) == ("get_tide", "Murmansk")
    assert answer["finish_reason"] == "tool_call"
    assert content_of(tool, "tool.call.arguments")["port"] == "Murmansk"
    assert content_of(tool, "tool.call.result") == {"result": 1.8}
    result = content_of(second, "input.messages")[-1]
    assert result["role"] == "tool"
    assert [part["type"] for part in result["parts"]] == ["tool_call_response"]
    assert result["parts"][0]["name"] == "get_tide"


def test_attachments_are_named(talkative: GigaChat, telemetry: Telemetry) -> None:
    file = talkative.upload_file(("notes.txt", b"text"))
    talkative.chat({"messages": [{"role": "user", "content": "Read", "attachments": [file.id]}]})
    (message,) = content_of(telemetry.span, "input.messages")
    assert message["parts"][1] == {"type": "file", "modality": "document", "file_id": file.id}


def test_reasoning_is_a_part_of_its_own() -> None:
    v1 = {"choices": [{"message": {"role": "assistant", "content": "4", "reasoning_content": "2+2"}}]}
    assert output_messages(json.dumps(v1).encode()) == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "2+2"}, {"type": "text", "content": "4"}],
            "finish_reason": "error",
        }
    ]
    v2 = {"messages": [{"role": "reasoning", "content": [{"text": "2+2"}]}], "finish_reason": "stop"}
    assert output_messages(json.dumps(v2).encode()) == [
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "2+2"}], "finish_reason": "stop"}
    ]


@pytest.mark.parametrize("reason", ["blacklist", "request_blacklist", "response_blacklist", "request_filter"])
def test_a_blocked_answer_is_a_content_filter_in_the_conventions(reason: str) -> None:
    v1 = {"choices": [{"message": {"content": "No."}, "finish_reason": reason}]}
    v2 = {"messages": [{"role": "assistant", "content": [{"text": "No."}]}], "finish_reason": reason}
    for body in (v1, v2):
        (message,) = output_messages(json.dumps(body).encode())
        assert message["finish_reason"] == "content_filter"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"choices": 7, "messages": [1]}', None])
def test_a_response_of_another_form_has_no_messages(body: Any) -> None:
    assert output_messages(body) == []


@pytest.mark.parametrize(
    ("value", "recorded"),
    [("true", True), ("SPAN_ONLY", True), ("span_and_event", True), ("event_only", False), ("", False)],
)
def test_the_environment_decides_if_the_caller_does_not(
    emulator: GigaChatEmulator, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, value: str, recorded: bool
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with GigaChat(**emulator.client_options) as giga:
        instrument(giga, **telemetry.providers).chat(PROMPT)
        instrument(giga, **telemetry.providers, capture_content=False).chat(PROMPT)
    assert ["gen_ai.input.messages" in span.attributes for span in telemetry.spans] == [recorded, False]


def test_a_wrong_choice_is_refused(giga: GigaChat) -> None:
    wrong: Any = "yes"
    with pytest.raises(ConfigError, match="capture_content must be True or False"):
        instrument(giga, capture_content=wrong)
