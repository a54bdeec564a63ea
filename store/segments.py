"""What came of transfers, in a bucket: segments named by where they begin and by the turn that wrote them.

Nobody can lock them. But a turn holds the transfer only from the offset that is saved in its row, and what it writes
counts only when the row was told (store.transfers.save), which a turn that lost the transfer cannot do. So where two
segments begin at the same byte, the one of the later turn is the one that counts.
"""

import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from store import artifacts
from store.artifacts import Blob
from store.settings import settings
from store.storage import storage

FOLDER = "transfers/"


class Segments:
    """Of one transfer, for one turn; what was not synced is on the disk of this machine. See store.parts.Part."""

    def __init__(self, id: str, offset: int, turn: int) -> None:
        self.id, self.size = id, offset
        self._turn, self._start = turn, offset
        settings().incoming.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = tempfile.TemporaryFile(dir=settings().incoming, buffering=0)  # noqa: SIM115

    def __enter__(self) -> "Segments":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What was not synced is gone."""
        self._file.close()

    def lock(self) -> bool:
        """True: the row decides who holds it."""
        return True

    def is_there(self) -> bool:
        """True."""
        return True

    def go_on(self, offset: int, holder: int) -> None:
        """From what the row says."""
        self.back((offset, None))

    def mark(self) -> tuple[int, Any]:
        """Where it ends now."""
        return self.size, None

    def back(self, mark: tuple[int, Any]) -> None:
        """A segment that is there already is written again, under the same name."""
        self.size = mark[0]
        self._start = min(self._start, self.size)
        self._file.truncate(self.size - self._start)
        self._file.seek(0, 2)

    def write(self, piece: bytes | bytearray) -> None:
        """Raises: OSError: the disk is full; nothing of this piece is kept then."""
        before = self.size
        try:
            view = memoryview(piece)
            while view:
                view = view[self._file.write(view) :]
        except OSError:
            self.back((before, None))
            raise
        self.size += len(piece)

    def sync(self) -> None:
        """Send what came since as one segment. Raises: StorageAway."""
        if self.size > self._start:
            self._file.seek(0)
            storage().put(f"{FOLDER}{self.id}/{self._start:016x}-{self._turn:08x}", self._file)
            self._file.seek(0)
            self._file.truncate()
            self._start = self.size

    def leave(self, holder: int) -> None:
        """Nothing is left here."""

    def blob(self) -> Blob:
        """All segments in one file, stored under its hash. Raises: FileNotFoundError: one is not there."""
        return artifacts.gather(self._pieces())

    def publish(self, blob: Blob) -> None:
        """It has its name already; segments go with the collector."""

    def _pieces(self) -> Iterator[bytes]:
        counting: dict[int, str] = {}
        for name in sorted(storage().names(f"{FOLDER}{self.id}/")):  # later turns last
            counting[int(name.rpartition("/")[2].partition("-")[0], 16)] = name
        at = 0
        while at < self.size:
            if at not in counting:
                raise FileNotFoundError(f"a segment of {self.id} at {at} is not there")
            for piece in storage().pieces(counting[at]):
                yield piece
                at += len(piece)


def remove(id: str) -> None:
    """Remove all of a transfer."""
    storage().remove_all(f"{FOLDER}{id}/")


def ids() -> set[str]:
    """The transfers of which something is there."""
    return {name.removeprefix(FOLDER).partition("/")[0] for name in storage().names(FOLDER)}
