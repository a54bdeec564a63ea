"""What is too old goes, with all that it has; what a row names stays, whoever does what in which order."""

import io
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event, func, insert, select, update

from store import artifacts, checkpoints, datasets, jobs, models, retention, uploads
from store.artifacts import NAMED
from store.clock import now
from store.database import reading, writing
from store.errors import Conflict, NotFound
from store.retention import DAY
from store.settings import settings
from store.tables import Artifact, Dataset, Event, Job, Model

OWNER = "anna"
KEPT_DAYS = 30


@pytest.fixture(autouse=True)
def retain(db, monkeypatch) -> None:
    monkeypatch.setenv("SECATEUR_EXPIRE_DAYS", str(KEPT_DAYS))
    settings.cache_clear()


def upload(content: bytes = b"model") -> tuple[Model, Dataset]:
    with writing() as session:
        model, _ = models.add(session, OWNER, "m", artifacts.put(content))
        dataset, _ = datasets.add(session, OWNER, "d", artifacts.put(b"data of " + content), "npz", {})
        for table in (Model, Dataset):
            session.execute(update(table).values(status="ready"))
    return model, dataset


def post(model: Model, dataset: Dataset, plan: dict | None = None) -> Job:
    with writing() as session:
        return jobs.create(session, OWNER, jobs.Request(model.id, dataset.id, plan or {}))[0]


def end(job: Job, status: str, days: float) -> None:
    with writing() as session:
        session.execute(update(Job).where(Job.id == job.id).values(status=status, finished_at=now() - days * DAY))


def age(days: float) -> None:
    """Uploads, as if nobody had touched them since."""
    with writing() as session:
        for table in (Model, Dataset):
            session.execute(update(table).values(created_at=now() - days * DAY, touched_at=None))


def expire() -> int:
    """As often as there is something to do."""
    gone = 0
    while some := retention.expire():
        gone += some
    return gone


def left(table: type) -> set[str]:
    with reading() as session:
        return set(session.scalars(select(table.id)))


def old_file(sha256: str) -> None:
    long_ago = time.time() - 1e6
    os.utime(artifacts.path(sha256), (long_ago, long_ago))


def test_only_what_ended_long_ago_goes_and_what_it_used_with_it(db):
    model, dataset = upload()
    ended = {days: post(model, dataset) for days in (29, 31, 32, 33)}
    for days, status in ((29, "succeeded"), (31, "succeeded"), (32, "failed"), (33, "cancelled")):
        end(ended[days], status, days)
    running, queued = post(model, dataset), post(model, dataset)
    end(running, "running", 40)
    age(31)
    assert expire() == 3 and left(Job) == {ended[29].id, running.id, queued.id}
    assert (left(Model), left(Dataset)) == ({model.id}, {dataset.id})
    with reading() as session:
        shown = {job.id: retention.expires_at(job) for job in session.scalars(select(Job))}
        finished = session.get_one(Job, ended[29].id).finished_at
    assert shown[queued.id] is None and finished is not None
    assert shown[ended[29].id] == finished + KEPT_DAYS * DAY
    for job in (ended[29], running, queued):
        end(job, "failed", 31)
    assert expire() == 5 and left(Job) | left(Model) | left(Dataset) == set()


def test_whoever_touches_an_upload_keeps_it(db):
    used, teacher, again, idle, examined = (upload(f"model {i}".encode()) for i in range(5))
    with writing() as session:
        session.execute(update(Model).where(Model.id == examined[0].id).values(status="validating"))
    age(31)
    with writing() as session:
        session.execute(update(Dataset).values(created_at=now()))
    end(post(*used, {"distill": {"teacher": teacher[0].id}}), "succeeded", 1)
    with writing() as session:
        assert models.add(session, OWNER, "m", artifacts.put(b"model 2"))[0].id == again[0].id
    assert expire() == 1 and left(Model) == {used[0].id, teacher[0].id, again[0].id, examined[0].id}
    age(31)
    with writing() as session:
        session.execute(update(Dataset).values(created_at=now()))
    assert expire() == 1 and left(Model) == {used[0].id, teacher[0].id, examined[0].id}, idle


def test_nothing_goes_while_retention_is_off(db, monkeypatch):
    monkeypatch.setenv("SECATEUR_EXPIRE_DAYS", "0")
    settings.cache_clear()
    job = post(*upload())
    end(job, "failed", 10_000)
    age(10_000)
    assert expire() == 0 and left(Job) == {job.id}
    with reading() as session:
        assert retention.expires_at(session.get_one(Job, job.id)) is None


def test_a_thousand_old_jobs_go_with_their_files_events_and_checkpoints(db):
    model, dataset = upload()
    first, kept = post(model, dataset), post(model, dataset)
    shared, own = artifacts.put(b"of all"), artifacts.put(b"of the old")
    with writing() as session:
        columns = {c.key: getattr(first, c.key) for c in Job.__table__.columns if c.key not in ("id", "layers")}
        session.execute(insert(Job), [columns | {"id": f"job_{i}"} for i in range(1000)])
        session.execute(update(Job).where(Job.id != kept.id).values(status="succeeded", finished_at=now() - 31 * DAY))
        ids = [f"job_{i}" for i in range(1000)]
        session.execute(
            insert(Event), [{"job_id": id, "seq": s, "kind": "k", "data": {}} for id in ids for s in (1, 2)]
        )
        files = [{"job_id": id, "name": "a", "sha256": own.sha256, "bytes": 1} for id in ids]
        session.execute(insert(Artifact), [*files, {**files[0], "job_id": kept.id, "sha256": shared.sha256}])
    for id in ids[::100]:
        checkpoints.write(id, 1, 1, io.BytesIO(b"state"))
    for blob in (shared, own):
        old_file(blob.sha256)
    assert expire() == 1001 and left(Job) == {kept.id}
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 1
    assert checkpoints.jobs() == set()
    assert artifacts.path(shared.sha256).exists() and not artifacts.path(own.sha256).exists()


def test_checkpoints_without_a_job_that_could_go_on_are_collected(db):
    model, dataset = upload()
    running, done = post(model, dataset), post(model, dataset)
    end(done, "succeeded", 0)
    for id in (running.id, done.id, "job_gone"):
        checkpoints.write(id, 1, 1, io.BytesIO(b"state"))
    retention.collect_checkpoints()
    assert checkpoints.jobs() == {running.id}


class Interleaving:
    """Actors in threads of which one runs at a time; at each step of a transaction chance says which goes on.

    Steps are where a connection is taken and given back: nobody holds a lock there, and so nobody waits but for turns.
    """

    def __init__(self, engine: Engine, seed: int) -> None:
        self.random, self.engine = random.Random(seed), engine
        self.turn = threading.Condition()
        self.waiting: set[int] = set()
        self.running: int | None = None
        self.is_over = False
        self.failures: list[BaseException] = []

    def step(self, *_: object) -> None:
        """Called by an actor: another may go on."""
        me = threading.get_ident()
        if me not in self.actors:
            return
        with self.turn:
            self.waiting.add(me)
            self.running = None
            self.turn.notify_all()
            self.turn.wait_for(lambda: self.running == me or self.is_over)
            self.waiting.discard(me)

    def run(self, actions: list[Callable[[], object]], check: Callable[[], object]) -> None:
        """All actors to their ends, and the check after each step."""
        self.actors: set[int] = set()
        threads = [threading.Thread(target=self._act, args=(action,)) for action in actions]
        with self._listening():
            for thread in threads:
                thread.start()
            with self.turn:
                self.turn.wait_for(lambda: len(self.waiting) == len(threads))
            try:
                while self.actors:
                    with self.turn:
                        self.running = self.random.choice(sorted(self.waiting))
                        self.turn.notify_all()
                        self.turn.wait_for(lambda: self.running is None)
                    check()
            finally:
                with self.turn:  # all run on, in any order
                    self.is_over = True
                    self.turn.notify_all()
                for thread in threads:
                    thread.join()
        if self.failures:
            raise self.failures[0]

    def _act(self, action: Callable[[], object]) -> None:
        with self.turn:
            self.actors.add(threading.get_ident())
        try:
            self.step()
            action()
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            self.failures.append(error)
        with self.turn:
            self.actors.discard(threading.get_ident())
            self.running = None
            self.turn.notify_all()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        for moment in ("checkout", "checkin"):
            event.listen(self.engine, moment, self.step)
        try:
            yield
        finally:
            for moment in ("checkout", "checkin"):
                event.remove(self.engine, moment, self.step)


class Storage:
    """What actors do with two contents, so that they meet; files age, but not those whose row is coming."""

    def __init__(self, chance: random.Random, step: Callable[[], None]) -> None:
        self.chance, self.step = chance, step
        self.coming: list[str] = []

    def act(self) -> None:
        for _ in range(4):
            action = self.chance.choice([self.upload, self.prune, self.delete, self.remove, self.expire, self.collect])
            self.age()
            action()

    def age(self) -> None:
        for sha256 in artifacts.stored() - set(self.coming):
            old_file(sha256)

    @contextmanager
    def put(self) -> Iterator[artifacts.Blob]:
        """A file that is published now, and named by a row soon."""
        blob = artifacts.put(self.chance.choice([b"one", b"other"]))
        self.coming.append(blob.sha256)
        self.step()
        yield blob
        self.coming.remove(blob.sha256)

    def upload(self) -> None:
        with self.put() as blob, writing() as session:
            model, _ = models.add(session, OWNER, "m", blob)
            session.execute(update(Model).where(Model.id == model.id).values(status="ready"))

    def prune(self) -> None:
        """A job on what is there, which delivers a file and ended long ago."""
        with reading() as session:
            model = session.scalar(select(Model.id).order_by(func.random()).limit(1))
            dataset = session.scalar(select(Dataset.id).limit(1))
        try:
            with writing() as session:
                job, _ = jobs.create(session, OWNER, jobs.Request(str(model), str(dataset), {}))
                jobs.claim(session, job.id, "w")
            with self.put() as blob, writing() as session:
                jobs.succeed(session, job.id, 1, {"pruned.onnx": blob}, {"goal_met": True})
                session.execute(update(Job).where(Job.id == job.id).values(finished_at=now() - 40 * DAY))
        except NotFound:
            return

    def delete(self) -> None:
        self._each(Model, lambda session, id: uploads.delete(session, Model, OWNER, id))

    def remove(self) -> None:
        self._each(Job, lambda session, id: jobs.remove(session, OWNER, id))

    def expire(self) -> None:
        with writing() as session:
            session.execute(update(Model).values(created_at=now() - 40 * DAY, touched_at=None))
        retention.expire()

    def collect(self) -> None:
        artifacts.collect()

    def _each(self, table: type, action: Callable) -> None:
        for id in sorted(left(table)):
            try:
                with writing() as session:
                    action(session, id)
            except (Conflict, NotFound):
                continue


def every_named_file_is_there() -> None:
    with reading() as session:
        named = {h for column in NAMED for h in session.scalars(select(column))}
    assert named <= artifacts.stored()


def test_no_order_of_events_takes_a_file_that_a_row_names(db):
    upload(b"first")
    for seed in range(4):
        interleaving = Interleaving(db, seed)
        storage = Storage(interleaving.random, interleaving.step)
        interleaving.run([storage.act] * 4, every_named_file_is_there)
