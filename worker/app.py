"""The Celery application: `celery -A worker.app worker -Q jobs -P threads -c 1`.

Never imports torch: training happens in processes that tasks start.
"""

import logging
import threading
import time
from typing import Any

from celery.signals import worker_ready, worker_shutting_down

from store.artifacts import collect
from store.queue import make_celery
from store.settings import settings
from store.sweeper import sweep

log = logging.getLogger(__name__)
stopping = threading.Event()

app = make_celery()
app.conf.update(
    # The wake-up is acknowledged before the task begins. Late acknowledgement would lose the task when its child is
    # killed, or repeat for ever one that kills its worker: attempts are counted in the row instead.
    task_acks_late=False,
    # A busy worker must not hold a message back that an idle one could take.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # A lost broker connection is no reason to stop a job: its process goes on, and the worker connects again.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # Threads only wait for child processes: no fork of a process that holds locks, connections or CUDA.
    worker_pool="threads",
    worker_concurrency=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    imports=["worker.tasks"],
)


@worker_ready.connect
def start_sweeping(**_: Any) -> None:
    """Every worker sweeps; doing so twice changes nothing."""
    threading.Thread(target=_sweep_for_ever, daemon=True, name="sweeper").start()


@worker_shutting_down.connect
def hand_back(**_: Any) -> None:
    """On SIGTERM running jobs are handed back at once; they go on elsewhere from their checkpoint."""
    stopping.set()


def _sweep_for_ever() -> None:
    collected = time.monotonic()
    waited: float | None = 0.0  # a new worker need not wait for what is queued already
    while True:
        try:
            sweep(waited)
            waited = None
            if time.monotonic() - collected > settings().grace_seconds:
                collect()
                collected = time.monotonic()
        except Exception:  # the database may be away for a while: the next sweep makes it good
            log.exception("the sweep failed; it will be done again")
        if stopping.wait(settings().sweep_seconds):
            return
