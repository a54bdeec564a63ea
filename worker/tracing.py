"""Spans of a piece of work, made by the process that supervises it: the one that works may have no network."""

import time
from typing import Any

from store import tracing


class JobTrace:
    """One attempt at a job or an upload, as a span below that of its POST, with a span for each phase.

    Does nothing where SECATEUR_OTLP_ENDPOINT is empty. Times are seconds since 1970; None is now.
    """

    def __init__(self, kind: str, id: str, attempt: int, parent: str | None) -> None:
        """Args: parent: its row's trace."""
        provider = tracing.provider("worker")
        self._tracer = provider.get_tracer(__name__) if provider else None
        self._phase = None
        self._span = self._start(kind, None, _context(parent), {"id": id, "attempt": attempt}) if provider else None
        self.trace_id = f"{self._span.get_span_context().trace_id:032x}" if self._span else None

    def phase(self, name: str, at: float | None = None) -> None:
        """It has entered this phase, and left the one before."""
        if self._span is None:
            return
        from opentelemetry.trace import set_span_in_context

        at = time.time() if at is None else at
        self._end_phase(at)
        self._phase = self._start(name, at, set_span_in_context(self._span), {"phase": name})

    def end(self, status: str, is_error: bool = False) -> None:
        """It has ended, well or with an error."""
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        self._end_phase(None)
        self._span.set_attribute("secateur.status", status)
        if is_error:
            self._span.set_status(StatusCode.ERROR, status)
        self._span.end()

    def _start(self, name: str, at: float | None, context: Any, facts: dict[str, Any]) -> Any:
        assert self._tracer is not None
        attributes = {f"secateur.{k}": v for k, v in facts.items()}
        return self._tracer.start_span(name, context, start_time=_nanoseconds(at), attributes=attributes)

    def _end_phase(self, at: float | None) -> None:
        if self._phase is not None:
            self._phase.end(_nanoseconds(at))
            self._phase = None


def _context(parent: str | None) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {})


def _nanoseconds(at: float | None) -> int | None:
    return None if at is None else int(at * 1e9)
