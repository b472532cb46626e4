"""Tests of the recorded responses."""

from __future__ import annotations

import hashlib
import json
from importlib import resources

import pytest

from gigaclient.testing import recording
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
