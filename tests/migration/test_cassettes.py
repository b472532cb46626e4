"""Requests that vcrpy recorded with the official SDK are played back with gigaclient: their bodies match."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gigachat.models
import pydantic
import vcr
from gigachat import GigaChat as OfficialGigaChat

import gigaclient.models
from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator

RECORDER = vcr.VCR(match_on=["method", "scheme", "host", "port", "path", "query", "body"])


class Harbour(pydantic.BaseModel):
    """A harbour."""

    name: str = pydantic.Field(description="Its name")
    depth: int | None = None


class Tide(pydantic.BaseModel):
    port: str
    harbour: Harbour


def program(giga: Any, models: Any) -> list[Any]:
    """Send requests in which the official SDK adds texts and titles, and return what they answer."""
    tide = models.Function(
        name="get_tide",
        parameters=models.FunctionParameters(
            properties={"port": models.FunctionParametersProperty(type="string"), "place": {"type": "string"}},
            required=["port"],
        ),
        few_shot_examples=[models.FewShotExample(request="Tide at Kola?", params={"port": "Kola"})],
    )
    chat = models.Chat(messages=[models.Messages(role="user", content="Tide at Kola?")], functions=[tide])
    first = giga.chat(chat)
    call = models.FunctionCall(name="get_tide", arguments={"port": "Kola"})
    chat.messages.append(models.Messages(role=models.MessagesRole.ASSISTANT, function_call=call))
    chat.messages.append(models.Messages(role="function", name="get_tide", content='{"height": 1.8}'))
    function = {"name": "now", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}}
    answers = [first, giga.chat(chat)]
    answers.append(giga.chat({"messages": [{"role": "user", "content": "Привет"}], "functions": [function]}))
    answers += [
        giga.chat_parse("A tide", response_format=Tide)[0],
        giga.chat_parse("A harbour", response_format=Harbour)[0],
    ]
    texts = [answer.choices[0].message.content for answer in answers]
    texts.append(giga.chat.parse("A harbour", response_format=Harbour, strict=False)[0].messages[0].content[0].text)
    texts.append("".join(chunk.choices[0].delta.content or "" for chunk in giga.stream("Count from 1 to 3")))
    texts.append([item.index for item in giga.embeddings(["a", "b"]).data])
    texts.append([count.tokens for count in giga.tokens_count(["a"], model="GigaChat-2")])
    return texts


def test_requests_recorded_with_the_official_sdk_are_played_back(tmp_path: Path) -> None:
    cassette = str(tmp_path / "cassette.yaml")
    with GigaChatEmulator() as emulator, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of httpx
        options = {**emulator.client_options, "model": "GigaChat-2"}
        with RECORDER.use_cassette(cassette), OfficialGigaChat(**options) as official:
            recorded = program(official, gigachat.models)
    del options["ca_bundle_file"]  # deleted with the emulator, and not needed to play back
    with RECORDER.use_cassette(cassette, record_mode="none") as tape, GigaChat(**options) as giga:
        assert program(giga, gigaclient.models) == recorded
        assert tape.all_played
