"""The job of ``giga.embed_many``: many texts in each request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gigaclient._core.messages import encode
from gigaclient._core.request_options import RequestOptions
from gigaclient._core.responses import invalid_response
from gigaclient._primitives.decoding import convert
from gigaclient.bulk.tasks import Item, Job, Task, TaskResult, may_be_one_item
from gigaclient.errors import ConfigError, InvalidResponseError, NotFoundError
from gigaclient.gigachat.batching import Batcher
from gigaclient.gigachat.resource import APIResource
from gigaclient.gigachat.resources._validation import checked_text
from gigaclient.gigachat.resources.embeddings import EmbeddingsRequest, in_order
from gigaclient.types.bulk import EmbedResult
from gigaclient.types.embeddings import EmbeddingsUsage

__all__ = ["EmbeddingJob"]


class EmbeddingJob(Job[APIResource, EmbedResult]):
    """The vector of each text.

    Args:
        model: an embedder.
        batch_size: the maximum number of texts in one request.
        batch_bytes: the maximum bytes of one request's body.
        settings: the options of each request.

    Raises:
        ConfigError: an argument cannot work.
    """

    kind = "GigaChat embeddings"
    item_name = "text"
    fatal_errors = (NotFoundError,)  # all texts have the same model

    def __init__(self, model: str, batch_size: int, batch_bytes: int, settings: RequestOptions) -> None:
        self._request = EmbeddingsRequest(model, batch_size, batch_bytes)
        self._settings = settings
        self._batcher: Batcher[Item] = self._request.parts()
        self.max_items_per_task = batch_size

    def __getstate__(self) -> dict[str, Any]:
        # Collected items belong to the process that collects them; workers get a job without any.
        return {**self.__dict__, "_batcher": self._request.parts()}

    def prepare(self, client: APIResource, prompt: Any) -> tuple[Any, bytes]:
        """Return the text as JSON, and the request body of that text alone, which identifies its item."""
        text = checked_text(prompt, "the text")
        try:
            encoded = encode(text)
        except ConfigError as error:
            reason = error.message.partition(": ")[2]
        else:
            return encoded, self._request.body([encoded])
        raise ConfigError(f"the text cannot be sent: {reason}")

    def gather(self, item: Item) -> Iterator[Task]:
        """Collect an item; yield the tasks that are complete now."""
        for items in self._batcher.add(item, len(item.request) + 1):
            yield Task(items)

    def rest(self) -> Iterator[Task]:
        """Yield the incomplete task, if there is one."""
        for items in self._batcher.rest():
            yield Task(items)

    def run(self, client: APIResource, task: Task) -> list[TaskResult]:
        """Send the texts and return a result for each."""
        response = client._send_with_options(self._request.request(item.request for item in task.items), self._settings)
        results = []
        for item in in_order(response, len(task.items)).data:
            result = TaskResult(answer=item.embedding, usage=item.usage)
            if not item.embedding:
                result.answer, result.error = None, invalid_response(response, "the vector of this text is empty")
            results.append(result)
        return results

    def split(self, task: Task, error: Exception) -> Sequence[Task]:
        """Return halves of a task that may have failed because of one of its texts; else nothing."""
        # A wrong number of vectors may be caused by one text. An HTML page of a gateway is not.
        is_json = isinstance(error, InvalidResponseError) and "json" in error.headers.get("content-type", "")
        return task.halves() if is_json or may_be_one_item(error) else ()

    def result(self, item: Item, result: TaskResult) -> EmbedResult:
        """Return the result of an item for the caller."""
        return EmbedResult(
            input=item.input,
            index=item.index,
            embedding=result.answer or [],
            error=result.error,
            attempts=result.attempts,
            seconds=result.seconds,
            usage=result.usage,
        )

    def saved(self, result: TaskResult) -> dict[str, Any]:
        """Return the fields of a result for the checkpoint."""
        return {"embedding": result.answer}

    def restored(self, line: Mapping[str, Any]) -> TaskResult:
        """Return the result stored in a line of the checkpoint."""
        vector = convert(line["embedding"], list[float])
        if not vector:
            raise ValueError("the vector is empty")
        usage = line.get("usage")
        return TaskResult(answer=vector, usage=None if usage is None else convert(usage, EmbeddingsUsage))
