"""``gigaclient.contrib.langchain``: the classes of langchain-gigachat on our client."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import BaseModel

from gigaclient import GigaChat, errors
from gigaclient.contrib.langchain import ChatGigaClient, GigaClientEmbeddings
from gigaclient.testing import Fault, GigaChatEmulator

PROMPT, ANSWER = "Count from 1 to 5", "1, 2, 3, 4, 5"
TIDE = "How high is the tide in Murmansk?"


class City(BaseModel):
    """A city."""

    name: str
    population: int


@tool
def get_tide(port: str) -> str:
    """Return the height of the tide at a port."""
    return "1.8"


@pytest.fixture
def model(emulator: GigaChatEmulator) -> ChatGigaClient:
    return ChatGigaClient(model="GigaChat-2")


def body_of(emulator: GigaChatEmulator) -> Any:
    return emulator.requests[-1].json()


def test_invoke(model: ChatGigaClient, emulator: GigaChatEmulator) -> None:
    answer = model.invoke([SystemMessage("Be brief"), HumanMessage(PROMPT)])
    assert isinstance(answer, AIMessage)
    assert answer.content == ANSWER
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["x_headers"]["x-request-id"] == answer.id
    assert body_of(emulator)["model"] == "GigaChat-2"
    # Sent by our client, and not by the official one.
    assert emulator.requests[-1].headers["user-agent"].startswith("gigaclient/")


def test_stream(model: ChatGigaClient) -> None:
    chunks = list(model.stream(PROMPT))
    assert len([chunk for chunk in chunks if chunk.content]) > 2
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == ANSWER
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0
    assert whole.response_metadata["x_headers"]["x-request-id"]
    assert ChatGigaClient(streaming=True).invoke(PROMPT).content == ANSWER


def test_a_stream_that_is_left_releases_its_connection(emulator: GigaChatEmulator) -> None:
    with GigaChat() as giga:
        for _ in ChatGigaClient(client=giga).stream("Count from 1 to 50"):
            break
        assert giga.stats().in_flight == 0


def test_batch(model: ChatGigaClient) -> None:
    answers = model.batch([f"Count from 1 to {number}" for number in range(2, 6)])
    assert [answer.content for answer in answers] == ["1, 2", "1, 2, 3", "1, 2, 3, 4", ANSWER]


def test_async_methods_run_in_threads_of_langchain(model: ChatGigaClient) -> None:
    async def run() -> tuple[Any, str, list[list[float]], Any]:
        answer = await model.ainvoke(PROMPT)
        text = "".join([str(chunk.content) async for chunk in model.astream(PROMPT)])
        embeddings = GigaClientEmbeddings()
        await embeddings.aembed_query("one")
        return answer, text, await embeddings.aembed_documents(["one", "two"]), await model.aget_models()

    answer, text, vectors, models = asyncio.run(run())
    assert answer.content == text == ANSWER
    assert vectors == GigaClientEmbeddings().embed_documents(["one", "two"])
    assert models.data


def test_tools(model: ChatGigaClient, emulator: GigaChatEmulator) -> None:
    bound = model.bind_tools([get_tide])
    call = bound.invoke(TIDE)
    assert [(made["name"], made["args"]) for made in call.tool_calls] == [("get_tide", {"port": "Murmansk"})]
    result = ToolMessage(get_tide.invoke(call.tool_calls[0]["args"]), tool_call_id=call.tool_calls[0]["id"])
    result.name = "get_tide"
    answer = bound.invoke([HumanMessage(TIDE), call, result])
    assert answer.content == "According to get_tide: 1.8."
    sent = body_of(emulator)["messages"][1]
    assert sent["functions_state_id"] == call.additional_kwargs["functions_state_id"]
    streamed = next(chunk for chunk in bound.stream(TIDE) if chunk.tool_call_chunks)
    assert json.loads(str(streamed.tool_call_chunks[0]["args"])) == {"port": "Murmansk"}


def test_an_agent(model: ChatGigaClient) -> None:
    agent = create_agent(model, [get_tide])
    messages = agent.invoke({"messages": [HumanMessage(TIDE)]})["messages"]
    assert [type(message).__name__ for message in messages] == [
        "HumanMessage", "AIMessage", "ToolMessage", "AIMessage",
    ]  # fmt: skip
    assert "1.8" in messages[-1].content


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode", "format_instructions"])
@pytest.mark.filterwarnings("ignore:method='json_mode' is deprecated")
def test_structured_output(model: ChatGigaClient, emulator: GigaChatEmulator, method: str) -> None:
    value = {"name": "Kazan", "population": 1}
    if method == "function_calling":
        emulator.answer({"content": "", "function_call": {"name": "City", "arguments": value}}, times=2)
    else:
        emulator.answer(json.dumps(value), times=2)
    assert model.with_structured_output(City, method=method).invoke("A city") == City(**value)
    both = model.with_structured_output(City, method=method, include_raw=True).invoke("A city")
    assert both["parsed"] == City(**value)
    body = body_of(emulator)
    assert ("response_format" in body) is (method == "json_schema")
    assert ("functions" in body) is (method == "function_calling")


def test_embeddings_and_retrieval(emulator: GigaChatEmulator) -> None:
    embeddings = GigaClientEmbeddings()
    store = InMemoryVectorStore.from_texts(["one", "two"], embedding=embeddings)
    found = store.similarity_search("two", k=1)
    assert [document.page_content for document in found] == ["two"]
    assert embeddings.embed_documents([]) == []
    many = embeddings.embed_documents([f"text {number}" for number in range(300)])
    assert len(many) == 300
    other = GigaClientEmbeddings(model="EmbeddingsGigaR", use_prefix_query=True)
    other.embed_query("one")
    assert body_of(emulator)["model"] == "EmbeddingsGigaR"
    assert body_of(emulator)["input"] == [other.prefix_query + "one"]


def test_files(model: ChatGigaClient, emulator: GigaChatEmulator) -> None:
    file = model.upload_file(("notes.txt", b"Buy milk"))
    message = HumanMessage([{"type": "text", "text": "Read"}, {"type": "file", "file_id": file.id_}])
    model.invoke([message])
    assert body_of(emulator)["messages"][0]["attachments"] == [file.id_]
    model.delete_file(file.id_)
    assert model.list_files().data == []
    assert model.get_num_tokens("word " * 10) > 0


def test_errors_are_ours(model: ChatGigaClient, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=400))
    with pytest.raises(errors.BadRequestError):
        model.invoke(PROMPT)
    emulator.inject(Fault(cut_after_events=2))
    with pytest.raises(errors.StreamInterruptedError):
        list(model.stream(PROMPT))


# -- the client --------------------------------------------------------------------------------------------------------


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with GigaChat(model="GigaChat-2-Pro", deadline=30) as giga:
        yield giga


def test_a_client_is_shared(giga: GigaChat, emulator: GigaChatEmulator) -> None:
    ChatGigaClient(client=giga).invoke(PROMPT)
    assert body_of(emulator)["model"] == "GigaChat-2-Pro"
    ChatGigaClient(client=giga, model="GigaChat-2-Max", temperature=0.5).invoke(PROMPT)
    assert (body_of(emulator)["model"], body_of(emulator)["temperature"]) == ("GigaChat-2-Max", 0.5)
    GigaClientEmbeddings(client=giga).embed_query("one")
    assert giga.stats().tokens_fetched == 1


def test_a_client_has_its_own_connection(giga: GigaChat) -> None:
    with pytest.raises(errors.ConfigError, match="client= has its own base_url, credentials: pass either"):
        ChatGigaClient(client=giga, base_url="https://example.org", credentials="x").invoke(PROMPT)
    wrong: Any = "giga"
    with pytest.raises(ValueError, match="client"):
        ChatGigaClient(client=wrong)


def test_the_arguments_make_the_client(emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in emulator.environment:
        monkeypatch.delenv(name)
    model = ChatGigaClient(**emulator.client_options, timeout=30, max_retries=0)
    assert model.invoke(PROMPT).content == ANSWER
    emulator.inject(Fault(status=503))
    with pytest.raises(errors.ServerError):
        model.invoke(PROMPT)


def test_models_are_copied_and_pickled(model: ChatGigaClient) -> None:
    model.invoke(PROMPT)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.model_copy()):
        assert other.invoke(PROMPT).content == ANSWER


def test_no_repr_shows_a_secret(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    assert emulator.credentials not in repr(ChatGigaClient(client=giga))


def test_the_official_sdk_stays_itself() -> None:
    import gigachat

    assert gigachat.GigaChat.__module__.startswith("gigachat.")
    assert sys.modules["gigachat"] is gigachat
