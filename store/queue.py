"""The queue: Celery messages that carry an id and nothing else. The row is the truth; a message is a wake-up.

A message lost or doubled changes nothing: workers claim rows, and the sweeper sends again what waits too long.
"""

import logging
from functools import cached_property

from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

from store.settings import settings

LIGHT = "light"  # looks at uploads: nothing there waits for a long job
LARGE = "-large"
JOB_QUEUES = ("cpu", "gpu", f"cpu{LARGE}", f"gpu{LARGE}")
TASKS = {"job": "worker.run_job", "model": "worker.inspect_model", "dataset": "worker.inspect_dataset"}
log = logging.getLogger(__name__)


def make_celery() -> Celery:
    """The Celery application of senders and workers."""
    app = Celery("secateur", broker=settings().broker, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,  # results are rows; a result backend would be a second truth
        # A running task is delivered again when this time has passed: longer than any task. Never use eta beyond it.
        broker_transport_options={
            "visibility_timeout": settings().job_seconds * 2,
            "socket_connect_timeout": 2,
            "socket_timeout": 30,
            "socket_keepalive": not settings().broker.startswith("redis+socket"),
            "health_check_interval": 10,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker outlives its broker for however long
        broker_connection_timeout=2,
        task_publish_retry=False,  # a POST does not wait for the broker: the sweeper sends again
        task_serializer="json",
        accept_content=["json"],
    )
    return app


class Sender:
    """Sends wake-ups over one Celery application, made on first use."""

    @cached_property
    def app(self) -> Celery:
        """Made on first use, from the settings as they are then."""
        return make_celery()

    def wake(self, kind: str, id: str, queue: str = LIGHT) -> bool:
        """Tell the workers of a row; False where the broker is away, which only delays."""
        try:
            self.app.send_task(TASKS[kind], args=[id], queue=queue)
        except (OperationalError, OSError) as error:
            log.warning("no wake-up for %s %s, the sweeper will send it: %s", kind, id, error)
            return False
        return True

    def is_empty(self, queue: str) -> bool:
        """Whether no wake-up waits in this queue. Raises: as depth."""
        return self.depth(queue) == 0

    def depth(self, queue: str) -> int:
        """How many wake-ups wait in this queue.

        Raises: OperationalError, OSError: the broker is away.
        """
        with self.app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            try:
                declared = connection.default_channel.queue_declare(queue, passive=True)
            except ChannelError:  # a queue without messages does not exist on Redis
                return 0
            return declared.message_count

    def ping(self) -> None:
        """Raises: OperationalError, OSError: the broker is away."""
        with self.app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)


def queue_for(device: str, memory: int) -> str:
    """Where a job waits that needs this device ("auto": that of the settings) and so many bytes of memory."""
    kind = {"cpu": "cpu", "cuda": "gpu"}.get(device, settings().auto_queue)
    return kind + (LARGE if memory > settings().large_job_bytes else "")


sender = Sender()
