"""What an account may use: defaults from the settings, a row where an owner has others."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.errors import QueueFull
from store.locks import alone
from store.settings import settings
from store.tables import Artifact, Dataset, Job, Model, QuotaRow, Transfer

RUNNING = ("running", "cancelling")
AWHILE = 60  # seconds, where nothing says how long a place in the queue takes


@dataclass(frozen=True)
class Quota:
    """Limits of an account; None: no limit."""

    max_jobs_queued: int | None = None
    max_jobs_running: int | None = None
    max_bytes_stored: int | None = None
    max_requests_a_minute: int | None = None


@dataclass(frozen=True)
class Used:
    """What an account uses of its limits."""

    jobs_queued: int
    jobs_running: int
    bytes_stored: int


LIMITS = tuple(field.name for field in fields(Quota))


def of(session: Session, owner: str) -> Quota:
    """The limits that hold; none at all where no keys are asked for."""
    if not settings().auth:
        return Quota()
    own = overrides(session, owner)
    held = {name: getattr(settings(), name) if own[name] is None else own[name] for name in LIMITS}
    return Quota(**{name: value or None for name, value in held.items()})


def overrides(session: Session, owner: str) -> dict[str, int | None]:
    """What was set for this owner; 0: no limit, None: the default of the settings."""
    row = session.get(QuotaRow, owner)
    return {name: getattr(row, name, None) for name in LIMITS}


def put(session: Session, owner: str, limits: Mapping[str, int | None]) -> None:
    """Set all limits of an owner anew; what is not named is the default again."""
    alone(session, f"quota {owner}")
    session.merge(QuotaRow(owner=owner, **{name: limits.get(name) for name in LIMITS}))


def used(session: Session, owner: str) -> Used:
    """Files count once for each row that names them: what an account uses does not depend on others.

    What has come of uploads in pieces counts too.
    """
    sums = [select(func.sum(table.bytes)).where(table.owner == owner) for table in (Model, Dataset)]
    sums.append(select(func.sum(Artifact.bytes)).join(Job, Job.id == Artifact.job_id).where(Job.owner == owner))
    under_way = (Transfer.owner == owner, Transfer.offset < Transfer.length)
    sums.append(select(func.sum(Transfer.offset)).where(*under_way))
    return Used(
        _count(session, owner, ("queued",)),
        _count(session, owner, RUNNING),
        sum(int(session.scalar(query) or 0) for query in sums),
    )


def room(session: Session, owner: str) -> int | None:
    """Bytes that the account may still store; None: no limit."""
    most = of(session, owner).max_bytes_stored
    return None if most is None else max(0, most - used(session, owner).bytes_stored)


def has_room(session: Session, owner: str) -> bool:
    """Whether what the account stores, with what this transaction added, is within its limit."""
    most = of(session, owner).max_bytes_stored
    if most is None:
        return True
    alone(session, f"quota {owner}")
    return used(session, owner).bytes_stored <= most


def require_place(session: Session, owner: str) -> None:
    """Call after a job was queued: it counts, and an exception takes it back.

    Raises: QueueFull: the account has too many.
    """
    most = of(session, owner).max_jobs_queued
    if most is None:
        return
    alone(session, f"quota {owner}")
    if _count(session, owner, ("queued",)) > most:
        raise QueueFull(
            _seconds_to_a_place(session, owner), f"{most} jobs of this account wait already, as many as may"
        )


def may_run_another(session: Session, owner: str) -> bool:
    """Whether one more of the account's jobs may run; until its commit nobody else is told the same.

    One lock for all accounts: who asks for several in turn would wait in a circle.
    """
    most = of(session, owner).max_jobs_running
    if most is None:
        return True
    alone(session, "jobs that run")
    return _count(session, owner, RUNNING) < most


def _seconds_to_a_place(session: Session, owner: str) -> int:
    """Until the first of the account's running jobs ends, as far as that is known: then one that waits can begin."""
    query = select(func.min(Job.eta_seconds)).where(Job.owner == owner, Job.status == "running")
    return max(1, round(session.scalar(query) or AWHILE))


def _count(session: Session, owner: str, statuses: tuple[str, ...]) -> int:
    query = select(func.count()).select_from(Job).where(Job.owner == owner, Job.status.in_(statuses))
    return session.scalars(query).one()
