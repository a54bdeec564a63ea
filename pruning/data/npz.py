"""NumPy archives: x_train, y_train, x_test, y_test and, if there, x_val, y_val; x_train.NAME for several inputs."""

import math
import re
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.lib import format as npy

from pruning.analysis import Preprocess
from pruning.data.archive import told
from pruning.data.shelf import Shelf
from pruning.errors import UnreadableDataset

KNOWN = re.compile(r"(x_(train|test|val)(\.[^\x00-\x1f\x7f]{1,200})?|y_(train|test|val))")
NOT_NPZ = (
    "not an npz archive, or a damaged one; write it with numpy.savez_compressed, or say that its format is another: "
    "imagefolder, parquet or idx"
)
PIECE = 1 << 24


def read_npz(path: Path, how: Preprocess, shelf: Shelf) -> None:
    """Read the arrays that are known by name; pickled objects are never loaded.

    Raises: UnreadableDataset: what is wrong with the file.
    """
    if how.size or how.color:
        raise UnreadableDataset("size and color are for images; the arrays of an npz are taken as they are")
    with told(NOT_NPZ), zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy"): name for name in archive.namelist()}
        if names and not any(name.endswith(".npy") for name in names.values()):
            raise UnreadableDataset(NOT_NPZ)
        wanted = {k: name for k, name in names.items() if KNOWN.fullmatch(k)}
        _check_sizes(archive, wanted, shelf.bounds.bytes)
        for key, name in wanted.items():
            _read(archive, key, name, shelf)


def _check_sizes(archive: zipfile.ZipFile, names: dict[str, str], most: int) -> None:
    total = sum(archive.getinfo(name).file_size for name in names.values())
    if total > most:
        raise UnreadableDataset(f"the arrays take {total:,} bytes when decompressed; at most {most:,} are taken")


def _read(archive: zipfile.ZipFile, key: str, name: str, shelf: Shelf) -> None:
    try:
        with archive.open(name) as file:
            shape, by_column, dtype = _header(file, key, archive.getinfo(name).file_size)
            if by_column:
                with archive.open(name) as again:
                    shelf.make(key, shape, dtype)[...] = npy.read_array(again, allow_pickle=False)
            else:
                _fill(shelf.make(key, shape, dtype), file, key)
    except (ValueError, TokenError, SyntaxError) as error:  # they speak of Python's own parser
        raise UnreadableDataset(
            f"{key} is not a readable array: its header is damaged, or none that NumPy writes; save it again"
        ) from error


def _header(file: IO[bytes], key: str, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """What the header promises must be there before room is taken for it."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_column, dtype = read(file)
    if dtype.hasobject:
        raise UnreadableDataset(f"{key} holds Python objects (pickles), which are never loaded; save numbers only")
    if dtype.kind not in "fiub":
        raise UnreadableDataset(f"{key} must hold numbers; got {dtype}")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise UnreadableDataset(
            f"{key} promises {shape} of {dtype} but holds {size - file.tell():,} bytes; save it again"
        )
    return shape, by_column, dtype


def _fill(array: np.ndarray, file: IO[bytes], key: str) -> None:
    """Stream the rest of a file into an array, which has just its size.

    Raises: UnreadableDataset: it ends before; a sum over what is there would not tell.
    """
    flat, place = array.reshape(-1).view(np.uint8), 0
    while piece := file.read(PIECE):
        flat[place : place + len(piece)] = np.frombuffer(piece, np.uint8)
        place += len(piece)
    if place < array.nbytes:
        raise UnreadableDataset(f"{key} ends after {place:,} of {array.nbytes:,} bytes; save it again")
