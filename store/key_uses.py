"""When keys were last used: written beside the requests, which neither wait for it nor fail with it."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.exc import SQLAlchemyError

from store import keys
from store.database import writing

SECONDS = 60.0  # between two writes of one key
log = logging.getLogger(__name__)


class Uses:
    """One thread that writes what this process has seen."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="key-uses")
        self._written: dict[str, float] = {}

    def note(self, key_id: str) -> None:
        """This key was used now."""
        if time.monotonic() - self._written.get(key_id, -SECONDS) >= SECONDS:
            self._written[key_id] = time.monotonic()
            self.thread.submit(_write, key_id)


def _write(key_id: str) -> None:
    try:
        with writing() as session:
            keys.touch(session, key_id, SECONDS)
    except SQLAlchemyError as error:
        log.warning("when %s was last used could not be written: %s", key_id, type(error).__name__)


uses = Uses()
