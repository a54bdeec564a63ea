"""Numbers for Prometheus: of this process, and out of the database, where every process finds the same ones."""

import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.requests import PROCESS
from store import job_times, jobs, load
from store.database import reading
from store.load import Waiting
from store.settings import settings
from store.tables import Tally
from store.tallies import INF

OPEN = ("queued", "running", "cancelling")
disable_created_metrics()
ProcessCollector(registry=PROCESS)


@dataclass(frozen=True)
class Snapshot:
    """What the database says, read in one transaction."""

    states: Mapping[str, int]
    jobs: Mapping[str, Waiting]
    uploads: Mapping[str, Waiting]
    counters: Sequence[Tally]
    reported: Sequence[Tally]


def page() -> bytes:
    """All metrics as text; without those of the database where it is away, which is then one of them."""
    registry = CollectorRegistry()
    try:
        with reading() as session:
            registry.register(_Stored(_snapshot(session)))
    except SQLAlchemyError:
        registry.register(_Stored(None))
    return generate_latest(PROCESS) + generate_latest(registry)


def _snapshot(session: Session) -> Snapshot:
    uploads = load.waiting_uploads(session)
    counters, reported = load.tallied(session)
    queues = load.queues(load.waiting_jobs(session), uploads)
    return Snapshot(jobs.count_by_status(session, *OPEN), queues, uploads, counters, reported)


class _Stored(Collector):
    """Metrics of a snapshot."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        facts = {"version": version("secateur-service"), "python": platform.python_version()}
        build = GaugeMetricFamily("secateur_build_info", "What runs; always 1.", labels=tuple(facts))
        build.add_metric(tuple(facts.values()), 1)
        yield build
        yield GaugeMetricFamily("secateur_database_up", "1 if the database answers.", int(self._snapshot is not None))
        yield from _disk()
        if self._snapshot is not None:
            yield from _waiting(self._snapshot)
            yield from _counted(self._snapshot.counters)
            yield from _reported(self._snapshot.reported)


def _disk() -> Iterator[Metric]:
    usage = shutil.disk_usage(settings().data_dir)
    yield GaugeMetricFamily("secateur_disk_free_bytes", "Free on the disk of this process's data folder.", usage.free)
    yield GaugeMetricFamily("secateur_disk_size_bytes", "Size of the disk of this process's data folder.", usage.total)


def _waiting(snapshot: Snapshot) -> Iterator[Metric]:
    ended = {t.label: t.total for t in snapshot.reported if t.name == load.ENDED}
    yield _gauge("secateur_jobs", "Jobs that are stored, by status.", "status", {**snapshot.states, **ended})
    for name, help, label, waiting in (
        ("secateur_queue", "wait in this queue", "queue", snapshot.jobs),
        ("secateur_uploads_waiting", "wait to be examined", "kind", snapshot.uploads),
    ):
        depth, age = (f"{name}_depth", f"{name}_age_seconds") if label == "queue" else (name, f"{name}_age_seconds")
        yield _gauge(depth, f"How many {help}.", label, {k: w.number for k, w in waiting.items()})
        oldest = {k: w.seconds for k, w in waiting.items()}
        yield _gauge(age, f"For how long the first of those has waited that {help}; 0 if none does.", label, oldest)


def _gauge(name: str, help: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def _counted(tallies: Sequence[Tally]) -> Iterator[Metric]:
    """Cumulative, of all workers, since the database was made."""
    of = {name: [t for t in tallies if t.name == name] for name in {t.name for t in tallies}}
    ended = CounterMetricFamily("secateur_jobs_ended_total", "Jobs that have ended, by status.", labels=["status"])
    for status in ("succeeded", "failed", "cancelled"):
        ended.add_metric([status], sum(t.count for t in of.get(job_times.ENDED, ()) if t.label == status))
    yield ended
    for key, name, help in (
        (job_times.ATTEMPT_LOST, "secateur_attempts_lost_total", "Attempts whose process or worker was lost."),
        (job_times.LEASE_LOST, "secateur_leases_lost_total", "Jobs taken back from a worker that was silent."),
    ):
        yield CounterMetricFamily(name, help, sum(t.count for t in of.get(key, ())))
    phases = SummaryMetricFamily("secateur_phase_seconds", "Time in phases that were completed.", labels=["phase"])
    for tally in of.get(job_times.PHASE, ()):
        phases.add_metric([tally.label], tally.count, tally.total)
    yield phases
    for key, name, help in (
        (job_times.WAIT, "secateur_job_wait_seconds", "Time of jobs from queued to started, each time."),
        (job_times.RUN, "secateur_job_run_seconds", "Time of jobs from their first start to their end."),
    ):
        yield _histogram(name, help, of.get(key, ()))


def _histogram(name: str, help: str, tallies: Sequence[Tally]) -> Metric:
    counts = {t.label: t.count for t in tallies}
    buckets, below = [], 0
    for bound in (*map(str, job_times.BUCKETS), INF):
        below += counts.get(bound, 0)
        buckets.append((bound, below))
    family = HistogramMetricFamily(name, help)
    family.add_metric([], buckets, sum(t.total for t in tallies))
    return family


def _reported(tallies: Sequence[Tally]) -> Iterator[Metric]:
    stored = {t.label: t.total for t in tallies if t.name == load.STORED}
    yield _gauge("secateur_stored_bytes", "Size of stored files, as rows name them.", "kind", stored)
    for key, name, help in (
        (load.GPU_USED, "secateur_gpu_memory_used_bytes", "Memory of a worker's GPU in use, by whomever."),
        (load.GPU_TOTAL, "secateur_gpu_memory_size_bytes", "Memory of a worker's GPU."),
    ):
        family = GaugeMetricFamily(name, help, labels=["host", "device"])
        for tally in tallies:
            if tally.name == key:
                family.add_metric(tally.label.rsplit("/", 1), tally.total)
        yield family
