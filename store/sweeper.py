"""Makes good what messages and workers lose: any number may run."""

from functools import partial

from store import jobs, uploads
from store.database import after_commit, writing
from store.queue import JOB_QUEUES, LIGHT, sender
from store.settings import settings
from store.tables import Dataset, Model

PATIENCE_SECONDS = 900  # after so long a wake-up counts as lost, whatever else waits in the queue


def sweep(waited: float | None = None) -> None:
    """Take jobs back from silent workers, and send wake-ups again for what waits.

    Args: waited: seconds after which a wake-up counts as lost where its queue is empty; None: those of the settings.

    While messages wait in a queue workers are busy and not asleep: it must not grow with every sweep.

    Raises: OperationalError: the database or the broker is away; the next sweep makes it good.
    """
    with writing() as session:
        for job in jobs.take_back(session):
            after_commit(session, partial(sender.wake, "job", job.id, job.queue))
    is_empty = {queue: sender.is_empty(queue) for queue in (*JOB_QUEUES, LIGHT)}
    with writing() as session:
        soon = settings().sweep_seconds if waited is None else waited
        late: list[tuple[str, str, str]] = []
        for queue in JOB_QUEUES:
            patience = soon if is_empty[queue] else PATIENCE_SECONDS
            late += [("job", id, queue) for id in jobs.overdue(session, queue, patience)]
        if is_empty[LIGHT]:
            late += [("model", id, LIGHT) for id in uploads.overdue(session, Model)]
            late += [("dataset", id, LIGHT) for id in uploads.overdue(session, Dataset)]
    for wake_up in late:
        if not sender.wake(*wake_up):
            return
