"""Events and metrics of jobs."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.tables import Event, Job, Metric


def append(session: Session, job_id: str, kind: str, data: Mapping[str, Any]) -> int:
    """Add an event; the job's row hands out the numbers, so they have no gaps and no doubles."""
    query = update(Job).where(Job.id == job_id).values(last_event=Job.last_event + 1).returning(Job.last_event)
    seq = session.scalars(query).one()
    session.add(Event(job_id=job_id, seq=seq, kind=kind, data=dict(data)))
    return seq


def add(session: Session, job: Job, kind: str, data: Mapping[str, Any]) -> None:
    """As append, where the statement that wrote the row has counted the event already."""
    session.add(Event(job_id=job.id, seq=job.last_event, kind=kind, data=dict(data)))


def after(session: Session, job_id: str, seq: int, limit: int) -> list[Event]:
    """Events with a higher number, oldest first."""
    query = select(Event).where(Event.job_id == job_id, Event.seq > seq).order_by(Event.seq).limit(limit)
    return list(session.scalars(query))


def put_metric(session: Session, job_id: str, step: int, phase: str, round: int, values: Mapping[str, Any]) -> None:
    """Set the numbers of a round; one that is done again replaces what a lost attempt wrote."""
    session.execute(delete(Metric).where(Metric.job_id == job_id, Metric.step == step))
    session.add(Metric(job_id=job_id, step=step, phase=phase, round=round, values=dict(values)))


def metrics(session: Session, job_id: str) -> list[Metric]:
    """All rounds in order."""
    return list(session.scalars(select(Metric).where(Metric.job_id == job_id).order_by(Metric.step)))
