"""Checkpoints: files of one attempt of one job, named by the job's row while it is the newest."""

import shutil
from pathlib import Path

from store.settings import settings


def write(job_id: str, attempt: int, number: int, content: bytes) -> str:
    """Store a checkpoint; returns the name that the row is to hold."""
    name = f"{job_id}/{attempt}-{number}"
    target = _path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".part")
    beside.write_bytes(content)
    beside.rename(target)
    return name


def read(name: str) -> bytes:
    """Raises: FileNotFoundError."""
    return _path(name).read_bytes()


def keep_only(name: str) -> None:
    """Remove the other checkpoints of the same job, and what killed writers left."""
    for file in _path(name).parent.iterdir():
        if file != _path(name):
            file.unlink(missing_ok=True)


def remove_all(job_id: str) -> None:
    """Remove all checkpoints of a job that has ended well."""
    shutil.rmtree(_path(job_id), ignore_errors=True)


def jobs() -> list[str]:
    """Jobs that have, or had, checkpoints."""
    return [folder.name for folder in _path("").glob("*")]


def names(job_id: str) -> list[str]:
    """Whole checkpoints of a job, the newest last."""
    found = [file.name for file in _path(job_id).glob("*") if not file.suffix]
    return [f"{job_id}/{name}" for name in sorted(found, key=lambda name: [int(part) for part in name.split("-")])]


def _path(name: str) -> Path:
    return settings().artifacts / "checkpoints" / name
