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

from api.auth import LOCAL
from service.parts import worker_command
from store import artifacts, datasets, jobs, migrate, models, workers
from store.artifacts import Blob
from store.database import reading, writing
from store.queue import Sender
from tests.acceptance.proxy import Proxy
from tests.acceptance.test_faults import LONG, events, in_round
from tests.conftest import EXAMPLES, HOUSE, Service, part_of_a_service, postgres_url, redis_url, schema_of_its_own
from tests.integration.conftest import forget
from worker.stall import STALLED

DOCS = (HOUSE / "docs/operate.md").read_text()
NO_REDIS = "SECATEUR_TEST_REDIS names no Redis to test against"
LONGER = LONG | {"admm": {"rounds": 100, "epochs_per_round": 0.5}}  # it must not end before it is saved
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


@pytest.fixture
def places() -> Iterator[dict[str, str]]:
    """PostgreSQL and Redis where they are named, else the embedded default."""
    if not (postgres_url() and redis_url()):
        yield {}
        return
    with schema_of_its_own() as url, redis.Redis.from_url(redis_url() or "") as client:
        client.flushdb()
        yield {"database_url": url, "broker_url": redis_url() or ""}


@pytest.fixture
def first(places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service that is yet to be started; this process reads and writes its rows."""
    service = Service(tmp_path / "data", expire_days="1", **places)
    for name, value in service.environment.items():
        if name.startswith("SECATEUR_"):
            monkeypatch.setenv(name, value)
    forget()
    migrate.main()
    yield service
    forget()


def test_a_worker_is_drained_and_the_service_moves_to_another_place(
    first: Service, places: dict[str, str], tmp_path: Path
) -> None:
    short, long = _post(SHORT), _post(LONGER)
    first.start()
    _drain_the_worker_of(first, short, long)
    files = _files(first, short)
    assert "pruned.onnx" in files
    in_round(first, long, 2)
    shell(first, block('storage backup "$BACKUP"'), BACKUP=str(tmp_path / "backup"))
    reached = first.http.get(f"/v1/jobs/{long}").json()["round"]
    assert first.stop() == 0
    if places:
        empty(places["database_url"])
    other = Service(tmp_path / "other", **places)
    shell(other, block('storage restore "$BACKUP"'), BACKUP=str(tmp_path / "backup"))
    other.start()
    try:
        assert _files(other, short) == files
        _check_it_goes_on(other, long, reached)
    finally:
        assert other.stop() == 0


def _post(plan: dict[str, Any]) -> str:
    """A job on the digits, whose uploads count as examined."""
    with writing() as session:
        blobs = [artifacts.put((EXAMPLES / f"digits.{suffix}").read_bytes()) for suffix in ("onnx", "npz")]
        model, _ = models.add(session, LOCAL, "digits.onnx", blobs[0])
        dataset, _ = datasets.add(session, LOCAL, "digits.npz", blobs[1], "npz", {})
        model.status = dataset.status = "ready"
        deliver = {"seconds": 0.2}  # of timing
        return jobs.create(session, LOCAL, jobs.Request(model.id, dataset.id, plan | {"deliver": deliver}))[0].id


def _drain_the_worker_of(service: Service, short: str, long: str) -> None:
    """It finishes the short job, takes nothing more, and ends; the long one goes to the worker that comes after it."""
    service.until(f"/v1/jobs/{short}", lambda job: job["status"] == "running")
    mine = {w["queues"][0]: w["id"] for w in admin(service, "workers list")}
    shell(service, f"secateur-admin workers drain {mine['cpu']} --exit")
    shell(service, f"secateur-admin workers drain {mine['light']} --wait")
    shell(service, f"secateur-admin workers undrain {mine['light']}")
    ended = service.ended(short)
    assert ended["status"] == "succeeded" and ended["expires_at"] > ended["finished_at"]
    service.until(f"/v1/jobs/{long}", lambda job: job["status"] == "running")
    takers = [_taker(service, job) for job in (short, long)]
    assert takers[0] == mine["cpu"] != takers[1]
    until(lambda: {w["queues"][0]: w["id"] for w in admin(service, "workers list")} == mine | {"cpu": takers[1]})
    assert all(look["ok"] for look in admin(service, "check"))


def _taker(service: Service, job_id: str) -> str:
    """The one worker that ever had it."""
    (worker,) = [e["data"]["worker"] for e in events(service, job_id) if e["data"].get("status") == "running"]
    return worker


def _files(service: Service, job_id: str) -> dict[str, bytes]:
    names = [file["name"] for file in service.http.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]]
    return {name: service.http.get(f"/v1/jobs/{job_id}/artifacts/{name}").content for name in names}


def _check_it_goes_on(service: Service, job_id: str, reached: int) -> None:
    """Behind its checkpoint: it did not start over."""
    in_round(service, job_id, reached + 1)
    told = events(service, job_id)
    rounds = [e["data"]["round"] for e in told if e["kind"] == "round" and e["data"]["phase"] == "admm"]
    assert rounds.count(1) == 1 and max(rounds) > reached
    assert service.http.get(f"/v1/jobs/{job_id}").json()["attempt"] == 2


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


@pytest.mark.skipif(not redis_url(), reason=NO_REDIS)
def test_a_worker_that_takes_nothing_from_a_full_queue_starts_anew(place: dict[str, str], tmp_path: Path) -> None:
    server = parse_url(redis_url() or "")
    sender = Sender()
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server["host"], server["port"]))
        broker = f"redis://127.0.0.1:{proxy.port}/{server['db']}"
        environment = os.environ | place | {"SECATEUR_BROKER_URL": broker}
        command = worker_command("alone", "cpu")
        worker = stack.enter_context(part_of_a_service(command, environment, tmp_path / "worker.log"))
        until(lambda: _queues() == [["cpu"]])
        assert worker.poll() is None
        proxy.freeze()
        job_id = _queued_job()
        for _ in range(3):  # one of them goes to the connection that is dead
            sender.wake("job", job_id, "cpu")
        assert worker.wait(60) == STALLED
        assert "work waits in the queue" in (tmp_path / "worker.log").read_text()
        assert _queues() == [] and sender.depth("cpu") > 0
    sender.app.close()


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
