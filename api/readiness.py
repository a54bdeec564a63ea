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
OK, NO_ANSWER, TOO_LATE = "ok", "it does not answer", f"no answer within {DEADLINE_SECONDS:g} s"
Answer = Future[str]
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
        self._answers = {name: future.result() if future.done() else TOO_LATE for name, future in asked.items()}
        self._running = {name: future for name, future in self._running.items() if not future.done()}
        self._until = time.monotonic() + KEPT_SECONDS
        return self._answers


def _begin(name: str, check: Callable[[], None]) -> Answer:
    """In a daemon thread of its own: those of a pool may all be waiting, and would hold up the end of the process."""
    future = Answer()
    threading.Thread(target=lambda: future.set_result(_ask(name, check)), name=f"check {name}", daemon=True).start()
    return future


def _ask(name: str, check: Callable[[], None]) -> str:
    """What others may know: a sentence of our own, never one of a driver, which may name hosts and users."""
    try:
        check()
    except NotReady as error:
        log.warning("the %s: %s", name, error)
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever a driver raises, it is the answer; probes come each second
        log.warning("the %s does not answer: %s: %s", name, type(error).__name__, error)
        return NO_ANSWER
    return OK
