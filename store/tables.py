"""Tables. Times are seconds since 1970 by the database's clock."""

import secrets
import time
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, MetaData, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.clock import now


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
    """An API key; only its hash is stored."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[float] = mapped_column(default=now())


class Upload:
    """What models and data sets have in common.

    status: validating, ready or rejected. attempt fences the process that looks at it; crashes counts those
    that began and have not said a word.
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
    each layer's weights near zero after the newest round; not loaded with lists.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        Index("jobs_by_owner", "owner", "id"),
        Index("jobs_by_status", "status", "lease_until"),
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
    last_event: Mapped[int] = mapped_column(default=0)


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
