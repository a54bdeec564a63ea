"""A backup is that of one moment, whatever is done meanwhile; what comes back is checked, and goes on."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from store import artifacts, audit, backup, checkpoints, database, datasets, dump, jobs, migrate, models
from store.database import reading, writing
from store.errors import Conflict
from store.tables import Job, Model
from tests.integration.conftest import forget

OWNER = "anna"


@pytest.fixture
def rows(db) -> dict[str, str]:
    """Ids of a job that has succeeded, one that runs from a checkpoint, and one that is being cancelled."""
    with writing() as session:
        model, _ = models.add(session, OWNER, "m", artifacts.put(b"model"))
        dataset, _ = datasets.add(session, OWNER, "d", artifacts.put(b"data"), "npz", {})
        request = jobs.Request(model.id, dataset.id, {})
        done, running, leaving = (jobs.create(session, OWNER, request)[0].id for _ in range(3))
        for id in (done, running, leaving):
            jobs.claim(session, id, "w")
        jobs.succeed(session, done, 1, {"pruned.onnx": artifacts.put(b"pruned")}, {"goal_met": True})
        jobs.save_checkpoint(session, running, 1, checkpoints.write(running, 1, 1, io.BytesIO(b"first")))
        jobs.cancel(session, OWNER, leaving)
    return {"model": model.id, "done": done, "running": running, "leaving": leaving}


def move_to_an_empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of another service, with nothing in it; on PostgreSQL the schema is emptied."""
    if dump.kind() == "postgresql":
        with database.engine().begin() as connection:
            schema = connection.scalar(text("SELECT current_schema()"))
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {schema}"))
    database.engine().dispose()
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path / "other"))
    forget()


def when_rows_are_copied(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """This is done between the copy of the rows and that of the files."""
    write = dump.write

    @contextmanager
    def and_then(folder: Path) -> Iterator[Session]:
        with write(folder) as session:
            action()
            yield session

    monkeypatch.setattr(dump, "write", and_then)


def replace_the_checkpoint(job_id: str, number: int) -> None:
    with writing() as session:
        jobs.save_checkpoint(session, job_id, 1, checkpoints.write(job_id, 1, number, io.BytesIO(b"later")))


def test_what_was_saved_comes_back_and_goes_on(rows, tmp_path, monkeypatch):
    saved = tmp_path / "saved"
    when_rows_are_copied(monkeypatch, lambda: replace_the_checkpoint(rows["running"], 2))
    made = backup.backup(saved)
    assert (made.files, made.missing, made.checkpoints) == (3, [], 1)
    move_to_an_empty_place(tmp_path, monkeypatch)
    assert set(backup.restore(saved).queued) == {rows["running"], rows["leaving"]}
    with reading() as session:
        found = {job.id: job for job in session.scalars(select(Job))}
        (pruned,) = jobs.files(session, rows["done"])
    assert artifacts.path(pruned.sha256).read_bytes() == b"pruned"
    assert found[rows["leaving"]].status == "cancelled"
    running = found[rows["running"]]
    assert (running.status, running.crashes) == ("queued", 0)
    assert running.checkpoint is not None and checkpoints.read(running.checkpoint) == b"later"
    assert list(audit.audit()) == []
    with pytest.raises(Conflict, match="this database is not empty"):
        backup.restore(saved)


def test_what_is_deleted_meanwhile_is_in_the_backup_or_not_at_all(rows, tmp_path, monkeypatch):
    with reading() as session:
        (pruned,) = jobs.files(session, rows["done"])

    def remove() -> None:
        if artifacts.path(pruned.sha256).exists():
            os.utime(artifacts.path(pruned.sha256), (0, 0))
            with writing() as session:
                jobs.remove(session, OWNER, rows["done"])

    when_rows_are_copied(monkeypatch, remove)
    assert backup.backup(tmp_path / "saved").missing == []
    assert not artifacts.path(pruned.sha256).exists()
    move_to_an_empty_place(tmp_path, monkeypatch)
    backup.restore(tmp_path / "saved")
    with reading() as session:
        assert session.get(Job, rows["done"]) is None and session.get(Job, rows["running"]) is not None
    assert [finding for finding in audit.audit() if finding.is_wrong] == []


def test_damage_is_told_before_anything_is_written(rows, tmp_path, monkeypatch):
    saved = tmp_path / "saved"
    backup.backup(saved)
    with pytest.raises(Conflict, match="is not empty: name a new folder"):
        backup.backup(saved)
    move_to_an_empty_place(tmp_path, monkeypatch)
    database_file = saved / dump.NAMES[dump.kind()]
    whole = database_file.read_bytes()
    database_file.write_bytes(whole[:-1])
    with pytest.raises(backup.Damaged, match="not as it was written"):
        backup.restore(saved)
    database_file.write_bytes(whole)
    file = next((saved / "files").iterdir())
    content = file.read_bytes()
    file.write_bytes(b"other")
    with pytest.raises(backup.Damaged, match=file.name):
        backup.restore(saved)
    file.write_bytes(content)
    assert backup.restore(saved).files == 3  # what was cut off may be repeated
    (saved / "backup.json").unlink()
    with pytest.raises(Conflict, match="is no backup, or was not finished"):
        backup.restore(saved)


def test_files_alone_where_the_database_is_dumped_by_other_means(rows, tmp_path, monkeypatch):
    other = tmp_path / "dumped"
    other.mkdir()
    with dump.write(other):
        copy = other / dump.NAMES[dump.kind()]
    made = backup.backup(tmp_path / "saved", files_only=True)
    assert (made.database, made.files) == (None, 3)
    move_to_an_empty_place(tmp_path, monkeypatch)
    with pytest.raises(Conflict, match="holds files alone"):
        backup.restore(tmp_path / "saved")
    dump.read(copy)
    assert rows["running"] in backup.restore(tmp_path / "saved", files_only=True).queued
    assert list(audit.audit()) == []


def test_a_backup_of_a_newer_version_is_refused(rows, tmp_path, monkeypatch):
    backup.backup(tmp_path / "saved")
    move_to_an_empty_place(tmp_path, monkeypatch)
    monkeypatch.setattr(migrate, "revisions", lambda: ["0001"])
    with pytest.raises(Conflict, match="is of a newer version"):
        backup.restore(tmp_path / "saved")


def test_an_audit_finds_what_is_missing_damaged_and_unnamed(rows):
    assert list(audit.audit()) == []
    stray = artifacts.put(b"stray")
    with reading() as session:
        model = session.get_one(Model, rows["model"])
        (pruned,) = jobs.files(session, rows["done"])
    artifacts.path(model.sha256).unlink()
    artifacts.path(pruned.sha256).write_bytes(b"damaged")
    checkpoints.remove_all(rows["running"])
    checkpoints.write("job_gone", 1, 1, io.BytesIO(b""))
    found = {finding.kind: finding for finding in audit.audit()}
    assert f"of {rows['model']} is not there" in found["missing"].text
    assert f"of {rows['done']}/pruned.onnx is not what was stored" in found["damaged"].text
    assert rows["running"] in found["checkpoint"].text
    unnamed = {finding.file for finding in audit.audit() if not finding.is_wrong}
    assert unnamed == {stray.sha256, "job_gone"}
