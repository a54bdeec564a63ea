"""Real processes are killed in the middle of ADMM: every job ends once, from its last checkpoint, with one file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import EXAMPLES, HOUSE, Service

LONG: dict[str, Any] = {
    "budget": {"pruning_rate": 10},
    "admm": {"rounds": 12, "epochs_per_round": 0.5},
    "retrain": {"epochs": 1},
    "train": {"batch_size": 16},
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose parts tests may break: it mends itself."""
    running = Service(tmp_path_factory.mktemp("own")).start()
    yield running
    assert running.stop() == 0


def begin(service: Service, plan: Mapping[str, Any] = LONG) -> str:
    model = service.upload("models", (EXAMPLES / "digits.onnx").read_bytes())
    data = service.upload("datasets", (EXAMPLES / "digits.npz").read_bytes())
    return service.post_job(plan, model_id=model, dataset_id=data)


def in_round(service: Service, job_id: str, least: int) -> dict:
    return service.until(f"/v1/jobs/{job_id}", lambda j: j["phase"] == "admm" and (j["round"] or 0) >= least)


def events(service: Service, job_id: str) -> list[dict]:
    found: list[dict] = []
    while page := service.http.get(f"/v1/jobs/{job_id}/events", params={"after": len(found), "limit": 200}).json()[
        "items"
    ]:
        found += page
    return found


def check_done_once(
    service: Service, job_id: str, resumed_after: int, again: int = 1, plan: Mapping[str, Any] = LONG
) -> None:
    """Succeeded once; no round up to the checkpoint was done twice, but for those under way when it was interrupted
    `again` times; one file, nothing left over.
    """
    job = service.ended(job_id)
    assert job["status"] == "succeeded", job["error"]
    told = events(service, job_id)
    statuses = [e["data"]["status"] for e in told if e["kind"] == "status"]
    assert statuses.count("succeeded") == 1 and statuses[-1] == "succeeded"
    rounds = [e["data"]["round"] for e in told if e["kind"] == "round" and e["data"]["phase"] == "admm"]
    assert sorted(set(rounds)) == list(range(1, plan["admm"]["rounds"] + 1))
    assert len(rounds) <= plan["admm"]["rounds"] + again  # only the round that was under way is done again
    assert sum(rounds.count(r) - 1 for r in range(1, resumed_after)) <= again - 1
    metrics = service.http.get(f"/v1/jobs/{job_id}/metrics").json()
    assert metrics["step"] == list(range(plan["admm"]["rounds"] + plan["retrain"]["epochs"] + 1))
    files = service.http.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]
    assert [f["name"] for f in files].count("pruned.onnx") == 1
    service.until("/healthz", lambda _: stored(service) == named(service), 10)  # what a kill left is collected


def named(service: Service) -> set[str]:
    """Hashes of all files that rows name."""
    hashes = {row["sha256"] for n in ("models", "datasets") for row in service.http.get(f"/v1/{n}").json()["items"]}
    for job in service.http.get("/v1/jobs").json()["items"]:
        hashes |= {f["sha256"] for f in service.http.get(f"/v1/jobs/{job['id']}/artifacts").json()["items"]}
    return hashes


def stored(service: Service) -> set[str]:
    return {p.name for p in (service.folder / "artifacts").rglob("*") if p.is_file()}


def test_kill_of_the_job_process(own: Service) -> None:
    job = begin(own)
    done = in_round(own, job, 3)["round"]
    (pid,) = own.pids("worker.run job")
    os.kill(pid, signal.SIGKILL)
    check_done_once(own, job, done)
    assert own.http.get(f"/v1/jobs/{job}").json()["attempt"] == 2


def test_kill_of_the_worker(own: Service) -> None:
    job = begin(own)
    done = in_round(own, job, 3)["round"]
    (pid,) = own.pids("worker -Q cpu")
    (child,) = own.pids("worker.run job")
    os.kill(pid, signal.SIGKILL)
    check_done_once(own, job, done)
    assert not psutil.pid_exists(child)


def test_kill_of_the_broker(own: Service) -> None:
    job = begin(own)
    done = in_round(own, job, 3)["round"]
    waiting = own.post_job(
        {"budget": {"pruning_rate": 2}, "admm": {"rounds": 1}, "retrain": {"epochs": 1}},
        **{k: own.http.get(f"/v1/jobs/{job}").json()[k] for k in ("model_id", "dataset_id")},
    )
    (pid,) = own.pids("valkey-server")
    os.kill(pid, signal.SIGKILL)
    check_done_once_with_another(own, job, waiting, done)


def check_done_once_with_another(service: Service, job: str, waiting: str, done: int) -> None:
    """The job that ran is not disturbed; the one whose message was lost with the broker runs too."""
    first, second = service.ended(job), service.ended(waiting)
    assert (first["status"], first["attempt"]) == ("succeeded", 1)
    assert (second["status"], second["attempt"]) == ("succeeded", 1)
    rounds = [e["data"]["round"] for e in events(service, job) if e["kind"] == "round" and e["data"]["phase"] == "admm"]
    assert rounds == list(range(1, LONG["admm"]["rounds"] + 1)) and done < len(rounds)


def test_a_job_that_kills_its_process_each_time_fails_with_a_reason(own: Service) -> None:
    job = begin(own)
    for attempt in (1, 2, 3):
        own.until(f"/v1/jobs/{job}", lambda j, n=attempt: j["attempt"] == n and j["phase"] == "admm")
        own.until("/healthz", lambda _: len(own.pids("worker.run job")) == 1)
        os.kill(own.pids("worker.run job")[0], signal.SIGKILL)
    ended = own.ended(job)
    assert ended["status"] == "failed"
    assert (
        ended["error"] == "its process or its worker was lost 3 times; the last time: its process was killed or crashed"
    )
    own.http.post(f"/v1/jobs/{job}/retry").raise_for_status()
    assert own.ended(job)["status"] == "succeeded"


def test_cancel_ends_within_five_seconds_and_leaves_no_process(service: Service) -> None:
    job = begin(service)
    in_round(service, job, 1)
    start = time.monotonic()
    assert service.http.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelling"
    assert service.ended(job)["status"] == "cancelled"
    assert time.monotonic() - start < 5
    assert service.pids("worker.run") == []
    again = service.http.post(f"/v1/jobs/{job}/cancel")
    assert again.status_code == 409 and "is cancelled; it cannot be cancelled" in again.json()["detail"]


def test_out_of_memory_is_told_apart_from_a_crash(tmp_path: Path) -> None:
    small = Service(tmp_path / "data", job_memory_bytes=str(300_000_000)).start()
    try:
        job = begin(small, LONG | {"train": {"batch_size": 1294}})
        ended = small.ended(job)
        assert (ended["status"], ended["attempt"]) == ("failed", 1)
        assert "out of memory: the job needs more than 300,000,000 bytes" in ended["error"]
    finally:
        assert small.stop() == 0


def test_a_job_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    short = Service(tmp_path / "data", job_seconds="4").start()
    try:
        ended = short.ended(begin(short, LONG | {"admm": {"rounds": 1000}}))
        assert ended["status"] == "failed" and "longer than 4 seconds" in ended["error"]
        assert short.pids("worker.run") == []
    finally:
        assert short.stop() == 0


def test_a_job_outlives_a_stop_and_a_kill_of_the_whole_service(tmp_path: Path) -> None:
    """Neither leaves a process running, and each next start goes on. A long path is no obstacle."""
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    first = Service(folder).start()
    lasting = LONG | {"admm": {"rounds": 16, "epochs_per_round": 2}}  # else it is done before it is stopped
    job = begin(first, lasting)
    in_round(first, job, 3)
    pids, start = pids_of(first), time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - start < 10
    assert not any(psutil.pid_exists(pid) for pid in pids)
    second = Service(folder).start()
    reached = second.http.get(f"/v1/jobs/{job}").json()["round"] or 0
    done = in_round(second, job, reached + 1)["round"]
    pids = pids_of(second)
    second.process.kill()
    second.process.wait()
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], 15)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    second.forget()
    third = Service(folder).start()
    try:
        check_done_once(third, job, done, again=2, plan=lasting)
    finally:
        assert third.stop() == 0


def pids_of(service: Service) -> list[int]:
    return [p.pid for p in psutil.Process(service.process.pid).children(recursive=True)]


def test_two_services_do_not_disturb_each_other(service: Service, own: Service) -> None:
    assert service.url != own.url
    short = {"budget": {"pruning_rate": 3}, "admm": {"rounds": 1}, "retrain": {"epochs": 1}}
    jobs = [(s, begin(s, short)) for s in (service, own)]
    for running, job in jobs:
        assert running.ended(job)["status"] == "succeeded"
    assert own.http.get("/v1/jobs").json()["items"][0]["id"] == jobs[1][1]
    assert own.http.get(f"/v1/jobs/{jobs[0][1]}").status_code == 404


def test_services_that_start_at_the_same_moment_have_a_port_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as at_once:
        both = list(at_once.map(lambda name: Service(tmp_path / name).start(), ["one", "other"]))
    try:
        models = [s.upload("models", (EXAMPLES / "digits.onnx").read_bytes()) for s in both]
        held = [[row["id"] for row in s.http.get("/v1/models").json()["items"]] for s in both]
        assert held == [[model] for model in models]
    finally:
        assert [s.stop() for s in both] == [0, 0]


def test_a_request_while_the_api_starts_again_waits_for_it(own: Service) -> None:
    (api,) = own.pids("-m api")
    process = psutil.Process(api)
    process.kill()
    process.wait(10)
    assert httpx.get(f"{own.url}/v1/models", timeout=30).status_code == 200
    assert own.pids("-m api") not in ([], [api])


def test_a_second_service_on_the_same_folder_is_refused(service: Service) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=HOUSE,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1 and "a service already runs on" in second.stderr


def test_a_database_that_is_away_is_named(tmp_path: Path) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    environment = os.environ | {"SECATEUR_DATA_DIR": str(tmp_path), "SECATEUR_DATABASE_URL": url}
    refused = subprocess.run(
        [sys.executable, "-m", "service"], cwd=HOUSE, env=environment, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 1 and "the database does not answer" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_listening_to_others_without_keys_is_refused(tmp_path: Path) -> None:
    environment = os.environ | {"SECATEUR_DATA_DIR": str(tmp_path), "SECATEUR_HOST": "0.0.0.0"}
    refused = subprocess.run(
        [sys.executable, "-m", "service"], cwd=HOUSE, env=environment, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 1 and "set SECATEUR_AUTH=true" in refused.stderr
