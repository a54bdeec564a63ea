"""Takes due messages to webhooks and delivers several at once; nobody waits for another's slow receiver."""

import logging
import threading
from collections import Counter
from collections.abc import Iterable

from store import deliveries
from store.database import reading, writing
from store.deliveries import Taken
from worker.post import post

log = logging.getLogger(__name__)
POLL_SECONDS, AWAY_SECONDS = 1.0, 10.0
SLOTS, OF_A_HOST, OF_AN_OWNER = 16, 2, 8


class Courier:
    """A chore: each call begins a thread for each message that is due, as far as there is room, and waits for none."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._under_way: list[Taken] = []
        self._lock = threading.Lock()
        self.seconds = POLL_SECONDS  # until the next call

    def __call__(self) -> None:
        """Raises: SQLAlchemyError: the database is away; the next call comes later."""
        self.seconds = AWAY_SECONDS
        while taken := self._take():
            threading.Thread(target=self._deliver, args=(taken,), daemon=True, name=f"webhook {taken.id}").start()
        self.seconds = POLL_SECONDS

    def _take(self) -> Taken | None:
        with reading() as session:
            if not deliveries.is_any_due(session):
                return None
        with self._lock:
            if len(self._under_way) >= SLOTS or self._stopping.is_set():
                return None
            hosts = _full((t.host for t in self._under_way), OF_A_HOST)
            owners = _full((t.owner for t in self._under_way), OF_AN_OWNER)
            with writing() as session:
                taken = deliveries.take(session, hosts, owners)
            if taken:
                self._under_way.append(taken)
            return taken

    def _deliver(self, taken: Taken | None) -> None:
        """This one, and then the next that is due. A try that is not written down is made again after its lease."""
        while taken:
            try:
                outcome = post(taken)
                with writing() as session:
                    deliveries.settle(session, taken, outcome)
            except Exception:
                log.exception("what became of message %s is not known; it will be sent again", taken.id)
            finally:
                with self._lock:
                    self._under_way.remove(taken)
            try:
                taken = self._take()
            except Exception:
                log.exception("no next message; the chore will look for one")
                return


def _full(names: Iterable[str], most: int) -> list[str]:
    return [name for name, number in Counter(names).items() if number >= most]
