"""Decoded data sets on disk: decoded once, mapped into memory. A folder is one data set read in one way."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pruning.analysis import Preprocess
from pruning.data import READERS
from pruning.data.check import check_values, dataset_of
from pruning.data.dataset import Dataset
from pruning.data.shelf import Bounds, Shelf
from pruning.folders import INCOMPLETE, Lock, remove

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


def _key(source: Source) -> str:
    with source.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    how = [source.format, source.preprocess.model_dump(mode="json", include=set(DECODING))]
    return f"{content}-{hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:16]}"


def _opened(folder: Path) -> tuple[Shelf, Lock] | None:
    """None: it is not there, or was removed just now."""
    try:
        lock = Lock(folder)
        found = Shelf.open(folder), lock
        os.utime(folder)
    except (OSError, ValueError, KeyError):
        return None
    return found


def _fill(source: Source, cache: Path, folder: Path) -> tuple[Shelf, Lock]:
    """Decode beside and rename: a folder with this name is whole. Another process may have been faster."""
    cache.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=INCOMPLETE, dir=cache))
    lock = Lock(incoming)
    try:
        dataset_of(_decoded(source, Shelf(incoming, source.bounds)), source.preprocess)
        if not _renamed(incoming, folder):
            if found := _opened(folder):
                return found
            remove(folder)
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
