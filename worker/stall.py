"""A worker that takes nothing from a full queue ends itself; whoever supervises it starts another."""

import logging
import os
import time

from store import stuck
from store.database import reading
from store.queue import sender
from store.settings import settings
from worker.presence import here

STALLED = 75  # exit status: EX_TEMPFAIL, "try again"
LOOK_SECONDS = 10.0
log = logging.getLogger(__name__)


class Watch:
    """Told at each look whether work waits; knows for how long this worker should have taken it, and did not."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._taken = 0

    def seconds(self, waits: bool, taken: int, at: float) -> float:
        """For how long, without a break, work has waited and no message was taken."""
        if not waits or taken != self._taken or self._since is None:
            self._since, self._taken = (at if waits else None), taken
        return 0.0 if self._since is None else at - self._since

    def forget(self) -> None:
        """Nothing can be said of the time before."""
        self._since = None


def end_if_stalled() -> None:
    """One look. Raises: OperationalError, OSError: the database or the broker is away, which is no stall."""
    try:
        waited = watch.seconds(_work_waits(), here.taken, time.monotonic())
    except Exception:
        watch.forget()
        raise
    if waited < settings().stall_seconds or here.busy_with:
        return
    log.critical(
        "work waits in the queue, and this idle worker took nothing for %.0f s: it ends, to start anew", waited
    )
    here.leave()
    logging.shutdown()
    os._exit(STALLED)  # an orderly end would wait for the consumer, which is what hangs


def _work_waits() -> bool:
    """Rows that wait, with messages for them in a queue that this idle worker takes from."""
    if here.busy_with or here.draining:
        return False
    full = [queue for queue in here.asked_for if sender.depth(queue)]
    if not full:
        return False
    with reading() as session:
        return any(stuck.waits(session, queue, settings().stall_seconds) for queue in full)


watch = Watch()
