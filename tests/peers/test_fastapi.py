"""The routes of docs/en/asyncio.md answer in FastAPI: a body that is read as a ``Chat``, and a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.pages import snippets

from gigaclient.testing import Fault, GigaChatEmulator

BODY = {"messages": [{"role": "user", "content": "Count from 1 to 5"}], "temperature": 0.5}
ANSWER = "1, 2, 3, 4, 5"


@pytest.fixture
def client(emulator: GigaChatEmulator) -> Iterator[TestClient]:
    code = [code for code in snippets("en/asyncio") if "app = FastAPI()" in code or "StreamingResponse" in code]
    names: dict[str, Any] = {"__name__": "routes"}
    exec(compile("\n\n".join(code), "asyncio.md", "exec", dont_inherit=True), names)
    with names["giga"], TestClient(names["app"], raise_server_exceptions=False) as client:
        yield client


def test_a_route_answers_the_fields_of_the_completion(client: TestClient, emulator: GigaChatEmulator) -> None:
    answered = client.post("/chat", json=BODY)
    assert answered.status_code == 200
    assert answered.json()["choices"][0]["message"]["content"] == ANSWER
    assert answered.json()["usage"]["total_tokens"] > 0
    sent = emulator.requests[-1].json()
    assert (sent["messages"], sent["temperature"]) == (BODY["messages"], BODY["temperature"])


def test_a_route_streams_the_text(client: TestClient) -> None:
    with client.stream("POST", "/stream", json=BODY) as answered:
        assert "".join(answered.iter_text()) == ANSWER


def test_an_error_of_the_service_precedes_the_stream(client: TestClient, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=400))
    assert client.post("/stream", json=BODY).status_code == 500


def test_a_wrong_body_is_refused_before_anything_is_sent(client: TestClient, emulator: GigaChatEmulator) -> None:
    assert client.post("/chat", json={"messages": "five", "temperature": "hot"}).status_code == 422
    assert emulator.requests == []


def test_the_schema_names_the_fields(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert "messages" in schemas["Chat"]["properties"]
    assert "choices" in schemas["ChatCompletion"]["properties"]
