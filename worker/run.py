"""The process of one piece of work: python -m worker.run {job|model|dataset} ID ATTEMPT."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pruning.analysis import Preprocess
from pruning.data import READERS
from pruning.errors import PruningError, is_out_of_memory
from pruning.listener import Metric, Phase
from pruning.methods.problem import Checkpoint
from pruning.onnx.analyse import analyse
from pruning.onnx.vet import Limits, vet
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from store import artifacts, events, jobs, uploads
from store.artifacts import Blob
from store.database import reading, writing
from store.errors import Fenced
from store.settings import settings
from store.tables import Dataset, Job, Model
from worker import checkpoints
from worker.supervise import OUT_OF_MEMORY

log = logging.getLogger(__name__)
SECONDS_BETWEEN_UPDATES = 1.0


class Row:
    """A listener that writes to the job's row; every write is guarded by the attempt."""

    def __init__(self, job_id: str, attempt: int) -> None:
        self.job_id, self.attempt = job_id, attempt
        self._first: tuple[float, float] | None = None
        self._next = 0.0

    def phase(self, name: Phase, progress: float) -> None:
        """Set the phase, and add an event."""
        with writing() as session:
            jobs.progress(session, self.job_id, self.attempt, {"phase": name, "progress": progress})
            events.append(session, self.job_id, "phase", {"phase": name, "progress": round(progress, 4)})

    def progress(self, progress: float) -> None:
        """Set progress and the time left, about once a second."""
        now = time.monotonic()
        self._first = self._first or (now, progress)
        if now < self._next:
            return
        self._next = now + SECONDS_BETWEEN_UPDATES
        with writing() as session:
            values = {"progress": progress, "eta_seconds": self._eta(now, progress)}
            jobs.progress(session, self.job_id, self.attempt, values)

    def metric(self, metric: Metric) -> None:
        """Add a row, and an event for those who watch."""
        with writing() as session:
            jobs.progress(session, self.job_id, self.attempt, {"round": metric.round})
            events.put_metric(session, self.job_id, metric.step, metric.phase, metric.round, metric.values)
            data = {"step": metric.step, "phase": metric.phase, "round": metric.round, **metric.values}
            events.append(session, self.job_id, "round", data)

    def checkpoint(self, make: Callable[[], Checkpoint]) -> None:
        """Store it, then name it in the row."""
        with _published({"checkpoint": checkpoints.dump(make())}) as blobs, writing() as session:
            before = jobs.save_checkpoint(session, self.job_id, self.attempt, blobs["checkpoint"])
            artifacts.drop_unused(session, before)

    def should_stop(self) -> bool:
        """The supervisor ends this process when it should."""
        return False

    def _eta(self, now: float, progress: float) -> float | None:
        began, first = self._first or (now, progress)
        if progress <= first:
            return None
        return round((now - began) / (progress - first) * (1 - progress), 1)


def run_job(job_id: str, attempt: int) -> None:
    """Prune, and publish the files with the status."""
    with reading() as session:
        job = session.get_one(Job, job_id)
        model, dataset = session.get_one(Model, job.model_id), session.get_one(Dataset, job.dataset_id)
    resume = checkpoints.load(artifacts.path(job.checkpoint).read_bytes()) if job.checkpoint else None
    order = Order(
        artifacts.path(model.sha256).read_bytes(),
        artifacts.path(dataset.sha256),
        Plan.model_validate(job.plan),
        dataset.format,
        Preprocess.model_validate(dataset.preprocess),
    )
    delivery = prune(order, Row(job_id, attempt), resume)
    with _published(delivery.files) as blobs, writing() as session:
        jobs.succeed(session, job_id, attempt, blobs, delivery.report.goal_met)


def inspect_model(model_id: str, attempt: int) -> None:
    """Ready with an analysis, or rejected with the reason."""
    with reading() as session:
        row = session.get_one(Model, model_id)

    def look() -> dict[str, Any]:
        content = artifacts.path(row.sha256).read_bytes()
        return {"analysis": analyse(vet(content, Limits(bytes=settings().max_model_bytes))).model_dump(mode="json")}

    _judge(Model, model_id, attempt, look)


def inspect_dataset(dataset_id: str, attempt: int) -> None:
    """Ready with a summary, or rejected with the reason."""
    with reading() as session:
        row = session.get_one(Dataset, dataset_id)

    def look() -> dict[str, Any]:
        preprocess = Preprocess.model_validate(row.preprocess)
        dataset = READERS[row.format](artifacts.path(row.sha256), preprocess, settings().max_dataset_memory)
        dataset.train.prepared(slice(0, 1))
        return {"summary": dataset.summary(row.format).model_dump(mode="json")}

    _judge(Dataset, dataset_id, attempt, look)


@contextmanager
def _published(files: Mapping[str, bytes]) -> Iterator[dict[str, Blob]]:
    """Stored files, removed again where their rows could not be written."""
    blobs = {name: artifacts.put(content) for name, content in files.items()}
    try:
        yield blobs
    except BaseException:
        with writing() as session:
            artifacts.drop_unused(session, *(blob.sha256 for blob in blobs.values()))
        raise


def _judge(table: type[Model] | type[Dataset], id: str, attempt: int, look: Callable[[], dict[str, Any]]) -> None:
    problems: list[str] = []
    facts: dict[str, Any] = {}
    try:
        facts = look()
    except PruningError as error:
        if is_out_of_memory(error):
            raise
        problems = [str(error)]
    with writing() as session:
        uploads.judge(session, table, id, attempt, problems, facts)


WORK = {"job": run_job, "model": inspect_model, "dataset": inspect_dataset}


def main(kind: str, id: str, attempt: int) -> int:
    """Returns the exit status; what went wrong is said in the row, a traceback only in the log."""
    try:
        WORK[kind](id, attempt)
    except Fenced:
        log.warning("%s %s: another attempt has it, or it is being cancelled; attempt %d ends", kind, id, attempt)
    except Exception as error:
        if is_out_of_memory(error):
            return OUT_OF_MEMORY
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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    sys.stdout.flush()
    status = main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stderr.flush()
    os._exit(status)  # threads of native libraries must not hold the process up, or crash it, at its end
