"""Where a reader puts its arrays: files that are mapped into memory, or memory."""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pruning.errors import UnreadableDataset

INDEX = "index.json"


@dataclass(frozen=True)
class Bounds:
    """What an upload may ask for; held against what it declares, before anything is decoded.

    bytes: of all decoded arrays, and of all members of an archive; member_bytes: of one encoded image.
    """

    bytes: int = 2**35
    members: int = 2_000_000
    member_bytes: int = 2**26
    pixels: int = 2**25
    classes: int = 2**16


@dataclass
class Shelf:
    """Named arrays of a data set under construction, or finished; folder None: kept in memory."""

    folder: Path | None = None
    bounds: Bounds = field(default_factory=Bounds)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def make(self, name: str, shape: tuple[int, ...], dtype: np.dtype | str) -> np.ndarray:
        """An array of zeros to be filled.

        Raises: UnreadableDataset: it is empty, all arrays together take more bytes than they may, or the disk is full.
        """
        if any(n < 1 for n in shape):
            raise UnreadableDataset(f"{name} is empty: its shape is {shape}; give it examples, or leave it out")
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        total = size + sum(a.nbytes for a in self.arrays.values())
        if total > self.bounds.bytes:
            raise UnreadableDataset(
                f"the arrays take {total:,} bytes when decompressed; at most {self.bounds.bytes:,} are taken"
            )
        self.arrays[name] = np.zeros(shape, dtype) if self.folder is None else self._mapped(shape, dtype, size)
        return self.arrays[name]

    def close(self) -> "Shelf":
        """Write the index: from now on the folder is a whole data set."""
        if self.folder is not None:
            for array in self.arrays.values():
                getattr(array, "flush", lambda: None)()
            index = {"arrays": list(self.arrays), "class_names": self.class_names}
            (self.folder / INDEX).write_text(json.dumps(index))
        return self

    @classmethod
    def open(cls, folder: Path) -> "Shelf":
        """A finished shelf, mapped read-only. Raises: OSError, ValueError, KeyError: it is not whole."""
        index = json.loads((folder / INDEX).read_text())
        arrays = {k: np.load(_file(folder, i), mmap_mode="r") for i, k in enumerate(index["arrays"])}
        return cls(folder, arrays=arrays, class_names=tuple(index["class_names"]))

    def _mapped(self, shape: tuple[int, ...], dtype: np.dtype, size: int) -> np.ndarray:
        """Files have numbers, never the names that an upload gave."""
        assert self.folder is not None
        path = _file(self.folder, len(self.arrays))
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        try:
            with path.open("r+b") as file:  # a full disk would otherwise kill the process at some later write
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise UnreadableDataset(f"there is no room on the disk for the {size:,} bytes of its arrays") from error
        return array


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number}.npy"
