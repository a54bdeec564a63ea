"""Accuracy, latency and size of a *file*, with ONNX Runtime."""

import gzip
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from pruning.errors import OutOfMemory, RejectedModel, is_out_of_memory

ort.disable_telemetry_events()  # nothing of a user's model is anybody else's business


@dataclass(frozen=True)
class Latency:
    """Milliseconds for a call with `batch` examples; spread is the interquartile range, relative to the median."""

    batch: int
    dense_ms: float
    pruned_ms: float
    speedup: float
    spread: float


def session(content: bytes, threads: int = 0) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU; threads = 0 takes all cores.

    Raises: RejectedModel: ONNX Runtime refuses the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen classes of its own, with no common base
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise RejectedModel(f"ONNX Runtime does not load the file: {str(error).strip()[:300]}") from error


def run(s: ort.InferenceSession, x: np.ndarray) -> np.ndarray:
    """The first output for a batch x; a file with a fixed batch is run in pieces of that size.

    Raises: RejectedModel, OutOfMemory.
    """
    name, pieces = _feeds(s, x)
    try:
        outputs = np.concatenate([np.asarray(s.run(None, {name: piece})[0]) for piece in pieces])
    except Exception as error:  # as in session
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise RejectedModel(f"ONNX Runtime does not run the file: {str(error).strip()[:300]}") from error
    return outputs[: len(x)] if len(x) < sum(map(len, pieces)) else outputs


def top1(content: bytes, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> tuple[int, int]:
    """Examples whose largest output is the label, and all examples."""
    s = session(content)
    right = examples = 0
    for x, y in batches:
        right += int((run(s, x).argmax(-1) == y).sum())
        examples += len(y)
    return right, examples


def latency(dense: bytes, pruned: bytes, x: np.ndarray, seconds: float = 1.0, least: int = 20) -> Latency:
    """Dense and pruned in turn on one thread, so that the ratio holds on a noisy machine.

    Args: x: one batch; it is filled up where the files have a fixed one.
    """
    sessions = session(dense, threads=1), session(pruned, threads=1)
    (name, (piece, *_)), _ = (_feeds(s, x) for s in sessions)
    feed = {name: piece}
    for s in sessions * 3:
        s.run(None, feed)
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while len(times[0]) < least or (time.perf_counter() < end and len(times[0]) < 5000):
        for s, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            s.run(None, feed)
            taken.append((time.perf_counter() - start) * 1e3)
    medians = [statistics.median(t) for t in times]
    ratio = statistics.median(d / p for d, p in zip(*times, strict=True))
    quartiles = statistics.quantiles(times[1], n=4)
    return Latency(len(piece), medians[0], medians[1], ratio, (quartiles[2] - quartiles[0]) / medians[1])


def gzip_bytes(content: bytes) -> int:
    """Size after gzip -9."""
    return len(gzip.compress(content, 9, mtime=0))


def _feeds(s: ort.InferenceSession, x: np.ndarray) -> tuple[str, list[np.ndarray]]:
    """The input's name, and x in its type, in pieces of the file's batch; the last one is filled up."""
    port = s.get_inputs()[0]
    x = x.astype({"tensor(double)": np.float64, "tensor(float16)": np.float16}.get(port.type, np.float32), copy=False)
    fixed = port.shape[0] if port.shape and isinstance(port.shape[0], int) else len(x)
    filler = np.repeat(x[-1:], -len(x) % fixed, axis=0)
    whole = np.concatenate([x, filler]) if len(filler) else x
    return port.name, [whole[i : i + fixed] for i in range(0, len(whole), fixed)]
