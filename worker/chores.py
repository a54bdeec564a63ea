"""What every worker does beside its tasks, each in a thread of its own. Any number of workers may do the same."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pruning.folders import trim
from store import retention, transfers
from store.artifacts import collect
from store.settings import settings
from store.sweeper import sweep
from worker import presence, report, stall
from worker.courier import Courier
from worker.folder import sweep_folders

log = logging.getLogger(__name__)
stopping = threading.Event()


@dataclass(frozen=True)
class Chore:
    """An action, done once at the start and again each time its seconds have passed."""

    action: Callable[[], object]
    seconds: Callable[[], float]
    does_wait: bool = False  # the first time too


def start() -> None:
    """Begin all chores; they end with the process, or when `stopping` is set."""
    for name, chore in CHORES.items():
        threading.Thread(target=_repeat, args=(name, chore), daemon=True, name=name).start()


def _repeat(name: str, chore: Chore) -> None:
    if chore.does_wait and stopping.wait(chore.seconds()):
        return
    while True:
        try:
            chore.action()
        except Exception:  # the database or the broker may be away for a while: the next time makes it good
            log.exception("%s failed; it will be done again", name)
        if stopping.wait(chore.seconds()):
            return


class _Sweep:
    """The first time nothing is waited for: a new worker need not wait for what is queued already."""

    waited: float | None = 0.0

    def __call__(self) -> None:
        sweep(self.waited)
        self.waited = None


def _trim() -> None:
    """Decoded data sets of all owners share one limit."""
    trim([*settings().cache.glob("*/")], settings().max_cache_bytes)


courier = Courier(stopping)
CHORES = {
    "sweeper": Chore(_Sweep(), lambda: settings().sweep_seconds),
    "collector": Chore(collect, lambda: settings().grace_seconds, does_wait=True),
    "folders": Chore(sweep_folders, lambda: settings().grace_seconds),
    "cache": Chore(_trim, lambda: settings().sweep_seconds),
    "courier": Chore(courier, lambda: courier.seconds),
    "checkpoints": Chore(retention.collect_checkpoints, lambda: settings().grace_seconds, does_wait=True),
    "retention": Chore(retention.expire, lambda: settings().grace_seconds, does_wait=True),
    "presence": Chore(presence.here.tell, lambda: min(presence.SECONDS, settings().sweep_seconds)),
    "stall": Chore(stall.end_if_stalled, lambda: min(stall.LOOK_SECONDS, settings().stall_seconds / 4), does_wait=True),
    "transfers": Chore(transfers.collect, lambda: settings().grace_seconds, does_wait=True),
    "report": Chore(report.report, lambda: report.SECONDS),
}
