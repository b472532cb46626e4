"""Arbitrary bytes in place of the server's responses: only our errors are raised, and nothing runs without end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.stream_tools import DONE, FakeResponse, event, payload

from gigaclient._core.error_mapping import error_in, status_error
from gigaclient._core.responses import decode
from gigaclient.auth.token_manager import Credential
from gigaclient.errors import APIStatusError, ConfigError, GigaClientError, InvalidResponseError
from gigaclient.gigachat.oauth import read_token
from gigaclient.gigachat.request_body import chat_body
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.streaming.stream import ChatStream
from gigaclient.types import ChatCompletion

_TEXT = st.text(max_size=20)
_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
)
_NAMES = (
    st.sampled_from(
        [
            "choices",
            "delta",
            "message",
            "content",
            "role",
            "index",
            "finish_reason",
            "usage",
            "created",
            "model",
            "error",
            "status",
            "code",
            "function_call",
            "name",
            "arguments",
            "prompt_tokens",
            "total_tokens",
            "access_token",
            "tok",
            "expires_at",
            "exp",
            "attachments",
            "logprobs",
            "detail",
        ]
    )
    | _TEXT
)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5), max_leaves=15
)


def result_of(function: Callable[[], Any]) -> tuple[Any, GigaClientError | None]:
    """Return the result of ``call``, or our error; any other error fails the test."""
    try:
        return function(), None
    except GigaClientError as error:
        return None, error


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()  # unpaired surrogates included, escaped


_CHUNKS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "delta": st.fixed_dictionaries(
                        {},
                        optional={
                            "content": _SCALARS,
                            "role": _SCALARS,
                            "function_call": _JSON,
                            "functions_state_id": _SCALARS,
                            "reasoning_content": _SCALARS,
                            "logprobs": _JSON,
                            "inline_data": _JSON,
                            "created": _SCALARS,
                        },
                    )
                    | _JSON,
                    "index": _SCALARS,
                    "finish_reason": _SCALARS,
                    "logprobs": _JSON,
                },
            ),
            max_size=3,
        )
        | _JSON
    },
    optional={"usage": _JSON, "created": _SCALARS, "model": _SCALARS, "new": _JSON, "message": _JSON, "error": _JSON},
)
_BODIES = st.binary(max_size=300) | _JSON.map(as_bytes) | st.dictionaries(_NAMES, _JSON, max_size=6).map(as_bytes)
_EVENTS = st.lists(
    st.one_of(_CHUNKS.map(as_bytes).map(event), _BODIES.map(event), st.binary(max_size=60), st.just(DONE)), max_size=6
)


@given(events=_EVENTS, size=st.integers(1, 64))
@example(events=[event(b'{"choices":[{"delta":{"content":"a"}}],"x":"\xff"}'), DONE], size=64)
@example(events=[event(b'{"choices":[{"delta":{"content":"a"}}],"x":1e999}'), DONE], size=64)
@example(events=[event(b'{"choices":[{"delta":{"content":"\\ud83d"}}]}'), DONE], size=64)
@example(events=[event(b'{"choices":[{"delta":{},"index":1e300}]}'), DONE], size=64)
@settings(max_examples=300)
def test_any_stream_ends_or_raises_one_of_ours_with_the_text_so_far(events: list[bytes], size: int) -> None:
    data = b"".join(events)
    reply = FakeResponse([data[at : at + size] for at in range(0, len(data), size)])
    stream = ChatStream(reply, ChunkParser("r-1"), request_id="r-1")
    pieces: list[str] = []

    def read() -> None:
        for chunk in stream:
            pieces.append(chunk.text)
            assert isinstance(chunk.raw, dict)

    _, error = result_of(read)
    if error is not None:
        assert error.text == "".join(pieces)
        assert error.completion is not None
        assert error.__context__ is None
        assert str(error)
    assert stream.closed
    assert stream.text == "".join(pieces)
    assert isinstance(stream.completion.raw, dict)
    assert isinstance(stream.completion.message.role, str)
    assert list(stream) == []


_completion = msgspec.json.Decoder(ChatCompletion)


def response(body: bytes) -> Any:
    return SimpleNamespace(
        body=body,
        status=200,
        headers={"content-type": "application/json"},
        request_id="r-1",
        mask_echo=lambda error: error,
    )


@given(body=_BODIES | _CHUNKS.map(as_bytes))
@example(body=b'{"choices":[{"message":{"content":"a"}}],"x":"\xff"}')
@example(body=b'{"choices":[{"message":{"content":"a"}}],"x":' + b"9" * 5000 + b"}")
@example(body=b"[" * 100_000)
@example(body=b'{"x":' * 100_000)
@settings(max_examples=300)
def test_any_body_is_an_answer_or_one_of_our_errors(body: bytes) -> None:
    completion, error = result_of(lambda: decode(response(body), _completion).attach(raw=body))
    if error is not None:
        assert isinstance(error, (InvalidResponseError, APIStatusError))
        assert error.request_id == "r-1"
        assert len(str(error)) < 2000
        return
    assert isinstance(completion.text, str)
    assert isinstance(completion.message.role, str)
    assert isinstance(completion.raw, dict)
    for choice in completion.choices:
        assert isinstance(choice.index, int)
    if completion.usage is not None:
        assert isinstance(completion.usage.total_tokens, int)


@given(
    status=st.integers(300, 599),
    body=_BODIES,
    headers=st.dictionaries(st.sampled_from(["retry-after", "date", "location", "content-type", "x"]), _TEXT),
)
@settings(max_examples=300)
def test_any_error_answer_is_an_error_of_its_status(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = status_error(status, body, headers, request_id="r-1", now=1_790_000_000.0)
    assert isinstance(error, APIStatusError)
    assert type(error) is APIStatusError.class_for(status)
    assert error.status_code == status
    assert error.retry_after is None or 0 <= error.retry_after < math.inf
    assert error.message
    assert len(error.message) < 2000


@given(data=_JSON | st.dictionaries(_NAMES, _JSON, max_size=6))
@settings(max_examples=300)
def test_anything_in_place_of_a_result_is_an_error_or_none(data: Any) -> None:
    error = error_in(data, request_id="r-1")
    assert error is None or (400 <= error.status_code <= 599 and error.body == data)


_TOKENS = st.dictionaries(
    st.sampled_from(["access_token", "tok", "expires_at", "exp", "x"]),
    _SCALARS | st.floats() | st.sampled_from(["abc.def", 1.79e12, 1.79e9, -1, 0, 10**400, "1790000000000", "nan"]),
)


@given(body=_BODIES | _TOKENS.map(as_bytes), headers=st.dictionaries(st.sampled_from(["date", "x"]), _TEXT))
@example(body=b'{"access_token":"abc","expires_at":1e308}', headers={})
@example(body=b'{"tok":"abc","exp":"1e400"}', headers={"date": "Thu, 01 Jan 0000 00:00:00 GMT"})
@example(body=b'{"tok":"abc","exp":Infinity}', headers={})
@settings(max_examples=300)
def test_any_answer_of_the_token_endpoint_is_a_token_or_our_error(body: bytes, headers: dict[str, str]) -> None:
    result = read_token(body, headers, wall=1_790_000_000.0, monotonic=1000.0)
    if isinstance(result, Credential):
        value = result.value.reveal()
        assert value.isascii()
        assert value.isprintable()
        assert value == value.strip()
        assert result.expires_at > 1000.0
        assert value not in repr(result) or len(value) < 4
    else:
        assert isinstance(result, InvalidResponseError)
        assert len(str(result)) < 1000


class Odd:
    """An object that JSON cannot hold."""


_OBJECTS = st.recursive(
    _SCALARS
    | st.floats()
    | st.binary(max_size=5)
    | st.builds(Odd)
    | st.text(st.characters(), max_size=5)
    | st.sets(st.integers(), max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(_TEXT | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(messages=_OBJECTS | st.lists(_OBJECTS, max_size=3), options=st.dictionaries(_NAMES, _OBJECTS, max_size=4))
@settings(max_examples=300)
def test_any_request_is_json_or_a_config_error(messages: Any, options: dict[str, Any]) -> None:
    body, error = result_of(lambda: chat_body(messages, options, {"model": "m"}, stream=True))
    if error is not None:
        assert type(error) is ConfigError
        return
    decoded = json.loads(body.decode("utf-8"), parse_constant=pytest.fail)
    assert decoded["stream"] is True
    assert decoded["messages"]


def test_a_stream_of_very_many_events_needs_little_more_than_its_text() -> None:
    block = event(payload("word ")) * 200
    stream = ChatStream(FakeResponse([block] * 250 + [DONE]), ChunkParser(None))
    completion = stream.result()
    assert len(completion.text) == 5 * 50_000
    assert len(stream._accumulator._unread) <= 1024
