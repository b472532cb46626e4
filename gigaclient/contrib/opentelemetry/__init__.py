"""OpenTelemetry: a span and metrics for each request to a model, by the GenAI semantic conventions.

::

    giga = instrument(GigaChat())

For all clients, call ``GigaClientInstrumentor().instrument()`` before they are made; ``opentelemetry-instrument`` calls
it for you. Needs ``gigaclient[otel]``.

A call of ``chat``, ``stream``, ``generate``, ``chat_parse``, ``embeddings``, ``map``, of API v2 or of a thread is one
client span with all its attempts, in the trace of the caller. A function that ``run`` calls is a span
``execute_tool``. Spans hold prompts and answers only with ``capture_content=True``.

Source: https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from gigaclient._core.base_client import BaseClient
from gigaclient._primitives.extras import extra_is_missing

try:
    from gigaclient.contrib.opentelemetry.tracing import Tracing
except ImportError as missing:
    raise ImportError(
        extra_is_missing("gigaclient.contrib.opentelemetry", missing.name, "otel"), name=missing.name
    ) from missing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from gigaclient.contrib.opentelemetry.instrumentor import GigaClientInstrumentor

__all__ = ["GigaClientInstrumentor", "instrument", "uninstrument"]

ClientT = TypeVar("ClientT", bound=BaseClient[Any])


def instrument(
    client: ClientT,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    capture_content: bool | None = None,
) -> ClientT:
    """Record the calls of a client as spans and metrics. Calling it again replaces the earlier settings.

    Args:
        client: a ``GigaChat`` or ``FakeGpt``. Copies made of it afterwards are recorded too.
        tracer_provider: the provider of spans; the global one by default.
        meter_provider: the provider of metrics; the global one by default.
        capture_content: record prompts, answers, and the arguments and results of functions in the spans. By default
            the environment decides: ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true``.

    Returns:
        The same client.

    Raises:
        ConfigError: the client is closed, or ``capture_content`` is not a bool.
    """
    tracing = Tracing(tracer_provider=tracer_provider, meter_provider=meter_provider, capture_content=capture_content)
    client._instrument(*_others(client), tracing)
    return client


def uninstrument(client: ClientT) -> ClientT:
    """Record no more calls of a client that :func:`instrument` changed, and return it."""
    client._instrument(*_others(client))
    return client


def _others(client: BaseClient[Any]) -> tuple[Any, ...]:
    return tuple(each for each in client._settings.instrumentations if not isinstance(each, Tracing))


def __getattr__(name: str) -> Any:
    # It needs another package, and instrument() does not.
    if name == "GigaClientInstrumentor":
        from gigaclient.contrib.opentelemetry.instrumentor import GigaClientInstrumentor

        return GigaClientInstrumentor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
