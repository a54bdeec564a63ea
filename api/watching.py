"""One look at the database for all who watch jobs, instead of one each."""

import asyncio
import logging
from collections import defaultdict

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from store import jobs
from store.database import reading

LOOK_SECONDS = 0.25
log = logging.getLogger(__name__)


class Lookout:
    """Wakes those who wait when their job has a new event. One for a process and its event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[tuple[int, asyncio.Event]]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None

    async def news(self, job_id: str, seq: int, seconds: float) -> bool:
        """Return when the job has an event after seq or is gone; False: not within these seconds."""
        waiter = seq, asyncio.Event()
        self._waiting[job_id].add(waiter)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                await waiter[1].wait()
            return True
        except TimeoutError:
            return False
        finally:
            self._waiting[job_id].discard(waiter)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def _look(self) -> None:
        """While anybody waits."""
        while self._waiting:
            try:
                self._wake(await run_in_threadpool(_newest, [*self._waiting]))
            except SQLAlchemyError:  # the database is away: who waits goes on waiting
                log.warning("no look at the events", exc_info=True)
            await asyncio.sleep(LOOK_SECONDS)

    def _wake(self, newest: dict[str, int]) -> None:
        for job_id, waiters in self._waiting.items():
            for seq, woken in waiters:
                if newest.get(job_id, seq + 1) > seq:
                    woken.set()


def _newest(job_ids: list[str]) -> dict[str, int]:
    with reading() as session:
        return jobs.last_events(session, job_ids)


lookout = Lookout()
