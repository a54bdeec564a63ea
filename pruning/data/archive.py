"""Zip and tar archives as streams of members: nothing is ever written under a name that an upload gave."""

import lzma
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pruning.data.shelf import Bounds
from pruning.errors import UnreadableDataset

LONGEST_NAME = 1024
LONGEST_NOTES = 1 << 20  # of a header that only tells more of the next
ROOM_OF_HEADERS = 4 * tarfile.BLOCKSIZE
NOTES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
TOO_LARGE = "the archive's files take more than {:,} bytes when decompressed; take fewer of them, or pack smaller ones"
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,  # names that are no text, numbers that are none
    IndexError,
    TypeError,  # tarfile, where a gzip header ends too soon
    struct.error,
)


@dataclass(frozen=True)
class Member:
    """A member of an archive. name: printable; open: only before the next member is asked for, and only of a file."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    is_file: bool = True

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and file name."""
        return tuple(part for part in self.name.split("/") if part not in ("", "."))


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turns what the libraries raise for damaged files into a sentence that begins with `what`."""
    try:
        yield
    except DAMAGE as error:
        raise UnreadableDataset(f"{what} ({printable(str(error))[:200]})") from error


def members(path: Path, bounds: Bounds) -> Iterator[Member]:
    """The files of a zip or tar archive, in its order; links, folders and hidden files are passed over.

    Raises: UnreadableDataset: it is neither, damaged, encrypted, has names that lead out of it, or is too large.
    """
    total = 0
    with told("not a zip, npz or tar archive, or a damaged one; a model is uploaded as a model"):
        for number, member in enumerate(_zip(path) if _is_zip(path) else _tar(path, bounds)):
            if number >= bounds.members:
                raise UnreadableDataset(
                    f"the archive holds more than {bounds.members:,} files; use npz or Parquet for so many"
                )
            if not member.is_file:
                continue
            total += member.size
            _check(member, total, bounds)
            if member.parts and not any(part.startswith((".", "__MACOSX")) for part in member.parts):
                yield member


def _check(member: Member, total: int, bounds: Bounds) -> None:
    if member.size < 0:
        raise UnreadableDataset(f"the archive is damaged: {member.name[:200]} has a size below zero; pack it again")
    if total > bounds.bytes:
        raise UnreadableDataset(TOO_LARGE.format(bounds.bytes))
    if len(member.name) > LONGEST_NAME:
        raise UnreadableDataset(f"the archive holds the name {member.name[:50]}..., which is too long; shorten it")
    if ".." in member.parts or member.name.startswith("/"):
        raise UnreadableDataset(
            f"the archive holds the name {member.name[:200]!r}, which leads out of it; pack the folder itself"
        )


def printable(name: str) -> str:
    """Control characters and bytes that are no text escaped: names reach sentences, summaries and databases."""
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cs") else f"\\u{ord(c):04x}" for c in name)


def _is_zip(path: Path) -> bool:
    """By its beginning: a tar may end in a zip."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise UnreadableDataset("the archive is encrypted; pack it without a password")
            yield Member(printable(info.filename), info.file_size, lambda i=info: archive.open(i), not info.is_dir())


class _Header(tarfile.TarInfo):
    """One whose notes are read only where they are as short as notes are: a few kilobytes may become gigabytes."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in NOTES and self.size > LONGEST_NOTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]  # made to be overridden, as tarfile.py says


def _tar(path: Path, bounds: Bounds) -> Iterator[Member]:
    with tarfile.open(path, "r|*", tarinfo=_Header) as archive:
        for number, info in enumerate(archive, 1):
            archive.members = []  # type: ignore[attr-defined]  # or it would keep all that it has seen
            # where the next header is said to be: the way there is decompressed, or walked in small steps for ever
            if archive.offset > bounds.bytes + number * ROOM_OF_HEADERS:
                raise UnreadableDataset(TOO_LARGE.format(bounds.bytes))
            yield Member(printable(info.name), info.size, lambda i=info: _opened(archive, i), info.isfile())


def _opened(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None  # it is a regular file
    return file
