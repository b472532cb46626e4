"""Batches of the GigaChat emulator: a client uploads a file of requests, polls, and downloads a file of results."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gigaclient.testing import replies_v1
from gigaclient.testing.files import EmulatedFiles
from gigaclient.testing.routing import (
    INVALID_JSON,
    AnyAnswer,
    Refusal,
    Route,
    RoutedRequest,
    Service,
    compact,
)
from gigaclient.testing.text_tools import embeddings
from gigaclient.testing.validation_v1 import check

__all__ = ["EmulatedBatches"]

ListShape: TypeAlias = Literal["object", "array", "item"]
RowShape: TypeAlias = Literal["result", "response", "body"]

_METHODS = ("chat_completions", "embedder")
_SERVER_ERROR = {"status": 500, "message": "Internal Server Error"}


@dataclass
class _Batch:
    client: str
    method: str
    total: int
    failed: int
    results: bytes
    created_at: int
    updated_at: int
    started_at: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "created"
    polls: int = 0
    completed: bool = False
    output_file_id: str | None = None


class EmulatedBatches:
    """The state and the routes of ``/batches``.

    The attributes may be changed while the emulator runs. The results of a batch are computed when it is created, and
    available when it is completed.

    Attributes:
        scopes: The scopes that may use batches; others get 403. The default, None, allows all scopes, so that a demo
            needs no company key. The real service requires ``{"GIGACHAT_API_CORP"}``.
        looks: The number of the status request that finds the batch completed. Earlier ones find it ``in_progress``.
            The response to the creation does not count.
        seconds: Used instead of ``looks``: seconds from the creation to ``completed``. The status is ``in_progress``
            from half of that time on.
        list_shape: How ``GET /batches`` responds: ``{"batches": [...]}``, a bare array, or a bare item where there is
            exactly one (otherwise as ``object``).
        row_shape: The field of a row that holds the response: ``result``, ``response.body`` or ``body``.
        failing: The ids of rows that fail with a server error.
        extra_lines: Raw lines between the rows of the results, such as blank or malformed ones.
        leave_out: The ids of rows that the results omit.
    """

    def __init__(self, service: Service, files: EmulatedFiles) -> None:
        self.scopes: Collection[str] | None = None
        self.looks = 2
        self.seconds: float | None = None
        self.list_shape: ListShape = "object"
        self.row_shape: RowShape = "result"
        self.failing: set[str] = set()
        self.extra_lines: list[bytes] = []
        self.leave_out: set[str] = set()
        self._service = service
        self._files = files
        self._lock = threading.Lock()
        self._batches: dict[str, _Batch] = {}
        self.routes: tuple[Route, ...] = (
            Route("POST", "v1", "/batches", self._create),
            Route("GET", "v1", "/batches", self._list),
        )

    def _create(self, call: RoutedRequest) -> AnyAnswer:
        self._check_scope(call)
        method = call.request.params.get("method", "")
        if method not in _METHODS or _content_type(call) != "application/octet-stream":
            # Invented: the documentation requires both, but gives no error for their absence.
            raise Refusal(400, INVALID_JSON)
        rows = _rows(call.request.body)
        results, failed = self._results(method, rows)
        now = int(self._service.now_s())
        batch = _Batch(call.client, method, len(rows), failed, results, now, now, started_at=time.monotonic())
        with self._lock:
            self._batches[batch.id] = batch
            return call.answer(_item(batch))

    def _list(self, call: RoutedRequest) -> AnyAnswer:
        self._check_scope(call)
        if _content_type(call) != "application/json":
            # Invented: the documentation requires it, but gives no error for its absence.
            raise Refusal(400, INVALID_JSON)
        batch_id = call.request.params.get("batch_id")
        with self._lock:
            found = [batch for batch in self._batches.values() if batch.client == call.client]
            if batch_id is not None:
                found = [batch for batch in found if batch.id == batch_id]
                if not found:
                    raise Refusal(404, "Batch task not found")
            newly_completed = [batch for batch in found if self._poll(batch)]
        for batch in newly_completed:
            file_id = self._files.add(batch.client, batch.results, f"{batch.id}.jsonl")
            with self._lock:
                batch.output_file_id, batch.status = file_id, "completed"
                batch.updated_at = int(self._service.now_s())
        with self._lock:
            items = [_item(batch) for batch in found]
        payload: Any = {"batches": items}
        if self.list_shape == "array":
            payload = items
        elif self.list_shape == "item" and len(items) == 1:
            payload = items[0]
        return call.answer(payload)

    def _check_scope(self, call: RoutedRequest) -> None:
        if self.scopes is not None and self._service.scope_of(call.client) not in self.scopes:
            raise Refusal(403, "Permission denied")

    def _poll(self, batch: _Batch) -> bool:
        """Count one status request; return True once, when the caller has to store the results."""
        if batch.completed:
            return False
        batch.polls += 1
        if self.seconds is not None:
            progress = (time.monotonic() - batch.started_at) / self.seconds if self.seconds > 0 else 1.0
            started, batch.completed = progress >= 0.5, progress >= 1.0
        else:
            started, batch.completed = True, batch.polls >= self.looks
        if started and batch.status == "created":
            batch.status = "in_progress"
            batch.updated_at = int(self._service.now_s())
        return batch.completed

    def _results(self, method: str, rows: list[tuple[str, Any]]) -> tuple[bytes, int]:
        lines: list[bytes] = []
        failed = 0
        for row_id, request in rows:
            row = self._result_row(method, row_id, request)
            failed += "error" in row
            if row_id not in self.leave_out:
                lines.append(compact(row).encode())
        # The service guarantees no order, so the results never keep that of the requests.
        shuffled = lines[1::2] + lines[0::2]
        for index, line in enumerate(self.extra_lines):
            shuffled.insert(2 * index, line)
        return b"".join(line + b"\n" for line in shuffled), failed

    def _result_row(self, method: str, row_id: str, request: Any) -> dict[str, Any]:
        if row_id in self.failing:
            return {"id": row_id, "error": _SERVER_ERROR}
        try:
            response = self._embeddings(request) if method == "embedder" else self._completion(request)
        except Refusal as refusal:
            return {"id": row_id, "error": refusal.body}
        if self.row_shape == "response":
            return {"id": row_id, "response": {"status_code": 200, "body": response}}
        return {"id": row_id, self.row_shape: response}

    def _embeddings(self, request: Any) -> dict[str, Any]:
        return embeddings(request, self._service)

    def _completion(self, request: Any) -> dict[str, Any]:
        service = self._service
        body = check(request, service)
        if body.get("stream"):
            raise Refusal(400, INVALID_JSON)
        replies = replies_v1.replies(body)
        return replies_v1.completion(
            replies,
            model=replies_v1.with_build(body.get("model")),
            created=int(service.now_s()),
            usage=replies_v1.usage(replies_v1.prompt_tokens(body), sum(reply.tokens() for reply in replies)),
        )


def _content_type(call: RoutedRequest) -> str:
    return call.request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _rows(content: bytes) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError:
            raise Refusal(400, INVALID_JSON) from None
        if not isinstance(row, dict) or not isinstance(row.get("request"), dict):
            raise Refusal(400, INVALID_JSON)
        if not isinstance(row.get("id"), str) or not row["id"]:
            # Invented, like the next one: the documentation requires unique ids that are not empty, without a text.
            raise Refusal(422, "Invalid params: every row must have an id")
        rows.append((row["id"], row["request"]))
    if len({row_id for row_id, _ in rows}) != len(rows):
        raise Refusal(422, "Invalid params: row ids must be unique")
    if not rows:
        raise Refusal(400, INVALID_JSON)
    return rows


def _item(batch: _Batch) -> dict[str, Any]:
    counts = {"total": batch.total}
    if batch.status == "completed":
        counts.update(completed=batch.total - batch.failed, failed=batch.failed)
    elif batch.status == "in_progress":
        counts.update(completed=0, failed=0)
    item: dict[str, Any] = {
        "id": batch.id,
        "method": batch.method,
        "request_counts": counts,
        "status": batch.status,
        "created_at": batch.created_at,
        "updated_at": batch.updated_at,
    }
    if batch.output_file_id is not None:
        item["output_file_id"] = batch.output_file_id
    return item
