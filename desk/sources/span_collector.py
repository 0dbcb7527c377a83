"""A collector of traces that speaks OpenTelemetry's protocol over HTTP, protobuf inside."""

from collections.abc import Sequence
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from desk.spans import Span

PATH = "/v1/traces"
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
CALL_TIMEOUT_S = 5.0
"""Of a whole export with its repeats, as the exporter counts it."""


class SpanCollector:
    """Synchronous: for a thread of its own. `endpoint` is the collector's address without the path."""

    def __init__(self, endpoint: str, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + PATH, timeout=timeout_s)
        self._resource = Resource(
            {"service.name": "raydesk", "service.version": version("raydesk")}
        )
        self._scope = InstrumentationScope("desk.spans")

    def send(self, spans: Sequence[Span]) -> bool:
        """Hand spans over; whether the collector took them. Never raises for one that is away."""
        done = self._exporter.export([self._readable(span) for span in spans])
        return done is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Give an export under way up."""
        self._exporter.shutdown()

    def _readable(self, span: Span) -> ReadableSpan:
        parent = None if span.parent_id is None else _context(span.trace_id, span.parent_id)
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=parent,
            resource=self._resource,
            attributes=dict(span.attributes),
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR if span.is_error else StatusCode.OK),
            start_time=round(span.start_ms * 1e6),
            end_time=round(span.end_ms * 1e6),
            instrumentation_scope=self._scope,
        )


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=SAMPLED)
