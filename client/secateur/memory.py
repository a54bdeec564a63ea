"""Where uploads were begun, kept in the user's cache folder: the next run goes on with them."""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from secateur.sources import Source

try:
    import fcntl
except ImportError:  # Windows: two runs at once on one file go on with one transfer, each after the other's piece
    fcntl = None

WEEK = 7 * 24 * 3600
ADDRESS = re.compile(r"/v1/transfers/\w+")


class Memory:
    """The address of one upload under way; None: it is not begun yet."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = file
        self.address = self._read()

    def keep(self, address: str) -> None:
        """Remember it, also after a kill."""
        self._write(address)
        self.address = address

    def forget(self) -> None:
        """It is done, or gone."""
        self._write("")
        self.address = None

    def _read(self) -> str | None:
        if self._file is None:
            return None
        self._file.seek(0)
        text = self._file.read()
        return text if ADDRESS.fullmatch(text) else None

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(text)
            self._file.flush()


@contextmanager
def remembered(source: Source, *about: Any) -> Iterator[Memory]:
    """What is known of the upload of this file, as it is now, to this place.

    Of bytes nothing is remembered, nor where another run has this very upload under way, or the folder is no place to
    write to. Args: about: what else makes it this upload: the service, the parameters.
    """
    file = _opened(source, about)
    memory = Memory(file)
    try:
        yield memory
    finally:
        if file is not None:
            if memory.address is None:
                Path(file.name).unlink(missing_ok=True)
            file.close()


def _opened(source: Source, about: Any) -> IO[str] | None:
    if source.stamp is None:
        return None
    fingerprint = json.dumps([*about, *source.stamp], sort_keys=True)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(cache) / "secateur" / "transfers" / hashlib.sha256(fingerprint.encode()).hexdigest()[:32]
    with suppress(OSError):  # it only makes a second run faster
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.iterdir():
            if time.time() - old.stat().st_mtime > WEEK:
                old.unlink(missing_ok=True)
        file = path.open("a+")
        if _lock(file):
            return file
        file.close()
    return None


def _lock(file: IO[str]) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
