"""Where files are: a folder, or a bucket of an S3 server. What is stored under a name is whole, and never changes."""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from store.errors import StoreError
from store.settings import settings

log = logging.getLogger(__name__)
PIECE = 1 << 20


class StorageAway(StoreError):
    """The storage of files does not answer; try again in a moment."""


class Draft(Protocol):
    """A file under construction, on the disk of this machine. Use as a context: what is not kept by then is removed."""

    @property
    def file(self) -> BinaryIO:
        """To write."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def keep(self, name: str) -> None:
        """Store it under a name. Raises: OSError: the disk is full. StorageAway."""
        ...


class Storage(Protocol):
    """Files by name, such as ab/abcd or checkpoints/job_1/1-2. All raise StorageAway.

    root: the folder, where it is one: all machines have it in common, and may lock files in it.
    """

    root: Path | None

    def draft(self) -> Draft:
        """A new file, without a name yet."""
        ...

    def put(self, name: str, content: BinaryIO) -> None:
        """Store what can be read from here on. Raises: OSError: the disk is full."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """What is stored. Raises: FileNotFoundError, before the first piece is asked for."""
        ...

    def fetch(self, name: str, target: Path, is_wanted: Callable[[], bool]) -> Path:
        """A file of this machine with what is stored: its own place, or a copy at `target`.

        Args: is_wanted: asked for each piece. Raises: FileNotFoundError. OSError: the disk is full. Unwanted. Nothing
        is at the target then.
        """
        ...

    def path(self, name: str) -> Path:
        """Where it is, or would be, on this machine. Raises: NotImplementedError: link() says where."""
        ...

    def link(self, name: str, headers: Iterable[tuple[str, str]]) -> str | None:
        """An address from which anyone may fetch it for a while, with these headers; None: it is at its path here."""
        ...

    def touch(self, name: str) -> None:
        """Make it young, as far as that can be. Raises: FileNotFoundError."""
        ...

    def names(self, prefix: str = "") -> Iterator[str]:
        """All that is stored below a prefix, which ends with a slash."""
        ...

    def remove(self, name: str) -> None:
        """Remove it, if it is there."""
        ...

    def remove_old(self, name: str, seconds: float) -> None:
        """Remove it, unless it was stored or touched within these seconds."""
        ...

    def remove_all(self, prefix: str) -> None:
        """Remove everything below a prefix, which ends with a slash."""
        ...

    def sweep(self, seconds: float) -> None:
        """Remove drafts of processes that were killed, where nobody has written for these seconds."""
        ...

    def check(self) -> None:
        """Write a small file and read it. Raises: OSError. Unlike."""
        ...


class Unlike(StoreError):
    """A file that was written reads otherwise."""


class Unwanted(StoreError):
    """Nobody needs this file any more."""


def always() -> bool:
    """True: it is wanted."""
    return True


def storage() -> Storage:
    """That of the settings."""
    return _storage(settings().artifacts_at)


def quietly(remove: Callable[[], object]) -> None:
    """For what a collector would remove too: a storage that is away is no reason to fail."""
    try:
        remove()
    except StorageAway:
        log.warning("the storage is away: what is not needed any more is removed later", exc_info=True)


@cache
def _storage(place: str) -> Storage:
    if place.startswith("s3://"):
        from store.bucket import Bucket

        return Bucket(settings())
    from store.folder import Folder

    return Folder(Path(place))
