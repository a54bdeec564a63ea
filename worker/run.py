"""The process of one piece of work: python -m worker.run {job|model|dataset} ID ATTEMPT BYTES PARENT.

BYTES is its memory limit, PARENT the process that supervises it.
"""

import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
from safetensors import SafetensorError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from pruning.analysis import Preprocess
from pruning.data.cache import Source, read, trim
from pruning.data.shelf import Bounds
from pruning.errors import InvalidPlan, PruningError, is_out_of_memory
from pruning.listener import Metric, Phase
from pruning.onnx.analyse import analyse
from pruning.onnx.upload import open_upload
from pruning.onnx.vet import Limits
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from pruning.recipe import bare
from pruning.result import Result
from pruning.stages.problem import Checkpoint
from store import artifacts, events, jobs, logs, tracing, uploads
from store import checkpoints as files
from store.database import reading, writing
from store.errors import Fenced
from store.settings import settings
from store.tables import Dataset, Job, Model
from worker import checkpoints
from worker.children import die_with_parent, end_if_orphaned
from worker.supervise import NO_DATABASE, OUT_OF_MEMORY

log = logging.getLogger(__name__)
SECONDS_BETWEEN_UPDATES = 1.0
AWAY = (OperationalError, InterfaceError)
UNFORESEEN = "it cannot be read ({}); the service's log says more: please report this file"


class Row:
    """A listener that writes to the job's row; every write is guarded by the attempt."""

    def __init__(self, job_id: str, attempt: int) -> None:
        self.job_id, self.attempt = job_id, attempt
        self._first: tuple[float, float] | None = None
        self._next = 0.0
        self._checkpoints = 0

    def phase(self, name: Phase, progress: float) -> None:
        """Set the phase, and add an event."""

        def write(session: Session) -> None:
            jobs.progress(session, self.job_id, self.attempt, {"phase": name, "progress": progress})
            events.append(session, self.job_id, "phase", {"phase": name, "progress": round(progress, 4)})

        _patiently(write)

    def progress(self, progress: float) -> None:
        """Set progress and the time left, about once a second; one that cannot be written is left out."""
        now = time.monotonic()
        self._first = self._first or (now, progress)
        if now < self._next:
            return
        self._next = now + SECONDS_BETWEEN_UPDATES
        values = {"progress": progress, "eta_seconds": self._eta(now, progress)}
        try:
            with writing() as session:
                jobs.progress(session, self.job_id, self.attempt, values)
        except AWAY as error:
            log.warning("progress was not written: %s", error)

    def metric(self, metric: Metric) -> None:
        """Add a row, and an event for those who watch."""

        def write(session: Session) -> None:
            now = {"round": metric.round, "layers": dict(metric.layers)}
            jobs.progress(session, self.job_id, self.attempt, now)
            values = {"metric": metric.measure, **metric.values}
            events.put_metric(session, self.job_id, metric.step, metric.phase, metric.round, values)
            data = {"step": metric.step, "phase": metric.phase, "round": metric.round, **values}
            events.append(session, self.job_id, "round", data)

        _patiently(write)

    def warning(self, text: str) -> None:
        """Add an event."""
        _patiently(lambda session: self._warn(session, text))

    def checkpoint(self, make: Callable[[], Checkpoint]) -> None:
        """Store it, then name it in the row."""
        self._checkpoints += 1
        name = files.write(self.job_id, self.attempt, self._checkpoints, checkpoints.dump(make()))
        _patiently(lambda session: jobs.save_checkpoint(session, self.job_id, self.attempt, name))

    def should_stop(self) -> bool:
        """The supervisor ends this process when it should."""
        return False

    def _warn(self, session: Session, text: str) -> None:
        jobs.progress(session, self.job_id, self.attempt, {"eta_seconds": None})
        events.append(session, self.job_id, "warning", {"text": text})

    def _eta(self, now: float, progress: float) -> float | None:
        began, first = self._first or (now, progress)
        if progress <= first:
            return None
        return round((now - began) / (progress - first) * (1 - progress), 1)


def run_job(job_id: str, attempt: int) -> None:
    """Prune, and publish the files with the status."""
    with reading() as session:
        job = session.get_one(Job, job_id)
        logs.bind(trace_id=tracing.trace_id(job.trace))
        model, dataset = session.get_one(Model, job.model_id), session.get_one(Dataset, job.dataset_id)
        plan = Plan.model_validate(job.plan)
        teacher = session.get(Model, plan.distill.teacher) if plan.distill.teacher else None
    if plan.distill.teacher and teacher is None:
        raise InvalidPlan("the model that was to teach is gone; upload it again", "/distill/teacher")
    order = Order(
        artifacts.path(model.sha256).read_bytes(),
        artifacts.path(dataset.sha256),
        plan,
        dataset.format,
        Preprocess.model_validate(dataset.preprocess),
        settings().max_cache_bytes,
        settings().cache,
        min(settings().max_dataset_memory, settings().job_memory_bytes // 2),
        artifacts.path(teacher.sha256).read_bytes() if teacher else None,
        bare(model.name, "model.onnx"),
        bare(dataset.name, "data.npz"),
    )
    trim(settings().cache, settings().max_cache_bytes)
    delivery = prune(order, Row(job_id, attempt), _resume(job, attempt))
    result = Result.of(delivery.report).model_dump(mode="json")
    blobs = {name: artifacts.put(content) for name, content in delivery.files.items()}
    _patiently(lambda session: jobs.succeed(session, job_id, attempt, blobs, result))


def _resume(job: Job, attempt: int) -> Checkpoint | None:
    """The checkpoint that the row names; None, and an event, where it cannot be read: the job starts over."""
    if job.checkpoint is None:
        return None
    try:
        return checkpoints.load(files.read(job.checkpoint))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        log.warning("job %s starts over, its checkpoint is unreadable: %s", job.id, error)
        lost = {"reason": "the checkpoint could not be read: the job starts over"}

        def write(session: Session) -> None:
            jobs.progress(session, job.id, attempt, {"checkpoint": None})
            events.append(session, job.id, "restart", lost)

        _patiently(write)
        return None


def inspect_model(model_id: str, attempt: int) -> None:
    """Ready with an analysis, or rejected with the reason."""
    with reading() as session:
        row = session.get_one(Model, model_id)

    def look() -> dict[str, Any]:
        content = artifacts.path(row.sha256).read_bytes()
        analysis, _ = analyse(open_upload(content, Limits(bytes=settings().max_model_bytes)))
        return {"analysis": analysis.model_dump(mode="json")}

    _judge(Model, model_id, attempt, look)


def inspect_dataset(dataset_id: str, attempt: int) -> None:
    """Ready with a summary, or rejected with the reason."""
    with reading() as session:
        row = session.get_one(Dataset, dataset_id)

    def look() -> dict[str, Any]:
        preprocess = Preprocess.model_validate(row.preprocess)
        bounds = Bounds(bytes=settings().max_cache_bytes)
        dataset = read(Source(artifacts.path(row.sha256), row.format, preprocess, bounds), settings().cache)
        trim(settings().cache, settings().max_cache_bytes)
        dataset.train.prepared(slice(0, 1))
        return {"summary": dataset.summary(row.format).model_dump(mode="json")}

    _judge(Dataset, dataset_id, attempt, look)


def _patiently(write: Callable[[Session], object]) -> None:
    """One transaction, tried again while the database is away.

    Raises: Fenced; OperationalError, InterfaceError: it was away for longer than a lease.
    """
    end = time.monotonic() + settings().lease_seconds
    while True:
        try:
            with writing() as session:
                write(session)
            return
        except AWAY:
            if time.monotonic() > end:
                raise
            log.warning("the database is away; the write is tried again", exc_info=True)
            time.sleep(1)


def _judge(table: type[Model] | type[Dataset], id: str, attempt: int, look: Callable[[], dict[str, Any]]) -> None:
    problems: list[str] = []
    facts: dict[str, Any] = {}
    try:
        facts = look()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.warning("%s %s is rejected", table.__name__, id, exc_info=True)
        problems = [str(error) if isinstance(error, PruningError) else UNFORESEEN.format(type(error).__name__)]
    with writing() as session:
        uploads.judge(session, table, id, attempt, problems, facts)


WORK = {"job": run_job, "model": inspect_model, "dataset": inspect_dataset}


def limit(memory: int, parent: int, seconds: int | None) -> None:
    """Bound this process; most allocations beyond the limit then fail as an error that can be named."""
    die_with_parent(signal.SIGKILL)
    end_if_orphaned(parent)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def limit_addresses(memory: int) -> None:
    """Bound the address space to what libraries take now and `memory` more: reservations count, as those of files do.

    For models alone: data sets are mapped from disk, and CUDA reserves more than any machine has.
    """
    most = psutil.Process().memory_info().vms + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(kind: str, id: str, attempt: int) -> int:
    """Returns the exit status; what went wrong is said in the row, a traceback only in the log."""
    try:
        WORK[kind](id, attempt)
    except Fenced:
        log.warning("%s %s: another attempt has it, or it is being cancelled; attempt %d ends", kind, id, attempt)
    except Exception as error:
        if is_out_of_memory(error):
            return OUT_OF_MEMORY
        if isinstance(error, AWAY):
            return NO_DATABASE
        if isinstance(error, PruningError):
            _fail(id, attempt, str(error))
            return 0
        log.exception("%s %s attempt %d", kind, id, attempt)
        if kind != "job":
            return 1
        _fail(id, attempt, f"an error in the service itself ({type(error).__name__}); its log names job {id}")
    return 0


def _fail(job_id: str, attempt: int, error: str) -> None:
    with writing() as session:
        jobs.fail(session, job_id, attempt, error)


if __name__ == "__main__":
    logs.configure()
    cores = len(os.sched_getaffinity(0))  # images are decoded on all of them
    kind, id, attempt, memory, parent = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    logs.bind(**{f"{kind}_id": id}, attempt=attempt)
    limit(memory, parent, settings().inspect_seconds * (1 + cores) if kind != "job" else None)
    if kind == "model":
        limit_addresses(memory)
    status = main(kind, id, attempt)
    sys.stderr.flush()
    os._exit(status)  # threads of native libraries must not hold the process up, or crash it, at its end
