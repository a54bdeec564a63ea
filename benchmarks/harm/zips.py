"""Zip archives that lie, written field by field."""

import random
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmarks.harm.case import NUMBERS, Files

NAMES = (
    b"../../../../evil",
    b"/srv/evil",
    b"..\\..\\evil",
    b"C:\\evil",
    b"train/../../../evil.png",
    b"train/cat/\xff\xfe.png",
    b"train/cat/a\0b.png",
    b"train/cat/\x1b[31m\n.png",
    b"train/cat/\xe2\x80\xae.png",
    b"\xed\xa0\x80/train/x.png",
    b"",
    b"/",
    b".",
    b"..",
    b"a" * 5000,
    b"train/" * 200 + b"x.png",
    b"TRAIN/CAT/a.png",
    b"x_train.npy",
    b"x_train.\xff.npy",
    b"x_train..npy",
    b"x_train.../../evil.npy",
)


@dataclass(frozen=True)
class Entry:
    """A member: what its two headers say of it, each as it likes."""

    name: bytes
    body: bytes
    size: int
    crc: int
    method: int = 0
    flags: int = 0
    packed: int = -1  # as the headers say; -1: as it is
    extra: bytes = b""
    offset: int | None = None
    local_name: bytes | None = None
    attributes: int = 0


def entry(name: str, content: bytes, deflate: bool = False) -> Entry:
    """An honest one."""
    body = content
    if deflate:
        squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = squeeze.compress(content) + squeeze.flush()
    return Entry(name.encode(), body, len(content), zlib.crc32(content), 8 if deflate else 0, flags=0x800)


def archive(entries: Iterable[Entry], count: int | None = None, comment: bytes = b"", shift: int = 0) -> bytes:
    """Written as told. count: of the members, as the end says it; shift: of the directory's place."""
    body, directory, number = bytearray(), bytearray(), 0
    for e in entries:
        number += 1
        place = len(body) if e.offset is None else e.offset
        packed, size = (len(e.body) if e.packed < 0 else e.packed) % 2**32, e.size % 2**32
        about = struct.pack("<HHHHLLL", e.flags, e.method, 0, 0x21, e.crc, packed, size)
        local = e.name if e.local_name is None else e.local_name
        body += b"PK\3\4" + struct.pack("<H", 20) + about + struct.pack("<HH", len(local), 0) + local + e.body
        lengths = struct.pack("<HHHHHLL", len(e.name), len(e.extra), 0, 0, 0, e.attributes, place)
        directory += b"PK\1\2" + struct.pack("<HH", 0x314, 20) + about + lengths + e.name + e.extra
    count = number if count is None else count
    place = max(len(body) + shift, 0) % 2**32
    end = struct.pack("<HHHHLLH", 0, 0, count % 65536, count % 65536, len(directory), place, len(comment))
    return bytes(body + directory) + b"PK\5\6" + end + comment


def entries_of(files: Files, deflate: bool) -> list[Entry]:
    return [entry(name, content, deflate) for name, content in files.items()]


def renamed(rng: random.Random, entries: list[Entry]) -> bytes:
    at = rng.randrange(len(entries))
    flags = rng.choice((0, 0x800))
    extra = replace(entries[at], name=rng.choice(NAMES), flags=flags)
    return archive([*entries, extra] if rng.random() < 0.5 else [*entries[:at], extra, *entries[at + 1 :]])


def two_names(rng: random.Random, entries: list[Entry]) -> bytes:
    """Its own header names another file than the directory does."""
    at = rng.randrange(len(entries))
    return archive([*entries[:at], replace(entries[at], local_name=rng.choice(NAMES)), *entries[at + 1 :]])


def doubled(rng: random.Random, entries: list[Entry]) -> bytes:
    return archive([*entries, *rng.choices(entries, k=rng.choice((1, 3, 50)))])


def lying(rng: random.Random, entries: list[Entry]) -> bytes:
    """Sizes, sums, methods or flags of a member are others than it has."""
    at = rng.randrange(len(entries))
    e = entries[at]
    value = rng.choice((*NUMBERS, e.size - 1, e.size + 1, e.size * 2, len(e.body) // 2))
    changes: tuple[dict[str, int], ...] = (
        {"size": value},
        {"packed": value % 2**31},
        {"size": value, "packed": value % 2**31},
        {"crc": value % 2**32},
        {"method": rng.choice((0, 1, 6, 8, 9, 12, 14, 93, 95, 99))},
        {"flags": rng.choice((1, 8, 0x20, 0x40, 0x2000, 0xFFFF))},
        {"offset": value % 2**32},
        {"attributes": rng.choice((0o120777 << 16, 0o010644 << 16, 0x10))},
    )
    return archive([*entries[:at], replace(e, **rng.choice(changes)), *entries[at + 1 :]])


def short(rng: random.Random, entries: list[Entry]) -> bytes:
    """A member that holds less than it says, with the right sum of what there is."""
    at = rng.randrange(len(entries))
    e = entries[at]
    if e.method:
        return archive([*entries[:at], replace(e, size=e.size + rng.choice((1, 64, 2**20))), *entries[at + 1 :]])
    half = e.body[: len(e.body) // 2]
    return archive([*entries[:at], replace(e, body=half, crc=zlib.crc32(half)), *entries[at + 1 :]])


def overlapping(rng: random.Random, entries: list[Entry]) -> bytes:
    """Many members in one place."""
    e = entries[0]
    many = [replace(e, name=b"train/cat/%d.png" % i, body=b"", packed=len(e.body), offset=0) for i in range(300)]
    return archive([e, *many])


def crowded(rng: random.Random, entries: list[Entry]) -> bytes:
    """Thousands of empty members."""
    number = rng.choice((100, 1000, 3000))
    return archive([*entries, *(Entry(b"train/cat/%d.txt" % i, b"", 0, 0) for i in range(number))])


def large(rng: random.Random, entries: list[Entry]) -> bytes:
    """zip64: sizes and places in an extra field, of any size."""
    at = rng.randrange(len(entries))
    values = [rng.choice((0, 100, 2**32, 2**40, 2**62, 2**63, 2**64 - 1)) for _ in range(rng.randint(0, 3))]
    extra = struct.pack(f"<HH{len(values)}Q", 1, rng.choice((8 * len(values), 99)), *values)
    lie = replace(entries[at], size=2**32 - 1, packed=2**32 - 1, extra=extra)
    return archive([*entries[:at], lie, *entries[at + 1 :]])


def end(rng: random.Random, entries: list[Entry]) -> bytes:
    """The directory is not where, or not what, the end says."""
    comment = rng.choice((b"", b"PK\5\6" + bytes(18), b"x" * 65_535))
    content = archive(entries, rng.choice((None, 0, 1, 65_535)), comment, rng.choice((0, -1, 1, 2**31, -(2**20))))
    return rng.choice((b"", b"junk", b"PK\3\4", bytes(100))) + content


def bomb(rng: random.Random, entries: list[Entry]) -> bytes:
    """One member becomes zeros without end, beside what it says."""
    at = rng.randrange(len(entries))
    size = rng.choice((2**20, 2**24, 2**26, 2**29))
    said = rng.choice((size, size, entries[at].size, 2**20))
    lie = replace(entries[at], body=zeros(size), method=8, size=said)
    return archive([*entries[:at], lie, *entries[at + 1 :]])


def zeros(size: int) -> bytes:
    """Deflated: a thousandth of the size; the middle is one block again and again."""
    if size < 2**20:
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
        return squeeze.compress(bytes(size)) + squeeze.flush()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = squeeze.compress(bytes(2**20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return first * (size // 2**20) + b"\3\0"


SINS: tuple[Callable[[random.Random, list[Entry]], bytes], ...] = (
    renamed,
    two_names,
    doubled,
    lying,
    lying,
    lying,
    short,
    overlapping,
    crowded,
    large,
    end,
    bomb,
)


def sinful(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """An archive of these files with one thing wrong, and its name."""
    sin = rng.choice(SINS)
    return f"zip {sin.__name__}", sin(rng, entries_of(files, rng.random() < 0.5))
