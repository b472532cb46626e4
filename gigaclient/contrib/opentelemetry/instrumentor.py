"""The instrumentor of all clients, which ``opentelemetry-instrument`` finds by its entry point."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from gigaclient._core.base_client import INSTRUMENTATIONS
from gigaclient.contrib.opentelemetry.tracing import Tracing
from gigaclient.version import __version__

__all__ = ["GigaClientInstrumentor"]


class GigaClientInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Record the calls of every client that is made after ``instrument()``, until ``uninstrument()``.

    ``instrument()`` takes ``tracer_provider``, ``meter_provider`` and ``capture_content``, as
    :func:`gigaclient.contrib.opentelemetry.instrument` does.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the package that is instrumented: this one, in this version."""
        return (f"gigaclient == {__version__}",)

    def _instrument(self, **kwargs: Any) -> None:
        names = ("tracer_provider", "meter_provider", "capture_content")
        self._tracing = Tracing(**{name: kwargs.get(name) for name in names})
        INSTRUMENTATIONS.append(self._tracing)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._tracing.active = False  # clients made meanwhile keep it
        INSTRUMENTATIONS.remove(self._tracing)
