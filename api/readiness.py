"""Asks what this process depends on, all at the same time, and never waits for long."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from store.checks import NotReady

DEADLINE_SECONDS = 1.5
KEPT_SECONDS = 1.0
OK, NO_ANSWER = "ok", "it does not answer"
Answer = Future[Exception | None]  # None: all is well
log = logging.getLogger(__name__)


class Readiness:
    """Answers of checks by name. One that hangs is not asked again until it is done: its thread is all it takes."""

    def __init__(self, checks: Mapping[str, Callable[[], None]]) -> None:
        self._checks = checks
        self._running: dict[str, Answer] = {}
        self._answers: dict[str, str] = {}
        self._until = 0.0

    async def look(self) -> dict[str, str]:
        """OK or a sentence for each; no older than KEPT_SECONDS."""
        if time.monotonic() < self._until:
            return self._answers
        for name, check in self._checks.items():
            if name not in self._running:
                self._running[name] = _begin(name, check)
        asked = dict(self._running)
        await asyncio.wait([asyncio.wrap_future(f) for f in asked.values()], timeout=DEADLINE_SECONDS)
        self._answers = {name: _word(name, future) for name, future in asked.items()}
        self._running = {name: future for name, future in self._running.items() if not future.done()}
        self._until = time.monotonic() + KEPT_SECONDS
        return self._answers


def _begin(name: str, check: Callable[[], None]) -> Answer:
    """In a daemon thread of its own: those of a pool may all be waiting, and would hold up the end of the process."""
    future: Answer = Future()

    def run() -> None:
        try:
            check()
            future.set_result(None)
        except Exception as error:  # whatever it is, it is the answer
            future.set_result(error)

    threading.Thread(target=run, name=f"check {name}", daemon=True).start()
    return future


def _word(name: str, future: Answer) -> str:
    """What others may know: a reason of our own, never one of a driver's, which may name hosts and users."""
    if not future.done():
        return f"no answer within {DEADLINE_SECONDS:g} s"
    error = future.result()
    if error is None:
        return OK
    log.warning("not ready, the %s: %s", name, error)
    return str(error) if isinstance(error, NotReady) else NO_ANSWER
