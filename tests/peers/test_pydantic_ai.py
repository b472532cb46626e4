"""pydantic-ai uses GigaChat as a service like OpenAI's: for text, and for structured output by the prompt."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, PromptedOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator

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
