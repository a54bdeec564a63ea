"""One process for each piece of work: started, watched, and ended with all that it started."""

import enum
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy.exc import SQLAlchemyError

from store.settings import settings

log = logging.getLogger(__name__)
OUT_OF_MEMORY = 86  # exit status of a process that met its memory limit and could still say so
NO_DATABASE = 87  # exit status of a process that could not write its row for too long
POLL_SECONDS = 0.2
LIBRARY_BYTES = 2**29  # of mapped files; torch, ONNX Runtime and Arrow need less


class Ended(enum.Enum):
    """How a process ended."""

    DONE = "it ended by itself and said so in its row"
    UNWANTED = "the row is being cancelled, or belongs to another attempt"
    MEMORY = "it needed more memory than it may have"
    TIME = "it took longer than it may"
    STOPPED = "this worker is being stopped"
    NO_DATABASE = "the database was away for too long"
    CRASHED = "it was killed or crashed"


@dataclass(frozen=True)
class Work:
    """What a process is to do, and its limits in bytes and seconds."""

    kind: str
    id: str
    attempt: int
    memory: int
    seconds: int


def supervise(work: Work, is_wanted: Callable[[], bool], stopping: threading.Event) -> Ended:
    """Run the work in a session of its own and wait for its end.

    is_wanted holds the lease on and is asked several times within it; the heartbeat is here and not in the
    process, where one long call into C would delay it.
    """
    killed_before = _kernel_kills()
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        process = _start(work, folder)
        try:
            ended = _watch(process, work, is_wanted, stopping)
        finally:
            _end(process)
    if ended is None:
        ended = _meaning(process.returncode, _kernel_kills() > killed_before)
    log.info("%s %s attempt %d: %s", work.kind, work.id, work.attempt, ended.value)
    return ended


def _start(work: Work, folder: str) -> subprocess.Popen[bytes]:
    """Nothing of ours runs between fork and exec: other threads of this process may hold locks there."""
    house = Path(__file__).parent.parent
    environment = os.environ | settings().for_children() | {"PYTHONPATH": str(house), "TMPDIR": folder}
    arguments = (work.kind, work.id, str(work.attempt), str(work.memory), str(os.getpid()))
    return subprocess.Popen(
        [sys.executable, "-m", "worker.run", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _watch(
    process: subprocess.Popen[bytes], work: Work, is_wanted: Callable[[], bool], stopping: threading.Event
) -> Ended | None:
    """None: it ended by itself."""
    deadline = time.monotonic() + work.seconds
    next_look = 0.0
    while process.poll() is None:
        if stopping.is_set():
            return Ended.STOPPED
        if time.monotonic() > deadline:
            return Ended.TIME
        if _resident(process.pid) > work.memory:
            return Ended.MEMORY
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + min(1.0, settings().lease_seconds / 10)
            if not _ask(is_wanted):
                return Ended.UNWANTED
        time.sleep(POLL_SECONDS)
    return None


def _ask(is_wanted: Callable[[], bool]) -> bool:
    try:
        return is_wanted()
    except SQLAlchemyError:  # the database is away: the lease decides, when it is back
        log.warning("no heartbeat: the database does not answer", exc_info=True)
        return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole session and wait: nothing keeps running."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("process group %d was gone already", process.pid)
    process.wait()


def _meaning(status: int, kernel_killed: bool) -> Ended:
    if status == 0:
        return Ended.DONE
    if status == OUT_OF_MEMORY or (status == -signal.SIGKILL and kernel_killed):
        return Ended.MEMORY
    return Ended.NO_DATABASE if status == NO_DATABASE else Ended.CRASHED


def _resident(pid: int) -> int:
    """Without mapped data sets: the kernel takes their pages back when it needs the room. Libraries count."""
    try:
        memory = psutil.Process(pid).memory_info()
        return memory.rss - max(0, getattr(memory, "shared", 0) - LIBRARY_BYTES)
    except psutil.NoSuchProcess:
        return 0


def _kernel_kills() -> int:
    """Processes that the kernel has killed for want of memory in this control group, as far as it is told."""
    events = Path("/sys/fs/cgroup/memory.events")
    if not events.exists():
        return 0
    counters = dict(line.split() for line in events.read_text().splitlines())
    return int(counters.get("oom_kill", 0))
