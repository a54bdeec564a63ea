"""Whose turn it is: one order of all jobs that wait, kept in the rows.

A job's turn is given to it when it is queued: one more than that of its owner's last waiting job, but never less than
that of the first one of all. So owners with many jobs and owners with one alternate, whoever came first. The higher
priority goes before; within one the lower turn, then the older job.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from store.tables import Job

ORDER = (Job.priority.desc(), Job.turn, Job.id)
FARTHEST = 1000  # places are told up to here; who is farther behind need not know by how many


@dataclass(frozen=True)
class Line:
    """Where a job waits."""

    owner: str
    queue: str
    priority: int


def last_turn(session: Session, line: Line) -> int:
    """The turn of a job that queues up now."""
    waiting = (Job.status == "queued", Job.queue == line.queue, Job.priority == line.priority)
    own = session.scalar(select(func.max(Job.turn)).where(*waiting, Job.owner == line.owner))
    if own is not None:
        return own + 1
    return session.scalar(select(func.min(Job.turn)).where(*waiting)) or 0


def first(queues: Sequence[str], passed_over: Iterable[str] = ()) -> Select[str, str]:
    """The id and the owner of the job that is next in these queues, but for those of some owners."""
    query = select(Job.id, Job.owner).where(_waits_in(queues), Job.owner.not_in([*passed_over]))
    return query.order_by(*ORDER).limit(1).with_for_update(skip_locked=True)


def waits(session: Session, queue: str) -> bool:
    """Whether anybody waits in a queue."""
    return session.scalar(select(Job.id).where(_waits_in([queue])).limit(1)) is not None


def places(session: Session) -> dict[str, int]:
    """By id: 1 for the job that is next in its queue; only the first thousand jobs have a place."""
    query = select(Job.id, Job.queue).where(Job.status == "queued").order_by(*ORDER).limit(FARTHEST)
    found: dict[str, int] = {}
    before: dict[str, int] = {}
    for id, queue in session.execute(query):
        found[id] = before[queue] = before.get(queue, 0) + 1
    return found


def _waits_in(queues: Sequence[str]) -> ColumnElement[bool]:
    return (Job.status == "queued") & Job.queue.in_(queues)
