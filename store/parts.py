"""Part files of transfers: what came so far, with a lock that ends with the process that holds it.

Where files are in a bucket, what came is there as well: see store.segments.
"""

import fcntl
import hashlib
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol, Self

from store import artifacts, segments
from store.artifacts import Blob
from store.folder import publish
from store.storage import storage
from store.tables import Transfer

PREFIX = "transfer-"
KEPT_HASHES = 1000
READ = 1 << 22
_hashes: OrderedDict[str, tuple[int, int, Any]] = OrderedDict()  # by transfer: holder, offset, hash up to there


class Part(Protocol):
    """What came of one transfer. Use as a context; it stays where it is not published.

    size: how many bytes there are.
    """

    size: int

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Let go of it, and of the lock."""
        ...

    def lock(self) -> bool:
        """Take it for this process alone; False: another has it. Until it is locked, nothing may be written."""
        ...

    def is_there(self) -> bool:
        """Whether what is locked is still the transfer's."""
        ...

    def go_on(self, offset: int, holder: int) -> None:
        """Forget what is beyond the offset; write on from there. Args: holder: the one before."""
        ...

    def mark(self) -> tuple[int, Any]:
        """Where it ends now, for `back`."""
        ...

    def back(self, mark: tuple[int, Any]) -> None:
        """Forget what was written since."""
        ...

    def write(self, piece: bytes | bytearray) -> None:
        """Append. Raises: OSError: the disk is full; nothing of this piece is kept then."""
        ...

    def sync(self) -> None:
        """Make what was written safe. Raises: OSError: the disk is full. StorageAway."""
        ...

    def leave(self, holder: int) -> None:
        """This holder writes no more."""
        ...

    def blob(self) -> Blob:
        """What it is when whole. Raises: StorageAway."""
        ...

    def publish(self, blob: Blob) -> None:
        """Give it its name, in the transaction that adds its row."""
        ...


class PartFile:
    """The file of one transfer; see Part."""

    def __init__(self, root: Path, id: str) -> None:
        self.id, self.path = id, _path(root, id)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._file).st_size
        self._hash: Any = None

    def __enter__(self) -> "PartFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it, and of the lock."""
        os.close(self._file)

    def lock(self) -> bool:
        """Take it for this process alone; False: another has it. Until it is locked, nothing may be written."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.size = os.fstat(self._file).st_size
        return True

    def is_there(self) -> bool:
        """Whether it still has its name: who waited for the lock may hold a file that was published or removed."""
        try:
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        except FileNotFoundError:
            return False

    def go_on(self, offset: int, holder: int) -> None:
        """Cut off what is beyond the offset; hash on where this process left off, and nobody wrote since."""
        os.ftruncate(self._file, offset)
        self.size = offset
        before, known, hash = _hashes.pop(self.id, (0, -1, None))
        self._hash = hash if (before, known) == (holder, offset) else hashlib.sha256() if offset == 0 else None

    def mark(self) -> tuple[int, Any]:
        """Where it ends now, for `back`."""
        return self.size, self._hash and self._hash.copy()

    def back(self, mark: tuple[int, Any]) -> None:
        """Forget what was written since."""
        self.size, self._hash = mark
        os.ftruncate(self._file, self.size)

    def write(self, piece: bytes | bytearray) -> None:
        """Append. Raises: OSError: the disk is full; nothing of this piece is kept then."""
        view, at = memoryview(piece), self.size
        try:
            while view:
                done = os.pwrite(self._file, view, at)
                view, at = view[done:], at + done
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        if self._hash is not None:
            self._hash.update(piece)
        self.size = at

    def sync(self) -> None:
        """Bring it to the disk. Raises: OSError: the disk is full."""
        os.fdatasync(self._file)

    def leave(self, holder: int) -> None:
        """Keep the hash in memory for the next request of this process."""
        if self._hash is not None:
            _hashes[self.id] = holder, self.size, self._hash
        while len(_hashes) > KEPT_HASHES:
            _hashes.popitem(last=False)

    def blob(self) -> Blob:
        """What it is when whole: read again, where its hash is not known from writing it."""
        if self._hash is None:
            self._hash, at = hashlib.sha256(), 0
            while piece := os.pread(self._file, READ, at):
                self._hash.update(piece)
                at += len(piece)
        return Blob(self._hash.hexdigest(), self.size)

    def publish(self, blob: Blob) -> None:
        """Rename it."""
        publish(self.path, artifacts.path(blob.sha256))


def part(row: Transfer) -> Part:
    """What came of it, for the request that asked last."""
    root = storage().root
    return segments.Segments(row.id, row.offset, row.turn) if root is None else PartFile(root, row.id)


def remove(id: str) -> None:
    """Remove what came of a transfer, if it is there."""
    _hashes.pop(id, None)
    root = storage().root
    if root is None:
        segments.remove(id)
    else:
        _path(root, id).unlink(missing_ok=True)


def ids() -> set[str]:
    """The transfers of which something is there."""
    root = storage().root
    return segments.ids() if root is None else {f.name.removeprefix(PREFIX) for f in root.glob(f"{PREFIX}*")}


def _path(root: Path, id: str) -> Path:
    return root / f"{PREFIX}{id}"
