"""Tests of the emulator's threads with a client of the standard library."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testing.plain_client import Giga, PlainResponse, data_of, oauth, soon

from gigaclient.testing import GigaChatEmulator

COUNT = [{"role": "user", "content": "Count from 1 to 4"}]


def post(giga: Giga, path: str, body: Any) -> PlainResponse:
    return giga.send("POST", f"/v1/threads{path}", json.dumps(body), giga.headers)


def thread_with(giga: Giga, messages: Any = COUNT, **fields: Any) -> str:
    reply = post(giga, "/messages", {"messages": messages, **(fields or {"model": "GigaChat-2"})})
    assert reply.status == 200, reply.text
    return str(reply.json()["thread_id"])


def messages_of(giga: Giga, thread_id: str) -> list[dict[str, Any]]:
    return list(giga.get(f"/v1/threads/messages?thread_id={thread_id}").json()["messages"])


def assistant(giga: Giga, **fields: Any) -> str:
    body = {"model": "GigaChat-2-Pro", "name": "Pilot", **fields}
    return str(giga.send("POST", "/v1/assistants", json.dumps(body), giga.headers).json()["assistant_id"])


def test_a_thread_is_created_listed_retrieved_and_deleted(gigachat: GigaChatEmulator, giga: Giga) -> None:
    thread = post(giga, "", {}).json()
    assert thread == {
        "id": thread["id"],
        "model": next(name for name, type_ in gigachat.models.items() if type_ == "chat"),
        "created_at": thread["created_at"],
        "updated_at": thread["created_at"],
        "run_lock": False,
        "status": "ready",
    }
    assert giga.get("/v1/threads").json() == {"threads": [thread]}
    assert post(giga, "/retrieve", {"threads_ids": [thread["id"], "none"]}).json() == {"threads": [thread]}
    deleted = post(giga, "/delete", {"thread_id": thread["id"]})
    assert (deleted.status, deleted.body) == (200, b"")
    assert post(giga, "/delete", {"thread_id": thread["id"]}).status == 404
    assert giga.get("/v1/threads").json() == {"threads": []}


def test_the_name_of_a_threads_id_can_be_chosen(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.threads.id_name = "thread_id"
    thread = post(giga, "", {}).json()
    assert "id" not in thread and thread["thread_id"]


def test_messages_are_stored_in_their_order(giga: Giga) -> None:
    thread_id = thread_with(giga)
    added = post(
        giga,
        "/messages",
        {"thread_id": thread_id, "messages": [{"role": "user", "content": "and", "attachments": ["f"]}]},
    ).json()
    assert added["thread_id"] == thread_id
    assert sorted(added["messages"][0]) == ["created_at", "message_id"]
    messages = messages_of(giga, thread_id)
    assert [message["content"] for message in messages] == ["Count from 1 to 4", "and"]
    assert messages[1]["message_id"] == added["messages"][0]["message_id"]
    assert [message["attachments"] for message in messages] == [[], [{"file_id": "f", "name": "f.txt"}]]


def test_a_run_with_messages_answers_at_once(giga: Giga) -> None:
    response = post(giga, "/messages/run", {"model": "GigaChat-2", "messages": COUNT}).json()
    assert {name: response[name] for name in ("object", "model", "finish_reason", "message")} == {
        "object": "threads.messages.run",
        "model": "GigaChat-2:2.0.31.04",
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "1, 2, 3, 4"},
    }
    assert "choices" not in response
    assert (
        response["usage"]["total_tokens"] == response["usage"]["prompt_tokens"] + response["usage"]["completion_tokens"]
    )
    messages = messages_of(giga, response["thread_id"])
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["message_id"] == response["message_id"]


def test_an_assistant_sets_model_instructions_and_functions(giga: Giga) -> None:
    tide = {"name": "get_tide", "parameters": {"type": "object", "properties": {}}}
    assistant_id = assistant(giga, instructions="Answer briefly.", functions=[tide])
    ask = {"assistant_id": assistant_id, "messages": [{"role": "user", "content": "What is the tide?"}]}
    response = post(giga, "/messages/run", ask).json()
    assert response["model"].startswith("GigaChat-2-Pro:")
    assert response["message"]["function_call"]["name"] == "get_tide"
    [thread] = giga.get(f"/v1/threads?assistants_ids={assistant_id}").json()["threads"]
    assert (thread["id"], thread["assistant_id"]) == (response["thread_id"], assistant_id)
    assert giga.get("/v1/threads?assistants_ids=none").json() == {"threads": []}
    result = {"role": "function", "name": "get_tide", "content": '{"height":3}'}
    continued = post(giga, "/messages/run", {"thread_id": response["thread_id"], "messages": [result]})
    assert continued.json()["message"]["content"] == "According to get_tide: height: 3."


def test_the_instructions_are_part_of_the_prompt(giga: Giga) -> None:
    messages = [{"role": "user", "content": "Tell me about winter lakes"}]
    plain = post(giga, "/messages/run", {"model": "GigaChat-2", "messages": messages}).json()
    with_instructions = {"assistant_id": assistant(giga, instructions="Answer briefly."), "messages": messages}
    instructed = post(giga, "/messages/run", with_instructions).json()
    assert instructed["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]


def test_a_thread_counts_for_its_assistant_until_it_is_deleted(giga: Giga) -> None:
    assistant_id = assistant(giga)

    def threads_count() -> Any:
        return giga.get("/v1/assistants").json()["data"][0]["threads_count"]

    thread_id = thread_with(giga, assistant_id=assistant_id)
    thread_with(giga)
    assert threads_count() == 1
    post(giga, "/delete", {"thread_id": thread_id})
    assert threads_count() == 0


def test_the_limit_of_a_run_is_the_number_of_messages(giga: Giga) -> None:
    thread_id = thread_with(giga, [{"role": "user", "content": "hello"}, {"role": "user", "content": "Count to 2"}])
    whole = post(giga, "/messages/rerun", {"thread_id": thread_id}).json()
    short = post(giga, "/messages/rerun", {"thread_id": thread_id, "limit": 1}).json()
    assert whole["message"]["content"] == short["message"]["content"] == "1, 2"
    assert whole["usage"]["prompt_tokens"] - short["usage"]["prompt_tokens"] == 1 + 2  # a message of two tokens


def test_a_rerun_replaces_the_answer_and_a_refused_one_does_not(giga: Giga) -> None:
    first = post(giga, "/messages/run", {"model": "GigaChat-2", "messages": COUNT}).json()
    refused = post(giga, "/messages/rerun", {"thread_id": first["thread_id"], "repetition_penalty": 0})
    assert refused.status == 422
    assert [message["role"] for message in messages_of(giga, first["thread_id"])] == ["user", "assistant"]
    again = post(giga, "/messages/rerun", {"thread_id": first["thread_id"]}).json()
    assert again["message_id"] != first["message_id"]
    messages = messages_of(giga, first["thread_id"])
    assert [message.get("message_id") for message in messages[1:]] == [again["message_id"]]


def test_a_run_locks_its_thread_until_it_has_ended(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.threads.looks = 3
    thread_id = thread_with(giga)
    started = post(giga, "/run", {"thread_id": thread_id}).json()
    assert (started["status"], started["thread_id"]) == ("in_progress", thread_id)
    [thread] = post(giga, "/retrieve", {"threads_ids": [thread_id]}).json()["threads"]
    assert (thread["run_lock"], thread["status"]) == (True, "in_progress")
    for path in ("/run", "/messages/run", "/messages/rerun", "/messages"):
        refused = post(giga, path, {"thread_id": thread_id, "messages": COUNT})
        assert refused.status == 422, path
    polls = [giga.get(f"/v1/threads/run?thread_id={thread_id}").json() for _ in range(4)]
    assert [poll["status"] for poll in polls] == ["in_progress", "in_progress", "ready", "ready"]
    assert ["messages" in poll for poll in polls] == [False, False, True, True]
    assert polls[2]["messages"][0]["content"] == "1, 2, 3, 4"
    assert [message["role"] for message in messages_of(giga, thread_id)] == ["user", "assistant"]
    assert post(giga, "/run", {"thread_id": thread_id}).status == 200


def test_a_run_may_take_some_time_and_may_fail(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.threads.seconds = 3600
    gigachat.threads.failing = True
    thread_id = thread_with(giga)
    post(giga, "/run", {"thread_id": thread_id})

    def status() -> Any:
        return giga.get(f"/v1/threads/run?thread_id={thread_id}").json()["status"]

    assert [status() for _ in range(5)] == ["in_progress"] * 5
    gigachat.threads.seconds = 0.001
    assert soon(lambda: status() == "failed")
    assert [message["role"] for message in messages_of(giga, thread_id)] == ["user"]


@pytest.mark.parametrize("path", ["/run", "/messages/run", "/messages/rerun"])
def test_each_chunk_of_a_stream_has_its_part_of_the_usage(giga: Giga, path: str) -> None:
    thread_id = thread_with(giga)
    fields = {"messages": COUNT} if path == "/messages/run" else {}
    body = json.dumps({"thread_id": thread_id, "stream": True, **fields})
    reply = giga.send("POST", f"/v1/threads{path}", body, giga.headers)
    assert reply.headers["Content-Type"] == "text/event-stream"
    *events, end = data_of(reply.body)
    assert end == "[DONE]"
    chunks = [json.loads(event) for event in events]
    assert {(chunk["object"], chunk["thread_id"]) for chunk in chunks} == {("threads.messages.run", thread_id)}
    assert len({chunk["message_id"] for chunk in chunks}) == 1
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(choice["delta"]["content"] for choice in choices) == "1, 2, 3, 4"
    assert choices[0]["delta"]["role"] == "assistant"
    # The finish reason comes with the last text, not after it.
    assert [choice.get("finish_reason") for choice in choices] == [None, None, None, "stop"]
    assert choices[-1]["delta"]["content"] != ""
    usages = [chunk["usage"] for chunk in chunks]
    assert usages[0]["prompt_tokens"] > 0
    assert [usage["prompt_tokens"] for usage in usages[1:]] == [0, 0, 0]
    assert sum(usage["completion_tokens"] for usage in usages) == 3
    assert all(usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages)
    assert messages_of(giga, thread_id)[-1]["content"] == "1, 2, 3, 4"


def test_a_run_takes_a_slot(gigachat: GigaChatEmulator, giga: Giga) -> None:
    gigachat.max_streams = 0
    refused = post(giga, "/messages/run", {"model": "GigaChat-2", "messages": COUNT})
    assert (refused.status, refused.json()["message"]) == (429, "Too many requests")
    assert giga.get("/v1/threads").json() == {"threads": []}
    gigachat.max_streams = 1
    for _ in range(3):
        assert post(giga, "/messages/run", {"model": "GigaChat-2", "messages": COUNT, "stream": True}).status == 200
    assert soon(lambda: gigachat.open_streams == 0)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", {"x": 1}, 400),
        ("/retrieve", {}, 400),
        ("/retrieve", {"threads_ids": []}, 400),
        ("/delete", {}, 400),
        ("/messages", {"model": "GigaChat-2"}, 400),
        ("/messages", {"model": "GigaChat-2", "messages": []}, 400),
        ("/messages", {"model": "GigaChat-2", "messages": ["hi"]}, 400),
        ("/messages", {"model": "GigaChat-2", "messages": [{"role": "user"}]}, 400),
        ("/messages", {"model": "none", "messages": COUNT}, 404),
        ("/messages", {"assistant_id": "none", "messages": COUNT}, 404),
        ("/messages/run", {"thread_id": "none", "messages": COUNT}, 404),
        ("/messages/run", {"thread_id": "none", "model": "GigaChat-2", "messages": COUNT}, 422),
        ("/messages/run", {"assistant_id": "none", "model": "GigaChat-2", "messages": COUNT}, 422),
        ("/messages/run", {"model": "GigaChat-2", "messages": COUNT, "temperature": -1}, 422),
        ("/messages/run", {"model": "GigaChat-2", "messages": [{"role": "function", "content": "{}"}]}, 422),
        ("/run", {}, 400),
        ("/run", {"thread_id": "none"}, 404),
        ("/messages/rerun", {"thread_id": "none"}, 404),
        ("/messages/rerun", [], 400),
    ],
)
def test_an_invalid_request_is_refused(giga: Giga, path: str, body: Any, status: int) -> None:
    assert post(giga, path, body).status == status
    assert giga.get("/v1/threads").json() == {"threads": []}


def test_an_empty_thread_cannot_be_answered(giga: Giga) -> None:
    assert post(giga, "/run", {"thread_id": post(giga, "", {}).json()["id"]}).status == 400


@pytest.mark.parametrize("query", ["limit=x", "before=-1", "limit=1.5"])
def test_bounds_are_whole_numbers(giga: Giga, query: str) -> None:
    assert giga.get(f"/v1/threads?{query}").status == 400


def test_threads_belong_to_their_client(gigachat: GigaChatEmulator, giga: Giga) -> None:
    thread_id = thread_with(giga)
    token = oauth(gigachat, authorization=f"Basic {gigachat.add_credentials()}").json()["access_token"]
    with Giga(gigachat, token=token) as other:
        assert other.get("/v1/threads").json() == {"threads": []}
        assert post(other, "/retrieve", {"threads_ids": [thread_id]}).json() == {"threads": []}
        assert other.get(f"/v1/threads/messages?thread_id={thread_id}").status == 404
        assert post(other, "/delete", {"thread_id": thread_id}).status == 404
