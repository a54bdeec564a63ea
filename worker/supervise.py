"""One process for each piece of work: started, heard, watched, and ended with all that it started."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy.exc import SQLAlchemyError

from store import logs
from store.database import AWAY
from store.disk import is_full
from store.settings import settings
from store.storage import StorageAway
from worker.endings import LOST, NO_SPACE, OUT_OF_MEMORY, Ended
from worker.errand import ERRAND, TRACE, Errand
from worker.folder import Folder, private
from worker.hearing import Hearing, Scribe

log = logging.getLogger(__name__)
HOUSE = Path(__file__).parent.parent
POLL_SECONDS = 0.2
LIBRARY_BYTES = 2**29  # of mapped files; torch, ONNX Runtime and Arrow need less
# all that a process is told of the world; credentials stand in none of these
PASSED_ON = re.compile(r"(PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|(OMP|KMP|MKL|OPENBLAS|CUDA|NVIDIA|NCCL)_\w+)")


@dataclass(frozen=True)
class Work:
    """What a process is to do, and its limits in bytes and seconds; prepare brings the files that it needs.

    is_wanted holds the lease on, and is asked several times within it; the heartbeat is here and not in the process,
    where one long call into C would delay it.
    """

    kind: str
    id: str
    attempt: int
    prepare: Callable[[Folder], Errand]
    memory: int
    seconds: int
    is_wanted: Callable[[], bool]


class Pulse:
    """Asks whether the work is still wanted, no more often than the lease needs."""

    def __init__(self, work: Work) -> None:
        self._is_wanted, self._next = work.is_wanted, 0.0

    def beats(self) -> bool:
        """False: the row is being cancelled, or another attempt has it."""
        if time.monotonic() < self._next:
            return True
        self._next = time.monotonic() + min(1.0, settings().lease_seconds / 10)
        try:
            return self._is_wanted()
        except SQLAlchemyError:  # the database is away: the lease decides, when it is back
            log.warning("no heartbeat: the database does not answer", exc_info=True)
            return True


def supervise(work: Work, scribe: Scribe, stopping: threading.Event) -> Ended:
    """Run the work in a session of its own, pass on what it says, and wait for its end.

    Raises: whatever prepare raises, but for a full disk or a database that is away.
    """
    try:
        ended = _supervise(work, scribe, stopping)
    except AWAY:
        log.warning("%s %s was not begun", work.kind, work.id, exc_info=True)
        ended = Ended.NO_DATABASE
    except OSError as error:
        if not is_full(error):
            raise
        ended = Ended.SPACE
    log.info("%s %s attempt %d: %s", work.kind, work.id, work.attempt, ended.value)
    return ended


def _supervise(work: Work, scribe: Scribe, stopping: threading.Event) -> Ended:
    pulse = Pulse(work)
    with private() as folder:
        prepared = _prepared(work, folder, pulse, stopping)
        return prepared if isinstance(prepared, Ended) else _run(work, prepared, folder, scribe, pulse, stopping)


def _prepared(work: Work, folder: Folder, pulse: Pulse, stopping: threading.Event) -> Errand | Ended:
    """Files may come from far away: the lease is held meanwhile, and who need not wait for them does not.

    Raises: whatever prepare raises, but for files that cannot be had.
    """
    ended = None
    with ThreadPoolExecutor(1) as hand:
        ready = hand.submit(work.prepare, folder)
        while ended is None and not wait([ready], POLL_SECONDS).done:
            ended = Ended.STOPPED if stopping.is_set() else None if pulse.beats() else Ended.UNWANTED
        if ended:
            folder.give_up()
    try:
        return ended or ready.result()
    except StorageAway:
        return Ended.NO_STORAGE
    except FileNotFoundError:
        log.exception("%s %s needs a file that is not there", work.kind, work.id)
        return Ended.MISSING


def _run(work: Work, errand: Errand, folder: Folder, scribe: Scribe, pulse: Pulse, stopping: threading.Event) -> Ended:
    killed_before = _kernel_kills()
    process, hearing = _start(work, errand, folder, scribe)
    try:
        ended = _watch(process, hearing, work, pulse, stopping)
    finally:
        _end(process)
        hearing.join()
    return ended or hearing.ended or _meaning(process.returncode, _kernel_kills() > killed_before)


def _start(work: Work, errand: Errand, folder: Folder, scribe: Scribe) -> tuple[subprocess.Popen[bytes], Hearing]:
    """Nothing of ours runs between fork and exec: other threads of this process may hold locks there."""
    (folder.path / ERRAND).write_text(errand.model_dump_json())
    environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    environment |= {"SECATEUR_LOG_FORMAT": settings().log_format, TRACE: logs.known("trace_id") or ""}
    environment["ORT_DISABLE_TELEMETRY"] = "1"  # what is pruned here is nobody's business
    environment |= {"PYTHONPATH": str(HOUSE), "TMPDIR": str(folder.path), "HOME": str(folder.path)}
    ear, mouth = os.pipe()
    arguments = (work.kind, work.id, *map(str, (work.attempt, mouth, work.memory, work.seconds, os.getpid())))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.run", *arguments],
            cwd=folder.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(mouth,),
            start_new_session=True,
        )
    except OSError:
        os.close(ear)
        raise
    finally:
        os.close(mouth)
    hearing = Hearing(ear, folder, scribe)
    hearing.start()
    return process, hearing


def _watch(
    process: subprocess.Popen[bytes], hearing: Hearing, work: Work, pulse: Pulse, stopping: threading.Event
) -> Ended | None:
    """None: it ended by itself, and all that it said was heard."""
    deadline = time.monotonic() + work.seconds
    handover = None
    while process.poll() is None or hearing.is_alive():
        if process.poll() is not None:
            _end(process)  # what it started may hold the pipe open
        if hearing.ended:
            return hearing.ended
        if stopping.is_set():
            handover = handover or hearing.handover(work.kind)
            if handover.is_over():
                return Ended.STOPPED
        if time.monotonic() > deadline:
            return Ended.TIME
        if _resident(process.pid) > work.memory:
            return Ended.MEMORY
        if not pulse.beats():
            return Ended.UNWANTED
        time.sleep(POLL_SECONDS)
    return None


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
    if status == OUT_OF_MEMORY or (status in (-signal.SIGKILL, LOST) and kernel_killed):
        return Ended.MEMORY
    return Ended.SPACE if status == NO_SPACE else Ended.CRASHED


def _resident(group: int) -> int:
    """Of all processes of a group, which none of them can leave: their own memory, and libraries once.

    Without mapped data sets: the kernel takes their pages back when it needs the room.
    """
    own = libraries = 0
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) != group:
                continue
            memory = psutil.Process(pid).memory_info()
        except (OSError, psutil.Error):  # it has just ended
            continue
        shared = getattr(memory, "shared", 0)
        own += memory.rss - shared
        libraries = max(libraries, min(shared, LIBRARY_BYTES))
    return own + libraries


def _kernel_kills() -> int:
    """Processes that the kernel has killed for want of memory in this control group, as far as it is told."""
    events = Path("/sys/fs/cgroup/memory.events")
    if not events.exists():
        return 0
    counters = dict(line.split() for line in events.read_text().splitlines())
    return int(counters.get("oom_kill", 0))
