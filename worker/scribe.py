"""Writes what a process says into the rows; every write is guarded by the attempt."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from store import artifacts, checkpoints, events, jobs, uploads
from store.artifacts import Blob
from store.database import AWAY, writing
from store.disk import is_full
from store.settings import settings
from store.storage import StorageAway
from store.tables import Dataset, Model
from worker.folder import Folder
from worker.messages import (
    Delivered,
    Failed,
    Garbled,
    Judged,
    Message,
    PhaseBegins,
    Progress,
    Round,
    Saved,
    StartsOver,
    Warned,
)
from worker.tracing import JobTrace

log = logging.getLogger(__name__)
STARTS_OVER = "the checkpoint could not be read: the job starts over"


@dataclass
class JobScribe:
    """Of one attempt of one job."""

    job_id: str
    attempt: int
    trace: JobTrace
    _checkpoints: int = field(default=0, init=False)

    def __call__(self, message: Message, folder: Folder) -> None:
        """Raises: Fenced: another attempt has the job, or it is being cancelled; OperationalError, InterfaceError:
        the database was away for too long; StorageAway: for a delivery; OSError: the disk is full; Garbled, NotThere.
        """
        match message:
            case PhaseBegins():
                self.trace.phase(message.name)
                patiently(lambda s: self._phase(s, message))
            case Progress():
                self._progress(message)
            case Round():
                patiently(lambda s: self._round(s, message))
            case Warned():
                patiently(lambda s: self._event(s, "warning", {"text": message.text}, eta_seconds=None))
            case StartsOver():
                patiently(lambda s: self._event(s, "restart", {"reason": STARTS_OVER}, checkpoint=None))
            case Saved():
                self._save(message, folder)
            case Failed():
                patiently(lambda s: jobs.fail(s, self.job_id, self.attempt, message.error))
            case Delivered():
                self._deliver(message, folder)
            case _:
                raise Garbled(f"a job does not say {message.kind}")

    def _phase(self, session: Session, said: PhaseBegins) -> None:
        told = {"phase": said.name, "progress": round(said.progress, 4)}
        self._event(session, "phase", told, phase=said.name, progress=said.progress)

    def _progress(self, said: Progress) -> None:
        """One that cannot be written is left out."""
        try:
            with writing() as session:
                jobs.progress(session, self.job_id, self.attempt, said.model_dump(exclude={"kind"}))
        except AWAY as error:
            log.warning("progress was not written: %s", error)

    def _round(self, session: Session, said: Round) -> None:
        now = {"round": said.round, "layers": said.layers}
        values = {"metric": said.measure, **said.values}
        told = {"step": said.step, "phase": said.phase, "round": said.round, **values}
        self._event(session, "round", told, **now)
        events.put_metric(session, self.job_id, said.step, said.phase, said.round, values)

    def _save(self, said: Saved, folder: Folder) -> None:
        """Store it, then name it in the row; where it cannot be stored the job goes on all the same."""
        self._checkpoints += 1
        try:
            with folder.open(said.file) as file:
                name = checkpoints.write(self.job_id, self.attempt, self._checkpoints, file)
        except StorageAway:
            self._not_saved("the storage is away, a checkpoint was not stored")
            return
        except OSError as error:
            if not is_full(error):
                raise
            self._not_saved("the service has no space left for a checkpoint")
            return
        finally:
            folder.remove(said.file)
        patiently(lambda s: jobs.save_checkpoint(s, self.job_id, self.attempt, name))

    def _not_saved(self, why: str) -> None:
        text = f"{why}; if the job is interrupted, more is lost"
        patiently(lambda s: self._event(s, "warning", {"text": text}, eta_seconds=None))

    def _deliver(self, said: Delivered, folder: Folder) -> None:
        while True:
            blobs = {name: _taken(folder, name) for name in said.files}
            try:
                patiently(lambda s, blobs=blobs: self._publish(s, blobs, said.result))
                return
            except FileNotFoundError:
                log.warning("a file was collected before it had its row; it is stored again", exc_info=True)

    def _publish(self, session: Session, blobs: Mapping[str, Blob], result: Mapping[str, Any]) -> None:
        jobs.succeed(session, self.job_id, self.attempt, blobs, result)
        artifacts.touch(session, *blobs.values())

    def _event(self, session: Session, kind: str, data: dict[str, object], **columns: object) -> None:
        jobs.progress(session, self.job_id, self.attempt, columns)
        events.append(session, self.job_id, kind, data)


@dataclass(frozen=True)
class UploadScribe:
    """Of one look at one upload."""

    table: type[Model] | type[Dataset]
    id: str
    attempt: int

    def __call__(self, message: Message, _: Folder) -> None:
        """Raises: Fenced, Garbled; OperationalError, InterfaceError: the database was away for too long."""
        fact = "analysis" if self.table is Model else "summary"
        match message:
            case Judged() if set(message.facts) <= {fact}:
                write = uploads.judge
                patiently(lambda s: write(s, self.table, self.id, self.attempt, message.problems, message.facts))
            case _:
                raise Garbled(f"who looks at an upload does not say {message.kind}")


def _taken(folder: Folder, name: str) -> Blob:
    with folder.open(name) as file:
        return artifacts.take(file)


def patiently(write: Callable[[Session], object]) -> None:
    """One transaction, tried again while the database is away.

    Raises: Fenced; OperationalError, InterfaceError: it was away for longer than a lease.
    """
    end = time.monotonic() + settings().lease_seconds
    while True:
        try:
            with writing() as session:
                write(session)
            return
        except AWAY:
            if time.monotonic() > end:
                raise
            log.warning("the database is away; the write is tried again", exc_info=True)
            time.sleep(1)
