"""Files by content hash: written beside, then renamed into place, so that a name means whole content."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.settings import settings
from store.tables import Artifact, Dataset, Job, Model


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
        """Publish under the content's hash."""
        self._file.flush()
        os.fsync(self._file.fileno())
        blob = Blob(self._hash.hexdigest(), self._bytes)
        target = path(blob.sha256)
        target.parent.mkdir(exist_ok=True)
        self._path.rename(target)
        return blob


def put(content: bytes) -> Blob:
    """Store bytes."""
    with Staged() as staged:
        staged.write(content)
        return staged.keep()


def path(sha256: str) -> Path:
    """Where a blob is; it may not exist."""
    return settings().artifacts / sha256[:2] / sha256


def drop_unused(session: Session, *hashes: str | None) -> None:
    """Remove files that no row names any more."""
    for sha256 in filter(None, hashes):
        if not _is_used(session, sha256):
            path(sha256).unlink(missing_ok=True)


def _is_used(session: Session, sha256: str) -> bool:
    columns = (Model.sha256, Dataset.sha256, Artifact.sha256, Job.checkpoint)
    return any(session.scalar(select(column).where(column == sha256).limit(1)) for column in columns)
