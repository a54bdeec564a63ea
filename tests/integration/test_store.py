"""The state machine on real databases, with real competition."""

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Index, select, text, update

from store import artifacts, checkpoints, database, datasets, events, job_lists, jobs, migrate, models, turns, uploads
from store.clock import now
from store.database import reading, writing
from store.errors import Conflict, Fenced, IdempotencyMismatch, NotFound
from store.settings import settings
from store.tables import Base, Dataset, Job, Model

OWNER = "anna"


@pytest.fixture
def request_(db) -> jobs.Request:
    with writing() as session:
        model, _ = models.add(session, OWNER, "m", artifacts.put(b"model"))
        dataset, _ = datasets.add(session, OWNER, "d", artifacts.put(b"data"), "npz", {"scale": 1})
    return jobs.Request(model.id, dataset.id, {"budget": {"pruning_rate": 2}})


@pytest.fixture
def job(request_) -> Job:
    with writing() as session:
        return jobs.create(session, OWNER, request_)[0]


def claim(job: Job, worker: str = "w") -> Job | None:
    with writing() as session:
        return jobs.claim(session, job.id, worker)


def claimed(job: Job, worker: str = "w") -> Job:
    mine = claim(job, worker)
    assert mine is not None
    return mine


def row(job: Job) -> Job:
    with reading() as session:
        return jobs.get(session, OWNER, job.id)


def read_checkpoint(name: str) -> bytes:
    return checkpoints.read(name)


def silence(job: Job) -> None:
    """The lease has run out."""
    with writing() as session:
        session.execute(update(Job).where(Job.id == job.id).values(lease_until=now() - 1))


def test_the_migrations_make_the_tables(db):
    with db.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = [d for d in compare_metadata(context, Base.metadata) if "alembic_version" not in str(d)]
    if db.dialect.name == "sqlite":  # which does not tell which way a column of an index is sorted
        found = [d for d in found if not (isinstance(d[1], Index) and d[1].name == "jobs_in_turn")]
    assert found == []
    migrate.main()


def test_the_next_job_is_found_without_sorting_all_that_wait(db):
    if db.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's plan depends on how many rows there are")
    query = turns.first(("cpu",)).compile(db, compile_kwargs={"literal_binds": True})
    with db.connect() as connection:
        plan = " ".join(row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
    assert "jobs_in_turn" in plan and "B-TREE" not in plan


def test_a_claim_has_one_winner(job):
    with ThreadPoolExecutor(8) as pool:
        won = [c for c in pool.map(lambda i: claim(job, f"w{i}"), range(8)) if c]
    assert len(won) == 1 and won[0].attempt == 1
    assert row(job).worker == won[0].worker


def test_counting_events_loses_none_under_competition(job):
    def add(i: int) -> None:
        with writing() as session:
            events.append(session, job.id, "test", {"i": i})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(200)))
    with reading() as session:
        found = events.after(session, job.id, 0, 1000)
    assert [e.seq for e in found] == list(range(1, 202))
    assert {e.data["i"] for e in found[1:]} == set(range(200))


def test_a_doubled_key_makes_one_job_under_competition(request_):
    keyed = replace(request_, idempotency_key="k", body_hash="h")

    def create(_: int) -> tuple[str, bool]:
        with writing() as session:
            job, is_new = jobs.create(session, OWNER, keyed)
            return job.id, is_new

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    assert len({i for i, _ in answers}) == 1 and [n for _, n in answers].count(True) == 1
    with writing() as session, pytest.raises(IdempotencyMismatch):
        jobs.create(session, OWNER, replace(keyed, body_hash="other"))


def test_a_silent_worker_loses_its_job_and_is_fenced(job):
    first = claimed(job)
    silence(job)
    with writing() as session:
        jobs.take_back(session)
    assert (row(job).status, row(job).crashes) == ("queued", 1)
    second = claimed(job, "other")
    assert second.attempt == 2
    with writing() as session:
        assert jobs.heartbeat(session, job.id, first.attempt) is None
        jobs.fail(session, job.id, first.attempt, "late")
    for late in (
        lambda s: jobs.progress(s, job.id, first.attempt, {"progress": 1.0}),
        lambda s: jobs.save_checkpoint(s, job.id, first.attempt, "late"),
        lambda s: jobs.succeed(s, job.id, first.attempt, {}, {"goal_met": True}),
    ):
        with pytest.raises(Fenced), writing() as session:
            late(session)
    assert (row(job).status, row(job).progress, row(job).checkpoint) == ("running", 0.0, None)


def test_a_job_that_was_taken_back_is_not_cancelled_by_its_late_worker(job):
    first = claimed(job)
    silence(job)
    with writing() as session:
        assert [j.id for j in jobs.take_back(session)] == [job.id]
    with writing() as session:
        jobs.confirm_cancelled(session, job.id, first.attempt)
        jobs.lose(session, job.id, first.attempt, "late")
        jobs.fail(session, job.id, first.attempt, "late")
    assert (row(job).status, row(job).crashes) == ("queued", 1)


def test_labels_are_told_apart_by_case(request_):
    with writing() as session:
        jobs.create(session, OWNER, replace(request_, labels=["A-b", "c%"]))
    with reading() as session:
        for label, found in {"A-b": 1, "a-b": 0, "A-": 0, "c%": 1, "c_": 0}.items():
            assert len(job_lists.listing(session, OWNER, 9, None, job_lists.Filter(label=label)).items) == found


def test_a_lease_that_is_held_on_is_not_taken_back(job):
    mine = claimed(job)
    silence(job)
    with writing() as session:
        assert jobs.heartbeat(session, job.id, mine.attempt) == "running"
    with writing() as session:
        jobs.take_back(session)
    assert row(job).status == "running"


def test_a_job_that_is_lost_too_often_fails(job):
    for attempt in range(1, settings().max_attempts + 1):
        mine = claimed(job)
        with writing() as session:
            jobs.lose(session, job.id, mine.attempt, "killed")
        assert row(job).status == ("queued" if attempt < settings().max_attempts else "failed")
    assert "lost 3 times; the last time: killed" in str(row(job).error)
    with writing() as session:
        jobs.retry(session, OWNER, job.id)
    assert claimed(job).attempt == 4


def test_losing_an_ended_job_changes_nothing(job):
    mine = claimed(job)
    with writing() as session:
        jobs.fail(session, job.id, mine.attempt, "why")
        jobs.lose(session, job.id, mine.attempt, "late")
        jobs.hand_back(session, job.id, mine.attempt, "late")
    assert (row(job).status, row(job).error) == ("failed", "why")


@pytest.mark.parametrize("ends_first", [True, False])
def test_cancel_and_success_exclude_each_other(job, ends_first):
    mine = claimed(job)
    if ends_first:
        with writing() as session:
            jobs.succeed(session, job.id, mine.attempt, {"a": artifacts.put(b"file")}, {"goal_met": True})
        with pytest.raises(Conflict, match="is succeeded"), writing() as session:
            jobs.cancel(session, OWNER, job.id)
        return
    with writing() as session:
        assert jobs.cancel(session, OWNER, job.id).status == "cancelling"
        assert jobs.cancel(session, OWNER, job.id).status == "cancelling"
    with pytest.raises(Fenced), writing() as session:
        jobs.succeed(session, job.id, mine.attempt, {"a": artifacts.put(b"file")}, {"goal_met": True})
    with writing() as session:
        jobs.confirm_cancelled(session, job.id, mine.attempt)
    assert row(job).status == "cancelled"
    with reading() as session, pytest.raises(NotFound, match="it is cancelled"):
        jobs.file(session, row(job), "a")


def test_cancelling_with_a_lost_worker_ends(job):
    claim(job)
    with writing() as session:
        jobs.cancel(session, OWNER, job.id)
    silence(job)
    with writing() as session:
        jobs.take_back(session)
    assert row(job).status == "cancelled"


def test_success_publishes_and_clears_up(job):
    mine = claimed(job)
    kept = artifacts.put(b"result")
    names = []
    for n in (1, 2):
        names.append(checkpoints.write(job.id, mine.attempt, n, io.BytesIO(b"state %d" % n)))
        with writing() as session:
            jobs.save_checkpoint(session, job.id, mine.attempt, names[-1])
            assert read_checkpoint(names[0])  # it goes with the commit, not before
    assert read_checkpoint(names[1]) == b"state 2"
    with pytest.raises(FileNotFoundError):
        read_checkpoint(names[0])
    with writing() as session:
        jobs.succeed(session, job.id, mine.attempt, {"pruned.onnx": kept}, {"goal_met": False})
    with pytest.raises(FileNotFoundError):
        read_checkpoint(names[1])
    assert artifacts.path(kept.sha256).read_bytes() == b"result"
    with reading() as session:
        assert [f.name for f in jobs.files(session, job.id)] == ["pruned.onnx"]
        assert session.scalars(select(Job.goal_met)).one() is False


def test_a_job_leaves_with_all_that_it_has(job):
    mine, kept = claimed(job), artifacts.put(b"result")
    name = checkpoints.write(job.id, mine.attempt, 1, io.BytesIO(b"state"))
    with writing() as session:
        events.put_metric(session, job.id, 0, "admm", 1, {})
    with writing() as session, pytest.raises(Conflict, match="is running; cancel it first"):
        jobs.remove(session, OWNER, job.id)
    with writing() as session:
        jobs.succeed(session, job.id, mine.attempt, {"pruned.onnx": kept}, {"goal_met": True})
    age(artifacts.path(kept.sha256))
    with writing() as session:
        jobs.remove(session, OWNER, job.id)
    with reading() as session:
        assert (
            jobs.files(session, job.id) == [] == events.after(session, job.id, 0, 9) == events.metrics(session, job.id)
        )
        with pytest.raises(NotFound):
            jobs.get(session, OWNER, job.id)
    assert not artifacts.path(kept.sha256).exists()
    with pytest.raises(FileNotFoundError):
        read_checkpoint(name)


def test_what_waits_too_long_is_sent_again_once_a_while(job):
    with writing() as session:
        assert jobs.overdue(session, "cpu", settings().sweep_seconds) == []
        session.execute(update(Job).values(woken_at=now() - 2 * settings().sweep_seconds))
    with writing() as session:
        assert jobs.overdue(session, "cpu", settings().sweep_seconds) == [job.id]
    with writing() as session:
        assert jobs.overdue(session, "cpu", settings().sweep_seconds) == []


def test_the_queue_says_who_is_next(job, request_):
    with writing() as session:
        second, _ = jobs.create(session, OWNER, request_)
    with reading() as session:
        assert [s.queue_position for s in job_lists.shown(session, [job, second])] == [1, 2]
    claim(job)
    with reading() as session:
        assert job_lists.shown(session, [jobs.get(session, OWNER, second.id)])[0].queue_position == 1
        assert job_lists.shown(session, [jobs.get(session, OWNER, job.id)])[0].queue_position is None


def test_pages_follow_each_other(job, request_):
    with writing() as session:
        made = [job.id] + [jobs.create(session, OWNER, request_)[0].id for _ in range(4)]
    found, cursor = [], None
    with reading() as session:
        while True:
            page = job_lists.listing(session, OWNER, 2, cursor)
            found += [j.id for j in page.items]
            if (cursor := page.next_cursor) is None:
                break
    assert sorted(found) == sorted(made) and len(found) == 5 and found == sorted(found, reverse=True)


def test_another_owner_sees_nothing(job):
    with writing() as session:
        for ask in (
            lambda: jobs.get(session, "bert", job.id),
            lambda: jobs.cancel(session, "bert", job.id),
            lambda: uploads.get(session, Model, "bert", job.model_id),
        ):
            with pytest.raises(NotFound):
                ask()
        assert job_lists.listing(session, "bert", 10, None).items == []


def test_an_upload_is_judged_once(request_):
    with writing() as session:
        first = uploads.claim(session, Model, request_.model_id)
        assert uploads.claim(session, Model, request_.model_id) is None
        session.execute(update(Model).values(lease_until=now() - 1))
    with writing() as session:
        second = uploads.claim(session, Model, request_.model_id)
        assert first is not None and second is not None
        assert (first.attempt, second.attempt) == (1, 2)
    with pytest.raises(Fenced), writing() as session:
        uploads.judge(session, Model, request_.model_id, 1, ["late"], {})
    with writing() as session:
        uploads.judge(session, Model, request_.model_id, 2, [], {"analysis": {"layers": []}})
        assert uploads.get(session, Model, OWNER, request_.model_id).status == "ready"


def test_an_upload_that_kills_its_examiner_is_rejected(request_):
    for _ in range(settings().max_attempts):
        with writing() as session:
            assert uploads.claim(session, Dataset, request_.dataset_id)
            session.execute(update(Dataset).values(lease_until=now() - 1))
    with writing() as session:
        assert uploads.claim(session, Dataset, request_.dataset_id) is None
    with reading() as session:
        found = uploads.get(session, Dataset, OWNER, request_.dataset_id)
        assert found.status == "rejected" and "killed or crashed 3 times" in found.problems[0]


def test_one_file_for_equal_content_and_it_goes_with_the_last_row(db):
    blob = artifacts.put(b"same")
    with writing() as session:
        mine, _ = models.add(session, OWNER, "m", blob)
        theirs, _ = models.add(session, "bert", "m", artifacts.put(b"same"))
        assert models.add(session, OWNER, "n", blob) == (mine, False)
    age(artifacts.path(blob.sha256))
    with writing() as session:
        uploads.delete(session, Model, OWNER, mine.id)
    assert artifacts.path(blob.sha256).exists()
    with writing() as session:
        uploads.delete(session, Model, "bert", theirs.id)
    assert not artifacts.path(blob.sha256).exists()


def age(path) -> None:
    """As if written before the time of grace."""
    long_ago = time.time() - 1e6
    os.utime(path, (long_ago, long_ago))


def test_a_file_whose_row_may_be_coming_is_left_alone(db):
    young, old = artifacts.put(b"young"), artifacts.put(b"old")
    with writing() as session:
        used, _ = models.add(session, OWNER, "m", artifacts.put(b"used"))
    for sha256 in (old.sha256, used.sha256):
        age(artifacts.path(sha256))
    half = Path(settings().artifacts_at) / "incoming-half"
    half.write_bytes(b"")
    age(half)
    artifacts.collect()
    left = {p.name for p in Path(settings().artifacts_at).rglob("*") if p.is_file()}
    assert left == {young.sha256, used.sha256}


def test_the_same_upload_twice_at_once_is_one_row(db):
    def add(_: int) -> tuple[str, bool]:
        with writing() as session:
            row, is_new = models.add(session, OWNER, "m", artifacts.put(b"same"))
            return row.id, is_new

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(add, range(8)))
    assert len({i for i, _ in answers}) == 1 and [n for _, n in answers].count(True) == 1


def test_an_interrupted_upload_leaves_nothing(db):
    with pytest.raises(RuntimeError), artifacts.Staged() as staged:
        staged.write(b"half")
        raise RuntimeError
    assert list(Path(settings().artifacts_at).iterdir()) == []


def test_a_file_whose_row_is_coming_is_not_collected(db):
    blob = artifacts.put(b"stored long before its row")
    age(artifacts.path(blob.sha256))
    with writing() as session:
        artifacts.touch(session, blob)
    artifacts.collect()
    assert artifacts.path(blob.sha256).exists()
    age(artifacts.path(blob.sha256))
    artifacts.collect()
    with pytest.raises(FileNotFoundError), writing() as session:
        artifacts.touch(session, blob)


def test_a_file_that_is_written_is_left_alone_however_long_that_takes(db):
    with artifacts.Staged() as staged:
        (file,) = Path(settings().artifacts_at).glob("incoming-*")
        age(file)
        artifacts.collect()
        staged.write(b"slow")
        assert artifacts.path(staged.keep().sha256).exists()


def test_content_that_is_there_stays_the_same_file_and_is_mended(db):
    """Processes may read just this file, by its inode, and no other."""
    file = artifacts.path(artifacts.put(b"same").sha256)
    age(file)
    before = file.stat()
    artifacts.put(b"same")
    assert file.stat().st_ino == before.st_ino and file.stat().st_mtime > before.st_mtime
    assert [*Path(settings().artifacts_at).glob("incoming-*")] == []
    for damaged in (b"sa", b"sane"):
        file.write_bytes(damaged)
        artifacts.put(b"same")
        assert file.read_bytes() == b"same"


def test_who_stands_still_in_a_transaction_loses_it(db):
    """Else its locks would keep the sweeper from taking its job back."""
    if db.dialect.name == "sqlite":
        pytest.skip("SQLite's locks go with the process")
    with reading() as session:
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "30s"
        session.execute(text("SET SESSION idle_in_transaction_session_timeout = 1"))
        time.sleep(0.05)
        with pytest.raises(database.AWAY) as lost:
            session.execute(text("SELECT 1"))
    assert database.is_away(lost.value)
