"""llama-index reaches GigaChat through litellm."""

from __future__ import annotations

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.litellm import LiteLLMEmbedding
from llama_index.llms.litellm import LiteLLM

from gigaclient.testing import GigaChatEmulator

PROMPT, ANSWER = "Count from 1 to 5", "1, 2, 3, 4, 5"


@pytest.fixture
def llm(emulator: GigaChatEmulator) -> LiteLLM:
    return LiteLLM("gigachat/GigaChat-2", api_base=emulator.base_url)


def test_completion_chat_and_stream(llm: LiteLLM) -> None:
    assert llm.complete(PROMPT).text == ANSWER
    assert llm.chat([ChatMessage(role="user", content=PROMPT)]).message.content == ANSWER
    assert "".join(part.delta for part in llm.stream_complete(PROMPT) if part.delta) == ANSWER


def test_retrieval(llm: LiteLLM, emulator: GigaChatEmulator) -> None:
    embeddings = LiteLLMEmbedding(model_name="gigachat/Embeddings", api_base=emulator.base_url)
    documents = [Document(text="The tide in Murmansk is 1.8 m high."), Document(text="Kazan is a city.")]
    index = VectorStoreIndex.from_documents(documents, embed_model=embeddings)
    answer = index.as_query_engine(llm=llm, similarity_top_k=1).query("The tide in Murmansk is 1.8 m high.")
    assert [found.node.get_content() for found in answer.source_nodes] == [documents[0].text]
    assert documents[0].text in emulator.prompts[-1]
