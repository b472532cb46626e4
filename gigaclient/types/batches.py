"""Batches: many requests in one file, processed later.

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
    """The progress of a batch.

    Attributes:
        total: rows in the batch.
        completed: rows with a result; None until the server counts them.
        failed: rows that failed; None until the server counts them.
    """

    total: int = 0
    completed: int | None = None
    failed: int | None = None


class Batch(APIResponse):
    """A batch: the response of ``POST /batches``, and an item of ``GET /batches``.

    Attributes:
        id: its id, for ``get_batch``.
        method: ``chat_completions`` or ``embedder``.
        status: ``created``, ``in_progress``, ``completed``; others may come, and only ``completed`` is final.
        request_counts: the number of rows, and of processed rows.
        created_at, updated_at: Unix time in seconds.
        output_file_id: the file with the results; set when the batch is completed.
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
        """True when the batch is completed and its results can be downloaded."""
        return self.status == "completed"

    @property
    def requests(self) -> Mapping[str, Any]:
        """The requests by id, as passed to ``create_batch``; empty for a batch that this client did not create.

        They are pickled with the batch, and copied to the results of ``get_batch(batch)`` and
        ``wait_for_batch(batch)``.
        """
        requests: Mapping[str, Any] | None = self._metadata.get("requests")
        return requests or {}


class Batches(APIResponse):
    """The batches of this key: ``GET /batches``, from any known shape of the response.

    Attributes:
        batches: the batches in the server's order.
    """

    batches: list[Batch] = []


class BatchResult(Record, kw_only=True):
    """The result of one row of a batch. ``str()`` returns its text.

    Attributes:
        id: the row's id; empty if the server's row has none.
        request: the request as passed to ``create_batch``; None if it is unknown.
        completion: the chat completion.
        embeddings: the response of an embedder.
        error: the error of this row, or None. An ``APIStatusError`` is from the server; an ``InvalidResponseError``
            means that the row cannot be read or is missing.
        raw: the row as the server sent it; ``{"data": text}`` for a line that is not JSON, empty for a missing one.
    """

    id: str
    request: Any = None
    completion: ChatCompletion | None = None
    embeddings: Embeddings | None = None
    error: GigaClientError | None = None
    raw: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The text of the response; empty, never None, if there is none."""
        return self.completion.text if self.completion is not None else ""

    def __str__(self) -> str:
        return self.text
