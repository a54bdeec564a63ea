"""The files of MNIST as they are: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-..., in a zip or tar."""

import gzip
import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from pruning.analysis import Preprocess
from pruning.data.archive import Member, members, told
from pruning.data.images import Decoder
from pruning.data.shelf import Shelf
from pruning.data.splits import split_of
from pruning.errors import UnreadableDataset

NAME = re.compile(r"(images|labels)[-._]idx\d[-._]ubyte(\.gz)?$")
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PIECE = 1 << 24  # bytes read together


def read_idx(path: Path, how: Preprocess, shelf: Shelf) -> None:
    """Read the four files, in any order; grey images get an axis of one channel.

    Raises: UnreadableDataset: what is wrong with the archive, or with one of its files.
    """
    for member in members(path, shelf.bounds):
        kind, split = NAME.search(member.name), split_of(member.parts[-1])
        if kind is None or split is None:
            continue
        key = f"{'x' if kind[1] == 'images' else 'y'}_{split}"
        if key in shelf.arrays:
            raise UnreadableDataset(f"the archive holds {key} twice, the second time as {member.name}")
        with _unpacked(member) as file:
            _read(file, member.name, key, how, shelf)
    if not shelf.arrays:
        raise UnreadableDataset(
            "the archive holds no IDX files: pack train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
            "t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz"
        )


@contextmanager
def _unpacked(member: Member) -> Iterator[IO[bytes]]:
    with told(f"{member.name} is damaged or truncated"), member.open() as raw:
        if member.name.endswith(".gz"):
            with gzip.open(raw) as file:
                yield file  # type: ignore[misc]
        else:
            yield raw


def _read(file: IO[bytes], name: str, key: str, how: Preprocess, shelf: Shelf) -> None:
    shape, dtype = _header(file, name)
    if key.startswith("x") and len(shape) == 3:
        _read_images(file, name, key, shape, how, shelf)
        return
    array = shelf.make(key, shape, dtype)
    for i, n in _pieces(shape, dtype):
        array[i : i + n] = _next(file, name, (n, *shape[1:]), dtype)


def _read_images(file: IO[bytes], name: str, key: str, shape: tuple[int, ...], how: Preprocess, shelf: Shelf) -> None:
    if not 0 < shape[1] * shape[2] <= shelf.bounds.pixels:
        raise UnreadableDataset(f"{name} holds images of {shape[1]} x {shape[2]} pixels; take the files as they are")
    decoder = Decoder(how, shelf.bounds, how.size or (shape[1], shape[2]), how.color or "gray")
    array = shelf.make(key, (shape[0], *decoder.shape), "u1")
    for i, n in _pieces(shape, np.dtype("u1")):
        for place, pixels in enumerate(_next(file, name, (n, *shape[1:]), np.dtype("u1")), i):
            array[place] = decoder.shaped(Image.fromarray(pixels))


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Two zeros, the type, the number of axes, and their lengths."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or not 1 <= head[3] <= 8:
        raise UnreadableDataset(f"{name} is not an IDX file; take the files of MNIST as they are")
    lengths = file.read(4 * head[3])
    if len(lengths) < 4 * head[3]:
        raise UnreadableDataset(f"{name} is damaged or truncated: it ends in its header")
    return struct.unpack(f">{head[3]}I", lengths), np.dtype(TYPES[head[2]])


def _pieces(shape: tuple[int, ...], dtype: np.dtype) -> Iterator[tuple[int, int]]:
    """Where to read on along axis 0, and how many rows: as many as fit into a piece, or one."""
    step = max(1, PIECE // max(1, math.prod(shape[1:]) * dtype.itemsize))
    return ((i, min(step, shape[0] - i)) for i in range(0, shape[0], step))


def _next(file: IO[bytes], name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    content = file.read(size)
    if len(content) < size:
        raise UnreadableDataset(f"{name} is damaged or truncated: it holds fewer values than its header says")
    return np.frombuffer(content, dtype).reshape(shape)
