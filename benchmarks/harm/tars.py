"""Tar archives that lie: headers of members that are no files, of sizes that are none, of names that lead elsewhere."""

import gzip
import io
import lzma
import random
import tarfile
from bz2 import compress as bzip
from collections.abc import Callable

from benchmarks.harm.case import Files, damaged, damaged_near
from benchmarks.harm.zips import NAMES

BLOCK = tarfile.BLOCKSIZE


def member(name: str, content: bytes = b"", **fields: object) -> bytes:
    """A header, and the content filled up to whole blocks; fields are those of TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + content + bytes(-len(content) % BLOCK)


def raw(name: bytes, kind: bytes, size: bytes, content: bytes = b"", magic: bytes = b"ustar\x0000") -> bytes:
    """A header of these bytes with the right sum."""
    head = bytearray(BLOCK)
    head[:100] = name[:100].ljust(100, b"\0")
    head[100:108], head[108:116], head[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    head[124:136], head[136:148], head[148:156] = size[:12].ljust(12, b"\0"), b"00000000000\0", b" " * 8
    head[156:157], head[257:265] = kind, magic
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content + bytes(-len(content) % BLOCK)


def whole(files: Files) -> bytes:
    return b"".join(member(name, content) for name, content in files.items())


def renamed(rng: random.Random, files: Files) -> bytes:
    name = rng.choice(NAMES)
    content = next(iter(files.values()))
    extra = member(name.decode("utf-8", "surrogateescape").replace("\0", "_"), content)
    return extra + whole(files) if rng.random() < 0.5 else whole(files) + extra


def linked(rng: random.Random, files: Files) -> bytes:
    """Links, devices, pipes and folders, then a file below or over them."""
    kind = rng.choice((b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"K", b"S", b"V", b"M", b"N", b"Z"))
    name = rng.choice(("train", "train/cat", "train/cat/a.png", next(iter(files))))
    target = rng.choice(("/etc/passwd", "../../../../evil", name, "/dev/zero", "."))
    link = member(name, type=kind, linkname=target, devmajor=1, devminor=5, size=rng.choice((0, 0, 512, 2**40)))
    return link + whole(files) if rng.random() < 0.7 else whole(files) + link


def sized(rng: random.Random, files: Files) -> bytes:
    """Sizes in octal, in base 256, negative, or in no digits at all."""
    sizes = (b"77777777777\0", b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7, b"\xff" * 12, b"-0000000001\0", b"zzz")
    kind = rng.choice((b"0", b"0", b"\0", b"7", b"x", b"g", b"L", b"K", b"S", b"5", b"2", b"D"))
    return whole(files) + raw(b"train/cat/z.png", kind, rng.choice((*sizes, b"00000001000\0", b"")), bytes(BLOCK))


def pax(rng: random.Random, files: Files) -> bytes:
    """Records of an extended header: lengths that lie, sizes of files, sparse maps, names without end."""
    records = (
        b"%d size=%d\n" % (rng.choice((10, 12, 30, 0, 99999)), rng.choice((0, 2**40, 2**63, 10**30))),
        b"30 size=-1\n",
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n33 GNU.sparse.realsize=9999999999\n",
        b"24 GNU.sparse.size=10000\n27 GNU.sparse.map=0,1,2,x,y\n",
        b"28 GNU.sparse.map=0,%d,%d,1\n" % (2**40, 2**50),
        b"21 path=../../../evil\n",
        b"16 path=\xff\xfe\xfd/x\n20 hdrcharset=BINARY\n",
        b"19 hdrcharset=zzzz\n",
        b"100000000000000 path=x\n",
        b"0 path=x\n" * 50,
        b"=" * 600,
        b"13 mtime=nan\n" + b"14 mtime=1e99\n",
        b"%d path=" % 60_010 + b"a/" * 30_000 + b"\n",
        b"9 uid=x\n" * 3000,
    )
    body = b"".join(rng.sample(records, rng.choice((1, 1, 2))))
    return member("pax", body, type=rng.choice((b"x", b"g", b"X"))) + whole(files)


def sparse(rng: random.Random, files: Files) -> bytes:
    """An old GNU sparse member: a block in the file, as much as it likes when it is read."""
    head = bytearray(raw(b"train/cat/s.png", b"S", b"00000001000\0", magic=b"ustar  \0"))
    digits = rng.choice((b"00000001000\0", b"77777777777\0", b"\x80" + b"\x00" * 3 + b"\x01" + b"\x00" * 7, b"-1"))
    head[386:410] = (b"00000000000\0" + digits.ljust(12, b"\0"))[:24]
    head[482], head[483:495] = rng.choice((0, 1)), digits.ljust(12, b"\0")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return whole(files) + bytes(head) + bytes(BLOCK * rng.choice((1, 2)))


def long_named(rng: random.Random, files: Files) -> bytes:
    """A header that only holds the name of the next, of some megabytes, or one after the other."""
    name = b"train/" + b"a" * rng.choice((200, 70_000, 4_000_000)) + b".png\0"
    times = rng.choice((1, 1, 2000)) if len(name) < 1000 else 1
    return member("././@LongLink", name, type=rng.choice((b"L", b"K"))) * times + whole(files)


def crowded(rng: random.Random, files: Files) -> bytes:
    """Thousands of members that are no files."""
    block = member("train/cat", type=rng.choice((b"5", b"2", b"0", b"6")))
    return block * rng.choice((100, 1000, 2000)) + whole(files)


def gapped(rng: random.Random, files: Files) -> bytes:
    """Ends before its end, or holds blocks of nothing between."""
    content = whole(files)
    place = rng.randrange(0, len(content), BLOCK)
    return content[:place] + bytes(BLOCK * rng.choice((1, 2, 40))) + content[place:]


def headed(rng: random.Random, files: Files) -> bytes:
    """Damage to a header, with and without its sum made right again."""
    content = bytearray(whole(files))
    content[:BLOCK] = damaged(rng, bytes(content[:BLOCK]))[:BLOCK].ljust(BLOCK, b"\0")
    if rng.random() < 0.7:
        content[148:156] = b" " * 8
        content[148:156] = b"%06o\0 " % sum(content[:BLOCK])
    return bytes(content)


SINS: tuple[Callable[[random.Random, Files], bytes], ...] = (
    renamed,
    linked,
    sized,
    pax,
    sparse,
    long_named,
    crowded,
    gapped,
    headed,
)


def sinful(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """An archive of these files with one thing wrong, in one of the compressions that are read, and its name."""
    sin = rng.choice(SINS)
    content = sin(rng, files) + bytes(2 * BLOCK)
    return f"tar {sin.__name__}", compressed(rng, content)


def compressed(rng: random.Random, content: bytes) -> bytes:
    """As it is or squeezed; sometimes damaged then, or with zeros without end behind it."""
    kind = rng.choice(("", "", "gz", "gz", "bz2", "xz"))
    if kind == "gz":
        tail = gzip.compress(bytes(2**24), mtime=0) * rng.choice((0, 0, 0, 1, 40))
        content = gzip.compress(content, 1, mtime=0) + tail
    elif kind:
        content = bzip(content, 1) if kind == "bz2" else lzma.compress(content, preset=0)
    if kind and rng.random() < 0.3:
        content = damaged(rng, content)
    return content if rng.random() < 0.95 else damaged_near(rng, content, 0, min(len(content), 100))


def honest(files: Files) -> bytes:
    """A good archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
