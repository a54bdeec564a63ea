"""What models and data sets have in common: found, listed, claimed for a look, judged, deleted."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, exists, func, or_, select, update
from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from store import artifacts
from store.clock import now
from store.errors import Conflict, Fenced, NotFound
from store.pages import Page, page
from store.settings import settings
from store.tables import Dataset, Job, Model
from store.unique import add_once

Row = TypeVar("Row", bound=Model | Dataset)
UNSYNCHRONIZED = {"synchronize_session": False}
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


def add(session: Session, row: Row, same: Select[Any]) -> tuple[Row, bool]:
    """As add_once; an upload that was there already is of use again, and does not expire for a while."""
    found, is_new = add_once(session, row, same)
    if is_new or touch(session, type(row), found.id):
        return found, is_new
    session.expunge(found)  # it expired in this moment
    return add_once(session, row, same)


def touch(session: Session, table: type[Row], id: str) -> bool:
    """It is of use now, and does not expire for a while; False: it is gone."""
    query = update(table).where(table.id == id).values(touched_at=now()).returning(table.id)
    return session.scalar(query, execution_options=UNSYNCHRONIZED) is not None


def expire(session: Session, table: type[Row], seconds: float, limit: int) -> list[str]:
    """Remove some of those that no job uses and nobody has touched for longer than this; returns their ids.

    A job that begins to use one touches it first: then it stays, or the job is refused, as after a deletion.
    """
    user = Job.model_id if table is Model else Job.dataset_id
    old = func.coalesce(table.touched_at, table.created_at) < now() - seconds
    unused = ~exists().where(user == table.id) & table.id.not_in(_teachers())
    found = select(table.id).where(table.status != "validating", old, unused).order_by(table.id).limit(limit)
    ids = session.scalars(found.with_for_update(skip_locked=True)).all()
    query = delete_rows(table).where(table.id.in_(ids), old, unused)
    gone = session.execute(query.returning(table.id, table.sha256), execution_options=UNSYNCHRONIZED).all()
    artifacts.drop_unused(session, *(sha256 for _, sha256 in gone))
    return [id for id, _ in gone]


def _teachers() -> Select[tuple[str]]:
    """Models that jobs learn from."""
    teacher = Job.plan["distill"]["teacher"].as_string()
    return select(teacher).where(teacher.is_not(None))


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
