"""Spans and metrics of OpenTelemetry, kept in memory, and a function for the model."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

__all__ = ["Telemetry", "get_tide"]


def get_tide(port: str) -> float:
    """Return the height of the tide at a port."""
    return 1.8


class Telemetry:
    """The providers of a test, and the spans and metrics that they have recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.tracer_provider.get_tracer("tests")
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader])

    @property
    def providers(self) -> dict[str, Any]:
        return {"tracer_provider": self.tracer_provider, "meter_provider": self.meter_provider}

    @property
    def spans(self) -> list[ReadableSpan]:
        """The finished spans, except those of the tests themselves, in the order of their ends."""
        spans = self.exporter.get_finished_spans()
        return [span for span in spans if span.instrumentation_scope.name != "tests"]

    @property
    def span(self) -> ReadableSpan:
        assert len(self.spans) == 1, [span.name for span in self.spans]
        return self.spans[0]

    @property
    def exported(self) -> str:
        """Everything that leaves the process, as text."""
        data = self._reader.get_metrics_data()
        metrics = "" if data is None else data.to_json()
        return metrics + "".join(span.to_json() for span in self.exporter.get_finished_spans())

    def points(self, metric: str) -> list[Any]:
        """Return the data points of a metric."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in ([] if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for found in scope.metrics
            if found.name == metric
            for point in found.data.data_points
        ]
