"""Batches: many requests in one file, answered some time later.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-batches
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gigaclient.errors import GigaClientError
from gigaclient.types.base import APIResponse, Record
from gigaclient.types.chat import ChatCompletion
from gigaclient.types.embeddings import Embeddings

__all__ = ["Batch", "BatchRequestCounts", "BatchResult", "Batches"]


class BatchRequestCounts(Record):
    """How far a batch has come.

    Attributes:
        total: rows in the batch.
        completed: rows answered; None until the server counts them.
        failed: rows that could not be answered; None until the server counts them.
    """

    total: int = 0
    completed: int | None = None
    failed: int | None = None


class Batch(APIResponse):
    """A batch: the answer to ``POST /batches``, and an item of ``GET /batches``.

    Attributes:
        id: what ``get_batch`` takes.
        method: ``chat_completions`` or ``embedder``.
        status: ``created``, ``in_progress``, ``completed``; others may come, and none but ``completed`` means the end.
        request_counts: how many rows there are, and how many are done.
        created_at, updated_at: Unix time in seconds.
        output_file_id: the file with the results, once the batch is completed.
    """

    id: str
    method: str | None = None
    status: str | None = None
    request_counts: BatchRequestCounts | None = None
    created_at: int | None = None
    updated_at: int | None = None
    output_file_id: str | None = None

    @property
    def done(self) -> bool:
        """Whether the batch is completed, so that its results can be read."""
        return self.status == "completed"

    @property
    def requests(self) -> Mapping[str, Any]:
        """The requests by their ids, as they were passed to ``create_batch``; empty where this client never had them.

        They travel with the batch when it is pickled, and come along into what ``get_batch(batch)`` and
        ``wait_for_batch(batch)`` return.
        """
        requests: Mapping[str, Any] | None = self.__dict__.get("_requests")
        return requests or {}


class Batches(APIResponse):
    """The batches of this key: ``GET /batches``, whichever of its known shapes the server answers in.

    Attributes:
        batches: the batches in the server's order.
    """

    batches: list[Batch] = []


class BatchResult(Record, kw_only=True):
    """What became of one row of a batch. ``str()`` gives the answer's text.

    Attributes:
        id: the row's id; empty where the server's row shows none.
        request: the request as it was passed to ``create_batch``; None where it is not known.
        completion: the answer to a chat.
        embeddings: the answer of an embedder.
        error: what went wrong with this row, as one of our errors; None when all went well. An ``APIStatusError`` is
            what the server says; an ``InvalidResponseError`` stands for a row that cannot be read, or is not there.
        raw: the row as the server sent it; ``{"data": text}`` for a line that is no JSON, empty for a missing one.
    """

    id: str
    request: Any = None
    completion: ChatCompletion | None = None
    embeddings: Embeddings | None = None
    error: GigaClientError | None = None
    raw: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The answer's text; empty, never None, when there is none."""
        return self.completion.text if self.completion is not None else ""

    def __str__(self) -> str:
        return self.text
