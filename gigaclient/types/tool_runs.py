"""What ``giga.run`` did: the model's answers, and the functions that were called for them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from gigaclient.types.chat import FunctionCall

__all__ = ["Run", "Step"]

CompletionT = TypeVar("CompletionT")
UsageT = TypeVar("UsageT")


class Step(msgspec.Struct, frozen=True):
    """One call of a function.

    Attributes:
        call: the call as the model made it.
        result: the JSON object that the model was told; ``{"error": …}`` after an error.
        error: what went wrong, as the model was told; None when nothing did.
        seconds: how long the function ran.
    """

    call: FunctionCall
    result: Any = None
    error: str | None = None
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The function's name."""
        return self.call.name

    @property
    def arguments(self) -> Any:
        """The arguments as the model gave them."""
        return self.call.arguments

    @property
    def text(self) -> str:
        """Always empty: a step adds no text, and what prints the text of each event of a stream need not tell."""
        return ""


class Run(msgspec.Struct, Generic[CompletionT, UsageT]):
    """A dialogue with functions, from the question to the answer. ``str()`` gives the answer's text.

    Attributes:
        completion: the last answer.
        messages: the whole history, the last answer included: append to it and go on.
        steps: the functions that were called, in order.
        usage: tokens of all the answers together, as the server counted; None where it did not.
    """

    completion: CompletionT
    messages: list[Any]
    steps: list[Step]
    usage: UsageT | None = None

    @property
    def text(self) -> str:
        """The text of the last answer; empty, never None, when there is none."""
        text: str = getattr(self.completion, "text", "")
        return text

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import for_notebook  # for notebooks

        return for_notebook(self.text)
