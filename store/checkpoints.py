"""Checkpoints: files of one attempt of one job, named by the job's row while it is the newest."""

import shutil
from pathlib import Path
from typing import BinaryIO

from store.settings import settings


def write(job_id: str, attempt: int, number: int, content: BinaryIO) -> str:
    """Store a checkpoint; returns the name that the row is to hold. Raises: OSError: the disk is full."""
    name = f"{job_id}/{attempt}-{number}"
    target = path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".part")
    try:
        with beside.open("wb") as file:
            shutil.copyfileobj(content, file)
        beside.rename(target)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return name


def path(name: str) -> Path:
    """Where a checkpoint is; it may be gone."""
    return settings().artifacts / "checkpoints" / name


def keep_only(name: str) -> None:
    """Remove the other checkpoints of the same job, and what killed writers left."""
    for file in path(name).parent.iterdir():
        if file != path(name):
            file.unlink(missing_ok=True)


def remove_all(job_id: str) -> None:
    """Remove all checkpoints of a job that has ended well."""
    shutil.rmtree(path(job_id), ignore_errors=True)


def jobs() -> list[str]:
    """Jobs that have, or had, checkpoints."""
    return [folder.name for folder in path("").glob("*")]


def names(job_id: str) -> list[str]:
    """Whole checkpoints of a job, the newest last."""
    found = [file.name for file in path(job_id).glob("*") if not file.suffix]
    return [f"{job_id}/{name}" for name in sorted(found, key=lambda name: [int(part) for part in name.split("-")])]
