"""A disk that is really full while a job runs: a tmpfs that the processes of one service see alone."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.test_faults import LONG, begin, events, in_round
from tests.conftest import Service
from tests.integration.test_full_disk import NAMESPACE, may_mount

pytestmark = pytest.mark.skipif(not may_mount(), reason="user and mount namespaces are not allowed here")
MOUNT = 'mount -t tmpfs -o size=48m none "$0" && exec "$@"'
PLAN = LONG | {"admm": {"rounds": 8, "epochs_per_round": 0.5}}

SHORT = {"budget": {"pruning_rate": 3}, "admm": {"rounds": 1}, "retrain": {"epochs": 1}}


class OnSmallDisk(Service):
    """Its files, checkpoints and private folders are on the small disk, and its database is not."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk"
        places = {"artifacts_url": str(self.disk / "artifacts"), "database_url": f"sqlite:///{folder}/rows.db"}
        super().__init__(self.disk / "data", **places)
        self.disk.mkdir()
        self.command = (*NAMESPACE, "sh", "-c", MOUNT, str(self.disk), *self.command)

    def seen(self, name: str) -> Path:
        """A file of the disk, from here."""
        return Path(f"/proc/{self.process.pid}/root{self.disk}/{name}")

    def fill(self) -> None:
        with suppress(OSError), self.seen("filler").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 12)):
                pass


@pytest.fixture
def small(tmp_path: Path) -> Iterator[OnSmallDisk]:
    running = OnSmallDisk(tmp_path)
    running.start()
    yield running
    assert running.stop() == 0


def test_a_full_disk_costs_checkpoints_then_the_delivery_and_retry_goes_on(small: OnSmallDisk) -> None:
    job = begin(small, PLAN)
    in_round(small, job, 2)
    small.fill()
    ended = small.ended(job)
    assert ended["status"] == "failed" and "no space left on its disk for what the job makes" in ended["error"]
    warned = [e["data"]["text"] for e in events(small, job) if e["kind"] == "warning"]
    assert "the service has no space left for a checkpoint; if the job is interrupted, more is lost" in warned
    other = small.post_job(SHORT, model_id=ended["model_id"], dataset_id=ended["dataset_id"])
    jobs_log = small.seen("data/logs/worker-jobs.log")
    small.until("/healthz", lambda _: "this worker takes nothing for now: no space is left" in jobs_log.read_text())
    small.seen("filler").unlink()
    assert small.ended(other)["attempt"] == 1  # it waited until there was room
    small.http.post(f"/v1/jobs/{job}/retry").raise_for_status()
    assert small.ended(job)["status"] == "succeeded"
    rounds = [e["data"]["round"] for e in events(small, job) if e["kind"] == "round" and e["data"]["phase"] == "admm"]
    assert rounds.count(1) == 1 and max(rounds) == PLAN["admm"]["rounds"]
