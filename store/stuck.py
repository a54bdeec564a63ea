"""Work that does not move: what, since when, why, and what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session

from store import workers
from store.clock import now
from store.queue import JOB_QUEUES, LIGHT
from store.settings import settings
from store.tables import Dataset, Event, Job, Model
from store.workers import Seen

MOST = 1000
REQUEUE = "`secateur-admin jobs requeue {id}`"
FAIL = "`secateur-admin jobs fail {id} --reason ...`"


@dataclass(frozen=True)
class Stuck:
    """Work that has been in this status for so many seconds; kind: job, model or dataset."""

    kind: str
    id: str
    status: str
    seconds: float
    reason: str
    advice: str


@dataclass(frozen=True)
class Waiting:
    """Rows that wait for a worker of this queue, and for how many seconds the oldest has."""

    queue: str
    rows: int
    seconds: float


def find(session: Session, seconds: float) -> list[Stuck]:
    """All that is stuck; what waits for a worker is, after so many seconds."""
    seen = workers.listing(session)
    found = [*_silent(session), *_cancelling(session)]
    for queue in JOB_QUEUES:
        if why := why_nobody(queue, seen):
            found += _queued(session, queue, seconds, *why)
    if why := why_nobody(LIGHT, seen):
        for table in (Model, Dataset):
            found += _validating(session, table, seconds, *why)
    return found


def waits(session: Session, queue: str, seconds: float) -> bool:
    """Whether work that is older than this waits for a worker of this queue."""
    of_rows = [_is_free(table, seconds) for table in (Model, Dataset)]
    if queue != LIGHT:
        of_rows = [_is_queued(queue, seconds)]
    return any(session.scalar(select(exists().where(condition))) for condition in of_rows)


def waiting(session: Session) -> list[Waiting]:
    """What waits, by queue."""
    ages = select(Job.queue, func.count(), func.max(now() - since())).where(Job.status == "queued")
    jobs = {queue: (rows, age) for queue, rows, age in session.execute(ages.group_by(Job.queue))}
    uploads = [
        session.execute(select(func.count(), func.max(now() - table.created_at)).where(_is_free(table, 0))).one()
        for table in (Model, Dataset)
    ]
    oldest = max(age or 0.0 for _, age in uploads)
    return [
        *(
            Waiting(queue, rows, max(0.0, age or 0.0))
            for queue, (rows, age) in sorted(({"cpu": (0, 0)} | jobs).items())
        ),
        Waiting(LIGHT, sum(number for number, _ in uploads), max(0.0, oldest)),
    ]


def why_nobody(queue: str, seen: Sequence[Seen]) -> tuple[str, str] | None:
    """Why work of this queue that waits is not taken, and what to do; None: all that could take it are busy."""
    mine = [w for w in seen if w.takes(queue)]
    if idle := [w.worker.id for w in mine if w.worker.busy_with is None]:
        advice = "their logs say more; one that takes nothing ends itself after SECATEUR_STALL_SECONDS; or restart them"
        return f"workers are idle that should take it: {', '.join(idle)}", advice
    if mine:
        return None
    if draining := [w.worker.id for w in seen if w.worker.draining and not w.is_silent]:
        return f"no worker takes from {queue}; some drain: {', '.join(draining)}", "`secateur-admin workers undrain ID`"
    return f"no worker takes from {queue}", f"start one: python -m celery -A worker.app worker -Q {queue}"


def since() -> ColumnElement[float]:
    """When a job got the status that it has."""
    newest = select(func.max(Event.at)).where(Event.job_id == Job.id, Event.kind == "status").correlate(Job)
    return func.coalesce(newest.scalar_subquery(), Job.created_at)


def _silent(session: Session) -> Iterator[Stuck]:
    """Running, and the lease has run out: a sweeper takes such a job back within seconds, if there is one."""
    query = select(Job.id, Job.worker, Job.status, now() - Job.lease_until).where(
        Job.status.in_(("running", "cancelling")), Job.lease_until < now()
    )
    for id, worker, status, seconds in session.execute(query.limit(MOST)):
        reason = f"its worker {worker} is silent, and no worker has taken the job back"
        advice = f"start a worker: any takes it back; or {(REQUEUE if status == 'running' else FAIL).format(id=id)}"
        yield Stuck("job", id, status, seconds, reason, advice)


def _cancelling(session: Session) -> Iterator[Stuck]:
    query = select(Job.id, Job.worker, now() - since()).where(
        Job.status == "cancelling", Job.lease_until >= now(), since() < now() - settings().lease_seconds
    )
    for id, worker, seconds in session.execute(query.limit(MOST)):
        reason = f"worker {worker} still holds it and has not ended its process"
        yield Stuck("job", id, "cancelling", seconds, reason, f"look at that worker; {FAIL.format(id=id)} ends the job")


def _queued(session: Session, queue: str, seconds: float, reason: str, advice: str) -> Iterator[Stuck]:
    waits = _is_queued(queue, seconds), since() < now() - seconds
    query = select(Job.id, now() - since()).where(*waits).order_by(Job.id)
    for id, waited in session.execute(query.limit(MOST)):
        yield Stuck("job", id, "queued", waited, reason, advice)


def _validating(
    session: Session, table: type[Model] | type[Dataset], seconds: float, reason: str, advice: str
) -> Iterator[Stuck]:
    query = select(table.id, now() - table.created_at).where(_is_free(table, seconds)).order_by(table.id)
    for id, waited in session.execute(query.limit(MOST)):
        yield Stuck(table.__name__.lower(), id, "validating", waited, reason, advice)


def _is_queued(queue: str, seconds: float) -> ColumnElement[bool]:
    return (Job.status == "queued") & (Job.queue == queue) & (Job.created_at < now() - seconds)


def _is_free(table: type[Model] | type[Dataset], seconds: float) -> ColumnElement[bool]:
    """It waits to be examined, and nobody does."""
    nobody = or_(table.lease_until.is_(None), table.lease_until < now())
    return (table.status == "validating") & nobody & (table.created_at < now() - seconds)
