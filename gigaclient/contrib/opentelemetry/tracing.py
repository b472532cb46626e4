"""Spans and metrics of calls, made from the events of hooks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import context, metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from gigaclient.contrib.opentelemetry.attributes import (
    EMBEDDINGS,
    RequestFields,
    is_failure,
    metric_attributes,
    operation_of,
    read_fields,
    request_attributes,
    response_attributes,
    span_name,
)
from gigaclient.contrib.opentelemetry.content import encode, input_messages, output_messages, tool_definitions
from gigaclient.errors import ConfigError
from gigaclient.hooks import CallEvent, EndEvent, RequestEvent, ResponseEvent
from gigaclient.types import FunctionCall
from gigaclient.types.tool_runs import Step
from gigaclient.version import __version__

__all__ = ["Tracing"]

_STATE = "gigaclient.contrib.opentelemetry"
_SCOPE = "gigaclient"
_CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURES_ON_SPANS = frozenset({"true", "1", "span_only", "span_and_event"})

# The boundaries that the conventions recommend.
_SECONDS = [0.01 * 2**power for power in range(14)]
_TOKENS = [4**power for power in range(14)]
_FIRST_CHUNK_SECONDS = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]


class _CallState:
    """The state of a call that a :class:`Tracing` records, in the ``state`` of its events."""

    __slots__ = ("fields", "owner", "response", "span", "token")

    def __init__(self, owner: Tracing, fields: RequestFields) -> None:
        self.owner = owner
        self.fields = fields
        self.span: Span | None = None
        self.token: Any = None
        self.response: Any = None


class Tracing:
    """Make a span and metrics of each request to a model, and a span of each function that the model calls.

    It is shared by threads and holds no state of calls. A pickled one uses the global providers.

    Args:
        tracer_provider, meter_provider, capture_content: as for
            :func:`gigaclient.contrib.opentelemetry.instrument`.

    Raises:
        ConfigError: ``capture_content`` is not a bool.
    """

    def __init__(
        self, *, tracer_provider: Any = None, meter_provider: Any = None, capture_content: bool | None = None
    ) -> None:
        if capture_content is None:
            capture_content = os.environ.get(_CAPTURE_VARIABLE, "").strip().lower() in _CAPTURES_ON_SPANS
        if not isinstance(capture_content, bool):
            raise ConfigError("capture_content must be True or False")
        self.active = True
        self._capture_content = capture_content
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time to receive the first chunk of a stream.",
            explicit_bucket_boundaries_advisory=_FIRST_CHUNK_SECONDS,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._capture_content,)

    # -- the events of a call ----------------------------------------------------------------------------------------

    def read_request(self, state: dict[str, Any], body: bytes) -> None:
        """Keep the fields of the body that the span records."""
        # A client may have two instances, its own and that of the instrumentor: the first one records the call.
        if self.active and _STATE not in state:
            state[_STATE] = _CallState(self, read_fields(body))

    def on_request(self, event: RequestEvent) -> None:
        """Start the span before the first attempt, and make it the current one for the attempt."""
        call = self._call_of(event)
        if call is None:
            return
        if call.span is None:
            call.span = self._start(event, call.fields, seconds_ago=event.waited)
            session = event.headers.get("X-Session-ID")
            if session:
                call.span.set_attribute("gen_ai.conversation.id", session)
        # The current span is the parent of the HTTP spans.
        call.token = context.attach(trace.set_span_in_context(call.span))

    def on_response(self, event: ResponseEvent) -> None:
        """Make the caller's span the current one again. This runs in the thread of the attempt."""
        call = self._call_of(event)
        if call is not None and call.token is not None:
            token, call.token = call.token, None
            context.detach(token)

    def read_response(self, state: dict[str, Any], response: Any) -> None:
        """Keep the response for :meth:`on_end`, if content is recorded."""
        call = state.get(_STATE)
        if self._capture_content and call is not None and call.owner is self:
            call.response = response

    def on_end(self, event: EndEvent) -> None:
        """End the span and record the metrics."""
        call = self._call_of(event)
        if call is None:
            return
        # There is none yet if the call failed before its first attempt.
        span = call.span or self._start(event, call.fields, seconds_ago=event.seconds)
        if span.is_recording():
            span.set_attributes(response_attributes(event))
            if is_failure(event):
                self._fail(span, event.outcome, str(event.error or event.outcome))
            if self._capture_content:
                self._set_content(span, call.fields, call.response)
        span.end()
        self._record_metrics(event)

    # -- functions -----------------------------------------------------------------------------------------------------

    def run_tool(self, call: FunctionCall, function: Callable[[], Step]) -> Step:
        """Call ``function`` with a span ``execute_tool`` as the current span."""
        # Another instance of the same client has already started the span.
        if not self.active or _running_call.get() is call:
            return function()
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
        }
        if call.id:
            attributes["gen_ai.tool.call.id"] = call.id
        running = _running_call.set(call)
        try:
            with self._tracer.start_as_current_span(
                f"execute_tool {call.name}",
                attributes=attributes,
                record_exception=self._capture_content,
                set_status_on_exception=False,
            ) as span:
                return self._run_in_span(span, call, function)
        finally:
            _running_call.reset(running)

    def _run_in_span(self, span: Span, call: FunctionCall, function: Callable[[], Step]) -> Step:
        try:
            step = function()
        except BaseException as error:
            self._fail(span, type(error).__name__, str(error))
            raise
        if self._capture_content:
            span.set_attribute("gen_ai.tool.call.arguments", encode(call.arguments))
            span.set_attribute("gen_ai.tool.call.result", encode(step.result))
        if step.error is not None:
            name = step.error.partition(":")[0]
            is_exception = name.isidentifier() and name[0].isupper()
            self._fail(span, name if is_exception else "invalid_arguments", step.error)
        return step

    # -- internals -----------------------------------------------------------------------------------------------------

    def _call_of(self, event: CallEvent) -> _CallState | None:
        """Return the state of a call that this object records, or None."""
        call: _CallState | None = event.state.get(_STATE)
        if call is None or call.owner is not self or operation_of(event) is None:
            return None
        return call

    def _start(self, event: CallEvent, fields: RequestFields, *, seconds_ago: float) -> Span:
        return self._tracer.start_span(
            span_name(event),
            kind=SpanKind.CLIENT,
            attributes=request_attributes(event, fields),
            start_time=time.time_ns() - int(seconds_ago * 1e9),
        )

    def _fail(self, span: Span, error_type: str, message: str) -> None:
        # The message of an error may quote the prompt, the answer or the arguments.
        span.set_status(StatusCode.ERROR, message if self._capture_content else error_type)
        span.set_attribute("error.type", error_type)

    def _set_content(self, span: Span, fields: RequestFields, response: Any) -> None:
        for name, value in (
            ("gen_ai.input.messages", input_messages(fields)),
            ("gen_ai.tool.definitions", tool_definitions(fields)),
            ("gen_ai.output.messages", output_messages(response)),
        ):
            if value:
                span.set_attribute(name, encode(value))

    def _record_metrics(self, event: EndEvent) -> None:
        attributes = metric_attributes(event)
        failed = {"error.type": event.outcome} if is_failure(event) else {}
        self._duration.record(event.seconds, {**attributes, **failed})
        if event.usage is not None:
            self._tokens.record(event.usage.prompt_tokens, {**attributes, "gen_ai.token.type": "input"})
            if operation_of(event) != EMBEDDINGS:
                self._tokens.record(event.usage.completion_tokens, {**attributes, "gen_ai.token.type": "output"})
        if event.time_to_first_token_s is not None:
            self._first_chunk.record(event.time_to_first_token_s, attributes)


_running_call: ContextVar[FunctionCall | None] = ContextVar("gigaclient_running_call", default=None)


def _restore(capture_content: bool) -> Tracing:
    return Tracing(capture_content=capture_content)
