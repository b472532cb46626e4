"""Hooks: the events of each attempt and each call, and that a failing hook never affects a call.

The tests use real connections to the emulators and compare the events with what the server received.
"""

from __future__ import annotations

import copy
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.clients import client_of
from support.reliability_tools import Task, together, wait_until

from gigaclient import FakeGpt, GigaChat
from gigaclient._core.hook_set import Hooks
from gigaclient._core.observer import CallObserver
from gigaclient.errors import (
    APIConnectionError,
    AuthenticationError,
    ConfigError,
    GigaClientError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient.hooks import CallEvent, EndEvent, RequestEvent, ResponseEvent
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator
from gigaclient.transport.request import Request
from gigaclient.types import Batch

CHAT = "/chat/completions"
PROMPT = "Count from 1 to 5"


class Notes:
    """Hooks that collect all events in one list."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.threads: list[threading.Thread] = []

    def __call__(self, event: CallEvent) -> None:
        self.events.append(event)
        self.threads.append(threading.current_thread())

    @property
    def options(self) -> dict[str, Any]:
        return {"on_request": self, "on_response": self, "on_end": self}

    def of(self, class_: type[Any], purpose: str = "api") -> list[Any]:
        return [event for event in self.events if type(event) is class_ and event.purpose == purpose]

    @property
    def requests(self) -> list[RequestEvent]:
        return self.of(RequestEvent)

    @property
    def responses(self) -> list[ResponseEvent]:
        return self.of(ResponseEvent)

    @property
    def ends(self) -> list[EndEvent]:
        return self.of(EndEvent)

    @property
    def end(self) -> EndEvent:
        assert len(self.ends) == 1, self.ends
        return self.ends[0]

    @property
    def names(self) -> list[str]:
        return [type(event).__name__.removesuffix("Event") for event in self.events]


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def giga(emulator: GigaChatEmulator, notes: Notes) -> Iterator[GigaChat]:
    """A client that has its token, so that all collected events are of the API."""
    with client_of(emulator, **notes.options) as client:
        client.get_token()
        notes.events.clear()
        notes.threads.clear()
        yield client


# -- events ------------------------------------------------------------------------------------------------------------


def test_a_call_is_reported_before_it_is_sent_when_it_is_answered_and_at_its_end(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    since = len(emulator.requests)
    answer = giga.chat("Hello!", model="GigaChat-2-Pro", session_id="a-session")
    request, response, end = notes.events
    assert notes.names == ["Request", "Response", "End"]
    for event in notes.events:
        assert (event.provider, event.purpose, event.method) == ("GigaChat", "api", "POST")
        assert (event.url, event.endpoint) == (f"{emulator.base_url}{CHAT}", "/v1/chat/completions")
        assert (event.model, event.is_stream) == ("GigaChat-2-Pro", False)
        assert event.request_id == answer.request_id
    assert (request.attempt, request.headers["X-Session-ID"]) == (1, "a-session")
    assert request.headers["x-request-id"] == emulator.requests[since].headers["x-request-id"]
    assert (response.attempt, response.status, response.error, response.retry_in) == (1, 200, None, None)
    assert (response.outcome, response.will_retry) == ("200", False)
    assert response.headers["X-Request-ID"] == answer.request_id
    assert (end.attempts, end.outcome, end.status, end.error) == (1, "ok", 200, None)
    assert (end.usage, end.model_version, end.finish_reason) == (answer.usage, answer.model, "stop")
    assert 0 <= request.waited <= end.seconds
    assert 0 < response.seconds <= end.seconds


def test_a_stream_is_reported_at_its_head_and_at_its_end(giga: GigaChat, notes: Notes) -> None:
    with giga.stream(PROMPT) as stream:
        assert notes.names == ["Request", "Response"]
        chunks = list(stream)
        assert notes.names == ["Request", "Response", "End"]
    end = notes.end
    assert (end.is_stream, end.outcome, end.chunks) == (True, "ok", len(chunks))
    assert (end.usage, end.finish_reason) == (stream.completion.usage, "stop")
    assert end.time_to_first_token_s is not None
    assert notes.responses[0].seconds <= end.time_to_first_token_s <= end.seconds


def test_the_time_to_the_first_text_is_not_that_to_the_head_of_the_stream(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    emulator.inject(Fault(stall_after_events=0, stall_s=0.4))
    assert giga.stream(PROMPT).result().text
    first = notes.end.time_to_first_token_s
    assert first is not None
    assert first >= 0.4
    assert notes.responses[0].seconds < first


def test_the_token_call_is_separate_and_comes_first(emulator: GigaChatEmulator, notes: Notes) -> None:
    with client_of(emulator, **notes.options) as giga:
        giga.chat("Hello!")
    assert [event.purpose for event in notes.events] == ["token"] * 3 + ["api"] * 3
    assert {event.endpoint for event in notes.events[:3]} == {"/api/v2/oauth"}
    assert notes.of(EndEvent, "token")[0].outcome == "ok"
    assert len({event.request_id for event in notes.events}) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_api_v2_reports_its_tokens_under_the_names_of_v1(giga: GigaChat, notes: Notes, stream: bool) -> None:
    answer = giga.chat.stream(PROMPT).result() if stream else giga.chat.create(PROMPT)
    end = notes.end
    assert end.endpoint == "/v2/chat/completions"
    assert answer.usage is not None
    assert end.usage is not None
    assert end.usage.prompt_tokens == answer.usage.input_tokens > 0
    assert end.usage.completion_tokens == answer.usage.output_tokens > 0
    assert end.usage.total_tokens == answer.usage.total_tokens
    assert (end.finish_reason, end.outcome, bool(end.chunks)) == ("stop", "ok", stream)


def test_the_tokens_of_embeddings_are_added_up(giga: GigaChat, notes: Notes) -> None:
    answer = giga.embeddings(["a tide table", "and a lighthouse"])
    assert answer.usage is not None
    assert notes.end.usage is not None
    assert notes.end.usage.prompt_tokens == notes.end.usage.total_tokens == answer.usage.prompt_tokens > 0
    assert notes.end.model == "Embeddings"


def test_a_download_is_over_when_its_last_byte_is_here(giga: GigaChat, notes: Notes) -> None:
    uploaded = giga.upload_file(("tides.txt", b"High water at 14:20."))
    notes.events.clear()
    assert giga.get_file_content(uploaded.id) == b"High water at 14:20."
    assert notes.names == ["Request", "Response", "End"]
    assert (notes.end.endpoint, notes.end.outcome) == ("/v1/files/{id}/content", "ok")
    assert uploaded.id in notes.end.url


def test_a_download_that_breaks_off_ends_with_its_error(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    uploaded = giga.upload_file(("tides.txt", b"High water at 14:20."))
    notes.events.clear()
    emulator.inject(Fault(cut_after_bytes=5))
    with pytest.raises(APIConnectionError):
        giga.get_file_content(uploaded.id, max_retries=0)
    assert (notes.ends[-1].outcome, notes.responses[-1].outcome) == ("APIConnectionError", "200")


def test_an_html_page_in_place_of_the_results_of_a_batch_is_reported_as_an_error(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    emulator.inject(Fault(body=b"<html></html>", content_type="text/html"), path="/files/f-1/content")
    with pytest.raises(GigaClientError, match="a page and not a file"):
        giga.batch_results(Batch(id="b-1", status="completed", output_file_id="f-1"))
    assert notes.end.outcome == "InvalidResponseError"


def test_fakegpt_reports_the_same_and_its_login_as_token_calls(notes: Notes) -> None:
    with FakeGptEmulator() as emulator, FakeGpt(**emulator.client_options, **notes.options) as fake:
        assert fake.chat(PROMPT).text
        events = list(notes.events)
        notes.events.clear()
        emulator.html_wall = True
        with pytest.raises(GigaClientError) as caught:
            fake.chat(PROMPT)
    assert {event.provider for event in events} == {"FakeGpt"}
    assert [event.endpoint for event in events if type(event) is EndEvent] == [
        "/api/loads", "/auth/login", "/api/auth/session", "/api/conversation",
    ]  # fmt: skip
    assert [event.purpose for event in events] == ["token"] * 9 + ["api"] * 3
    assert (events[-1].outcome, events[-1].chunks > 1) == ("ok", True)
    assert notes.ends[-1].outcome == type(caught.value).__name__


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/models/GigaChat-2-Max", "/v1/models/{id}"),
        ("/api/v1/files/0f6b7c1e-0d53-4b0f-8f0e-1f4f4c1d2a3b/content", "/api/v1/files/{id}/content"),
        ("/v1/threads/messages/rerun", "/v1/threads/messages/rerun"),
        ("/v1/ai/check", "/v1/ai/check"),
        ("", ""),
    ],
)
def test_an_endpoint_has_no_ids(path: str, endpoint: str) -> None:
    event = CallEvent(
        provider="GigaChat", purpose="api", method="GET", url=f"https://api.example{path}", request_id="1", model=None,
        is_stream=False, state={},
    )  # fmt: skip
    assert event.endpoint == endpoint


def test_what_a_hook_keeps_in_the_state_is_there_in_the_calls_later_events_and_in_no_other_call(
    emulator: GigaChatEmulator,
) -> None:
    numbers = iter(range(100))
    found: list[int] = []

    def begin(event: RequestEvent) -> None:
        if not event.state:
            event.state["number"] = next(numbers)

    with client_of(emulator, on_request=begin, on_end=lambda event: found.append(event.state["number"])) as giga:
        emulator.inject(Fault(status=503), path=CHAT)
        giga.chat("Hello!")
        giga.stream("Hello!").result()
    assert found == [0, 1, 2]  # the token, the chat with its two attempts, the stream


# -- attempts and errors -----------------------------------------------------------------------------------------------


def test_each_attempt_is_reported_with_its_number_its_outcome_and_whether_another_follows(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    emulator.inject(Fault(status=503), path=CHAT)
    emulator.inject(Fault(status=429, retry_after=0.2), path=CHAT)
    answer = giga.chat(PROMPT)
    assert notes.names == ["Request", "Response"] * 3 + ["End"]
    assert [event.attempt for event in notes.requests] == [event.attempt for event in notes.responses] == [1, 2, 3]
    assert [event.outcome for event in notes.responses] == ["503", "429", "200"]
    assert [event.will_retry for event in notes.responses] == [True, True, False]
    assert notes.responses[0].retry_in == 0
    assert notes.responses[1].retry_in is not None
    assert notes.responses[1].retry_in >= 0.2
    assert isinstance(notes.responses[1].error, RateLimitError)
    assert {event.request_id for event in notes.events} == {answer.request_id}
    assert (notes.end.attempts, notes.end.outcome) == (3, "ok")
    assert notes.requests[2].waited >= 0.2
    assert notes.end.seconds >= notes.requests[2].waited


def test_the_last_attempt_and_the_end_have_the_error_that_is_raised(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    emulator.inject(Fault(status=503), times=2, path=CHAT)
    with pytest.raises(ServerError) as caught:
        giga.chat(PROMPT, max_retries=1)
    assert notes.responses[-1].error is notes.end.error is caught.value
    assert [event.will_retry for event in notes.responses] == [True, False]
    assert (notes.end.outcome, notes.end.status, notes.end.attempts) == ("ServerError", 503, 2)


def test_a_refused_token_is_reported_as_an_attempt_that_is_repeated_at_once(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    emulator.revoke_tokens()
    giga.chat(PROMPT)
    assert [(event.outcome, event.retry_in) for event in notes.responses] == [("401", 0.0), ("200", None)]
    assert [event.purpose for event in notes.events] == ["api"] * 2 + ["token"] * 3 + ["api"] * 3
    assert notes.end.attempts == 2


def test_a_call_without_a_token_ends_before_its_first_attempt(emulator: GigaChatEmulator, notes: Notes) -> None:
    emulator.inject(Fault(status=401), path="/oauth")
    with client_of(emulator, **notes.options) as giga, pytest.raises(AuthenticationError) as caught:
        giga.chat(PROMPT)
    assert (notes.requests, notes.responses) == ([], [])
    assert (notes.end.attempts, notes.end.error, notes.end.status) == (0, caught.value, None)
    assert notes.of(EndEvent, "token")[0].outcome == "AuthenticationError"


def test_without_a_response_there_is_no_status_and_an_error(notes: Notes) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening
        address = f"https://127.0.0.1:{bound.getsockname()[1]}/v1"
        giga = GigaChat(base_url=address, access_token="t", max_retries=0, **notes.options)
        with giga, pytest.raises(APIConnectionError) as caught:
            giga.chat(PROMPT)
    assert (notes.responses[0].status, notes.responses[0].outcome) == (None, "APIConnectionError")
    assert dict(notes.responses[0].headers) == {}
    assert notes.end.error is caught.value


def test_bad_input_is_no_call(giga: GigaChat, notes: Notes) -> None:
    with pytest.raises(ConfigError):
        giga.chat([])
    with pytest.raises(ConfigError):
        giga.request("GET", "https://elsewhere.example/v1/models")
    assert notes.events == []


FAULTS = {
    "status": Fault(status=500), "not repeated": Fault(status=422), "reset": Fault(reset=True),
    "hang up": Fault(hang_up=True), "a page": Fault(html=True), "junk": Fault(body=b"{"), "nothing": Fault(body=b""),
    "an error under 200": Fault(body={"status": 500, "message": "m"}), "silence": Fault(before_s=float("inf")),
    "cut body": Fault(cut_after_bytes=20), "cut stream": Fault(cut_after_events=2),
    "too early": Fault(end_after_events=2), "stalled": Fault(stall_after_events=2),
    "error event": Fault(error_after_events=2), "malformed": Fault(malformed_after_events=2),
    "not UTF-8": Fault(invalid_utf8_after_events=2), "wrong type": Fault(content_type="text/plain"), "fine": Fault(),
}  # fmt: skip


@pytest.mark.parametrize("name", list(FAULTS))
@pytest.mark.parametrize("method", ["chat", "stream", "generate", "v2", "v2 stream"])
def test_whatever_happens_a_call_ends_once_and_as_its_caller_sees_it(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes, method: str, name: str
) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "chat": lambda: giga.chat(PROMPT, timeout=0.3),
        "stream": lambda: giga.stream(PROMPT, timeout=0.3).result(),
        "generate": lambda: list(giga.generate(PROMPT, timeout=0.3)),
        "v2": lambda: giga.chat.create(PROMPT, timeout=0.3),
        "v2 stream": lambda: giga.chat.stream(PROMPT, timeout=0.3).result(),
    }
    emulator.inject(FAULTS[name], times=None, path=CHAT)
    raised: GigaClientError | None = None
    try:
        calls[method]()
    except GigaClientError as error:
        raised = error
    assert notes.end.outcome == ("ok" if raised is None else type(raised).__name__)
    assert type(notes.end.error) is (type(None) if raised is None else type(raised))
    assert len(notes.requests) == len(notes.responses) == notes.end.attempts >= 1
    assert [event.will_retry for event in notes.responses] == [True] * (notes.end.attempts - 1) + [False]
    assert notes.names[-1] == "End"


# -- streams that are left ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["close", "with", "generator"])
def test_a_stream_that_is_left_ends_as_closed_once(giga: GigaChat, notes: Notes, by: str) -> None:
    if by == "generator":
        texts = giga.generate(PROMPT)
        next(texts)
        texts.close()  # type: ignore[attr-defined]
    else:
        with giga.stream(PROMPT) as stream:
            next(stream)
            if by == "close":
                stream.close()
                stream.close()
        stream.close()
    assert (notes.end.outcome, notes.end.error, notes.end.chunks) == ("closed", None, 1)


def test_a_stream_closed_by_another_thread_ends_once(emulator: GigaChatEmulator, giga: GigaChat, notes: Notes) -> None:
    emulator.inject(Fault(stall_after_events=1))
    stream = giga.stream(PROMPT)
    reader = Task(lambda: list(stream))
    wait_until(lambda: stream.text, what="the first text")
    stream.close()
    assert len(reader.result()) == 1
    assert notes.end.outcome == "closed"
    assert notes.threads[-1] is threading.current_thread()


def test_of_several_ends_at_the_same_moment_one_is_reported(notes: Notes) -> None:
    hooks = Hooks("GigaChat", "api", on_request=(), on_response=(), on_end=(notes,))
    for _ in range(20):
        notes.events.clear()
        observer = CallObserver(hooks, Request("POST", "/x"), is_stream=True)
        observer.begin("https://api.example/v1/x?key=s3cret", "an-id")
        together(lambda number, observer=observer: observer.end(closed=bool(number % 2)), 8)  # type: ignore[misc]
        assert notes.end.url == "https://api.example/v1/x"


def test_an_error_in_a_stream_is_reported_with_the_part_that_had_arrived(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    emulator.inject(Fault(cut_after_events=3))
    with giga.stream(PROMPT) as stream, pytest.raises(StreamInterruptedError) as caught:
        stream.result()
    assert notes.end.error is caught.value
    assert notes.end.chunks == 3
    assert notes.end.model_version


@pytest.mark.parametrize("stream", [False, True])
def test_an_interrupt_ends_the_call_as_interrupted(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes, stream: bool
) -> None:
    since = len(emulator.requests)
    emulator.inject(Fault(stall_after_events=1) if stream else Fault(before_s=float("inf")))
    opened: list[Any] = []

    def interrupt() -> None:
        wait_until(lambda: opened[0].text if stream and opened else len(emulator.requests) > since and not stream)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    task = Task(interrupt)
    with pytest.raises(KeyboardInterrupt):
        if stream:
            opened.append(giga.stream(PROMPT))
            opened[0].result()
        else:
            giga.chat(PROMPT)
    task.result()
    assert (notes.end.outcome, notes.end.error) == ("interrupted", None)
    assert [event.outcome for event in notes.responses] == ["200" if stream else "interrupted"]


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_no_event_holds_a_secret(emulator: GigaChatEmulator, notes: Notes) -> None:
    with client_of(emulator, **notes.options) as giga:
        giga.chat("the-prompt", headers={"X-Api-Key": "s3cret", "Cookie": "s3cret", "X-Company-Token": "s3cret"})
        giga.chat("the-prompt", authorization=f"Bearer {emulator.issue_token()}")
        giga.stream("the-prompt").result()
        giga.request("GET", "/models", query={"key": "s3cret"})
        token = giga.get_token().access_token
    shown = repr(notes.events) + repr([dict(getattr(event, "headers", {})) for event in notes.events])
    shown += pickle.dumps(notes.events).decode("latin-1")
    for secret in ("s3cret", "the-prompt", token, emulator.credentials, "Bearer", "Basic"):
        assert secret not in shown
    assert "gigaclient/" in shown  # headers without secrets are shown


def test_a_token_endpoint_that_quotes_what_it_refuses_gives_nothing_away(
    emulator: GigaChatEmulator, notes: Notes
) -> None:
    key = emulator.credentials
    for body in (
        {"code": 6, "message": f"not known: {key}"},
        f"<p>{key}</p>",
        {"access_token": [key]},
        b"{" + key.encode(),
    ):
        for status in (401, 200):
            emulator.inject(Fault(status=status, body=body), path="/oauth")
            with client_of(emulator, **notes.options, max_retries=0) as giga, pytest.raises(GigaClientError):
                giga.chat(PROMPT)
    shown = repr(notes.events) + repr([vars(event.error) for event in notes.events if getattr(event, "error", None)])
    assert key not in shown
    refusals = [event.error for event in notes.of(ResponseEvent, "token") if event.error is not None]
    assert [(type(error), error.status_code) for error in refusals] == [(AuthenticationError, 401)] * 4
    assert refusals[0].code == 6


# -- hooks that misbehave ----------------------------------------------------------------------------------------------


def test_a_hook_that_raises_affects_neither_the_call_nor_the_next_hook_and_is_logged_once(
    emulator: GigaChatEmulator, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: CallEvent) -> None:
        raise RuntimeError("no such counter")

    both = [broken, notes]
    caplog.set_level(logging.WARNING, "gigaclient")
    with client_of(emulator, on_request=both, on_response=both, on_end=both) as giga:
        for _ in range(2):
            assert giga.chat(PROMPT).text == giga.stream(PROMPT).result().text
    assert notes.names == ["Request", "Response", "End"] * 5
    warnings = [record for record in caplog.records if "broken" in record.getMessage()]
    assert len(warnings) == 2  # once for token calls and once for the others
    assert all("RuntimeError" in record.getMessage() for record in warnings)
    assert "no such counter" in caplog.text
    assert emulator.credentials not in caplog.text


def test_an_interrupt_inside_a_hook_is_no_error_of_the_hook(emulator: GigaChatEmulator, notes: Notes) -> None:
    def interrupting(event: CallEvent) -> None:
        raise KeyboardInterrupt

    token = emulator.issue_token()
    with client_of(emulator, access_token=token, on_request=interrupting, on_end=notes) as giga:
        with pytest.raises(KeyboardInterrupt):
            giga.chat(PROMPT)
        assert notes.end.outcome == "interrupted"
        assert giga.stats().in_flight == 0
        assert giga.with_options(on_request=[]).chat(PROMPT).text  # its permit is released


async def _coroutine(event: CallEvent) -> None: ...


def _generator(event: CallEvent) -> Iterator[None]:
    yield


class _Async:
    async def __call__(self, event: CallEvent) -> None: ...


@pytest.mark.parametrize("hook", [7, "print", [print, None], {print}, _coroutine, _generator, _Async()])
@pytest.mark.parametrize("name", ["on_request", "on_response", "on_end"])
def test_what_cannot_be_a_hook_is_refused_at_once(name: str, hook: Any) -> None:
    for client in (GigaChat, FakeGpt):
        with pytest.raises(ConfigError, match=rf"^{name}: (must be a function|.* is async or a generator)"):
            client(access_token="t", **{name: hook})
    with GigaChat(access_token="t") as giga, pytest.raises(ConfigError, match=f"^{name}: "):
        giga.with_options(**{name: hook})


def test_hooks_do_not_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ON_REQUEST", "ON_RESPONSE", "ON_END"):
        monkeypatch.setenv(f"GIGACHAT_{name}", "print")
    with GigaChat(access_token="t") as giga:
        assert giga._executor.hooks is None


# -- clients and their copies ------------------------------------------------------------------------------------------


def test_with_options_replaces_the_hooks_of_the_client(emulator: GigaChatEmulator, notes: Notes) -> None:
    mine, other = notes, Notes()
    with client_of(emulator, on_end=mine) as giga:
        changed = giga.with_options(on_end=other, on_response=[other])
        assert changed.chat(PROMPT).text
        assert [event.purpose for event in mine.events] == ["token"]  # fetched by this client for both
        assert other.names == ["Response", "End"]
        giga.with_options(on_end=[]).chat(PROMPT)
        changed.with_options(deadline=30).chat(PROMPT)
        assert (len(mine.events), other.names) == (1, ["Response", "End"] * 2)
        giga.chat(PROMPT)
        assert len(mine.ends) == 1


class _Unpicklable:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def note(self, event: CallEvent) -> None: ...


def test_hooks_are_pickled_with_their_client_where_possible(emulator: GigaChatEmulator) -> None:
    with client_of(emulator, on_end=print) as giga, pickle.loads(pickle.dumps(giga)) as travelled:
        assert travelled._settings.on_end == (print,)
        assert travelled._executor.hooks is not None


@pytest.mark.parametrize("hook", [lambda event: None, _Unpicklable().note, threading.Lock().release])
def test_a_hook_that_cannot_be_pickled_is_named_with_what_to_do(emulator: GigaChatEmulator, hook: Any) -> None:
    with client_of(emulator, on_response=[print, hook]) as giga:
        with pytest.raises(ConfigError, match=r"on_response=.*with_options\(on_response=\(\)\)"):
            pickle.dumps(giga)
        assert pickle.dumps(giga.with_options(on_response=()))


@pytest.mark.parametrize("copy_function", [copy.copy, copy.deepcopy])
def test_a_copied_client_keeps_its_hooks_whatever_they_are(
    emulator: GigaChatEmulator, copy_function: Callable[[Any], Any]
) -> None:
    ends: list[EndEvent] = []
    with client_of(emulator, on_end=lambda event: ends.append(event)) as giga, copy_function(giga) as copied:
        copied.chat(PROMPT)
    assert [event.purpose for event in ends] == ["token", "api"]


def test_one_line_calls_take_hooks_and_do_not_share_a_client_with_those_that_have_others(
    emulator: GigaChatEmulator,
) -> None:
    first, second = Notes(), Notes()
    options = {**emulator.client_options, "api_key": emulator.client_options["credentials"]}
    del options["credentials"]
    for notes in (first, second):
        assert "".join(GigaChat.create_generator(messages=PROMPT, on_end=notes, **options)) == "1, 2, 3, 4, 5"
    assert first.names == second.names == ["End", "End"]


# -- threads and cost --------------------------------------------------------------------------------------------------


def test_hooks_run_in_the_threads_of_their_calls_and_never_mix_them_up(
    emulator: GigaChatEmulator, giga: GigaChat, notes: Notes
) -> None:
    lock = threading.Lock()
    seen: dict[str, set[Any]] = {}

    def note(event: CallEvent) -> None:
        with lock:
            seen.setdefault(event.request_id, set()).add((threading.get_ident(), id(event.state)))

    watched = giga.with_options(on_request=note, on_response=note, on_end=note)

    def ask(number: int) -> str:
        answer = watched.chat(PROMPT) if number % 2 else watched.stream(PROMPT).result()
        return f"{answer.request_id} {threading.get_ident()}"

    threads = dict(line.split() for line in together(ask, 12))
    assert {request_id: {str(thread) for thread, _ in seen[request_id]} for request_id in threads} == {
        request_id: {thread} for request_id, thread in threads.items()
    }
    assert all(len(events) == 1 for events in seen.values())


def test_a_client_without_hooks_makes_nothing_for_them(emulator: GigaChatEmulator) -> None:
    script = (
        "import sys\n"
        "from gigaclient import GigaChat\n"
        "with GigaChat() as giga:\n"
        "    giga.chat('Hello!'), giga.stream('Hello!').result(), giga.get_models(), list(giga.generate('Hello!'))\n"
        "    print(giga._executor.hooks, 'gigaclient.hooks' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **emulator.environment}, capture_output=True, text=True,
        timeout=50,
    )  # fmt: skip
    assert (run.stdout.strip(), run.stderr) == ("None False", "")
