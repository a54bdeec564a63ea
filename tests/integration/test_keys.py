"""Keys and quotas on real databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import inspect, text, update

from store import artifacts, datasets, jobs, keys, migrate, models, quotas, transfers
from store.clock import now
from store.database import reading, writing
from store.errors import Conflict, NotFound, QueueFull, UnfitOwner
from store.key_uses import Uses
from store.keys import Caller
from store.settings import settings
from store.tables import Base, Job, Key


@pytest.fixture
def asked(db, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are asked for, so there are quotas."""
    monkeypatch.setenv("SECATEUR_AUTH", "true")
    settings.cache_clear()


def made(owner: str = "anna", **options) -> tuple[str, str]:
    """Id and secret."""
    with writing() as session:
        key, secret = keys.create(session, owner, **options)
    return key.id, secret


def caller(secret: str) -> Caller | None:
    with reading() as session:
        return keys.caller(session, secret)


def set_key(key_id: str, **values) -> None:
    with writing() as session:
        session.execute(update(Key).where(Key.id == key_id).values(**values))


def queue(owner: str, name: str) -> Job:
    with writing() as session:
        model, _ = models.add(session, owner, "m", artifacts.put(b"model"))
        data, _ = datasets.add(session, owner, "d", artifacts.put(b"data"), "npz", {})
        job, _ = jobs.create(session, owner, jobs.Request(model.id, data.id, {}, name=name))
        quotas.require_place(session, owner)
    return job


def test_a_key_opens_until_it_is_revoked_and_only_its_hash_is_stored(db):
    key_id, secret = made(scope="read", name="for the build")
    assert caller(secret) == Caller("anna", "read", key_id)
    assert caller(secret + "x") is caller("") is None
    with db.connect() as connection:
        assert secret[4:] not in str(connection.execute(text("SELECT * FROM keys")).all())
    with writing() as session:
        first = keys.revoke(session, key_id).revoked_at
    assert caller(secret) is None
    with writing() as session:
        assert keys.revoke(session, key_id).revoked_at == first
        with pytest.raises(NotFound):
            keys.revoke(session, "key_nowhere")


def test_a_key_expires_by_the_databases_clock(db):
    key_id, secret = made(days=1)
    assert caller(secret)
    set_key(key_id, expires_at=now() - 1)
    assert caller(secret) is None


@pytest.mark.parametrize("owner", ["", "a b", "anna\n", ".anna", "a/b", "a" * 101, "änna"])
def test_an_owner_has_a_plain_name(db, owner: str):
    with pytest.raises(UnfitOwner):
        made(owner)


def test_of_admin_keys_that_revoke_each_other_one_stays(db):
    ids = [made(f"admin{i}", scope="admin")[0] for i in range(4)]
    set_key(made("gone", scope="admin")[0], expires_at=now() - 1)

    def revoke(key_id: str) -> bool:
        try:
            with writing() as session:
                keys.revoke(session, key_id, keeps_an_admin=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(revoke, ids)) == [False, True, True, True]


def test_the_use_of_a_key_is_written_beside_and_seldom(db):
    key_id, _ = made()
    uses = Uses()
    uses.note(key_id)
    uses.thread.shutdown()  # waits for what it was given
    set_key(key_id, last_used_at=Key.last_used_at - 1)
    with reading() as session:
        first = keys.get(session, key_id).last_used_at
    assert first is not None
    with writing() as session:
        keys.touch(session, key_id, 60)
    with reading() as session:
        assert keys.get(session, key_id).last_used_at == first
    with writing() as session:
        keys.touch(session, key_id, 0.5)
    with reading() as session:
        assert (keys.get(session, key_id).last_used_at or 0) > first


def test_keys_of_the_older_schema_may_write(db):
    with db.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrate.upgrade(connection, "0002")
        old = {"id": "key_1", "owner": "anna", "hash": keys._hash("sct_old")}
        connection.execute(text("INSERT INTO keys (id, owner, hash, created_at) VALUES (:id, :owner, :hash, 1)"), old)
    migrate.main()
    assert caller("sct_old") == Caller("anna", "write", "key_1")
    assert "quotas" in inspect(db).get_table_names()


def test_a_quota_is_the_settings_until_an_owner_has_its_own(asked):
    with writing() as session:
        assert quotas.of(session, "anna").max_jobs_queued == settings().max_jobs_queued
        assert quotas.of(session, "anna").max_jobs_running is None  # 0 in the settings
        quotas.put(session, "anna", {"max_jobs_queued": 0, "max_bytes_stored": 7})
        session.flush()
        assert quotas.of(session, "anna") == quotas.Quota(None, None, 7, settings().max_requests_a_minute)
        assert quotas.of(session, "bert").max_bytes_stored == settings().max_bytes_stored
        quotas.put(session, "anna", {})
        session.flush()
        assert quotas.of(session, "anna") == quotas.of(session, "bert")


def test_without_keys_there_are_no_limits(db):
    with writing() as session:
        quotas.put(session, "local", {"max_jobs_queued": 1, "max_bytes_stored": 1})
        session.flush()
        assert quotas.of(session, "local") == quotas.Quota()
        assert quotas.room(session, "local") is None and quotas.has_room(session, "local")


def test_bytes_are_counted_for_each_row_of_the_owner_alone(asked):
    job = queue("anna", "first")
    queue("bert", "the same files")
    with writing() as session:
        quotas.put(session, "anna", {"max_bytes_stored": 100})
        jobs.claim(session, job.id, "w")
        jobs.succeed(session, job.id, 1, {"pruned.onnx": artifacts.Blob("00", 30)}, {"goal_met": True})
    with reading() as session:
        assert quotas.used(session, "anna") == quotas.Used(0, 0, len(b"model") + len(b"data") + 30)
        assert quotas.used(session, "bert") == quotas.Used(1, 0, len(b"model") + len(b"data"))
        assert quotas.room(session, "anna") == 100 - 39


def test_as_many_jobs_wait_as_may_however_many_come_at_once(asked):
    queue("anna", "first")
    with writing() as session:
        quotas.put(session, "anna", {"max_jobs_queued": 3})

    def is_taken(i: int) -> bool:
        try:
            queue("anna", f"job {i}")
        except QueueFull as error:
            assert error.retry_after >= 1
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(is_taken, range(6))) == 2
    with reading() as session:
        assert quotas.used(session, "anna").jobs_queued == 3
    queue("bert", "is not held up")


def test_a_full_queue_says_when_the_first_job_ends(asked):
    with writing() as session:
        quotas.put(session, "anna", {"max_jobs_queued": 1})
    job = queue("anna", "runs")
    with writing() as session:
        jobs.claim(session, job.id, "w")
        jobs.progress(session, job.id, 1, {"eta_seconds": 17.2})
    queue("anna", "waits")
    with pytest.raises(QueueFull) as refused:
        queue("anna", "one too many")
    assert refused.value.retry_after == 17


def test_what_has_come_of_an_upload_in_pieces_counts(asked):
    with writing() as session:
        row = transfers.add(session, "anna", "model", {"name": "m"}, 10, None)
        row.offset = 4
    with reading() as session:
        assert quotas.used(session, "anna").bytes_stored == 4 and quotas.used(session, "bert").bytes_stored == 0
