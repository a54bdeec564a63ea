"""What waits, and what is stored: read with each scrape, so by index, or seldom."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from store.clock import now
from store.queue import JOB_QUEUES, LIGHT
from store.tables import Artifact, Dataset, Job, Model, Tally

UPLOADS = {"model": Model, "dataset": Dataset}
STORED, ENDED, GPU_USED, GPU_TOTAL = REPORTED = ("stored", "stored_jobs", "gpu_used", "gpu_total")
FRESH_SECONDS = 120  # what workers report is shown for so long


@dataclass(frozen=True)
class Waiting:
    """How many wait, and for how long the first of them has."""

    number: int = 0
    seconds: float = 0.0


def waiting_jobs(session: Session) -> dict[str, Waiting]:
    """By queue; each is there, even where nothing waits: an autoscaler must find it."""
    ages = select(Job.queue, func.count(), now() - func.min(Job.queued_at)).where(Job.status == "queued")
    query = ages.group_by(Job.queue)
    return dict.fromkeys(JOB_QUEUES, Waiting()) | {
        q: Waiting(n, max(0.0, s or 0.0)) for q, n, s in session.execute(query)
    }


def waiting_uploads(session: Session) -> dict[str, Waiting]:
    """By kind: those that nobody examines at the moment."""
    found = {}
    for kind, table in UPLOADS.items():
        free = or_(table.lease_until.is_(None), table.lease_until < now())
        query = select(func.count(), now() - func.min(table.created_at)).where(table.status == "validating", free)
        number, seconds = session.execute(query).one()
        found[kind] = Waiting(number, max(0.0, seconds or 0.0))
    return found


def queues(jobs: dict[str, Waiting], uploads: dict[str, Waiting]) -> dict[str, Waiting]:
    """Of jobs, and the light one that all uploads wait in."""
    light = Waiting(sum(w.number for w in uploads.values()), max(w.seconds for w in uploads.values()))
    return jobs | {LIGHT: light}


def stored_bytes(session: Session) -> dict[str, int]:
    """By kind, as rows name them: reads all rows."""
    sums = {"model": Model.bytes, "dataset": Dataset.bytes, "artifact": Artifact.bytes}
    return {kind: int(session.scalar(select(func.coalesce(func.sum(column), 0))) or 0) for kind, column in sums.items()}


def is_reported(session: Session, seconds: float) -> bool:
    """Whether a worker has counted what is stored, not longer ago than this."""
    latest = session.scalar(select(func.max(Tally.at)).where(Tally.name == STORED))
    return latest is not None and bool(session.scalar(select(now() - latest < seconds)))


def tallied(session: Session) -> tuple[Sequence[Tally], Sequence[Tally]]:
    """Counters, and what workers have reported lately."""
    reported = Tally.name.in_(REPORTED)
    counters = session.scalars(select(Tally).where(~reported)).all()
    return counters, session.scalars(select(Tally).where(reported, Tally.at > now() - FRESH_SECONDS)).all()
