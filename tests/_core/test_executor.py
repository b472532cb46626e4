"""The send loop over real connections: what is retried, how long it waits, and what the final error holds.

``test_retry.py`` tests the retry policy without a network; this file tests that it is applied. A mock would prove
nothing, because only the server knows whether a request was sent, and on which connection.
"""

from __future__ import annotations

import datetime
import logging
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.clients import client_with_new_key
from support.stream_tools import WAIT_SECONDS, Background, until

from gigaclient import GigaChat
from gigaclient.errors import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    GigaClientError,
    InvalidResponseError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    TLSError,
)
from gigaclient.testing import Fault, GigaChatEmulator

CHAT = "/chat/completions"
PROMPT = "Count from 1 to 5"
TEXT = "1, 2, 3, 4, 5"


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with client_with_new_key(emulator) as client:
        client.get_token()
        yield client


def moments(emulator: GigaChatEmulator, since: int) -> list[float]:
    """Return the arrival times, in seconds, of the chat requests after the first ``since`` requests."""
    return [request.at for request in emulator.requests[since:] if request.path.endswith(CHAT)]


@pytest.fixture
def closed_port_url() -> Iterator[str]:
    """The URL of a port that is bound, so that no other process takes it, and not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"https://127.0.0.1:{sock.getsockname()[1]}/v1"


# -- how often -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["chat", "stream", "generate"])
def test_two_refusals_are_overcome_by_two_retries(emulator: GigaChatEmulator, giga: GigaChat, method: str) -> None:
    emulator.inject(Fault(status=503), times=2, path=CHAT)
    since = len(emulator.requests)
    answer: Any = getattr(giga, method)(PROMPT)
    text = "".join(answer) if method == "generate" else answer.result().text if method == "stream" else answer.text
    assert text == TEXT
    assert len(emulator.requests) - since == 3
    assert giga.stats().retries == 2


def test_one_request_keeps_its_id_through_all_tries(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=503), times=2, path=CHAT)
    since = len(emulator.requests)
    answer = giga.chat(PROMPT)
    assert {request.headers["x-request-id"] for request in emulator.requests[since:]} == {answer.request_id}


@pytest.mark.parametrize(
    ("client", "options", "requests"), [({}, {}, 3), ({"max_retries": 0}, {}, 1), ({"max_retries": 1}, {}, 2),
     ({}, {"max_retries": 0}, 1), ({"max_retries": 0}, {"max_retries": 3}, 4)],
)  # fmt: skip
def test_there_are_as_many_tries_as_client_and_call_allow(
    emulator: GigaChatEmulator, client: dict[str, Any], options: dict[str, Any], requests: int
) -> None:
    emulator.inject(Fault(status=503), times=None, path=CHAT)
    with client_with_new_key(emulator, **client) as giga:
        since = len(emulator.requests)
        with pytest.raises(ServerError) as caught:
            giga.chat(PROMPT, **options)
        assert len(emulator.requests) - since == requests
        assert len(caught.value.attempts) == requests
        assert all(attempt.startswith("503 after ") for attempt in caught.value.attempts)


@pytest.mark.parametrize(
    ("status", "tried_again"), [(400, False), (401, False), (402, False), (404, False), (408, False), (413, False),
     (422, False), (429, True), (500, True), (501, False), (502, True), (503, True), (504, True)],
)  # fmt: skip
def test_only_statuses_that_may_pass_are_tried_again(
    emulator: GigaChatEmulator, giga: GigaChat, status: int, tried_again: bool
) -> None:
    emulator.inject(Fault(status=status, body={"status": status, "message": "no"}), path=CHAT)
    since = len(emulator.requests)
    if tried_again or status == 401:  # after a 401 the call is repeated with a new token, which is no retry
        assert giga.chat(PROMPT).text == TEXT
        assert giga.stats().retries == (1 if tried_again else 0)
    else:
        with pytest.raises(GigaClientError):
            giga.chat(PROMPT)
        assert len(emulator.requests) - since == 1


def test_the_users_statuses_are_tried_again_and_no_others(emulator: GigaChatEmulator) -> None:
    with client_with_new_key(emulator, retry_on_status_codes=[418]) as giga:
        emulator.inject(Fault(status=418, body="tea"), path=CHAT)
        assert giga.chat(PROMPT).text == TEXT
        emulator.inject(Fault(status=503), path=CHAT)
        with pytest.raises(ServerError):
            giga.chat(PROMPT)


@pytest.mark.parametrize("status", [429, 503])
def test_an_empty_list_of_statuses_retries_none(emulator: GigaChatEmulator, status: int) -> None:
    with client_with_new_key(emulator, retry_on_status_codes=[]) as giga:
        emulator.inject(Fault(status=status, retry_after=0), path=CHAT)
        since = len(emulator.requests)
        with pytest.raises(GigaClientError):
            giga.chat(PROMPT)
        assert len(emulator.requests) - since == 1


def test_the_last_error_lists_every_try(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    for status in (503, 429, 500):
        emulator.inject(Fault(status=status), path=CHAT)
    with pytest.raises(ServerError) as caught:
        giga.chat(PROMPT)
    assert [attempt.split()[0] for attempt in caught.value.attempts] == ["503", "429", "500"]
    assert "[3 attempts: 503 after " in str(caught.value)
    assert caught.value.__context__ is None
    assert pickle.loads(pickle.dumps(caught.value)).attempts == caught.value.attempts


# -- how long --------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_date", [False, True])
def test_a_retry_waits_as_long_as_retry_after_says(emulator: GigaChatEmulator, giga: GigaChat, as_date: bool) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    # A date has whole seconds, so one that is two seconds ahead may be little more than one second ahead.
    retry_after: Any = now + datetime.timedelta(seconds=2) if as_date else 0.4
    emulator.inject(Fault(status=429, retry_after=retry_after), path=CHAT)
    since = len(emulator.requests)
    assert giga.chat(PROMPT).text == TEXT
    first, second = moments(emulator, since)
    assert second - first >= (0.8 if as_date else 0.4)


def test_tries_wait_longer_and_longer(emulator: GigaChatEmulator) -> None:
    with client_with_new_key(emulator, retry_backoff_factor=0.2) as giga:
        emulator.inject(Fault(status=503), times=2, path=CHAT)
        since = len(emulator.requests)
        assert giga.chat(PROMPT).text == TEXT
        first, second, third = moments(emulator, since)
        assert second - first >= 0.1  # 0.2, minus up to half of it
        assert third - second >= 0.2


def test_a_retry_after_beyond_the_maximum_is_raised(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=429, retry_after=61), path=CHAT)
    since = len(emulator.requests)
    with pytest.raises(RateLimitError) as caught:
        giga.chat(PROMPT)
    assert caught.value.retry_after == 61.0
    assert len(emulator.requests) - since == 1


def test_a_wait_that_does_not_fit_the_deadline_is_not_begun(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(status=503, retry_after=30), path=CHAT)
    since = len(emulator.requests)
    started = time.monotonic()
    with pytest.raises(ServerError) as caught:
        giga.chat(PROMPT, deadline=15)
    assert time.monotonic() - started < 10
    assert caught.value.retry_after == 30.0
    assert len(caught.value.attempts) == 1
    assert len(emulator.requests) - since == 1


@pytest.mark.parametrize("junk", ["soon", "-5", "nan", ""])
def test_a_retry_after_that_says_nothing_is_ignored(emulator: GigaChatEmulator, giga: GigaChat, junk: str) -> None:
    emulator.inject(Fault(status=429, retry_after=junk), path=CHAT)
    assert giga.chat(PROMPT).text == TEXT


def test_close_ends_a_wait_between_two_tries(emulator: GigaChatEmulator) -> None:
    client = client_with_new_key(emulator)
    emulator.inject(Fault(status=503, retry_after=40), path=CHAT)
    caller = Background(lambda: client.chat(PROMPT))
    until(lambda: client.stats().retries == 1)  # counted right before the wait begins
    closed_at = time.monotonic()
    client.close()
    assert isinstance(caller.join().error, GigaClientError)
    assert time.monotonic() - closed_at < WAIT_SECONDS


# -- requests that were sent and others ------------------------------------------------------------


def test_a_request_that_was_not_sent_is_tried_again(emulator: GigaChatEmulator, closed_port_url: str) -> None:
    with client_with_new_key(emulator, base_url=closed_port_url) as giga:
        for method in (giga.chat, giga.stream):
            with pytest.raises(APIConnectionError) as caught:
                method(PROMPT)
            assert type(caught.value) is APIConnectionError
            assert not caught.value.sent
            assert len(caught.value.attempts) == 3
            assert "refused" in str(caught.value)
            assert caught.value.request_id


def test_a_connection_refused_is_not_retried_without_retries(emulator: GigaChatEmulator, closed_port_url: str) -> None:
    with (
        client_with_new_key(emulator, base_url=closed_port_url, max_retries=0) as giga,
        pytest.raises(APIConnectionError) as caught,
    ):
        giga.chat(PROMPT)
    assert len(caught.value.attempts) == 1


def test_a_server_that_comes_back_is_met_by_a_retry() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    emulator = GigaChatEmulator(port=port)  # not started, so connections are refused
    giga = GigaChat(
        base_url=f"https://127.0.0.1:{port}/v1",
        ca_bundle_file=emulator.ca_file,
        access_token=emulator.issue_token(),
        retry_backoff_factor=0.05,
        max_retries=12,
        deadline=WAIT_SECONDS,
    )
    try:
        caller = Background(lambda: giga.chat(PROMPT))
        until(lambda: giga.stats().retries >= 2)
        emulator.start()
        assert caller.join().result.text == TEXT
        assert len(emulator.requests) == 1
    finally:
        giga.close()
        emulator.close()


@pytest.mark.parametrize(
    "fault", [Fault(reset=True), Fault(hang_up=True), Fault(cut_after_bytes=20)], ids=["reset", "hang-up", "cut"]
)
def test_a_chat_that_may_have_been_answered_is_not_sent_again(emulator: GigaChatEmulator, fault: Fault) -> None:
    with client_with_new_key(emulator) as giga:
        giga.get_token()  # on another connection: the fault must meet the first request to the API
        emulator.inject(fault, times=None, path=CHAT)
        since = len(emulator.requests)
        with pytest.raises(APIConnectionError) as caught:
            giga.chat(PROMPT)
        assert caught.value.sent
        assert len(emulator.requests) - since == 1
        assert len(caught.value.attempts) == 1


def test_a_chat_that_timed_out_is_not_sent_again(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(before_s=float("inf")), times=None, path=CHAT)
    since = len(emulator.requests)
    with pytest.raises(APITimeoutError) as caught:
        giga.chat(PROMPT, timeout=0.3)
    assert caught.value.timeout_kind == "read"
    assert caught.value.sent
    assert len(emulator.requests) - since == 1


def test_an_invalid_response_is_not_requested_again(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    emulator.inject(Fault(html=True), times=None, path=CHAT)
    since = len(emulator.requests)
    for method in (giga.chat, giga.stream):
        with pytest.raises(InvalidResponseError):
            method(PROMPT)
    assert len(emulator.requests) - since == 2


def test_a_certificate_that_is_not_trusted_is_not_tried_again(emulator: GigaChatEmulator) -> None:
    with (
        GigaChat(base_url=emulator.base_url, auth_url=emulator.auth_url, access_token=emulator.issue_token()) as giga,
        pytest.raises(TLSError) as caught,
    ):
        giga.chat(PROMPT)
    assert len(caught.value.attempts) == 1
    assert not caught.value.sent


@pytest.mark.parametrize(
    "fault",
    [Fault(cut_after_events=1), Fault(reset_after_events=1), Fault(end_after_events=1)],
    ids=["cut", "reset", "end"],
)
def test_nothing_is_tried_again_once_a_stream_has_begun(
    emulator: GigaChatEmulator, giga: GigaChat, fault: Fault
) -> None:
    emulator.inject(fault, times=None, path=CHAT)
    since = len(emulator.requests)
    pieces: list[str] = []
    with pytest.raises(StreamInterruptedError):
        for piece in giga.generate(PROMPT, max_retries=9):
            pieces.append(piece)
    assert pieces == ["1,"]
    assert len(emulator.requests) - since == 1
    assert giga.stats().retries == 0


# -- deadlines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Fault(before_s=float("inf")), Fault(header_pause_s=0.05), Fault(write_size=1, write_pause_s=0.05)],
    ids=["silence", "headers that drip", "a body that drips"],
)
def test_the_deadline_of_a_call_bounds_all_of_it(emulator: GigaChatEmulator, giga: GigaChat, fault: Fault) -> None:
    emulator.inject(fault, times=None, path=CHAT)
    started = time.monotonic()
    with pytest.raises(APITimeoutError) as caught:
        giga.chat(PROMPT, deadline=0.5)
    assert 0.45 <= time.monotonic() - started < 5
    assert caught.value.timeout_kind == "deadline"


def test_the_deadline_bounds_the_wait_for_a_permit(emulator: GigaChatEmulator) -> None:
    with client_with_new_key(emulator, max_connections=1) as giga, giga.stream(PROMPT):
        with pytest.raises(APITimeoutError) as caught:
            giga.chat(PROMPT, deadline=0.3)
        assert caught.value.timeout_kind == "deadline"
        assert not caught.value.sent


# -- many threads, and the log ---------------------------------------------------------------------


def test_calls_of_many_threads_do_not_mix(emulator: GigaChatEmulator, giga: GigaChat) -> None:
    wrong: list[str] = []

    def ask(number: int) -> None:
        for turn in range(3):
            wanted = f"thread-{number}-{turn}"
            answer = (
                giga.chat(PROMPT, request_id=wanted) if turn % 2 else giga.stream(PROMPT, request_id=wanted).result()
            )
            if answer.request_id != wanted or answer.text != TEXT:
                wrong.append(wanted)

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
    assert wrong == []


def test_no_try_is_logged_with_its_secrets(
    emulator: GigaChatEmulator, giga: GigaChat, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.inject(Fault(status=503), path=CHAT)
    with caplog.at_level(logging.DEBUG, "gigaclient"):
        giga.chat("a very private prompt", headers={"X-Mine": "my-header-value"})
    attempts = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("gigaclient") and CHAT in record.getMessage()
    ]
    assert len(attempts) >= 2
    token = giga.get_token().access_token
    for message in attempts:
        assert token not in message
        assert "private" not in message
        assert "my-header-value" not in message


def test_a_bad_request_costs_one_request_and_leaves_the_client_usable(
    emulator: GigaChatEmulator, giga: GigaChat
) -> None:
    since = len(emulator.requests)
    with pytest.raises(BadRequestError):
        giga.chat(PROMPT, temperature="hot")
    assert len(emulator.requests) - since == 1
    assert giga.stats().in_flight == 0
    assert giga.chat(PROMPT).text == TEXT
