"""What this worker tells of itself in its row of `workers`, and how it obeys what stands there."""

import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import Any

import psutil
from celery.worker import state

from store import workers
from store.database import writing
from store.settings import settings

WORKER = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
SECONDS = 3.0  # between two looks
SETTLED_SECONDS = 0.02  # the signal of a task's end comes before Celery forgets the task, by much less
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
log = logging.getLogger(__name__)


class Presence:
    """The one worker of this process. taken counts messages, done those of them that led to work."""

    def __init__(self) -> None:
        self.busy_with: str | None = None
        self.taken = self.done = 0
        self.draining = False
        self._consumer: Any = None
        self.asked_for: list[str] = []

    def attach(self, consumer: Any) -> None:
        """Celery's consumer is ready; it stays the same when it connects again."""
        self._consumer, self.asked_for = consumer, list(consumer.app.amqp.queues.consume_from)

    @contextmanager
    def busy(self, id: str) -> Iterator[None]:
        """While it works on this."""
        self.busy_with = id
        try:
            yield
        finally:
            self.busy_with, self.done = None, self.done + 1

    def look_again(self) -> None:
        """A task has ended, in whatever thread: read the next message now.

        With worker_disable_prefetch nothing is read while a task runs; Celery's event loop sleeps, and the end of a
        task in a thread does not wake it: it would look again at its next tick, up to a second later.
        """
        if self._consumer and (hub := self._consumer.hub):
            hub.call_soon(_until_settled)

    @property
    def queues(self) -> list[str]:
        """Those that it takes messages from now: none while it drains, or has no connection."""
        tasks = self._consumer and self._consumer.task_consumer
        return [queue for queue in self.asked_for if tasks and tasks.consuming_from(queue)]

    def tell(self) -> None:
        """Write the row, and do what it says."""
        with writing() as session:
            told = workers.Told(
                WORKER,
                socket.gethostname(),
                self.queues,
                self.busy_with,
                self.done,
                version("secateur-service"),
                {**_lasting_facts(), "disk_free": shutil.disk_usage(settings().data_dir).free},
            )
            orders = workers.tell(session, told)
            workers.forget(session)
        self._obey(orders)

    def leave(self) -> None:
        """This worker ends: no row stays behind."""
        with writing() as session:
            workers.leave(session, WORKER)

    def _obey(self, orders: workers.Orders) -> None:
        """Asked each time anew: a consumer that has just connected again may have missed it."""
        if orders.draining != self.draining:
            log.info("this worker %s", "drains: it takes nothing more" if orders.draining else "takes work again")
        self.draining = orders.draining
        taking = self.queues
        for queue in self.asked_for:
            if orders.draining and queue in taking:
                self._consumer.call_soon(self._consumer.cancel_task_queue, queue)
            elif not orders.draining and self._consumer.task_consumer and queue not in taking:
                self._consumer.call_soon(self._consumer.add_task_queue, queue)
        if orders.leaving and not taking and self.busy_with is None:
            log.info("this worker is idle and ends, as it was told")
            os.kill(os.getpid(), signal.SIGTERM)


def _until_settled() -> None:
    """In the event loop, which reads messages right after this where no task is reserved any more."""
    until = time.monotonic() + SETTLED_SECONDS
    while state.reserved_requests and time.monotonic() < until:
        time.sleep(SETTLED_SECONDS / 100)


@cache
def _lasting_facts() -> dict[str, Any]:
    """What stays as it is; memory in bytes, gpus as nvidia-smi names them."""
    return {"cores": len(os.sched_getaffinity(0)), "memory": psutil.virtual_memory().total, "gpus": _gpus()}


def _gpus() -> list[str]:
    if shutil.which(NVIDIA_SMI[0]) is None:
        return []
    try:
        said = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("nvidia-smi does not say what GPUs there are: %s", error)
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]


here = Presence()
