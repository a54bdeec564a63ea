"""Traces (OpenTelemetry), for those who name a collector; else nothing of its SDK is even imported."""

from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from store.settings import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORT_SECONDS = 3  # of one try: a collector that is away must not hold up the end of a process


@cache
def provider(part: str) -> "TracerProvider | None":
    """Makes the tracers of this process, `api` or `worker`; sends what is left when it ends. None: no traces."""
    if not settings().otlp_endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = {"service.name": f"secateur-{part}", "service.version": version("secateur-service")}
    made = TracerProvider(resource=Resource.create(name))
    address = f"{settings().otlp_endpoint.rstrip('/')}/v1/traces"
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address, timeout=EXPORT_SECONDS)))
    return made


def traceparent() -> str | None:
    """The current span as W3C writes it, 00-TRACE-SPAN-FLAGS; None where there is none."""
    if not settings().otlp_endpoint:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def trace_id(parent: str | None) -> str | None:
    """The id of the trace that a traceparent speaks of."""
    return parent.split("-")[1] if parent else None
