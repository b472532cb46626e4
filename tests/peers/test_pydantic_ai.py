"""pydantic-ai uses GigaChat as a service like OpenAI's, and through our client where an agent has tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, PromptedOutput
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from support.pages import snippets

from gigaclient import ForbiddenError, GigaChat
from gigaclient.testing import Fault, GigaChatEmulator

PROMPT, ANSWER = "Count from 1 to 5", "1, 2, 3, 4, 5"


class City(BaseModel):
    """A city."""

    name: str
    population: int


class GigaChatModel(OpenAIChatModel):
    """A chat model of GigaChat, whose answers have no id."""

    def _validate_completion(self, response: Any) -> Any:
        response.id = response.id or "none"
        return super()._validate_completion(response)


@pytest.fixture
def model(emulator: GigaChatEmulator) -> GigaChatModel:
    with GigaChat() as giga:
        token = giga.get_token().access_token
    provider = OpenAIProvider(base_url=emulator.base_url, api_key=token)
    return GigaChatModel("GigaChat-2", provider=provider, profile={"supports_json_object_output": False})


def test_text(model: GigaChatModel) -> None:
    ran = Agent(model, system_prompt="Be brief").run_sync(PROMPT)
    assert ran.output == ANSWER


def test_a_stream(model: GigaChatModel) -> None:
    async def run() -> str:
        async with Agent(model).run_stream(PROMPT) as ran:
            return "".join([text async for text in ran.stream_text(delta=True)])

    assert asyncio.run(run()) == ANSWER


def test_structured_output_by_the_prompt(model: GigaChatModel, emulator: GigaChatEmulator) -> None:
    value = {"name": "Kazan", "population": 1}
    emulator.answer(json.dumps(value))
    assert Agent(model, output_type=PromptedOutput(City)).run_sync("A city").output == City(**value)


# -- our client as the model, as docs/en/peers.md shows it -------------------------------------------------------------


@pytest.fixture
def our_model(emulator: GigaChatEmulator) -> Iterator[FunctionModel]:
    code = next(code for code in snippets("en/peers") if "def ask(" in code)
    names: dict[str, Any] = {"__name__": "peers", "Agent": Agent, "GigaChat": GigaChat}
    exec(compile(code, "peers.md", "exec", dont_inherit=True), names)
    emulator.requests.clear()
    with names["giga"]:
        yield FunctionModel(names["ask"])


def get_tide(port: str) -> float:
    """Return the height of the tide at a port."""
    assert port == "Murmansk"
    return 1.8


def test_an_agent_calls_its_tool(our_model: FunctionModel, emulator: GigaChatEmulator) -> None:
    agent = Agent(our_model, tools=[get_tide], instructions="Be brief")
    ran = agent.run_sync("How high is the tide in Murmansk?")
    assert "1.8" in ran.output
    system, question, call, result = emulator.requests[-1].json()["messages"]
    assert system == {"role": "system", "content": "Be brief"}
    assert question["role"] == "user"
    assert call["function_call"] == {"name": "get_tide", "arguments": {"port": "Murmansk"}}
    assert call["functions_state_id"]
    assert (result["role"], result["name"], json.loads(result["content"])) == (
        "function", "get_tide", {"return_value": 1.8},
    )  # fmt: skip
    # The history continues in a later run.
    assert agent.run_sync(PROMPT, message_history=ran.all_messages()).output == ANSWER
    assert len(emulator.requests[-1].json()["messages"]) == 6


def test_wrong_arguments_are_asked_for_again(our_model: FunctionModel, emulator: GigaChatEmulator) -> None:
    emulator.answer({"content": "", "function_call": {"name": "get_tide", "arguments": {"town": "Murmansk"}}})
    emulator.answer({"content": "", "function_call": {"name": "get_tide", "arguments": {"port": "Murmansk"}}})
    assert "1.8" in Agent(our_model, tools=[get_tide]).run_sync("How high is the tide?").output
    first, second = (message for message in emulator.requests[-1].json()["messages"] if message["role"] == "function")
    assert "port" in first["content"]
    assert json.loads(second["content"]) == {"return_value": 1.8}


def test_typed_output_is_a_function(our_model: FunctionModel, emulator: GigaChatEmulator) -> None:
    value = {"name": "Kazan", "population": 1}
    emulator.answer({"content": "", "function_call": {"name": "final_result", "arguments": value}})
    assert Agent(our_model, output_type=City).run_sync("A city").output == City(**value)


def test_errors_are_those_of_our_client(our_model: FunctionModel, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=403))
    with pytest.raises(ForbiddenError):
        Agent(our_model).run_sync(PROMPT)
