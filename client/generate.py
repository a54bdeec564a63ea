"""Write secateur/_sync from secateur/_async: python client/generate.py [FOLDER for the result]."""

import sys
import tempfile
from pathlib import Path

import unasync

PACKAGE = Path(__file__).parent / "secateur"
HEADER = "# Generated from {name} by client/generate.py: edit that one.\n"
NAMES = {
    "_async": "_sync",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "aiter_lines": "iter_lines",
    "aread": "read",
    "asleep": "sleep",
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncConnection": "Connection",
    "AsyncJob": "Job",
    "AsyncSecateur": "Secateur",
    "AsyncTransfer": "Transfer",
}


def generate(target: Path) -> None:
    """Write the synchronous twin of every file of _async into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for source in sorted((PACKAGE / "_async").glob("*.py")):
            (work / source.name).write_text(source.read_text())
        rule = unasync.Rule(str(work), str(target), NAMES)
        unasync.unasync_files([str(p) for p in sorted(work.glob("*.py"))], [rule])
    for written in sorted(target.glob("*.py")):
        header = HEADER.format(name=f"secateur/_async/{written.name}")
        written.write_text(header + written.read_text())


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE / "_sync")
