"""Decoded data sets on disk: decoded once, mapped into memory, the least recently used removed.

A folder is one data set read in one way. Who reads or writes it holds a shared lock on it, so that nothing in use is
removed; the lock ends with the process.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pruning.analysis import Preprocess
from pruning.data import READERS
from pruning.data.check import check_values, dataset_of
from pruning.data.dataset import Dataset
from pruning.data.shelf import Bounds, Shelf

log = logging.getLogger(__name__)
INCOMPLETE = "incoming-"
YOUNG_SECONDS = 60  # between its making and its lock a folder has nobody
DECODING = ("size", "fit", "color", "layout")  # the rest of Preprocess is done to each batch


@dataclass(frozen=True)
class Source:
    """A data set's file, and how it is to be read."""

    path: Path
    format: str = "npz"
    preprocess: Preprocess = field(default_factory=Preprocess)
    bounds: Bounds = field(default_factory=Bounds)


def read(source: Source, cache: Path | None = None) -> Dataset:
    """Read and check a data set; a cache keeps it decoded for the next time, None decodes into memory.

    Raises: UnreadableDataset: what is wrong with the file.
    """
    if cache is None:
        return dataset_of(_decoded(source, Shelf(bounds=source.bounds)), source.preprocess)
    folder = cache / _key(source)
    found = _opened(folder) or _fill(source, cache, folder)
    return replace(dataset_of(found[0], source.preprocess), held=found[1])


def trim(cache: Path, most_bytes: int) -> None:
    """Remove what nobody reads, least recently used first, until it takes no more than most_bytes."""
    folders = sorted((f for f in cache.glob("*/")), key=_age, reverse=True)
    sizes = {folder: _size(folder) for folder in folders}
    total = sum(sizes.values())
    for folder in folders:
        is_left_over = folder.name.startswith(INCOMPLETE) and _age(folder) > YOUNG_SECONDS
        if (total > most_bytes or is_left_over) and _remove(folder):
            total -= sizes[folder]


class _Lock:
    """A shared lock on a folder, until it is closed or forgotten."""

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)


def _key(source: Source) -> str:
    with source.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    how = [source.format, source.preprocess.model_dump(mode="json", include=set(DECODING))]
    return f"{content}-{hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:16]}"


def _opened(folder: Path) -> tuple[Shelf, _Lock] | None:
    """None: it is not there, or was removed just now."""
    try:
        lock = _Lock(folder)
        found = Shelf.open(folder), lock
        os.utime(folder)
    except (OSError, ValueError, KeyError):
        return None
    return found


def _fill(source: Source, cache: Path, folder: Path) -> tuple[Shelf, _Lock]:
    """Decode beside and rename: a folder with this name is whole. Another process may have been faster."""
    cache.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=INCOMPLETE, dir=cache))
    lock = _Lock(incoming)
    try:
        dataset_of(_decoded(source, Shelf(incoming, source.bounds)), source.preprocess)
        if not _renamed(incoming, folder):
            if found := _opened(folder):
                return found
            _remove(folder)
            incoming.rename(folder)
        return Shelf.open(folder), lock
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _renamed(incoming: Path, folder: Path) -> bool:
    """False: the name is taken."""
    try:
        incoming.rename(folder)
    except OSError:
        return False
    return True


def _decoded(source: Source, shelf: Shelf) -> Shelf:
    reader: Callable[[Path, Preprocess, Shelf], None] = READERS[source.format]
    reader(source.path, source.preprocess, shelf)
    check_values(shelf)
    return shelf.close()


def _remove(folder: Path) -> bool:
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
