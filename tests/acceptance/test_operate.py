"""What docs/operate.md says an operator can do, done to real processes."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.connection import parse_url
from sqlalchemy import create_engine, text

from store import datasets, jobs, migrate, models, workers
from store.artifacts import Blob
from store.database import reading, writing
from store.queue import Sender
from store.settings import settings
from tests.acceptance.proxy import Proxy
from tests.acceptance.test_faults import LONG, begin, in_round
from tests.conftest import HOUSE, Service, postgres_url, redis_url, schema_of_its_own
from tests.integration.conftest import forget
from worker.stall import STALLED

DOCS = (HOUSE / "docs/operate.md").read_text()
NO_SERVERS = "SECATEUR_TEST_POSTGRES and SECATEUR_TEST_REDIS name no servers to test against"
ON_SERVERS = pytest.mark.skipif(not (postgres_url() and redis_url()), reason=NO_SERVERS)
SHORT: dict[str, Any] = {"budget": {"pruning_rate": 3}, "admm": {"rounds": 1}, "retrain": {"epochs": 1}}


def shell(service: Service, command: str, **variables: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = service.environment | {"PATH": path} | variables
    done = subprocess.run(["bash", "-euc", command], cwd=HOUSE, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def admin(service: Service, command: str) -> Any:
    return json.loads(shell(service, f"secateur-admin {command} --json"))


def block(containing: str) -> str:
    (found,) = [
        text for text in re.findall(r"^```bash\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE) if containing in text
    ]
    return found


def until(is_so: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def empty(schema_url: str) -> None:
    """The schema, as if it were a new one."""
    schema = schema_url.rpartition("%3D")[2]
    engine = create_engine(postgres_url() or "", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    engine.dispose()


def test_backup_and_restore_as_the_docs_say(service: Service, tmp_path: Path) -> None:
    done, running = _done_and_running(service)
    files = _files(service, done)
    shell(service, block("storage backup"), BACKUP=str(tmp_path / "backup"))
    reached = service.http.get(f"/v1/jobs/{running}").json()["round"]
    service.http.post(f"/v1/jobs/{running}/cancel")
    _check_restored(Service(tmp_path / "other"), tmp_path / "backup", done, running, files, reached)


@ON_SERVERS
def test_backup_and_restore_on_postgresql(tmp_path: Path) -> None:
    with schema_of_its_own() as url, redis.Redis.from_url(redis_url() or "") as client:
        client.flushdb()
        places = {"database_url": url, "broker_url": redis_url() or ""}
        first = Service(tmp_path / "data", **places).start()
        done, running = _done_and_running(first)
        files = _files(first, done)
        shell(first, block("storage backup"), BACKUP=str(tmp_path / "backup"))
        reached = first.http.get(f"/v1/jobs/{running}").json()["round"]
        assert first.stop() == 0
        empty(url)
        _check_restored(Service(tmp_path / "other", **places), tmp_path / "backup", done, running, files, reached)


def _done_and_running(service: Service) -> tuple[str, str]:
    done = begin(service, SHORT)
    assert service.ended(done)["status"] == "succeeded"
    running = begin(service, LONG)
    in_round(service, running, 2)
    return done, running


def _files(service: Service, job_id: str) -> dict[str, bytes]:
    names = [file["name"] for file in service.http.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]]
    return {name: service.http.get(f"/v1/jobs/{job_id}/artifacts/{name}").content for name in names}


def _check_restored(
    other: Service, backup: Path, done: str, running: str, files: dict[str, bytes], reached: int
) -> None:
    """Restored into an empty place; the same bytes, and the job goes on behind its checkpoint."""
    shell(other, block("storage restore"), BACKUP=str(backup))
    other.start()
    try:
        assert _files(other, done) == files
        in_round(other, running, reached + 1)
        events = other.http.get(f"/v1/jobs/{running}/events", params={"limit": 1000}).json()["items"]
        rounds = [e["data"]["round"] for e in events if e["kind"] == "round" and e["data"]["phase"] == "admm"]
        assert rounds.count(1) == 1, "it did not start over"
        assert admin(other, "jobs list --status running")[0]["attempt"] == 2
    finally:
        assert other.stop() == 0


def test_a_draining_worker_finishes_and_takes_nothing_more(service: Service) -> None:
    (mine,) = [w for w in admin(service, "workers list") if "jobs" in w["queues"]]
    shell(service, f"secateur-admin workers drain {mine['id']} --wait")
    job = begin(service, SHORT)
    (stuck,) = [s for s in admin(service, "jobs stuck --seconds 0") if s["id"] == job]
    assert f"some drain: {mine['id']}" in stuck["reason"]
    assert service.http.get(f"/v1/jobs/{job}").json()["status"] == "queued"
    assert [q["rows"] for q in admin(service, "queue show") if q["queue"] == "jobs"] == [1]
    shell(service, f"secateur-admin workers undrain {mine['id']}")
    service.until(f"/v1/jobs/{job}", lambda j: j["status"] == "running")
    shell(service, f"secateur-admin workers drain {mine['id']} --exit")
    waiting = begin(service, SHORT)
    first, second = service.ended(job), service.ended(waiting)
    assert [(j["status"], j["attempt"]) for j in (first, second)] == [("succeeded", 1)] * 2
    events = service.http.get(f"/v1/jobs/{waiting}/events").json()["items"]
    (taker,) = [e["data"]["worker"] for e in events if e["data"].get("status") == "running"]
    assert taker != mine["id"] and mine["id"] not in {w["id"] for w in admin(service, "workers list")}
    assert all(look["ok"] for look in admin(service, "check"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Settings of a worker of its own with a database of its own, which this process reads too."""
    values = {"DATA_DIR": str(tmp_path), "DATABASE_URL": "", "STALL_SECONDS": "1", "SWEEP_SECONDS": "600"}
    for name, value in (values | {"BROKER_URL": redis_url() or ""}).items():
        monkeypatch.setenv(f"SECATEUR_{name}", value)
    forget()
    migrate.main()
    with redis.Redis.from_url(redis_url() or "") as client:
        client.flushdb()
        yield {f"SECATEUR_{name}": value for name, value in values.items()}
        client.flushdb()
    forget()


@pytest.mark.skipif(not redis_url(), reason=NO_SERVERS)
def test_a_worker_that_takes_nothing_from_a_full_queue_starts_anew(place: dict[str, str], tmp_path: Path) -> None:
    server = parse_url(redis_url() or "")
    sender = Sender()
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server["host"], server["port"]))
        broker = f"redis://127.0.0.1:{proxy.port}/{server['db']}"
        worker = _start(place | {"SECATEUR_BROKER_URL": broker}, tmp_path / "worker.log")
        stack.callback(worker.kill)
        until(lambda: _queues() == [["jobs"]])
        assert worker.poll() is None
        proxy.freeze()
        job_id = _queued_job()
        for _ in range(3):  # one of them goes to the connection that is dead
            sender.wake("job", job_id)
        assert worker.wait(60) == STALLED
        assert "work waits in the queue" in (tmp_path / "worker.log").read_text()
        assert _queues() == [] and sender.depth("jobs") > 0
        again = _start(place | {"SECATEUR_BROKER_URL": broker}, tmp_path / "worker.log")
        stack.callback(again.kill)
        until(lambda: sender.depth("jobs") == 0)
        again.terminate()
        assert again.wait(30) == 0
    sender.app.close()


def _start(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "worker.app",
        "worker",
        "-Q",
        "jobs",
        "-n",
        "alone@%h",
        "-l",
        "INFO",
    ]
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=HOUSE, env=os.environ | environment, stdout=out, stderr=out)


def _queues() -> list[list[str]]:
    with reading() as session:
        return [seen.worker.queues for seen in workers.listing(session)]


def _queued_job() -> str:
    """Older than the worker's patience."""
    with writing() as session:
        model, _ = models.add(session, "anna", "m", Blob("00", 1))
        dataset, _ = datasets.add(session, "anna", "d", Blob("01", 1), "npz", {})
        job, _ = jobs.create(session, "anna", jobs.Request(model.id, dataset.id, {}))
        job.created_at -= 10
        return job.id
