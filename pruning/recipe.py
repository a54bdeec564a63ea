"""What it takes to do a job again: the command, and the files that say how. Importable without torch."""

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pruning.errors import InvalidPlan

LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class Recipe:
    """A plan and, where a manifest or a report said so, how the data set was read and which files it was.

    sha256: of the model and the data set, by "model" and "dataset".
    """

    plan: dict[str, Any] = field(default_factory=dict)
    data_format: str | None = None
    preprocess: dict[str, Any] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """From a plan, a manifest.json or a report.json. Raises: InvalidPlan: it is none; OSError."""
        try:
            given = json.loads(path.read_text())
        except ValueError as error:
            raise InvalidPlan(f"{path} is not JSON: {error}") from error
        given = given.get("manifest", given) if isinstance(given, dict) else given
        if not isinstance(given, dict):
            raise InvalidPlan(f"{path} holds no plan")
        if "model_sha256" not in given:
            return cls(given)
        sha256 = {name: str(given.get(f"{name}_sha256")) for name in ("model", "dataset")}
        return cls(given.get("plan") or {}, given.get("data_format"), given.get("preprocess") or {}, sha256)


def command(model_name: str, dataset_name: str, teacher: str | None = None) -> str:
    """A line for a shell, in a folder with both files and manifest.json."""
    parts = ["python", "-m", "pruning", _path(model_name), _path(dataset_name), "--plan", "manifest.json"]
    taught = ["--teacher", _path(teacher)] if teacher else []
    return shlex.join([*parts, *taught, "--out", "out"])


def bare(name: str, default: str) -> str:
    """The name of a file alone, without folders and what cannot be printed; the default where nothing is left."""
    last = PurePosixPath(name.replace("\\", "/")).name
    printable = "".join(c for c in last if c.isprintable()).strip()[-LONGEST:]
    return default if printable in ("", ".", "..") else printable


def _path(name: str) -> str:
    """A name that no command takes for an option."""
    return f"./{name}" if name.startswith("-") else name
