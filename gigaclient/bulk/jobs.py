"""The job that every provider has: a chat for each prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._core.base_client import BaseClient
from gigaclient._primitives.decoding import convert
from gigaclient.bulk.tasks import Item, Job, Task, TaskResult
from gigaclient.errors import ContentFilterError, NotFoundError
from gigaclient.transport.request import Request
from gigaclient.types import ChatCompletion, Usage
from gigaclient.types.bulk import MapResult

__all__ = ["ChatJob"]


class ChatJob(Job[Any, MapResult]):
    """``client.chat(prompt, **options)`` for each prompt."""

    def __init__(self, provider: str, options: Mapping[str, Any], *, keep_blocked: bool = False) -> None:
        self.kind = f"{provider} chat"
        self.options = dict(options)
        self.keep_blocked = keep_blocked

    def prepare(self, client: BaseClient[Any], prompt: Any) -> tuple[Any, bytes]:
        """Build the request of ``prompt`` with its options; return them, and the content of the key."""
        request, settings = client._chat_request(prompt, dict(self.options), stream=False)
        return (request, settings), self.content(request)

    def content(self, request: Request) -> bytes:
        """Return the part of ``request`` that identifies it."""
        body: bytes = request.body or b""
        return body

    def run(self, client: BaseClient[Any], task: Task) -> list[TaskResult]:
        """Send the chat request of the task's only item."""
        request, settings = task.items[0].request
        failure: NotFoundError
        try:
            return [TaskResult(answer=client._completion(request, settings))]
        except NotFoundError as error:
            failure = error
        failure.__traceback__ = None
        sample, _ = client._chat_request(self.sample, dict(self.options), stream=False)
        # A model that is set for all prompts is missing for all of them.
        return [TaskResult(error=failure, fatal=_model(request) == _model(sample))]

    def result(self, item: Item, task_result: TaskResult) -> MapResult:
        """Return the caller's result for an item.

        An answer that the filter blocked becomes a :class:`ContentFilterError`, unless ``keep_blocked`` is set. The
        checkpoint already has the answer: it was paid for, and sending the prompt again would not help.
        """
        error, answer = task_result.error, task_result.answer
        if error is None and answer is not None and answer.blocked and not self.keep_blocked:
            error = ContentFilterError(
                f"the filter blocked the answer (finish_reason {answer.finish_reason})",
                request_id=answer.request_id,
                completion=answer,
            )
        return MapResult(
            input=item.input,
            index=item.index,
            completion=task_result.answer,
            value=task_result.value,
            run=task_result.run,
            error=error,
            attempts=task_result.attempts,
            seconds=task_result.seconds,
            usage=task_result.usage,
        )

    def saved(self, task_result: TaskResult) -> dict[str, Any]:
        """Return the text and the completion."""
        completion: ChatCompletion = task_result.answer
        return {"text": completion.text, "completion": completion.raw}

    def restored(self, line: Mapping[str, Any]) -> TaskResult:
        """Return the completion that a line holds."""
        raw = line["completion"]
        completion = convert(raw, ChatCompletion, strict=False).attach(raw=raw)
        usage = line.get("usage")
        return TaskResult(answer=completion, usage=None if usage is None else convert(usage, Usage))


def _model(request: Request) -> Any:
    return msgspec.json.decode(request.body or b"{}").get("model")
