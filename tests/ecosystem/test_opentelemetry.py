"""OpenTelemetry's instrumentation of requests: a span for each attempt, in the caller's trace, without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.trace import StatusCode
from support.telemetry import Telemetry

from gigaclient import GigaChat, ServerError
from gigaclient.testing import Fault, GigaChatEmulator

CHAT = "/chat/completions"


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    instrumentor = RequestsInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracer_provider)
    try:
        yield telemetry
    finally:
        instrumentor.uninstrument()


def requests_to(telemetry: Telemetry, end: str) -> list[Any]:
    """Return the finished spans of requests to URLs that end in ``end``."""
    found: list[Any] = []
    for span in telemetry.spans:
        attributes = span.attributes or {}
        address = attributes.get("http.url") or attributes.get("url.full") or ""
        if str(address).endswith(end):
            found.append(span)
    return found


def status_of(span: Any) -> Any:
    return span.attributes.get("http.status_code") or span.attributes.get("http.response.status_code")


def test_each_attempt_is_a_span_with_its_status(gigachat_emulator: GigaChatEmulator, telemetry: Telemetry) -> None:
    gigachat_emulator.inject(Fault(status=503), path=CHAT)
    with GigaChat(**gigachat_emulator.client_options, retry_backoff_factor=0) as giga:
        giga.chat("Hello!")
        assert len(requests_to(telemetry, "/oauth")) == 1
        assert [status_of(span) for span in requests_to(telemetry, CHAT)] == [503, 200]
        assert [span.status.status_code for span in requests_to(telemetry, CHAT)] == [
            StatusCode.ERROR,
            StatusCode.UNSET,
        ]
        gigachat_emulator.inject(Fault(status=500), path=CHAT)
        with pytest.raises(ServerError):
            giga.chat("Hello!", max_retries=0)
    assert len(requests_to(telemetry, CHAT)) == 3


def test_a_stream_belongs_to_the_callers_trace_and_sends_its_id_to_the_server(
    gigachat_emulator: GigaChatEmulator, telemetry: Telemetry
) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga, telemetry.tracer.start_as_current_span("mine") as mine:
        assert giga.stream("Count from 1 to 5").result().text == "1, 2, 3, 4, 5"
    span = requests_to(telemetry, CHAT)[0]
    assert span.parent.span_id == mine.get_span_context().span_id
    sent = gigachat_emulator.requests[-1].headers["traceparent"]
    assert sent.split("-")[1:3] == [format(span.context.trace_id, "032x"), format(span.context.span_id, "016x")]


def test_no_span_holds_a_key_a_token_or_a_prompt(gigachat_emulator: GigaChatEmulator, telemetry: Telemetry) -> None:
    with GigaChat(**gigachat_emulator.client_options) as giga:
        giga.chat("the-prompt")
        token = giga.get_token().access_token
    exported = telemetry.exported
    assert "/chat/completions" in exported
    for secret in (gigachat_emulator.credentials, token, "the-prompt"):
        assert secret not in exported
