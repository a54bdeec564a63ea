"""The process of one piece of work: python -m worker.run KIND ID ATTEMPT PIPE MEMORY SECONDS PARENT.

In its folder it finds errand.json; what it has to say it writes to PIPE, a file it inherits. MEMORY is its limit in
bytes, SECONDS that of a core's time, PARENT the process that supervises it. It knows no database, no queue and no key.
"""

import logging
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pruning.errors import PruningError
from store import logs
from worker import sandbox
from worker.children import die_with_parent, end_if_orphaned
from worker.endings import UNFORESEEN, status_of
from worker.errand import ERRAND, TRACE, DatasetErrand, Errand, JobErrand
from worker.messages import Failed, Voice

log = logging.getLogger(__name__)
FILES = 4096
_errands: TypeAdapter[Errand] = TypeAdapter(Errand)


def limit(memory: int, seconds: int, largest_file: int) -> None:
    """Bound this process; most allocations beyond the limit then fail as an error that can be named."""
    cores = len(os.sched_getaffinity(0))
    bounds = {
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_CPU: seconds * (1 + cores),
        resource.RLIMIT_FSIZE: largest_file,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: FILES,
    }
    for which, most in bounds.items():
        hard = resource.getrlimit(which)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (bound, bound))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file too large is then an error that can be named


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    kind, id, *numbers = arguments
    attempt, pipe, memory, seconds, parent = map(int, numbers)
    logs.bind(**{f"{kind}_id": id}, attempt=attempt, trace_id=os.environ.get(TRACE))
    die_with_parent(signal.SIGKILL)
    end_if_orphaned(parent)
    errand = _errands.validate_json(Path(ERRAND).read_bytes())
    has_data = isinstance(errand, JobErrand | DatasetErrand)
    limit(memory, seconds, max(memory, errand.data.most_bytes if has_data else 0))
    together = isinstance(errand, JobErrand) and errand.processes > 1
    tempfile.tempdir = str(Path.cwd())  # else Python looks for a place by writing, and calls a full disk none at all
    walls = sandbox.enclose(errand.reads, [Path.cwd(), *([errand.data.cache] if has_data else [])], together)
    log.info("%s", walls)
    if together and walls.network:
        log.warning("one process does this job: several would need sockets, which are refused here")
        errand = errand.model_copy(update={"processes": 1})
    return do(id, errand, Voice(pipe), memory)


def do(id: str, errand: Errand, voice: Voice, memory: int) -> int:
    """Returns the exit status; what went wrong is said to the supervisor, a traceback only in the log."""
    deed = _deed(errand.kind)
    try:
        deed(errand, voice, memory)
    except Exception as error:
        if (status := status_of(error)) != UNFORESEEN:
            log.warning("%s %s: %s", errand.kind, id, error)
            return status
        if isinstance(error, PruningError):
            voice.say(Failed(error=str(error)))
            return 0
        log.exception("%s %s", errand.kind, id)
        if errand.kind != "job":
            return UNFORESEEN
        voice.say(Failed(error=f"an error in the service itself ({type(error).__name__}); its log names job {id}"))
    return 0


def _deed(kind: str) -> Callable[[Any, Voice, int], None]:
    """Loaded behind the walls, which would not hold the threads that its libraries start; no more than it needs."""
    if kind == "job":
        from worker.work import run_job

        return run_job
    from worker import inspection

    return inspection.inspect_model if kind == "model" else inspection.inspect_dataset


if __name__ == "__main__":
    logs.configure()
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # threads of native libraries must not hold the process up, or crash it, at its end
