"""Rows held against files: what is missing, damaged, or named by nobody."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from store import artifacts, checkpoints
from store.database import reading
from store.tables import Job


@dataclass(frozen=True)
class Finding:
    """kind: missing, damaged, unnamed or checkpoint. is_wrong: an unnamed file is only waste, which is collected."""

    kind: str
    file: str
    text: str
    is_wrong: bool


def audit() -> Iterator[Finding]:
    """Every file is read; the files come before the rows, so that one that is just coming is no finding."""
    stored, folders = artifacts.stored(), checkpoints.jobs()
    with reading() as session:
        named = artifacts.named(session)
        yield from _checkpoints(session, folders)
    yield from _files(named)
    for sha256 in sorted(stored - named):
        yield Finding("unnamed", sha256, f"no row names file {sha256}; workers remove it", is_wrong=False)


def _files(named: set[str]) -> Iterator[Finding]:
    for sha256 in sorted(named):
        found = _hash(sha256)
        if found == sha256:
            continue
        with reading() as session:
            users = ", ".join(_users(session, sha256))
        if not users:  # deleted since
            continue
        kind, what = ("missing", "is not there") if found is None else ("damaged", "is not what was stored")
        advice = "bring it back from a backup, or delete what uses it"
        yield Finding(kind, sha256, f"file {sha256} of {users} {what}: {advice}", is_wrong=True)


def _checkpoints(session: Session, folders: set[str]) -> Iterator[Finding]:
    for job_id, name in session.execute(select(Job.id, Job.checkpoint).where(Job.checkpoint.is_not(None))):
        if not checkpoints.names(job_id):
            text = f"checkpoint {name} of {job_id} is not there: the job would start over"
            yield Finding("checkpoint", str(name), text, is_wrong=True)
    for job_id in sorted(folders - set(session.scalars(select(Job.id)))):
        yield Finding("unnamed", job_id, f"checkpoints of {job_id}, which is gone; workers remove them", is_wrong=False)


def _users(session: Session, sha256: str) -> Iterator[str]:
    """Ids of the rows that name it, such as mdl_1 or job_1/pruned.onnx."""
    for column in artifacts.NAMED:
        for row in session.scalars(select(column.class_).where(column == sha256)):
            yield "/".join(map(str, inspect(row).identity))


def _hash(sha256: str) -> str | None:
    """None: it is not there."""
    found = hashlib.sha256()
    try:
        for piece in artifacts.pieces(sha256):
            found.update(piece)
    except FileNotFoundError:
        return None
    return found.hexdigest()
