"""The vectors of many texts: what ``giga.embed_many`` asks for, many texts in one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gigaclient._core.messages import encode
from gigaclient._core.request_options import RequestOptions
from gigaclient._primitives.decoding import convert
from gigaclient.bulk.tasks import Item, Job, Task, TaskResult
from gigaclient.errors import APIStatusError, ConfigError, InvalidResponseError, NotFoundError
from gigaclient.gigachat.batching import Parts
from gigaclient.gigachat.resource import APIResource
from gigaclient.gigachat.resources._validation import checked_text
from gigaclient.gigachat.resources.embeddings import EmbeddingsRequest, in_order
from gigaclient.types.bulk import EmbedResult
from gigaclient.types.embeddings import EmbeddingsUsage

__all__ = ["EmbeddingJob"]

# What a single text can be to blame for: it is too long, or something in it is refused.
_OF_A_TEXT = (400, 413, 422)


class EmbeddingJob(Job[APIResource, EmbedResult]):
    """The vector of each text.

    Args:
        model: an embedder.
        batch_size: texts in one request at the most.
        batch_bytes: bytes of one request's body at the most.
        settings: the options of each request.

    Raises:
        ConfigError: an argument cannot work.
    """

    kind = "GigaChat embeddings"
    item_name = "text"
    fatal_errors = (NotFoundError,)  # the model is that of all texts

    def __init__(self, model: str, batch_size: int, batch_bytes: int, settings: RequestOptions) -> None:
        self._request = EmbeddingsRequest(model, batch_size, batch_bytes)
        self._settings = settings
        self._parts: Parts[Item] = self._request.parts()
        self.max_items_per_task = batch_size

    def __getstate__(self) -> dict[str, Any]:
        # What is gathered stays with the one who gathers.
        return {**self.__dict__, "_parts": self._request.parts()}

    def prepare(self, client: APIResource, prompt: Any) -> tuple[Any, bytes]:
        text = checked_text(prompt, "the text")
        try:
            encoded = encode(text)
        except ConfigError as error:
            reason = error.message.partition(": ")[2]
        else:
            return encoded, self._request.body([encoded])
        raise ConfigError(f"the text cannot be sent: {reason}")

    def gather(self, item: Item) -> Iterator[Task]:
        for items in self._parts.add(item, len(item.request) + 1):
            yield Task(items)

    def rest(self) -> Iterator[Task]:
        for items in self._parts.rest():
            yield Task(items)

    def ask(self, client: APIResource, task: Task) -> list[TaskResult]:
        answered = client._send_with_options(self._request.request(item.request for item in task.items), self._settings)
        outcomes = []
        for item in in_order(answered, len(task.items)).data:
            outcome = TaskResult(answer=item.embedding, usage=item.usage)
            if not item.embedding:
                outcome.answer, outcome.error = None, answered.invalid("the vector of this text is empty")
            outcomes.append(outcome)
        return outcomes

    def split(self, task: Task, error: Exception) -> Sequence[Task]:
        if isinstance(error, APIStatusError):
            is_of_a_text = error.status_code in _OF_A_TEXT
        else:
            # Not a vector for each text: one of them may be why. A gateway's page has nothing to do with them.
            is_of_a_text = isinstance(error, InvalidResponseError) and "json" in error.headers.get("content-type", "")
        return task.halves() if is_of_a_text else ()

    def result(self, item: Item, outcome: TaskResult) -> EmbedResult:
        return EmbedResult(
            input=item.input,
            index=item.index,
            embedding=outcome.answer or [],
            error=outcome.error,
            attempts=outcome.attempts,
            seconds=outcome.seconds,
            usage=outcome.usage,
        )

    def saved(self, outcome: TaskResult) -> dict[str, Any]:
        return {"embedding": outcome.answer}

    def restored(self, line: Mapping[str, Any]) -> TaskResult:
        vector = convert(line["embedding"], list[float])
        if not vector:
            raise ValueError("the vector is empty")
        usage = line.get("usage")
        return TaskResult(answer=vector, usage=None if usage is None else convert(usage, EmbeddingsUsage))
