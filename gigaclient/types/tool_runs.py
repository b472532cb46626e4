"""Results of ``giga.run``: the model's responses, and the functions that were called for them."""

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
        result: the JSON object that was sent to the model; ``{"error": …}`` after an error; None if the function's
            result could not be sent.
        error: the error that was sent to the model, or that ended the run; None if there was none.
        seconds: the run time of the function.
        repaired: what was mended to read the arguments, in short sentences; empty if they were read as they came.
    """

    call: FunctionCall
    result: Any = None
    error: str | None = None
    seconds: float = 0.0
    repaired: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        return self.call.name

    @property
    def arguments(self) -> Any:
        """The arguments as the model sent them."""
        return self.call.arguments

    @property
    def text(self) -> str:
        """Always empty, so that code can print the text of every event of a stream."""
        return ""


class Run(msgspec.Struct, Generic[CompletionT, UsageT]):
    """A dialogue with functions, from the prompt to the last response. ``str()`` returns its text.

    Attributes:
        completion: the last response.
        messages: the whole history with the last response; append to it to continue.
        steps: the functions that were called, in order.
        usage: tokens of all responses together, as counted by the server; None if it did not report them.
    """

    completion: CompletionT
    messages: list[Any]
    steps: list[Step]
    usage: UsageT | None = None

    @property
    def repaired(self) -> tuple[str, ...]:
        """The sentences that say what was mended in the last response and in the arguments of all calls, each once."""
        steps = [sentence for step in self.steps for sentence in step.repaired]
        return tuple(dict.fromkeys((*steps, *getattr(self.completion, "repaired", ()))))

    @property
    def text(self) -> str:
        """The text of the last response; empty, never None, if there is none."""
        text: str = getattr(self.completion, "text", "")
        return text

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import for_notebook

        return for_notebook(self.text)
