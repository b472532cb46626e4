"""Results of ``giga.map`` and ``giga.embed_many``, one for each prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from gigaclient.types.chat import ChatCompletion, Usage
from gigaclient.types.embeddings import EmbeddingsUsage
from gigaclient.types.tool_runs import Run

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault  # type checkers include it; not needed at run time

    ValueT = TypeVarWithDefault("ValueT", default=Any)
else:
    ValueT = TypeVar("ValueT")

__all__ = ["EmbedResult", "ItemResult", "MapResult"]

UsageT = TypeVar("UsageT")

_MAX_EXCERPT = 60


class ItemResult(msgspec.Struct, Generic[UsageT], kw_only=True):
    """The fields of all results.

    Attributes:
        input: the prompt as passed.
        index: its position in the input, from 0.
        error: its error, or None. A ``GigaClientError``, unless a function of the caller raised it.
        attempts: the number of requests sent for it, in this run, or in the earlier run for a restored one; 0 if it
            could not be sent.
        seconds: from the start of its first request to the end of its last, waits included.
        usage: its cost in tokens, as counted by the server; None if the server did not report it.
        restored: True if it was read from the checkpoint and not requested in this run.
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
        """True if there is no error."""
        return self.error is None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a row of a table: plain values, one for each column.

        ``error`` is a text, and the tokens of ``usage`` are columns.
        """
        usage = self.usage
        error = None if self.error is None else f"{type(self.error).__name__}: {self.error}"
        tokens = {
            name: None if usage is None else getattr(usage, name, None)
            for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        }
        measured = {"attempts": self.attempts, "seconds": self.seconds, "restored": self.restored}
        return {"index": self.index, "input": self.input, **self._answer(), "error": error, **tokens, **measured}

    def _answer(self) -> dict[str, Any]:
        return {}

    # A mapping of the columns, so that pandas.DataFrame(results) has them.

    def keys(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.to_dict())

    def values(self) -> list[Any]:
        """Return the values of the columns."""
        return list(self.to_dict().values())

    def items(self) -> list[tuple[str, Any]]:
        """Return names and values of the columns."""
        return list(self.to_dict().items())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a column, or ``default``."""
        return self.to_dict().get(name, default)

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def _error_suffix(self) -> str:
        return "" if self.error is None else f", error={type(self.error).__name__}({_excerpt(str(self.error))!r})"


Mapping.register(ItemResult)


class MapResult(ItemResult[Usage], Generic[ValueT], kw_only=True):
    """The result of one prompt. ``str()`` returns its text.

    Attributes:
        completion: the chat completion; None after an error, unless the error has one.
        value: the response as a value of the ``response_format``, which is its type; None without one, and None after
            an error: look at :attr:`ok` first.
        run: the dialogue with ``functions``; None without functions, and for a restored item.
    """

    completion: ChatCompletion | None = None
    value: ValueT = None  # type: ignore[assignment]  # set whenever there is no error
    run: Run[ChatCompletion, Usage] | None = None

    @property
    def text(self) -> str:
        """The text of the response; empty, never None, if there is none."""
        return self.completion.text if self.completion is not None else ""

    def _answer(self) -> dict[str, Any]:
        return {"text": self.text, "value": self.value}

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<MapResult {self.index}: {_excerpt(self.text)!r}{self._error_suffix()}>"


class EmbedResult(ItemResult[EmbeddingsUsage], kw_only=True):
    """The result of one text.

    Attributes:
        embedding: its vector; empty after an error.
    """

    embedding: list[float] = []

    def _answer(self) -> dict[str, Any]:
        return {"embedding": self.embedding}

    def __repr__(self) -> str:
        return f"<EmbedResult {self.index}: {len(self.embedding)} numbers{self._error_suffix()}>"


def _excerpt(text: str) -> str:
    return text if len(text) <= _MAX_EXCERPT else text[: _MAX_EXCERPT - 1] + "…"
