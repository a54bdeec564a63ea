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

    @property
    def stamp(self) -> tuple[str, int, int] | None:
        """Path, size and time of change; another one is another file. None: of bytes."""
        if isinstance(self.content, bytes):
            return None
        facts = self.content.stat()
        return str(self.content.resolve()), facts.st_size, facts.st_mtime_ns

    def pieces(self, on_bytes: OnBytes | None = None, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """From start to end; on_bytes counts what lies before the start as done."""
        size, sent = self.size, start
        if on_bytes and start:
            on_bytes(start, size)
        for piece in self._pieces(start, size if end is None else end):
            yield piece
            sent += len(piece)
            if on_bytes:
                on_bytes(sent, size)

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            yield from (self.content[i : min(i + PIECE, end)] for i in range(start, end, PIECE))
            return
        with self.content.open("rb") as file:
            file.seek(start)
            while piece := file.read(min(PIECE, end - start)):
                start += len(piece)
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
