"""Cases in child processes, some hundred each; one that ends its child is tried again alone."""

import json
import os
import selectors
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

from benchmarks.harm import make
from benchmarks.harm.trial import Folder, Outcome, judge, limit

SECONDS = {"laborious": 200}  # of processor time for one case; the service takes 900
OTHERWISE = 30
LATE = 6  # times as long by the clock: other processes may have the processors
TOGETHER = {"laborious": 1}
USUALLY = 400


@dataclass
class Chunk:
    """Numbers of cases of one kind; alone: the first has ended a child before."""

    kind: str
    numbers: list[int]
    alone: bool = False


@dataclass
class Child:
    """A process at work on a chunk; since, used: the clock and its processor time when its last case ended."""

    pid: int
    pipe: int
    chunk: Chunk
    since: float
    used: float = 0.0
    heard: bytes = b""
    hangs: bool = False


def outcomes(seed: int, chunks: list[Chunk], at_once: int) -> Generator[Outcome]:
    """Of all cases, as they end."""
    waiting = list(reversed(chunks))
    running: dict[int, Child] = {}
    with tempfile.TemporaryDirectory() as folder, selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    child = _fork(seed, waiting.pop(), Path(folder))
                    running[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                for key, _ in selector.select(0.5):
                    child = running[key.fd]
                    if data := os.read(child.pipe, 1 << 16):
                        yield from _heard(child, data)
                        continue
                    selector.unregister(child.pipe)
                    del running[key.fd]
                    status = _reaped(child)
                    waiting += _left(child)
                    if child.chunk.numbers and child.chunk.alone:
                        yield _ended(seed, child, status)
                for child in running.values():
                    _watch(child)
        finally:  # whoever listens may have heard enough
            for child in running.values():
                os.kill(child.pid, signal.SIGKILL)
                _reaped(child)


def chunks_of(kind: str, count: int, start: int = 0) -> list[Chunk]:
    """So many cases, in pieces."""
    numbers, piece = range(start, start + count), TOGETHER.get(kind, USUALLY)
    return [Chunk(kind, list(numbers[i : i + piece])) for i in range(0, count, piece)]


def _fork(seed: int, chunk: Chunk, folder: Path) -> Child:
    reading, writing = os.pipe()
    place = Path(tempfile.mkdtemp(dir=folder))
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading, chunk, time.monotonic())
    os.close(reading)
    said = os.dup(2)
    try:
        _work(seed, chunk, place, writing)
        os._exit(0)
    except BaseException:  # noqa: BLE001  # whatever it is, this process is not to go on as the parent
        os.write(said, traceback.format_exc().encode())
        os._exit(1)  # what the parent has opened is the parent's to close


def _work(seed: int, chunk: Chunk, place: Path, pipe: int) -> None:
    """In the child."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)  # ONNX Runtime logs what it refuses
    warnings.simplefilter("ignore")
    folder = Folder(place)
    first = make(seed, chunk.kind, chunk.numbers[0])
    limit(first.format)
    folder.enter()
    for number in chunk.numbers:
        outcome = judge(make(seed, chunk.kind, number), folder, chunk.kind, number)
        os.write(pipe, json.dumps(asdict(outcome)).encode() + b"\n")


def _heard(child: Child, data: bytes) -> Iterator[Outcome]:
    *lines, child.heard = (child.heard + data).split(b"\n")
    for line in lines:
        outcome = Outcome(**json.loads(line))
        child.chunk.numbers.remove(outcome.number)
        child.since, child.used = time.monotonic(), _used(child.pid)
        yield outcome


def _reaped(child: Child) -> int:
    """Its exit status."""
    os.close(child.pipe)
    return os.waitpid(child.pid, 0)[1]


def _watch(child: Child) -> None:
    most = SECONDS.get(child.chunk.kind, OTHERWISE)
    if _used(child.pid) - child.used > most or time.monotonic() - child.since > LATE * most:
        child.hangs = True
        os.kill(child.pid, signal.SIGKILL)


def _used(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _left(child: Child) -> list[Chunk]:
    """What a child that has ended did not do: its case alone, if it was not, and the others."""
    chunk = child.chunk
    if not chunk.numbers:
        return []
    rest = [Chunk(chunk.kind, chunk.numbers[1:])] if chunk.numbers[1:] else []
    return rest if chunk.alone else [*rest, Chunk(chunk.kind, chunk.numbers[:1], alone=True)]


def _ended(seed: int, child: Child, status: int) -> Outcome:
    """Of a case that ended its process, alone."""
    number = child.chunk.numbers[0]
    name = make(seed, child.chunk.kind, number).name
    code = os.waitstatus_to_exitcode(status)
    said = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    seconds = round(time.monotonic() - child.since, 1)
    return Outcome(child.chunk.kind, number, name, "hang" if child.hangs else "crash", said, "", seconds)


if __name__ == "__main__":  # SEED COUNT KIND...: a line of JSON for each case
    seed, count, *kinds = sys.argv[1:]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for outcome in outcomes(int(seed), [c for kind in kinds for c in chunks_of(kind, int(count))], 1):
        print(json.dumps(asdict(outcome)), flush=True)
