"""Makes good what messages and workers lose: any number may run."""

from store import jobs, uploads
from store.database import writing
from store.queue import sender
from store.tables import Dataset, Model


def sweep() -> None:
    """Take jobs back from silent workers and send wake-ups again for what waits."""
    with writing() as session:
        jobs.take_back(session)
        waiting = {"job": jobs.overdue(session)}
        waiting["model"] = uploads.overdue(session, Model)
        waiting["dataset"] = uploads.overdue(session, Dataset)
    for kind, ids in waiting.items():
        for id in ids:
            if not sender.wake(kind, id):
                return
