"""Backup of rows and files while the service runs, and their way back.

Rows first, then every file that they name: files never change, so the copy is that of the moment of the rows. Files of
what was deleted in between may be gone; then both are done again. A job's newest checkpoint may be younger than its
row: the job goes on from there.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import delete, select

from store import artifacts, checkpoints, dump, jobs, migrate, uploads
from store.database import reading, writing
from store.errors import Conflict, StoreError
from store.tables import Dataset, Job, Model, Worker

ROUNDS = 5  # of rows and files, where much is being deleted
MANIFEST = "backup.json"


class Damaged(StoreError):
    """This backup is damaged."""


@dataclass
class Backup:
    """What a backup holds. missing: files that rows name and the storage has not; hashes: of files by name."""

    database: str | None
    revision: str | None
    files: int = 0
    bytes: int = 0
    checkpoints: int = 0
    missing: list[str] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Restored:
    """What came back; queued: jobs that were under way and go on from their checkpoints."""

    files: int
    queued: list[str]


def backup(folder: Path, files_only: bool = False) -> Backup:
    """Into a new or empty folder. files_only: the database was dumped by other means, before.

    Raises: Conflict: the folder is not empty. ToolFailed: pg_dump failed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty: name a new folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # models and hashes of keys are in it
    (folder / "files").mkdir()
    with reading() as session:
        made = Backup(None if files_only else dump.kind(), migrate.revision(session.connection()))
    for _ in range(ROUNDS):
        wanted, resumable = _rows(folder, files_only)
        _save_checkpoints(folder, resumable, made)  # first: they are replaced all the time
        lost = {sha256 for sha256 in wanted if not _save(sha256, folder / "files" / sha256)}
        with reading() as session:
            made.missing = sorted(lost & artifacts.named(session))
        if lost == set(made.missing):
            break
    sizes = [file.stat().st_size for file in (folder / "files").iterdir()]
    made.files, made.bytes, made.checkpoints = len(sizes), sum(sizes), len(made.hashes)
    if not files_only:
        name = dump.NAMES[dump.kind()]
        made.hashes[name] = _hash(folder / name)
    (folder / MANIFEST).write_text(json.dumps(asdict(made), indent=2))  # last: without it a backup is not whole
    return made


def restore(folder: Path, files_only: bool = False) -> Restored:
    """Into an empty database and the storage of the settings; it may be repeated where it was cut off.

    files_only: the database was restored by other means, before.

    Raises: Conflict: the database is not empty, or of another kind. Damaged. ToolFailed: pg_restore failed.
    """
    if not (folder / MANIFEST).exists():
        raise Conflict(f"{folder} is no backup, or was not finished: it has no {MANIFEST}")
    made = Backup(**json.loads((folder / MANIFEST).read_text()))
    _check(folder, made, files_only)
    for file in sorted((folder / "files").iterdir()):
        _bring_back(file)
    for name in made.hashes:
        if name.startswith("checkpoints/"):
            _, job_id, attempt_number = name.split("/")
            attempt, number = map(int, attempt_number.split("-"))
            with (folder / name).open("rb") as file:
                checkpoints.write(job_id, attempt, number, file)
    if not files_only:
        assert made.database is not None
        dump.read(folder / dump.NAMES[made.database])  # last: what rows name is there
    migrate.main()
    return Restored(made.files, _go_on())


def _rows(folder: Path, files_only: bool) -> tuple[set[str], list[str]]:
    """Copy the database; the files that its rows name, and the jobs with checkpoints."""
    with reading() if files_only else dump.write(folder) as session:
        return artifacts.named(session), list(session.scalars(select(Job.id).where(Job.checkpoint.is_not(None))))


def _save(sha256: str, target: Path) -> bool:
    """Copy a file and check what was read; False if it is not there, or not what it should be."""
    if target.exists():
        return True
    beside = target.with_suffix(".part")
    try:
        with beside.open("wb") as copy:
            copy.writelines(artifacts.pieces(sha256))
    except FileNotFoundError:
        beside.unlink(missing_ok=True)
        return False
    if _hash(beside) != sha256:
        beside.unlink()
        return False
    beside.rename(target)
    return True


def _save_checkpoints(folder: Path, job_ids: Iterable[str], made: Backup) -> None:
    for job_id in job_ids:
        for name in checkpoints.names(job_id):
            target = folder / "checkpoints" / name
            try:
                content = checkpoints.read(name)
            except FileNotFoundError:  # replaced by a younger one
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            made.hashes[f"checkpoints/{name}"] = hashlib.sha256(content).hexdigest()


def _check(folder: Path, made: Backup, files_only: bool) -> None:
    """Nothing is written before this is sure."""
    if not files_only:
        if made.database is None:
            raise Conflict(f"{folder} holds files alone: restore the database by your own means, then use --files-only")
        if made.database != dump.kind():
            raise Conflict(f"{folder} is of a {made.database} database; SECATEUR_DATABASE_URL names another kind")
        if made.revision not in migrate.revisions():
            raise Conflict(f"{folder} is of a newer version (schema {made.revision}): restore it with that version")
        dump.require_empty()
    for name, sha256 in made.hashes.items():
        if not (folder / name).exists() or _hash(folder / name) != sha256:
            raise Damaged(f"{folder / name} is missing, or not as it was written")


def _bring_back(file: Path) -> None:
    """Raises: Damaged."""
    if _hash(file) != file.name:
        raise Damaged(f"{file} is not as it was written")
    with file.open("rb") as source:
        artifacts.take(source)


def _go_on() -> list[str]:
    """No process runs any more: what was under way is queued, and named checkpoints are those that came along."""
    with writing() as session:
        session.execute(delete(Worker))
        under_way = list(session.scalars(select(Job).where(Job.status.in_(("running", "cancelling")))))
        for job in under_way:
            jobs.confirm_cancelled(session, job.id, job.attempt)
            jobs.hand_back(session, job.id, job.attempt, "the service was restored from a backup")
        for job in session.scalars(select(Job).where(Job.checkpoint.is_not(None))):
            there = checkpoints.names(job.id)
            if job.checkpoint not in there:
                job.checkpoint = there[-1] if there else None
        for table in (Model, Dataset):
            for row in session.scalars(select(table).where(table.status == "validating", table.crashes > 0)):
                uploads.give_back(session, table, row.id, row.attempt)
        return [job.id for job in under_way]


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
