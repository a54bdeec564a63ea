"""What /metrics says of rows on real databases, and that the dashboard asks for nothing else."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pynvml
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, text, update

from api import app, metrics
from api.routes import health
from store import artifacts, datasets, job_times, jobs, load, models, tallies, uploads
from store.clock import now
from store.database import reading, writing
from store.settings import settings
from store.tables import Job, Model, Tally
from tests.conftest import HOUSE, run_async
from worker import report

RESULT = {"goal_met": True}
on_sqlite = pytest.mark.parametrize("empty", ["sqlite"], indirect=True)  # where the database makes no difference


def ask(path: str, **headers: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app.create(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return run_async(asked())


def families() -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(metrics.page().decode())}


def value(name: str, **labels: str) -> float | None:
    for family in families().values():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def new_jobs(number: int) -> list[str]:
    with writing() as session:
        model, _ = models.add(session, "anna", "m", artifacts.put(b"model"))
        dataset, _ = datasets.add(session, "anna", "d", artifacts.put(b"dataset"), "npz", {})
        request = jobs.Request(model.id, dataset.id, {})
        return [jobs.create(session, "anna", request)[0].id for _ in range(number)]


def claim(job_id: str) -> int:
    with writing() as session:
        job = jobs.claim(session, job_id, "w")
        assert job is not None
        return job.attempt


def enter(job_id: str, attempt: int, phase: str) -> None:
    with writing() as session:
        jobs.progress(session, job_id, attempt, {"phase": phase, "progress": 0.5})


def back(job_id: str, column: str, seconds: float) -> None:
    """As if it had been earlier."""
    with writing() as session:
        session.execute(update(Job).where(Job.id == job_id).values({column: getattr(Job, column) - seconds}))


def test_what_waits_is_counted_by_queue_with_its_age(db):
    assert (value("secateur_queue_depth", queue="cpu"), value("secateur_queue_age_seconds", queue="cpu")) == (0, 0)
    first, *_ = new_jobs(3)
    back(first, "queued_at", 100)
    with writing() as session:
        session.execute(update(Model).values(created_at=now() - 50))
    assert value("secateur_queue_depth", queue="cpu") == 3
    assert value("secateur_queue_age_seconds", queue="cpu") == pytest.approx(100, abs=20)
    assert value("secateur_uploads_waiting", kind="model") == value("secateur_uploads_waiting", kind="dataset") == 1
    assert value("secateur_queue_depth", queue="light") == 2
    assert value("secateur_queue_age_seconds", queue="light") == pytest.approx(50, abs=20)
    claim(first)
    with writing() as session:
        uploads.claim(session, Model, session.scalars(select(Model.id)).one())
    assert value("secateur_queue_depth", queue="cpu") == 2 and value("secateur_queue_depth", queue="light") == 1
    assert value("secateur_jobs", status="running") == 1 and value("secateur_jobs", status="queued") == 2


def test_waits_runs_and_phases_are_added_up(db):
    (job_id,) = new_jobs(1)
    back(job_id, "queued_at", 30)
    attempt = claim(job_id)
    enter(job_id, attempt, "import")
    back(job_id, "phase_since", 7)
    enter(job_id, attempt, "admm")
    enter(job_id, attempt, "admm")
    back(job_id, "phase_since", 40)
    back(job_id, "started_at", 50)
    with writing() as session:
        jobs.succeed(session, job_id, attempt, {}, RESULT)
    assert value("secateur_phase_seconds_sum", phase="import") == pytest.approx(7, abs=3)
    assert value("secateur_phase_seconds_sum", phase="admm") == pytest.approx(40, abs=5)
    assert value("secateur_phase_seconds_count", phase="admm") == 1
    assert value("secateur_job_wait_seconds_sum") == pytest.approx(30, abs=5)
    assert value("secateur_job_run_seconds_sum") == pytest.approx(50, abs=5)
    assert value("secateur_job_wait_seconds_bucket", le="15.0") == 0
    assert value("secateur_job_wait_seconds_bucket", le="60.0") == value("secateur_job_wait_seconds_count") == 1
    assert value("secateur_jobs_ended_total", status="succeeded") == 1
    assert value("secateur_jobs_ended_total", status="failed") == 0


@on_sqlite
def test_a_phase_that_was_broken_off_does_not_count(db):
    (job_id,) = new_jobs(1)
    first = claim(job_id)
    enter(job_id, first, "admm")
    back(job_id, "phase_since", 1000)
    with writing() as session:
        jobs.hand_back(session, job_id, first, "its worker was stopped")
    second = claim(job_id)
    enter(job_id, second, "import")
    enter(job_id, second, "admm")
    assert value("secateur_phase_seconds_count", phase="import") == 1
    assert value("secateur_phase_seconds_count", phase="admm") is None
    assert value("secateur_attempts_lost_total") == 0
    assert value("secateur_job_wait_seconds_count") == 2


def test_a_lost_lease_is_counted_once_by_many_sweepers(db):
    for job_id in new_jobs(3):
        claim(job_id)
    with writing() as session:
        session.execute(update(Job).values(lease_until=now() - 1))

    def sweep(_: int) -> int:
        with writing() as session:
            return len(jobs.take_back(session))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(sweep, range(8))) == 3
    assert value("secateur_leases_lost_total") == value("secateur_attempts_lost_total") == 3


@on_sqlite
def test_the_end_that_a_process_told_itself_is_no_lost_attempt(db):
    (job_id,) = new_jobs(1)
    attempt = claim(job_id)
    with writing() as session:
        jobs.succeed(session, job_id, attempt, {}, RESULT)
    with writing() as session:
        jobs.lose(session, job_id, attempt, "its process ended without a result")  # said after every process
    assert value("secateur_attempts_lost_total") == 0 and value("secateur_jobs_ended_total", status="succeeded") == 1


@on_sqlite
def test_nothing_is_counted_in_a_transaction_that_fails(db):
    with pytest.raises(RuntimeError), writing() as session:
        tallies.add(session, job_times.LEASE_LOST)
        raise RuntimeError
    assert value("secateur_leases_lost_total") == 0


def test_tallies_added_in_any_order_by_many_lose_none_and_wait_for_nobody_for_ever(db):
    names = [job_times.LEASE_LOST, job_times.ATTEMPT_LOST]

    def add(i: int) -> None:
        with writing() as session:
            for name in names if i % 2 else reversed(names):
                tallies.add(session, name, "", 0.5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(60)))
    with reading() as session:
        rows = session.execute(select(Tally.name, Tally.count, Tally.total)).all()
    assert sorted(rows) == [("attempt_lost", 60, 30.0), ("lease_lost", 60, 30.0)]


@pytest.fixture
def two_gpus(monkeypatch):
    """The driver's library, as it answers on a machine with two."""

    class Memory:
        used, total = 3 * 2**30, 80 * 2**30

    for name, answer in {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 2,
        "nvmlDeviceGetHandleByIndex": 0,
        "nvmlDeviceGetMemoryInfo": Memory,
    }.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)


def test_workers_report_what_is_stored_and_their_gpus(db, two_gpus, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node/1")
    (job_id,) = new_jobs(1)
    report.report()
    assert value("secateur_stored_bytes", kind="model") == 5 and value("secateur_stored_bytes", kind="dataset") == 7
    assert value("secateur_jobs", status="succeeded") == 0
    assert value("secateur_gpu_memory_used_bytes", host="node/1", device="1") == 3 * 2**30
    attempt = claim(job_id)
    with writing() as session:
        jobs.succeed(session, job_id, attempt, {}, RESULT)
    report.report()
    assert value("secateur_jobs", status="succeeded") == 0  # another worker has just counted
    with writing() as session:
        session.execute(update(Tally).values(at=now() - load.FRESH_SECONDS - 1))
    assert value("secateur_gpu_memory_used_bytes", host="node/1", device="1") is None
    assert value("secateur_jobs", status="succeeded") is None
    report.report()
    assert value("secateur_jobs", status="succeeded") == 1


def test_without_a_driver_there_are_no_gpus():
    assert report.gpu_memory() == {} or pynvml.nvmlInit() is None


@on_sqlite
def test_metrics_are_as_prometheus_wants_them(db, two_gpus):
    report.report()
    ask("/healthz")
    found = families()
    assert len(found) > 20
    for family in found.values():
        assert family.documentation and family.type != "unknown", family.name
        for sample in family.samples:
            name = sample.name
            assert re.fullmatch(r"(secateur|process)_[a-z0-9_]+", name) and not name.endswith("_created")
            assert (family.type == "counter") == name.endswith("_total"), name
            assert not re.search(r"(milliseconds|_ms|minutes|kilobytes|_mb)\b", name)
        if family.type in ("histogram", "summary"):
            assert family.name.endswith(("_seconds", "_bytes")), family.name


@on_sqlite
def test_the_dashboard_is_one_and_asks_for_what_is_there(db, two_gpus):
    (job_id,) = new_jobs(1)
    attempt = claim(job_id)
    enter(job_id, attempt, "import")
    enter(job_id, attempt, "admm")
    report.report()
    ask("/healthz")
    exported: dict[str, set[str]] = {}
    for family in families().values():
        for sample in family.samples:
            exported.setdefault(sample.name, set()).update(sample.labels)
    board = json.loads((HOUSE / "docs/grafana.json").read_text())
    assert board["schemaVersion"] >= 36 and board["title"] and board["templating"]["list"][0]["type"] == "datasource"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    asked = set()
    for panel in board["panels"]:
        assert panel["title"] and panel["targets"] and {"h", "w", "x", "y"} == set(panel["gridPos"])
        for target in panel["targets"]:
            named = set(re.findall(r"\b(?:secateur|process)_\w+", target["expr"]))
            labels = {x.strip() for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for x in group.split(",")}
            assert named, panel["title"]
            for name in named:
                assert name in exported, f"{panel['title']}: {name}"
                assert labels - {"instance"} <= exported[name], f"{panel['title']}: {name}"
            asked |= named
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    families_ = {re.sub(r"_(bucket|sum|count)$", "", n) for n in exported if n.startswith("secateur")}
    assert families_ - shown == set()


@on_sqlite
def test_every_metric_has_its_line_in_the_manual(db, two_gpus):
    report.report()
    ask("/healthz")
    manual = (HOUSE / "docs/operate.md").read_text()
    for family in families().values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert not name.startswith("secateur_") or f"`{name}`" in manual, name


@on_sqlite
def test_with_keys_strangers_see_no_numbers(db, monkeypatch):
    assert ask("/metrics").status_code == 200
    monkeypatch.setenv("SECATEUR_AUTH", "true")
    settings.cache_clear()
    refused = ask("/metrics")
    assert refused.status_code == 401 and "SECATEUR_METRICS_TOKEN" in refused.json()["detail"]
    monkeypatch.setenv("SECATEUR_METRICS_TOKEN", "metrics-of-mine")
    settings.cache_clear()
    for sent in ("", "Bearer", "Bearer metrics-of-mind", "Basic metrics-of-mine"):
        refused = ask("/metrics", Authorization=sent)
        assert refused.status_code == 401 and "metrics-of-mine" not in refused.text
        assert refused.headers["content-type"] == "application/problem+json"
    assert "secateur_jobs" in ask("/metrics", Authorization="Bearer metrics-of-mine").text


@on_sqlite
def test_a_scrape_reads_no_ended_job(db):
    """Of a hundred thousand stored jobs a handful is open: those are found by index."""
    with reading() as session:
        seen = []
        original = session.connection().exec_driver_sql
        for query in (
            "SELECT count(*), min(queued_at) FROM jobs WHERE status = 'queued'",
            "SELECT status, count(*) FROM jobs WHERE status IN ('queued', 'running') GROUP BY status",
        ):
            seen += [row[3] for row in original(f"EXPLAIN QUERY PLAN {query}")]
    assert all("USING COVERING INDEX" in step for step in seen), seen


@on_sqlite
def test_without_a_database_the_process_still_tells_its_own(db):
    with db.begin() as connection:
        connection.execute(text("DROP TABLE tallies"))
    assert value("secateur_database_up") == 0
    assert value("secateur_jobs", status="queued") is None and value("secateur_disk_free_bytes", **{})


@on_sqlite
def test_ready_says_what_is_wrong_with_each(db, monkeypatch):
    monkeypatch.setattr(health, "readiness", health.Readiness(health.CHECKS))
    with db.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    monkeypatch.setenv("SECATEUR_BROKER_URL", "redis://:hunter2@127.0.0.1:1/0")
    monkeypatch.setenv("SECATEUR_ARTIFACTS_URL", "/proc/nowhere")
    settings.cache_clear()
    from store.queue import sender

    monkeypatch.delitem(sender.__dict__, "app", raising=False)
    answer = ask("/readyz")
    sender.__dict__.pop("app", None)
    body = answer.json()
    assert answer.status_code == body["status"] == 503 and answer.headers["content-type"] == "application/problem+json"
    assert set(body["checks"]) == {"database", "broker", "storage"}
    assert "python -m store.migrate" in body["checks"]["database"]
    assert body["checks"]["storage"] == "files cannot be written and read"
    assert body["checks"]["broker"] != "ok"
    assert not any(word in answer.text for word in ("hunter2", "127.0.0.1", "/proc"))
