"""What models and data sets have in common: found, listed, claimed for a look, judged, deleted."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from store import artifacts
from store.clock import now
from store.errors import Conflict, Fenced, NotFound
from store.pages import Page, page
from store.settings import settings
from store.tables import Dataset, Job, Model

Row = TypeVar("Row", bound=Model | Dataset)
CRASHED = "the process that examined it was killed or crashed {} times: this service cannot take it"


def get(session: Session, table: type[Row], owner: str, id: str) -> Row:
    """Raises: NotFound: no such row of this owner."""
    row = session.get(table, id)
    if row is None or row.owner != owner:
        raise NotFound(f"there is no {table.__name__.lower()} {id}")
    return row


def listing(session: Session, table: type[Row], owner: str, limit: int, cursor: str | None) -> Page[Row]:
    """The owner's rows, newest first."""
    return page(session, select(table).where(table.owner == owner), table.id, limit, cursor)


def users(session: Session, rows: Sequence[Model | Dataset]) -> dict[str, int]:
    """How many jobs use each, by id; those that none uses are not in it."""
    found: dict[str, int] = {}
    for table, key in ((Model, Job.model_id), (Dataset, Job.dataset_id)):
        if ids := [row.id for row in rows if isinstance(row, table)]:
            counted = session.execute(select(key, func.count()).where(key.in_(ids)).group_by(key))
            found |= {id: number for id, number in counted}  # noqa: C416 - dict() takes a result for a mapping
    return found


def claim(session: Session, table: type[Row], id: str) -> Row | None:
    """Take an upload for examination; None if somebody has it, or it has been judged."""
    free = or_(table.lease_until.is_(None), table.lease_until < now())
    query = (
        update(table)
        .where(table.id == id, table.status == "validating", free)
        .values(attempt=table.attempt + 1, crashes=table.crashes + 1, lease_until=now() + settings().lease_seconds)
    )
    row = session.scalar(query.returning(table))
    if row is not None and row.crashes > settings().max_attempts:
        row.status, row.problems = "rejected", [CRASHED.format(row.crashes - 1)]
        return None
    return row


def heartbeat(session: Session, table: type[Row], id: str, attempt: int) -> bool:
    """Hold the lease on; False: another attempt has the row, or it is gone."""
    query = update(table).where(table.id == id, table.attempt == attempt, table.status == "validating")
    return session.scalar(query.values(lease_until=now() + settings().lease_seconds).returning(table.id)) is not None


def release(session: Session, table: type[Row], id: str, attempt: int) -> None:
    """Give an upload back unexamined; the sweeper sends it again."""
    query = update(table).where(table.id == id, table.attempt == attempt, table.status == "validating")
    session.execute(query.values(lease_until=now()))


def give_back(session: Session, table: type[Row], id: str, attempt: int) -> None:
    """As release, where nothing is wrong with the upload: this attempt does not count."""
    query = update(table).where(table.id == id, table.attempt == attempt, table.status == "validating")
    session.execute(query.values(lease_until=now(), crashes=table.crashes - 1))


def judge(
    session: Session, table: type[Row], id: str, attempt: int, problems: list[str], facts: Mapping[str, Any]
) -> None:
    """Ready with facts (columns of the table), or rejected with problems.

    Raises: Fenced: another attempt has the row.
    """
    status = "rejected" if problems else "ready"
    query = update(table).where(table.id == id, table.attempt == attempt, table.status == "validating")
    values = {"status": status, "problems": problems, "lease_until": None, **facts}
    if session.scalar(query.values(values).returning(table.id)) is None:
        raise Fenced


def overdue(session: Session, table: type[Row]) -> list[str]:
    """Uploads that nobody examines although they have waited for a while."""
    waited = table.lease_until.is_(None) & (table.created_at < now() - settings().sweep_seconds)
    query = select(table.id).where(table.status == "validating", or_(waited, table.lease_until < now()))
    return list(session.scalars(query.limit(1000)))


def delete(session: Session, table: type[Row], owner: str, id: str) -> None:
    """Remove a row and its file.

    Raises: Conflict: a job uses it.
    """
    row = get(session, table, owner, id)
    used = Job.model_id if table is Model else Job.dataset_id
    if job := session.scalar(select(Job.id).where(used == id).limit(1)):
        raise Conflict(f"{id} is used by job {job}; a job keeps what its report speaks of")
    session.delete(row)
    artifacts.drop_unused(session, row.sha256)
