"""The Celery application: `celery -A worker.app worker -Q cpu -P threads -c 1`.

Never imports torch: training happens in processes that tasks start.
"""

from typing import Any

from celery.signals import setup_logging, task_postrun, task_prerun, worker_ready, worker_shutdown, worker_shutting_down

from store import logs
from store.queue import make_celery
from worker import chores
from worker.presence import here

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


@setup_logging.connect
def configure_logs(**_: Any) -> None:
    """Ours instead of Celery's."""
    logs.configure()


@worker_ready.connect
def start_chores(sender: Any, **_: Any) -> None:
    """Sweep, collect and whatever else is done beside the tasks. The sender is Celery's consumer."""
    here.attach(sender)
    chores.start()


@task_prerun.connect
def count(**_: Any) -> None:
    """A message was taken, whatever becomes of it."""
    here.taken += 1


@task_postrun.connect
def look_again(**_: Any) -> None:
    """The next message may be read."""
    here.look_again()


@worker_shutting_down.connect
def hand_back(**_: Any) -> None:
    """On SIGTERM running jobs are handed back at once; they go on elsewhere from their checkpoint."""
    chores.stopping.set()


@worker_shutdown.connect
def leave(**_: Any) -> None:
    """Nothing runs any more."""
    here.leave()
