"""Two machines, one with a clock an hour fast and one an hour slow, on servers that fall: every job ends once."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api.auth import LOCAL
from store import artifacts, database, datasets, events, jobs, models
from store.database import reading, writing
from store.queue import sender
from store.tables import Job
from tests.conftest import EXAMPLES, HOUSE
from tests.fleet import COMPILER, PROGRAMS, Fleet, Machine, until
from tests.integration.conftest import forget

LEASE, HOUR, ROUNDS = 3.0, 3600, 12
PLAN: dict[str, Any] = {
    "budget": {"pruning_rate": 10},
    "admm": {"rounds": ROUNDS, "epochs_per_round": 0.5},
    "retrain": {"epochs": 1},
    "train": {"batch_size": 16},
    "deliver": {"seconds": 0.1},
}
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's server is not installed here"),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed here"),
    pytest.mark.skipif(not COMPILER, reason="there is no C compiler here to make a wrong clock with"),
]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Its database and files are those of this process too."""
    with Fleet(lease_seconds=LEASE, sweep_seconds=0.5) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.variables("direct", made.postgres.port, made.redis.port).items():
            patch.setenv(name, value)
        forget()
        for name, wrong_by in (("fast", HOUR), ("slow", -HOUR)):
            made.machine(name).add_worker("jobs", "cpu").set_clock(wrong_by)
        made.machines[0].add_api(made.listener())
        made.start()
        yield made
        sender.app.close()
        sender.__dict__.pop("app", None)
        database.engine().dispose()
    forget()


def post(number: int = 1, queue: str = "cpu") -> list[str]:
    """Jobs on the digits, whose uploads count as examined."""
    with writing() as session:
        blobs = [artifacts.put((EXAMPLES / f"digits.{suffix}").read_bytes()) for suffix in ("onnx", "npz")]
        model, _ = models.add(session, LOCAL, "digits.onnx", blobs[0])
        dataset, _ = datasets.add(session, LOCAL, "digits.npz", blobs[1], "npz", {})
        model.status = dataset.status = "ready"
        request = jobs.Request(model.id, dataset.id, PLAN, queue=queue)
        ids = [jobs.create(session, LOCAL, request)[0].id for _ in range(number)]
    for id in ids:
        sender.wake("job", id, queue)
    return ids


def row(job_id: str) -> Job:
    with reading() as session:
        return session.get_one(Job, job_id)


def in_round(job_id: str, least: int) -> None:
    until(lambda: (row(job_id).round or 0) >= least, f"round {least}")


def who_runs(fleet: Fleet) -> dict[str, Machine]:
    """By job and attempt."""
    return {what: machine for _, machine, what in fleet.work()}


def check_done_once(job_id: str) -> Job:
    """Each attempt went on from a checkpoint of the one before, and said nothing after it had lost the job."""
    until(lambda: row(job_id).status in jobs.ENDED, "the job ends", 150)
    job = row(job_id)
    with reading() as session:
        told, files = events.after(session, job_id, 0, 10_000), [file.name for file in jobs.files(session, job_id)]
    statuses = [e.data["status"] for e in told if e.kind == "status"]
    assert statuses == ["queued", *["running", "queued"] * (job.attempt - 1), "running", "succeeded"], job.error
    assert "pruned.onnx" in files
    rounds: list[list[int]] = []
    for event in told:
        if event.data.get("status") == "running":
            rounds.append([])
        if event.kind == "round" and event.data["phase"] == "admm":
            rounds[-1].append(event.data["round"])
    reached = 0
    for of_attempt in rounds:
        first = of_attempt[0] if of_attempt else reached + 1
        assert first in (reached, reached + 1) and of_attempt == list(range(first, first + len(of_attempt)))
        reached = of_attempt[-1] if of_attempt else reached
    assert reached == ROUNDS
    return job


def test_postgres_is_killed_while_a_job_runs(fleet: Fleet) -> None:
    (job_id,) = post()
    in_round(job_id, 2)
    fleet.postgres.end(signal.SIGKILL)
    away = httpx.get(f"{fleet.machines[0].url}/v1/jobs/{job_id}", timeout=30)
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert away.json()["detail"] == "the service's database does not answer; try again in a moment"
    fleet.postgres.start()
    job = check_done_once(job_id)
    assert job.crashes <= 1  # where it took longer than a lease
    (at,) = {round(when / HOUR) for when in (job.created_at, job.started_at or 0, job.finished_at or 0)}
    assert at == round(time.time() / HOUR)


def test_a_machine_that_is_cut_off_for_longer_than_its_lease_writes_nothing_when_it_is_back(fleet: Fleet) -> None:
    (job_id,) = post()
    in_round(job_id, 2)
    alone = who_runs(fleet)[f"job {job_id} attempt 1"]
    with alone.cut_off():
        until(lambda: row(job_id).attempt == 2, "another takes the job")
    refused = f"job {job_id} attempt 1: the row is being cancelled, or belongs to another attempt"
    until(lambda: refused in alone.log("jobs"), "it is told", 30)
    assert f"job {job_id} attempt 1" not in who_runs(fleet)
    assert check_done_once(job_id).attempt == 2


def test_a_fast_clock_makes_no_file_old(fleet: Fleet) -> None:
    coming = artifacts.put(b"its row is coming")
    collect = [sys.executable, "-c", "from store.artifacts import collect; collect()"]
    subprocess.run(collect, cwd=HOUSE, env=fleet.machines[0].environment, check=True)
    assert artifacts.path(coming.sha256).exists()


def test_messages_lost_doubled_and_reordered_and_a_broker_that_falls(fleet: Fleet) -> None:
    dice = random.Random(0)
    ids = post(60, "gpu")
    fleet.redis.spoil("gpu", dice)
    stubs = fleet.machine("stubs")
    for name in ("one", "other"):
        stubs.add_worker(name, "gpu", app="benchmarks.stub_worker")
    for part in stubs.parts:
        part.start()
    for few in (10, 25, 40):
        until(lambda few=few: done(ids) >= few, f"{few} are done", 30)
        fleet.redis.spoil("gpu", dice)
        if few == 25:
            fleet.redis.end(signal.SIGKILL)
            fleet.redis.start()
    until(lambda: done(ids) == len(ids), "all are done", 30)
    for id in ids:
        with reading() as session:
            statuses = [e.data["status"] for e in events.after(session, id, 0, 100) if e.kind == "status"]
        assert statuses == ["queued", "running", "succeeded"]


def done(ids: list[str]) -> int:
    with reading() as session:
        return len(session.scalars(select(Job.id).where(Job.id.in_(ids), Job.status == "succeeded")).all())
