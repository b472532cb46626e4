"""LangChain: ``ChatGigaClient`` and ``GigaClientEmbeddings``, the classes of ``langchain-gigachat`` on this client.

::

    from gigaclient.contrib.langchain import ChatGigaClient

    model = ChatGigaClient(model="GigaChat-2-Max")
    print(model.invoke("What is the capital of Russia?").content)

The arguments, messages, tools and structured output are those of ``langchain_gigachat``, which converts the messages of
LangChain to those of the API and back. :class:`gigaclient.GigaChat` sends the requests, with pinned certificates,
retries, one pool and one limit for all threads. Async methods run the blocking ones in threads of LangChain. Needs
``gigaclient[langchain]``.

Source: https://github.com/ai-forever/langchain-gigachat
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cached_property
from typing import Any

from gigaclient._primitives.extras import extra_is_missing
from gigaclient.errors import ConfigError
from gigaclient.gigachat import GigaChat

try:
    import gigachat.models as official
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import run_in_executor
    from langchain_gigachat.chat_models import GigaChat as OfficialChat
    from langchain_gigachat.embeddings import GigaChatEmbeddings as OfficialEmbeddings
    from pydantic import Field
except ImportError as missing:
    raise ImportError(
        extra_is_missing("gigaclient.contrib.langchain", missing.name, "langchain"), name=missing.name
    ) from missing

__all__ = ["ChatGigaClient", "GigaClientEmbeddings"]


class ChatGigaClient(OfficialChat):
    """A chat model of LangChain that sends its requests by :class:`gigaclient.GigaChat`.

    Args:
        client: a client to share, with settings that this class does not have, such as ``deadline``. You close it. If
            None, a client is made from the other arguments and the environment.
        model, temperature, max_tokens, …: as for ``langchain_gigachat.GigaChat``.

    Raises, when it is used:
        GigaClientError: the errors of this package, such as ``RateLimitError``.
    """

    client: GigaChat | None = Field(default=None, exclude=True, repr=False)
    # None, not False: the base class fills in all defaults, and newer LangChain never streams if it finds False.
    streaming: bool | None = None

    @cached_property
    def _client(self) -> _Adapter:
        return _Adapter(self)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return await BaseChatModel._agenerate(self, *args, **kwargs)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in BaseChatModel._astream(self, *args, **kwargs):
            yield chunk


class GigaClientEmbeddings(OfficialEmbeddings):
    """Embeddings of LangChain that send their requests by :class:`gigaclient.GigaChat`.

    Any number of texts is sent, in several requests if needed.

    Args:
        client: as for :class:`ChatGigaClient`.
        model, use_prefix_query, …: as for ``langchain_gigachat.GigaChatEmbeddings``.
    """

    client: GigaChat | None = Field(default=None, exclude=True, repr=False)

    @cached_property
    def _client(self) -> _Adapter:
        return _Adapter(self)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Run :meth:`embed_documents` in a thread of LangChain."""
        vectors: list[list[float]] = await Embeddings.aembed_documents(self, texts)
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """Run :meth:`embed_query` in a thread of LangChain."""
        vector: list[float] = await Embeddings.aembed_query(self, text)
        return vector


class _Adapter:
    """The methods of the official client that ``langchain_gigachat`` uses, on a client of ours.

    They take the requests of the official SDK and return its responses, which the conversion of messages reads.

    Args:
        owner: the chat model or the embeddings.
    """

    def __init__(self, owner: Any) -> None:
        settings = {name: value for name, value in owner._get_client_init_kwargs().items() if value is not None}
        self._model = settings.get("model")
        self._giga = GigaChat(**settings) if owner.client is None else _changed(owner.client, settings)

    def chat(self, payload: official.Chat) -> official.ChatCompletion:
        """Send a request and return the whole response."""
        answer = self._giga.chat(self._body(payload))
        return official.ChatCompletion.model_validate({**answer.raw, "x_headers": answer.x_headers})

    def stream(self, payload: official.Chat) -> Iterator[dict[str, Any]]:
        """Send a request and yield the chunks of the response, as dicts."""
        with self._giga.stream(self._body(payload)) as chunks:
            x_headers = {"x-request-id": chunks.request_id}
            for chunk in chunks:
                yield {**chunk.model_dump(), "x_headers": x_headers}

    def embeddings(self, texts: list[str], model: str = "Embeddings") -> Any:
        """Return the vectors of the texts."""
        return self._giga.embeddings(texts, model=model)

    def __getattr__(self, name: str) -> Any:
        """Return another method of our client; one whose name begins with ``a`` runs it in a thread of LangChain."""
        if name.startswith("_"):  # copy and pickle look such names up before the client is set
            raise AttributeError(name)
        if not name.startswith("a") or hasattr(self._giga, name):
            return getattr(self._giga, name)
        blocking = getattr(self._giga, name[1:])

        async def run(*args: Any, **kwargs: Any) -> Any:
            return await run_in_executor(None, blocking, *args, **kwargs)

        return run

    def _body(self, payload: official.Chat) -> dict[str, Any]:
        body: dict[str, Any] = payload.model_dump(exclude_none=True, by_alias=True)
        body.pop("stream", None)
        if not body.get("functions"):
            body.pop("functions", None)
        if self._model is not None:
            body.setdefault("model", self._model)
        return body


_CHANGES = frozenset({"flags", "model", "profanity_check", "timeout"})


def _changed(client: Any, settings: dict[str, Any]) -> GigaChat:
    """Return a copy of the caller's client with the settings of the model.

    Raises:
        ConfigError: it is not a client, or there are settings of connections, which the client has already.
    """
    if not isinstance(client, GigaChat):
        raise ConfigError(f"client= takes a gigaclient.GigaChat, not a {type(client).__name__}")
    own = sorted(settings.keys() - _CHANGES)
    if own:
        raise ConfigError(f"client= has its own {', '.join(own)}: pass either the client or these")
    return client.with_options(**settings)
