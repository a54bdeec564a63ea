"""Nets as users write them, through both PyTorch exporters: whether each is taken, trained and written back.

Usage: python -m benchmarks.exported_models [--folder DIR] [--nets NAME ...]
The exported files are kept in the folder: a second run only imports them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.nets import NETS
from benchmarks.nets.export import FORMS
from benchmarks.results import HOUSE, save
from benchmarks.verdicts import EXAMPLES, Verdict, judge, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where exported files are kept; a temporary one by default")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), help="all by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = show(row for name in arguments.nets for row in _judged(name, folder))
    if arguments.nets != list(NETS):
        return  # a part is for looking at, not for the record
    verdicts = Counter(row["verdict"] for row in rows)
    ours = len(rows) - verdicts["not exported"]
    save("exported_models", {"taken": f"{verdicts['ready']} of {ours}", "verdicts": dict(verdicts), "models": rows})


def _judged(name: str, folder: Path) -> Iterator[tuple[str, Verdict]]:
    said = folder / f"{name}.json"
    if not said.exists():
        command = [sys.executable, "-m", "benchmarks.nets.export", name, str(folder)]
        done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the exporters failed on {name}:\n{done.stderr[-2000:]}")
    feeds = {k: v.numpy() for k, v in NETS[name].batch(EXAMPLES).items()}
    for form, seconds in json.loads(said.read_text()).items():
        row = f"{name}, {', '.join(FORMS[form])}"
        if isinstance(seconds, str):
            yield row, Verdict("not exported", seconds)
        else:
            yield row, judge((folder / f"{name}-{form}.onnx").read_bytes(), feeds)


if __name__ == "__main__":
    main()
