"""``responses`` mocks gigaclient: its responses arrive, its exceptions become our errors, its requests can be read."""

from __future__ import annotations

import json

import pytest
import requests
import responses

from gigaclient import (
    APIConnectionError,
    FakeGpt,
    GigaChat,
    InvalidResponseError,
    RateLimitError,
    StreamInterruptedError,
)

API = "https://api.giga.chat/v1"
CHAT = f"{API}/chat/completions"
OAUTH = "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"
KEY = "MDE5YTVjZWUtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOjAxOWE1Y2VlLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMA=="
ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Москва."}, "finish_reason": "stop"}],
    "created": 1790000000,
    "model": "GigaChat-2",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 15, "completion_tokens": 2, "total_tokens": 17},
}


def events(*texts: str, end: bool = True) -> str:
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    blocks = [f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks]
    return "".join(blocks) + ("data: [DONE]\n\n" if end else "")


def stream_of(mock: responses.RequestsMock, body: str) -> None:
    mock.post(CHAT, body=body.encode(), content_type="text/event-stream")


def test_the_token_the_answer_and_what_was_sent() -> None:
    with responses.RequestsMock() as mock, GigaChat(credentials=KEY) as giga:
        mock.post(OAUTH, json={"access_token": "a-token", "expires_at": 4102444800000})
        mock.post(CHAT, json=ANSWER, headers={"X-Request-Id": "from-the-mock"})
        answer = giga.chat("Столица России?", temperature=0.4)
        token_call, call = mock.calls
    assert (answer.text, answer.request_id) == ("Москва.", "from-the-mock")
    assert token_call.request.headers["Authorization"] == f"Basic {KEY}"
    assert call.request.headers["Authorization"] == "Bearer a-token"
    assert json.loads(call.request.body)["messages"][0]["content"] == "Столица России?"


def test_a_stream_and_one_that_is_cut() -> None:
    with responses.RequestsMock() as mock, GigaChat(access_token="any") as giga:
        stream_of(mock, events("Мос", "ква."))
        assert [chunk.text for chunk in giga.stream("?")] == ["Мос", "ква."]
        stream_of(mock, events("Мос", end=False))
        with pytest.raises(StreamInterruptedError) as caught:
            giga.stream("?").result()
        assert caught.value.text == "Мос"


def test_errors_are_ours_and_retries_happen() -> None:
    with responses.RequestsMock() as mock, GigaChat(access_token="any", retry_backoff_factor=0) as giga:
        mock.post(CHAT, status=429, json={"status": 429, "message": "Too many requests"}, headers={"Retry-After": "0"})
        mock.post(CHAT, json=ANSWER)
        assert giga.chat("?").text == "Москва."
        assert len(mock.calls) == 2
        mock.replace(responses.POST, CHAT, status=429, json={"status": 429, "message": "Too many requests"})
        with pytest.raises(RateLimitError):
            giga.chat("?", max_retries=0)
        mock.replace(responses.POST, CHAT, body=requests.exceptions.ConnectionError("no route"))
        with pytest.raises(APIConnectionError):
            giga.chat("?", max_retries=0)
        mock.replace(responses.POST, CHAT, body="<html>")
        with pytest.raises(InvalidResponseError):
            giga.chat("?")


def test_a_request_that_is_not_mocked_is_an_error_and_never_sent() -> None:
    giga = GigaChat(access_token="any", max_retries=0)
    with giga, responses.RequestsMock(), pytest.raises(APIConnectionError):
        giga.get_models()


def test_fakegpt_is_mocked_the_same_way() -> None:
    with responses.RequestsMock() as mock, FakeGpt(base_url="https://chat.example.org", access_token="any") as fake:
        message = {
            "id": "1",
            "author": {"role": "assistant"},
            "content": {"content_type": "text", "parts": ["Moscow."]},
            "metadata": {"message_type": "next"},
            "status": "finished_successfully",
            "end_turn": True,
        }
        event = {"message": message, "error": None}
        mock.post(
            "https://chat.example.org/api/conversation",
            body=f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n",
            content_type="text/event-stream",
        )
        assert fake.chat("?").text == "Moscow."
