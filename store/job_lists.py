"""Lists of jobs: found, paged, and what each row is shown with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from store import turns
from store.pages import Page, page
from store.retention import expires_at
from store.tables import Dataset, Job, Model


@dataclass(frozen=True)
class Filter:
    """Which jobs are listed; None: all. text: part of a name, an id or a label, of the job or what it works on."""

    status: str | None = None
    model_id: str | None = None
    dataset_id: str | None = None
    label: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Shown:
    """A job, and what other rows say of it. queue_position: 1 is next; None for one that does not wait, or long."""

    job: Job
    model_name: str
    dataset_name: str
    queue_position: int | None

    @property
    def expires_at(self) -> float | None:
        """When it is removed."""
        return expires_at(self.job)


def listing(session: Session, owner: str, limit: int, cursor: str | None, only: Filter | None = None) -> Page[Job]:
    """The owner's jobs, newest first."""
    query, only = select(Job).where(Job.owner == owner), only or Filter()
    for column, wanted in ((Job.status, only.status), (Job.model_id, only.model_id), (Job.dataset_id, only.dataset_id)):
        if wanted:
            query = query.where(column == wanted)
    if only.label:
        # not LIKE, which ignores case on SQLite
        query = query.where(func.replace(Job.labels, json.dumps(only.label), "") != Job.labels)
    if only.text:
        named = [
            key.in_(select(table.id).where(table.owner == owner, table.name.icontains(only.text, autoescape=True)))
            for key, table in ((Job.model_id, Model), (Job.dataset_id, Dataset))
        ]
        own = [c.icontains(only.text, autoescape=True) for c in (Job.name, Job.id, Job.labels)]
        query = query.where(or_(*own, *named))
    return page(session, query, Job.id, limit, cursor)


def of_everyone(session: Session, status: str | None, limit: int) -> list[Job]:
    """Jobs of all owners, newest first."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    return list(session.scalars(query if status is None else query.where(Job.status == status)))


def shown(session: Session, jobs: Sequence[Job]) -> list[Shown]:
    """These jobs with what is shown beside them, in two or three queries for all."""
    names = {
        row.id: row.name
        for table, ids in ((Model, {j.model_id for j in jobs}), (Dataset, {j.dataset_id for j in jobs}))
        for row in session.execute(select(table.id, table.name).where(table.id.in_(ids)))
    }
    places = turns.places(session) if any(job.status == "queued" for job in jobs) else {}
    return [Shown(job, names[job.model_id], names[job.dataset_id], places.get(job.id)) for job in jobs]
