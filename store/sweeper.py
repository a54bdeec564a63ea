"""Makes good what messages and workers lose: any number may run."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from store import jobs, uploads
from store.database import writing
from store.queue import sender
from store.tables import Dataset, Model

OVERDUE: dict[str, Callable[[Session], list[str]]] = {
    "job": jobs.overdue,
    "model": lambda session: uploads.overdue(session, Model),
    "dataset": lambda session: uploads.overdue(session, Dataset),
}


def sweep() -> None:
    """Take jobs back from silent workers, and send wake-ups again for what waits.

    Only where a queue is empty: while messages wait in it, workers are busy and not asleep, and it must not grow.
    """
    with writing() as session:
        jobs.take_back(session)
    for kind, find in OVERDUE.items():
        if not sender.is_empty(kind):
            continue
        with writing() as session:
            ids = find(session)
        for id in ids:
            if not sender.wake(kind, id):
                return
