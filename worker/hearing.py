"""Hears what a process says, in a thread: each message goes to the scribe, who writes the rows."""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass

from store.database import AWAY
from store.disk import is_full
from store.errors import Fenced
from store.settings import settings
from store.storage import StorageAway
from worker.endings import Ended
from worker.folder import Folder
from worker.messages import Message, Saved, heard

log = logging.getLogger(__name__)
Scribe = Callable[[Message, Folder], None]


@dataclass(frozen=True)
class Handover:
    """A worker that is to stop waits for the next checkpoint, but not for long."""

    deadline: float
    has_come: Callable[[], bool]

    def is_over(self) -> bool:
        """Whether the process may be ended."""
        return self.has_come() or time.monotonic() > self.deadline


class Hearing(threading.Thread):
    """ended: why the process has to go, where it was heard something that no live process should say."""

    def __init__(self, pipe: int, folder: Folder, scribe: Scribe) -> None:
        super().__init__(daemon=True, name="hearing")
        self.ended: Ended | None = None
        self._pipe, self._folder, self._scribe = pipe, folder, scribe
        self._context = copy_context()  # what is known of the work goes into the lines of the log
        self._saved = 0

    def run(self) -> None:
        """Until the process and all that it started are gone, or cannot go on."""
        self._context.run(self._listen)

    def _listen(self) -> None:
        try:
            for message in heard(self._pipe):
                self._scribe(message, self._folder)
                self._saved += isinstance(message, Saved)
        except Fenced:
            self.ended = Ended.UNWANTED
        except AWAY:
            self.ended = Ended.NO_DATABASE
        except StorageAway:
            self.ended = Ended.NO_STORAGE
        except Exception as error:
            self.ended = Ended.SPACE if is_full(error) else Ended.CRASHED
            log.exception("what a process said could not be written")

    def handover(self, kind: str) -> Handover:
        """From now on; looking at an upload begins anew elsewhere, and has nothing to hand over."""
        before = self._saved
        seconds = settings().handover_seconds if kind == "job" else 0.0
        return Handover(time.monotonic() + seconds, lambda: self._saved > before)
