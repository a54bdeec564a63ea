"""The tasks: each claims a row and supervises the process that does the work."""

import os
import socket

from sqlalchemy.orm import Session

from store import jobs, logs, uploads
from store.database import after_commit, writing
from store.queue import sender
from store.settings import settings
from store.tables import Dataset, Model
from worker.app import app
from worker.chores import stopping
from worker.supervise import Ended, Work, supervise
from worker.tracing import JobTrace

WORKER = f"{socket.gethostname()}:{os.getpid()}"
FAILURES = {
    Ended.MEMORY: "out of memory: the job needs more than {memory:,} bytes; "
    "lower train.batch_size, or use a machine with more memory",
    Ended.TIME: "the job ran for longer than {seconds:,} seconds; ask for fewer rounds or epochs",
}
HANDED_BACK = {Ended.STOPPED: "its worker was stopped", Ended.NO_DATABASE: "the database was away for too long"}
LOSSES = {Ended.DONE: "its process ended without a result", Ended.CRASHED: "its process was killed or crashed"}
WELL = (Ended.DONE, Ended.UNWANTED)
REJECTIONS = {
    Ended.MEMORY: "examining it takes more than {memory:,} bytes of memory; it is too large for this service",
    Ended.TIME: "examining it takes longer than {seconds} seconds; it is too large for this service",
}


@app.task(name="worker.run_job")
def run_job(job_id: str) -> None:
    """Run a queued job to its end."""
    with writing() as session:
        job = jobs.claim(session, job_id, WORKER)
    if job is None:
        return
    work = Work("job", job_id, job.attempt, settings().job_memory_bytes, settings().job_seconds)
    trace = JobTrace("job", job_id, job.attempt, job.trace, job.last_event)
    with logs.bound(job_id=job_id, attempt=job.attempt, trace_id=trace.trace_id):
        ended = supervise(work, lambda: _job_is_wanted(job_id, job.attempt, trace), stopping)
    with writing() as session:
        trace.follow(session, job_id)
        _settle_job(session, job_id, job.attempt, ended)
        if jobs.is_queued(session, job_id):
            after_commit(session, lambda: sender.wake("job", job_id))
    trace.end(ended.value, ended not in WELL)


@app.task(name="worker.inspect_model")
def inspect_model(model_id: str) -> None:
    """Vet and analyse an uploaded model."""
    _inspect("model", Model, model_id)


@app.task(name="worker.inspect_dataset")
def inspect_dataset(dataset_id: str) -> None:
    """Read an uploaded data set through."""
    _inspect("dataset", Dataset, dataset_id)


def _job_is_wanted(job_id: str, attempt: int, trace: JobTrace) -> bool:
    with writing() as session:
        trace.follow(session, job_id)
        return jobs.heartbeat(session, job_id, attempt) == "running"


def _settle_job(session: Session, job_id: str, attempt: int, ended: Ended) -> None:
    """Say in the row how the process ended, where it could not say so itself."""
    jobs.confirm_cancelled(session, job_id, attempt)
    if ended in FAILURES:
        limits = settings()
        error = FAILURES[ended].format(memory=limits.job_memory_bytes, seconds=limits.job_seconds)
        jobs.fail(session, job_id, attempt, error)
    elif ended in HANDED_BACK:
        jobs.hand_back(session, job_id, attempt, HANDED_BACK[ended])
    elif ended is not Ended.UNWANTED:
        jobs.lose(session, job_id, attempt, LOSSES[ended])


def _inspect(kind: str, table: type[Model] | type[Dataset], id: str) -> None:
    with writing() as session:
        row = uploads.claim(session, table, id)
    if row is None:
        return
    limits = settings()
    work = Work(kind, id, row.attempt, limits.inspect_memory_bytes, limits.inspect_seconds)
    trace = JobTrace(kind, id, row.attempt, row.trace)
    with logs.bound(**{f"{kind}_id": id}, attempt=row.attempt, trace_id=trace.trace_id):
        ended = supervise(work, lambda: _upload_is_wanted(table, id, row.attempt), stopping)
    trace.end(ended.value, ended not in WELL)
    with writing() as session:
        if ended in REJECTIONS:
            problem = REJECTIONS[ended].format(memory=limits.inspect_memory_bytes, seconds=limits.inspect_seconds)
            uploads.judge(session, table, id, row.attempt, [problem], {})
        elif ended in HANDED_BACK:
            uploads.give_back(session, table, id, row.attempt)
        elif ended is not Ended.DONE:
            uploads.release(session, table, id, row.attempt)


def _upload_is_wanted(table: type[Model] | type[Dataset], id: str, attempt: int) -> bool:
    with writing() as session:
        return uploads.heartbeat(session, table, id, attempt)
