"""What an operator sees and does: workers, stuck work, jobs queued or ended by hand; and the commands for it."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from admin.app import app
from store import artifacts, checkpoints, datasets, jobs, models, stuck, workers
from store.clock import now
from store.database import reading, writing
from store.errors import Conflict, Fenced, NotFound
from store.tables import Event, Job, Model, Worker

OWNER = "anna"


@pytest.fixture
def make_job(db) -> Callable[[], Job]:
    with writing() as session:
        model, _ = models.add(session, OWNER, "m", artifacts.put(b"model"))
        dataset, _ = datasets.add(session, OWNER, "d", artifacts.put(b"data"), "npz", {})

    def make() -> Job:
        with writing() as session:
            return jobs.create(session, OWNER, jobs.Request(model.id, dataset.id, {}))[0]

    return make


def claim(job: Job) -> Job:
    with writing() as session:
        mine = jobs.claim(session, job.id, "host:1:a")
    assert mine is not None
    return mine


def tell(id: str = "host:1:a", queues: tuple[str, ...] = ("cpu", "light"), busy: str | None = None) -> workers.Orders:
    facts = {"cores": 2, "memory": 8_000_000_000, "gpus": [], "disk_free": 9_000_000_000}
    with writing() as session:
        return workers.tell(session, workers.Told(id, "host", list(queues), busy, 3, "0.1.0", facts))


def set_(table: type, id: str, **values: Any) -> None:
    with writing() as session:
        session.execute(update(table).where(table.id == id).values(values))


def age(job: Job, seconds: float) -> None:
    """As if it had its status for so long."""
    set_(Job, job.id, created_at=now() - seconds)
    with writing() as session:
        session.execute(update(Event).where(Event.job_id == job.id).values(at=now() - seconds))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def found() -> dict[str, str]:
    with reading() as session:
        return {s.id: s.reason for s in stuck.find(session, 60)}


def test_a_worker_is_told_to_drain_and_forgotten_after_a_day(db):
    assert tell() == workers.Orders()
    with writing() as session:
        workers.drain(session, "host:1:a", leaving=True)
        with pytest.raises(NotFound, match="there is no worker nobody"):
            workers.drain(session, "nobody")
    assert tell() == workers.Orders(draining=True, leaving=True)
    with writing() as session:
        workers.undrain(session, "host:1:a")
    assert tell() == workers.Orders()
    tell("host:2:b")
    set_(Worker, "host:1:a", seen_at=now() - 90_000)
    set_(Worker, "host:2:b", seen_at=now() - 80_000)
    with writing() as session:
        workers.forget(session)
        assert [(s.worker.id, s.is_silent) for s in workers.listing(session)] == [("host:2:b", True)]


def test_what_waits_is_stuck_only_where_nobody_works_on_something_else(make_job):
    job = make_job()
    age(job, 61)
    assert found()[job.id] == "no worker takes from cpu"
    tell(busy="job_x")
    assert job.id not in found()
    tell("host:2:b", queues=("light",))
    assert job.id not in found()
    tell("host:3:c", queues=("cpu",))
    assert "workers are idle that should take it: host:3:c" in found()[job.id]
    for id in ("host:1:a", "host:3:c"):
        with writing() as session:
            workers.drain(session, id)
    assert "some drain: host:1:a, host:3:c" in found()[job.id]
    age(job, 59)
    assert job.id not in found()


def test_running_and_cancelling_jobs_and_uploads_are_stuck_for_a_reason(make_job):
    silent, slow, well = (claim(make_job()) for _ in range(3))
    with writing() as session:
        jobs.cancel(session, OWNER, slow.id)
    set_(Job, silent.id, lease_until=now() - 1)
    age(slow, 31)
    set_(Model, silent.model_id, created_at=now() - 61)
    told = found()
    assert set(told) == {silent.id, slow.id, silent.model_id} and well.id not in told
    assert "its worker host:1:a is silent" in told[silent.id]
    assert "has not ended its process" in told[slow.id]
    assert told[silent.model_id] == "no worker takes from light"
    code, output = run("jobs", "stuck", "--json")
    assert code == 0 and {row["id"] for row in json.loads(output)} == set(told)
    assert f"secateur-admin jobs requeue {silent.id}" in run("jobs", "stuck")[1]


def test_a_requeued_job_goes_on_from_its_checkpoint_and_fences_who_had_it(make_job):
    job = claim(make_job())
    name = checkpoints.write(job.id, job.attempt, 1, io.BytesIO(b"state"))
    with writing() as session:
        jobs.save_checkpoint(session, job.id, job.attempt, name)
    with writing() as session:
        assert jobs.requeue(session, job.id).status == "queued"
    with writing() as session:
        assert jobs.heartbeat(session, job.id, job.attempt) is None
        jobs.fail(session, job.id, job.attempt, "late")
        jobs.lose(session, job.id, job.attempt, "late")
    with pytest.raises(Fenced), writing() as session:
        jobs.save_checkpoint(session, job.id, job.attempt, "late")
    again = claim(job)
    assert (again.attempt, again.checkpoint, again.crashes) == (2, name, 0)


def test_what_an_operator_may_do_with_a_job_of_each_status(make_job):
    instead = {"succeeded": "post a new job", "cancelling": "`jobs fail` ends it at once"}
    for status in jobs.MOVES:
        job = make_job()
        set_(Job, job.id, status=status)
        with writing() as session:
            if status in instead:
                with pytest.raises(Conflict, match=f"is {status} and cannot be queued; {instead[status]}"):
                    jobs.requeue(session, job.id)
            else:
                assert jobs.requeue(session, job.id).status == "queued"
        set_(Job, job.id, status=status)
        with writing() as session:
            if status in jobs.ENDED:
                with pytest.raises(Conflict, match="only a job that has not ended can fail"):
                    jobs.give_up(session, job.id, "why")
            else:
                ended = jobs.give_up(session, job.id, "why")
                assert (ended.status, ended.error) == ("cancelled" if status == "cancelling" else "failed", "why")


def test_commands_say_what_they_did_and_errors_are_sentences(make_job, monkeypatch):
    monkeypatch.setenv("SECATEUR_BROKER_URL", "redis://127.0.0.1:1/0")
    job = make_job()
    assert run("jobs", "fail", job.id, "--reason", "the disk is full") == (0, f"{job.id} is failed: the disk is full\n")
    code, output = run("jobs", "list", "--status", "failed", "--json")
    assert code == 0 and [(j["id"], j["error"]) for j in json.loads(output)] == [(job.id, "the disk is full")]
    assert run("jobs", "list", "--status", "queued") == (0, "there are no such jobs\n")
    assert run("jobs", "list", "--status", "lost")[0] == 2
    assert run("jobs", "requeue", "job_x") == (1, "error: there is no job job_x\n")
    tell(busy=job.id)
    assert job.id in run("workers", "list")[1]
    assert run("workers", "drain", "host:1:a")[0] == 0
    assert json.loads(run("workers", "list", "--json")[1])[0]["state"] == "draining"
    assert run("workers", "undrain", "host:1:a") == (0, "host:1:a takes work again\n")
    assert run("workers", "undrain", "gone")[0] == 1
    code, output = run("check", "--json")
    looks = {look["name"]: look for look in json.loads(output)}
    assert code == 1 and {name for name, look in looks.items() if look["ok"]} == {
        "database",
        "schema",
        "storage",
        "workers",
    }
    assert "the broker does not answer" in looks["broker"]["text"]
    assert run("version")[1].startswith("Secateur ")
