"""The jobs of ``giga.map``: chat responses, values of a type, and dialogues with functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gigaclient._primitives.serialization import decode_or_none
from gigaclient.bulk.jobs import ChatJob
from gigaclient.bulk.tasks import Task, TaskResult
from gigaclient.errors import ConfigError
from gigaclient.functions import as_function_list, as_tools
from gigaclient.schema.json_schema import type_schema_of
from gigaclient.schema.parse import parse_completion
from gigaclient.schema.results import to_jsonable

__all__ = ["GigaChatJob", "RunJob", "chat_job"]


class GigaChatJob(ChatJob):
    """``giga.chat`` for each prompt, or ``giga.chat_parse`` if a type is set.

    Args:
        type_: a type, or a JSON Schema, as for ``giga.chat_parse``; None for text.
        options: as for ``giga.chat``.
        strict, repair: as for ``giga.chat_parse``.
        keep_blocked: an answer that the filter blocked is no error, unless a type is set.

    Raises:
        ConfigError: the type cannot be described.
    """

    def __init__(
        self,
        type_: Any,
        options: Mapping[str, Any],
        *,
        strict: bool = True,
        repair: bool = True,
        keep_blocked: bool = False,
    ) -> None:
        super().__init__("GigaChat", options, keep_blocked=keep_blocked and type_ is None)
        self._type = type_
        self._repair = repair
        if type_ is not None:
            form = {"type": "json_schema", "schema": type_schema_of(type_).schema, "strict": bool(strict)}
            self.options["response_format"] = form

    def run(self, client: Any, task: Task) -> list[TaskResult]:
        """Send the prompt and read the response's value."""
        results = super().run(client, task)
        for result in results:
            self.read(result)
        return results

    def read(self, result: TaskResult) -> None:
        """Set the value of the response, or the error if it has none."""
        if self._type is None or result.error is not None or result.answer.blocked:
            return
        try:
            result.value = parse_completion(result.answer, self._type, repair=self._repair)
        except Exception as error:
            result.error = error

    def saved(self, result: TaskResult) -> dict[str, Any]:
        """Return the fields of a result for the checkpoint."""
        line = super().saved(result)
        if self._type is not None:
            value = decode_or_none(line["text"].encode())
            line["value"] = to_jsonable(result.value) if value is None else value
        return line

    def restored(self, line: Mapping[str, Any]) -> TaskResult:
        """Return the result stored in a line of the checkpoint."""
        result = super().restored(line)
        self.read(result)
        if result.error is not None:
            raise result.error
        return result


class RunJob(GigaChatJob):
    """``giga.run`` for each prompt.

    Args:
        functions: at least one that can be called.
        type_: as for :class:`GigaChatJob`.
        options: as for ``giga.chat``.
        run_options: the other arguments of ``giga.run``.
        repair: as for ``giga.run`` and :class:`GigaChatJob`.
        job_options: as for :class:`GigaChatJob`.
    """

    requeues_on_429 = False

    def __init__(
        self,
        functions: list[Any],
        type_: Any,
        options: Mapping[str, Any],
        run_options: Mapping[str, Any],
        *,
        repair: bool,
        **job_options: bool,
    ) -> None:
        super().__init__(type_, options, repair=repair, **job_options)
        self.kind = "GigaChat run"
        self._run_options = {"functions": functions, "repair": repair, **run_options}
        self._specifications = [tool.spec for tool in as_tools(functions).values()]

    def prepare(self, client: Any, prompt: Any) -> tuple[Any, bytes]:
        """Return the prompt and the content that identifies its item."""
        request, _ = client._chat_request(prompt, {**self.options, "functions": self._specifications}, stream=False)
        return prompt, self.content(request)

    def run(self, client: Any, task: Task) -> list[TaskResult]:
        """Run the dialogue of one prompt."""
        run = client.run(task.items[0].request, **self._run_options, **self.options)
        result = TaskResult(answer=run.completion, run=run, usage=run.usage)
        self.read(result)
        return [result]


def chat_job(
    type_: Any, functions: Any, options: Mapping[str, Any], run_options: Mapping[str, Any], **job_options: bool
) -> GigaChatJob:
    """Return the job for the arguments of ``giga.map``.

    Raises:
        ConfigError: the arguments contradict each other.
    """
    if functions is not None:
        functions = as_function_list(functions)
        if any(tool.call is not None for tool in as_tools(functions).values()):
            return RunJob(functions, type_, options, run_options, **job_options)
        options = {**options, "functions": functions}
    if options.get("stream"):
        raise ConfigError("map() gives whole answers: leave stream= out")
    return GigaChatJob(type_, options, **job_options)
