"""What is uploaded: files, bytes, arrays."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIECE = 1 << 18
OnBytes = Callable[[int, int], None]  # bytes so far, bytes in all
PathLike = str | os.PathLike[str]
Data = PathLike | Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Bytes with a name, which can be read again from the start."""

    name: str
    content: Path | bytes

    @classmethod
    def of(cls, given: "PathLike | Source") -> "Source":
        """A file as a source. Raises: OSError: there is none."""
        if isinstance(given, Source):
            return given
        path = Path(given)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; upload one file, such as a zip or tar of it")
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        return cls(path.name, path)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def pieces(self, on_bytes: OnBytes | None = None) -> Iterator[bytes]:
        """All of it, from the start."""
        size, sent = self.size, 0
        for piece in self._pieces():
            yield piece
            sent += len(piece)
            if on_bytes:
                on_bytes(sent, size)

    def _pieces(self) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            yield from (self.content[i : i + PIECE] for i in range(0, len(self.content), PIECE))
            return
        with self.content.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


def is_id(given: object, prefix: str) -> bool:
    """Whether this is the id of what is there already, such as mdl_...; a file of that name goes before."""
    return isinstance(given, str) and re.fullmatch(rf"{prefix}_\w+", given) is not None and not Path(given).exists()


@contextmanager
def as_file(data: "Data | Source") -> Iterator[PathLike | Source]:
    """Arrays as an npz file that lasts as long as this context; a path as it is."""
    if not isinstance(data, Mapping):
        yield data
        return
    import numpy as np  # only those who give arrays have it

    # tensors of PyTorch, where they are on a GPU or have gradients
    arrays = {k: np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for k, v in data.items()}
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        yield path
