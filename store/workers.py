"""Workers: what each tells of itself, and what it is told."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.clock import now
from store.errors import NotFound
from store.settings import settings
from store.tables import Worker

FORGOTTEN_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Told:
    """What a worker says each time; queues: those that it takes messages from now."""

    id: str
    host: str
    queues: Sequence[str]
    busy_with: str | None
    done: int
    version: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Orders:
    """What a worker is told: to take nothing more; to end when it is idle."""

    draining: bool = False
    leaving: bool = False


@dataclass(frozen=True)
class Seen:
    """A worker, and how long ago it was seen, in seconds. is_silent: for longer than a lease."""

    worker: Worker
    seconds: float

    @property
    def is_silent(self) -> bool:
        """Whether it may be gone."""
        return self.seconds > settings().lease_seconds

    def takes(self, queue: str) -> bool:
        """Whether it takes messages from this queue now."""
        return not self.is_silent and not self.worker.draining and queue in self.worker.queues


def tell(session: Session, told: Told) -> Orders:
    """Write the worker's row, and read what it is told there."""
    values = asdict(told) | {"seen_at": now()}
    query = update(Worker).where(Worker.id == told.id).values(values)
    row = session.execute(query.returning(Worker.draining, Worker.leaving)).one_or_none()
    if row is None:
        session.add(Worker(**asdict(told)))
        return Orders()
    return Orders(row.draining, row.leaving)


def leave(session: Session, id: str) -> None:
    """This worker ends."""
    session.execute(delete(Worker).where(Worker.id == id))


def forget(session: Session) -> None:
    """Remove the rows of workers that were not seen for a day."""
    session.execute(delete(Worker).where(Worker.seen_at < now() - FORGOTTEN_SECONDS))


def listing(session: Session) -> list[Seen]:
    """All that were seen within a day, the newest last."""
    rows = session.execute(select(Worker, now() - Worker.seen_at).order_by(Worker.started_at, Worker.id))
    return [Seen(worker, max(0.0, seconds)) for worker, seconds in rows]


def drain(session: Session, id: str, leaving: bool = False) -> Worker:
    """It finishes what it runs and takes nothing more; leaving: then it ends.

    Raises: NotFound: no such worker.
    """
    return _order(session, id, {"draining": True, "leaving": leaving})


def undrain(session: Session, id: str) -> Worker:
    """It takes work again. Raises: NotFound."""
    return _order(session, id, {"draining": False, "leaving": False})


def _order(session: Session, id: str, values: Mapping[str, bool]) -> Worker:
    row = session.scalar(update(Worker).where(Worker.id == id).values(values).returning(Worker))
    if row is None:
        raise NotFound(f"there is no worker {id}; `secateur-admin workers list` names them")
    return row
