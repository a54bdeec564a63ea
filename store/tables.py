"""Tables. Times are seconds since 1970 by the database's clock."""

import secrets
import time
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, MetaData, String, UniqueConstraint, desc
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.clock import now
from store.tracing import traceparent


def new_id(prefix: str) -> str:
    """An id that sorts by time of creation, such as mdl_0199c5f1a2b3c4d5e6f7a8b9."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON, list[str]: JSON, str: String, float: Float}


class Key(Base):
    """An API key; only its hash is stored. name: what it is for. scope: of store.keys.SCOPES."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[float] = mapped_column(default=now())
    name: Mapped[str | None]
    scope: Mapped[str] = mapped_column(default="write")
    last_used_at: Mapped[float | None]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class Upload:
    """What models and data sets have in common.

    status: validating, ready or rejected. attempt fences the process that looks at it; crashes counts those
    that began and have not said a word. touched_at: when it was last uploaded again, or used by a new job.
    """

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    sha256: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(default="validating", index=True)
    problems: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[float] = mapped_column(default=now())
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[float | None]
    touched_at: Mapped[float | None]

    trace: Mapped[str | None] = mapped_column(default=traceparent)


class Model(Upload, Base):
    """An uploaded ONNX model; analysis is pruning.analysis.Analysis."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("owner", "sha256"),)
    analysis: Mapped[dict[str, Any] | None]


class Dataset(Upload, Base):
    """An uploaded data set; the same bytes read in another way are another data set."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("owner", "sha256", "reading"),)
    format: Mapped[str]
    preprocess: Mapped[dict[str, Any]]
    reading: Mapped[str]
    summary: Mapped[dict[str, Any] | None]


class Job(Base):
    """A pruning job.

    attempt counts claims and fences late writers; crashes counts lost processes since the last retry. layers: share of
    each layer's weights near zero after the newest round; not loaded with lists. queue, priority, turn: see
    store.turns. trace: the span of the POST, as W3C's traceparent.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        Index("jobs_by_owner", "owner", "id"),
        Index("jobs_by_status", "status", "lease_until"),
        Index("jobs_in_turn", "status", desc("priority"), "turn", "id"),  # as store.turns.ORDER
        Index("jobs_by_wait", "status", "queued_at"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str | None]
    labels: Mapped[str] = mapped_column(default="[]")
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    plan: Mapped[dict[str, Any]]
    idempotency_key: Mapped[str | None]
    body_hash: Mapped[str | None]
    queue: Mapped[str] = mapped_column(default="cpu")
    priority: Mapped[int] = mapped_column(default=0)
    turn: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(default="queued")
    phase: Mapped[str | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    round: Mapped[int | None]
    layers: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    eta_seconds: Mapped[float | None]
    goal_met: Mapped[bool | None]
    error: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    lease_until: Mapped[float | None]
    woken_at: Mapped[float] = mapped_column(default=now())
    created_at: Mapped[float] = mapped_column(default=now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    checkpoint: Mapped[str | None]
    webhook_url: Mapped[str | None]
    last_event: Mapped[int] = mapped_column(default=0)
    queued_at: Mapped[float | None] = mapped_column(default=now())
    phase_since: Mapped[float | None]
    trace: Mapped[str | None] = mapped_column(default=traceparent)


class Event(Base):
    """Append-only; seq counts from 1 within a job, without gaps."""

    __tablename__ = "events"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(default=now())
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]


class Metric(Base):
    """Numbers of one round; a round that is done again after a takeover replaces what was there."""

    __tablename__ = "metrics"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    phase: Mapped[str]
    round: Mapped[int]
    values: Mapped[dict[str, Any]]


class Artifact(Base):
    """A file that a job delivered."""

    __tablename__ = "artifacts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)


class Delivery(Base):
    """A message about a job's end, on its way to the job's webhook; its id is the same on each try.

    payload: the bytes that are signed and sent. next_at: when it is tried next; None: delivered, or given up.
    attempts counts tries that were begun, and fences whoever comes back late from one.
    """

    __tablename__ = "deliveries"
    __table_args__ = (Index("deliveries_by_next", "next_at"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    owner: Mapped[str]
    host: Mapped[str]
    url: Mapped[str]
    type: Mapped[str]
    payload: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float] = mapped_column(default=now())
    next_at: Mapped[float | None] = mapped_column(default=now())
    leased_until: Mapped[float | None]
    delivered_at: Mapped[float | None]
    gave_up_at: Mapped[float | None]
    last_error: Mapped[str | None]


class WebhookSecret(Base):
    """What an owner's messages are signed with; not hashed, for signing needs it. previous signs too, for a while."""

    __tablename__ = "webhook_secrets"
    owner: Mapped[str] = mapped_column(primary_key=True)
    secret: Mapped[str]
    previous: Mapped[str | None]
    previous_until: Mapped[float | None]


class Worker(Base):
    """A worker as it told of itself when it was last seen.

    id: host:pid:random. queues: those that it takes messages from now. busy_with: id of a job or an upload. done: how
    many it has worked on. draining and leaving are orders: take nothing more; end when idle.
    """

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    queues: Mapped[list[str]]
    started_at: Mapped[float] = mapped_column(default=now())
    seen_at: Mapped[float] = mapped_column(default=now(), index=True)
    busy_with: Mapped[str | None]
    done: Mapped[int] = mapped_column(default=0)
    draining: Mapped[bool] = mapped_column(default=False)
    leaving: Mapped[bool] = mapped_column(default=False)
    version: Mapped[str]
    facts: Mapped[dict[str, Any]]


class QuotaRow(Base):
    """Limits of an owner that are not the settings'; None: as there, 0: no limit."""

    __tablename__ = "quotas"
    owner: Mapped[str] = mapped_column(primary_key=True)
    max_jobs_queued: Mapped[int | None]
    max_jobs_running: Mapped[int | None]
    max_bytes_stored: Mapped[int | None] = mapped_column(BigInteger)
    max_requests_a_minute: Mapped[int | None]


class Tally(Base):
    """A number for /metrics that all processes add to, or that one of them sets; read whole with each scrape."""

    __tablename__ = "tallies"
    name: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[float]
    at: Mapped[float]


class Transfer(Base):
    """An upload in pieces; offset is how many of its bytes are safe.

    turn counts the requests that asked for it, holder is the turn that writes.
    offset reaches length in the transaction that adds the upload, and not before.
    """

    __tablename__ = "transfers"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    described: Mapped[str | None]
    length: Mapped[int] = mapped_column(BigInteger)
    offset: Mapped[int] = mapped_column(BigInteger, default=0)
    turn: Mapped[int] = mapped_column(default=0)
    holder: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float] = mapped_column(default=now())
    expires_at: Mapped[float] = mapped_column(index=True)
    upload_id: Mapped[str | None]
    is_new: Mapped[bool | None]
