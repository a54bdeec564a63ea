"""Accuracy, latency and size of a *file*, with ONNX Runtime."""

import gzip
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from pruning.dtypes import NUMPY
from pruning.errors import OutOfMemory, RejectedModel, first_line, is_out_of_memory

ort.disable_telemetry_events()  # nothing of a user's model is anybody else's business

Feeds = Mapping[str, np.ndarray]
TYPES = {f"tensor({name})": dtype for name, dtype in NUMPY.items()}


@dataclass(frozen=True)
class Latency:
    """Milliseconds for a call with `batch` examples; spread is the interquartile range, relative to the median."""

    batch: int
    dense_ms: float
    pruned_ms: float
    speedup: float
    spread: float


@dataclass(frozen=True)
class Frame:
    """How a batch meets a file: examples, in pieces of `size`; single: the file has no batch axis.

    dtypes: of the file's inputs.
    """

    examples: int
    size: int
    single: bool
    dtypes: Mapping[str, type]

    @classmethod
    def of(cls, s: ort.InferenceSession, x: Feeds) -> "Frame":
        """An input with one axis less than its data has no batch axis."""
        ports = {port.name: port for port in s.get_inputs()}
        examples = len(next(iter(x.values())))
        single = any(len(ports[name].shape) == values.ndim - 1 for name, values in x.items())
        fixed = [d for name in x for d in ports[name].shape[:1] if isinstance(d, int)]
        size = 1 if single else next(iter(fixed), examples)
        return cls(examples, size, single, {name: TYPES.get(p.type, np.float32) for name, p in ports.items()})

    def pieces(self, x: Feeds) -> list[dict[str, np.ndarray]]:
        """What each call is fed; the last piece is filled up."""
        whole = {name: self._whole(values.astype(self.dtypes[name], copy=False)) for name, values in x.items()}
        starts = range(0, self.examples, self.size)
        return [{k: v[i] if self.single else v[i : i + self.size] for k, v in whole.items()} for i in starts]

    def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The outputs of all calls as one batch."""
        joined = np.stack(parts) if self.single else np.concatenate([np.atleast_1d(part) for part in parts])
        joined = joined[: self.examples] if len(parts) > 1 or self.size > self.examples else joined
        return joined.astype(np.float32) if joined.dtype == np.float16 else joined

    def _whole(self, values: np.ndarray) -> np.ndarray:
        missing = -len(values) % self.size
        return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values


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
        old = "; export with opset 17" if "NOT_IMPLEMENTED" in str(error) else ""
        raise RejectedModel(f"ONNX Runtime does not load the file: {first_line(error)}{old}") from error


def run(s: ort.InferenceSession, x: Feeds) -> dict[str, np.ndarray]:
    """Every output by name, for a batch of every input by name; half-precision outputs as float32.

    A file with a fixed batch is run in pieces of that size, one without a batch axis example by example.
    Raises: RejectedModel, OutOfMemory.
    """
    names = [port.name for port in s.get_outputs()]
    frame = Frame.of(s, x)
    try:
        found = [s.run(names, piece) for piece in frame.pieces(x)]
        outputs = [frame.join([np.asarray(part) for part in parts]) for parts in zip(*found, strict=True)]
    except Exception as error:  # as in session
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise RejectedModel(f"ONNX Runtime does not run the file: {first_line(error)}") from error
    return dict(zip(names, outputs, strict=True))


def latency(dense: bytes, pruned: bytes, x: Feeds, seconds: float = 1.0, least: int = 20) -> Latency:
    """Dense and pruned in turn on one thread, so that the ratio holds on a noisy machine.

    Args: x: one batch; it is filled up where the files have a fixed one.
    """
    sessions = session(dense, threads=1), session(pruned, threads=1)
    frame = Frame.of(sessions[0], x)
    feed = frame.pieces(x)[0]
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
    return Latency(frame.size, medians[0], medians[1], ratio, (quartiles[2] - quartiles[0]) / medians[1])


def gzip_bytes(content: bytes) -> int:
    """Size after gzip -9."""
    return len(gzip.compress(content, 9, mtime=0))
