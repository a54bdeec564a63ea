"""Spans of requests: FastAPI makes them, where a collector is named."""

from typing import TYPE_CHECKING, Any

from fastapi.telemetry import TelemetryConfig

from store import tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

UNTRACED = ("/healthz", "/readyz", "/metrics", "/static")


def telemetry() -> TelemetryConfig:
    """What FastAPI is told: spans of requests alone, as metrics and logs go other ways."""
    provider = tracing.provider("api")
    off = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)
    if provider is None:
        return off
    return {**off, "tracing": True, "tracer_provider": _discreet(provider), "exclude": _is_dull}


def _is_dull(scope: Any) -> bool:
    return scope.get("path", "").startswith(UNTRACED)


def _discreet(provider: "TracerProvider") -> "TracerProvider":
    """Queries are left out of spans: people search for names, and links may hold signatures."""
    from opentelemetry.sdk.trace import SpanProcessor

    class Discreet(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if span.attributes and "url.query" in span.attributes:
                span.set_attribute("url.query", "")

    provider.add_span_processor(Discreet())
    return provider
