"""Which format a data set has, guessed from its names."""

import tarfile
import zipfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Literal

Format = Literal["npz", "imagefolder", "parquet", "idx"]
ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
ENOUGH = 2000  # names; a large tar would have to be unpacked to see them all


def guess(path: Path) -> Format | None:
    """npz, parquet, idx or imagefolder; None where the names say nothing."""
    name = path.name.lower()
    if name.endswith(".npz"):
        return "npz"
    if not name.endswith(ARCHIVES):
        return None
    try:
        return _by_names(_names(path))
    except (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile):
        return None  # damaged: the service says in which way


def _by_names(names: Iterable[str]) -> Format:
    for name in names:
        if name.endswith(".parquet"):
            return "parquet"
        if name.endswith("-ubyte.gz"):
            return "idx"
    return "imagefolder"


def _names(path: Path) -> list[str]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    with tarfile.open(path) as archive:
        return [member.name for member in islice(archive, ENOUGH)]
