"""Tests of the FakeGpt emulator: the stream, and the known failures of such servers."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from testing.plain_client import (
    Http,
    Pool,
    conversation_body,
    data_of,
    payloads,
    soon,
    trusting,
)

from gigaclient.testing import Answer, FakeGptEmulator, Fault


def texts(stream: bytes) -> list[str]:
    """Return the cumulative texts of the assistant's messages."""
    return [
        payload["message"]["content"]["parts"][0]
        for payload in payloads(stream)
        if payload.get("message") and payload["message"]["metadata"].get("message_type") == "next"
    ]


# --- the stream ------------------------------------------------------------------------------------------------


def test_a_stream_has_all_parts_of_real_ones(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        reply = pool.enter().talk("Count from 1 to 12")
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    data = data_of(reply.body)
    echo = json.loads(data[0])["message"]
    assert echo["author"]["role"] == "user"
    assert echo["content"]["parts"] == ["Count from 1 to 12"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", data[1])
    assert b"event: ping\n" in reply.body
    states = texts(reply.body)
    assert len(states) == 12
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(states))
    assert states[-1] == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
    messages = [p["message"] for p in payloads(reply.body) if p.get("message")][1:]
    assert {m["status"] for m in messages[:-1]} == {"in_progress"}
    assert (messages[-1]["status"], messages[-1]["end_turn"]) == ("finished_successfully", True)
    assert messages[-1]["metadata"]["finish_details"]["type"] == "stop"
    assert len({m["id"] for m in messages}) == 1
    moderation = json.loads(data[-2])["moderation_response"]
    assert (moderation["flagged"], moderation["blocked"]) == (False, False)
    assert data[-1] == "[DONE]"
    assert reply.body.endswith(b"data: [DONE]\n\n")


def test_keep_alives_can_be_left_out(fakegpt: FakeGptEmulator) -> None:
    fakegpt.keep_alive = False
    with Pool(fakegpt) as pool:
        reply = pool.enter().talk("Count from 1 to 12")
    assert b"ping" not in reply.body
    assert len(data_of(reply.body)) == len(payloads(reply.body)) + 1


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("User: Say: yes\nAssistant: yes\nUser: Say: no\nAssistant:", "no"),
        ("System: be brief\nUser: Сколько будет 2+2?\nAssistant:", "2 + 2 = 4"),
        ("User: two\nlines, say 2+2\nAssistant:", "2 + 2 = 4"),
        ("What is 12 times 12?", "12 * 12 = 144"),
    ],
)
def test_a_flattened_dialogue_is_parsed(fakegpt: FakeGptEmulator, prompt: str, answer: str) -> None:
    with Pool(fakegpt) as pool:
        assert texts(pool.enter().talk(prompt).body)[-1].startswith(answer)


def test_a_conversation_keeps_its_id(fakegpt: FakeGptEmulator) -> None:
    headers = {"X-Authorization": f"Bearer {fakegpt.access_token}"}
    with Pool(fakegpt) as pool:
        reply = pool.send("POST", "/api/conversation", conversation_body("Say: a", conversation_id="c-1"), headers)
    assert {payload["conversation_id"] for payload in payloads(reply.body)} == {"c-1"}


def talk_with(prompt: str = "Count from 1 to 6", **switches: Any) -> bytes:
    with FakeGptEmulator(**switches) as emulator, Pool(emulator) as pool:
        return pool.enter().talk(prompt).body


def test_the_end_marker_can_be_missing() -> None:
    stream = talk_with(no_done=True)
    assert b"[DONE]" not in stream
    assert texts(stream)[-1] == "1, 2, 3, 4, 5, 6"


def test_a_stream_may_have_no_finished_message() -> None:
    stream = talk_with(never_finished=True)
    assert b"end_turn" not in stream
    assert stream.count(b"finished_successfully") == 1  # the echo


@pytest.mark.parametrize("prompt", ["Count from 1 to 6", "Say x and nothing else"])
def test_an_error_event_comes_after_two_with_text(prompt: str) -> None:
    stream = talk_with(prompt, error_event="quota used up")
    assert len(texts(stream)) == 2
    assert payloads(stream)[-1]["error"] == "quota used up"
    assert payloads(stream)[-1]["message"] is None
    assert b"[DONE]" not in stream


@pytest.mark.parametrize("detail", ["too long", {"message": "too long", "code": "message_length_exceeds_limit"}])
def test_a_detail_event_comes_after_two_with_text(detail: Any) -> None:
    stream = talk_with(detail_event=detail)
    assert len(texts(stream)) == 2
    assert payloads(stream)[-1] == {"detail": detail}


def test_a_stream_may_have_only_keep_alives() -> None:
    stream = talk_with(only_keep_alives=True)
    assert texts(stream) == []
    assert len(data_of(stream)) == 6


def test_the_answer_may_be_rewritten_under_the_same_id() -> None:
    stream = talk_with(rewritten=True)
    states = texts(stream)
    assert any(not later.startswith(earlier) for earlier, later in itertools.pairwise(states))
    assert states[-1] == "1, 2, 3, 4, 5, 6"
    assert len({p["message"]["id"] for p in payloads(stream)[1:-1]}) == 1


def test_a_second_message_may_begin() -> None:
    stream = talk_with(new_message_id=True)
    messages = [p["message"] for p in payloads(stream)[1:-1]]
    ids = list(dict.fromkeys(m["id"] for m in messages))
    assert len(ids) == 2
    assert [m["content"]["parts"][0] for m in messages if m["id"] == ids[1]][-1] == "1, 2, 3, 4, 5, 6"
    assert messages[-1]["status"] == "finished_successfully"


def test_the_account_may_be_busy() -> None:
    with FakeGptEmulator(busy=True) as emulator, Pool(emulator) as pool:
        reply = pool.enter().talk("hello")
    assert reply.status == 429
    assert "Too many requests" in reply.json()["detail"]


# --- scripts and faults ----------------------------------------------------------------------------------------


def test_scripted_answers(fakegpt: FakeGptEmulator) -> None:
    fakegpt.answer("one two")
    fakegpt.answer(["a", "ab", "x"])
    fakegpt.answer(b"data: raw\n\n")
    fakegpt.answer(lambda request: request.json()["model"], times=2)
    fakegpt.answer(lambda request: Answer(418))
    fakegpt.answer("always", times=None)
    with Pool(fakegpt) as pool:
        pool.enter()
        assert texts(pool.talk("x").body) == ["one", "one two"]
        assert texts(pool.talk("x").body) == ["a", "ab", "x"]
        assert pool.talk("x").body == b"data: raw\n\n"
        assert [texts(pool.talk("x").body)[-1] for _ in range(2)] == ["text-davinci-002-render-sha"] * 2
        assert pool.talk("x").status == 418
        assert [texts(pool.talk("x").body)[-1] for _ in range(3)] == ["always"] * 3
        fakegpt.answer(lambda request: None, times=None)
        assert texts(pool.talk("Say: own").body)[-1] == "own"
        fakegpt.clear()
        assert "emulator of gigaclient.testing" in texts(pool.talk("hello").body)[-1]
    with pytest.raises(ValueError, match="times"):
        fakegpt.answer("x", times=0)


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault(status=500), 500, {"code": 500, "message": "The server had an error."}),
        (Fault(status=429, retry_after=1), 429, {"detail": "Too many requests in 1 hour. Try again later."}),
        (Fault(unauthorized=True), 401, {"detail": "Unauthorized"}),
        (Fault(status=413, body={"detail": {"code": "x"}}), 413, {"detail": {"code": "x"}}),
    ],
)
def test_faults_apply_to_conversations(fakegpt: FakeGptEmulator, fault: Fault, status: int, body: Any) -> None:
    fakegpt.inject(fault)
    with Pool(fakegpt) as pool:
        reply = pool.enter().talk("hello")
        assert (reply.status, reply.json()) == (status, body)
        assert pool.talk("hello").status == 200


def test_a_too_long_prompt_has_its_code(fakegpt: FakeGptEmulator) -> None:
    fakegpt.inject(Fault(status=413))
    with Pool(fakegpt) as pool:
        assert pool.enter().talk("hello").json()["detail"]["code"] == "message_length_exceeds_limit"


@pytest.mark.parametrize("path", ["/api/loads", "/auth/login", "/api/auth/session"])
def test_faults_with_a_path_apply_to_the_other_steps(fakegpt: FakeGptEmulator, path: str) -> None:
    fakegpt.inject(Fault(status=503), path=path)
    with Pool(fakegpt) as pool:
        replies = {
            "/api/loads": pool.send("GET", "/api/loads?t=1").status,
            "/auth/login": pool.log_in(next(iter(fakegpt._loads))).status,
            "/api/auth/session": pool.send("GET", "/api/auth/session").status,
        }
    assert {step: status for step, status in replies.items() if status != 200} == {path: 503}


def test_stream_faults_apply_to_the_conversation(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        pool.enter()
        fakegpt.inject(Fault(write_size=1, close_delimited=True, crlf="\r\n"))
        assert texts(pool.talk("Скажи «да-да» и больше ничего").body) == ["да-да"]
        fakegpt.inject(Fault(no_finish_reason=True))
        stream = pool.talk("Count from 1 to 2").body
        assert stream.count(b"finished_successfully") == 1  # the echo
        assert texts(stream)[-1] == "1, 2"
        fakegpt.inject(Fault(error_after_events=3))
        assert payloads(pool.talk("Count from 1 to 2").body)[-1]["error"] == "The server had an error."
        fakegpt.inject(Fault(invalid_utf8_after_events=3))
        with pytest.raises(UnicodeDecodeError):
            pool.talk("Count from 1 to 5").body.decode()


def test_a_disconnected_client_is_detected(fakegpt: FakeGptEmulator) -> None:
    fakegpt.inject(Fault(stall_after_events=2))
    headers = {"X-Authorization": f"Bearer {fakegpt.access_token}"}
    with Http(fakegpt.server.port, trusting(fakegpt.ca_file)) as http_:
        response = http_.open("POST", "/api/conversation", conversation_body("hello"), headers)
        response.read1(10)
        assert fakegpt.open_streams == 1
        response.close()
    assert soon(lambda: fakegpt.aborted == 1)
    assert soon(lambda: fakegpt.open_streams == 0)


def test_secrets_are_in_no_repr(fakegpt: FakeGptEmulator) -> None:
    with Pool(fakegpt) as pool:
        pool.enter().talk("hello")
        shown = repr(fakegpt) + repr(fakegpt.requests) + repr([request.headers for request in fakegpt.requests])
        assert pool.token not in shown
        assert pool.cookie.split(";")[0].partition("=")[2] not in shown
