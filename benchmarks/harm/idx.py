"""The files of MNIST: dimensions that lie, gzip that swells."""

import gzip
import random
import struct
from functools import cache

import numpy as np

from benchmarks.harm import imagefolder, tars, zips
from benchmarks.harm.case import Case, Files, damaged
from pruning.analysis import Preprocess

NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
SIZES = (0, 1, 4, 6, 255, 5792, 2**16, 2**25, 2**28, 2**31 - 1, 2**31, 2**32 - 1)


@cache
def good() -> Files:
    """By name, unpacked."""
    rng = np.random.default_rng(0)
    files = {}
    for split, n in (("train", 6), ("test", 4)):
        files[NAMES[f"x_{split}"]] = idx((n, 5, 5), rng.integers(0, 255, (n, 5, 5), np.uint8).tobytes())
        files[NAMES[f"y_{split}"]] = idx((n,), bytes(i % 3 for i in range(n)))
    return files


def idx(shape: tuple[int, ...], body: bytes, kind: int = 8, axes: int | None = None) -> bytes:
    count = len(shape) if axes is None else axes
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, count % 256, *(n % 2**32 for n in shape)) + body


def packed(rng: random.Random, files: Files) -> bytes:
    """Some of them squeezed."""
    squeezed = {
        f"{k}.gz" if rng.random() < 0.5 else k: v if rng.random() < 0.5 else gzip.compress(v, 1, mtime=0)
        for k, v in files.items()
    }
    honest = {
        k: (gzip.compress(files[k.removesuffix(".gz")], 1, mtime=0) if k.endswith(".gz") else files[k])
        for k in squeezed
    }
    return imagefolder.packed(rng, squeezed if rng.random() < 0.1 else honest)


def header(rng: random.Random) -> Case:
    name = rng.choice(list(good()))
    shape = tuple(rng.choice(SIZES) for _ in range(rng.choice((0, 1, 1, 2, 3, 3, 3, 4, 8, 9))))
    kind = rng.choice((8, 8, 8, 9, 11, 12, 13, 14, 0, 10, 255))
    axes = rng.choice((None, None, None, 0, 1, 3, 8, 255))
    body = rng.choice((b"", bytes(150), b"\xff" * 150, bytes(10_000)))
    how = rng.choice((Preprocess(), Preprocess(), Preprocess(size=(3, 3)), Preprocess(color="rgb")))
    return Case("", packed(rng, {**good(), name: idx(shape, body, kind, axes)}), "idx", how)


def bomb(rng: random.Random) -> Case:
    """Gigabytes of zeros in a gzip, as its header says, or behind what it says."""
    name = rng.choice(list(good()))
    mega = rng.choice((1, 16, 200, 300, 1024))
    shape = rng.choice(
        ((mega * 2**20,), (mega, 2**10, 2**10), (1, 2**10, mega * 2**10), (mega * 2**8, 64, 64), (6, 5, 5))
    )
    squeezed = gzip.compress(idx(shape, b""), 1, mtime=0) + _zeros() * mega
    kept = {f"{k}.gz": gzip.compress(v, 1, mtime=0) for k, v in good().items() if k != name}
    return Case("", imagefolder.packed(rng, {**kept, f"{name}.gz": squeezed}), "idx")


@cache
def _zeros() -> bytes:
    return gzip.compress(bytes(2**20), mtime=0)


def inside(rng: random.Random) -> Case:
    name = rng.choice(list(good()))
    return Case("", packed(rng, {**good(), name: damaged(rng, good()[name])}), "idx")


def squeezed(rng: random.Random) -> Case:
    """Damage to the gzip itself."""
    files = {f"{k}.gz": gzip.compress(v, 1, mtime=0) for k, v in good().items()}
    name = rng.choice(list(files))
    return Case("", imagefolder.packed(rng, {**files, name: damaged(rng, files[name])}), "idx")


def doubled(rng: random.Random) -> Case:
    """The same part under other names."""
    more = {f"{rng.choice(('a', 'train', 'test', 'val'))}/{k}": v for k, v in good().items() if rng.random() < 0.5}
    return Case("", packed(rng, {**good(), **more}), "idx")


def sinful(rng: random.Random) -> Case:
    name, content = rng.choice((zips, tars)).sinful(rng, good())
    return Case(name, content, "idx")


MAKERS = (header, header, header, bomb, inside, inside, squeezed, squeezed, doubled, sinful, sinful)
