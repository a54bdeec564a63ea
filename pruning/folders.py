"""Folders of decoded data: who reads or writes one holds a shared lock on it, so that nothing in use is removed.

The lock ends with the process. Importable without numpy.
"""

import fcntl
import logging
import os
import shutil
import time
import uuid
from pathlib import Path

log = logging.getLogger(__name__)
INCOMPLETE = "incoming-"
YOUNG_SECONDS = 60  # between its making and its lock a folder has nobody


class Lock:
    """A shared lock on a folder, until it is closed or forgotten."""

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)


def trim(caches: list[Path], most_bytes: int) -> None:
    """Remove what nobody reads, least recently used first, until all together take no more than most_bytes."""
    folders = sorted((f for cache in caches for f in cache.glob("*/")), key=_age, reverse=True)
    sizes = {folder: _size(folder) for folder in folders}
    total = sum(sizes.values())
    for folder in folders:
        is_left_over = folder.name.startswith(INCOMPLETE) and _age(folder) > YOUNG_SECONDS
        if (total > most_bytes or is_left_over) and remove(folder):
            total -= sizes[folder]


def remove(folder: Path) -> bool:
    """Whether nobody held it. It is moved aside first: what has its name is whole."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aside = folder.with_name(f"{INCOMPLETE}{uuid.uuid4().hex}")
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        log.debug("another process removes %s", folder)
    finally:
        os.close(handle)
    return True


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*") if file.exists())
