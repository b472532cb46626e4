"""litellm has a provider for GigaChat. It works with the emulator, as the page on other libraries shows."""

from __future__ import annotations

import json
from typing import Any

import litellm
import pytest

from gigaclient.testing import GigaChatEmulator

PROMPT, ANSWER = "Count from 1 to 5", "1, 2, 3, 4, 5"
TIDE = "How high is the tide in Murmansk?"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_tide",
        "description": "Return the height of the tide at a port.",
        "parameters": {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
    },
}


@pytest.fixture
def ask(emulator: GigaChatEmulator) -> Any:
    def ask(content: Any, **options: Any) -> Any:
        messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
        model = "gigachat/GigaChat-2"
        return litellm.completion(
            model, messages, api_base=emulator.base_url, ssl_verify=emulator.client_options["ca_bundle_file"], **options
        )

    return ask


def test_chat_and_stream(ask: Any) -> None:
    answer = ask(PROMPT, temperature=0.5)
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage.completion_tokens > 0
    chunks = list(ask(PROMPT, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER


def test_tools(ask: Any, emulator: GigaChatEmulator) -> None:
    answer = ask(TIDE, tools=[TOOL]).choices[0].message
    (call,) = answer.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_tide", {"port": "Murmansk"})
    result = {"role": "tool", "tool_call_id": call.id, "name": "get_tide", "content": '{"height": 1.8}'}
    last = ask([{"role": "user", "content": TIDE}, answer.model_dump(), result], tools=[TOOL])
    assert last.choices[0].message.content == "According to get_tide: height: 1.8."
    assert emulator.requests[-1].json()["messages"][2]["role"] == "function"


def test_embeddings(emulator: GigaChatEmulator) -> None:
    found = litellm.embedding(
        "gigachat/Embeddings",
        ["one", "two"],
        api_base=emulator.base_url,
        ssl_verify=emulator.client_options["ca_bundle_file"],
    )
    assert len(found.data) == 2
    assert len(found.data[0]["embedding"]) > 10
