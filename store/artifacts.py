"""Files by content hash: written beside, then renamed into place, so that a name means whole content."""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.database import after_commit, reading
from store.settings import settings
from store.tables import Artifact, Dataset, Model

NAMED = (Model.sha256, Dataset.sha256, Artifact.sha256)
PIECE = 1 << 20


@dataclass(frozen=True)
class Blob:
    """A stored file."""

    sha256: str
    bytes: int


class Staged:
    """A file under construction. Use as a context: what is not kept by then is removed."""

    def __init__(self) -> None:
        root = settings().artifacts
        root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="incoming-", dir=root)
        fcntl.flock(handle, fcntl.LOCK_SH)  # as long as it is open: what a killed process leaves is nobody's
        self._file, self._path = os.fdopen(handle, "wb"), Path(name)
        self._hash, self._bytes = hashlib.sha256(), 0

    def __enter__(self) -> "Staged":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, chunk: bytes | bytearray) -> None:
        """Append, hashing."""
        self._hash.update(chunk)
        self._file.write(chunk)
        self._bytes += len(chunk)

    def keep(self) -> Blob:
        """Publish under the content's hash. Raises: OSError: the disk is full."""
        self._file.flush()
        os.fsync(self._file.fileno())
        blob = Blob(self._hash.hexdigest(), self._bytes)
        adopt(self._path, blob)
        return blob


def put(content: bytes) -> Blob:
    """Store bytes."""
    with Staged() as staged:
        staged.write(content)
        return staged.keep()


def take(file: BinaryIO) -> Blob:
    """Store a copy of a file: whoever wrote it may still hold it open. Raises: OSError: the disk is full."""
    with Staged() as staged:
        while piece := file.read(PIECE):
            staged.write(piece)
        return staged.keep()


def touch(*blobs: Blob) -> None:
    """Say that their rows are coming: call in the transaction that names them, when it holds its locks.

    Storing large files takes long, and the collector goes by age. Raises: FileNotFoundError: it was faster.
    """
    for blob in blobs:
        os.utime(path(blob.sha256))


def is_full(error: BaseException) -> bool:
    """Whether there is no space left where files are stored."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def adopt(file: Path, blob: Blob) -> None:
    """Publish a whole file, already on the disk, under its content's hash; it leaves its old place.

    What is there already stays: processes that may read just this file, and no other, are about to open it.
    """
    target = path(blob.sha256)
    target.parent.mkdir(exist_ok=True)
    os.utime(file)  # it may have lain for hours: its row is coming, and the collector goes by age
    try:
        os.utime(target)
        is_there = target.stat().st_size == blob.bytes
    except FileNotFoundError:
        is_there = False
    if is_there:
        file.unlink()
    else:
        file.rename(target)


def path(sha256: str) -> Path:
    """Where a blob is; it may not exist."""
    return settings().artifacts / sha256[:2] / sha256


def drop_unused(session: Session, *hashes: str) -> None:
    """When this transaction is committed, remove the files that no row names any more."""
    for sha256 in hashes:
        after_commit(session, lambda h=sha256: _drop(h))


def collect() -> None:
    """Remove what killed processes left behind: files without a row, and half-written ones."""
    root = settings().artifacts
    files = stored()  # before the rows: what is published from here on is none of this
    with reading() as session:
        unused = files - named(session)
    for sha256 in unused:
        _drop(sha256)
    for file in [*root.glob("incoming-*"), *root.glob("leaving-*")]:
        if _age(file) > settings().grace_seconds and _is_nobodys(file):
            file.unlink(missing_ok=True)


def named(session: Session) -> set[str]:
    """The files that rows name."""
    return {h for column in NAMED for h in session.scalars(select(column))}


def stored() -> set[str]:
    """The files that are there."""
    return {file.name for file in settings().artifacts.glob("??/*")}


def _drop(sha256: str) -> None:
    """Remove a file without a row, unless it is so young that its row may be about to come.

    It is moved aside first and its age read then: the same content may be published again in between.
    """
    with reading() as session:
        if any(session.scalar(select(column).where(column == sha256).limit(1)) for column in NAMED):
            return
    if _age(path(sha256)) < settings().grace_seconds:
        return
    for decoded in settings().cache.glob(f"*/{sha256}-*"):  # who reads it now keeps what it has mapped
        shutil.rmtree(decoded, ignore_errors=True)
    aside = settings().artifacts / f"leaving-{sha256}"
    try:
        path(sha256).rename(aside)
    except FileNotFoundError:
        return
    if _age(aside) < settings().grace_seconds:
        aside.rename(path(sha256))
    else:
        aside.unlink(missing_ok=True)


def _is_nobodys(file: Path) -> bool:
    """Whether no process writes it."""
    try:
        with file.open("rb") as content:
            fcntl.flock(content, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def _age(file: Path) -> float:
    """Seconds since it was written, by the clock that stamps files: ours may be an hour off. 0 if it is not there."""
    try:
        written = file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    with tempfile.TemporaryFile(dir=settings().artifacts) as stamped:
        return os.fstat(stamped.fileno()).st_mtime - written
