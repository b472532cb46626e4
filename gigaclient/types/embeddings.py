"""Embedding vectors of texts.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-embeddings
"""

from __future__ import annotations

from typing import Any

import msgspec

from gigaclient.types.base import APIResponse, Record, untyped

__all__ = ["Embedding", "Embeddings", "EmbeddingsUsage"]


class EmbeddingsUsage(Record):
    """The cost of one text or of all.

    Attributes:
        prompt_tokens: tokens, as counted by the server.
    """

    prompt_tokens: int = 0


class Embedding(Record):
    """The vector of one text.

    Attributes:
        embedding: the vector; its length depends on the model.
        index: the text's position in the input, from 0; -1 if the server did not send it.
        usage: the cost of this text, if the server reports it.
        object: the server's name for this kind of item.
    """

    embedding: list[float]
    # A factory, because plain defaults are not encoded.
    index: int = msgspec.field(default_factory=lambda: -1)
    usage: EmbeddingsUsage | None = None
    object: str | None = None

    def __repr__(self) -> str:
        return f"Embedding(index={self.index}, embedding=<{len(self.embedding)} numbers>, usage={self.usage})"

    def _repr_html_(self) -> str:
        return _table([self], "")


class Embeddings(APIResponse):
    """Embedding vectors of texts: ``POST /embeddings``.

    Attributes:
        data: one item for each text, in the order of the texts.
        model: the embedder.
        object: the server's name for this kind of response.
    """

    data: list[Embedding]
    model: str | None = None
    object: str | None = None

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors only, in the order of the texts."""
        return [item.embedding for item in self.data]

    @property
    def usage(self) -> EmbeddingsUsage | None:
        """The cost of all texts, summed on the client; None if the server reports nothing."""
        counts = [item.usage.prompt_tokens for item in self.data if item.usage is not None]
        return EmbeddingsUsage(prompt_tokens=sum(counts)) if counts else None

    @property
    def raw(self) -> dict[str, Any]:
        """The response body as the server sent it, unknown fields included.

        For several requests: the first body, with the items of all bodies in ``data``.
        """
        parts = self._metadata.get("raw")
        if isinstance(parts, tuple):
            answers = [answer for answer in map(untyped, parts) if isinstance(answer, dict)]
            items = [item for answer in answers for item in answer.get("data") or ()]
            self._store(raw={**(answers[0] if answers else {}), "data": items})
        return super().raw

    def _repr_html_(self) -> str:
        return _table(self.data, self.model or "")


_MAX_ROWS = 20


def _table(items: list[Embedding], model: str) -> str:
    from gigaclient.types.tables import norm, number, table, vector

    rows = [
        (
            item.index,
            len(item.embedding),
            norm(item.embedding),
            vector(item.embedding),
            None if item.usage is None else item.usage.prompt_tokens,
        )
        for item in items[:_MAX_ROWS]
    ]
    suffix = f", the first {_MAX_ROWS} of {number(len(items))} texts" if len(items) > _MAX_ROWS else ""
    return table(("text", "numbers", "norm", "vector", "tokens"), rows, f"{model}{suffix}".lstrip(", "))
