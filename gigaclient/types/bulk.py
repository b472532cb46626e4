"""What became of one of many prompts: the items that ``giga.map`` and ``giga.embed_many`` give."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from gigaclient.types.chat import ChatCompletion, Usage
from gigaclient.types.embeddings import EmbeddingsUsage
from gigaclient.types.tool_runs import Run

__all__ = ["EmbedResult", "ItemResult", "MapResult"]

UsageT = TypeVar("UsageT")

_MOST_SHOWN = 60


class ItemResult(msgspec.Struct, Generic[UsageT], kw_only=True):
    """What all items have.

    Attributes:
        input: what was passed, as it was passed.
        index: its place among what was passed, from 0.
        error: what went wrong with this one; None when all went well. One of our errors, but for what a function of the
            caller's own raised.
        attempts: requests that were sent for it, in this run or, for a restored one, in the run that asked it; 0 for
            one that could not be sent.
        seconds: from the beginning of its first request to the end of its last, waits included.
        usage: the tokens it cost, as the server counted; None where it did not say.
        restored: it was not asked now, but read from the checkpoint.
    """

    input: Any
    index: int
    error: Exception | None = None
    attempts: int = 0
    seconds: float = 0.0
    usage: UsageT | None = None
    restored: bool = False

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.error is None

    def _outcome(self) -> str:
        return "" if self.error is None else f", error={type(self.error).__name__}({_excerpt(str(self.error))!r})"


class MapResult(ItemResult[Usage], kw_only=True):
    """What became of one prompt. ``str()`` gives the answer's text.

    Attributes:
        completion: the answer; None after an error, unless the error came with one.
        value: the answer as a value of the ``response_format``; None where none was asked for.
        run: the dialogue with ``functions``; None where there were none, and for a restored item.
    """

    completion: ChatCompletion | None = None
    value: Any = None
    run: Run[ChatCompletion, Usage] | None = None

    @property
    def text(self) -> str:
        """The answer's text; empty, never None, when there is none."""
        return self.completion.text if self.completion is not None else ""

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<MapResult {self.index}: {_excerpt(self.text)!r}{self._outcome()}>"


class EmbedResult(ItemResult[EmbeddingsUsage], kw_only=True):
    """What became of one text.

    Attributes:
        embedding: its vector; empty after an error.
    """

    embedding: list[float] = []

    def __repr__(self) -> str:
        return f"<EmbedResult {self.index}: {len(self.embedding)} numbers{self._outcome()}>"


def _excerpt(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"
