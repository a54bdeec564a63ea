"""NumPy archives: x_train, y_train, x_test, y_test and, if there, x_val, y_val."""

import lzma
import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.lib import format as npy

from pruning.analysis import Preprocess
from pruning.data.dataset import Dataset, Split
from pruning.errors import UnreadableDataset

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
LARGEST = 1e30  # float32 ends at 3e38, and sums of products end there sooner
KNOWN = (*REQUIRED, "x_val", "y_val")


def read_npz(path: Path, preprocess: Preprocess, most_bytes: int = 2**35) -> Dataset:
    """Read and check an archive; pickled objects are never loaded.

    Args: most_bytes: limit on the decompressed arrays, held against the archive's account before any is decoded.
    Raises: UnreadableDataset: what is wrong with the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            _check_names(set(names))
            wanted = {k: names[k] for k in KNOWN if k in names}
            _check_sizes(archive, wanted, most_bytes)
            arrays = {k: _read(archive, k, name) for k, name in wanted.items()}
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise UnreadableDataset(
            f"not an npz archive, or a damaged one ({error}); write it with numpy.savez_compressed"
        ) from error
    splits = {k: _split(arrays, k, preprocess) for k in ("train", "test", "val") if f"x_{k}" in arrays}
    shapes = {s.x.shape[1:] for s in splits.values()}
    if len(shapes) > 1:
        raise UnreadableDataset(f"the splits hold examples of different shapes: {', '.join(map(str, sorted(shapes)))}")
    if len(splits["train"]) < 2:
        raise UnreadableDataset("x_train needs at least 2 examples: one to learn from and one to choose models by")
    return Dataset(splits["train"], splits["test"], splits.get("val"))


def _check_names(names: set[str]) -> None:
    if missing := [k for k in REQUIRED if k not in names]:
        raise UnreadableDataset(f"the archive lacks {', '.join(missing)}; it needs {', '.join(REQUIRED)}")
    if ("x_val" in names) != ("y_val" in names):
        raise UnreadableDataset("x_val and y_val come together: the archive holds only one of them")


def _check_sizes(archive: zipfile.ZipFile, names: dict[str, str], most: int) -> None:
    total = sum(archive.getinfo(name).file_size for name in names.values())
    if total > most:
        raise UnreadableDataset(f"the arrays take {total:,} bytes when decompressed; at most {most:,} are taken")


def _read(archive: zipfile.ZipFile, key: str, name: str) -> np.ndarray:
    try:
        with archive.open(name) as file:
            _check_header(file, key, archive.getinfo(name).file_size)
        with archive.open(name) as file:
            return npy.read_array(file, allow_pickle=False)
    except (ValueError, TokenError, SyntaxError) as error:
        if "pickle" in str(error):
            raise UnreadableDataset(
                f"{key} holds Python objects (pickles), which are never loaded; save numbers only"
            ) from error
        raise UnreadableDataset(f"{key} is not a readable array: {error}") from error


def _check_header(file: IO[bytes], key: str, size: int) -> None:
    """What the header promises must be there before memory is taken for it."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != size - file.tell():
        raise UnreadableDataset(
            f"{key} promises {shape} of {dtype} but holds {size - file.tell():,} bytes; save it again"
        )


def _split(arrays: dict[str, np.ndarray], name: str, preprocess: Preprocess) -> Split:
    x, y = arrays[f"x_{name}"], arrays[f"y_{name}"]
    if x.ndim < 2 or x.dtype.kind not in "fiu":
        raise UnreadableDataset(
            f"x_{name} must hold numbers with the examples along axis 0; got {x.dtype} of shape {x.shape}"
        )
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise UnreadableDataset(
            f"y_{name} must hold one integer label for each example; got {y.dtype} of shape {y.shape}"
        )
    if len(x) != len(y):
        raise UnreadableDataset(f"x_{name} holds {len(x):,} examples but y_{name} {len(y):,} labels")
    if len(x) == 0:
        raise UnreadableDataset(f"x_{name} is empty")
    if int(y.min()) < 0 or int(y.max()) >= 2**31:
        wrong = int(y.min()) if int(y.min()) < 0 else int(y.max())
        raise UnreadableDataset(f"y_{name} holds the label {wrong}; labels count from 0")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise UnreadableDataset(f"x_{name} holds NaN or infinite values")
    if x.dtype.kind == "f" and float(np.abs(x).max()) > LARGEST:
        raise UnreadableDataset(f"x_{name} holds values beyond {LARGEST:g}; bring the examples to a sensible range")
    return Split(x, y.astype(np.int64), preprocess)
