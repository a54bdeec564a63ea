"""Stored files that a piece of work needs, on this machine: from a bucket they are fetched, and kept for the next."""

import shutil
import tempfile
from pathlib import Path

from pruning.folders import INCOMPLETE, Lock
from store import artifacts, checkpoints
from store.settings import settings
from store.storage import storage
from worker.folder import Folder

CONTENT = "content"


def file(sha256: str, folder: Folder) -> Path:
    """A file that stays where it is for as long as the private folder does. Only its own process is shown it.

    It lies in no process's folder, and in no owner's part of the cache: whoever breaks out of a process meets files of
    others no more than before.

    Raises: FileNotFoundError. OSError: the disk is full. StorageAway, Unwanted.
    """
    if storage().root is not None:
        return artifacts.path(sha256)
    place = settings().fetched / f"{sha256}-{CONTENT}"
    folder.hold(_held(place) or _fetched(sha256, place, folder))
    return place / CONTENT


def checkpoint(name: str, folder: Folder) -> Path:
    """Of one job alone: where it had to be copied it lies in the private folder. One that is gone is not there.

    Raises: OSError: the disk is full. StorageAway, Unwanted.
    """
    target = folder.path / "from-checkpoint"
    try:
        return checkpoints.fetch(name, target, folder.is_wanted)
    except FileNotFoundError:  # the process says that the job starts over
        return target


def _held(place: Path) -> Lock | None:
    """None: it is not there, or is being removed."""
    try:
        lock = Lock(place)
        place.touch()  # the cache is trimmed by age
        (place / CONTENT).stat()
    except FileNotFoundError:
        return None
    return lock


def _fetched(sha256: str, place: Path, folder: Folder) -> Lock:
    """Fetched beside and renamed: what has its name is whole. Another process may be faster."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=INCOMPLETE, dir=place.parent))
    lock = Lock(beside)
    try:
        artifacts.fetch(sha256, beside / CONTENT, folder.is_wanted)
        try:
            beside.rename(place)
        except OSError:  # it is there
            return _held(place) or _fetched(sha256, place, folder)
        return lock
    finally:
        shutil.rmtree(beside, ignore_errors=True)
