"""Makes good what messages and workers lose: any number may run."""

from functools import partial

from store import jobs, uploads
from store.database import after_commit, writing
from store.queue import JOBS, LIGHT, sender
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
        for job_id in jobs.take_back(session):
            after_commit(session, partial(sender.wake, "job", job_id))
    is_empty = {queue: sender.is_empty(queue) for queue in (JOBS, LIGHT)}
    with writing() as session:
        soon = settings().sweep_seconds if waited is None else waited
        patience = soon if is_empty[JOBS] else PATIENCE_SECONDS
        late = [("job", id) for id in jobs.overdue(session, patience)]
        if is_empty[LIGHT]:
            late += [("model", id) for id in uploads.overdue(session, Model)]
            late += [("dataset", id) for id in uploads.overdue(session, Dataset)]
    for kind, id in late:
        if not sender.wake(kind, id):
            return
