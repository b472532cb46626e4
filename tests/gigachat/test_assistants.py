"""Assistants: requests, and responses in the spelling of every server."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from support.clients import client_of
from support.thread_tools import requests_to

from gigaclient import Function, GigaChat
from gigaclient.errors import ConfigError, NotFoundError, ServerError, UnprocessableEntityError
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.types import AssistantAttachment


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with client_of(emulator) as client:
        yield client


def test_an_assistant_is_created_updated_and_deleted(giga: GigaChat) -> None:
    made = giga.assistants.create(
        "GigaChat-2-Pro",
        "Pilot",
        instructions="Answer briefly.",
        description="Knows the harbour.",
        file_ids=["f-1", "f-2"],
        functions=[Function(name="tide", parameters={"type": "object", "properties": {}})],
        metadata={"team": "north"},
    )
    assert made.created_at is not None and made.request_id is not None
    [found] = giga.assistants.get(made.assistant_id).data
    assert (found.assistant_id, found.model, found.name) == (made.assistant_id, "GigaChat-2-Pro", "Pilot")
    assert (found.instructions, found.description) == ("Answer briefly.", "Knows the harbour.")
    assert found.metadata == {"team": "north"}
    assert found.threads_count == 0
    assert found.functions is not None and found.functions[0].name == "tide"
    assert found.file_ids == ["f-1", "f-2"]

    changed = giga.assistants.update(made.assistant_id, name="Second pilot", metadata={"team": "south"})
    assert (changed.name, changed.metadata, changed.instructions) == (
        "Second pilot",
        {"team": "south"},
        "Answer briefly.",
    )
    gone = giga.assistants.delete_file(made.assistant_id, "f-1")
    assert (gone.file_id, gone.deleted) == ("f-1", True)
    assert giga.assistants.get(made.assistant_id).data[0].file_ids == ["f-2"]

    deleted = giga.assistants.delete(made.assistant_id)
    assert (deleted.assistant_id, deleted.deleted) == (made.assistant_id, True)
    assert giga.assistants.get().data == []


def test_absent_fields_are_not_sent(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    made = giga.assistants.create(model="GigaChat-2", name="Pilot")
    assert requests_to(emulator, "POST", "/assistants")[-1].json() == {"model": "GigaChat-2", "name": "Pilot"}
    giga.assistants.update(made.assistant_id, description="x", file_ids=[])
    assert requests_to(emulator, "POST", "/assistants/modify")[-1].json() == {
        "assistant_id": made.assistant_id,
        "description": "x",
        "file_ids": [],
    }
    giga.assistants.get()
    assert requests_to(emulator, "GET", "/assistants")[-1].query == ""
    giga.assistants.get(made.assistant_id)
    assert requests_to(emulator, "GET", "/assistants")[-1].params == {"assistant_id": made.assistant_id}


def test_functions_may_be_dicts(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    port = {"type": "string", "description": "", "default": None}
    tide = {"name": "tide", "parameters": {"type": "object", "properties": {"port": port}}}
    giga.assistants.create("GigaChat-2", "Pilot", functions=(one for one in [tide]))
    assert requests_to(emulator, "POST", "/assistants")[-1].json()["functions"] == [tide]


@pytest.mark.parametrize("shape", ["file_ids", "files"])
def test_files_are_read_in_either_spelling(emulator: GigaChatEmulator, giga: GigaChat, shape: Any) -> None:
    emulator.assistants.file_shape = shape
    made = giga.assistants.create("GigaChat-2", "Pilot", file_ids=["f-1"])
    [found] = giga.assistants.get(made.assistant_id).data
    assert found.file_ids == ["f-1"]
    assert found.files == [AssistantAttachment("f-1", "f-1.txt" if shape == "files" else None)]


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({}, None),
        ({"files": None, "file_ids": None}, None),
        ({"files": []}, []),
        ({"files": ["a", {"file_id": "b", "name": None}, {"id": "c", "name": "c.txt"}, 17, {}]}, ["a", "b", "c"]),
        ({"file_ids": "a"}, []),
        ({"files": None, "file_ids": ["a"]}, ["a"]),
    ],
)
def test_unexpected_files_do_not_fail_the_response(
    emulator: GigaChatEmulator, giga: GigaChat, fields: dict[str, Any], ids: list[str] | None
) -> None:
    body = {"data": [{"assistant_id": "a-1", "model": "GigaChat-2", **fields}]}
    emulator.inject(Fault(body=body), path="/assistants")
    answer = giga.assistants.get()
    assert answer.data[0].file_ids == ids
    assert answer.raw == body


def test_unexpected_fields_do_not_fail_the_response(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    odd = {
        "assistant_id": "a-1",
        "model": None,
        "created_at": "1790000000",
        "updated_at": 1790000001.0,
        "threads_count": None,
        "functions": [{"title": "no name"}],
        "brand_new": 1,
    }
    emulator.inject(Fault(body={"data": [odd, None]}), path="/assistants")
    [found] = giga.assistants.get().data
    assert (found.model, found.created_at, found.updated_at) == (None, 1790000000, 1790000001)
    functions: Any = found.functions
    assert functions == [{"title": "no name"}]


def test_assistants_can_be_copied_and_pickled(giga: GigaChat) -> None:
    giga.assistants.create("GigaChat-2", "Pilot", file_ids=["f-1"], functions=[Function(name="tide")])
    answer = giga.assistants.get()
    for again in (copy.copy(answer), copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
        assert again == answer
        assert again.request_id == answer.request_id is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda giga: giga.assistants.create("", "Pilot"), "model is empty"),
        (lambda giga: giga.assistants.create("GigaChat-2", ""), "name is empty"),
        (lambda giga: giga.assistants.create("GigaChat-2", 5), "name must be a string, not int"),
        (lambda giga: giga.assistants.create("GigaChat-2", "x", file_ids="f-1"), "file_ids is a string"),
        (
            lambda giga: giga.assistants.create("GigaChat-2", "x", metadata={str(n): n for n in range(17)}),
            "metadata has 17 pairs, and an assistant takes 16",
        ),
        (
            lambda giga: giga.assistants.create("GigaChat-2", "x", metadata={"x": {1, 2}}),
            "metadata.x cannot be written",
        ),
        (lambda giga: giga.assistants.get(""), "assistant_id is empty"),
        (lambda giga: giga.assistants.update(None), "assistant_id must be a string"),
        (lambda giga: giga.assistants.delete(7), "assistant_id must be a string"),
        (lambda giga: giga.assistants.delete_file("a", ""), "file_id is empty"),
    ],
)
def test_invalid_arguments_are_refused_before_sending(
    emulator: GigaChatEmulator, giga: GigaChat, call: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        call(giga)
    assert emulator.requests == []


def test_an_unknown_option_is_a_type_error(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    with pytest.raises(TypeError, match="temperature"):
        giga.assistants.create("GigaChat-2", "Pilot", temperature=1)  # type: ignore[call-arg]
    assert emulator.requests == []


def test_an_unknown_assistant_is_not_found(giga: GigaChat) -> None:
    for call in (
        lambda: giga.assistants.get("none"),
        lambda: giga.assistants.update("none", name="x"),
        lambda: giga.assistants.delete("none"),
        lambda: giga.assistants.delete_file("none", "f"),
    ):
        with pytest.raises(NotFoundError, match=r"No such assistant - assistants\.get"):
            call()


def test_an_unknown_model_gets_the_same_hint_as_for_chat(giga: GigaChat) -> None:
    with pytest.raises(NotFoundError, match="No such model") as caught:
        giga.assistants.create("GigaChat-9", "Pilot")
    assert "assistants.get" not in str(caught.value)


def test_a_server_without_assistants_is_reported(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=404, body={"status": 404, "message": "Not Found"}), path="/assistants")
    with pytest.raises(NotFoundError, match="not every server supports them"):
        giga.assistants.get()


def test_what_the_server_refuses_is_raised(giga: GigaChat) -> None:
    with pytest.raises(UnprocessableEntityError, match="Invalid function names"):
        giga.assistants.create("GigaChat-2", "Pilot", functions=[{"name": "привет"}])


def test_an_assistant_that_may_exist_is_not_created_again(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=500), path="/assistants")
    with pytest.raises(ServerError):
        giga.assistants.create("GigaChat-2", "Pilot")
    assert len(requests_to(emulator, "POST", "/assistants")) == 1
    emulator.inject(Fault(status=503), path="/assistants")
    giga.assistants.create("GigaChat-2", "Pilot")
    assert len(requests_to(emulator, "POST", "/assistants")) == 3


def test_the_resource_keeps_no_client_alive(emulator: GigaChatEmulator) -> None:
    giga = client_of(emulator)
    giga.assistants.get()
    giga.threads.list()
    assert repr(giga.assistants) == f"<assistants of {giga!r}>"
    assert repr(giga.threads) == f"<threads of {giga!r}>"
    giga.close()
    dropped = weakref.ref(giga)
    gc.collect()
    gc.disable()
    try:
        # No reference cycle: the client is freed without the garbage collector.
        del giga
        assert dropped() is None
    finally:
        gc.enable()


def test_importing_the_package_does_not_load_assistants() -> None:
    import subprocess
    import sys

    code = (
        "import gigaclient, json, sys; "
        "print(json.dumps([name for name in sys.modules if name.startswith('gigaclient')]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    loaded = set(json.loads(run.stdout))
    later = {"types.assistants", "types.threads", "types.batches", "gigachat.rows", "gigachat.polling"}
    later |= {"gigachat.endpoints.assistants", "gigachat.endpoints.threads", "gigachat.thread_stream"}
    assert {name for name in later if f"gigaclient.{name}" in loaded} == set()
