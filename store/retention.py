"""What is kept for SECATEUR_EXPIRE_DAYS and no longer: ended jobs, and uploads that nothing uses."""

from sqlalchemy import select

from store import checkpoints, jobs, uploads
from store.database import reading, writing
from store.settings import settings
from store.tables import Dataset, Job, Model

AT_ONCE = 50  # rows in a transaction
DAY = 24 * 3600.0


def expire() -> int:
    """Remove a few of what is too old, each kind in a transaction of its own; returns how many."""
    if not settings().expire_days:
        return 0
    seconds = settings().expire_days * DAY
    with writing() as session:
        gone = len(jobs.expire(session, seconds, AT_ONCE))
    for table in (Model, Dataset):
        with writing() as session:
            gone += len(uploads.expire(session, table, seconds, AT_ONCE))
    return gone


def collect_checkpoints() -> None:
    """Remove what killed processes left behind: checkpoints of jobs that are gone, or have succeeded."""
    folders = checkpoints.jobs()  # before the rows: a job is older than its checkpoints
    if not folders:
        return
    with reading() as session:
        known = set(session.scalars(select(Job.id).where(Job.status != "succeeded")))
    for job_id in folders - known:
        checkpoints.remove_all(job_id)


def expires_at(job: Job) -> float | None:
    """When a job is removed; None: never, or not before it has ended."""
    if not settings().expire_days or job.finished_at is None:
        return None
    return job.finished_at + settings().expire_days * DAY
