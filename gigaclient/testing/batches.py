"""Batches of the GigaChat emulator: a file of requests in, one look after the other, a file of results out."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gigaclient.testing import chat_v1
from gigaclient.testing.chat_v1 import INVALID_JSON, Refusal, compact
from gigaclient.testing.files import EmulatedFiles
from gigaclient.testing.routing import AnyAnswer, Route, RoutedRequest, Service, json_answer
from gigaclient.testing.text_tools import embeddings

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
    began_at: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "created"
    looks: int = 0
    taken: bool = False
    output_file_id: str | None = None


class EmulatedBatches:
    """``/batches``: the state, and the routes.

    The attributes may be assigned while the emulator runs. A batch is answered when it is created, and its results are
    shown when it is completed.

    Attributes:
        scopes: The scopes that may use batches; others get 403. None, as it is at first, lets everybody in, so that
            a demo needs no company's key; the real service wants ``{"GIGACHAT_API_CORP"}``.
        looks: A batch is completed at this look, the answer to its creation not counted, and ``in_progress`` at those
            before it.
        seconds: In place of ``looks``: completed so long after its creation, ``in_progress`` from half of it on.
        list_shape: How ``GET /batches`` answers: ``{"batches": [...]}``, a bare array, or a bare item where there is
            exactly one (else as ``object``).
        row_shape: How a row holds its answer: as ``result``, as ``response.body``, or as ``body``.
        failing: The ids of rows that fail with an error of the server.
        extra_lines: Put between the rows of the results as they are: blank lines, broken ones.
        leave_out: The ids of rows that the results do not have.
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
        self._check_plan(call)
        method = call.request.params.get("method", "")
        kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if method not in _METHODS or kind != "application/octet-stream":
            # Invented: that both are wanted is documented, what is said without them is not.
            raise Refusal(400, INVALID_JSON)
        rows = _rows(call.request.body)
        results, failed = self._results(method, rows)
        now = int(self._service.now_s())
        batch = _Batch(call.client, method, len(rows), failed, results, now, now, began_at=time.monotonic())
        with self._lock:
            self._batches[batch.id] = batch
            return json_answer(200, _item(batch), call.headers)

    def _list(self, call: RoutedRequest) -> AnyAnswer:
        self._check_plan(call)
        kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # Invented: that it is wanted is documented, what is said without it is not.
            raise Refusal(400, INVALID_JSON)
        wanted = call.request.params.get("batch_id")
        with self._lock:
            found = [batch for batch in self._batches.values() if batch.client == call.client]
            if wanted is not None:
                found = [batch for batch in found if batch.id == wanted]
                if not found:
                    raise Refusal(404, "Batch task not found")
            due = [batch for batch in found if self._is_due(batch)]
        for batch in due:
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
        return json_answer(200, payload, call.headers)

    def _check_plan(self, call: RoutedRequest) -> None:
        if self.scopes is not None and self._service.scope_of(call.client) not in self.scopes:
            raise Refusal(403, "Permission denied")

    def _is_due(self, batch: _Batch) -> bool:
        """Take one look at a batch; whether its results are to be laid down now, and by the one who asks."""
        if batch.taken:
            return False
        batch.looks += 1
        if self.seconds is not None:
            part = (time.monotonic() - batch.began_at) / self.seconds if self.seconds > 0 else 1.0
            begun, batch.taken = part >= 0.5, part >= 1.0
        else:
            begun, batch.taken = True, batch.looks >= self.looks
        if begun and batch.status == "created":
            batch.status = "in_progress"
            batch.updated_at = int(self._service.now_s())
        return batch.taken

    def _results(self, method: str, rows: list[tuple[str, Any]]) -> tuple[bytes, int]:
        answered: list[bytes] = []
        failed = 0
        for row_id, request in rows:
            row = self._answered(method, row_id, request)
            failed += "error" in row
            if row_id not in self.leave_out:
                answered.append(compact(row).encode())
        # The service promises no order, so it is not the requests' one wherever there are two.
        shuffled = answered[1::2] + answered[0::2]
        for place, line in enumerate(self.extra_lines):
            shuffled.insert(2 * place, line)
        return b"".join(line + b"\n" for line in shuffled), failed

    def _answered(self, method: str, row_id: str, request: Any) -> dict[str, Any]:
        if row_id in self.failing:
            return {"id": row_id, "error": _SERVER_ERROR}
        try:
            answer = self._embeddings(request) if method == "embedder" else self._completion(request)
        except Refusal as refusal:
            return {"id": row_id, "error": refusal.body}
        if self.row_shape == "response":
            return {"id": row_id, "response": {"status_code": 200, "body": answer}}
        return {"id": row_id, self.row_shape: answer}

    def _embeddings(self, request: Any) -> dict[str, Any]:
        return embeddings(request, models=self._service.models, exceeded=self._service.exhausted_models)

    def _completion(self, request: Any) -> dict[str, Any]:
        service = self._service
        body = chat_v1.check(
            request,
            models=service.models,
            without_functions=service.models_without_functions,
            exceeded=service.exhausted_models,
            context_tokens=service.context_tokens,
        )
        if body.get("stream"):
            raise Refusal(400, INVALID_JSON)
        made = chat_v1.replies(body)
        asked = str(body.get("model") or "GigaChat-2")
        prompt, spent = chat_v1.prompt_tokens(body), sum(reply.tokens() for reply in made)
        return chat_v1.completion(
            made,
            model=asked if ":" in asked else f"{asked}:{chat_v1.build_of(asked)}",
            created=int(service.now_s()),
            usage={"prompt_tokens": prompt, "completion_tokens": spent, "total_tokens": prompt + spent},
        )


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
            # Invented, as the next: that ids are not empty and unique is documented, the texts are not.
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
