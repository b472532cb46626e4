"""What GigaChat can be asked of many prompts: answers, values of a type, dialogues with functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.bulk.jobs import ChatJob
from gigaclient.bulk.tasks import Task, TaskResult
from gigaclient.errors import ConfigError
from gigaclient.functions import as_tools, listed
from gigaclient.schema.json_schema import type_schema_of
from gigaclient.schema.parse import value_of

if TYPE_CHECKING:
    from gigaclient.gigachat.tool_loop import OnError

__all__ = ["GigaChatJob", "RunJob", "chat_job"]


class GigaChatJob(ChatJob):
    """``giga.chat``, or ``giga.chat_parse`` where a type is wanted, for each prompt.

    Args:
        kind: a type, or a JSON Schema, as for ``giga.chat_parse``; None for text.
        options: as for ``giga.chat``.

    Raises:
        ConfigError: the type cannot be described.
    """

    def __init__(self, kind: Any, options: Mapping[str, Any], *, strict: bool = True) -> None:
        super().__init__("GigaChat", options)
        self._type = kind
        if kind is not None:
            form = {"type": "json_schema", "schema": type_schema_of(kind).schema, "strict": bool(strict)}
            self.options["response_format"] = form

    def ask(self, client: Any, task: Task) -> list[TaskResult]:
        outcomes = super().ask(client, task)
        for outcome in outcomes:
            self.read(outcome)
        return outcomes

    def read(self, outcome: TaskResult) -> None:
        """Set the value that the answer is, or the error for one that is none."""
        if self._type is None or outcome.error is not None:
            return
        try:
            outcome.value = value_of(outcome.answer, self._type)
        except Exception as error:
            outcome.error = error

    def saved(self, outcome: TaskResult) -> dict[str, Any]:
        line = super().saved(outcome)
        if self._type is not None:
            line["value"] = _json(line["text"])
        return line

    def restored(self, line: Mapping[str, Any]) -> TaskResult:
        outcome = super().restored(line)
        self.read(outcome)
        if outcome.error is not None:
            raise outcome.error
        return outcome


class RunJob(GigaChatJob):
    """``giga.run`` for each prompt; see there."""

    requeues_on_429 = False

    def __init__(
        self,
        functions: Iterable[Any],
        kind: Any,
        options: Mapping[str, Any],
        *,
        strict: bool = True,
        max_steps: int = 10,
        on_error: OnError = "tell",
    ) -> None:
        super().__init__(kind, options, strict=strict)
        self.kind = "GigaChat run"
        self._functions = list(functions)
        self._max_steps = max_steps
        self._on_error: OnError = on_error
        self._specs = [tool.spec for tool in as_tools(self._functions).values()]

    def prepare(self, client: Any, prompt: Any) -> tuple[Any, bytes]:
        request, _ = client._chat_request(prompt, {**self.options, "functions": self._specs}, stream=False)
        return prompt, self.content(request)

    def ask(self, client: Any, task: Task) -> list[TaskResult]:
        run = client.run(
            task.items[0].request,
            functions=self._functions,
            max_steps=self._max_steps,
            on_error=self._on_error,
            **self.options,
        )
        outcome = TaskResult(answer=run.completion, run=run, usage=run.usage)
        self.read(outcome)
        return [outcome]


def chat_job(
    *, response_format: Any, strict: bool, functions: Any, max_steps: int, on_error: OnError, options: Mapping[str, Any]
) -> GigaChatJob:
    """The job for what the caller of ``giga.map`` passed.

    Raises:
        ConfigError: it does not fit together.
    """
    if functions is not None:
        given = listed(functions)
        if any(tool.call is not None for tool in as_tools(given).values()):
            return RunJob(given, response_format, options, strict=strict, max_steps=max_steps, on_error=on_error)
        options = {**options, "functions": given}
    if options.get("stream"):
        raise ConfigError("map() gives whole answers: leave stream= out")
    return GigaChatJob(response_format, options, strict=strict)


def _json(text: str) -> Any:
    """The JSON that ``text`` is; None where it is none."""
    try:
        return msgspec.json.decode(text.encode())
    except JSON_ERRORS:
        return None
