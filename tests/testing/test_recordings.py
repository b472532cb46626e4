"""Tests of the recorded responses."""

from __future__ import annotations

import hashlib
import json
import re
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import pytest
from testing.plain_client import Giga, PlainResponse, oauth

from gigaclient.testing import GigaChatEmulator, Recording, recording
from gigaclient.testing.recordings import recording_names

# The digests detect recordings that an editor has changed.
DIGESTS = {
    "oauth.json": "dd1f4c7dc325fb45a828c7498a588a963b7bd23db0f7eec1e13e6e5ddb05b392",
    "v1-chat.json": "bb8c600fa0b325957d04fbe307621b48a601f3c7801a96dd9787e5578831577f",
    "v1-model-not-found.json": "96809042ec9fc7a6e9277fb379e3b506d241fedee10ec6101df206b74ac153ad",
    "v1-models.json": "3fbc185966e7f2742751f11189ed4579c87782a4dab3449eb2a645ac83a14157",
    "v1-stream.sse": "990cd94f3d6edd841e170d7232349a4e3ad7af8e050c2eb4b137d2adfef190be",
    "v2-stream.sse": "56a0daf13201f3c2fe8058716e8e9a231e91a26e461df1fe2c2a99157875bf07",
}


def test_every_recording_exists_unchanged() -> None:
    assert recording_names() == sorted(DIGESTS)
    for name, digest in DIGESTS.items():
        assert hashlib.sha256(recording(name).body).hexdigest() == digest, name


def test_a_recording_has_its_request_and_headers() -> None:
    found = recording("v1-stream.sse")
    assert (found.method, found.status, found.is_stream) == ("POST", 200, True)
    assert found.uri.endswith("/chat/completions")
    assert json.loads(found.request_body)["stream"] is True
    assert found.headers["Server"] == "SynGX"
    assert not recording("v1-chat.json").is_stream


@pytest.mark.parametrize("name", ["v1-stream.sse", "v2-stream.sse"])
def test_the_events_of_a_stream_join_to_its_body(name: str) -> None:
    found = recording(name)
    assert b"".join(found.events) == found.body
    assert len(found.events) == {"v1-stream.sse": 6, "v2-stream.sse": 2}[name]
    assert all(event.endswith(b"\n\n") for event in found.events)


def test_the_error_for_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"v1-chat\.json"):
        recording("nothing.json")


def test_the_readme_states_origin_and_licence() -> None:
    text = (resources.files("gigaclient.testing.recordings") / "README.md").read_text("utf-8")
    assert "ai-forever/gigachat" in text
    assert "MIT" in text
    assert all(name in text for name in recording_names())


# --- the recorded requests, sent to the emulator ----------------------------------------------------------------


def sent_again(gigachat: GigaChatEmulator, found: Recording) -> PlainResponse:
    if found.name == "oauth.json":
        # The recorder has replaced the scope and left out the headers.
        assert found.request_body == "scope=REDACTED"
        return oauth(gigachat, body="scope=GIGACHAT_API_PERS")
    with Giga(gigachat) as giga:
        return giga.send(found.method, urlsplit(found.uri).path, found.request_body or None, giga.headers)


def shape(value: Any) -> Any:
    """Return the types of all values of JSON, with the names and their order; the items of a list share one shape."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        shapes = [shape(inner) for inner in value]
        assert all(inner == shapes[0] for inner in shapes)
        return shapes[:1]
    return type(value).__name__


def events(body: bytes) -> list[tuple[str | None, Any]]:
    """Return the names and the data of the events in a stream."""
    found: list[tuple[str | None, Any]] = []
    for block in body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = re.fullmatch(r"(?:event: (.*)\n)?data: (.*)", block).groups()  # type: ignore[union-attr]
        found.append((name, data if data == "[DONE]" else json.loads(data)))
    return found


def first_middle_and_end(stream: list[tuple[str | None, Any]], first: int) -> list[str]:
    """Return the shapes of the events in their order, with equal ones after the first ``first`` once."""
    shapes = [json.dumps([name, shape(data)]) for name, data in stream]
    return [text for number, text in enumerate(shapes) if number < first or text not in shapes[:number]]


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_a_recorded_request_gets_an_answer_of_the_recorded_form(gigachat: GigaChatEmulator, name: str) -> None:
    found = recording(name)
    reply = sent_again(gigachat, found)
    assert reply.status == found.status
    assert reply.headers["Content-Type"].split(";")[0] == found.headers["Content-Type"].split(";")[0]
    missing = [header for header in found.headers if header not in reply.headers]
    assert missing == []
    if not found.is_stream:
        ours, theirs = json.loads(reply.body), json.loads(found.body)
        assert json.dumps(shape(ours)) == json.dumps(shape(theirs))
        assert found.status == 200 or ours == theirs
        return
    ours, theirs = events(reply.body), events(found.body)
    assert first_middle_and_end(ours, 1) == first_middle_and_end(theirs, 1)
    finish = [data for _, data in ours if "finish_reason" in json.dumps(data)]
    assert len(finish) == 1 and '"stop"' in json.dumps(finish)


@pytest.mark.parametrize(
    ("name", "end", "recorded"),
    [
        ("v1-stream.sse", (None, "[DONE]"), {"delta": {"content": ""}, "index": 0, "finish_reason": "stop"}),
        ("v2-stream.sse", None, "stop"),
    ],
)
def test_the_ends_of_the_streams_are_the_recorded_ones(
    gigachat: GigaChatEmulator, name: str, end: Any, recorded: Any
) -> None:
    for stream in (events(sent_again(gigachat, recording(name)).body), events(recording(name).body)):
        *others, last = stream
        if end is not None:
            assert last == end
            last = others[-1]
        assert (last[1]["choices"][0] if "choices" in last[1] else last[1]["finish_reason"]) == recorded
