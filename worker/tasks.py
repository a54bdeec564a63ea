"""The tasks: each claims a row and supervises the process that does the work."""

from functools import partial

from sqlalchemy.orm import Session

from store import jobs, logs, quotas, turns, uploads
from store.database import after_commit, writing
from store.queue import sender
from store.settings import settings
from store.tables import Dataset, Job, Model
from worker import briefing
from worker.app import app
from worker.chores import stopping
from worker.endings import Ended
from worker.folder import has_room
from worker.presence import WORKER, here
from worker.scribe import JobScribe, UploadScribe, patiently
from worker.supervise import Work, supervise
from worker.tracing import JobTrace

FAILURES = {
    Ended.MEMORY: "out of memory: the job needs more than {memory:,} bytes; "
    "lower train.batch_size, or use a machine with more memory",
    Ended.TIME: "the job ran for longer than {seconds:,} seconds; ask for fewer rounds or epochs",
    Ended.SPACE: "the service has no space left on its disk for what the job makes; when there is room, retry goes on "
    "from the last checkpoint",
    Ended.MISSING: "a file that the job needs is gone from the service's storage; upload its model and data set again",
}
HANDED_BACK = {
    Ended.STOPPED: "its worker was stopped",
    Ended.NO_DATABASE: "the database was away for too long",
    Ended.NO_STORAGE: "the storage of files was away for too long",
}
LOSSES = {Ended.DONE: "its process ended without a result", Ended.CRASHED: "its process was killed or crashed"}
WELL = (Ended.DONE, Ended.UNWANTED)
REJECTIONS = {
    Ended.MEMORY: "examining it takes more than {memory:,} bytes of memory; it is too large for this service",
    Ended.TIME: "examining it takes longer than {seconds} seconds; it is too large for this service",
    Ended.SPACE: "the service had no space left on its disk to examine it; delete it, and upload it again when there "
    "is room",
    Ended.MISSING: "its file is gone from the service's storage; delete it, and upload it again",
}


@app.task(name="worker.run_job")
def run_job(_: str) -> None:
    """Run the job whose turn it is in this worker's queues, not just the one of the message.

    Where the disk is full it waits for the sweeper's next message: taken, it would fail, and so would all behind it.
    """
    if not has_room():
        return
    with writing() as session:
        job = jobs.take(session, [*app.amqp.queues.consume_from], WORKER)
    if job is None:
        return
    trace = JobTrace("job", job.id, job.attempt, job.trace)
    with here.busy(job.id), logs.bound(job_id=job.id, attempt=job.attempt, trace_id=trace.trace_id):
        ended = _run(job, trace)
    patiently(lambda session: _settle_job(session, job, ended))
    trace.end(ended.value, ended not in WELL)


@app.task(name="worker.inspect_model")
def inspect_model(model_id: str) -> None:
    """Vet and analyse an uploaded model."""
    _inspect(Model, model_id)


@app.task(name="worker.inspect_dataset")
def inspect_dataset(dataset_id: str) -> None:
    """Read an uploaded data set through."""
    _inspect(Dataset, dataset_id)


def _run(job: Job, trace: JobTrace) -> Ended:
    bounds = settings().job_memory_bytes, settings().job_seconds
    work = Work("job", job.id, job.attempt, partial(briefing.for_job, job), *bounds, lambda: _is_running(job))
    try:
        return supervise(work, JobScribe(job.id, job.attempt, trace), stopping)
    except briefing.TeacherGone as error:
        with writing() as session:
            jobs.fail(session, job.id, job.attempt, str(error.__doc__))
        return Ended.UNWANTED


def _is_running(job: Job) -> bool:
    with writing() as session:
        return jobs.heartbeat(session, job.id, job.attempt) == "running"


def _settle_job(session: Session, job: Job, ended: Ended) -> None:
    """Say in the row how the process ended, where it could not say so itself; wake who is to go on."""
    job_id, attempt = job.id, job.attempt
    jobs.confirm_cancelled(session, job_id, attempt)
    if ended in FAILURES:
        limits = settings()
        error = FAILURES[ended].format(memory=limits.job_memory_bytes, seconds=limits.job_seconds)
        jobs.fail(session, job_id, attempt, error)
    elif ended in HANDED_BACK:
        jobs.hand_back(session, job_id, attempt, HANDED_BACK[ended])
    elif ended is not Ended.UNWANTED:
        jobs.lose(session, job_id, attempt, LOSSES[ended])
    # queued again; or one that was passed over, as its owner had too many running, may run now
    has_limit = quotas.of(session, job.owner).max_jobs_running is not None
    if jobs.is_queued(session, job_id) or (has_limit and turns.waits(session, job.queue)):
        after_commit(session, lambda: sender.wake("job", job_id, job.queue))


def _inspect(table: type[Model] | type[Dataset], id: str) -> None:
    if not has_room():
        return
    with writing() as session:
        row = uploads.claim(session, table, id)
    if row is None:
        return
    kind = table.__name__.lower()
    trace = JobTrace(kind, id, row.attempt, row.trace)
    with here.busy(id), logs.bound(**{f"{kind}_id": id}, attempt=row.attempt, trace_id=trace.trace_id):
        ended = _look(row)
    trace.end(ended.value, ended not in WELL)
    patiently(lambda session: _settle_upload(session, row, ended))


def _settle_upload(session: Session, row: Model | Dataset, ended: Ended) -> None:
    """As _settle_job."""
    limits, which = settings(), (type(row), row.id, row.attempt)
    if ended in REJECTIONS:
        problem = REJECTIONS[ended].format(memory=limits.inspect_memory_bytes, seconds=limits.inspect_seconds)
        uploads.judge(session, *which, [problem], {})
    elif ended in HANDED_BACK:
        uploads.give_back(session, *which)
    elif ended is not Ended.DONE:
        uploads.release(session, *which)


def _look(row: Model | Dataset) -> Ended:
    table, limits = type(row), settings()

    def is_wanted() -> bool:
        with writing() as session:
            return uploads.heartbeat(session, table, row.id, row.attempt)

    kind, bounds = table.__name__.lower(), (limits.inspect_memory_bytes, limits.inspect_seconds)
    work = Work(kind, row.id, row.attempt, partial(briefing.for_upload, row), *bounds, is_wanted)
    return supervise(work, UploadScribe(table, row.id, row.attempt), stopping)
