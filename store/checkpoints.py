"""Checkpoints: files of one attempt of one job, named by the job's row while it is the newest."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from store.storage import always, storage

FOLDER = "checkpoints/"


def write(job_id: str, attempt: int, number: int, content: BinaryIO) -> str:
    """Store a checkpoint; returns the name that the row is to hold.

    Raises: OSError: the disk is full. StorageAway.
    """
    name = f"{job_id}/{attempt}-{number}"
    storage().put(FOLDER + name, content)
    return name


def fetch(name: str, target: Path, is_wanted: Callable[[], bool] = always) -> Path:
    """A file of this machine with it: its own place, or a copy at `target`.

    Raises: FileNotFoundError: it is gone. OSError: the disk is full. StorageAway. Unwanted: by is_wanted.
    """
    return storage().fetch(FOLDER + name, target, is_wanted)


def read(name: str) -> bytes:
    """Its content. Raises: FileNotFoundError: it is gone. StorageAway."""
    return b"".join(storage().pieces(FOLDER + name))


def keep_only(name: str) -> None:
    """Remove the other checkpoints of the same job."""
    for other in names(name.partition("/")[0]):
        if other != name:
            storage().remove(FOLDER + other)


def remove_all(job_id: str) -> None:
    """Remove all checkpoints of a job that has ended well."""
    storage().remove_all(f"{FOLDER}{job_id}/")


def jobs() -> set[str]:
    """Jobs that have checkpoints."""
    return {name.removeprefix(FOLDER).partition("/")[0] for name in storage().names(FOLDER)}


def names(job_id: str) -> list[str]:
    """Checkpoints of a job, the newest last."""
    found = (name.rpartition("/")[2] for name in storage().names(f"{FOLDER}{job_id}/"))
    return [f"{job_id}/{name}" for name in sorted(found, key=lambda name: [int(part) for part in name.split("-")])]
