"""Tests of the emulator's assistants with a client of the standard library."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testing.plain_client import Giga, PlainResponse, oauth

from gigaclient.testing import GigaChatEmulator


def post(giga: Giga, path: str, body: Any) -> PlainResponse:
    return giga.send("POST", f"/v1/assistants{path}", json.dumps(body), giga.headers)


def created(giga: Giga, **fields: Any) -> str:
    reply = post(giga, "", {"model": "GigaChat-2", "name": "Pilot", **fields})
    assert reply.status == 200, reply.text
    assert sorted(reply.json()) == ["assistant_id", "created_at"]
    return str(reply.json()["assistant_id"])


def test_an_assistant_is_created_read_changed_and_deleted(giga: Giga) -> None:
    assistant_id = created(giga, instructions="Briefly.", metadata={"a": 1})
    [found] = giga.get(f"/v1/assistants?assistant_id={assistant_id}").json()["data"]
    assert found == {
        "assistant_id": assistant_id,
        "model": "GigaChat-2",
        "name": "Pilot",
        "instructions": "Briefly.",
        "metadata": {"a": 1},
        "created_at": found["created_at"],
        "updated_at": found["created_at"],
        "threads_count": 0,
        "file_ids": [],
    }
    changed = post(giga, "/modify", {"assistant_id": assistant_id, "name": "Other"}).json()
    assert (changed["name"], changed["instructions"]) == ("Other", "Briefly.")
    assert post(giga, "/delete", {"assistant_id": assistant_id}).json() == {
        "assistant_id": assistant_id,
        "deleted": True,
    }
    assert giga.get("/v1/assistants").json() == {"data": []}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("file_ids", {"file_ids": ["a", "b"]}),
        ("files", {"files": [{"file_id": "a", "name": "a.txt"}, {"file_id": "b", "name": "b.txt"}]}),
    ],
)
def test_files_are_listed_in_the_chosen_shape(
    gigachat: GigaChatEmulator, giga: Giga, shape: Any, expected: dict[str, Any]
) -> None:
    gigachat.assistants.file_shape = shape
    created(giga, file_ids=["a", "b"])
    [found] = giga.get("/v1/assistants").json()["data"]
    assert {name: found[name] for name in ("files", "file_ids") if name in found} == expected


def test_a_file_is_removed_once(giga: Giga) -> None:
    assistant_id = created(giga, file_ids=["a", "b"])
    body = {"assistant_id": assistant_id, "file_id": "a"}
    assert post(giga, "/files/delete", body).json() == {"file_id": "a", "deleted": True}
    assert post(giga, "/files/delete", body).status == 404
    assert giga.get("/v1/assistants").json()["data"][0]["file_ids"] == ["b"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": ""}, 400),
        ({"name": None}, 400),
        ({"model": None}, 400),
        ({"model": "none"}, 404),
        ({"metadata": {str(number): number for number in range(17)}}, 422),
        ({"metadata": []}, 400),
        ({"file_ids": "a"}, 400),
        ({"file_ids": [1]}, 400),
        ({"functions": [{"name": "имя"}]}, 422),
        ({"functions": [{}]}, 400),
    ],
)
def test_an_invalid_assistant_is_refused(giga: Giga, fields: dict[str, Any], status: int) -> None:
    assert post(giga, "", {"model": "GigaChat-2", "name": "Pilot", **fields}).status == status
    assert giga.get("/v1/assistants").json() == {"data": []}
    if "name" not in fields and "model" not in fields:
        assert post(giga, "/modify", {"assistant_id": created(giga), **fields}).status == status


def test_sixteen_pairs_of_metadata_are_accepted(giga: Giga) -> None:
    created(giga, metadata={str(number): number for number in range(16)})


def test_the_model_cannot_be_changed(giga: Giga) -> None:
    assert post(giga, "/modify", {"assistant_id": created(giga), "model": "GigaChat-2-Pro"}).status == 400


@pytest.mark.parametrize("path", ["/modify", "/delete", "/files/delete"])
def test_an_unknown_or_another_clients_assistant_is_not_found(
    gigachat: GigaChatEmulator, giga: Giga, path: str
) -> None:
    assert post(giga, path, {"assistant_id": "none", "file_id": "a"}).status == 404
    assert post(giga, path, {}).status == 400
    assert post(giga, path, []).status == 400
    assistant_id = created(giga, file_ids=["a"])
    token = oauth(gigachat, authorization=f"Basic {gigachat.add_credentials()}").json()["access_token"]
    with Giga(gigachat, token=token) as other:
        assert post(other, path, {"assistant_id": assistant_id, "file_id": "a"}).status == 404
        assert other.get(f"/v1/assistants?assistant_id={assistant_id}").status == 404
        assert other.get("/v1/assistants").json() == {"data": []}
