"""Files in a folder: written beside, then renamed into place, so that a name means whole content."""

import fcntl
import filecmp
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from store.storage import PIECE, Unlike

BESIDE = "incoming-"
LEAVING = "leaving-"
SAMPLE = b"secateur"


class FolderDraft:
    """A file beside the others; see store.storage.Draft."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=BESIDE, dir=root)
        fcntl.flock(handle, fcntl.LOCK_SH)  # as long as it is open: what a killed process leaves is nobody's
        self.file: BinaryIO = os.fdopen(handle, "w+b")
        self._path, self._root = Path(name), root

    def __enter__(self) -> "FolderDraft":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.file.close()
        finally:
            self._path.unlink(missing_ok=True)

    def keep(self, name: str, is_synced: bool = True) -> None:
        """Publish. Raises: OSError: the disk is full."""
        self.file.flush()
        if is_synced:
            os.fsync(self.file.fileno())
        publish(self._path, self._root / name)


class Folder:
    """See store.storage.Storage."""

    def __init__(self, root: Path) -> None:
        self.root: Path | None = root
        self._root = root

    def draft(self) -> FolderDraft:
        """In the same folder: a rename is enough to publish it."""
        return FolderDraft(self._root)

    def put(self, name: str, content: BinaryIO) -> None:
        """Raises: OSError: the disk is full."""
        with self.draft() as draft:
            shutil.copyfileobj(content, draft.file, PIECE)
            draft.keep(name, is_synced=False)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Raises: FileNotFoundError."""
        file = self.path(name).open("rb")

        def read() -> Iterator[bytes]:
            with file:
                while piece := file.read(PIECE):
                    yield piece

        return read()

    def fetch(self, name: str, target: Path, is_wanted: Callable[[], bool]) -> Path:
        """Its own place."""
        return self.path(name)

    def path(self, name: str) -> Path:
        """Where it is."""
        return self._root / name

    def link(self, name: str, headers: Iterable[tuple[str, str]]) -> str | None:
        """None."""
        return None

    def touch(self, name: str) -> None:
        """Raises: FileNotFoundError."""
        os.utime(self.path(name))

    def names(self, prefix: str = "") -> Iterator[str]:
        """Without what is under construction."""
        for folder, _, files in os.walk(self._root / prefix):
            within = Path(folder).relative_to(self._root)
            if within != Path():
                yield from (str(within / file) for file in files)

    def remove(self, name: str) -> None:
        """If it is there."""
        self.path(name).unlink(missing_ok=True)

    def remove_old(self, name: str, seconds: float) -> None:
        """It is moved aside first and its age read then: the same content may be published again in between."""
        path = self.path(name)
        if _age(path) < seconds:
            return
        aside = self._root / f"{LEAVING}{path.name}"
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        if _age(aside) < seconds:
            aside.rename(path)
        else:
            aside.unlink(missing_ok=True)

    def remove_all(self, prefix: str) -> None:
        """With its folder."""
        shutil.rmtree(self._root / prefix, ignore_errors=True)

    def sweep(self, seconds: float) -> None:
        """Also what was on its way out."""
        for file in [*self._root.glob(f"{BESIDE}*"), *self._root.glob(f"{LEAVING}*")]:
            if _age(file) > seconds and _is_nobodys(file):
                file.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises: OSError. Unlike."""
        with self.draft() as draft:
            draft.file.write(SAMPLE)
            draft.file.flush()
            draft.file.seek(0)
            if draft.file.read() != SAMPLE:
                raise Unlike


def publish(file: Path, target: Path) -> None:
    """Give a whole file its name. The same content under this name already stays; what is damaged gives way.

    Processes that may read just that file, and no other, may be about to open it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    os.utime(file)  # it may have lain for hours: its row is coming, and the collector goes by age
    try:
        os.utime(target)
        is_there = filecmp.cmp(file, target, shallow=False)
    except FileNotFoundError:
        is_there = False
    if is_there:
        file.unlink()
    else:
        file.rename(target)


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
    with tempfile.TemporaryFile(dir=file.parent) as stamped:
        return os.fstat(stamped.fileno()).st_mtime - written
