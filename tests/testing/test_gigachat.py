"""Tests of the GigaChat emulator: addresses, headers, limits, scripts, replays."""

from __future__ import annotations

import os
import threading
import uuid

import pytest
from testing.plain_client import Giga, Http, PlainResponse, chat_body, data_of, oauth, payloads, soon, trusting

from gigaclient.testing import Answer, Authority, EventAnswer, Fault, GigaChatEmulator, RecordedRequest, recording


def text_of(reply: PlainResponse) -> str:
    return str(reply.json()["choices"][0]["message"]["content"])


def test_client_options_point_at_the_emulator(gigachat: GigaChatEmulator) -> None:
    options = gigachat.client_options
    assert sorted(options) == ["auth_url", "base_url", "ca_bundle_file", "credentials", "scope"]
    assert options["base_url"] == f"https://127.0.0.1:{gigachat.api_server.port}/v1"
    assert options["auth_url"] == f"https://127.0.0.1:{gigachat.oauth_server.port}/api/v2/oauth"
    assert gigachat.api_server.port != gigachat.oauth_server.port
    assert gigachat.environment == {
        "GIGACHAT_CREDENTIALS": gigachat.credentials,
        "GIGACHAT_SCOPE": "GIGACHAT_API_PERS",
        "GIGACHAT_BASE_URL": gigachat.base_url,
        "GIGACHAT_AUTH_URL": gigachat.auth_url,
        "GIGACHAT_CA_BUNDLE_FILE": gigachat.ca_file,
    }


def test_both_paths_of_the_api_are_served_and_no_other(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        assert giga.get("/v1/models").status == giga.get("/api/v1/models").status == 200
        for path in ("/models", "/v1/", "/v1/nothing", "/api/v3/models", "/v2/files"):
            assert giga.get(path).status == 404, path
        reply = giga.send("DELETE", "/v1/models", headers=giga.headers)
        assert (reply.status, reply.headers["Allow"]) == (405, "GET")


def test_tracing_headers_are_echoed_or_generated(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        generated = giga.get("/v1/models").headers
        assert uuid.UUID(generated["X-Request-Id"]) != uuid.UUID(generated["X-Session-Id"])
        assert generated["X-Client-Id"] is None
        sent = {"X-Request-ID": "r-1", "X-Session-ID": "s-1", "X-Client-ID": "c-1"}
        for path in ("/v1/models", "/v1/models/none"):
            echoed = giga.get(path, **sent).headers
            assert [echoed[name] for name in sent] == ["r-1", "s-1", "c-1"]


def test_the_list_of_models_is_the_recorded_one_and_the_newer_ones(gigachat: GigaChatEmulator) -> None:
    recorded = recording("v1-models.json")
    with Giga(gigachat) as giga:
        reply = giga.get("/v1/models")
        gigachat.replay("v1-models.json")
        assert giga.get("/v1/models").body == recorded.body
    assert reply.json()["object"] == "list"
    listed = {entry["id"]: entry for entry in reply.json()["data"]}
    assert listed["Embeddings"] == {
        "id": "Embeddings",
        "object": "model",
        "owned_by": "salutedevices",
        "type": "embedder",
    }
    assert listed["GigaChat-3-Ultra"]["type"] == "chat"


def test_one_model_is_found_or_not(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        assert giga.get("/v1/models/GigaChat-2-Pro").json()["id"] == "GigaChat-2-Pro"
        assert giga.get("/v1/models/GigaChat%2D2").json()["id"] == "GigaChat-2"
        missing, version = giga.get("/v1/models/model"), giga.get("/v1/models/GigaChat:latest")
    assert (missing.status, missing.json()) == (404, {"status": 404, "message": "No such model"})
    assert (version.status, version.json()) == (400, {"status": 400, "message": "Invalid model version"})


# --- limits ----------------------------------------------------------------------------------------------------


def test_an_answer_above_the_limit_is_a_429(gigachat: GigaChatEmulator) -> None:
    gigachat.max_streams = 1
    gigachat.inject(Fault(stall_after_events=1))
    token = gigachat.issue_token()
    with Giga(gigachat, token=token) as first, Giga(gigachat, token=gigachat.issue_token()) as second:
        response = first.open_chat("hello", stream=True)
        assert response.read1(10_000).startswith(b"data: ")
        refused = second.chat("hello")
        assert (refused.status, refused.json()) == (429, {"status": 429, "message": "Too many requests"})
        assert refused.headers["Retry-After"] is None
        gigachat.limit_retry_after = 3
        assert second.chat("hello", stream=True).headers["Retry-After"] == "3"
        assert second.get("/v1/models").status == 200
        response.close()
        first.close()
        assert soon(lambda: gigachat.open_streams == 0)
        assert gigachat.api_aborted == 1
        assert second.chat("hello").status == 200


def test_each_key_has_its_limit(gigachat: GigaChatEmulator) -> None:
    gigachat.max_streams = 1
    other = gigachat.add_credentials()
    assert other != gigachat.credentials
    token = oauth(gigachat, authorization=f"Basic {other}").json()["access_token"]
    gigachat.inject(Fault(stall_after_events=1))
    with (
        Giga(gigachat) as first,
        Giga(gigachat, token=token) as second,
        first.open_chat("hello", stream=True) as response,
    ):
        response.read1(10_000)
        assert second.chat("hello").status == 200


def test_the_slot_is_free_as_soon_as_the_end_marker_is_read(gigachat: GigaChatEmulator) -> None:
    gigachat.max_streams = 1
    token = gigachat.issue_token()
    for number in range(40):
        with Giga(gigachat, token=token) as giga:
            response = giga.open_chat("Count from 1 to 3", stream=bool(number % 2))
            received = b""
            while b"[DONE]" not in received and b"total_tokens" not in received:
                received += response.read1(10_000)
            assert response.status == 200
            if number % 2:
                while b"[DONE]" not in received:
                    received += response.read1(10_000)
            response.close()


def test_a_delayed_answer_holds_its_slot_until_the_client_disconnects(gigachat: GigaChatEmulator) -> None:
    gigachat.answer_pause_s = 30
    gigachat.max_streams = 1
    with Giga(gigachat) as giga:
        giga.connection.connect()
        giga.connection.request("POST", "/v1/chat/completions", chat_body("hello"), giga.headers)
        assert soon(lambda: len(gigachat.requests) == 1)
        with Giga(gigachat) as other:
            assert other.chat("hello").status == 429
    assert soon(lambda: gigachat.api_aborted == 1)
    gigachat.answer_pause_s = 0
    with Giga(gigachat) as giga:
        assert giga.chat("hello").status == 200


def test_an_open_answer_ends_with_the_emulator(gigachat: GigaChatEmulator) -> None:
    gigachat.inject(Fault(stall_after_events=1))
    with Giga(gigachat) as giga:
        response = giga.open_chat("hello", stream=True)
        response.read1(10_000)
        gigachat.close()
        assert gigachat.api_server.open_connections == 0
        response.close()
    assert not os.path.exists(gigachat.ca_file)


# --- scripted answers ------------------------------------------------------------------------------------------


def test_a_scripted_text_is_the_answer_streamed_or_not(gigachat: GigaChatEmulator) -> None:
    gigachat.answer("Ещё раз.", times=2)
    with Giga(gigachat) as giga:
        assert giga.chat("hello").json()["choices"][0]["message"]["content"] == "Ещё раз."
        chunks = payloads(giga.chat("hello", stream=True).body)
        assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["Ещё", " раз.", ""]
        assert text_of(giga.chat("Say: yes")) == "yes"


def test_a_scripted_message_and_a_scripted_response_are_sent_unchanged(gigachat: GigaChatEmulator) -> None:
    call = {"name": "f", "arguments": {"x": [1]}}
    whole = {
        "choices": [{"message": {"role": "assistant", "content": "no"}, "index": 0, "finish_reason": "blacklist"}],
        "usage": {"total_tokens": 5},
        "more": 1,
    }
    with Giga(gigachat) as giga:
        gigachat.answer({"function_call": call, "functions_state_id": "s", "new_field": 7})
        choice = giga.chat("hello").json()["choices"][0]
        assert choice["finish_reason"] == "function_call"
        assert choice["message"] == {
            "content": "",
            "role": "assistant",
            "function_call": call,
            "functions_state_id": "s",
            "new_field": 7,
        }
        gigachat.answer(whole, times=2)
        assert giga.chat("hello").json() == whole
        last = payloads(giga.chat("hello", stream=True).body)[-1]
        assert last["choices"][0]["finish_reason"] == "blacklist"
        assert last["usage"] == {"total_tokens": 5}


def test_scripted_bytes_are_the_body(gigachat: GigaChatEmulator) -> None:
    gigachat.answer(b"data: x\n\n")
    gigachat.answer(b"[1, 2")
    with Giga(gigachat) as giga:
        streamed = giga.chat("hello", stream=True)
        assert (streamed.headers["Content-Type"], streamed.body) == ("text/event-stream", b"data: x\n\n")
        assert giga.chat("hello").body == b"[1, 2"


def test_a_scripted_callable_sees_the_request(gigachat: GigaChatEmulator) -> None:
    def shout(request: RecordedRequest) -> str:
        return str(request.json()["messages"][-1]["content"]).upper()

    gigachat.answer(shout)
    gigachat.answer(lambda request: Answer(418, {}, "teapot"))
    gigachat.answer(lambda request: EventAnswer([b"data: 1\n\n"]))
    with Giga(gigachat) as giga:
        assert giga.chat("hello").json()["choices"][0]["message"]["content"] == "HELLO"
        assert giga.chat("hello").status == 418
        assert data_of(giga.chat("hello", stream=True).body) == ["1"]


def test_a_recorded_stream_is_replayed_byte_for_byte(gigachat: GigaChatEmulator) -> None:
    found = recording("v1-stream.sse")
    gigachat.replay("v1-stream.sse", times=2)
    with Giga(gigachat) as giga:
        reply = giga.chat("anything", stream=True)
        assert reply.body == found.body
        assert reply.headers["Content-Type"] == "text/event-stream"
        assert reply.headers["X-Request-Id"] == found.headers["X-Request-Id"]
        gigachat.inject(Fault(write_size=1, close_delimited=True))
        assert giga.chat("anything", stream=True).body == found.body


def test_recorded_answers_are_replayed_with_their_status(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        for name in ("v1-chat.json", "v1-model-not-found.json"):
            gigachat.replay(name)
            reply = giga.chat("anything")
            assert (reply.status, reply.body) == (recording(name).status, recording(name).body)
        gigachat.replay("v2-stream.sse")
        reply = giga.send("POST", "/api/v2/chat/completions", "{}", giga.headers)
        assert reply.body == recording("v2-stream.sse").body


def test_scripts_come_in_order_and_can_be_cleared(gigachat: GigaChatEmulator) -> None:
    gigachat.answer("one")
    gigachat.replay("v1-chat.json")
    gigachat.answer("three")
    gigachat.answer("never")
    with Giga(gigachat) as giga:
        texts = [text_of(giga.chat("hello")) for _ in range(3)]
        gigachat.clear()
        assert text_of(giga.chat("Say: yes")) == "yes"
    assert texts == ["one", "Hello.", "three"]


def test_a_script_without_a_limit_answers_when_no_other_waits(gigachat: GigaChatEmulator) -> None:
    gigachat.answer("always", times=None)
    gigachat.answer("once")
    with Giga(gigachat) as giga:
        assert [text_of(giga.chat("hello")) for _ in range(4)] == ["once", "always", "always", "always"]
        gigachat.answer("newer", times=None)
        gigachat.replay("v1-chat.json")
        assert [text_of(giga.chat("hello")) for _ in range(3)] == ["Hello.", "newer", "newer"]
        gigachat.clear()
        assert text_of(giga.chat("Say: yes")) == "yes"
    with pytest.raises(ValueError, match="times must be at least 1, or None"):
        gigachat.answer("x", times=0)


def test_a_callable_may_leave_a_request_to_the_emulator(gigachat: GigaChatEmulator) -> None:
    def only_questions(request: RecordedRequest) -> str | None:
        return "yes" if "?" in request.json()["messages"][-1]["content"] else None

    gigachat.answer(only_questions, times=None)
    with Giga(gigachat) as giga:
        assert [text_of(giga.chat(prompt)) for prompt in ("Is it?", "Count to 2", "And now?")] == ["yes", "1, 2", "yes"]


def test_an_invalid_request_is_refused_with_a_script_too(gigachat: GigaChatEmulator) -> None:
    gigachat.answer(lambda request: "answered", times=None)
    with Giga(gigachat) as giga:
        assert giga.chat("hello", temperature=0).status == 422
        assert text_of(giga.chat("hello")) == "answered"


# --- load ------------------------------------------------------------------------------------------------------


def test_64_threads_stream_at_once(gigachat: GigaChatEmulator) -> None:
    together = threading.Barrier(64, timeout=20)
    texts: list[str] = []

    def stream(number: int) -> None:
        with Giga(gigachat) as giga:
            giga.connection.connect()
            together.wait()
            body = giga.chat(f"Count from {number} to {number + 2}", stream=True).body
            texts.append("".join(chunk["choices"][0]["delta"]["content"] for chunk in payloads(body)))

    threads = [threading.Thread(target=stream, args=(number,), daemon=True) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(texts) == sorted(f"{n}, {n + 1}, {n + 2}" for n in range(64))
    assert gigachat.connections == 64
    assert gigachat.open_streams == 0
    assert gigachat.api_aborted == 0


def test_a_long_stream_is_complete(gigachat: GigaChatEmulator) -> None:
    with Giga(gigachat) as giga:
        stream = giga.chat("Count from 1 to 5000", stream=True).body
    assert len(payloads(stream)) == 5001


def test_an_authority_can_be_shared() -> None:
    with Authority() as authority:
        with GigaChatEmulator(authority=authority) as one, GigaChatEmulator(authority=authority) as two:
            assert one.ca_file == two.ca_file
            with Http(two.api_server.port, trusting(one.ca_file)) as http_:
                assert http_.send("GET", "/v1/models").status == 403
        assert os.path.exists(authority.ca_file)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="scope"):
        GigaChatEmulator(scope="EVERYTHING")
    with pytest.raises(ValueError, match="token shape"):
        GigaChatEmulator(token_shape="jwt")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        GigaChatEmulator(max_stream=1)  # type: ignore[call-arg]
