"""An unknown model: the error suggests similar names after one short lookup."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.stream_tools import WAIT_SECONDS

from gigaclient import GigaChat, NotFoundError
from gigaclient._core.request_options import RequestOptions
from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient.gigachat import suggestions
from gigaclient.gigachat.suggestions import add_suggestions, advice_for, requested_model
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.transport.request import Request, path
from gigaclient.types import Model

MODELS = [
    Model(id="GigaChat-2", type="chat"),
    Model(id="GigaChat-2-Pro", type="chat"),
    Model(id="GigaChat-2-Max", type="chat"),
    Model(id="Embeddings", type="embedder"),
    Model(id="EmbeddingsGigaR", type="embedder"),
    Model(id="GigaCheckDetection", type="aicheck"),
]


@pytest.mark.parametrize(
    ("unknown", "path", "advice"),
    [
        ("gigachat-2-pro", "/chat/completions", "did you mean GigaChat-2-Pro"),
        ("GigaChat-2-Prö", "/chat/completions", "did you mean GigaChat-2-Pro"),
        ("GigaChat:latest", "/chat/completions", "did you mean GigaChat-2, GigaChat-2-"),
        ("GigaChat-2-pro:1.0", "https://api.giga.chat/v2/chat/completions?x=1", "did you mean GigaChat-2-Pro"),
        ("Embedings", "/embeddings", "did you mean Embeddings or EmbeddingsGigaR?"),
        ("Embedings", "/models/Embedings", "did you mean Embeddings or EmbeddingsGigaR?"),
        ("gpt-4o", "/chat/completions", "this key may use GigaChat-2, GigaChat-2-Pro and GigaChat-2-Max"),
        ("gpt-4o", "/ai/check", "this key may use GigaCheckDetection"),
        (
            "Embeddings",
            "/chat/completions",
            "Embeddings is of type embedder, and this wants one of type chat: GigaChat-2, GigaChat-2-Pro or",
        ),
    ],
)
def test_the_closest_names_are_named(unknown: str, path: str, advice: str) -> None:
    assert advice_for(unknown, MODELS, path).startswith(advice)


def test_a_model_without_a_type_may_be_of_any() -> None:
    assert advice_for("GigaChat", [Model(id="GigaChat-Old")], "/chat/completions") == "did you mean GigaChat-Old?"


def test_without_models_there_is_no_advice() -> None:
    assert advice_for("GigaChat", [], "/chat/completions") == ""


@pytest.mark.parametrize(
    ("sent", "model"),
    [
        (Request("POST", "/chat/completions", body=b'{"model":"a"}'), "a"),
        (Request("GET", path("models", "a b/я")), "a b/я"),
        (Request("GET", "https://api.giga.chat/v1/models/a"), "a"),
        (Request("GET", "/models"), None),
        (Request("GET", "/models/a/b"), None),
        (Request("POST", "/chat/completions", body=b'{"model":5}'), None),
        (Request("POST", "/chat/completions", body=b'{"model":""}'), None),
        (Request("POST", "/chat/completions", body=b"[]"), None),
        (Request("POST", "/chat/completions", body=b"\xff"), None),
        (Request("POST", "/files", body=b'{"model":"a"}', content_type="multipart/form-data"), None),
    ],
    ids=repr,
)
def test_the_model_is_found_in_the_body_or_in_the_path(sent: Request, model: str | None) -> None:
    assert requested_model(sent) == model


# -- against the emulator --------------------------------------------------------------------------


@pytest.fixture
def emulator(shared_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    shared_emulator.clear()
    yield shared_emulator
    shared_emulator.clear()
    shared_emulator.max_streams = None


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    options = {**emulator.client_options, "credentials": emulator.add_credentials()}
    with GigaChat(**options, timeout=WAIT_SECONDS, retry_backoff_factor=0.0, max_connections=1) as client:
        yield client


CALLS: dict[str, Callable[..., Any]] = {
    "chat": lambda giga, **options: giga.chat("Hi", model="gigachat-2-pro", **options),
    "stream": lambda giga, **options: giga.stream("Hi", model="gigachat-2-pro", **options),
    "get_model": lambda giga, **options: giga.get_model("gigachat-2-pro", **options),
    "request": lambda giga, **options: giga.request("GET", "/models/gigachat-2-pro", **options),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_error_suggests_similar_names(emulator: GigaChatEmulator, giga: GigaChat, name: str) -> None:
    before = len(emulator.requests)
    with pytest.raises(NotFoundError) as caught:
        CALLS[name](giga, request_id="my-id")
    error = caught.value
    assert error.message.startswith("No such model: did you mean GigaChat-2-Pro")
    assert error.message.endswith("get_models() lists what this key may use")
    assert (error.request_id, error.status_code, error.body["message"]) == ("my-id", 404, "No such model")
    assert len(error.attempts) == 1
    first, second = emulator.requests[before:]
    assert (second.method, second.path) == ("GET", "/v1/models")
    assert second.headers["x-request-id"] != "my-id"
    assert first.headers["x-request-id"] == "my-id"


def test_other_errors_cause_no_lookup(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=404, body={"status": 404, "message": "No such file"}))
    before = len(emulator.requests)
    with pytest.raises(NotFoundError):
        giga.chat("Hi")
    assert len(emulator.requests) == before + 1


@pytest.mark.parametrize(
    ("fault", "max_lookups"),
    [
        (Fault(status=500), 1),
        (Fault(status=429), 1),
        (Fault(body=b"[]"), 1),
        (Fault(body=b"{"), 1),
        (Fault(reset=True), 2),  # a reset of a reused connection does not count as an attempt
        (Fault(status=401), 2),  # a refused token is refreshed once, as for every call
    ],
)
def test_a_failed_lookup_is_ignored(emulator: GigaChatEmulator, giga: GigaChat, fault: Fault, max_lookups: int) -> None:
    emulator.inject(fault, times=None, path="/models")
    before = sum(request.path == "/v1/models" for request in emulator.requests)
    with pytest.raises(NotFoundError, match=r"No such model - get_models\(\) lists"):
        giga.chat("Hi", model="gigachat-2-pro", max_retries=5)
    lookups = sum(request.path == "/v1/models" for request in emulator.requests) - before
    assert 1 <= lookups <= max_lookups


def test_the_lookup_ends_with_the_deadline_of_the_call(
    emulator: GigaChatEmulator, giga: GigaChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggestions, "_LOOKUP_SECONDS", 600.0)
    giga.get_models()
    emulator.inject(Fault(before_s=600), times=None, path="/models")
    began_at = time.monotonic()
    with pytest.raises(NotFoundError, match="No such model - "):
        giga.chat("Hi", model="gigachat-2-pro", deadline=0.5)
    assert time.monotonic() - began_at < WAIT_SECONDS


def suggested(giga: GigaChat, deadline: Deadline) -> str:
    """Return the message of the error for an unknown model, whose call has this deadline."""
    request = Request("GET", path("models", "gigachat-2-pro"))
    failure = NotFoundError("No such model", status_code=404)
    add_suggestions(giga._executor, giga._executor._begin(request, RequestOptions(), deadline, limit=None), failure)
    return failure.message


def test_no_lookup_starts_when_the_deadline_has_passed(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    before = len(emulator.requests)
    assert suggested(giga, Deadline(Timeouts(deadline=0.0))) == "No such model"
    assert len(emulator.requests) == before


def test_the_lookup_does_not_queue(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    # The only permit of this client is taken, as by another thread: the lookup does not queue.
    with giga.stream("Count from 1 to 3"):
        assert "did you mean" in suggested(giga, Deadline(Timeouts(deadline=60.0)))


def test_the_lookup_uses_the_authorization_of_the_call(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    mine = f"Bearer {emulator.issue_token()}"
    with pytest.raises(NotFoundError, match="did you mean"):
        giga.chat("Hi", model="gigachat-2-pro", authorization=mine, headers={"X-Mine": "1"})
    assert emulator.requests[-1].headers["authorization"] == mine
    assert emulator.requests[-1].headers["x-mine"] == "1"
