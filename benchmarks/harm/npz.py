"""NumPy archives: damage, and headers that promise what is not there."""

import random
import struct
from functools import cache
from typing import Any

import numpy as np

from benchmarks.harm import zips
from benchmarks.harm.case import Case, damaged, damaged_near
from benchmarks.harm.zips import archive, entries_of, entry, zeros

TYPES = (
    *(
        "<f4",
        ">f8",
        "<f2",
        "|u1",
        "<i8",
        ">i2",
        "|b1",
        "<u8",
        "<f16",
        "<c8",
        "|O",
        "<U4",
        "|S3",
        "|V4",
        "<M8[s]",
        "<m8",
    ),
    *("f4", "i4,f4", ">f16", "<f12", "|i0", "<f0", "<U0", "|V0", "|S999999999", "<U2000000000", "x", "", "(2,3)f4"),
)
SHAPES = (
    *((6, 1, 4, 4), (6,), (), (0,), (6, 0), (-1,), (-6, -1, 4, 4), (2**62,), (2**63,), (2**40, 2**40), (2**31, 2)),
    *((1,) * 33, (1,) * 70, (6, 96), (10**30,), (True, 6), (6.0,), (2**32, 2**32, 0), (6, 1, 4, 2**28), (2**25,)),
)
WORDS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 1, 4, 4), }",
    "{'descr': '<f4', 'fortran_order': 1, 'shape': [6], }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (6L, 1L, 4L, 4L), }",
    "{'descr': '<f4', 'shape': (6,), }",
    "__import__('os').system('touch evil')",
    "{'descr': __import__('os'), 'fortran_order': False, 'shape': (6,)}",
    "(" * 90,
    "(" * 250 + ")" * 250,
    "-" * 5000 + "1",
    "[" * 4000,
    "{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (6,), }",
    "{'descr': [('a', " * 60,
    "{'descr': " + "[('a', " * 50 + "'<f4'" + ")]" * 50 + ", 'fortran_order': False, 'shape': (6,), }",
    "{'descr': ('<f4', (1000, 1000, 1000)), 'fortran_order': False, 'shape': (6,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1e9,), }",
    "{" + "'descr': '<f4', " * 500 + "}",
    "\0" * 100,
    "'" * 101,
    "\\" * 50,
    "",
    "1" * 9000,
    "b'" + "\\xff" * 200 + "'",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 1, 4, 4), 'more': 1, }",
    "{'descr': u'\ud7ff<f4', 'fortran_order': False, 'shape': (6,)}",
)


@cache
def arrays() -> dict[str, bytes]:
    """The files of a good archive."""
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for split, n in (("train", 6), ("test", 4)):
        found[f"x_{split}"] = rng.random((n, 1, 4, 4), dtype=np.float32)
        found[f"y_{split}"] = rng.integers(0, 3, n)
    return {f"{k}.npy": npy(a.dtype.str, False, a.shape, a.tobytes()) for k, a in found.items()}


def npy(descr: Any, by_column: Any, shape: Any, body: bytes, version: int = 1) -> bytes:
    """A file whose header says this."""
    return worded(f"{{'descr': {descr!r}, 'fortran_order': {by_column!r}, 'shape': {shape!r}, }}", body, version)


def worded(header: str, body: bytes, version: int = 1, length: int | None = None) -> bytes:
    """A header of these words. length: as it says itself."""
    text = header.encode("utf-8", "surrogatepass") + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", min(len(text) if length is None else length, 65_535))
    if version != 1 and length is not None:
        size = struct.pack("<I", length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + body


def _with(rng: random.Random, content: bytes) -> Case:
    """One array, or an additional one, is this file."""
    name = rng.choice((*arrays(), "x_val.npy", "x_train.a.npy"))
    return Case("", archive(entries_of({**arrays(), name: content}, rng.random() < 0.3)), "npz")


def bytes_of_it(rng: random.Random) -> Case:
    return Case("", damaged(rng, archive(entries_of(arrays(), rng.random() < 0.5))), "npz")


def directory(rng: random.Random) -> Case:
    content = archive(entries_of(arrays(), True))
    return Case("", damaged_near(rng, content, content.index(b"PK\1\2"), len(content)), "npz")


def header(rng: random.Random) -> Case:
    """Types and shapes that are not those of the body, or are."""
    descr, shape = rng.choice(TYPES), rng.choice((SHAPES[0], rng.choice(SHAPES)))
    body = rng.choice((bytes(384), bytes(48), b"", b"\xff" * 384, bytes(768), rng.randbytes(384)))
    return _with(rng, npy(descr, rng.random() < 0.4, shape, body, rng.choice((1, 1, 2, 3, 4, 9))))


def words(rng: random.Random) -> Case:
    length = rng.choice((None, None, 0, 1, 65_535, 10**9, 2**32 - 1))
    return _with(rng, worded(rng.choice(WORDS), bytes(384), rng.choice((1, 2, 3)), length))


def headed(rng: random.Random) -> Case:
    """Damage to an array's own header, whole in its archive."""
    name = rng.choice(list(arrays()))
    content = arrays()[name]
    return _with(rng, damaged_near(rng, content, 0, len(content) - len(content) % 128))


def values(rng: random.Random) -> Case:
    """Numbers that no net can learn from, in the right form."""
    special = rng.choice((np.nan, np.inf, -np.inf, 1e38, -1, 2**31, 2**62, 300, 0.5, 1e-310))
    split, kind = rng.choice(("train", "test")), rng.choice("xy")
    shape = (6, 1, 4, 4) if kind == "x" else (6,)
    with np.errstate(all="ignore"):
        array = np.full(shape, special).astype(rng.choice(("f8", "f4", "i8", "u8", "f2", ">f4", "i1")))
    content = npy(array.dtype.str, rng.random() < 0.3, shape, array.tobytes())
    return Case("", archive(entries_of({**arrays(), f"{kind}_{split}.npy": content}, False)), "npz")


def bomb(rng: random.Random) -> Case:
    """Zeros by the gigabyte in some kilobytes, as their header says."""
    mega = rng.choice((1, 64, 200, 300, 1024))
    head = npy("|u1", rng.random() < 0.3, (6, mega * 2**20 // 6), b"")
    size = len(head) + (mega * 2**20 // 6) * 6
    member = zips.Entry(b"x_train.npy", b"\0" + struct.pack("<HH", len(head), 65_535 - len(head)) + head, size, 0, 8)
    body = member.body + zeros(mega * 2**20)
    kept = {k: v for k, v in arrays().items() if k != "x_train.npy"}
    return Case("", archive([*entries_of(kept, True), zips.replace(member, body=body)]), "npz")


def sinful(rng: random.Random) -> Case:
    name, content = zips.sinful(rng, arrays())
    return Case(name, content, "npz")


def nested(rng: random.Random) -> Case:
    inner = archive(entries_of(arrays(), True))
    for _ in range(rng.choice((1, 5, 50))):
        inner = archive([entry(rng.choice(("x_train.npy", "a.npz", "train/a.zip")), inner, True)])
    return Case("", inner, rng.choice(("npz", "imagefolder")))


MAKERS = (bytes_of_it, bytes_of_it, directory, header, header, words, headed, values, bomb, sinful, sinful, nested)
