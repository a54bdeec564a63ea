"""A database of each released schema, with rows in it, is brought to today's, and nothing is lost.

revisions/NNNN.sql holds rows of the tables that revision NNNN makes or changes, with the columns that they have there.
It is written with the migration and never changed after its release. All are inserted on the way up, each at its time,
so that each migration meets the rows of all schemas before it.
"""

from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, inspect, select, table, text

from store import artifacts, datasets, events, job_lists, jobs, keys, migrate, models, turns, uploads, workers
from store.artifacts import Blob
from store.database import reading, writing
from store.tables import Base, Dataset, Job, Key, Model

ROWS = Path(__file__).parent / "revisions"
OWNER = "anna"


def test_every_revision_has_rows() -> None:
    for revision in migrate.revisions():
        assert (ROWS / f"{revision}.sql").exists(), (
            f"migration {revision} has no rows to try it on: write tests/integration/revisions/{revision}.sql, with an "
            "INSERT for each table that it makes or changes, which names all columns that the table has then"
        )


@pytest.fixture
def migrated(empty: Engine) -> Counter[str]:
    """From the first schema to today's; returns how many rows of each table were inserted on the way."""
    columns: dict[str, set[str]] = {}
    for revision in migrate.revisions():
        with empty.begin() as connection:
            migrate.upgrade(connection, revision)
        found = _columns(empty)
        changed = {name for name in found if found[name] != columns.get(name)}
        before, columns = _counts(empty), found
        _insert(empty, ROWS / f"{revision}.sql")
        lacking = {name for name in changed if _counts(empty)[name] == before[name]}
        assert not lacking, f"revisions/{revision}.sql has no rows of {', '.join(sorted(lacking))}"
    return _counts(empty)


def _columns(engine: Engine) -> dict[str, set[str]]:
    found = inspect(engine)
    names = set(found.get_table_names()) - {"alembic_version"}
    return {name: {column["name"] for column in found.get_columns(name)} for name in names}


def _counts(engine: Engine) -> Counter[str]:
    with engine.connect() as connection:
        names = inspect(engine).get_table_names()
        return Counter({name: connection.scalar(select(func.count()).select_from(table(name))) for name in names})


def _insert(engine: Engine, file: Path) -> None:
    with engine.begin() as connection:
        for statement in file.read_text().split(";\n"):
            if statement.strip():
                connection.execute(text(statement.replace(":", r"\:")))


def test_rows_of_all_schemas_are_read_by_todays_store(migrated: Counter[str]) -> None:
    with reading() as session:
        for mapper in Base.registry.mappers:
            rows = session.scalars(select(mapper.class_)).all()
            assert len(rows) == migrated[str(mapper.local_table)], mapper
        listed = job_lists.listing(session, OWNER, 50, None).items
        assert [row.model_name for row in job_lists.shown(session, listed)] == ["net.onnx"] * len(listed)
        first, second = (jobs.get(session, OWNER, id) for id in ("job_1", "job_2"))
        assert (first.status, first.goal_met, first.labels, first.finished_at) == (
            "succeeded",
            True,
            '["trial"]',
            1760000090,
        )
        assert (second.checkpoint, second.round, second.worker, second.layers) == ("job_2/2-3", 3, "host:17", None)
        assert jobs.get(session, OWNER, "job_4").result == {"goal_met": False}
        assert [event.data["status"] for event in events.after(session, "job_1", 0, 9)] == ["queued", "succeeded"]
        assert events.metrics(session, "job_1")[0].values == {"accuracy": 0.99}
        assert jobs.file(session, first, "pruned.onnx").bytes == 5_000_000_001
        assert uploads.get(session, Model, OWNER, "mdl_2").problems == ["it is no ONNX file"]
        assert uploads.get(session, Dataset, OWNER, "dat_1").summary == {"classes": 10}
        assert session.scalar(text("SELECT scope FROM keys WHERE hash = 'a-hash'")) == "write"
        assert session.get_one(Key, "key_3").revoked_at is not None
        assert turns.places(session)["job_8"] == 1
        assert {"aa11", "bb22", "cc11"} <= artifacts.named(session)


def test_work_goes_on_after_the_migration(migrated: Counter[str]) -> None:
    with writing() as session:
        assert models.add(session, OWNER, "again", Blob("aa11", 9))[0].id == "mdl_1"
        assert not datasets.add(session, OWNER, "new", Blob("dd11", 9), "npz", {})[0].problems
        jobs.take_back(session)
        assert jobs.retry(session, OWNER, "job_3").status == "queued"
        keys.create(session, "bert")
        workers.forget(session)
    with writing() as session:
        assert (claimed := jobs.claim(session, "job_2", "w")) is not None and claimed.attempt == 3
        jobs.progress(session, "job_2", 3, {"progress": 0.6})
        jobs.remove(session, OWNER, "job_1")
    with reading() as session:
        assert session.get(Job, "job_1") is None and events.after(session, "job_1", 0, 9) == []
