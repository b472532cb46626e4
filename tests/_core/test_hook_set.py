"""Instrumentations: they see the content of calls, never that of requests for tokens, and cannot break a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gigaclient import GigaChat
from gigaclient._core import base_client
from gigaclient.testing import GigaChatEmulator

PROMPT, ANSWER = "Count from 1 to 5", "1, 2, 3, 4, 5"


class Spy:
    """An instrumentation that collects what it is called with, and fails after that if told so."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.events: list[Any] = []
        self.bodies: list[Any] = []

    def on_request(self, event: Any) -> None:
        self._note(self.events, event)

    on_response = on_end = on_request

    def read_request(self, state: dict[str, Any], body: bytes) -> None:
        self._note(self.bodies, body.decode())

    def read_response(self, state: dict[str, Any], response: Any) -> None:
        self._note(self.bodies, response.decode() if isinstance(response, bytes) else response.text)

    def run_tool(self, call: Any, function: Callable[[], Any]) -> Any:
        return function()

    def _note(self, notes: list[Any], value: Any) -> None:
        notes.append(value)
        if self.error is not None:
            raise self.error


@pytest.fixture
def giga(emulator: GigaChatEmulator) -> Iterator[GigaChat]:
    with GigaChat(**emulator.client_options) as giga:
        yield giga


def test_it_sees_requests_and_responses_but_nothing_of_tokens(giga: GigaChat) -> None:
    spy = Spy()
    giga._instrument(spy)
    giga.chat(PROMPT)
    giga.stream(PROMPT).result()
    assert [type(event).__name__ for event in spy.events] == ["RequestEvent", "ResponseEvent", "EndEvent"] * 2
    assert {event.purpose for event in spy.events} == {"api"}
    sent, whole, sent_again, streamed = spy.bodies
    assert PROMPT in sent
    assert PROMPT in sent_again
    assert ANSWER in whole
    assert streamed == ANSWER
    assert giga.get_token().access_token not in "".join(spy.bodies)


def test_one_of_all_clients_sees_nothing_of_tokens_either(
    emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy()
    monkeypatch.setattr(base_client, "INSTRUMENTATIONS", [spy])
    with GigaChat(**emulator.client_options) as giga:
        giga.chat(PROMPT)
        token = giga.get_token().access_token
    assert {event.purpose for event in spy.events} == {"api"}
    assert len(spy.bodies) == 2
    assert token not in "".join(spy.bodies)


def test_it_is_kept_by_copies_and_removed_by_another(giga: GigaChat) -> None:
    first, second = Spy(), Spy()
    giga._instrument(first)
    giga.with_options(on_end=[]).chat(PROMPT)
    giga._instrument(second)
    giga.chat(PROMPT)
    assert (len(first.events), len(second.events)) == (3, 3)
    giga._instrument()
    assert giga._executor.hooks is None


def test_its_errors_do_not_affect_the_call(giga: GigaChat, caplog: pytest.LogCaptureFixture) -> None:
    spy = Spy(LookupError("mine"))
    giga._instrument(spy)
    assert giga.chat(PROMPT).text == ANSWER
    assert giga.stream(PROMPT).result().text == ANSWER
    assert len(spy.events) == 6
    assert "LookupError" in caplog.text
