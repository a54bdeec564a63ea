"""How long jobs wait, run and stay in a phase, and how they end: added up in the transaction that ends it."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import tallies
from store.clock import now
from store.tables import Job

WAIT, RUN, PHASE = "job_wait", "job_run", "phase"
ENDED, ATTEMPT_LOST, LEASE_LOST = "ended", "attempt_lost", "lease_lost"
BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


def moved(session: Session, job: Job, at: float, *, lost: bool) -> None:
    """A job got another status at this time; lost: as its process was. A phase that was broken off is not counted."""
    if job.status == "cancelling":
        return
    if job.status == "running":
        tallies.observe(session, WAIT, BUCKETS, at - (job.queued_at or job.created_at))
    elif job.status == "queued":
        job.queued_at = at
    else:
        _ended(session, job)
    if lost:
        tallies.add(session, ATTEMPT_LOST)
    job.phase_since = None


def turned(session: Session, job_id: str, phase: str) -> dict[str, Any]:
    """A running job is about to enter this phase; returns what its row is to be told besides."""
    query = select(Job.phase, now() - Job.phase_since).where(Job.id == job_id)
    before, seconds = session.execute(query).one()
    if seconds is None:
        return {"phase_since": now()}
    if before == phase:
        return {}
    tallies.add(session, PHASE, before or "", seconds)
    return {"phase_since": now()}


def _ended(session: Session, job: Job) -> None:
    tallies.add(session, ENDED, job.status)
    if job.finished_at is None or job.started_at is None:
        return
    tallies.observe(session, RUN, BUCKETS, job.finished_at - job.started_at)
    if job.status == "succeeded" and job.phase and job.phase_since is not None:
        tallies.add(session, PHASE, job.phase, job.finished_at - job.phase_since)
