"""Jobs: the row is the truth, every transition is one compare-and-set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from store import artifacts, checkpoints, deliveries, events, job_times, quotas, tallies, turns, uploads
from store.artifacts import Blob
from store.clock import now
from store.database import after_commit
from store.errors import Conflict, Fenced, IdempotencyMismatch, NotFound
from store.settings import settings
from store.tables import Artifact, Dataset, Job, Model, new_id
from store.unique import add_once

MOVES: dict[str, tuple[str, ...]] = {
    "running": ("queued",),
    "succeeded": ("running",),
    "failed": ("running",),
    "cancelling": ("running",),
    "cancelled": ("queued", "cancelling"),
    "queued": ("running", "failed", "cancelled"),
}
ENDED = ("succeeded", "failed", "cancelled")
FREE: dict[str, Any] = {"lease_until": None, "worker": None, "eta_seconds": None}
AS_WRITTEN: dict[str, Any] = {"populate_existing": True, "synchronize_session": False}
LOST = "its process or its worker was lost {} times; the last time: {}"


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    model_id: str
    dataset_id: str
    plan: Mapping[str, Any]
    name: str | None = None
    labels: Sequence[str] = ()
    idempotency_key: str | None = None
    body_hash: str | None = None
    queue: str = "cpu"
    priority: int = 0
    webhook_url: str | None = None


def create(session: Session, owner: str, request: Request) -> tuple[Job, bool]:
    """A queued job, and whether it is new: the same Idempotency-Key gives the same job.

    Raises: IdempotencyMismatch: the key was used with another body.
    """
    job = Job(
        id=new_id("job"),
        owner=owner,
        name=request.name,
        labels=json.dumps(list(request.labels)),
        model_id=request.model_id,
        dataset_id=request.dataset_id,
        plan=dict(request.plan),
        idempotency_key=request.idempotency_key,
        body_hash=request.body_hash,
        queue=request.queue,
        priority=request.priority,
        turn=turns.last_turn(session, turns.Line(owner, request.queue, request.priority)),
        webhook_url=request.webhook_url,
    )
    key = request.idempotency_key
    same = select(Job).where(Job.owner == owner, Job.idempotency_key == key, Job.idempotency_key.is_not(None))
    try:
        job, is_new = add_once(session, job, same)
    except IntegrityError as error:
        raise NotFound("the model or the data set was deleted in the meantime") from error
    if not is_new and job.body_hash != request.body_hash:
        raise IdempotencyMismatch
    if is_new:
        for table, id in ((Model, job.model_id), (Dataset, job.dataset_id), (Model, _teacher(request.plan))):
            uploads.touch(session, table, id)
        events.append(session, job.id, "status", {"status": "queued"})
        session.refresh(job)
    return job, is_new


def get(session: Session, owner: str, job_id: str) -> Job:
    """Raises: NotFound: no such job of this owner."""
    job = session.get(Job, job_id)
    if job is None or job.owner != owner:
        raise NotFound(f"there is no job {job_id}")
    return job


def last_events(session: Session, job_ids: Sequence[str]) -> dict[str, int]:
    """By id, the number of the newest event; jobs that are gone are not in it."""
    rows = session.execute(select(Job.id, Job.last_event).where(Job.id.in_(job_ids)))
    return {id: number for id, number in rows}  # noqa: C416 - dict() takes a result for a mapping


def is_queued(session: Session, job_id: str) -> bool:
    """Whether it waits for a worker."""
    return session.scalar(select(Job.status).where(Job.id == job_id)) == "queued"


def take(session: Session, queues: Sequence[str], worker: str) -> Job | None:
    """The job whose turn it is in these queues, claimed; None where none waits that may run."""
    full: list[str] = []
    while first := session.execute(turns.first(queues, full)).first():
        if not quotas.may_run_another(session, first.owner):
            full.append(first.owner)
        elif job := claim(session, first.id, worker):
            return job
    return None


def claim(session: Session, job_id: str, worker: str) -> Job | None:
    """Take a queued job; None if it is not queued any more: two workers cannot both win."""
    values = {
        "attempt": Job.attempt + 1,
        "worker": worker,
        "lease_until": now() + settings().lease_seconds,
        "started_at": func.coalesce(Job.started_at, now()),
        "eta_seconds": None,
    }
    return _move(session, job_id, "running", values, {"worker": worker})


def heartbeat(session: Session, job_id: str, attempt: int) -> str | None:
    """Hold the lease on; returns the status, or None if another attempt has the job."""
    query = update(Job).where(Job.id == job_id, Job.attempt == attempt, Job.status.in_(("running", "cancelling")))
    return session.scalar(query.values(lease_until=now() + settings().lease_seconds).returning(Job.status))


def progress(session: Session, job_id: str, attempt: int, values: Mapping[str, Any]) -> None:
    """Set phase, progress, round, layers, eta_seconds of a running attempt.

    Raises: Fenced: another attempt has the job, or it is being cancelled.
    """
    more = job_times.turned(session, job_id, values["phase"]) if "phase" in values else {}
    query = update(Job).where(_running(job_id, attempt)).values(**values, **more)
    if session.scalar(query.returning(Job.id)) is None:
        raise Fenced


def save_checkpoint(session: Session, job_id: str, attempt: int, name: str) -> None:
    """Name a stored checkpoint; older ones go when this is committed.

    Raises: Fenced.
    """
    progress(session, job_id, attempt, {"checkpoint": name})
    after_commit(session, lambda: checkpoints.keep_only(name))


def succeed(session: Session, job_id: str, attempt: int, files: Mapping[str, Blob], result: Mapping[str, Any]) -> None:
    """Publish the files and end the job, in one guarded transaction.

    Args: result: pruning.result.Result as JSON. Raises: Fenced.
    """
    values = _ended() | {"progress": 1.0, "eta_seconds": 0.0, "checkpoint": None, "error": None}
    values |= {"goal_met": result["goal_met"], "result": dict(result)}
    if _move(session, job_id, "succeeded", values, {}, attempt) is None:
        raise Fenced
    for name, blob in files.items():
        session.add(Artifact(job_id=job_id, name=name, sha256=blob.sha256, bytes=blob.bytes))
    after_commit(session, lambda: checkpoints.remove_all(job_id))


def fail(session: Session, job_id: str, attempt: int, error: str) -> None:
    """End the job with a reason. Nothing happens if another attempt has it."""
    _move(session, job_id, "failed", _ended() | {"error": error}, {"error": error}, attempt)


def lose(session: Session, job_id: str, attempt: int, reason: str) -> None:
    """The process of this attempt is gone: queue the job again from its checkpoint, or fail it after too many times."""
    job = session.get(Job, job_id, populate_existing=True)
    if job is None or job.attempt != attempt:
        return
    if job.status == "cancelling":
        confirm_cancelled(session, job_id, attempt)
    elif job.crashes + 1 >= settings().max_attempts:
        error = LOST.format(job.crashes + 1, reason)
        _move(
            session,
            job_id,
            "failed",
            _ended() | {"error": error, "crashes": job.crashes + 1},
            {"error": error},
            attempt,
        )
    else:
        hand_back(session, job_id, attempt, reason, crashes=job.crashes + 1)


def hand_back(session: Session, job_id: str, attempt: int, reason: str, crashes: int | None = None) -> None:
    """Queue a running job again, to go on from its checkpoint."""
    values: dict[str, Any] = {"lease_until": None, "worker": None, "eta_seconds": None, "woken_at": now()}
    if crashes is not None:
        values["crashes"] = crashes
    _move(session, job_id, "queued", values, {"reason": reason}, attempt, only=("running",))


def cancel(session: Session, owner: str, job_id: str) -> Job:
    """Cancel at once where nothing runs, else ask the worker to.

    Raises: Conflict: the job has ended.
    """
    get(session, owner, job_id)
    job = _move(session, job_id, "cancelled", _ended(), {}, only=("queued",)) or _move(
        session, job_id, "cancelling", {}, {}
    )
    if job is None:
        job = get(session, owner, job_id)
        if job.status != "cancelling":
            raise Conflict(f"job {job_id} is {job.status}; it cannot be cancelled")
    return job


def confirm_cancelled(session: Session, job_id: str, attempt: int) -> None:
    """The process of a job that is being cancelled is gone.

    Nothing else is cancelled by it: a job that was taken back is queued under the same attempt until it is claimed.
    """
    _move(session, job_id, "cancelled", _ended(), {}, attempt, only=("cancelling",))


def retry(session: Session, owner: str, job_id: str) -> Job:
    """Queue a failed or cancelled job again; it goes on from its checkpoint.

    Raises: Conflict: the job has not failed and was not cancelled.
    """
    status = get(session, owner, job_id).status
    values = {"crashes": 0, "error": None, "finished_at": None, "woken_at": now(), "lease_until": None}
    job = _move(session, job_id, "queued", values, {"reason": "retry"}, only=("failed", "cancelled"))
    if job is None:
        raise Conflict(f"job {job_id} is {status}; only a failed or cancelled job can be retried")
    return job


def requeue(session: Session, job_id: str) -> Job:
    """Queue a job again by an operator's hand, from its checkpoint; the attempt that runs it is fenced.

    Raises: NotFound; Conflict: it has succeeded, or is being cancelled.
    """
    values = {"crashes": 0, "error": None, "finished_at": None, "woken_at": now(), **FREE}
    only = ("queued", "running", "failed", "cancelled")
    if job := _move(session, job_id, "queued", values, {"reason": "queued again by an operator"}, only=only):
        return job
    status = _status(session, job_id)
    instead = "`jobs fail` ends it at once" if status == "cancelling" else "post a new job to have it done again"
    raise Conflict(f"job {job_id} is {status} and cannot be queued; {instead}")


def give_up(session: Session, job_id: str, reason: str) -> Job:
    """End a job by an operator's hand: failed, or cancelled where that was asked for; what runs it is fenced.

    Raises: NotFound; Conflict: it has ended.
    """
    values, event = _ended() | {"error": reason}, {"error": reason}
    for to, only in (("failed", ("queued", "running")), ("cancelled", ("cancelling",))):
        if job := _move(session, job_id, to, values, event, only=only):
            return job
    raise Conflict(f"job {job_id} is {_status(session, job_id)}; only a job that has not ended can fail")


def remove(session: Session, owner: str, job_id: str) -> None:
    """Remove a job that has ended, with its files, events and checkpoints.

    Raises: Conflict: it has not ended.
    """
    status = get(session, owner, job_id).status
    if not _remove(session, [job_id]):
        raise Conflict(f"job {job_id} is {status}; cancel it first")


def expire(session: Session, seconds: float, limit: int) -> list[str]:
    """Remove some of the jobs that ended longer ago than this; returns their ids.

    Any number of workers may do this at once: each skips the rows that another has locked. A job that is tried again
    in the meantime stays.
    """
    old = Job.finished_at < now() - seconds
    found = select(Job.id).where(Job.status.in_(ENDED), old).order_by(Job.finished_at).limit(limit)
    return _remove(session, session.scalars(found.with_for_update(skip_locked=True)).all(), old)


def take_back(session: Session) -> list[Job]:
    """Queue the jobs whose worker has been silent for longer than its lease."""
    query = select(Job).where(Job.status.in_(("running", "cancelling")), Job.lease_until < now()).limit(100)
    found = list(session.scalars(query.with_for_update(skip_locked=True)))  # each by one sweeper, as they are counted
    for job in found:
        tallies.add(session, job_times.LEASE_LOST)
        lose(session, job.id, job.attempt, f"worker {job.worker} was silent for longer than its lease")
    return found


def overdue(session: Session, queue: str, seconds: float) -> list[str]:
    """Jobs in a queue that were not woken for so long; they count as woken now."""
    waited = Job.woken_at < now() - seconds
    query = select(Job.id).where(Job.status == "queued", Job.queue == queue, waited).order_by(*turns.ORDER).limit(1000)
    ids = list(session.scalars(query))
    session.execute(update(Job).where(Job.id.in_(ids)).values(woken_at=now()))
    return ids


def count_by_status(session: Session, *among: str) -> dict[str, int]:
    """How many jobs there are of each of these."""
    query = select(Job.status, func.count()).where(Job.status.in_(among)).group_by(Job.status)
    return dict.fromkeys(among, 0) | dict(session.execute(query).all())


def files(session: Session, job_id: str) -> list[Artifact]:
    """What the job delivered."""
    return list(session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))


def file(session: Session, job: Job, name: str) -> Artifact:
    """One delivered file.

    Raises: NotFound: the job has no such file, or not yet.
    """
    if row := session.get(Artifact, (job.id, name)):
        return row
    why = "" if job.status == "succeeded" else f": it is {job.status}, files are there when it has succeeded"
    raise NotFound(f"job {job.id} has no file {name}{why}")


def _move(
    session: Session,
    job_id: str,
    to: str,
    values: Mapping[str, Any],
    event: Mapping[str, Any],
    attempt: int | None = None,
    only: Sequence[str] | None = None,
) -> Job | None:
    """One compare-and-set, and its event; None if the status, or the attempt, is another."""
    query = update(Job).where(Job.id == job_id, Job.status.in_(only or MOVES[to]))
    if attempt is not None:
        query = query.where(Job.attempt == attempt)
    values = {"status": to, "last_event": Job.last_event + 1, **values}
    moved = session.execute(query.values(values).returning(Job, now()), execution_options=AS_WRITTEN).one_or_none()
    if moved is None:
        return None
    job, at = moved
    events.add(session, job, "status", {"status": to, **event})
    deliveries.announce(session, job)
    job_times.moved(session, job, at, lost=bool(values.get("crashes")))
    return job


def _teacher(plan: Mapping[str, Any]) -> str:
    """The model that the job learns from, or nothing."""
    return plan.get("distill", {}).get("teacher") or ""


def _remove(session: Session, job_ids: Sequence[str], *still: ColumnElement[bool]) -> list[str]:
    """Remove those of these jobs that have ended; returns their ids."""
    hashes = session.scalars(select(Artifact.sha256).where(Artifact.job_id.in_(job_ids))).all()
    query = delete(Job).where(Job.id.in_(job_ids), Job.status.in_(ENDED), *still)
    gone = list(session.scalars(query.returning(Job.id), execution_options={"synchronize_session": False}))
    artifacts.drop_unused(session, *set(hashes))
    for job_id in gone:
        after_commit(session, partial(checkpoints.remove_all, job_id))
    return gone


def _status(session: Session, job_id: str) -> str:
    """Raises: NotFound."""
    if status := session.scalar(select(Job.status).where(Job.id == job_id)):
        return status
    raise NotFound(f"there is no job {job_id}")


def _running(job_id: str, attempt: int) -> ColumnElement[bool]:
    return (Job.id == job_id) & (Job.attempt == attempt) & (Job.status == "running")


def _ended() -> dict[str, Any]:
    return {"finished_at": now(), **FREE}
