"""The private folder of one process: empty at first, gone at the end, and held by a lock in between."""

import fcntl
import logging
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from store import checks
from store.settings import settings
from store.storage import storage

log = logging.getLogger(__name__)
ROOM = bytes(1 << 20)  # a process that cannot leave so much need not begin


class NotThere(Exception):
    """The process spoke of a file that is not in its folder, or is no file."""


@dataclass(frozen=True)
class Folder:
    """Where a process works. What lies in it was made by that process and is believed no more than the process is."""

    path: Path
    _held: list[object] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def hold(self, lock: object) -> None:
        """Keep a lock for as long as the folder is there."""
        self._held.append(lock)

    def give_up(self) -> None:
        """Nobody needs what is still being brought."""
        self._over.set()

    def is_wanted(self) -> bool:
        """Whether somebody does."""
        return not self._over.is_set()

    def let_go(self) -> None:
        """Of all locks that are held."""
        self._held.clear()

    def open(self, name: str) -> BinaryIO:
        """A file that the process has left, to read.

        Raises: NotThere: no file of its own; a link could lead to one of ours.
        """
        try:
            handle = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NotThere(name) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise NotThere(name)
        return os.fdopen(handle, "rb")

    def remove(self, name: str) -> None:
        """Make room."""
        (self.path / name).unlink(missing_ok=True)


@contextmanager
def private() -> Iterator[Folder]:
    """A new folder, on the disk where results go: the memory of a /tmp may be small."""
    place = settings().scratch
    place.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=place))
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    folder = Folder(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield folder
    finally:
        folder.let_go()
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def has_room() -> bool:
    """Whether there is space to work in, on the disk of the folders and on that of the results, if they are on one."""
    try:
        if storage().root:
            checks.storage()
        settings().scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings().scratch) as file:
            file.write(ROOM)
    except (OSError, checks.NotReady) as error:
        log.warning("this worker takes nothing for now: %s", error)
        return False
    return True


def sweep_folders() -> None:
    """Remove the folders of workers that were killed: nobody holds them any more."""
    for path in settings().scratch.glob("*/"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not any(path.iterdir()) and _is_young(handle):
                continue  # just made, and about to be locked
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)


def _is_young(handle: int) -> bool:
    """By the clock that stamps files, as that of a file server may be another than ours."""
    with tempfile.TemporaryFile(dir=settings().scratch) as file:
        return os.fstat(handle).st_mtime > os.fstat(file.fileno()).st_mtime - settings().grace_seconds
