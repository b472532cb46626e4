"""The client: its interface, errors and interrupts."""

from __future__ import annotations

import gc
import inspect
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gigaclient
from gigaclient import (
    APIConnectionError,
    APITimeoutError,
    Chat,
    ChatCompletion,
    ChatProvider,
    ChatStream,
    FakeGpt,
    GigaClientError,
    InvalidResponseError,
    Message,
    NotFoundError,
    RateLimitError,
    RequestEntityTooLargeError,
    ServerError,
    StreamInterruptedError,
)
from gigaclient._core.client_cache import ClientCache
from gigaclient.fakegpt import client as client_module
from gigaclient.testing import FakeGptEmulator, Fault

MakeClient = Callable[..., FakeGpt]


def bodies_of(emulator: FakeGptEmulator) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in emulator.requests if request.path == "/api/conversation"]


def prompt(emulator: FakeGptEmulator) -> str:
    text: str = bodies_of(emulator)[-1]["messages"][0]["content"]["parts"][0]
    return text


# -- one interface ---------------------------------------------------------------------------------


def test_it_is_a_provider_like_any_other(client: FakeGpt) -> None:
    assert isinstance(client, ChatProvider)
    assert "FakeGpt" in gigaclient.__all__


def test_what_is_known_about_it_stands_on_the_class() -> None:
    assert FakeGpt.url == "https://chat-shared2.zhile.io"
    assert FakeGpt.working is False
    assert FakeGpt.supports_gpt_35_turbo is True
    assert FakeGpt.default_model == "text-davinci-002-render-sha"
    assert "public host is gone" in inspect.getdoc(FakeGpt)  # type: ignore[operator]
    assert inspect.signature(FakeGpt).parameters["base_url"].default is None


def test_chat_gives_the_whole_answer(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.answer("The Лена 🌊")
    answer = client.chat("name a river")
    assert type(answer) is ChatCompletion
    assert answer.text == str(answer) == "The Лена 🌊"
    assert (answer.finish_reason, answer.model) == ("stop", "text-davinci-002-render-sha")
    assert answer.raw["message"]["content"]["parts"] == ["The Лена 🌊"]
    assert answer.request_id
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_stream_gives_the_same_piece_by_piece(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.answer("one two three")
    with client.stream("count") as stream:
        assert isinstance(stream, ChatStream)
        pieces = [chunk.text for chunk in stream]
    assert len(pieces) > 1
    assert "".join(pieces) == stream.text == stream.result().text == "one two three"
    assert stream.request_id


def test_generate_gives_nothing_but_text(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.answer("one two three")
    pieces = list(client.generate("count"))
    assert all(type(piece) is str and piece for piece in pieces)
    assert "".join(pieces) == "one two three"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(write_size=1), Fault(write_size=7), Fault(gzip=True), Fault(close_delimited=True), Fault(crlf="\r\n"),
        Fault(comments=3), Fault(content_type=""), Fault(content_type="text/plain"),
        Fault(content_type="application/octet-stream"),
    ],
)  # fmt: skip
def test_every_way_of_writing_a_stream_is_read(client: FakeGpt, emulator: FakeGptEmulator, fault: Fault) -> None:
    emulator.answer("Лена 🌊 впадает в море")
    emulator.inject(fault)
    assert client.chat("река").text == "Лена 🌊 впадает в море"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "x"}],
        Chat(messages=[Message(content="hi"), Message(role="assistant", content="yes?"), Message(content="x")]),
        {"messages": [Message(content="hi"), Message(role="assistant", content="yes?"), Message(content="x")]},
    ],
)
def test_a_dialogue_is_sent_as_one_prompt(client: FakeGpt, emulator: FakeGptEmulator, messages: Any) -> None:
    client.chat(messages)
    assert prompt(emulator) == "User: hi\nAssistant: yes?\nUser: x\nAssistant:"


def test_ignored_settings_are_named_in_the_debug_log_and_not_sent(
    client: FakeGpt, emulator: FakeGptEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "gigaclient"):
        client.chat("hi", model="gpt-4", temperature=0.5)
    assert any("not sent: model, temperature" in record.getMessage() for record in caplog.records)
    assert bodies_of(emulator)[-1]["model"] == "text-davinci-002-render-sha"
    assert "temperature" not in bodies_of(emulator)[-1]


def test_a_rewritten_answer_is_whole_in_chat_and_flagged_in_a_stream(
    client: FakeGpt, emulator: FakeGptEmulator
) -> None:
    emulator.answer(["The cat", "The cat sat", "The dog", "The dog ran"], times=2)
    answer = client.chat("a tale")
    assert answer.text == answer.raw["choices"][0]["message"]["content"] == "The dog ran"
    stream = client.stream("a tale")
    chunks = list(stream)
    assert [chunk.text for chunk in chunks] == ["The cat", " sat", "dog", " ran"]
    assert [chunk.additional_data for chunk in chunks][2] == {"rewritten_from": 4}
    assert stream.text == stream.completion.text == stream.result().text == "The dog ran"


def test_text_that_is_taken_back_stays_in_generate_alone(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.answer(["Yes, of", "Yes, of course", "Yes"], times=3)
    assert "".join(client.generate("Really?")) == "Yes, of course"
    assert client.chat("Really?").text == client.stream("Really?").result().text == "Yes"


def test_half_a_character_of_a_snapshot_is_not_shown(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.answer(["High \ud83c", "High 🌊", "High 🌊 tide\ufffd", "High 🌊 tide."], times=2)
    assert list(client.generate("Sea?")) == ["High ", "🌊", " tide", "."]
    assert client.chat("Sea?").text == "High 🌊 tide."


def test_the_last_message_is_the_answer_in_chat_and_comes_after_the_first_in_a_stream(
    client: FakeGpt, emulator: FakeGptEmulator
) -> None:
    emulator.new_message_id = True
    emulator.answer("one two three four", times=2)
    assert client.chat("count").text == "one two three four"
    stream = client.stream("count")
    assert len("".join(chunk.text for chunk in stream)) > len("one two three four")
    assert stream.text == stream.result().text == "one two three four"


# -- one call, for scripts -------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_shared_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shared: ClientCache[FakeGpt] = ClientCache()
    monkeypatch.setattr(client_module, "_shared", shared)
    yield
    for client in shared._clients.values():
        client.close()


def test_create_generator_streams_text(emulator: FakeGptEmulator) -> None:
    emulator.answer("one two three")
    generator = FakeGpt.create_generator(
        "gpt-3.5-turbo", [{"role": "user", "content": "count"}], **emulator.client_options
    )
    assert len(pieces := list(generator)) > 1
    assert "".join(pieces) == "one two three"


def test_create_generator_without_stream_gives_one_piece(emulator: FakeGptEmulator) -> None:
    emulator.answer("one two three")
    generator = FakeGpt.create_generator(None, "count", stream=False, proxy=None, **emulator.client_options)
    assert list(generator) == ["one two three"]


def test_calls_with_the_same_settings_share_one_login(emulator: FakeGptEmulator) -> None:
    for _ in range(3):
        list(FakeGpt.create_generator("m", "hi", temperature=1, headers={"X-One": "1"}, **emulator.client_options))
    assert emulator.logins == 1
    assert emulator.requests[-1].headers["x-one"] == "1"


@pytest.mark.parametrize(
    "other", [{"headers": {"Cookie": "b=2"}}, {"headers": None}, {"timeout": 3}, {"access_token": "b"}]
)
def test_calls_with_other_settings_do_not_share_a_client(emulator: FakeGptEmulator, other: dict[str, Any]) -> None:
    first = {"headers": {"Cookie": "a=1"}, "timeout": 2, "access_token": "a"}
    for settings in (first, {**first, **other}, first):
        FakeGpt.create_generator("m", "hi", **emulator.client_options, **settings)
    assert len(client_module._shared._clients) == 2


def test_what_cannot_work_is_said_by_create_generator_itself(emulator: FakeGptEmulator) -> None:
    with pytest.raises(ValueError, match="messages is empty"):
        FakeGpt.create_generator("m", [], **emulator.client_options)
    with pytest.raises(ValueError, match="timeout"):
        FakeGpt.create_generator("m", "hi", timeout=-1, **emulator.client_options)
    with pytest.raises(ValueError, match="api_key"):
        FakeGpt.create_generator("m", "hi", api_key="x", **emulator.client_options)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error_class", "words", "requests_made"),
    [
        (Fault(status=404), NotFoundError, "check base_url", 1),
        (Fault(status=413), RequestEntityTooLargeError, "shorten", 1),
        (Fault(status=429, retry_after=0), RateLimitError, "busy", 3),
        (Fault(status=500), ServerError, "The server had an error", 3),
        (Fault(status=502, html=True), ServerError, "502 Bad Gateway", 3),
        (Fault(html=True), InvalidResponseError, "HTML titled '200 OK'", 1),
        (Fault(body={"detail": "no"}), ServerError, "no", 1),
        (Fault(body={"code": 429, "message": "later"}), RateLimitError, "later", 1),
        (Fault(body={"fine": True}), InvalidResponseError, "not an event stream", 1),
        (Fault(reset=True), APIConnectionError, "127.0.0.1", 1),
        (Fault(hang_up=True), APIConnectionError, "127.0.0.1", 1),
    ],
)
def test_an_error_before_the_answer_is_typed_and_repeated_where_that_is_safe(
    make: MakeClient,
    emulator: FakeGptEmulator,
    fault: Fault,
    error_class: type[GigaClientError],
    words: str,
    requests_made: int,
) -> None:
    client = make(access_token=emulator.access_token, max_retries=2)
    emulator.inject(fault, times=None, path="/api/conversation")
    with pytest.raises(error_class, match=words) as caught:
        client.chat("hi")
    assert len(emulator.requests) == requests_made
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (type(twin), str(twin), twin.attempts) == (type(caught.value), str(caught.value), caught.value.attempts)


def test_a_busy_service_is_retried(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.inject(Fault(status=503))
    emulator.inject(Fault(status=429, retry_after=0))
    assert client.chat("hi").text
    assert client.stats().retries == 2
    assert emulator.logins == 1


@pytest.mark.parametrize(
    ("switches", "error_class", "words"),
    [
        ({"error_event": "Something went wrong"}, ServerError, "Something went wrong"),
        (
            {"detail_event": {"message": "too long", "code": "message_length_exceeds_limit"}},
            RequestEntityTooLargeError,
            "long",
        ),
        ({"detail_event": "an hour"}, ServerError, "an hour"),
        ({"no_done": True, "never_finished": True}, StreamInterruptedError, "the answer is cut"),
    ],
)
@pytest.mark.parametrize("way", ["chat", "stream"])
def test_an_error_within_the_answer_keeps_the_text_and_is_not_repeated(
    client: FakeGpt,
    emulator: FakeGptEmulator,
    switches: dict[str, Any],
    error_class: type[GigaClientError],
    words: str,
    way: str,
) -> None:
    for name, value in switches.items():
        setattr(emulator, name, value)
    emulator.answer("one two three")
    with pytest.raises(error_class, match=words) as caught:
        client.chat("count") if way == "chat" else list(client.stream("count"))
    assert caught.value.text.startswith("one two")
    assert caught.value.completion is not None
    assert len(bodies_of(emulator)) == 1
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (twin.text, str(twin)) == (caught.value.text, str(caught.value))


@pytest.mark.parametrize(
    "fault",
    [Fault(cut_after_events=4), Fault(reset_after_events=4), Fault(end_after_events=4)],
    ids=["cut", "reset", "end"],
)
def test_a_stream_that_broke_keeps_its_text(client: FakeGpt, emulator: FakeGptEmulator, fault: Fault) -> None:
    emulator.answer("one two three four")
    emulator.inject(fault)
    with pytest.raises(StreamInterruptedError) as caught:
        client.chat("count")
    assert caught.value.text.split() == ["one", "two"]


@pytest.mark.parametrize("fault", [Fault(malformed_after_events=3), Fault(invalid_utf8_after_events=3)])
def test_a_broken_event_in_the_middle_costs_nothing(client: FakeGpt, emulator: FakeGptEmulator, fault: Fault) -> None:
    emulator.answer("one two three four")
    emulator.inject(fault)
    assert client.chat("count").text == "one two three four"


def test_silence_in_the_stream_is_a_timeout_with_the_text_so_far(make: MakeClient, emulator: FakeGptEmulator) -> None:
    emulator.answer("one two three four")
    emulator.inject(Fault(stall_after_events=4))
    with pytest.raises(APITimeoutError) as caught:
        make(timeout=(5, 0.5)).chat("count")
    assert caught.value.text.split() == ["one", "two"]


def test_only_keep_alives_are_no_valid_response(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.only_keep_alives = True
    with pytest.raises(RuntimeError, match="No valid response"):
        client.chat("hi")


def test_an_end_without_the_marker_is_valid_when_the_answer_was_finished(
    client: FakeGpt, emulator: FakeGptEmulator
) -> None:
    emulator.no_done = True
    assert client.chat("hi").finish_reason == "stop"


class _Interrupt(BaseException):
    """A keyboard interrupt for tests."""


def test_an_interrupt_passes_through_and_keeps_the_text(client: FakeGpt, emulator: FakeGptEmulator) -> None:
    emulator.answer("one two three four")
    stream = client.stream("count")
    with pytest.raises(_Interrupt), stream:
        for _ in stream:
            if len(stream.text) > 5:
                raise _Interrupt
    assert stream.text.split() == ["one", "two"]
    assert stream.closed
    assert client.chat("hi").text


def test_leaving_a_generator_early_gives_the_connection_back(make: MakeClient, emulator: FakeGptEmulator) -> None:
    client = make(max_connections=1)
    emulator.event_pause_s = 0.05
    for _ in client.generate("Count from 1 to 9"):
        break
    gc.collect()
    assert client.stats().in_flight == 0
    assert client.chat("hi", deadline=20).text


def test_an_error_of_the_caller_in_the_loop_is_not_swallowed(client: FakeGpt) -> None:
    with pytest.raises(ZeroDivisionError):
        for _ in client.generate("Count from 1 to 9"):
            1 / 0  # noqa: B018
