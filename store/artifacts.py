"""Files by content hash, in the storage of the settings."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.database import after_commit, reading, writing
from store.locks import alone
from store.settings import settings
from store.storage import PIECE, always, quietly, storage
from store.tables import Artifact, Dataset, Model

NAMED = (Model.sha256, Dataset.sha256, Artifact.sha256)
NAME = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64})")


@dataclass(frozen=True)
class Blob:
    """A stored file."""

    sha256: str
    bytes: int


class Staged:
    """A file under construction. Use as a context: what is not kept by then is removed."""

    def __init__(self) -> None:
        self._draft = storage().draft()
        self._hash, self._bytes = hashlib.sha256(), 0

    def __enter__(self) -> "Staged":
        self._draft.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._draft.__exit__(*error)

    def write(self, chunk: bytes | bytearray) -> None:
        """Append, hashing."""
        self._hash.update(chunk)
        self._draft.file.write(chunk)
        self._bytes += len(chunk)

    def keep(self) -> Blob:
        """Publish under the content's hash. Raises: OSError: the disk is full. StorageAway."""
        blob = Blob(self._hash.hexdigest(), self._bytes)
        self._draft.keep(_name(blob.sha256))
        return blob


def put(content: bytes) -> Blob:
    """Store bytes."""
    with Staged() as staged:
        staged.write(content)
        return staged.keep()


def take(file: BinaryIO) -> Blob:
    """Store a copy of a file: whoever wrote it may still hold it open.

    Raises: OSError: the disk is full. StorageAway.
    """
    return gather(iter(partial(file.read, PIECE), b""))


def gather(pieces: Iterator[bytes]) -> Blob:
    """Store what comes. Raises: OSError: the disk is full. StorageAway."""
    with Staged() as staged:
        for piece in pieces:
            staged.write(piece)
        return staged.keep()


def touch(session: Session, *blobs: Blob) -> None:
    """Hold the files for the rows that this transaction adds: until its end they are not collected.

    Storing large files takes long, and the collector goes by age.

    Raises: FileNotFoundError: it was faster. StorageAway.
    """
    for sha256 in sorted({blob.sha256 for blob in blobs}):  # in one order: nobody waits for who waits for him
        alone(session, f"file {sha256}")
        storage().touch(_name(sha256))


def pieces(sha256: str) -> Iterator[bytes]:
    """Its content. Raises: FileNotFoundError, before the first piece is asked for; StorageAway."""
    return storage().pieces(_name(sha256))


def fetch(sha256: str, target: Path, is_wanted: Callable[[], bool] = always) -> Path:
    """A file of this machine with its content: its own place, or a copy at `target`.

    Raises: FileNotFoundError. OSError: the disk is full. StorageAway. Unwanted: by is_wanted.
    """
    return storage().fetch(_name(sha256), target, is_wanted)


def link(sha256: str, **headers: str) -> str | None:
    """Where anyone may fetch it for a while; None: it is at its path. Args: headers: content_type and the like."""
    return storage().link(_name(sha256), ((name.replace("_", "-"), value) for name, value in headers.items()))


def path(sha256: str) -> Path:
    """Where a blob is, in a folder; it may not exist. Raises: NotImplementedError: link says where."""
    return storage().path(_name(sha256))


def drop_unused(session: Session, *hashes: str) -> None:
    """When this transaction is committed, remove the files that no row names any more."""
    for sha256 in hashes:
        after_commit(session, partial(quietly, partial(_drop, sha256)))


def collect() -> None:
    """Remove what killed processes left behind: files without a row, and half-written ones."""
    files = stored()  # before the rows: what is published from here on is none of this
    with reading() as session:
        unused = files - named(session)
    for sha256 in unused:
        _drop(sha256)
    storage().sweep(settings().grace_seconds)


def named(session: Session) -> set[str]:
    """The files that rows name."""
    return {h for column in NAMED for h in session.scalars(select(column))}


def stored() -> set[str]:
    """The files that are there."""
    return {found[1] for name in storage().names() if (found := NAME.fullmatch(name))}


def _name(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


def _drop(sha256: str) -> None:
    """Remove a file without a row, unless it is so young that its row may be about to come."""
    with writing() as session:
        alone(session, f"file {sha256}")
        if any(session.scalar(select(column).where(column == sha256).limit(1)) for column in NAMED):
            return
        storage().remove_old(_name(sha256), settings().grace_seconds)
    for here in settings().cache.glob(f"*/{sha256}-*"):  # who reads it now keeps what it has mapped
        shutil.rmtree(here, ignore_errors=True)
