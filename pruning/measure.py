"""Speed, memory and size of a *file*, with ONNX Runtime."""

import gzip
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil
from zstandard import ZstdCompressor

from pruning import peak
from pruning.errors import OutOfMemory, RejectedModel, first_line, is_out_of_memory
from pruning.frame import Feeds, Frame
from pruning.peak import options

ort.disable_telemetry_events()  # nothing of a user's model is anybody else's business

Files = Mapping[str, bytes]  # "dense", "pruned" and, where there is one, "packed"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
LARGER = 32  # examples
LONGEST_MS = 200.0  # of a call with the larger batch
WARM, LEAST, ENOUGH, MOST = 3, 3, 40, 1000  # calls
SHORT_MS = 10.0
PATIENCE = 4  # times the seconds asked for, to come to enough calls
LOADS_SECONDS, LOADS = 1.0, 25
PEAK_SECONDS = 120
ZSTD, ZSTD_FAST, LARGE_BYTES = 19, 15, 2**23


@dataclass(frozen=True)
class Latency:
    """Milliseconds for a call with `batch` examples, the files in turn: medians of `runs` calls of each.

    speedup: median of dense / pruned, call by call; spread: interquartile range of a file relative to
    its median, of dense or pruned, whichever is larger.
    """

    provider: str
    threads: int
    batch: int
    runs: int
    dense_ms: float
    pruned_ms: float
    speedup: float
    spread: float
    packed_ms: float | None = None


@dataclass(frozen=True)
class Sizes:
    """Bytes of a file as it is, after gzip -9 and after zstd -19 (-15 over 8 MiB, as 19 takes a second for 3 MB)."""

    raw: int
    gzip: int
    zstd: int


@dataclass(frozen=True)
class Measurement:
    """What is measured on files, by name; the first of the latencies is the one to speak of.

    loading: milliseconds to create a session; memory: bytes, None where this machine does not tell.
    """

    latencies: tuple[Latency, ...]
    loading: Mapping[str, float]
    memory: Mapping[str, int | None]
    sizes: Mapping[str, Sizes]


def session(content: bytes, threads: int = 0, provider: str = CPU) -> ort.InferenceSession:
    """An ONNX Runtime session, on the CPU unless another provider is named; threads = 0 takes all cores.

    Raises: RejectedModel: ONNX Runtime refuses the file; OutOfMemory.
    """
    try:
        return ort.InferenceSession(content, options(threads), providers=list(dict.fromkeys((provider, CPU))))
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


def measure(files: Files, x: Feeds, seconds: float = 10.0) -> Measurement:
    """All of it.

    Args: x: some examples, all of one kind; they are repeated where more are needed. seconds: about, for small nets;
    half a minute is needed for large ones whatever is given.
    Raises: RejectedModel, OutOfMemory.
    """
    times, loads = latencies(files, x, seconds / 10), loading(files, seconds / 10)
    memory = {name: peak_memory(content, x) for name, content in files.items()}
    with ThreadPoolExecutor(cores()) as pool:  # only here, where nothing is timed any more
        found = pool.map(sizes, files.values())
        return Measurement(times, loads, memory, dict(zip(files, found, strict=True)))


def latency(dense: bytes, pruned: bytes, x: Feeds, seconds: float = 1.0) -> Latency:
    """Dense and pruned in turn on one thread, so that the ratio holds on a noisy machine.

    Args: x: one batch; it is filled up where the files have a fixed one.
    """
    return _row({"dense": session(dense, 1), "pruned": session(pruned, 1)}, x, CPU, 1, seconds)


def latencies(files: Files, x: Feeds, seconds: float = 1.0) -> tuple[Latency, ...]:
    """One thread and all cores, one example and more, and the same on a GPU where there is one.

    The first row is of one thread and one example (or the batch that the files have), and alone holds the packed
    file, which once loaded is the pruned one. Calls on a GPU copy their inputs there and their outputs back.
    Args: x: some examples. seconds: for the first row; each other takes half of it.
    """
    batches = [_repeated(x, 1)]
    opened = _opened(files, CPU, 1, batches)
    rows = [_row(opened, batches[0], CPU, 1, seconds)]
    batches += _larger(opened, x, rows[0])
    both = {name: files[name] for name in ("dense", "pruned")}
    for provider, threads in _places():
        later = batches[1:] if (provider, threads) == (CPU, 1) else batches
        if later and (sessions := _opened(both, provider, threads, later)):
            rows += [_row(sessions, batch, provider, threads, seconds / 2) for batch in later]
    return tuple(rows)


def loading(files: Files, seconds: float = LOADS_SECONDS) -> dict[str, float]:
    """Milliseconds to create a session on one thread, by file; medians, the files in turn."""
    times = in_turn({name: partial(session, content, 1) for name, content in files.items()}, seconds, LOADS)
    return {name: statistics.median(taken) for name, taken in times.items()}


def in_turn(calls: Mapping[str, Callable[[], object]], seconds: float, most: int = MOST) -> dict[str, list[float]]:
    """Milliseconds of each call after a warm-up, one of each in every round.

    Short calls are made twice, and the second counts: with caches as they are where one file runs alone.
    At least 3 rounds; 40 where these take no more than four times the seconds; then until the seconds are over.
    """
    start = time.perf_counter()
    for _ in range(WARM):
        for call in calls.values():
            call()
        if time.perf_counter() - start > seconds / 4:
            break
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    for rounds in range(most):
        if rounds >= LEAST and time.perf_counter() - start > seconds * (1 if rounds >= ENOUGH else PATIENCE):
            break
        for name, call in calls.items():
            if not times[name] or times[name][-1] < SHORT_MS:
                call()
            begin = time.perf_counter()
            made = call()
            times[name].append((time.perf_counter() - begin) * 1e3)
            del made  # what a call makes is cleared away outside of its time
    return times


def peak_memory(content: bytes, x: Feeds) -> int | None:
    """Bytes that loading and running the file with one example (or the batch that it has) takes at most.

    In a fresh process on one thread, above what the runtime takes without a file. None: this machine does not tell.
    """
    one = _repeated(x, 1)
    feed = Frame.of(session(content, 1), one).pieces(one)[0]
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        model, values = Path(folder) / "model.onnx", Path(folder) / "feed.npz"
        model.write_bytes(content)
        np.savez(values, *feed.values())
        command = (sys.executable, "-P", peak.__file__, str(model), str(values), *feed)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PEAK_SECONDS, check=True)
            return int(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError):
            return None


def sizes(content: bytes) -> Sizes:
    """Of a file, and of what compressors leave of it."""
    return Sizes(len(content), gzip_bytes(content), zstd_bytes(content))


def gzip_bytes(content: bytes) -> int:
    """Size after gzip -9."""
    return len(gzip.compress(content, 9, mtime=0))


def zstd_bytes(content: bytes) -> int:
    """Size after zstd -19, or -15 over 8 MiB."""
    return len(ZstdCompressor(level=ZSTD if len(content) <= LARGE_BYTES else ZSTD_FAST).compress(content))


def cores() -> int:
    """Those of this process that are not two of one, as threads that share a core slow each other down."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(mine, psutil.cpu_count(logical=False) or mine)


def machine() -> str:
    """The processor, as far as it says what it is, and how many of its cores there are."""
    said = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cores()} cores"


def _places() -> list[tuple[str, int]]:
    """Providers and threads to measure with."""
    cpu = [(CPU, threads) for threads in sorted({1, cores()})]
    return cpu + ([(CUDA, 1)] if CUDA in ort.get_available_providers() else [])


def _opened(files: Files, provider: str, threads: int, batches: Sequence[Feeds]) -> dict[str, ort.InferenceSession]:
    """Sessions that have run the batches; none where no GPU takes these files, although the runtime knows of some.

    Raises: RejectedModel, OutOfMemory: on the CPU.
    """
    try:
        sessions = {name: session(content, threads, provider) for name, content in files.items()}
        for s in sessions.values():
            for batch in batches:
                run(s, batch)
    except (RejectedModel, OutOfMemory):
        if provider == CPU:
            raise
        return {}
    return sessions if all(s.get_providers()[0] == provider for s in sessions.values()) else {}


def _row(
    sessions: Mapping[str, ort.InferenceSession], x: Feeds, provider: str, threads: int, seconds: float
) -> Latency:
    frame = Frame.of(sessions["dense"], x)
    feed = frame.pieces(x)[0]
    times = in_turn({name: partial(s.run, None, feed) for name, s in sessions.items()}, seconds)
    medians = {f"{name}_ms": statistics.median(taken) for name, taken in times.items()}
    ratio = statistics.median(d / p for d, p in zip(times["dense"], times["pruned"], strict=True))
    spread = max(_spread(times[name]) for name in ("dense", "pruned"))
    return Latency(provider, threads, frame.size, len(times["pruned"]), speedup=ratio, spread=spread, **medians)


def _spread(taken: Sequence[float]) -> float:
    low, median, high = statistics.quantiles(taken, n=4)
    return (high - low) / median


def _larger(sessions: Mapping[str, ort.InferenceSession], x: Feeds, one: Latency) -> list[Feeds]:
    """A larger batch of no more than LONGEST_MS; none where the files do not take one."""
    most = min(LARGER, LONGEST_MS * one.batch / max(one.dense_ms, one.pruned_ms))
    batch = _repeated(x, 2 ** int(math.log2(max(most, 1))))
    examples = len(next(iter(batch.values())))
    try:
        frames = [Frame.of(s, batch) for s in sessions.values()]
        if examples <= one.batch or any(frame.size != examples or frame.single for frame in frames):
            return []
        for s in sessions.values():
            run(s, batch)
    except (RejectedModel, OutOfMemory):  # some files say that their batch is free, and hold it in a shape
        return []
    return [batch]


def _repeated(x: Feeds, examples: int) -> Feeds:
    return {name: values[np.arange(examples) % len(values)] for name, values in x.items()}
