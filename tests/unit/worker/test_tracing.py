import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from store import tracing
from worker.tracing import JobTrace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def exported(monkeypatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "provider", lambda _: provider)
    return exporter


def test_an_attempt_is_below_its_post_and_its_phases_below_it(exported):
    trace = JobTrace("job", "job_1", 2, PARENT)
    trace.phase("import", 100.0)
    trace.phase("admm", 103.5)
    trace.end("it was killed or crashed", is_error=True)
    first, second, job = exported.get_finished_spans()
    assert trace.trace_id == TRACE == f"{job.context.trace_id:032x}"
    assert job.parent is not None and f"{job.parent.span_id:016x}" == SPAN
    assert [s.parent and s.parent.span_id for s in (first, second)] == [job.context.span_id] * 2
    assert (first.name, first.start_time, first.end_time) == ("import", 100 * 10**9, 103_500_000_000)
    assert job.attributes == {
        "secateur.id": "job_1",
        "secateur.attempt": 2,
        "secateur.status": "it was killed or crashed",
    }
    assert job.status.status_code is StatusCode.ERROR


def test_a_row_without_a_trace_begins_one(exported):
    trace = JobTrace("model", "mdl_1", 1, None)
    trace.end("done")
    (span,) = exported.get_finished_spans()
    assert span.parent is None and span.status.status_code is StatusCode.UNSET


def test_without_a_collector_there_is_nothing(monkeypatch):
    monkeypatch.setattr(tracing, "provider", lambda _: None)
    trace = JobTrace("job", "job_1", 1, PARENT)
    trace.phase("import")
    trace.end("done")
    assert trace.trace_id is None


def test_the_trace_of_a_parent():
    assert (tracing.trace_id(PARENT), tracing.trace_id(None)) == (TRACE, None)
