"""Where results go, and the service that some of them are measured on."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).parent.parent
DATA = Path(os.environ.get("SECATEUR_DATA", HOUSE.parent / "shared" / "data"))
RESULTS = HOUSE / "benchmarks" / "results"


def save(name: str, values: dict[str, Any]) -> None:
    """Print a table and write benchmarks/results/NAME.json with date, machine and versions.

    A list is rows that were printed as they came: it goes into the file only.
    """
    for key, value in values.items():
        if not isinstance(value, list):
            print(f"{key:<44} {value}")
    head = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python -m benchmarks.{name}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {p: version(p) for p in ("torch", "onnxruntime", "fastapi", "celery", "sqlalchemy")},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(head | {"results": values}, indent=2) + "\n")


def read_rows(name: str) -> dict[str, Any]:
    """What benchmarks/results/NAME.json holds by now: benchmarks that take hours write a row at a time."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["results"] if path.exists() else {}


@contextmanager
def running_service() -> Iterator[tuple[str, int, Path]]:
    """A service on its embedded default in a new folder: its address, the pid of its supervisor, the folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"SECATEUR_DATA_DIR": folder, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], cwd=HOUSE, env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield line.split(" is at ")[1].split(" ")[0], process.pid, Path(folder)
        finally:
            process.terminate()
            process.wait()
