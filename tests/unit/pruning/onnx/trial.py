"""Hostile files on trial, each in a process of its own with limits; prints a line of JSON for each as it ends.

python -m tests.unit.pruning.onnx.trial [NAME ...]
"""

import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pruning.errors import RejectedModel
from pruning.onnx.analyse import analyse
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from tests.unit.pruning.onnx.hostile import HOSTILE

MEMORY = 4 << 30
SECONDS = 60  # several times what the slowest takes, as tests run side by side
AT_ONCE = 2
LONGEST_SENTENCE = 500
NO_SENTENCE = re.compile(r"Traceback|\bFile \"|frame #\d|0x[0-9a-fA-F]{6,}|object at|\n|\x1b|\0")


@dataclass(frozen=True)
class Outcome:
    """How a file ended: refused, taken, or what else it did.

    where: the innermost line of ours in the way of what was raised; peak_mb: by how much the resident memory rose.
    """

    name: str
    end: str
    said: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    where: str = ""


def try_all(names: list[str]) -> None:
    """Two at a time, each forked from this process, which has imported all and started no thread."""
    waiting = list(reversed(names))
    running: dict[int, tuple[str, Path, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                name = waiting.pop()
                path = Path(folder) / str(len(waiting))
                running[_fork(name, path)] = name, path, time.monotonic()
            pid, status = os.wait()
            name, path, start = running.pop(pid)
            outcome = Outcome(**json.loads(path.read_text())) if path.exists() else _died(name, status, start)
            print(json.dumps(asdict(outcome)), flush=True)


def judge(name: str, content: bytes) -> Outcome:
    """Vet and analyse as the worker does, in this process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    where = ""
    try:
        analyse(unshare(vet(content)))
        end, said = "taken", ""
    except RejectedModel as error:
        said, where = str(error), _where(error)
        end = "refused" if len(said) <= LONGEST_SENTENCE and not NO_SENTENCE.search(said) else "refused in no sentence"
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is the finding
        end, said, where = type(error).__name__, str(error), _where(error)
    risen = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return Outcome(name, end, _short(said), round(time.monotonic() - start, 2), round(risen, 1), where)


def _where(error: BaseException) -> str:
    """File and line: of its cause where it was raised from one."""
    frames = [f for f in traceback.extract_tb((error.__cause__ or error).__traceback__) if "/pruning/" in f.filename]
    return f"{frames[-1].filename.split('/pruning/')[-1]}:{frames[-1].lineno}" if frames else ""


def _short(said: str) -> str:
    return said if len(said) <= 2 * LONGEST_SENTENCE else f"{said[:LONGEST_SENTENCE]} ... ({len(said):,} characters)"


def limit() -> None:
    """Data, processor and wall limits of this process; past the last two a signal ends it."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (2 * SECONDS, 2 * SECONDS))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)


def _fork(name: str, path: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)  # ONNX Runtime logs what it refuses
    content = HOSTILE[name]()
    limit()
    outcome = judge(name, content)
    path.write_text(json.dumps(asdict(outcome)))
    os._exit(0)


def _died(name: str, status: int, start: float) -> Outcome:
    seconds = round(time.monotonic() - start, 2)
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGALRM, -signal.SIGXCPU):
        return Outcome(name, "hangs", f"not done after {SECONDS} s", seconds)
    said = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return Outcome(name, "crashes", said, seconds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    try_all(sys.argv[1:] or list(HOSTILE))
