"""Durations, tokens and the time to the first chunk, with the attributes of the conventions."""

from __future__ import annotations

import pytest
from support.telemetry import Telemetry

from gigaclient import GigaChat
from gigaclient.errors import ServerError
from gigaclient.testing import Fault, GigaChatEmulator

PROMPT = "Count from 1 to 5"


def test_the_duration_of_each_call_by_model_and_error(
    giga: GigaChat, emulator: GigaChatEmulator, telemetry: Telemetry
) -> None:
    giga.chat(PROMPT)
    giga.chat(PROMPT)
    giga.embeddings(["text"])
    emulator.inject(Fault(status=500))
    with pytest.raises(ServerError):
        giga.chat(PROMPT, max_retries=0)
    points = {
        (point.attributes["gen_ai.operation.name"], point.attributes.get("error.type")): point
        for point in telemetry.points("gen_ai.client.operation.duration")
    }
    counts = {key: point.count for key, point in points.items()}
    assert counts == {("chat", None): 2, ("embeddings", None): 1, ("chat", "ServerError"): 1}
    chat = points["chat", None]
    assert chat.attributes["gen_ai.provider.name"] == "gigachat"
    assert chat.attributes["gen_ai.request.model"] == "GigaChat-2"
    assert chat.attributes["gen_ai.response.model"].startswith("GigaChat-2")
    assert chat.attributes["server.address"] == "127.0.0.1"
    assert 0 < chat.sum < 60
    assert chat.explicit_bounds[:4] == (0.01, 0.02, 0.04, 0.08)


def test_tokens_in_and_out(giga: GigaChat, telemetry: Telemetry) -> None:
    usage = [giga.chat(PROMPT).usage, giga.stream(PROMPT).result().usage]
    vectors = giga.embeddings(["text"])
    sums = {
        (point.attributes["gen_ai.operation.name"], point.attributes["gen_ai.token.type"]): point.sum
        for point in telemetry.points("gen_ai.client.token.usage")
    }
    assert sums == {
        ("chat", "input"): sum(each.prompt_tokens for each in usage if each),
        ("chat", "output"): sum(each.completion_tokens for each in usage if each),
        ("embeddings", "input"): vectors.data[0].usage.prompt_tokens,
    }


def test_the_first_chunk_of_streams_alone(giga: GigaChat, telemetry: Telemetry) -> None:
    giga.chat(PROMPT)
    assert telemetry.points("gen_ai.client.operation.time_to_first_chunk") == []
    giga.stream(PROMPT).result()
    (point,) = telemetry.points("gen_ai.client.operation.time_to_first_chunk")
    assert point.count == 1
    assert 0 < point.sum < 60
