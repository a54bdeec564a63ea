"""Random files against vet and analyse: nothing may crash, hang, fill the memory or raise what is no refusal.

Usage: python -m benchmarks.fuzz_vet [--seconds 300] [--folder DIR]
It needs atheris (pip install atheris). The folder keeps the corpus and the files found.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from onnx.backend.test.case.node import collect_testcases

from benchmarks.fuzzing.target import HEADER, LARGEST, record
from benchmarks.results import DATA, HOUSE, save
from tests.conftest import tiny_model
from tests.unit.pruning.onnx.hostile import HOSTILE

LONGEST_SECONDS = 10
LARGEST_SEED = 100_000
OURS = re.compile(r'File "[^"]*/pruning/([^"]+)", line (\d+)')  # of a faulthandler, innermost first


@dataclass
class Seen:
    """What one process did before it ended, and how: after its time, by a signal, or because it hung.

    where: the line of ours that it was at.
    """

    executions: int
    taken: int
    deep: int
    content: bytes
    end: str
    where: str
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="a temporary one by default")
    arguments = parser.parse_args()
    if find_spec("atheris") is None:
        raise SystemExit("fuzzing needs atheris: pip install atheris")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        _seed(folder)
        start = time.monotonic()
        seen = _processes(folder, arguments.seconds)
        seconds = time.monotonic() - start
        found = folder / "findings.jsonl"
        findings = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
    for row in findings:
        print(f"{row['end']:<28} {row['where']:<34} {row['said'][:120]!r}")
    save(
        "fuzz_vet",
        {
            "executions": sum(s.executions for s in seen),
            "of these taken": sum(s.taken for s in seen),
            "refused by analyse, after vet": sum(s.deep for s in seen),
            "seconds": round(seconds),
            "processes": len(seen),
            "peak resident memory, MB": max(s.peak_mb for s in seen),
            "kinds of findings": len(findings),
            "findings": findings,
        },
    )


def _seed(folder: Path) -> None:
    """Seeds: the tiny model, the small models among the data, the hostile corpus.

    Good models, for mutations to begin with: the first two; and the cases that onnx has for each operator.
    """
    models = [tiny_model().SerializeToString(), *_small(DATA.glob("models*/*.onnx"))]
    hostile = [build() for build in HOSTILE.values()]
    contents = {"corpus": [], "seeds": [*models, *hostile], "good": models, "cases": _cases()}
    for name, found in contents.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for content in (c for c in found if len(c) < LARGEST_SEED):
            (folder / name / sha256(content).hexdigest()[:16]).write_bytes(content)


def _cases() -> list[bytes]:
    """Of every operator, in an opset that ONNX Runtime takes."""
    with warnings.catch_warnings(action="ignore"):  # NumPy, of cases that overflow on purpose
        models = [case.model for case in collect_testcases(None) if case.model is not None]
    for model in models:
        model.ir_version = 10
        for opset in model.opset_import:
            opset.version = min(opset.version, 21)
    return [model.SerializeToString() for model in models]


def _small(paths: Iterable[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths if path.stat().st_size < LARGEST_SEED]


def _processes(folder: Path, seconds: int) -> list[Seen]:
    """One after the other until the time is over: an input that ends one is a finding, and leaves the seeds."""
    end = time.monotonic() + seconds
    seen: list[Seen] = []
    while (left := round(end - time.monotonic())) > 0:
        seen.append(_process(folder, left))
        last = seen[-1]
        if last.end == "done":
            continue
        name = sha256(last.content).hexdigest()[:16]
        (folder / "seeds" / name).unlink(missing_ok=True)
        record(folder, last.end, "", last.where, last.content)
        if not last.executions:
            raise SystemExit(f"the fuzzer does not start:\n{(folder / 'log').read_text()[-2000:]}")
    return seen


def _process(folder: Path, seconds: int) -> Seen:
    at = folder / "at"
    at.write_bytes(bytes(HEADER.size + LARGEST))
    command = [sys.executable, "-m", "benchmarks.fuzzing.target", str(folder), str(seconds)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=HOUSE, stdout=log, stderr=log)
        _pid, status, peak, hung = _watch(process.pid, at)
        process.returncode = os.waitstatus_to_exitcode(status)  # reaped by hand, for its memory
    content = at.read_bytes()
    executions, taken, deep, length = HEADER.unpack_from(content)
    code = process.returncode
    lines = OURS.findall((folder / "log").read_text(errors="replace"))
    end = f"hangs for {LONGEST_SECONDS} s" if hung else "done" if code == 0 else _name(code)
    where = ":".join(lines[0]) if lines else ""
    return Seen(executions, taken, deep, content[HEADER.size : HEADER.size + length], end, where, peak)


def _watch(pid: int, at: Path) -> tuple[int, int, float, bool]:
    """Until it ends, killed where it is at one input for too long: its status, peak memory in MB, whether it hung."""
    last, since, hung = 0, time.monotonic(), False
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return done, status, round(usage.ru_maxrss / 1024, 1), hung
        with at.open("rb") as file:
            executions = HEADER.unpack(file.read(HEADER.size))[0]
        if executions != last or not executions:
            last, since = executions, time.monotonic()
        elif time.monotonic() - since > LONGEST_SECONDS:
            hung = True
            os.kill(pid, signal.SIGABRT)  # its faulthandler says where it was
        time.sleep(0.2)


def _name(code: int) -> str:
    return f"crashes ({signal.Signals(-code).name})" if code < 0 else f"crashes (exit status {code})"


if __name__ == "__main__":
    main()
