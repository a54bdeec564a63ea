"""Memory that a file takes to load and to run: `python -P peak.py MODEL.onnx FEED.npz INPUT...` prints bytes.

A script in a process of its own, which imports nothing else, so that nothing else is counted and it starts fast.
"""

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime as ort

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RUNS = 2  # the second finds the memory that the first has left


def options(threads: int) -> ort.SessionOptions:
    """Of every session that is measured: threads sleep when they wait, so that they disturb nobody else."""
    made = ort.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.log_severity_level = 3
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def peak(model: str, feed: dict[str, np.ndarray]) -> int:
    """High-water mark of resident memory above what the process holds before, on one thread of the CPU."""
    with suppress(OSError):  # some containers forbid it; then the mark that importing left is where it starts
        RESET.write_text("5")
    before = _high_water()
    session = ort.InferenceSession(model, options(1), providers=["CPUExecutionProvider"])
    for _ in range(RUNS):
        session.run(None, feed)
    return _high_water() - before


def _high_water() -> int:
    """Not by getrusage: what exec replaces hands its mark on, and a parent that has trained is larger than any file."""
    lines = STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    ort.disable_telemetry_events()
    with np.load(sys.argv[2]) as archive:
        values = [archive[name] for name in archive.files]
    print(peak(sys.argv[1], dict(zip(sys.argv[3:], values, strict=True))))
