"""Vectors of texts.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-embeddings
"""

from __future__ import annotations

from typing import Any  # Dict: within Record, dict is the method

import msgspec

from gigaclient.types.base import APIResponse, Record, untyped

__all__ = ["Embedding", "Embeddings", "EmbeddingsUsage"]


class EmbeddingsUsage(Record):
    """What a text, or all of them, cost.

    Attributes:
        prompt_tokens: tokens, as the server counted.
    """

    prompt_tokens: int = 0


class Embedding(Record):
    """The vector of one text.

    Attributes:
        embedding: the vector; its length depends on the model.
        index: the text's place among those that were passed, from 0; -1 where the server did not say.
        usage: what this text cost, where the server reports it.
        object: what the server calls this kind of item.
    """

    embedding: list[float]
    # By factory: a plain default would be left out when this is written as JSON.
    index: int = msgspec.field(default_factory=lambda: -1)
    usage: EmbeddingsUsage | None = None
    object: str | None = None

    def __repr__(self) -> str:
        return f"Embedding(index={self.index}, embedding=<{len(self.embedding)} numbers>, usage={self.usage})"

    def _repr_html_(self) -> str:
        return _table([self], "")


class Embeddings(APIResponse):
    """The vectors of texts: ``POST /embeddings``.

    Attributes:
        data: one item for each text, in the order of the texts.
        model: the model that made them.
        object: what the server calls this kind of answer.
    """

    data: list[Embedding]
    model: str | None = None
    object: str | None = None

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors alone, in the order of the texts."""
        return [item.embedding for item in self.data]

    @property
    def usage(self) -> EmbeddingsUsage | None:
        """What all texts cost together, summed here; None when the server reports nothing."""
        told = [item.usage.prompt_tokens for item in self.data if item.usage is not None]
        return EmbeddingsUsage(prompt_tokens=sum(told)) if told else None

    @property
    def raw(self) -> dict[str, Any]:
        """The answer as the server sent it, unknown fields included.

        Of several requests: the first answer, with the items of all of them as they were sent, one after the other.
        """
        parts = self.__dict__.get("_raw")
        if isinstance(parts, tuple):
            answers = [answer for answer in map(untyped, parts) if isinstance(answer, dict)]
            items = [item for answer in answers for item in answer.get("data") or ()]
            self.__dict__["_raw"] = {**(answers[0] if answers else {}), "data": items}
        return super().raw

    def _repr_html_(self) -> str:
        return _table(self.data, self.model or "")


# As many as one looks at.
_MOST_SHOWN = 20


def _table(items: list[Embedding], model: str) -> str:
    from gigaclient.types.tables import norm, number, table, vector  # for notebooks

    rows = [
        (
            item.index,
            len(item.embedding),
            norm(item.embedding),
            vector(item.embedding),
            None if item.usage is None else item.usage.prompt_tokens,
        )
        for item in items[:_MOST_SHOWN]
    ]
    more = f", the first {_MOST_SHOWN} of {number(len(items))} texts" if len(items) > _MOST_SHOWN else ""
    return table(("text", "numbers", "norm", "vector", "tokens"), rows, f"{model}{more}".lstrip(", "))
