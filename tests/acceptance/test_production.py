"""The same service on Redis and PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from service.parts import worker_command
from tests.acceptance.test_faults import LONG, begin, in_round
from tests.conftest import HOUSE, Service, part_of_a_service, postgres_url, redis_url, schema_of_its_own

WHY = "SECATEUR_TEST_POSTGRES and SECATEUR_TEST_REDIS name no servers to test against"
pytestmark = pytest.mark.skipif(not (postgres_url() and redis_url()), reason=WHY)


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Service]:
    """A service of this test's own schema; the Redis database is emptied."""
    with redis.Redis.from_url(redis_url() or "") as client:
        client.flushdb()
    with schema_of_its_own() as url:
        running = Service(tmp_path / "data", database_url=url, broker_url=redis_url() or "").start()
        yield running
        assert running.stop() == 0


def test_a_job_from_upload_to_report(production: Service) -> None:
    assert production.pids("valkey-server") == []
    job = begin(production, {"budget": {"pruning_rate": 20}})
    ended = production.ended(job)
    assert ended["status"] == "succeeded", ended["error"]
    report = production.http.get(f"/v1/jobs/{job}/report").json()
    assert report["goal_met"] and report["accuracy"]["pruned"] > 0.95


def test_two_workers_given_the_same_id_run_it_once(production: Service) -> None:
    """Every message is doubled, and there are two workers of each kind."""
    environment = os.environ | production.environment
    log = production.folder / "logs" / "second.log"
    with part_of_a_service(worker_command("second", "cpu"), environment, log) as second:
        job = begin(production, LONG)
        sender = [
            sys.executable,
            "-c",
            f"from store.queue import sender; [sender.wake('job', '{job}', 'cpu') for _ in range(5)]",
        ]
        subprocess.run(sender, cwd=HOUSE, env=environment, check=True)
        in_round(production, job, 3)
        running = [p for p in psutil.process_iter(["cmdline"]) if job in (p.info["cmdline"] or [])]
        assert len(running) == 1
        ended = production.ended(job)
        assert (ended["status"], ended["attempt"]) == ("succeeded", 1)
        second.terminate()
        assert second.wait(20) == 0
