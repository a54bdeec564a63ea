"""How many processes do one job of this worker."""

import logging
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from store.settings import settings

HOUSE = Path(__file__).parent.parent
SECONDS = 60
log = logging.getLogger(__name__)


@cache
def processes() -> int:
    """As many as were asked for; one where this system does not let us confine several that talk to each other."""
    asked = settings().job_processes
    if asked == 1 or not (why := _why_not()):
        return asked
    log.error(
        "SECATEUR_JOB_PROCESSES=%d, but one process will do each job: this system allows no network in which several "
        "reach only each other (%s); docs/deploy.md says what it takes",
        asked,
        why,
    )
    return 1


def _why_not() -> str:
    """Tried in a process of its own: one that has threads cannot enter a namespace."""
    environment = os.environ | {"PYTHONPATH": str(HOUSE)}
    command = [sys.executable, "-m", "worker.sandbox"]
    tried = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    return tried.stderr.strip() if tried.returncode else ""
