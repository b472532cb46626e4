"""Tests of the emulator's batches with a client of the standard library."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testing.plain_client import Giga, PlainResponse, oauth, soon

from gigaclient.testing import GigaChatEmulator

ROWS = [
    {
        "id": name,
        "request": {"model": "GigaChat-2", "messages": [{"role": "user", "content": f"Count from 1 to {last}"}]},
    }
    for name, last in (("a", 2), ("b", 3), ("c", 4))
]


def create(giga: Giga, rows: Any, method: str = "chat_completions", **headers: str) -> PlainResponse:
    body = rows if isinstance(rows, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    all_headers = {**giga.headers, "Content-Type": "application/octet-stream", **headers}
    return giga.send("POST", f"/v1/batches?method={method}", body, all_headers)  # type: ignore[arg-type]


def status(giga: Giga, batch_id: str) -> dict[str, Any]:
    found = giga.get(f"/v1/batches?batch_id={batch_id}").json()["batches"]
    assert len(found) == 1
    return dict(found[0])


def results(giga: Giga, batch_id: str) -> list[dict[str, Any]]:
    while (item := status(giga, batch_id))["status"] != "completed":
        continue
    reply = giga.get(f"/v1/files/{item['output_file_id']}/content")
    assert reply.status == 200
    return [json.loads(line) for line in reply.text.splitlines()]


def test_a_batch_is_completed_after_some_status_requests(gigachat: GigaChatEmulator, giga: Giga) -> None:
    response = create(giga, ROWS)
    assert response.status == 200
    item = response.json()
    assert {name: item[name] for name in ("method", "request_counts", "status")} == {
        "method": "chat_completions",
        "request_counts": {"total": 3},
        "status": "created",
    }
    assert item["created_at"] == item["updated_at"]
    gigachat.batches.looks = 3
    assert [status(giga, item["id"])["status"] for _ in range(4)] == [
        "in_progress",
        "in_progress",
        "completed",
        "completed",
    ]
    done = status(giga, item["id"])
    assert done["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert "output_file_id" in done and "output_file_id" not in item
    assert len(giga.get("/v1/files").json()["data"]) == 1


def test_a_batch_may_be_completed_after_some_time(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.batches.seconds = 3600
    item = create(giga, ROWS).json()
    assert [status(giga, item["id"])["status"] for _ in range(5)] == ["created"] * 5
    gigachat.batches.seconds = 0.001
    assert soon(lambda: status(giga, item["id"])["status"] == "completed")


def test_results_are_complete_responses_in_another_order(giga: Giga) -> None:
    rows = results(giga, create(giga, ROWS).json()["id"])
    assert [row["id"] for row in rows] == ["b", "a", "c"]
    assert rows[1]["result"]["choices"][0]["message"]["content"] == "1, 2"
    assert rows[1]["result"]["object"] == "chat.completion"
    assert rows[1]["result"]["usage"]["total_tokens"] > 0


def test_a_row_that_chat_would_refuse_fails_alone(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.batches.failing = {"c"}
    wrong = {"id": "x", "request": {**ROWS[0]["request"], "model": "none"}}  # type: ignore[dict-item]
    streamed = {"id": "y", "request": {**ROWS[0]["request"], "stream": True}}  # type: ignore[dict-item]
    item = create(giga, [*ROWS, wrong, streamed]).json()
    rows = {row["id"]: row for row in results(giga, item["id"])}
    assert rows["x"]["error"] == {"status": 404, "message": "No such model"}
    assert rows["y"]["error"]["status"] == 400
    assert rows["c"]["error"] == {"status": 500, "message": "Internal Server Error"}
    assert "result" in rows["a"] and "result" in rows["b"]
    assert status(giga, item["id"])["request_counts"] == {"total": 5, "completed": 2, "failed": 3}


def test_an_embedder_answers_as_the_endpoint_does(giga: Giga) -> None:
    request = {"model": "Embeddings", "input": ["one", "two"]}
    [row] = results(giga, create(giga, [{"id": "a", "request": request}], "embedder").json()["id"])
    direct = giga.send("POST", "/v1/embeddings", json.dumps(request), giga.headers).json()
    assert row == {"id": "a", "result": direct}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("result", lambda answer: {"id": "a", "result": answer}),
        ("response", lambda answer: {"id": "a", "response": {"status_code": 200, "body": answer}}),
        ("body", lambda answer: {"id": "a", "body": answer}),
    ],
)
def test_the_shape_of_a_row_can_be_chosen(gigachat: GigaChatEmulator, giga: Giga, shape: Any, expected: Any) -> None:
    request = {"model": "Embeddings", "input": ["one"]}
    gigachat.batches.row_shape = shape
    [row] = results(giga, create(giga, [{"id": "a", "request": request}], "embedder").json()["id"])
    assert row == expected(giga.send("POST", "/v1/embeddings", json.dumps(request), giga.headers).json())


def test_lines_can_be_inserted_and_omitted(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.batches.extra_lines = [b"", b"{broken"]
    gigachat.batches.leave_out = {"a"}
    item = create(giga, ROWS).json()
    status(giga, item["id"])
    file_id = status(giga, item["id"])["output_file_id"]
    lines = giga.get(f"/v1/files/{file_id}/content").body.split(b"\n")
    assert lines[0] == lines[-1] == b""
    assert lines[2] == b"{broken"
    assert [json.loads(lines[index])["id"] for index in (1, 3)] == ["c", "b"]


def test_the_list_has_the_chosen_shape(gigachat: GigaChatEmulator, giga: Giga) -> None:
    first = create(giga, ROWS).json()["id"]
    gigachat.batches.list_shape = "item"
    assert giga.get("/v1/batches").json()["id"] == first
    second = create(giga, ROWS).json()["id"]
    assert [item["id"] for item in giga.get("/v1/batches").json()["batches"]] == [first, second]
    gigachat.batches.list_shape = "array"
    assert [item["id"] for item in giga.get("/v1/batches").json()] == [first, second]
    gigachat.batches.list_shape = "object"
    assert [item["id"] for item in giga.get("/v1/batches").json()["batches"]] == [first, second]


def test_every_scope_may_use_batches_by_default(gigachat: GigaChatEmulator, giga: Giga) -> None:
    assert create(giga, ROWS).status == 200
    gigachat.batches.scopes = {"GIGACHAT_API_CORP"}
    for refused in (create(giga, ROWS), giga.get("/v1/batches")):
        assert (refused.status, refused.json()) == (403, {"status": 403, "message": "Permission denied"})
    key = gigachat.add_credentials("GIGACHAT_API_CORP")
    token = oauth(gigachat, authorization=f"Basic {key}", body="scope=GIGACHAT_API_CORP").json()["access_token"]
    with Giga(gigachat, token=token) as company:
        assert create(company, ROWS).status == 200


def test_a_batch_belongs_to_its_client(gigachat: GigaChatEmulator, giga: Giga) -> None:
    batch_id = create(giga, ROWS).json()["id"]
    key = gigachat.add_credentials()
    token = oauth(gigachat, authorization=f"Basic {key}").json()["access_token"]
    with Giga(gigachat, token=token) as other:
        refused = other.get(f"/v1/batches?batch_id={batch_id}")
        assert (refused.status, refused.json()) == (404, {"status": 404, "message": "Batch task not found"})
        assert other.get("/v1/batches").json() == {"batches": []}


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        (b"", 400),
        (b"\n\n", 400),
        (b"not json\n", 400),
        (b"[]\n", 400),
        (b'{"id":"a"}\n', 400),
        (b'{"id":"","request":{}}\n', 422),
        (b'{"id":1,"request":{}}\n', 422),
        (b'{"request":{}}\n', 422),
        (b'{"id":"a","request":{}}\n{"id":"a","request":{}}\n', 422),
        (b'{"id":"\xff","request":{}}\n', 400),
    ],
)
def test_an_invalid_batch_file_is_refused(giga: Giga, rows: bytes, refused: int) -> None:
    assert create(giga, rows).status == refused
    assert giga.get("/v1/batches").json() == {"batches": []}


def test_the_method_and_the_content_types_are_required(giga: Giga) -> None:
    assert create(giga, ROWS, "chat").status == 400
    assert create(giga, ROWS, **{"Content-Type": "application/json"}).status == 400
    assert giga.get("/v1/batches", **{"Content-Type": "text/plain"}).status == 400
    without = {name: value for name, value in giga.headers.items() if name != "Content-Type"}
    assert giga.send("GET", "/v1/batches", headers=without).status == 400
