"""Tallies: numbers that live longer than a process, and that /metrics reads without counting rows.

What a transaction adds is written at its end, in one order: all writers meet in these few rows, and locks that are
taken early, or in any order, would be waited for in a circle.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from store.clock import now
from store.database import before_commit
from store.tables import Tally

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

PENDING = "tallies"
INF = "+Inf"


def add(session: Session, name: str, label: str = "", amount: float = 0.0) -> None:
    """One more, and its amount, when this transaction is committed."""
    pending: dict[tuple[str, str], tuple[int, float]] | None = session.info.get(PENDING)
    if pending is None:
        pending = session.info[PENDING] = {}
        before_commit(session, lambda: _write(session))
    count, total = pending.get((name, label), (0, 0.0))
    pending[name, label] = (count + 1, total + amount)


def observe(session: Session, name: str, buckets: Sequence[float], value: float) -> None:
    """One more in its bucket of a histogram; the label is the bucket's upper bound."""
    bound = next((str(b) for b in buckets if value <= b), INF)
    add(session, name, bound, max(0.0, value))


def put(session: Session, name: str, label: str, total: float) -> None:
    """Set a number, such as a size."""
    query = _insert(session).values(name=name, label=label, count=1, total=total, at=now())
    fresh = {"count": 1, "total": query.excluded.total, "at": now()}
    session.execute(query.on_conflict_do_update(index_elements=["name", "label"], set_=fresh))


def _write(session: Session) -> None:
    for (name, label), (count, total) in sorted(session.info.pop(PENDING).items()):
        query = _insert(session).values(name=name, label=label, count=count, total=total, at=now())
        more = {"count": Tally.count + query.excluded.count, "total": Tally.total + query.excluded.total, "at": now()}
        session.execute(query.on_conflict_do_update(index_elements=["name", "label"], set_=more))


def _insert(session: Session) -> "sqlite.Insert | postgresql.Insert":
    """Each dialect is loaded where it is used: both would make every start longer."""
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(Tally)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(Tally)
