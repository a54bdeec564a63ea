"""Messages to webhooks: written with the end that they tell of, taken by one sender at a time, tried until given up."""

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from store import events, webhook_secrets
from store.addresses import host_of
from store.clock import now
from store.errors import NotFound
from store.tables import Delivery, Job, new_id

TYPES = {"succeeded": "job.succeeded", "failed": "job.failed", "cancelled": "job.cancelled"}
MINUTE, HOUR = 60, 3600
PAUSES = (5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
JITTER = 0.2  # of a pause: receivers that come back are not met by everything at once
LEASE_SECONDS = 60  # longer than any try


@dataclass(frozen=True)
class Taken:
    """A delivery that is this sender's alone for LEASE_SECONDS. at: now; secrets: what signs it."""

    id: str
    job_id: str
    owner: str
    host: str
    url: str
    payload: str
    attempt: int
    at: float
    secrets: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """How a try went; error: None: it was delivered. is_final: no other try is wanted."""

    error: str | None = None
    is_final: bool = False


def announce(session: Session, job: Job) -> None:
    """Tell the job's webhook of its end, in the transaction that ends it: once for each end."""
    if job.status not in TYPES or job.webhook_url is None:
        return
    message = {"type": TYPES[job.status], "timestamp": _time(job.finished_at), "data": _data(job)}
    delivery = Delivery(
        id=new_id("msg"),
        job_id=job.id,
        owner=job.owner,
        host=host_of(job.webhook_url),
        url=job.webhook_url,
        type=message["type"],
        payload=json.dumps(message, separators=(",", ":")),
    )
    session.add(delivery)


def is_any_due(session: Session) -> bool:
    """Whether something waits to be sent: one look into an index."""
    return session.scalar(select(Delivery.id).where(_due()).limit(1)) is not None


def take(session: Session, not_hosts: Collection[str] = (), not_owners: Collection[str] = ()) -> Taken | None:
    """The delivery that has been due for longest, of no such host or owner; two senders cannot both have it."""
    free = _due() & Delivery.host.not_in(not_hosts) & Delivery.owner.not_in(not_owners)
    first = select(Delivery.id).where(free).order_by(Delivery.next_at).limit(1).with_for_update(skip_locked=True)
    query = (
        update(Delivery)
        .where(Delivery.id == first.scalar_subquery(), _due())
        .values(attempts=Delivery.attempts + 1, leased_until=now() + LEASE_SECONDS)
    )
    row = session.scalar(query.returning(Delivery))
    if row is None:
        return None
    at = session.scalar(select(now())) or 0.0
    secrets = webhook_secrets.signing(session, row.owner)
    return Taken(row.id, row.job_id, row.owner, row.host, row.url, row.payload, row.attempts, at, secrets)


def settle(session: Session, taken: Taken, outcome: Outcome) -> None:
    """Write down how a try went, unless it was taken by another sender meanwhile, or went with its job."""
    # the job is locked first, as by whoever ends or removes it: the other way round two could wait for each other
    if session.scalar(select(Job.id).where(Job.id == taken.job_id).with_for_update()) is None:
        return
    gives_up = outcome.error is not None and (outcome.is_final or taken.attempt > len(PAUSES))
    values: dict[str, Any] = {"leased_until": None, "last_error": outcome.error, "next_at": None}
    if outcome.error is None:
        values |= {"delivered_at": now()}
    elif gives_up:
        values |= {"gave_up_at": now()}
    else:
        pause = PAUSES[taken.attempt - 1] * random.uniform(1, 1 + JITTER)  # nosec B311  # no secret
        values |= {"next_at": now() + pause}
    mine = update(Delivery).where(Delivery.id == taken.id, Delivery.attempts == taken.attempt)
    if session.scalar(mine.values(**values).returning(Delivery.id)) is None:
        return
    if outcome.error is None or gives_up or taken.attempt == 1:
        data = {"message": taken.id, "attempt": taken.attempt, "text": _said(taken, outcome, gives_up)}
        events.append(session, taken.job_id, "webhook", data)


def of_job(session: Session, job_id: str) -> list[Delivery]:
    """A job's deliveries, oldest first."""
    return list(session.scalars(select(Delivery).where(Delivery.job_id == job_id).order_by(Delivery.id)))


def resend(session: Session, job_id: str, id: str) -> Delivery:
    """Try a message once more now, whatever became of it; if that fails it goes on where its pauses were.

    Raises: NotFound: the job has no such message.
    """
    query = update(Delivery).where(Delivery.id == id, Delivery.job_id == job_id)
    again = query.values(next_at=now(), delivered_at=None, gave_up_at=None)
    delivery = session.scalar(again.returning(Delivery))
    if delivery is None:
        raise NotFound(f"job {job_id} has no message {id}")
    return delivery


def _due() -> Any:
    return (Delivery.next_at <= now()) & or_(Delivery.leased_until.is_(None), Delivery.leased_until < now())


def _said(taken: Taken, outcome: Outcome, gives_up: bool) -> str:
    if outcome.error is None:
        return f"told {taken.host} of the end"
    end = f"given up after {taken.attempt} tries" if gives_up else "tried again"
    return f"{taken.host} could not be told of the end: {outcome.error}; {end}"


def _data(job: Job) -> dict[str, Any]:
    """The job as GET shows it, without what is large or was said by whoever posted it."""
    same = ("id", "name", "model_id", "dataset_id", "status", "attempt", "error", "goal_met", "result")
    times = {name: _time(getattr(job, name)) for name in ("created_at", "started_at", "finished_at")}
    return {
        **{name: getattr(job, name) for name in same},
        "labels": json.loads(job.labels),
        **times,
        "path": f"/v1/jobs/{job.id}",
    }


def _time(seconds: float | None) -> str | None:
    """As the API writes it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
